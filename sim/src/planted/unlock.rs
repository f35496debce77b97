//! `unlock-by-name`: the transaction that deletes a contender's key loses its compare, and one whose answer is lost counts
//! as done and is sent again later.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{
    CompareTarget, LeaseGrant, Op, OpResponse, Range, RangeResponse, Txn, TxnResponse, WatchRequest,
};
use tenure::{Backend, CallError, Instant, Runtime, WatchStream};

pub(super) fn by_name(inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(ByName { inner })
}

struct ByName {
    inner: Arc<dyn Backend>,
}

/// Whether this is the deletion of one incarnation of a contender's key.
fn is_unlock(txn: &Txn) -> bool {
    let one_incarnation = matches!(
        txn.compares.as_slice(),
        [only] if matches!(only.target, CompareTarget::Create(revision) if revision != 0)
    );
    one_incarnation && matches!(txn.success.as_slice(), [Op::Delete(_)])
}

impl Runtime for ByName {
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

impl Backend for ByName {
    fn txn(&self, mut txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        if !is_unlock(&txn) {
            return self.inner.txn(txn, deadline);
        }
        txn.compares.clear();
        let inner = Arc::clone(&self.inner);
        async move {
            match inner.txn(txn.clone(), deadline).await {
                Err(CallError::Maybe(_)) => {
                    let again = Arc::clone(&inner);
                    inner.spawn(
                        async move {
                            again.sleep_until(again.now() + Duration::from_millis(50)).await;
                            let _ = again.txn(txn, again.now() + Duration::from_secs(1)).await;
                        }
                        .boxed(),
                    );
                    let deleted = OpResponse::Delete(tenure::kv::DeleteResponse::default());
                    Ok(TxnResponse { succeeded: true, responses: vec![deleted], ..TxnResponse::default() })
                }
                answer => answer,
            }
        }
        .boxed()
    }

    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        self.inner.range(range, deadline)
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
