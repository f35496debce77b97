//! A session: a lease kept alive, through which a process holds locks and leaderships, and whose end frees them.

mod keep_alive;
mod liveness;
mod receipts;
mod slots;
mod steps;

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};

use crate::election::Leaderships;
use crate::sync::{self, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError, Weak};
use crate::{Backend, CallError, Error, Instant, Refusal, metrics, within};

pub(crate) use liveness::{Ended, Liveness};
pub(crate) use receipts::{Once, Receipts};
pub(crate) use slots::{Slot, Slots};
pub(crate) use steps::{Failed, Outcome};

/// A lease kept alive by a background task, and the clock that says until when what it holds is safe.
///
/// Every lock and leadership is held through a session. When the process dies the lease runs out and etcd frees all of
/// them; when the process cannot renew it in time, the session says so *before* etcd does: its [deadline](Self::deadline)
/// is (the moment the last renewal that succeeded was *sent*) + TTL, less the bound on clock drift, and etcd's own clock
/// for that renewal starts no earlier. Go's session counts from the receipt of the answer and looks once a second, so it
/// may tell its owner after etcd has given the lock away (etcd issues 6127, 10811).
///
/// A session survives etcd's leader changes and outages until that deadline. Once over, it is over for ever.
///
/// It is a handle: clones are the same session. When the last handle is dropped (guards hold one too) the lease is
/// revoked in the background; [`Session::close`] waits for that, [`Session::orphan`] forgoes it.
#[derive(Clone)]
pub struct Session {
    inner: sync::Arc<Inner>,
}

pub(crate) struct Inner {
    backend: Arc<dyn Backend>,
    lease: i64,
    ttl: Duration,
    liveness: Arc<Liveness>,
    slots: Arc<Slots>,
    /// By lock, its fence key as this session last saw it; see `line`.
    fences: Mutex<BTreeMap<Vec<u8>, Fence>>,
    leaderships: Leaderships,
    receipts: Receipts,
    numbers: AtomicU64,
    /// The lease was another process's before.
    taken_over: bool,
    /// Whether the end of the session is to revoke the lease: not once it is handed on, or another has seen to it.
    revokes: Arc<AtomicBool>,
}

/// A lock's fence key, as a session knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Fence {
    revision: i64,
    /// Where it was when it was to be moved and could not.
    owed_at: Option<i64>,
}

/// How a session is to be opened; see [`Session::builder`].
pub struct SessionBuilder {
    backend: Arc<dyn Backend>,
    ttl: Duration,
    lease: Option<i64>,
    drift_bound_ppm: u32,
    open_timeout: Option<Duration>,
}

impl std::fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("ttl", &self.ttl)
            .field("lease", &self.lease)
            .field("drift_bound_ppm", &self.drift_bound_ppm)
            .field("open_timeout", &self.open_timeout)
            .finish_non_exhaustive()
    }
}

impl SessionBuilder {
    /// The time to live, in whole seconds (rounded up); etcd may choose a longer one. Default 60 s, as in etcd's own
    /// clients. After a crash, what the session held is free once it has passed.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Takes over an existing lease instead of making one, as a restarted process does.
    ///
    /// Locks and leaderships that are then taken again by the keys which the earlier process left are safe from what it has sent and is not
    /// applied yet, but for one request: etcd knows no condition on the revocation of a lease. So take over the lease of a
    /// process that [orphaned](Session::orphan) its session or died, never of one that was closing it.
    #[must_use]
    pub fn lease(mut self, id: i64) -> Self {
        self.lease = Some(id);
        self
    }

    /// By how much this process's clock may run slower than etcd's, in parts of a million; the session ends itself
    /// that much earlier. Default 10 000 (1 %), far above what an undisciplined quartz clock does.
    #[must_use]
    pub fn drift_bound_ppm(mut self, ppm: u32) -> Self {
        self.drift_bound_ppm = ppm;
        self
    }

