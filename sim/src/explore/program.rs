//! What an explored process does, with the library's own primitives: it opens a session, takes and gives back a lock or a
//! leadership so many times, and closes the session; or it observes an election; or it takes over another's leadership. What it does
//! with recipes is in `recipes.rs`.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};
use tenure::kv::{Op, Put, TxnResponse};
use tenure::{Backend, Election, Error, Mutex, Observation, RwLock, Semaphore, Session};

use super::automaton::Bytes;
use super::bounds::{After, Does, Ending, Role};
use super::machine::Env;
use super::recipes;
use crate::history::{Deed, DeedEnd, Failure, Holding, Kind, SessionEnd, Telling, What};
use crate::planted::{Bug, Planted};
use crate::workload::decorate::{Decorated, Plain};
use crate::workload::primitive::{Ask, Held, Primitive, Through, Wait};
use crate::workload::program::{PERMITS, PrimitiveKind};

/// The time to live of every session.
pub(super) const TTL: Duration = Duration::from_secs(5);

/// The drift that every session allows for.
pub(super) const DRIFT_BOUND_PPM: u32 = 10_000;

/// A leadership that an earlier process held: what it would have written down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Written {
    /// Its session's lease.
    pub(super) lease: i64,
    /// Its revision.
    pub(super) rev: i64,
}

/// What a process begins with.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// Which process it is.
    pub(super) client: u32,
    /// What it does.
    pub(super) role: Role,
    /// The bug that is planted in it.
    pub(super) planted: Option<&'static Planted>,
    /// For who takes over: what the other left behind, if it had come so far.
    pub(super) written: Option<Written>,
}

/// One process's whole life.
pub(super) async fn run(env: Env, start: Arc<Start>) {
    let backend: Arc<dyn Backend> = Arc::new(env.clone());
    let backend = match start.planted.map(|planted| planted.bug) {
        Some(Bug::Backend(decorate)) => decorate(backend),
        _ => backend,
    };
    let process = Process { env, start, backend };
    if process.start.role.does == Does::Observe {
        return process.observe().await;
    }
    let Some(session) = process.open().await else { return };
    if process.start.role.does.is_of_recipe() {
        recipes::perform(&process, &session).await;
    } else {
        process.contend(&session).await;
    }
    process.close(session).await;
}

/// A process with what it runs on.
pub(super) struct Process {
    pub(super) env: Env,
    pub(super) start: Arc<Start>,
    backend: Arc<dyn Backend>,
}

/// How an ask ended.
enum Asked {
    Held(Box<dyn Held>),
    Not(Failure),
}

impl Process {
    async fn open(&self) -> Option<Session> {
        let mut builder =
            Session::builder_on(Arc::clone(&self.backend)).ttl(TTL).drift_bound_ppm(DRIFT_BOUND_PPM);
        if self.start.role.does.takes_over() {
            let written = self.start.written.as_ref()?;
            builder = builder.lease(written.lease);
        }
        match builder.open().await {
            Ok(session) => {
                let ttl_ms = u64::try_from(session.ttl().as_millis()).unwrap_or(u64::MAX);
                self.env.record(What::SessionOpened { lease: session.lease(), ttl_ms });
                Some(session)
            }
            Err(error) => {
                self.env.record(What::Note(format!("no session: {error}")));
                None
            }
        }
    }

    async fn contend(&self, session: &Session) {
        let lock = Lock::of(&self.start, session);
        for round in 0..self.start.role.rounds {
            if round > 0 {
                self.settles(session, &lock, round, None);
            }
            self.round(session, &lock, round).await;
            if !session.is_alive() {
                break;
            }
        }
    }

    /// Ends the session as the role has it, if it is not over.
    async fn close(&self, session: Session) {
        let lease = session.lease();
        if !session.is_alive() {
            return self.env.record(What::SessionEnded { lease, how: SessionEnd::Lost });
        }
        match self.start.role.after {
            After::Close => {
                self.env.record(What::SessionEnded { lease, how: SessionEnd::Closed });
                if let Err(error) = session.close().await {
                    self.env.record(What::Note(format!("closing session {lease:x}: {error}")));
                }
            }
            After::Orphan => {
                self.env.record(What::SessionEnded { lease, how: SessionEnd::Orphaned });
                session.orphan();
            }
            After::Stay => self.env.idles().await,
        }
    }

    /// Between two rounds, and while it holds and has nothing under way, what a process does next hangs on what its session, its
    /// lock and its guard remember, and on nothing else.
    fn settles(&self, session: &Session, lock: &Lock, round: u32, held: Option<&dyn Held>) {
        let mut bytes = Bytes::default();
        (self.start.client, round, held.is_some()).hash(&mut bytes);
        if held.is_some_and(|held| !held.hash_state(&mut bytes)) {
            return;
        }
        session.hash_state(&mut bytes);
        match lock {
            Lock::Mutex(mutex) => mutex.hash_state(&mut bytes),
            Lock::ReadWrite(lock) => lock.hash_state(&mut bytes),
            Lock::Semaphore(semaphore) => semaphore.hash_state(&mut bytes),
            Lock::Election(election) => election.hash_state(&mut bytes),
            Lock::Wrong(_) | Lock::Unnamed(_) => {}
        }
        self.env.settles(bytes.digest());
    }

