//! A leadership: the tenure of an elected leader, which it proclaims by and resigns from.

use std::collections::BTreeMap;
use std::ops::Deref;

use futures_util::lock::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use tracing::Instrument;

use crate::kv::{Compare, CompareOp, Op, Put, Range, Txn};
use crate::line::keys;
use crate::session::Outcome;
use crate::sync::{Arc, Mutex, PoisonError, Weak};
use crate::tenure::{Held, Tenure};
use crate::{Error, Session};

/// This process leads. Dropping the last handle resigns in the background, [`Leadership::resign`] waits for that.
///
/// It derefs to its [`Tenure`]: `fencing_token`, `is_held`, `lost`, `txn`.
#[derive(Clone)]
#[must_use = "dropping a leadership resigns"]
pub struct Leadership {
    shared: Arc<Shared>,
}

/// What the handles of one leadership share.
pub(crate) struct Shared {
    session: Weak<crate::session::Inner>,
    tenure: Tenure,
    held: AsyncMutex<Held>,
    /// The revision of the value that was proclaimed last.
    modified: Mutex<i64>,
}

impl Shared {
    pub(crate) fn new(session: &Session, held: Held, modified: i64) -> Self {
        Self {
            session: session.downgrade(),
            tenure: held.tenure.clone(),
            held: AsyncMutex::new(held),
            modified: Mutex::new(modified),
        }
    }
}

impl Leadership {
    /// Says a new value without another election. When two proclamations run at once, either may be the last.
    ///
    /// # Errors
    /// [`Error::NotHeld`]: this is not the leader any more, and nothing was written. [`Error::SessionLost`],
    /// [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the value was written; never over one that is proclaimed later.
    pub async fn proclaim(&self, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let session = self.session()?;
        let seen = *self.shared.modified.lock().unwrap_or_else(PoisonError::into_inner);
        let proclaimed = proclaim(&session, self.key(), self.rev(), seen, value.as_ref())
            .instrument(self.span("proclaim"))
            .await;
        match proclaimed {
            Ok(revision) => {
                let mut modified = self.shared.modified.lock().unwrap_or_else(PoisonError::into_inner);
                *modified = revision.max(*modified);
                Ok(())
            }
            Err(error) => {
                if error == Error::NotHeld {
                    self.shared.tenure.gone();
                }
                Err(error)
            }
        }
    }

    /// Ceases to lead and waits until etcd has confirmed it. On this side it is over from the first poll on. May be called
    /// again after an error, and after success does nothing.
    ///
    /// # Errors
    /// [`Error::SessionLost`] or [`Error::NotHeld`]: it had ended before. [`Error::Refused`]: the key may still be there;
    /// resign again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the leadership over on this side and its key in etcd until it is called again or the
    /// last handle is dropped.
    pub async fn resign(&self) -> Result<(), Error> {
        let span = self.span("resign");
        let mut held = StaysIfGivenUp(self.shared.held.lock().await);
        held.0.release().instrument(span).await
    }

    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let modified = *self.shared.modified.lock().unwrap_or_else(PoisonError::into_inner);
        into.write_i64(modified);
        match self.shared.held.try_lock() {
            Some(held) => held.hash_state(into),
            None => into.write_u8(255),
        }
    }

    /// The revision at which it stood for election; the same number as the fencing token.
    pub fn rev(&self) -> i64 {
        self.shared.tenure.fencing_token()
    }

    /// The tenure, to watch over the leadership from elsewhere.
    pub fn tenure(&self) -> Tenure {
        self.shared.tenure.clone()
    }

    fn session(&self) -> Result<Session, Error> {
        if !self.shared.tenure.is_held() {
            return Err(Error::NotHeld);
        }
        Session::upgrade(&self.shared.session).ok_or(Error::SessionLost)
    }

    fn span(&self, how: &'static str) -> tracing::Span {
        tracing::debug_span!("leadership", how, name = self.name(), rev = self.rev())
    }
}

impl Deref for Leadership {
    type Target = Tenure;

    fn deref(&self) -> &Tenure {
        &self.shared.tenure
    }
}

impl std::fmt::Debug for Leadership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.tenure.fmt(f)
    }
}

/// When [`Leadership::resign`] is dropped half-way the leadership is still there, and keeps its place.
struct StaysIfGivenUp<'a>(AsyncMutexGuard<'a, Held>);

impl Drop for StaysIfGivenUp<'_> {
    fn drop(&mut self) {
        self.0.stay();
    }
}

/// Writes `value` to the candidate's key if that is still the one created at `rev`; gives the revision of the write.
///
/// Beyond etcd's own recipe it compares the revision of the value that it replaces (`seen`), so that a request that was
/// lost and is applied late never puts an old value over a newer one.
pub(super) async fn proclaim(
    session: &Session,
    key: &[u8],
    rev: i64,
    mut seen: i64,
    value: &[u8],
) -> Result<i64, Error> {
    let backend = session.backend();
    loop {
        let txn = Txn::new()
            .when([
                Compare::create_revision(key, CompareOp::Equal, rev),
                Compare::mod_revision(key, CompareOp::Equal, seen),
            ])
            .and_then([Op::Put(Put::new(key, value).lease(session.lease()))])
            .or_else([Op::Range(Range::key(key))]);
        let Outcome { value: response, doubtful } =
            session.step(|deadline| backend.txn(txn.clone(), deadline)).await?;
        if response.succeeded {
            return Ok(response.header.revision);
        }
        let now = keys(&response, 0).first().filter(|kv| kv.create_revision == rev).ok_or(Error::NotHeld)?;
        if doubtful && now.value == value {
            return Ok(now.mod_revision);
        }
        seen = now.mod_revision;
    }
}

/// The leaderships that a session has, by key.
#[derive(Default)]
pub(crate) struct Leaderships {
    inner: Mutex<BTreeMap<Vec<u8>, Weak<Shared>>>,
}

impl Leaderships {
    pub(crate) fn find(&self, key: &[u8]) -> Option<Leadership> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.get(key)?.upgrade().map(|shared| Leadership { shared })
    }

    /// How many there are of which somebody has a handle.
    pub(crate) fn count(&self) -> usize {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.values().filter(|shared| shared.strong_count() > 0).count()
    }

    pub(crate) fn add(&self, shared: Shared) -> Leadership {
        let shared = Arc::new(shared);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.retain(|_, other| other.strong_count() > 0);
        inner.insert(shared.tenure.key().to_vec(), Arc::downgrade(&shared));
        Leadership { shared }
    }
}
