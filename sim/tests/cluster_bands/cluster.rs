//! What a script drives: a cluster of three members, simulated or real, that can be hurt; and a client of it, which is
//! the same code over both.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenure::kv::{
    KeyValue, Put, Range, Request, Response, SortOrder, SortTarget, WatchRequest, WatchResponse,
};
use tenure::wire::{Status, Wire, WireWatch};
use tenure::{Code, Etcd, EtcdOptions, Instant, Runtime, within};

use crate::band::Settings;

pub(crate) const MEMBERS: usize = 3;

/// Long enough for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of three members, numbered from 0, that can be hurt.
pub(crate) trait TestCluster {
    /// A client of it.
    fn client(&self) -> &Client;
    /// A member dies at once (SIGKILL); its disk stays.
    fn kill(&mut self, member: usize);
    /// A member that was killed starts anew. Does not wait until it serves.
    fn restart(&mut self, member: usize);
    /// A member stands still (SIGSTOP).
    fn pause(&mut self, member: usize);
    /// It goes on.
    fn resume(&mut self, member: usize);
    /// Nothing that one member sends reaches another any more. Clients still reach both.
    fn cut(&mut self, from: usize, to: usize);
    /// Every cut heals.
    fn heal(&mut self);

    /// Cuts a member off from all others, both ways.
    fn isolate(&mut self, member: usize) {
        for other in others(member) {
            self.cut(member, other);
            self.cut(other, member);
        }
    }
}

/// The members but one.
pub(crate) fn others(member: usize) -> impl Iterator<Item = usize> {
    (0..MEMBERS).filter(move |&other| other != member)
}

/// A client with one connection to each member.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) wires: Vec<Arc<dyn Wire>>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) settings: Settings,
    names: Arc<AtomicU32>,
}

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// It leads.
    Leads { id: u64, term: u64 },
    /// It takes another for the leader.
    Follows { id: u64, leader: u64, term: u64 },
    /// It knows of no leader.
    NoLeader,
    /// It does not answer.
    Silent,
}

/// A leader that everybody has just heard from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    pub(crate) member: usize,
    pub(crate) term: u64,
    /// Just before the write by which they heard.
    pub(crate) since: Instant,
}

/// What came of one try at one member: `None` if no answer came in time.
pub(crate) type Outcome = Option<Result<Response, Status>>;

impl Client {
    pub(crate) fn new(wires: Vec<Arc<dyn Wire>>, runtime: Arc<dyn Runtime>, settings: Settings) -> Self {
        Self { wires, runtime, settings, names: Arc::default() }
    }

