//! A backend that loses what it is told to lose: an answer, or a request that arrives only later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{LeaseGrant, Op, Range, RangeResponse, Request, Txn, TxnResponse, WatchRequest};
use tenure::{Backend, CallError, Etcd, Instant, Refusal, Runtime, WatchStream};

use crate::cx::Cx;

/// What becomes of a transaction that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is applied and answered.
    Answered,
    /// It is applied, and the answer is lost.
    AnswerLost,
    /// It is under way until it [arrives](Lossy::arrives); its sender is told that nothing is known.
    Late,
    /// As `Late`, and its sender waits.
    Stuck,
    /// It is refused for want of space, and its sender waits for that a little.
    RefusedLate,
}

/// The backend. Transactions that write meet the fates that were given, in order; then all are answered.
#[derive(Clone)]
pub(crate) struct Lossy {
    etcd: Etcd,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    under_way: Arc<Mutex<Vec<Txn>>>,
    asked: Arc<Mutex<Asked>>,
}

/// What was asked of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) txns: usize,
    pub(crate) watches: usize,
}

impl Lossy {
    pub(crate) fn new(etcd: &Etcd) -> Self {
        Self { etcd: etcd.clone(), fates: Arc::default(), under_way: Arc::default(), asked: Arc::default() }
    }

    /// What comes next.
    pub(crate) fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().expect("no panic") = fates.into_iter().collect();
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        *self.asked.lock().expect("no panic")
    }

    /// All that is under way arrives; there must be something.
    pub(crate) async fn arrives(&self, cx: &Cx) {
        let txns = std::mem::take(&mut *self.under_way.lock().expect("no panic"));
        assert!(!txns.is_empty(), "nothing is under way");
        for txn in txns {
            cx.raw(Request::Txn(txn)).await;
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
        self.asked.lock().expect("no panic").txns += 1;
        let writes = txn.success.iter().any(|op| matches!(op, Op::Put(_) | Op::Delete(_)));
        let fate = writes.then(|| self.fates.lock().expect("no panic").pop_front()).flatten();
        let lost = || Err(CallError::Maybe("lost".to_owned()));
        match fate.unwrap_or(Fate::Answered) {
            Fate::Answered => self.etcd.txn(txn, deadline),
            Fate::AnswerLost => self.etcd.txn(txn, deadline).map(move |_| lost()).boxed(),
            Fate::RefusedLate => {
                let refused = || Err(CallError::Refused(Refusal::NoSpace));
                let then = self.etcd.now() + Duration::from_millis(200);
                self.etcd.sleep_until(then).map(move |()| refused()).boxed()
            }
            late => {
                self.under_way.lock().expect("no panic").push(txn);
                let wait = if late == Fate::Stuck { deadline } else { self.etcd.now() };
                self.etcd.sleep_until(wait).map(move |()| lost()).boxed()
            }
        }
    }

    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        self.etcd.range(range, deadline)
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
        self.asked.lock().expect("no panic").watches += 1;
        self.etcd.watch(request)
    }

    fn lease_grant(
        &self,
        ttl: Duration,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<LeaseGrant, CallError>> {
        self.etcd.lease_grant(ttl, deadline)
    }

    fn lease_keep_alive(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<i64, CallError>> {
        self.etcd.lease_keep_alive(id, deadline)
    }

    fn lease_revoke(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<(), CallError>> {
        self.etcd.lease_revoke(id, deadline)
    }
}
