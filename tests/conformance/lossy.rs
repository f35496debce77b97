//! A backend that loses what it is told to lose: an answer, a request that arrives only later, what a watch should tell.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt, StreamExt, stream};
use tenure::kv::{
    Event, LeaseGrant, Op, OpResponse, Range, RangeResponse, Request, Txn, TxnResponse, WatchRequest,
};
use tenure::{Backend, CallError, Etcd, Instant, Refusal, Runtime, Session, WatchMessage, WatchStream};

use crate::cx::Cx;

/// What becomes of a transaction that writes, or of a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is applied and answered.
    Answered,
    /// It is applied, and the answer is lost.
    AnswerLost,
    /// As `AnswerLost`, and its sender waits for that a little.
    AnswerLostLate,
    /// It is under way until it [arrives](Lossy::arrives); its sender is told that nothing is known.
    Late,
    /// As `Late`, and its sender waits.
    Stuck,
    /// It is not applied, as its sender is told, for this time.
    NotApplied,
    /// It is refused for want of space, and its sender waits for that a little.
    RefusedLate,
    /// It is applied, and then found to be more than there is space for.
    AppliedAndRefused,
    /// It is refused: the user may not do this.
    Denied,
}

/// What watches tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hearing {
    #[default]
    All,
    /// Only that they are open since that revision.
    Nothing { since: i64 },
    /// So many events in one message.
    AtOnce(usize),
}

/// The backend. Transactions that write meet the fates that were given, in order; then all are answered. So do requests for
/// leases.
#[derive(Clone)]
pub(crate) struct Lossy {
    etcd: Etcd,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    fates: VecDeque<Fate>,
    of_leases: VecDeque<Fate>,
    under_way: Vec<Txn>,
    /// What happens right before each of the next reads.
    before_reads: VecDeque<Option<Request>>,
    /// What happens right before each of the next watches is opened.
    before_watches: VecDeque<Option<Request>>,
    hearing: Hearing,
    asked: Asked,
}

/// What was asked of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) txns: usize,
    pub(crate) watches: usize,
    /// Requests to grant, to renew and to revoke.
    pub(crate) of_leases: usize,
    /// How many keys the longest answer of a transaction listed.
    pub(crate) most_listed: usize,
}

/// How long a sender waits that waits a little.
const A_LITTLE: Duration = Duration::from_millis(200);

/// How long it takes to learn that a request for a lease was not applied.
const ROUND_TRIP: Duration = Duration::from_millis(10);

fn lost() -> CallError {
    CallError::Maybe("lost".to_owned())
}

fn not_applied() -> CallError {
    CallError::NotApplied("not now".to_owned())
}

impl Lossy {
    pub(crate) fn new(etcd: &Etcd) -> Self {
        Self { etcd: etcd.clone(), shared: Arc::default() }
    }

    /// A session on it.
    pub(crate) async fn session(&self) -> Session {
        Session::builder(self).open().await.expect("etcd is there")
    }

    /// A session on it with this time to live.
    pub(crate) async fn session_of(&self, ttl: Duration) -> Session {
        Session::builder(self).ttl(ttl).open().await.expect("etcd is there")
    }

    /// What comes next.
    pub(crate) fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.shared().fates = fates.into_iter().collect();
    }

    /// What comes next of requests for leases: only `Answered`, `Stuck` and `NotApplied`.
    pub(crate) fn next_of_leases(&self, fates: impl IntoIterator<Item = Fate>) {
        self.shared().of_leases = fates.into_iter().collect();
    }

    /// What happens right before each of the next reads.
    pub(crate) fn before_reads(&self, requests: impl IntoIterator<Item = Option<Request>>) {
        self.shared().before_reads = requests.into_iter().collect();
    }

    /// What happens right before each of the next watches is opened.
    pub(crate) fn before_watches(&self, requests: impl IntoIterator<Item = Option<Request>>) {
        self.shared().before_watches = requests.into_iter().collect();
    }

    /// From here on watches tell that they are open since `since`, and no more.
    pub(crate) fn deafen(&self, since: i64) {
        self.shared().hearing = Hearing::Nothing { since };
    }

    /// From here on watches tell `count` events in one message.
    pub(crate) fn tell_at_once(&self, count: usize) {
        self.shared().hearing = Hearing::AtOnce(count);
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        self.shared().asked
    }

    /// All that is under way arrives; there must be something.
    pub(crate) async fn arrives(&self, cx: &Cx) {
        let txns = std::mem::take(&mut self.shared().under_way);
        assert!(!txns.is_empty(), "nothing is under way");
        for txn in txns {
            cx.raw(Request::Txn(txn)).await;
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic")
    }

    fn after(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.etcd.sleep_until(self.etcd.now() + span)
    }

    /// `call`, after `before` has happened.
    fn then<T: Send + 'static>(
        &self,
        before: Option<Request>,
        call: BoxFuture<'static, T>,
    ) -> BoxFuture<'static, T> {
        let Some(request) = before else { return call };
        let etcd = self.etcd.clone();
        async move {
            etcd.call(request, etcd.now() + Duration::from_secs(15)).await.expect("etcd is there");
            call.await
        }
        .boxed()
    }

    /// A transaction, with what is noted of its answer.
    fn answered(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let shared = Arc::clone(&self.shared);
        let noted = move |answer: Result<TxnResponse, CallError>| {
            let lists =
                answer.iter().flat_map(|response| &response.responses).map(|response| match response {
                    OpResponse::Range(range) => range.kvs.len(),
                    _ => 0,
                });
            let longest = lists.max().unwrap_or(0);
            let asked = &mut shared.lock().expect("no panic").asked;
            asked.most_listed = asked.most_listed.max(longest);
            answer
        };
        self.etcd.txn(txn, deadline).map(noted).boxed()
    }

    fn of_leases<T: Send + 'static>(
        &self,
        deadline: Instant,
        call: BoxFuture<'static, Result<T, CallError>>,
    ) -> BoxFuture<'static, Result<T, CallError>> {
        let mut shared = self.shared();
        shared.asked.of_leases += 1;
        let fate = shared.of_leases.pop_front();
        drop(shared);
        match fate.unwrap_or(Fate::Answered) {
            Fate::Answered => call,
            Fate::Stuck => self.etcd.sleep_until(deadline).map(|()| Err(lost())).boxed(),
            Fate::NotApplied => self.after(ROUND_TRIP).map(|()| Err(not_applied())).boxed(),
            other => panic!("{other:?} is no fate of a request for a lease"),
        }
    }
}

