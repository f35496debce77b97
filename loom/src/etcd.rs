//! An etcd for the models: the simulated store behind a mutex, answers at once, a clock that only the model moves, tasks as
//! threads.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use loom::thread::JoinHandle;
use tenure_sim::store::{Single, SingleConfig};

use crate::kv::{LeaseGrant, Range, RangeResponse, Request, Response, Txn, TxnResponse, WatchRequest};
use crate::sync::{AtomicU64, Mutex, Ordering, block_on};
use crate::{Backend, CallError, Instant, Refusal, Runtime, Session, WatchMessage, WatchStream};

/// The TTL of the models' sessions.
pub(crate) const TTL: Duration = Duration::from_secs(10);

/// A moment at which the renewal of a session that was opened at the start is due, well before its deadline.
pub(crate) const RENEWAL_DUE: Duration = Duration::from_secs(4);

/// The handle; clones are the same etcd, clock and process.
#[derive(Clone)]
pub(crate) struct Etcd {
    world: Arc<World>,
}

struct World {
    now_ns: AtomicU64,
    timers: Mutex<Timers>,
    server: Mutex<Server>,
    renews: bool,
    /// A session is being opened, and nothing else is going on.
    opening: std::sync::atomic::AtomicBool,
    /// Of the model, not of what it is about: std's.
    renewals: std::sync::Mutex<Vec<JoinHandle<()>>>,
    background: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Timers {
    next: u64,
    due: BTreeMap<u64, (u64, Waker)>,
}

struct Server {
    single: Single,
    /// Leases that were revoked, in order.
    revoked: Vec<i64>,
    /// Requests are lost.
    silent: bool,
    /// So many transactions are refused for want of space first.
    refuses: usize,
}

impl Etcd {
    /// With sessions that renew, each by a thread of its own.
    pub(crate) fn new() -> Self {
        Self::with(true)
    }

    /// With sessions that nothing renews: a thread less, for models that let no time pass.
    pub(crate) fn without_renewals() -> Self {
        Self::with(false)
    }

    fn with(renews: bool) -> Self {
        let server = Server {
            single: Single::new(SingleConfig::default()),
            revoked: Vec::new(),
            silent: false,
            refuses: 0,
        };
        let world = World {
            now_ns: AtomicU64::new(1),
            timers: Mutex::new(Timers::default()),
            server: Mutex::new(server),
            renews,
            opening: false.into(),
            renewals: std::sync::Mutex::default(),
            background: std::sync::Mutex::default(),
        };
        Self { world: Arc::new(world) }
    }

    /// Opens a session, with nothing else going on.
    pub(crate) fn session(&self) -> Session {
        self.world.opening.store(true, Ordering::Relaxed);
        let session = block_on(Session::builder(self).ttl(TTL).open()).unwrap();
        self.world.opening.store(false, Ordering::Relaxed);
        session
    }

    /// Lets time pass for the clients. etcd's own leases do not run out.
    pub(crate) fn advance_to(&self, now: Duration) {
        let now_ns = u64::try_from(now.as_nanos()).unwrap();
        let mut timers = self.world.timers.lock().unwrap();
        self.world.now_ns.store(now_ns, Ordering::Release);
        let (due, later) =
            std::mem::take(&mut timers.due).into_iter().partition(|(_, (at, _))| *at <= now_ns);
        timers.due = later;
        drop(timers);
        let due: BTreeMap<u64, (u64, Waker)> = due;
        for (_, waker) in due.into_values() {
            waker.wake();
        }
    }

    /// Whether requests that are sent from now on are lost: not applied, and never answered.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.world.server.lock().unwrap().silent = silent;
    }

    /// The next `transactions` are refused.
    pub(crate) fn refuse(&self, transactions: usize) {
        self.world.server.lock().unwrap().refuses = transactions;
    }

    /// Waits until what was left to the background is done.
    pub(crate) fn wait_for_background(&self) {
        loop {
            let task = self.world.background.lock().unwrap().pop();
            let Some(task) = task else { return };
            task.join().unwrap();
        }
    }

    /// Waits until no session is renewed any more; only after the end of all.
    pub(crate) fn wait_for_renewals(&self) {
        let renewals = std::mem::take(&mut *self.world.renewals.lock().unwrap());
        for renewal in renewals {
            renewal.join().unwrap();
        }
    }

    /// The keys that are there.
    pub(crate) fn keys(&self) -> usize {
        self.world.server.lock().unwrap().single.store().keys().count()
    }

