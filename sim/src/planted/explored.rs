//! Bugs that are planted for the model checker alone: conditions that are taken out of the library's own requests, as if their
//! lines were removed, and what its own checks are for, a wake-up that is lost and a livelock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, future};
use tenure::kv::{
    KeyValue, LeaseGrant, Op, OpResponse, Range, RangeResponse, Txn, TxnResponse, WatchRequest,
};
use tenure::{Backend, CallError, Instant, Runtime, WatchMessage, WatchStream};

use super::Planted;
use super::wrong_lock::{Flaw, wrong_lock};
use crate::workload::decorate::{Decoration, decorated};
use crate::workload::program::PrimitiveKind;

/// Every bug that is planted for the model checker alone.
pub const EXPLORED: &[Planted] = &[
    Planted::backend(
        "without-fence",
        "no request compares the fence key: what was lost may be applied when its contender has left",
        ("mutex", "no-residue"),
        decorated::<WithoutFence>,
    ),
    Planted::backend(
        "without-own-key",
        "the library's own wait does not look whether its own key is still there",
        ("mutex", "fifo"),
        WithoutOwnKey::over,
    ),
    Planted::primitive(
        "lost-wake-up",
        "a waiter lists those before it, and watches from a later revision on",
        ("mutex", "progress"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::WatchesTooLate)),
    ),
    Planted::primitive(
        "gives-way",
        "who finds another in line leaves it and comes again, for ever if the other does so, too",
        ("mutex", "progress"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::GivesWay)),
    ),
];

struct WithoutFence;

impl Decoration for WithoutFence {
    fn txn(
        inner: &Arc<dyn Backend>,
        mut txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        txn.compares.retain(|compare| !crate::bytes::contains(&compare.key, b"\0fence/"));
        inner.txn(txn, deadline)
    }
}

/// Shows the library its own key as it was when it was put, whatever became of it.
#[derive(Clone)]
struct WithoutOwnKey {
    inner: Arc<dyn Backend>,
    own: Arc<Mutex<Option<KeyValue>>>,
}

impl WithoutOwnKey {
    fn over(inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
        Arc::new(Self { inner, own: Arc::default() })
    }

    fn own(&self) -> Option<KeyValue> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Runtime for WithoutOwnKey {
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

impl Backend for WithoutOwnKey {
    fn txn(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let joins = match txn.success.first() {
            Some(Op::Put(put)) if put.lease != 0 && txn.success.len() == 2 => Some(put.key.clone()),
            _ => None,
        };
        let looks = match txn.success.first() {
            Some(Op::Range(range)) if txn.compares.is_empty() => Some(range.key.clone()),
            _ => None,
        };
        let (answer, this) = (self.inner.txn(txn, deadline), self.clone());
        async move {
            let mut response = answer.await?;
            if let Some(key) = joins.filter(|_| response.succeeded) {
                let revision = response.header.revision;
                let put = KeyValue {
                    key,
                    create_revision: revision,
                    mod_revision: revision,
                    ..KeyValue::default()
                };
                *this.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(put);
            }
            if let Some(own) = this.own().filter(|own| looks.as_ref() == Some(&own.key))
                && let Some(OpResponse::Range(range)) = response.responses.first_mut()
            {
                range.kvs = vec![own];
            }
            Ok(response)
        }
        .boxed()
    }

    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        self.inner.range(range, deadline)
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
        let this = self.clone();
        let told = self.inner.watch(request).filter_map(move |mut message| {
            let own = this.own().map(|own| own.key);
            if let Ok(WatchMessage::Events { events }) = &mut message {
                events.retain(|event| Some(&event.kv.key) != own.as_ref());
                if events.is_empty() {
                    return future::ready(None);
                }
            }
            future::ready(Some(message))
        });
        told.boxed()
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
