//! A backend that holds deletions back, as a network does that delivers them late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{LeaseGrant, Op, Range, RangeResponse, Request, Txn, TxnResponse, WatchRequest};
use tenure::{Backend, CallError, Etcd, Instant, Runtime, WatchStream};

use crate::cx::Cx;

/// The backend, with what it holds back.
#[derive(Clone)]
pub(crate) struct Late {
    etcd: Etcd,
    held_back: Arc<Mutex<Vec<Txn>>>,
}

impl Late {
    pub(crate) fn new(etcd: &Etcd) -> Self {
        Self { etcd: etcd.clone(), held_back: Arc::default() }
    }

    /// The first deletion arrives.
    pub(crate) async fn arrives(&self, cx: &Cx) {
        let first = self.held_back.lock().expect("no panic").first().cloned();
        cx.raw(Request::Txn(first.expect("something was deleted"))).await;
    }
}

impl Runtime for Late {
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

impl Backend for Late {
    fn txn(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        if txn.success.iter().any(|op| matches!(op, Op::Delete(_))) {
            self.held_back.lock().expect("no panic").push(txn);
            return std::future::pending().boxed();
        }
        self.etcd.txn(txn, deadline)
    }

    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        self.etcd.range(range, deadline)
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
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
