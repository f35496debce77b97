//! A tenure: what a guard guards, as something that can be looked at, waited on and proved to etcd.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};

use crate::kv::{Compare, CompareOp, Op, Range, Txn, TxnResponse, prefix_end};
use crate::line::Place;
use crate::session::{Ended, Liveness, lost};
use crate::{Backend, CallError, Error, metrics};

/// A lock or leadership that was granted, and may have ended since.
///
/// A guard derefs to its tenure; a clone of it can watch over the guard from other tasks. It never brings the hold to an
/// end and never prolongs it.
#[derive(Clone)]
pub struct Tenure {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    session: Arc<Liveness>,
    lease: i64,
    name: String,
    key: Vec<u8>,
    revision: i64,
    /// Every key below it is younger while this tenure lasts; `None` where that does not hold (readers).
    oldest_below: Option<Vec<u8>>,
    released: Arc<Liveness>,
    hold: metrics::Hold,
}

impl Tenure {
    /// The tenure of a contender whose turn has come.
    pub(crate) fn granted(place: &Place, name: &str, oldest_below: Option<Vec<u8>>) -> Self {
        let session = place.session();
        Self {
            inner: Arc::new(Inner {
                backend: Arc::clone(session.backend()),
                session: Arc::clone(session.liveness()),
                lease: session.lease(),
                name: name.to_owned(),
                key: place.key().to_vec(),
                revision: place.revision(),
                oldest_below,
                released: Arc::new(Liveness::new(u64::MAX)),
                hold: metrics::Hold::begin(&**session.backend()),
            }),
        }
    }

    /// The fencing token: the revision that created the holder's key. It grows from holder to holder. Send it along with
    /// every write to whatever the lock protects, and let that refuse a token lower than the highest it has seen; or keep
    /// what is protected in etcd and write it with [`Tenure::txn`].
    pub fn fencing_token(&self) -> i64 {
        self.inner.revision
    }

    /// The key in etcd that stands for the holder.
    pub fn key(&self) -> &[u8] {
        &self.inner.key
    }

    /// The lease that the tenure lasts as long as.
    pub fn lease(&self) -> i64 {
        self.inner.lease
    }

    /// The name of the lock or election.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether the holder may still believe that it holds, by this process's clock alone. Once `false` it stays `false`.
    ///
    /// `true` is no proof: the process may be suspended between the answer and what it does next. A write to something
    /// remote needs the token or [`Tenure::txn`].
    pub fn is_held(&self) -> bool {
        let now = self.inner.backend.now().as_nanos();
        self.inner.released.is_alive(now) && self.inner.session.is_alive(now)
    }

