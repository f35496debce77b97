//! The counter: a number in etcd to which each addition is made exactly once.

use std::ops::RangeInclusive;
use std::sync::Arc;

use tracing::Instrument;

use super::backoff;
use crate::kv::{Compare, CompareOp, KeyValue, Op, Put, Range, Txn};
use crate::line::keys;
use crate::name::Name;
use crate::session::Once;
use crate::sync::{Mutex, PoisonError};
use crate::{Error, Session};

/// A number that many processes add to, each addition exactly once.
///
/// It is one key, the name itself, with the number in decimal digits and without a lease: it outlives all sessions, and
/// `etcdctl get NAME` shows it. An absent key counts as 0.
///
/// An addition compares the key's revision and writes the new number together with a receipt, a key of the session's own
/// (`__NAME\0receipt/..`, gone with the session). When an answer is lost the receipt tells whether the addition was applied, so
/// it is neither lost nor made twice. Only when the session ends before etcd can be asked is that unknown ([`Error::Maybe`]).
///
/// An addition is one round trip for who made the last one, and one more for each that another got in between. Additions from
/// many processes at once take turns; a number that is added to hundreds of times a second wants to be split over
/// several counters.
#[derive(Clone)]
pub struct Counter {
    session: Session,
    name: Name,
    bounds: RangeInclusive<i64>,
    /// The number as it was last seen.
    seen: Arc<Mutex<Option<Seen>>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    number: i64,
    /// The revision that wrote it; 0 if the key is absent.
    revision: i64,
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter")
            .field("name", &self.name())
            .field("bounds", &self.bounds)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Counter {
    /// Names a counter of 64 bits, with a sign. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        Self::with_bounds(session, name, i64::MIN..=i64::MAX)
    }

    /// As [`Counter::new`]; no addition of this handle leaves `bounds`. Others may have others.
    ///
    /// # Errors
    /// As [`Counter::new`]; [`Error::InvalidArgument`] if nothing is within the bounds.
    pub fn with_bounds(
        session: &Session,
        name: impl AsRef<str>,
        bounds: RangeInclusive<i64>,
    ) -> Result<Self, Error> {
        let name = Name::new(name.as_ref())?;
        if bounds.is_empty() {
            return Err(Error::InvalidArgument { what: "bounds", allowed: "the lower one first" });
        }
        Ok(Self { session: session.clone(), name, bounds, seen: Arc::default() })
    }

    /// The counter's name, which is its key.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Adds one, and gives the number that this made.
    ///
    /// # Errors
    /// As [`Counter::add`].
    ///
    /// # Cancel safety
    /// As [`Counter::add`].
    pub async fn increment(&self) -> Result<i64, Error> {
        self.add(1).await
    }

    /// Adds `by`, exactly once, and gives the number that this made: no two additions of one sign are given the same.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::ForeignValue`] if the key holds no number, [`Error::Refused`],
    /// [`Error::SessionLost`]: nothing was added, and will not be. [`Error::Maybe`]: the session ended, or etcd was out of
    /// space, before it was known whether it was.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was added; it is so once at most.
    pub async fn add(&self, by: i64) -> Result<i64, Error> {
        let span = tracing::debug_span!("counter", name = self.name(), by);
        self.add_within(by).instrument(span).await
    }

    async fn add_within(&self, by: i64) -> Result<i64, Error> {
        let remembered = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_fresh = remembered.is_none();
        let mut seen = match remembered {
            Some(seen) => seen,
            None => self.read().await?,
        };
        let mut lost = 0;
        loop {
            let Some(number) = seen.number.checked_add(by).filter(|number| self.bounds.contains(number))
            else {
                if is_fresh {
                    return Err(Error::OutOfBounds { name: self.name().to_owned(), number: seen.number, by });
                }
                (seen, is_fresh) = (self.read().await?, true);
                continue;
            };
            let txn = Txn::new()
                .when([Compare::mod_revision(self.name(), CompareOp::Equal, seen.revision)])
                .and_then([Op::Put(Put::new(self.name(), number.to_string()))])
                .or_else([Op::Range(Range::key(self.name()))]);
            match self.session.once(&self.name, txn).await? {
                Once::Applied { revision } => {
                    self.remember(Seen { number, revision });
                    return Ok(number);
                }
                Once::Not { response } => {
                    (seen, is_fresh) = (self.seen_in(keys(&response, 0).first())?, true);
                    lost += 1;
                    backoff::after_conflict(&self.session, lost).await;
                }
            }
        }
    }

    /// The number as it is now, by a linearizable read.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::ForeignValue`] if the key holds no number, [`Error::Refused`].
    ///
    /// Cancel safe.
    pub async fn get(&self) -> Result<i64, Error> {
        Ok(self.read().await?.number)
    }

    /// As [`Session::hash_state`], of what the counter itself remembers.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        // Every field, so that a new one is thought of here.
        let Self { session: _, name: _, bounds: _, seen } = self;
        let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { number, revision } = seen.unwrap_or(Seen { number: 0, revision: -1 });
        into.write_i64(number);
        into.write_i64(revision);
    }

    async fn read(&self) -> Result<Seen, Error> {
        let read = self.session.range(Range::key(self.name())).await?;
        let seen = self.seen_in(read.kvs.first())?;
        self.remember(seen);
        Ok(seen)
    }

    fn seen_in(&self, kv: Option<&KeyValue>) -> Result<Seen, Error> {
        let Some(kv) = kv else { return Ok(Seen { number: 0, revision: 0 }) };
        let number = std::str::from_utf8(&kv.value).ok().and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| Error::ForeignValue { name: self.name().to_owned() })?;
        Ok(Seen { number, revision: kv.mod_revision })
    }

    fn remember(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}