    /// A name that no other script uses.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{}/", self.names.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn now(&self) -> Instant {
        self.runtime.now()
    }

    pub(crate) async fn sleep_until(&self, at: Instant) {
        self.runtime.sleep_until(at).await;
    }

    /// Waits for a part of an election timeout, another each time, so that what comes next does not always meet the members'
    /// timers at the same place.
    pub(crate) async fn out_of_step(&self) {
        let part = self.names.fetch_add(1, Ordering::Relaxed) * 7 % 11;
        self.sleep_until(self.now() + self.settings.election() * part / 11).await;
    }

    /// Waits until it is time to look again.
    pub(crate) async fn look_later(&self) {
        self.sleep_until(self.now() + self.settings.look_every()).await;
    }

    /// The library's backend over the same connections, which begins with one member.
    pub(crate) fn etcd(&self, first: usize) -> Etcd {
        let options = EtcdOptions { first_endpoint: first, ..EtcdOptions::default() };
        Etcd::over(self.wires.clone(), Arc::clone(&self.runtime), options)
    }

    /// One try at one member, until `deadline`.
    pub(crate) async fn ask(&self, member: usize, request: Request, deadline: Instant) -> Outcome {
        within(&*self.runtime, deadline, self.wires[member].call(request)).await.ok()
    }

    pub(crate) async fn put(&self, member: usize, key: &str, value: &str, deadline: Instant) -> Outcome {
        self.ask(member, Request::Put(Put::new(key, value)), deadline).await
    }

    /// What members that have a majority must answer: asked in turn, `first` first and `not` never, until one does. A
    /// machine out of breath may change a leader that nobody touched.
    pub(crate) async fn insist(&self, first: usize, not: Option<usize>, request: Request) -> Response {
        let give_up_at = self.now() + PATIENCE;
        let mut members = (first..first + MEMBERS).map(|member| member % MEMBERS).cycle();
        loop {
            let member = members.find(|&member| Some(member) != not).unwrap_or(first);
            let outcome = self.ask(member, request.clone(), give_up_at).await;
            if let Some(Ok(response)) = outcome {
                return response;
            }
            assert!(self.now() < give_up_at, "members with a majority do not serve: {outcome:?}");
            self.look_later().await;
        }
    }

    /// A write that must succeed; see [`Client::insist`].
    pub(crate) async fn write(&self, first: usize, not: Option<usize>, key: String, value: &str) {
        self.insist(first, not, Request::Put(Put::new(key, value))).await;
    }

    /// A lease that must be granted; see [`Client::insist`]. Gives its id and the time to live that it got.
    pub(crate) async fn grant(&self, first: usize, ttl_s: u64) -> (i64, u64) {
        let ttl_s = i64::try_from(ttl_s).expect("a short lease");
        match self.insist(first, None, Request::LeaseGrant { id: 0, ttl_s }).await {
            Response::LeaseGrant { grant, .. } => {
                (grant.id, u64::try_from(grant.ttl_s).expect("a time to live"))
            }
            other => panic!("a grant was answered with {other:?}"),
        }
    }

    /// The key's value at one member: `Some(None)` if there is no such key.
    pub(crate) async fn read(
        &self,
        member: usize,
        key: &str,
        serializable: bool,
        deadline: Instant,
    ) -> Option<Result<Option<String>, Status>> {
        let range = Request::Range(Range { serializable, ..Range::key(key) });
        match self.ask(member, range, deadline).await? {
            Ok(Response::Range(range)) => {
                Some(Ok(range.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())))
            }
            Ok(other) => panic!("a range was answered with {other:?}"),
            Err(status) => Some(Err(status)),
        }
    }

    /// What a member says of itself, if it does so within a second.
    pub(crate) async fn view(&self, member: usize) -> View {
        match self.ask(member, Request::Status, self.now() + Duration::from_secs(1)).await {
            Some(Ok(Response::Status { header, leader, .. })) if leader == header.member_id => {
                View::Leads { id: leader, term: header.raft_term }
            }
            Some(Ok(Response::Status { header, leader, .. })) => {
                View::Follows { id: header.member_id, leader, term: header.raft_term }
            }
            Some(Ok(other)) => panic!("a status request was answered with {other:?}"),
            Some(Err(status)) if is_no_leader(&status) => View::NoLeader,
            Some(Err(_)) | None => View::Silent,
        }
    }

    /// Waits until all follow one leader and have just heard from it.
    pub(crate) async fn steady(&self) -> Lead {
        let give_up_at = self.now() + PATIENCE;
        loop {
            if let Some(lead) = self.try_steady().await {
                return lead;
            }
            assert!(self.now() < give_up_at, "the cluster does not settle");
            self.look_later().await;
        }
    }

    async fn try_steady(&self) -> Option<Lead> {
        let mut views = Vec::new();
        for member in 0..MEMBERS {
            views.push(self.view(member).await);
        }
        let (member, id, term) = views.iter().enumerate().find_map(|(member, view)| match *view {
            View::Leads { id, term } => Some((member, id, term)),
            _ => None,
        })?;
        let follows = |view: &View| matches!(*view, View::Follows { leader, term: its, .. } if (leader, its) == (id, term));
        if views.iter().filter(|view| follows(view)).count() != MEMBERS - 1 {
            return None;
        }
        let (since, name) = (self.now(), self.name("steady"));
        let deadline = since + self.settings.election();
        let Some(Ok(Response::Put(put))) = self.put(member, &name, "", deadline).await else { return None };
        for other in others(member) {
            while self.read(other, &name, true, deadline).await?.ok()?.is_none() {
                self.look_later().await;
            }
        }
        (put.header.raft_term == term).then_some(Lead { member, term, since })
    }

    /// What every member has below `prefix`, once all three have the same; oldest first.
    pub(crate) async fn agreed(&self, prefix: &str) -> Vec<KeyValue> {
        let give_up_at = self.now() + PATIENCE;
        loop {
            self.steady().await;
            let mut each = Vec::new();
            for member in 0..MEMBERS {
                let range = Range { serializable: true, ..Range::prefix(prefix) };
                let range = range.sorted(SortTarget::Mod, SortOrder::Ascend);
                if let Some(Ok(Response::Range(range))) =
                    self.ask(member, Request::Range(range), self.now() + self.settings.election()).await
                {
                    each.push((range.header.revision, range.kvs));
                }
            }
            if each.len() == MEMBERS && each.iter().all(|one| *one == each[0]) {
                return each.swap_remove(0).1;
            }
            assert!(self.now() < give_up_at, "the members do not come to agree: {each:?}");
            self.look_later().await;
        }
    }

    /// How many keys are below `prefix`, linearizable, as one member says.
    pub(crate) async fn count(&self, member: usize, prefix: &str) -> Option<usize> {
        let range = Request::Range(Range::prefix(prefix));
        match self.ask(member, range, self.now() + PATIENCE).await? {
            Ok(Response::Range(range)) => Some(range.kvs.len()),
            Ok(_) | Err(_) => None,
        }
    }

    /// A watch at one member, once it is open.
    pub(crate) async fn watch(&self, member: usize, prefix: &str) -> RawWatch {
        let mut watch = RawWatch { inner: self.wires[member].watch(WatchRequest::prefix(prefix)) };
        let opened = watch.next(self, self.now() + PATIENCE).await;
        assert!(matches!(&opened, Some(Ok(message)) if message.created), "the watch opens: {opened:?}");
        watch
    }
}