    async fn round(&self, session: &Session, lock: &Lock, round: u32) {
        let role = &self.start.role;
        let ticket = u64::from(self.start.client) * 100 + u64::from(round);
        let Some(kind) = role.does.kind() else { return };
        let lease = session.lease();
        self.env.record(What::Asks {
            ticket,
            name: role.name.as_str().into(),
            kind,
            lease,
            how: role.does.how(),
            limit_ms: (role.does == Does::TryLock).then_some(0),
            lane: 0,
            in_turn: role.policy == super::bounds::Policy::Fifo,
        });
        let through = Through { session: session.clone(), backend: Arc::clone(&self.backend) };
        let held = {
            let mut taking = std::pin::pin!(lock.take(through, ticket, &self.start).fuse());
            let mut cancelled = std::pin::pin!(self.env.cancelled().fuse());
            select_biased! {
                () = cancelled => Asked::Not(Failure::Cancelled),
                asked = taking => asked,
            }
        };
        let held = match held {
            Asked::Held(held) => held,
            Asked::Not(why) => return self.env.record(What::NotGranted { ticket, why }),
        };
        let client = self.start.client;
        let holding = Holding { client, name: role.name.as_str().into(), kind, token: held.token(), lease };
        let believing = self.env.believes(&holding, held.belief(), session);
        self.env.record(What::Granted {
            ticket,
            holding: holding.clone(),
            believers: Vec::new(),
            says: held.says(),
        });
        let settles = || self.settles(session, lock, round, Some(&*held));
        let told = self.hold(&*held, ticket, &holding, &settles).await;
        let awaited = role.ending == Ending::Release && !told;
        self.env.record(What::Releases { holding: holding.clone(), awaited });
        drop(believing);
        if !awaited {
            return drop(held);
        }
        let mut released = std::pin::pin!(held.release().fuse());
        let mut cancelled = std::pin::pin!(self.env.cancelled().fuse());
        select_biased! {
            () = cancelled => {}
            released = released => {
                let error = released.err().map(Failure::from);
                self.env.record(What::Released { holding, error });
            }
        }
    }

    /// Holds until it is let go on, or told of the loss; gives which.
    async fn hold(
        &self,
        held: &dyn Held,
        ticket: u64,
        holding: &Holding,
        settles: &(dyn Fn() + Sync),
    ) -> bool {
        let mut work = std::pin::pin!(
            async {
                if self.start.role.guarded_txn {
                    self.guarded_txn(held, ticket, holding).await;
                }
                for proclaimed in 1..=self.start.role.proclaims {
                    let value = format!("{ticket}/{proclaimed}");
                    let what = Deed::Proclaim {
                        holding: holding.clone(),
                        value: value.clone().into_bytes(),
                        stands_again: false,
                    };
                    let deed = ticket * 10 + u64::from(proclaimed);
                    self.does(deed, what, held.proclaim(value), |()| DeedEnd::Done).await;
                }
                settles();
                match self.start.role.ending {
                    Ending::Keep => self.env.idles().await,
                    Ending::Release | Ending::Drop => self.env.go().await,
                }
            }
            .fuse()
        );
        let mut lost = held.lost().fuse();
        select_biased! {
            () = lost => {
                self.env.record(What::ToldLost { holding: holding.clone(), by: Telling::Lost { is_held: false } });
                true
            }
            () = work => false,
        }
    }

    async fn guarded_txn(&self, held: &dyn Held, ticket: u64, holding: &Holding) {
        let put = Op::Put(Put::new(format!("data/{}", holding.name), holding.token.to_string()));
        let what = Deed::Txn { holding: holding.clone() };
        let committed = |response: TxnResponse| DeedEnd::Committed { revision: response.header.revision };
        self.does(ticket * 10, what, held.txn(vec![put]), committed).await;
    }

    async fn does<T>(
        &self,
        deed: u64,
        what: Deed,
        doing: impl Future<Output = Result<T, Error>>,
        end: impl FnOnce(T) -> DeedEnd,
    ) {
        self.env.record(What::Does { deed, what });
        let end = match doing.await {
            Ok(value) => end(value),
            Err(error) => DeedEnd::Failed(error.into()),
        };
        self.env.record(What::Did { deed, end });
    }

