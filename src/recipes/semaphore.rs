//! The semaphore: so many holders at a time and no more, in order of arrival.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::Instrument;

use super::siblings::Siblings;
use crate::line::{HeadStart, Intent, Line, Place};
use crate::name::{Name, is_lease_hex};
use crate::tenure::{Held, guard, with_limit};
use crate::{Error, LockerOf, Session, metrics};

/// A counting semaphore on etcd: at most so many hold a permit at once, first come, first served.
///
/// Its line is the mutex's: contenders' keys below the name, ordered by the revisions that created them. A contender is
/// granted at the revision at which fewer than `permits` of those before it are left, so nobody is passed over, and what was
/// granted once stays within the bound until its key is gone. etcd's own recipes have no semaphore; the layout is
/// `NAME/sem/PERMITS/LEASE-NUMBER`. A mutex or a read-write lock on the same name is reported as [`Error::ForeignKey`].
///
/// The number of permits is part of each key, so users that disagree on it are told ([`Error::PermitsDiffer`]) and never
/// hold beside each other. To change it, let all that go by the old number leave.
///
/// Unlike two mutexes, two permits of one session are two. A process takes one session, and clones of one `Semaphore` in its
/// tasks: of those that wait only the first few watch etcd, however many there are.
#[derive(Clone)]
pub struct Semaphore {
    session: Session,
    line: Arc<Line>,
    siblings: Arc<Siblings>,
}

impl std::fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Semaphore")
            .field("name", &self.name())
            .field("permits", &self.permits())
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

guard! {
    /// A permit is held; dropping it gives it back in the background, [`Permit::release`] waits for that.
    ///
    /// It derefs to its [`Tenure`](crate::Tenure): `fencing_token`, `is_held`, `lost`, `txn`. Tokens tell holders apart and
    /// grow in the order of grants. Holders beside each other have different ones, so a resource that refuses all but the
    /// highest is not what a semaphore protects: one that is to be fenced keeps the tokens that it serves, or is written by `txn`.
    Permit, "semaphore release"
}

impl Semaphore {
    /// Names a semaphore of `permits` permits. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte. [`Error::InvalidArgument`]: no permits.
    pub fn new(session: &Session, name: impl AsRef<str>, permits: u32) -> Result<Self, Error> {
        let name = Name::new(name.as_ref())?;
        if permits == 0 {
            return Err(Error::InvalidArgument { what: "permits", allowed: "above zero" });
        }
        // Everything below the name, so that another kind of lock there is noticed.
        let prefix = name.prefix();
        let line = Line::new(name, prefix.clone(), prefix, permits_of).with_permits(permits);
        Ok(Self { session: session.clone(), line: Arc::new(line), siblings: Arc::default() })
    }

    /// The semaphore's name.
    pub fn name(&self) -> &str {
        self.line.name.as_str()
    }

    /// How many may hold at once.
    pub fn permits(&self) -> u32 {
        self.line.permits
    }

    /// Waits until a permit is held: one round trip when one is free.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::NotHeld`] if the contender's key is deleted while it waits,
    /// [`Error::PermitsDiffer`], [`Error::ForeignKey`], [`Error::Refused`]. After an error nothing is left in line (what
    /// could not be deleted at once is deleted in the background, at the latest with the lease).
    ///
    /// # Cancel safety
    /// Dropping the future withdraws from the line in the background; the place is lost.
    pub async fn acquire(&self) -> Result<Permit, Error> {
        let acquire = async {
            // Who has to wait for siblings needs no watch yet.
            let intent = if self.siblings.is_full() { Intent::Try } else { Intent::Wait };
            let (place, turn) = self.join(intent).await?;
            if let Turn::Later(head_start) = turn {
                self.wait_turn(&place, head_start).await?;
            }
            self.grant(place)
        };
        self.told(|_| true, acquire).instrument(self.span("acquire")).await
    }

    /// Takes a permit if one is free and nobody waits: `None` otherwise.
    ///
    /// # Errors
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<Permit>, Error> {
        let acquire = async {
            let (place, turn) = self.join(Intent::Try).await?;
            if matches!(turn, Turn::Now) {
                return self.grant(place).map(Some);
            }
            place.withdraw().await?;
            Ok(None)
        };
        self.told(Option::is_some, acquire).instrument(self.span("try_acquire")).await
    }

    /// As [`Semaphore::acquire`], waiting for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<Permit, Error> {
        with_limit(&**self.session.backend(), limit, self.acquire()).await
    }

    /// One permit as a [`Locker`](crate::Locker).
    pub fn locker(&self) -> LockerOf {
        let semaphore = self.clone();
        LockerOf::new(self.name(), move || {
            let semaphore = semaphore.clone();
            async move { Ok(semaphore.acquire().await?.held) }
        })
    }

    /// Gets in line with a key that nobody has had.
    async fn join(&self, intent: Intent) -> Result<(Place, Turn), Error> {
        let prefix = self.line.name.sub_prefix(&format!("{KIND}/{}", self.permits()));
        loop {
            let joined = Place::join_numbered(&self.session, &self.line, &prefix, None, intent).await?;
            let Some((place, joined)) = joined else { continue };
            let turn = if joined.is_first { Turn::Now } else { Turn::Later(joined.head_start) };
            return Ok((place, turn));
        }
    }

    async fn wait_turn(&self, place: &Place, head_start: Option<HeadStart>) -> Result<(), Error> {
        let mut sibling = Siblings::wait(&self.siblings, place.revision());
        if sibling.may_watch().now_or_never().is_some() {
            return place.wait_turn(head_start).await;
        }
        drop(head_start);
        self.session.while_alive(sibling.may_watch().map(Ok)).await?;
        place.wait_turn(None).await
    }

    fn grant(&self, place: Place) -> Result<Permit, Error> {
        // Older ones can only go, so whoever was among the first stays there as long as its key does.
        Ok(Permit { held: Held::grant(place, self.name(), None)? })
    }

    fn told<T>(
        &self,
        is_granted: impl Fn(&T) -> bool,
        acquire: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        metrics::acquisition("semaphore", &**self.session.backend(), is_granted, acquire)
    }

    /// As [`Session::hash_state`], of what the semaphore itself remembers.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let Self { session: _, line, siblings } = self;
        line.hash_state(into);
        siblings.hash_state(into);
    }

    fn span(&self, how: &'static str) -> tracing::Span {
        tracing::debug_span!("semaphore", how, name = self.name(), lease = self.session.lease())
    }
}

enum Turn {
    Now,
    Later(Option<HeadStart>),
}

/// What stands between the name and the permits in a contender's key.
const KIND: &str = "sem";

/// The number of permits in a contender's key, less the name and its slash; `None` if it is no contender's.
fn permits_of(rest: &[u8]) -> Option<u32> {
    let rest = std::str::from_utf8(rest).ok()?.strip_prefix(KIND)?.strip_prefix('/')?;
    let (permits, member) = rest.split_once('/')?;
    let (lease, number) = member.rsplit_once('-')?;
    let is_member = is_lease_hex(lease.as_bytes()) && number.parse::<u64>().is_ok();
    permits.parse().ok().filter(|permits| is_member && *permits > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permits_are_read_from_a_contenders_key_alone() {
        assert_eq!(permits_of(b"sem/3/694d7f3acafe0d01-0"), Some(3));
        assert_eq!(permits_of(b"sem/3/-5-12"), Some(3));
        for foreign in
            ["694d7f3acafe0d01", "sem/3/", "sem/0/f-1", "sem/x/f-1", "sem/3/f", "sem/3/f-x", "read/f-1"]
        {
            assert_eq!(permits_of(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