impl Runtime for Lossy {
    fn now(&self) -> Instant {
        self.etcd.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.etcd.sleep_until(deadline)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.etcd.spawn(task);
    }
}

impl Backend for Lossy {
    fn txn(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let mut shared = self.shared();
        shared.asked.txns += 1;
        if !txn.success.iter().any(|op| matches!(op, Op::Put(_) | Op::Delete(_))) {
            let before = shared.before_reads.pop_front().flatten();
            drop(shared);
            let call = self.answered(txn, deadline);
            return self.then(before, call);
        }
        let fate = shared.fates.pop_front().unwrap_or(Fate::Answered);
        if matches!(fate, Fate::Late | Fate::Stuck) {
            shared.under_way.push(txn.clone());
        }
        drop(shared);
        let refused = |refusal| Err(CallError::Refused(refusal));
        let applied = self.answered(txn, deadline);
        match fate {
            Fate::Answered => applied,
            Fate::AnswerLost => applied.map(|_| Err(lost())).boxed(),
            Fate::AnswerLostLate => {
                let later = self.after(A_LITTLE);
                applied.then(move |_| later).map(|()| Err(lost())).boxed()
            }
            Fate::Late => self.after(Duration::ZERO).map(|()| Err(lost())).boxed(),
            Fate::Stuck => self.etcd.sleep_until(deadline).map(|()| Err(lost())).boxed(),
            Fate::NotApplied => ready(Err(not_applied())).boxed(),
            Fate::RefusedLate => self.after(A_LITTLE).map(move |()| refused(Refusal::NoSpace)).boxed(),
            Fate::AppliedAndRefused => applied.map(move |_| refused(Refusal::NoSpace)).boxed(),
            Fate::Denied => {
                let denied = refused(Refusal::PermissionDenied("not this one".to_owned()));
                ready(denied).boxed()
            }
        }
    }

    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        let before = self.shared().before_reads.pop_front().flatten();
        self.then(before, self.etcd.range(range, deadline))
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
        let mut shared = self.shared();
        shared.asked.watches += 1;
        let before = shared.before_watches.pop_front().flatten();
        let hearing = shared.hearing;
        drop(shared);
        if let Hearing::Nothing { since } = hearing {
            let open = WatchMessage::Created { revision: since };
            return stream::iter([Ok(open)]).chain(stream::pending()).boxed();
        }
        let etcd = self.etcd.clone();
        let opened = self.then(before, async move { etcd.watch(request) }.boxed());
        let told = stream::once(opened).flatten().boxed();
        match hearing {
            Hearing::AtOnce(count) => at_once(told, count),
            Hearing::All | Hearing::Nothing { .. } => told,
        }
    }

    fn lease_grant(
        &self,
        ttl: Duration,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<LeaseGrant, CallError>> {
        self.of_leases(deadline, self.etcd.lease_grant(ttl, deadline))
    }

    fn lease_keep_alive(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<i64, CallError>> {
        self.of_leases(deadline, self.etcd.lease_keep_alive(id, deadline))
    }

    fn lease_revoke(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<(), CallError>> {
        self.of_leases(deadline, self.etcd.lease_revoke(id, deadline))
    }
}

/// A watch that tells `count` events in one message.
fn at_once(told: WatchStream, count: usize) -> WatchStream {
    let gathered = told.scan(Vec::new(), move |events: &mut Vec<Event>, message| {
        let message = match message {
            Ok(WatchMessage::Events { events: more }) => {
                events.extend(more);
                (events.len() >= count).then(|| Ok(WatchMessage::Events { events: std::mem::take(events) }))
            }
            other => Some(other),
        };
        ready(Some(message))
    });
    gathered.filter_map(ready).boxed()
}