    /// Observes for ever; when it begins is the explorer's choice.
    async fn observe(&self) {
        let backend = Decorated::<Plain>::over(Arc::clone(&self.backend));
        let name = self.start.role.name.as_str();
        let Ok(mut observer) = Election::observer(&backend, name) else { return };
        self.env.go().await;
        let number = u64::from(self.start.client);
        self.env.record(What::Observes { name: name.into(), observer: number });
        loop {
            match observer.next().await {
                Ok(seen) => {
                    let leader = match seen {
                        Observation::Leader(leader) => Some(leader.into()),
                        Observation::NoLeader => None,
                    };
                    self.env.record(What::Observed { name: name.into(), observer: number, leader });
                }
                Err(error) => {
                    self.env.record(What::ObserverFailed { observer: number, error: error.into() });
                }
            }
        }
    }
}

/// The primitive that a process uses in all of its rounds.
enum Lock {
    Mutex(Mutex),
    ReadWrite(RwLock),
    Semaphore(Semaphore),
    Election(Election),
    Wrong(Box<dyn Primitive>),
    Unnamed(Error),
}

impl Lock {
    fn of(start: &Start, session: &Session) -> Self {
        let does = start.role.does;
        if let Some(Bug::Primitive(wrong)) = start.planted.map(|planted| planted.bug)
            && let Some(wrong) = does.primitive().and_then(wrong)
        {
            return Self::Wrong(wrong);
        }
        let name = start.role.name.as_str();
        let lock = match does.kind() {
            Some(Kind::Mutex) => Mutex::new(session, name).map(Self::Mutex),
            Some(Kind::Read | Kind::Write) => {
                RwLock::with_policy(session, name, start.role.policy.into()).map(Self::ReadWrite)
            }
            Some(Kind::Leader) => Election::new(session, name).map(Self::Election),
            Some(Kind::Permit) => Semaphore::new(session, name, PERMITS).map(Self::Semaphore),
            None => Err(Error::NotHeld),
        };
        lock.unwrap_or_else(Self::Unnamed)
    }

    async fn take(&self, through: Through, ticket: u64, start: &Start) -> Asked {
        let value = format!("{ticket}/0");
        match self.attempt(through, value, start).await {
            Ok(Some(held)) => Asked::Held(held),
            Ok(None) => Asked::Not(Failure::HeldByAnother),
            Err(error) => Asked::Not(error.into()),
        }
    }

    async fn attempt(
        &self,
        through: Through,
        value: String,
        start: &Start,
    ) -> Result<Option<Box<dyn Held>>, Error> {
        fn held<H: Held + 'static>(guard: H) -> Option<Box<dyn Held>> {
            Some(Box::new(guard))
        }
        Ok(match (self, start.role.does) {
            (Self::Mutex(mutex), Does::TryLock) => mutex.try_lock().await?.and_then(held),
            (Self::Mutex(mutex), _) => held(mutex.lock().await?),
            (Self::ReadWrite(lock), Does::Read) => held(lock.read().await?),
            (Self::ReadWrite(lock), _) => held(lock.write().await?),
            (Self::Semaphore(semaphore), _) => held(semaphore.acquire().await?),
            (Self::Election(election), Does::Resume) => {
                let written = start.written.as_ref().ok_or(Error::NotHeld)?;
                let key = format!("{}/{:x}", start.role.name, written.lease);
                held(election.resume(key.as_bytes(), written.rev).await?)
            }
            (Self::Election(election), _) => held(election.campaign(&value).await?),
            (Self::Wrong(wrong), _) => {
                let name = start.role.name.as_str().into();
                let ask = Ask { name, value, wait: Wait::Forever, locker: false, resumes: None };
                wrong.take(through, &ask).await?
            }
            (Self::Unnamed(error), _) => return Err(error.clone()),
        })
    }
}

impl Does {
    /// The kind of tenure that it asks for, if it asks for one.
    pub(super) fn kind(self) -> Option<Kind> {
        Some(match self {
            Self::Lock | Self::TryLock | Self::Relock => Kind::Mutex,
            Self::Read => Kind::Read,
            Self::Write => Kind::Write,
            Self::Acquire => Kind::Permit,
            Self::Campaign | Self::Resume | Self::Observe => Kind::Leader,
            Self::Enqueue
            | Self::Dequeue
            | Self::Claim
            | Self::Hold
            | Self::HoldForGood
            | Self::ReleaseBarrier
            | Self::Pass
            | Self::Enter
            | Self::Transfer
            | Self::Audit
            | Self::Add => return None,
        })
    }

    fn primitive(self) -> Option<PrimitiveKind> {
        match self {
            Self::Lock | Self::Relock => Some(PrimitiveKind::Mutex),
            Self::Read => Some(PrimitiveKind::Read),
            Self::Write => Some(PrimitiveKind::Write),
            Self::Acquire => Some(PrimitiveKind::Semaphore),
            Self::Campaign => Some(PrimitiveKind::Election),
            _ => None,
        }
    }

    fn how(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::TryLock => "try_lock",
            Self::Relock => "lock, on a session taken over",
            Self::Read => "read",
            Self::Write => "write",
            Self::Acquire => "acquire",
            Self::Campaign => "campaign",
            Self::Resume => "resume",
            _ => "observe",
        }
    }
}
