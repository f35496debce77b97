//! Planted bugs: a backend that changes what the recipes ask of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tenure::kv::{
    Compare, CompareOp, CompareTarget, LeaseGrant, Op, Range, RangeResponse, Txn, TxnResponse, WatchRequest,
};
use tenure::{Backend, CallError, Instant, Runtime, WatchStream};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing.
    None,
    /// No transaction goes by a receipt: one whose answer was lost counts as not applied.
    NoReceipts,
    /// Of an account that a transfer read it is compared only whether it is there.
    ByExistence,
    /// Single keys are read from whatever state a member has.
    StaleReads,
    /// A double barrier is entered and opened while a round is on, as in Go's recipe (etcd 14603).
    LateClient,
}

/// The backend.
#[derive(Clone)]
pub(crate) struct Wrong {
    inner: Arc<dyn Backend>,
    bug: Bug,
}

impl Wrong {
    pub(crate) fn over(inner: Arc<dyn Backend>, bug: Bug) -> Arc<dyn Backend> {
        Arc::new(Self { inner, bug })
    }
}

fn contains(key: &[u8], part: &str) -> bool {
    key.windows(part.len()).any(|window| window == part.as_bytes())
}

fn changed(mut txn: Txn, bug: Bug) -> Txn {
    let is_receipt = |key: &[u8]| contains(key, "\0receipt/");
    match bug {
        Bug::NoReceipts => {
            txn.compares.retain(|compare| !is_receipt(&compare.key));
            txn.success.retain(|op| !matches!(op, Op::Put(put) if is_receipt(&put.key)));
        }
        Bug::ByExistence => {
            for compare in txn.compares.iter_mut().filter(|compare| compare.key.starts_with(b"bank/")) {
                if compare.op == CompareOp::Equal && matches!(compare.target, CompareTarget::Mod(1..)) {
                    (compare.op, compare.target) = (CompareOp::NotEqual, CompareTarget::Mod(0));
                }
            }
        }
        Bug::LateClient => {
            let of_ready = |compare: &Compare| {
                compare.key.ends_with(b"/ready") && compare.target == CompareTarget::Create(0)
            };
            txn.compares.retain(|compare| !of_ready(compare));
        }
        Bug::None | Bug::StaleReads => {}
    }
    txn
}

impl Runtime for Wrong {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.inner.sleep_until(deadline)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.inner.spawn(task);
    }
}

impl Backend for Wrong {
    fn txn(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        self.inner.txn(changed(txn, self.bug), deadline)
    }

    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        let serializable = range.serializable || self.bug == Bug::StaleReads;
        self.inner.range(Range { serializable, ..range }, deadline)
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
        self.inner.watch(request)
    }

    fn lease_grant(
        &self,
        ttl: Duration,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<LeaseGrant, CallError>> {
        self.inner.lease_grant(ttl, deadline)
    }

    fn lease_keep_alive(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<i64, CallError>> {
        self.inner.lease_keep_alive(id, deadline)
    }

    fn lease_revoke(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<(), CallError>> {
        self.inner.lease_revoke(id, deadline)
    }
}