    /// Resolves when it is not held any more: released, or the session is over. It resolves before etcd gives the lock to
    /// another, unless somebody deletes the key or revokes the lease by hand.
    ///
    /// Cancel safe; the future is independent of the guard.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut session =
            Box::pin(lost(Arc::clone(&self.inner.backend), Arc::clone(&self.inner.session)).fuse());
        let mut released = Ended::of(&self.inner.released).fuse();
        async move {
            select_biased! {
                () = released => {},
                () = session => {},
            }
        }
    }

    /// The conditions under which a transaction commits only while this tenure lasts, to be put into one's own.
    pub fn conditions(&self) -> Vec<Compare> {
        let inner = &self.inner;
        let own = Compare::create_revision(&*inner.key, CompareOp::Equal, inner.revision);
        let oldest = inner.oldest_below.as_ref().map(|prefix| {
            Compare::create_revision(&**prefix, CompareOp::Greater, inner.revision - 1)
                .over(prefix_end(prefix))
        });
        [own].into_iter().chain(oldest).collect()
    }

    /// Applies `ops` to etcd, all or none, and only if this is still held at that very revision.
    ///
    /// # Errors
    /// [`Error::NotHeld`]: the tenure is over and nothing was applied. [`Error::Maybe`]: the answer was lost, so it is not
    /// known whether it was applied (it is not repeated: only the caller knows whether it may be). [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was applied.
    pub async fn txn(&self, ops: impl IntoIterator<Item = Op>) -> Result<TxnResponse, Error> {
        let mut ops: Vec<Op> = ops.into_iter().collect();
        if ops.is_empty() {
            // etcd takes a transaction without operations for a serializable read, which may miss what a watch has told
            // already (`IsTxnSerializable`); one linearizable read makes it wait.
            ops.push(Op::Range(Range::key(&*self.inner.key)));
        }
        let txn = Txn::new().when(self.conditions()).and_then(ops);
        let backend = &self.inner.backend;
        let mut pause = Duration::from_millis(5);
        loop {
            let Some(deadline) = self.inner.session.deadline_ns().filter(|_| self.is_held()) else {
                return Err(Error::NotHeld);
            };
            match backend.txn(txn.clone(), crate::Instant::from_nanos(deadline)).await {
                Ok(response) if response.succeeded => return Ok(response),
                Ok(_) => {
                    self.gone();
                    return Err(Error::NotHeld);
                }
                Err(CallError::Refused(refusal)) => return Err(refusal.into()),
                Err(CallError::Maybe(reason)) => return Err(Error::Maybe(reason)),
                Err(CallError::NotApplied(_)) => backend.sleep_until(backend.now() + pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Asks etcd whether this is held right now. The answer is old when it arrives.
    ///
    /// # Errors
    /// As [`Tenure::txn`], less [`Error::NotHeld`].
    ///
    /// Cancel safe.
    pub async fn confirm(&self) -> Result<bool, Error> {
        match self.txn([]).await {
            Ok(_) => Ok(true),
            Err(Error::NotHeld) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The holder gives it back, or has found it gone.
    pub(crate) fn end(&self) {
        self.finish(false);
    }

    /// It was found gone from etcd.
    pub(crate) fn gone(&self) {
        self.finish(true);
    }

    fn finish(&self, gone: bool) {
        let inner = &self.inner;
        if inner.released.end() {
            inner.hold.end(&*inner.backend, &inner.session, gone);
        }
    }
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenure")
            .field("name", &self.inner.name)
            .field("token", &self.inner.revision)
            .field("is_held", &self.is_held())
            .finish_non_exhaustive()
    }
}

/// A tenure together with the place in line that it is held by: the inside of every guard.
pub(crate) struct Held {
    pub(crate) tenure: Tenure,
    place: Place,
}

impl Held {
    /// A granted place becomes a tenure, if the session is still alive to hold it.
    pub(crate) fn grant(place: Place, name: &str, oldest_below: Option<Vec<u8>>) -> Result<Self, Error> {
        if !place.session().is_alive() {
            return Err(Error::SessionLost);
        }
        let tenure = Tenure::granted(&place, name, oldest_below);
        tracing::debug!(name, token = tenure.fencing_token(), "granted");
        Ok(Self { tenure, place })
    }

    /// As [`Session::hash_state`](crate::Session::hash_state), of what is held.
    pub(crate) fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let Self { tenure, place } = self;
        into.write_u64(tenure.inner.released.deadline_ns().unwrap_or(0));
        place.hash_state(into);
    }

    /// Gives it back and waits for etcd's word. The belief to hold ends first.
    pub(crate) async fn release(&mut self) -> Result<(), Error> {
        self.tenure.end();
        let left = self.place.leave().await;
        tracing::debug!(name = self.tenure.name(), token = self.tenure.fencing_token(), ?left, "released");
        left
    }

    /// A release was given up half-way and may be tried again; until then its place stays.
    pub(crate) fn stay(&self) {
        self.place.stay();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The place leaves the line in the background; nobody may believe in the tenure from here on.
        self.tenure.end();
    }
}

/// Defines a guard around [`Held`]: derefs to its tenure, releases when dropped or when told to.
macro_rules! guard {
    ($(#[$docs:meta])* $guard:ident, $span:literal) => {
        $(#[$docs])*
        #[must_use = "dropping a guard releases what it holds"]
        pub struct $guard {
            pub(crate) held: $crate::tenure::Held,
        }

        impl $guard {
            #[doc(hidden)]
            pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
                self.held.hash_state(into);
            }

            /// Releases it and waits until etcd has confirmed it. On this side it is over from the first poll on.
            ///
            /// # Errors
            /// [`Error::SessionLost`] or [`Error::NotHeld`]: it had ended before, so what was done under it may have been
            /// done beside another holder. [`Error::Refused`].
            ///
            /// # Cancel safety
            /// Dropping the future leaves the release to the background.
            pub async fn release(mut self) -> Result<(), $crate::Error> {
                let span = tracing::debug_span!($span, name = self.name(), token = self.fencing_token());
                tracing::Instrument::instrument(self.held.release(), span).await
            }

            /// The tenure, to watch over the guard from elsewhere.
            pub fn tenure(&self) -> $crate::Tenure {
                self.held.tenure.clone()
            }
        }

        impl std::ops::Deref for $guard {
            type Target = $crate::Tenure;

            fn deref(&self) -> &$crate::Tenure {
                &self.held.tenure
            }
        }

        impl std::fmt::Debug for $guard {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.held.tenure.fmt(f)
            }
        }
    };
}
pub(crate) use guard;

/// Waits for `acquire` for `limit` at most.
pub(crate) async fn with_limit<T>(
    backend: &dyn Backend,
    limit: Duration,
    acquire: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    crate::within(backend, backend.now() + limit, acquire).await.unwrap_or(Err(Error::Timeout))
}