    /// Whether a lease was revoked.
    pub(crate) fn is_revoked(&self, lease: i64) -> bool {
        self.world.server.lock().unwrap().revoked.contains(&lease)
    }

    fn answer(&self, request: &Request) -> Option<Result<Response, CallError>> {
        let mut server = self.world.server.lock().unwrap();
        if server.silent {
            return None;
        }
        if matches!(request, Request::Txn(_)) && server.refuses > 0 {
            server.refuses -= 1;
            return Some(Err(CallError::Refused(Refusal::PermissionDenied(
                "as the model wants it".to_owned(),
            ))));
        }
        if let Request::LeaseRevoke { id } = request {
            server.revoked.push(*id);
        }
        Some(server.single.handle(request, 0).map_err(|status| {
            assert!(status.message.contains("lease not found"), "not modelled: {status}");
            CallError::Refused(Refusal::LeaseNotFound)
        }))
    }

    fn call<T: 'static>(
        &self,
        request: Request,
        take: impl FnOnce(Response) -> Option<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, CallError>> {
        let etcd = self.clone();
        async move {
            match etcd.answer(&request) {
                Some(answer) => Ok(take(answer?).unwrap()),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

impl Runtime for Etcd {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.world.now_ns.load(Ordering::Acquire))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Sleep { etcd: self.clone(), deadline_ns: deadline.as_nanos(), place: None }.boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // All that a session spawns as it opens is its renewal.
        let is_renewal = self.world.opening.load(Ordering::Relaxed);
        if is_renewal && !self.world.renews {
            return;
        }
        let thread = loom::thread::spawn(move || block_on(task));
        let threads = if is_renewal { &self.world.renewals } else { &self.world.background };
        threads.lock().unwrap().push(thread);
    }
}

impl Backend for Etcd {
    fn txn(&self, txn: Txn, _: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        self.call(Request::Txn(txn), |response| match response {
            Response::Txn(response) => Some(response),
            _ => None,
        })
    }

    fn range(&self, range: Range, _: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        self.call(Request::Range(range), |response| match response {
            Response::Range(response) => Some(response),
            _ => None,
        })
    }

    /// Opens at once, and tells nothing more: the models have no waits that a watch ends.
    fn watch(&self, _: WatchRequest) -> WatchStream {
        let revision = self.world.server.lock().unwrap().single.store().revision();
        stream::iter([Ok(WatchMessage::Created { revision })]).chain(stream::pending()).boxed()
    }

    fn lease_grant(&self, ttl: Duration, _: Instant) -> BoxFuture<'static, Result<LeaseGrant, CallError>> {
        let ttl_s = i64::try_from(ttl.as_secs()).unwrap();
        self.call(Request::LeaseGrant { id: 0, ttl_s }, |response| match response {
            Response::LeaseGrant { grant, .. } => Some(grant),
            _ => None,
        })
    }

    /// Its answer takes a moment, in which anything may happen.
    fn lease_keep_alive(&self, id: i64, _: Instant) -> BoxFuture<'static, Result<i64, CallError>> {
        let answered = self.call(Request::LeaseKeepAlive { id }, |response| match response {
            Response::LeaseKeepAlive { ttl_s, .. } => Some(ttl_s),
            _ => None,
        });
        async move {
            let answer = answered.await;
            OnTheWay(false).await;
            answer
        }
        .boxed()
    }

    fn lease_revoke(&self, id: i64, _: Instant) -> BoxFuture<'static, Result<(), CallError>> {
        let revoked = self.call(Request::LeaseRevoke { id }, |_| Some(()));
        async move {
            match revoked.await {
                Err(CallError::Refused(Refusal::LeaseNotFound)) => Ok(()),
                revoked => revoked,
            }
        }
        .boxed()
    }
}

/// Pending once, and woken at once.
struct OnTheWay(bool);

impl Future for OnTheWay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

struct Sleep {
    etcd: Etcd,
    deadline_ns: u64,
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waker = cx.waker().clone();
        let replaced = {
            let mut timers = this.etcd.world.timers.lock().unwrap();
            if this.etcd.now().as_nanos() >= this.deadline_ns {
                return Poll::Ready(());
            }
            let place = *this.place.get_or_insert_with(|| {
                timers.next += 1;
                timers.next
            });
            timers.due.insert(place, (this.deadline_ns, waker))
        };
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let forgotten = self.etcd.world.timers.lock().unwrap().due.remove(&place);
            drop(forgotten);
        }
    }
}
