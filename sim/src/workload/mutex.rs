//! The library's mutex as a primitive of programs.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{Op, TxnResponse};
use tenure::{Error, Mutex, MutexGuard};

use super::primitive::{Belief, Held, Primitive, Through, Wait};

/// `tenure::Mutex`
pub(super) struct LibraryMutex;

impl Primitive for LibraryMutex {
    fn take(
        &self,
        through: Through,
        name: &str,
        wait: Wait,
    ) -> BoxFuture<'static, Result<Option<Box<dyn Held>>, Error>> {
        let mutex = Mutex::new(&through.session, name);
        async move {
            let mutex = mutex?;
            let guard = match wait {
                Wait::Forever => Some(mutex.lock().await?),
                Wait::Try => mutex.try_lock().await?,
                Wait::LimitMs(limit_ms) => Some(mutex.lock_timeout(Duration::from_millis(limit_ms)).await?),
            };
            Ok(guard.map(|guard| Box::new(guard) as Box<dyn Held>))
        }
        .boxed()
    }
}

impl Held for MutexGuard {
    fn token(&self) -> i64 {
        self.fencing_token()
    }

    fn belief(&self) -> Belief {
        let tenure = self.tenure();
        std::sync::Arc::new(move || tenure.is_held())
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        self.tenure().lost().boxed()
    }

    fn txn(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<TxnResponse, Error>> {
        let tenure = self.tenure();
        async move { tenure.txn(ops).await }.boxed()
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        (*self).release().boxed()
    }
}
