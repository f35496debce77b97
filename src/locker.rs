//! One face for every lock: `lock` and `unlock`, for tasks and for plain threads.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::sync::{self, PoisonError};
use crate::tenure::Held;
use crate::{Error, Mutex, RwLock, Tenure};

/// A lock without a guard, object-safe, as Go's `sync.Locker`: for code that takes any lock.
///
/// Prefer the guards where the kind of lock is known: what forgets to unlock here holds until the locker is dropped.
pub trait Locker: Send + Sync {
    /// Waits until the lock is held.
    ///
    /// # Errors
    /// As the lock's own method; [`Error::InUse`] if it is locked already, or being locked.
    ///
    /// # Cancel safety
    /// Dropping the future gives the wait up.
    fn lock(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Releases the lock and waits until etcd has confirmed it.
    ///
    /// # Errors
    /// [`Error::NotLocked`] if it is not locked; [`Error::SessionLost`] or [`Error::NotHeld`] if the hold had ended before.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the release to the background.
    fn unlock(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// The tenure while it is locked, for its token, its loss and its transactions.
    fn tenure(&self) -> Option<Tenure>;
}

/// The [`Locker`] of a mutex, of one side of a read-write lock or of a semaphore's permit; see [`Mutex::locker`],
/// [`RwLock::read_locker`], [`RwLock::write_locker`], `Semaphore::locker`. Dropping it releases in the background.
pub struct LockerOf {
    name: String,
    acquire: Acquire,
    held: sync::Mutex<Option<Held>>,
}

type Acquire = Box<dyn Fn() -> BoxFuture<'static, Result<Held, Error>> + Send + Sync>;

impl std::fmt::Debug for LockerOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockerOf").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Mutex {
    /// The mutex as a [`Locker`].
    pub fn locker(&self) -> LockerOf {
        let mutex = self.clone();
        LockerOf::new(self.name(), move || {
            let mutex = mutex.clone();
            async move { Ok(mutex.lock().await?.held) }
        })
    }
}

impl RwLock {
    /// The read side as a [`Locker`].
    pub fn read_locker(&self) -> LockerOf {
        let lock = self.clone();
        LockerOf::new(self.name(), move || {
            let lock = lock.clone();
            async move { Ok(lock.read().await?.held) }
        })
    }

    /// The write side as a [`Locker`].
    pub fn write_locker(&self) -> LockerOf {
        let lock = self.clone();
        LockerOf::new(self.name(), move || {
            let lock = lock.clone();
            async move { Ok(lock.write().await?.held) }
        })
    }
}

impl LockerOf {
    /// The locker of what `acquire` waits for.
    pub(crate) fn new<F>(name: &str, acquire: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Held, Error>> + Send + 'static,
    {
        let acquire = Box::new(move || acquire().boxed());
        Self { name: name.to_owned(), acquire, held: sync::Mutex::new(None) }
    }

    fn held(&self) -> sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_use(&self) -> Error {
        Error::InUse { name: self.name.clone() }
    }
}

impl Locker for LockerOf {
    fn lock(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            if self.held().is_some() {
                return Err(self.in_use());
            }
            let acquired = (self.acquire)().await?;
            let mut held = self.held();
            if held.is_some() {
                return Err(self.in_use());
            }
            *held = Some(acquired);
            Ok(())
        }
        .boxed()
    }

    fn unlock(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            let mut held = self.held().take().ok_or(Error::NotLocked)?;
            let released = held.release().await;
            if matches!(released, Err(Error::Refused(_))) {
                *self.held() = Some(held);
            }
            released
        }
        .boxed()
    }

    fn tenure(&self) -> Option<Tenure> {
        self.held().as_ref().map(|held| held.tenure.clone())
    }
}

/// Lockers for plain threads.
pub(crate) mod blocking {
    use super::{Error, LockerOf, Tenure, sync};

    /// A [`Locker`](super::Locker) whose calls block the calling thread. The backend's runtime must run on other
    /// threads: never call it from a task, nor with a current-thread tokio runtime that nobody drives.
    #[derive(Debug)]
    pub struct Locker {
        inner: LockerOf,
    }

    impl Locker {
        /// Makes a locker blocking.
        pub fn new(inner: LockerOf) -> Self {
            Self { inner }
        }

        /// Blocks until the lock is held.
        ///
        /// # Errors
        /// As [`Locker::lock`](super::Locker::lock).
        pub fn lock(&self) -> Result<(), Error> {
            sync::block_on(super::Locker::lock(&self.inner))
        }

        /// Releases the lock and blocks until etcd has confirmed it.
        ///
        /// # Errors
        /// As [`Locker::unlock`](super::Locker::unlock).
        pub fn unlock(&self) -> Result<(), Error> {
            sync::block_on(super::Locker::unlock(&self.inner))
        }

        /// The tenure while it is locked.
        pub fn tenure(&self) -> Option<Tenure> {
            super::Locker::tenure(&self.inner)
        }
    }
}