/// Whether this is etcd's refusal for want of a leader.
pub(crate) fn is_no_leader(status: &Status) -> bool {
    status.code == Code::Unavailable && status.message == "etcdserver: no leader"
}

/// One raw watch at one member.
pub(crate) struct RawWatch {
    inner: Box<dyn WireWatch>,
}

/// Revision and key of one event.
pub(crate) type Told = (i64, String);

impl RawWatch {
    /// The next message until `deadline`; the stream's end without a word is an error too.
    pub(crate) async fn next(
        &mut self,
        client: &Client,
        deadline: Instant,
    ) -> Option<Result<WatchResponse, Status>> {
        let ended = || Status {
            code: Code::Unknown,
            message: "the stream ended without a word".to_owned(),
            sent: true,
        };
        let next = within(&*client.runtime, deadline, poll_fn(|cx| self.inner.poll_next(cx))).await.ok()?;
        Some(next.unwrap_or_else(|| Err(ended())))
    }

    /// What it tells until `deadline`, or until `wanted` events were told; and how it ended, if it did.
    pub(crate) async fn events(
        &mut self,
        client: &Client,
        wanted: usize,
        deadline: Instant,
    ) -> (Vec<Told>, Option<Status>) {
        let mut told = Vec::new();
        while told.len() < wanted {
            match self.next(client, deadline).await {
                Some(Ok(message)) => told.extend(message.events.iter().map(|event| told_of(&event.kv))),
                Some(Err(status)) => return (told, Some(status)),
                None => break,
            }
        }
        (told, None)
    }
}

pub(crate) fn told_of(kv: &KeyValue) -> Told {
    (kv.mod_revision, String::from_utf8_lossy(&kv.key).into_owned())
}
