//! The mutex: one holder at a time, in order of arrival.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::line::{Intent, Line, Place};
use crate::name::{Name, contender_key};
use crate::tenure::{Held, guard, with_limit};
use crate::{Error, Session, metrics};

/// A mutual-exclusion lock on etcd, fair in order of arrival.
///
/// Its keys and transactions are those of etcd's own recipe (`client/v3/concurrency/mutex.go`), so that Go's
/// `concurrency.Mutex`, `etcdctl lock` and the server's Lock service contend on the same name.
///
/// On etcd a session is one contender: two mutexes of one session and name are one lock. Here the second wait is refused
/// with [`Error::InUse`] instead of being granted beside the first; two tasks that exclude each other take a session
/// each.
#[derive(Clone)]
pub struct Mutex {
    session: Session,
    line: Arc<Line>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Mutex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutex")
            .field("key", &crate::kv::Shown(&self.key).to_string())
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

guard! {
    /// The lock is held; dropping it releases the lock in the background, [`MutexGuard::release`] waits for that.
    ///
    /// It derefs to its [`Tenure`](crate::Tenure): `fencing_token`, `is_held`, `lost`, `txn`.
    MutexGuard, "mutex release"
}

impl Mutex {
    /// Names a lock of a session. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        let name = Name::new(name.as_ref())?;
        let key = contender_key(&name.prefix(), session.lease());
        Ok(Self { session: session.clone(), line: Arc::new(Line::plain(name)), key })
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        self.line.name.as_str()
    }

    /// Waits until the lock is held: one round trip when it is free.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::NotHeld`] if the contender's key is deleted while it waits, [`Error::InUse`],
    /// [`Error::ForeignKey`], [`Error::Refused`]. After an error nothing is left in line (what could not be deleted at
    /// once is deleted in the background, at the latest with the lease).
    ///
    /// # Cancel safety
    /// Dropping the future withdraws from the line in the background; the place is lost.
    pub async fn lock(&self) -> Result<MutexGuard, Error> {
        let acquire = async {
            let mut place = self.place().await?;
            let joined = place.join(b"", Intent::Wait).await?;
            if !joined.is_first {
                place.wait_turn(joined.head_start).await?;
            }
            self.grant(place)
        };
        self.told(|_| true, acquire).instrument(self.span("lock")).await
    }

    /// Takes the lock if it is free: `None` if another holds it or waits for it.
    ///
    /// # Errors
    /// As [`Mutex::lock`].
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`].
    pub async fn try_lock(&self) -> Result<Option<MutexGuard>, Error> {
        let acquire = async {
            let mut place = self.place().await?;
            if place.join(b"", Intent::Try).await?.is_first {
                return self.grant(place).map(Some);
            }
            place.withdraw().await?;
            Ok(None)
        };
        self.told(Option::is_some, acquire).instrument(self.span("try_lock")).await
    }

    /// As [`Mutex::lock`], waiting for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`Mutex::lock`].
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`].
    pub async fn lock_timeout(&self, limit: Duration) -> Result<MutexGuard, Error> {
        with_limit(&**self.session.backend(), limit, self.lock()).await
    }

    fn told<T>(
        &self,
        is_granted: impl Fn(&T) -> bool,
        acquire: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        metrics::acquisition("mutex", &**self.session.backend(), is_granted, acquire)
    }

    async fn place(&self) -> Result<Place, Error> {
        Place::take(&self.session, Arc::clone(&self.line), self.key.clone()).await
    }

    fn grant(&self, place: Place) -> Result<MutexGuard, Error> {
        let held = Held::grant(place, self.name(), Some(self.line.scope.clone()))?;
        Ok(MutexGuard { held })
    }

    /// As [`Session::hash_state`], of what the lock itself remembers.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let Self { session: _, line, key: _ } = self;
        line.hash_state(into);
    }

    fn span(&self, how: &'static str) -> tracing::Span {
        tracing::debug_span!("mutex", how, name = self.name(), lease = self.session.lease())
    }
}
