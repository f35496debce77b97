//! `deaf-to-expiry`: renewals that fail, or find no lease, are told to the session as successes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, select_biased};
use tenure::kv::{LeaseGrant, Range, RangeResponse, Txn, TxnResponse, WatchRequest};
use tenure::{Backend, CallError, Instant, Runtime, WatchStream};

/// The time to live that a renewal which failed is said to have given, in seconds.
const CLAIMED_TTL_S: i64 = 5;

pub(super) fn to_expiry(inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Deaf { inner })
}

struct Deaf {
    inner: Arc<dyn Backend>,
}

impl Runtime for Deaf {
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

impl Backend for Deaf {
    fn txn(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        self.inner.txn(txn, deadline)
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
        let mut renewal = self.inner.lease_keep_alive(id, deadline).fuse();
        let mut patience = self.inner.sleep_until(self.inner.now() + Duration::from_millis(200)).fuse();
        async move {
            select_biased! {
                answer = renewal => match answer {
                    Ok(ttl_s @ 1..) => Ok(ttl_s),
                    _ => Ok(CLAIMED_TTL_S),
                },
                () = patience => Ok(CLAIMED_TTL_S),
            }
        }
        .boxed()
    }

    fn lease_revoke(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<(), CallError>> {
        self.inner.lease_revoke(id, deadline)
    }
}
