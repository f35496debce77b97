//! The barrier: one key holds up everybody who waits, until it is gone.

use std::time::Duration;

use super::finishing::Finishing;
use super::own_key::OwnKey;
use crate::kv::{Compare, CompareOp, DeleteRange, KeyValue, Op, Put, Range, Txn};
use crate::name::Name;
use crate::session::Once;
use crate::tenure::with_limit;
use crate::{Error, Session, line};

/// A barrier on etcd: while it is held, who waits at it waits; once it is released, all go on.
///
/// The key is the name itself, as in Go's recipe (`client/v3/experimental/recipes/barrier.go`), so Go programs hold, release and
/// wait for the same barrier. But Go's own `Wait` wants to see the hold begin from the revision at which it looked, so it misses the
/// release if anything was written to etcd in between; [`Barrier::wait`] does not, whoever holds. Go's hold has no lease, so a
/// holder that dies holds for ever: [`Barrier::hold_for_good`] is that; [`Barrier::hold`] ends with the session.
///
/// Holds are told apart by the revision that created them: who waits for one goes on when *that* one has ended, also if the
/// barrier is held again before it has looked, and whatever became of its watch. A key beside it (`__NAME\0receipt/..`, of the
/// session's lease) tells whether a hold whose answer was lost was applied.
#[derive(Clone, Debug)]
pub struct Barrier {
    session: Session,
    name: Name,
}

/// The barrier is held by this session. Dropping it releases the barrier in the background, [`BarrierHold::release`] waits for
/// that; the end of the session releases it, too.
#[must_use = "dropping the hold releases the barrier"]
pub struct BarrierHold {
    own: OwnKey,
}

impl Barrier {
    /// Names a barrier. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        Ok(Self { session: session.clone(), name: Name::new(name.as_ref())? })
    }

    /// The barrier's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Holds the barrier until the hold is released or dropped, or the session is over.
    ///
    /// # Errors
    /// [`Error::BarrierHeld`] if it is held, by whomever; [`Error::SessionLost`], [`Error::Refused`], [`Error::Maybe`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves it to the background to find out whether the barrier is held by it, and to release it.
    pub async fn hold(&self) -> Result<BarrierHold, Error> {
        let barrier = self.clone();
        let holding = async move {
            let lease = barrier.session.lease();
            let created = barrier.create(lease).await?;
            let key = barrier.name.as_str().as_bytes().to_vec();
            Ok(BarrierHold { own: OwnKey::grant(&barrier.session, key, created)? })
        };
        Finishing::new(self.session.backend(), holding).await
    }

    /// Holds the barrier until somebody [releases](Self::release) it, as Go's recipe does: the hold outlives the session and the
    /// process. Gives the revision by which it is held.
    ///
    /// # Errors
    /// As [`Barrier::hold`]; after [`Error::SessionLost`] and [`Error::Maybe`] it is not known whether it is held.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the barrier is held. It is not held by it later than the next call that holds
    /// by this session, and never twice.
    pub async fn hold_for_good(&self) -> Result<i64, Error> {
        self.create(0).await
    }

    /// Releases the barrier, whoever holds it. That nobody does is as good.
    ///
    /// It ends the hold that it finds, and none that begins after it has looked: a lost answer and its retry never end another's hold.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is released.
    pub async fn release(&self) -> Result<(), Error> {
        let Some(held) = self.read().await? else { return Ok(()) };
        let txn = Txn::new()
            .when([Compare::create_revision(&*held.key, CompareOp::Equal, held.create_revision)])
            .and_then([Op::Delete(DeleteRange::key(&*held.key))]);
        self.session.txn(txn).await?;
        Ok(())
    }

    /// Whether the barrier is held right now. The answer is old when it arrives.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::Refused`].
    ///
    /// Cancel safe.
    pub async fn is_held(&self) -> Result<bool, Error> {
        Ok(self.read().await?.is_some())
    }

    /// Waits until the hold that is there now, if one is, has ended.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::Refused`].
    ///
    /// Cancel safe.
    pub async fn wait(&self) -> Result<(), Error> {
        let Some(held) = self.read().await? else { return Ok(()) };
        let gone = async {
            while !line::is_gone(&self.session, &held.key, held.create_revision).await? {}
            Ok(())
        };
        self.session.while_alive(gone).await
    }

    /// As [`Barrier::wait`], for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`Barrier::wait`].
    ///
    /// Cancel safe.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<(), Error> {
        with_limit(&**self.session.backend(), limit, self.wait()).await
    }

    async fn create(&self, lease: i64) -> Result<i64, Error> {
        let key = self.name.as_str();
        let txn = Txn::new()
            .when([Compare::create_revision(key, CompareOp::Equal, 0)])
            .and_then([Op::Put(Put::new(key, "").lease(lease))]);
        match self.session.once(&self.name, txn).await? {
            Once::Applied { revision } => Ok(revision),
            Once::Not { .. } => Err(Error::BarrierHeld { name: key.to_owned() }),
        }
    }

    async fn read(&self) -> Result<Option<KeyValue>, Error> {
        Ok(self.session.range(Range::key(self.name())).await?.kvs.into_iter().next())
    }
}

impl BarrierHold {
    /// The revision by which the barrier is held.
    pub fn revision(&self) -> i64 {
        self.own.created()
    }

    /// Whether it is held still, by this process's clock: until the session is over.
    pub fn is_held(&self) -> bool {
        self.own.is_held()
    }

    /// Resolves when the session is over, and the hold with it.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.own.session().lost()
    }

    /// Releases the barrier and waits until etcd has confirmed it.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if somebody had released it before, [`Error::SessionLost`], [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the release to the background.
    pub async fn release(mut self) -> Result<(), Error> {
        self.own.delete().await
    }
}

impl std::fmt::Debug for BarrierHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BarrierHold").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