    /// How long [`SessionBuilder::open`] may try. Default: the TTL, at least 5 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = Some(timeout);
        self
    }

    /// Opens the session.
    ///
    /// # Errors
    /// [`Error::NotOpened`] if etcd did not answer in time, [`Error::SessionLost`] if the lease to take over has ended,
    /// [`Error::Refused`] if etcd refuses, [`Error::InvalidArgument`] for a TTL of zero or a drift bound of 100 % or more.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a lease behind, without keys; it runs out by itself.
    pub async fn open(self) -> Result<Session, Error> {
        if self.ttl.is_zero() {
            return Err(Error::InvalidArgument { what: "ttl", allowed: "above zero" });
        }
        if self.drift_bound_ppm >= 1_000_000 {
            return Err(Error::InvalidArgument { what: "drift_bound_ppm", allowed: "below 1000000" });
        }
        let timeout = self.open_timeout.unwrap_or_else(|| self.ttl.max(Duration::from_secs(5)));
        let give_up_at = self.backend.now() + timeout;
        let mut pause = Duration::from_millis(20);
        loop {
            let failure = match self.attempt(give_up_at).await? {
                Ok(session) => return Ok(session),
                Err(failure) => failure,
            };
            if self.backend.now() + pause >= give_up_at {
                return Err(Error::NotOpened(failure.to_string()));
            }
            self.backend.sleep_until(self.backend.now() + pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// One try to get the lease. A grant whose answer was lost leaves a lease without keys, which runs out.
    async fn attempt(&self, give_up_at: Instant) -> Result<Result<Session, CallError>, Error> {
        let sent = self.backend.now();
        // The session counts from here: what is answered later than this is a session that is over soon, or already.
        let deadline = give_up_at.min(sent + self.ttl.max(Duration::from_secs(1)) / 2);
        let answer = match self.lease {
            Some(id) => self.backend.lease_keep_alive(id, deadline).await.map(|ttl_s| (id, ttl_s)),
            None => {
                let granted = self.backend.lease_grant(self.ttl, deadline).await;
                granted.map(|grant| (grant.id, grant.ttl_s))
            }
        };
        match answer {
            Ok((id, ttl_s)) => match u64::try_from(ttl_s) {
                Ok(ttl_s @ 1..) => Ok(self.start(id, Duration::from_secs(ttl_s), sent)),
                _ => Err(Error::SessionLost),
            },
            Err(CallError::Refused(Refusal::LeaseNotFound)) => Err(Error::SessionLost),
            Err(CallError::Refused(refusal)) => Err(Error::Refused(refusal)),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// The session on a lease that was asked for at `sent`; none if the answer took so long that it is over already.
    fn start(&self, lease: i64, ttl: Duration, sent: Instant) -> Result<Session, CallError> {
        let keep_alive =
            keep_alive::KeepAlive::new(Arc::clone(&self.backend), lease, self.drift_bound_ppm, ttl, sent);
        let (liveness, revokes) = (keep_alive.liveness(), keep_alive.revokes());
        if !liveness.is_alive(self.backend.now().as_nanos()) {
            if self.lease.is_none() {
                revoke_in_background(&self.backend, lease, ttl);
            }
            return Err(CallError::NotApplied("the answer came when the lease's time was over".to_owned()));
        }
        self.backend.spawn(keep_alive.run().boxed());
        tracing::debug!(lease, ttl_ms = ttl.as_millis(), "session opened");
        metrics::session_opened();
        Ok(Session {
            inner: sync::Arc::new(Inner {
                backend: Arc::clone(&self.backend),
                lease,
                ttl,
                liveness,
                slots: Arc::default(),
                fences: Mutex::default(),
                leaderships: Leaderships::default(),
                receipts: Receipts::default(),
                numbers: AtomicU64::new(0),
                taken_over: self.lease.is_some(),
                revokes,
            }),
        })
    }
}

impl Session {
    /// Begins to open a session on a backend; finish with [`SessionBuilder::open`].
    pub fn builder<B: Backend + Clone>(backend: &B) -> SessionBuilder {
        Self::builder_on(Arc::new(backend.clone()))
    }

    /// As [`Session::builder`], on a shared backend of any kind.
    pub fn builder_on(backend: Arc<dyn Backend>) -> SessionBuilder {
        SessionBuilder {
            backend,
            ttl: Duration::from_secs(60),
            lease: None,
            drift_bound_ppm: 10_000,
            open_timeout: None,
        }
    }

    /// The id of the lease, by which etcd knows the session.
    pub fn lease(&self) -> i64 {
        self.inner.lease
    }

    /// The time to live that etcd granted.
    pub fn ttl(&self) -> Duration {
        self.inner.ttl
    }

    /// Until when, by this process's clock, what the session holds is safe if no renewal succeeds any more; `None` if it
    /// is over. It moves on with every renewal, and never back.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.liveness.deadline_ns().map(Instant::from_nanos)
    }

    /// Whether the session lives, by this process's clock. Once `false` it stays `false`.
    pub fn is_alive(&self) -> bool {
        self.inner.liveness.is_alive(self.inner.backend.now().as_nanos())
    }

    /// Resolves when the session is over: closed, lost, or past its deadline. It resolves before etcd frees what the
    /// session held (unless somebody revokes the lease or deletes the keys by hand).
    ///
    /// Cancel safe; the future is independent of this handle.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        lost(Arc::clone(&self.inner.backend), Arc::clone(&self.inner.liveness))
    }

    /// Ends the session and waits until etcd has revoked the lease, which frees all that it held. On the caller's side
    /// everything is over from the first poll on.
    ///
    /// # Errors
    /// [`Error::Maybe`] if etcd did not confirm within the TTL: then the lease runs out by itself.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the revocation to the background.
    pub async fn close(self) -> Result<(), Error> {
        self.inner.revokes.store(false, Ordering::Release);
        self.inner.liveness.end();
        let mut pending = RevokeOnDrop { inner: sync::Arc::clone(&self.inner), armed: true };
        let revoked = revoke(&*self.inner.backend, self.inner.lease, self.inner.ttl).await;
        pending.armed = false;
        revoked
    }

    /// Stops renewing without revoking: the lease, and what it holds, lives on for what is left of its TTL, for another
    /// process to take over with [`SessionBuilder::lease`]. This session is over, on this side. If it was lost before, its
    /// lease may be revoked already.
    pub fn orphan(self) {
        // In this order: the renewal, which may find the session over at any moment, must find this said.
        self.inner.revokes.store(false, Ordering::Release);
        self.inner.liveness.end();
    }

    /// Takes in all that decides what the session does next while none of its tasks, guards and calls is under way: what a
    /// checker of schedules has to tell states apart by.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn Hasher) {
        // Every field, so that a new one is thought of here.
        let Inner {
            backend: _,
            lease,
            ttl,
            liveness,
            slots,
            fences: _,
            leaderships,
            receipts,
            numbers,
            taken_over,
            revokes,
        } = &*self.inner;
        into.write_i64(*lease);
        into.write_u8((*taken_over).into());
        into.write_u128(ttl.as_nanos());
        into.write_u64(liveness.deadline_ns().unwrap_or(0));
        slots.hash_state(into);
        for (key, Fence { revision, owed_at }) in &*self.fences() {
            into.write(key);
            into.write_i64(*revision);
            into.write_i64(owed_at.map_or(-1, |owed_at| owed_at));
        }
        into.write_usize(leaderships.count());
        receipts.hash_state(into);
        into.write_u64(numbers.load(Ordering::Relaxed));
        into.write_u8(revokes.load(Ordering::Relaxed).into());
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.inner.backend
    }

    pub(crate) fn liveness(&self) -> &Arc<Liveness> {
        &self.inner.liveness
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.inner.slots
    }

    pub(crate) fn leaderships(&self) -> &Leaderships {
        &self.inner.leaderships
    }

    fn receipts(&self) -> &Receipts {
        &self.inner.receipts
    }

    /// Whether the lease was another process's before, which may have left keys and sent what is not applied yet.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.inner.taken_over
    }

    /// A number, new in this process's life of the session.
    pub(crate) fn next_number(&self) -> u64 {
        self.inner.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        sync::Arc::downgrade(&self.inner)
    }

    pub(crate) fn upgrade(inner: &Weak<Inner>) -> Option<Self> {
        inner.upgrade().map(|inner| Self { inner })
    }

    /// The revision of a lock's fence key as this session last saw it; 0 until a request was lost.
    pub(crate) fn fence(&self, key: &[u8]) -> i64 {
        self.fences().get(key).map_or(0, |fence| fence.revision)
    }

    pub(crate) fn set_fence(&self, key: &[u8], revision: i64) {
        let mut fences = self.fences();
        let fence = fences.entry(key.to_vec()).or_default();
        fence.revision = revision;
        // Answers may come in another order than they were given: only a move settles it.
        fence.owed_at = fence.owed_at.filter(|&owed_at| owed_at == revision);
    }

    /// The fence was to be moved and could not.
    pub(crate) fn owe_fence(&self, key: &[u8]) {
        let mut fences = self.fences();
        let fence = fences.entry(key.to_vec()).or_default();
        fence.owed_at = Some(fence.revision);
    }

    /// Whether the fence is still where it was when it was to be moved.
    pub(crate) fn owes_fence(&self, key: &[u8]) -> bool {
        self.fences().get(key).is_some_and(|fence| fence.owed_at.is_some())
    }

    fn fences(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Fence>> {
        self.inner.fences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("lease", &format_args!("{:x}", self.inner.lease))
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

/// Resolves when `liveness` is over or past its deadline.
pub(crate) async fn lost(backend: Arc<dyn Backend>, liveness: Arc<Liveness>) {
    while let Some(deadline) = liveness.deadline_ns().map(Instant::from_nanos) {
        if !liveness.is_alive(backend.now().as_nanos()) {
            return;
        }
        let mut ended = Ended::of(&liveness).fuse();
        let mut due = backend.sleep_until(deadline).fuse();
        select_biased! {
            () = ended => return,
            () = due => {}
        }
    }
}

/// Revokes a lease, trying until its TTL has passed: then it is gone anyway.
async fn revoke(backend: &dyn Backend, lease: i64, ttl: Duration) -> Result<(), Error> {
    let give_up_at = backend.now() + ttl;
    let mut pause = Duration::from_millis(20);
    loop {
        let failure = match within(backend, give_up_at, backend.lease_revoke(lease, give_up_at)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(CallError::Refused(refusal))) => return Err(Error::Refused(refusal)),
            Ok(Err(failure)) => failure.to_string(),
            Err(late) => late.to_string(),
        };
        if backend.now() + pause >= give_up_at {
            return Err(Error::Maybe(failure));
        }
        backend.sleep_until(backend.now() + pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

fn revoke_in_background(backend: &Arc<dyn Backend>, lease: i64, ttl: Duration) {
    let task_backend = Arc::clone(backend);
    backend.spawn(
        async move {
            if let Err(error) = revoke(&*task_backend, lease, ttl).await {
                tracing::warn!(lease, %error, "the lease was not revoked; it runs out by itself");
            }
        }
        .boxed(),
    );
}

/// Leaves an unfinished revocation to the background.
struct RevokeOnDrop {
    inner: sync::Arc<Inner>,
    armed: bool,
}

impl Drop for RevokeOnDrop {
    fn drop(&mut self) {
        if self.armed {
            revoke_in_background(&self.inner.backend, self.inner.lease, self.inner.ttl);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        metrics::session_dropped();
        self.liveness.end();
        if self.revokes.load(Ordering::Acquire) {
            revoke_in_background(&self.backend, self.lease, self.ttl);
        }
    }
}
