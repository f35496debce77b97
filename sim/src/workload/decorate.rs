//! A backend in front of another that does some calls differently, and passes on the rest. Planted bugs are made of it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tenure::kv::{LeaseGrant, Range, RangeResponse, Txn, TxnResponse, WatchRequest};
use tenure::{Backend, CallError, Instant, Runtime, WatchStream};

type Answer<T> = BoxFuture<'static, Result<T, CallError>>;

/// What is done differently; by default nothing.
pub(crate) trait Decoration: 'static {
    /// Instead of [`Backend::txn`].
    fn txn(inner: &Arc<dyn Backend>, txn: Txn, deadline: Instant) -> Answer<TxnResponse> {
        inner.txn(txn, deadline)
    }

    /// Instead of [`Backend::range`].
    fn range(inner: &Arc<dyn Backend>, range: Range, deadline: Instant) -> Answer<RangeResponse> {
        inner.range(range, deadline)
    }

    /// Instead of [`Backend::watch`].
    fn watch(inner: &Arc<dyn Backend>, request: WatchRequest) -> WatchStream {
        inner.watch(request)
    }

    /// Instead of [`Backend::lease_grant`].
    fn lease_grant(inner: &Arc<dyn Backend>, ttl: Duration, deadline: Instant) -> Answer<LeaseGrant> {
        inner.lease_grant(ttl, deadline)
    }

    /// Instead of [`Backend::lease_keep_alive`].
    fn lease_keep_alive(inner: &Arc<dyn Backend>, id: i64, deadline: Instant) -> Answer<i64> {
        inner.lease_keep_alive(id, deadline)
    }
}

/// Does nothing differently: a shared backend as a type of its own.
pub(crate) struct Plain;

impl Decoration for Plain {}

/// A backend with a decoration.
pub(crate) struct Decorated<D> {
    inner: Arc<dyn Backend>,
    decoration: PhantomData<fn() -> D>,
}

impl<D> Decorated<D> {
    pub(crate) fn over(inner: Arc<dyn Backend>) -> Self {
        Self { inner, decoration: PhantomData }
    }
}

/// A decoration as a planted bug names it.
pub(crate) fn decorated<D: Decoration>(inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Decorated::<D>::over(inner))
}

impl<D> Clone for Decorated<D> {
    fn clone(&self) -> Self {
        Self::over(Arc::clone(&self.inner))
    }
}

impl<D: Decoration> Runtime for Decorated<D> {
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

impl<D: Decoration> Backend for Decorated<D> {
    fn txn(&self, txn: Txn, deadline: Instant) -> Answer<TxnResponse> {
        D::txn(&self.inner, txn, deadline)
    }

    fn range(&self, range: Range, deadline: Instant) -> Answer<RangeResponse> {
        D::range(&self.inner, range, deadline)
    }

    fn watch(&self, request: WatchRequest) -> WatchStream {
        D::watch(&self.inner, request)
    }

    fn lease_grant(&self, ttl: Duration, deadline: Instant) -> Answer<LeaseGrant> {
        D::lease_grant(&self.inner, ttl, deadline)
    }

    fn lease_keep_alive(&self, id: i64, deadline: Instant) -> Answer<i64> {
        D::lease_keep_alive(&self.inner, id, deadline)
    }

    fn lease_revoke(&self, id: i64, deadline: Instant) -> Answer<()> {
        self.inner.lease_revoke(id, deadline)
    }
}
