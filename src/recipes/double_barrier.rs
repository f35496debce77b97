//! The double barrier: nobody goes in before all are there, and nobody goes on before all are out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::entering::Entering;
use super::finishing::Finishing;
use super::own_key::OwnKey;
use crate::kv::{
    Compare, CompareOp, DeleteRange, EventKind, Op, Put, Range, SortOrder, SortTarget, Txn, WatchRequest,
};
use crate::line::{Doubt, News, Watching, keys};
use crate::name::Name;
use crate::session::Once;
use crate::tenure::with_limit;
use crate::{Error, Session};

/// A barrier on etcd for a fixed number of members, who begin a round of work together and end it together. It can be used
/// round after round.
///
/// The keys are those of Go's recipe (`client/v3/experimental/recipes/double_barrier.go`): `NAME/waiters/..`, each of its member's
/// lease, and `NAME/ready`, so that Go programs can be members. What Go's recipe lets happen does not happen among members of
/// this one: the last to arrive opens the barrier by a transaction that commits only if all are there at that very revision, and
/// who comes while a round is on is refused (etcd 14603: a late client passes); a member knows its round by revisions, so it does not
/// wait for those of the next. Beside Go's members both hold only as far as they keep to it.
///
/// **When a member fails.** One that is gone before the barrier opens (its session ended, it gave up, or it timed out) breaks the
/// barrier: all who wait get [`Error::BarrierBroken`], at once and together, and may enter again. One that is gone inside
/// without having left holds nobody up either: [`Entered::leave`] tells of it.
#[derive(Clone, Debug)]
pub struct DoubleBarrier {
    pub(crate) session: Session,
    pub(crate) name: Name,
    pub(crate) count: usize,
}

/// This member is inside, with all the others. [`Entered::leave`] waits for all to leave; to drop it is to be gone without having
/// left, as by a crash.
#[must_use = "dropping it is to be gone without having left"]
pub struct Entered {
    barrier: DoubleBarrier,
    own: OwnKey,
    round: i64,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// All members have left.
    Everyone,
    /// All are out, but so many without having left: they crashed, their sessions were lost, or they are members of Go's recipe,
    /// which does not tell.
    Crashed(usize),
    /// All are out; how is not known any more, since the next round has been left meanwhile.
    Unknown,
}

impl DoubleBarrier {
    /// How many members a barrier can have: the transaction that opens it has a condition for each, and etcd takes 128.
    pub const MOST_MEMBERS: usize = 120;

    /// Names a barrier for `count` members. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte. [`Error::InvalidArgument`] if `count` is 0 or above
    /// [`DoubleBarrier::MOST_MEMBERS`].
    pub fn new(session: &Session, name: impl AsRef<str>, count: usize) -> Result<Self, Error> {
        if !(1..=Self::MOST_MEMBERS).contains(&count) {
            return Err(Error::InvalidArgument { what: "count", allowed: "1 to 120" });
        }
        Ok(Self { session: session.clone(), name: Name::new(name.as_ref())?, count })
    }

    /// The barrier's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Waits until all members have entered.
    ///
    /// # Errors
    /// [`Error::BarrierFull`] if there are as many already, or those of the last round are not all out; [`Error::BarrierBroken`] if
    /// one who waited is gone; [`Error::SessionLost`], [`Error::Refused`], [`Error::Maybe`]. After an error this member is out.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws in the background, which breaks the barrier for those who wait; if it had opened by
    /// then, this member is gone without having left.
    pub async fn enter(&self) -> Result<Entered, Error> {
        let mut own = Finishing::new(self.session.backend(), self.clone().join()).await?;
        let entering = Entering::new(self, own.key(), own.created());
        match self.session.while_alive(entering.wait()).await {
            // What it was told may have found a process that had stood still for longer than the lease.
            Ok(_) if !own.is_held() => Err(Error::SessionLost),
            Ok(round) => Ok(Entered { barrier: self.clone(), own, round }),
            Err(error) => match own.delete().await {
                Ok(()) | Err(Error::NotHeld | Error::SessionLost) => Err(error),
                Err(worse) => Err(worse),
            },
        }
    }

    /// As [`DoubleBarrier::enter`], waiting for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`DoubleBarrier::enter`].
    ///
    /// # Cancel safety
    /// As [`DoubleBarrier::enter`].
    pub async fn enter_timeout(&self, limit: Duration) -> Result<Entered, Error> {
        with_limit(&**self.session.backend(), limit, self.enter()).await
    }

    /// Writes the member's key, unless a round is on.
    async fn join(self) -> Result<OwnKey, Error> {
        let oldest = Range { keys_only: true, ..Range::prefix(self.members()) }
            .sorted(SortTarget::Create, SortOrder::Ascend)
            .limit(1);
        loop {
            let number = self.session.next_number();
            let key = [self.members(), format!("{:x}.{number}", self.session.lease()).into_bytes()].concat();
            // By its value a member of this recipe is told from Go's.
            let put = Put::new(&*key, "tenure").lease(self.session.lease());
            let txn = Txn::new()
                .when([&key, &self.ready()].map(|key| Compare::create_revision(&**key, CompareOp::Equal, 0)))
                .and_then([Op::Put(put)])
                .or_else([Op::Range(Range::key(self.ready())), Op::Range(oldest.clone())]);
            let response = match self.session.once(&self.name, txn).await? {
                Once::Applied { revision } => return OwnKey::grant(&self.session, key, revision),
                Once::Not { response } => response,
            };
            // Else an earlier process of the lease has left a key of that name.
            let Some(ready) = keys(&response, 0).first() else { continue };
            if keys(&response, 1).first().is_some_and(|oldest| oldest.create_revision < ready.mod_revision) {
                return Err(Error::BarrierFull { name: self.name().to_owned(), count: self.count });
            }
            // All of that round are gone, and none was left to close it.
            self.session.txn(self.close(ready.mod_revision)).await?;
        }
    }

    /// Closes the barrier of round `round`, all of whose members were seen to be out: none of them comes back, so a late try can do
    /// no harm.
    fn close(&self, round: i64) -> Txn {
        Txn::new()
            .when([Compare::mod_revision(self.ready(), CompareOp::Equal, round)])
            .and_then([Op::Delete(DeleteRange::key(self.ready()))])
    }

    /// The prefix of the members' keys.
    pub(crate) fn members(&self) -> Vec<u8> {
        self.name.sub_prefix("waiters")
    }

    /// The key that is there while a round is on.
    pub(crate) fn ready(&self) -> Vec<u8> {
        format!("{}/ready", self.name()).into_bytes()
    }

    /// The key whose version is how many have left a round.
    fn left(&self, round: i64) -> Vec<u8> {
        [self.name.bookkeeping("left"), format!("{round:020}").into_bytes()].concat()
    }
}

impl Entered {
    /// The revision by which the barrier opened: the same for all members of a round, and higher with each.
    pub fn round(&self) -> i64 {
        self.round
    }

    /// Whether this member counts as inside, by this process's clock: until its session is over.
    pub fn is_held(&self) -> bool {
        self.own.is_held()
    }

    /// Resolves when the session is over.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.own.session().lost()
    }

    /// Leaves, and waits until all members of the round are out.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if this member was out before, as after its session ended; [`Error::SessionLost`], [`Error::Refused`],
    /// [`Error::Maybe`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves it to the background to leave, and waits for nobody.
    pub async fn leave(self) -> Result<Departure, Error> {
        let Self { barrier, own, round } = self;
        Finishing::new(barrier.session.backend(), step_out(barrier.clone(), own, round)).await?;
        barrier.session.while_alive(all_out(&barrier, round)).await
    }

    /// As [`Entered::leave`], waiting for the others for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`]: this member has left, or is leaving. And those of [`Entered::leave`].
    ///
    /// # Cancel safety
    /// As [`Entered::leave`].
    pub async fn leave_timeout(self, limit: Duration) -> Result<Departure, Error> {
        let backend = Arc::clone(self.barrier.session.backend());
        with_limit(&*backend, limit, self.leave()).await
    }
}

impl std::fmt::Debug for Entered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entered").field("round", &self.round).finish_non_exhaustive()
    }
}

/// Deletes the member's key and counts it among those who have left, in one transaction.
async fn step_out(barrier: DoubleBarrier, mut own: OwnKey, round: i64) -> Result<(), Error> {
    let left = barrier.left(round);
    let of_earlier_rounds =
        DeleteRange { range_end: left.clone(), ..DeleteRange::key(barrier.name.bookkeeping("left")) };
    let txn = Txn::new().when([own.condition()]).and_then([
        Op::Delete(DeleteRange::key(own.key())),
        Op::Delete(of_earlier_rounds),
        Op::Put(Put::new(left, "")),
    ]);
    match barrier.session.once(&barrier.name, txn).await? {
        Once::Applied { .. } => {
            own.disown();
            Ok(())
        }
        Once::Not { .. } => Err(Error::NotHeld),
    }
}

/// Waits until no member of the round is left, and closes the barrier.
async fn all_out(barrier: &DoubleBarrier, round: i64) -> Result<Departure, Error> {
    while !members_gone(barrier, round).await? {}
    let left = [Op::Range(Range::key(barrier.left(round)))];
    let txn = barrier.close(round).and_then(left.clone()).or_else(left);
    let closed = barrier.session.txn(txn).await?.value;
    let counted = keys(&closed, usize::from(closed.succeeded)).first().map(|kv| kv.version);
    Ok(match counted.and_then(|version| usize::try_from(version).ok()) {
        None => Departure::Unknown,
        Some(counted) if counted >= barrier.count => Departure::Everyone,
        Some(counted) => Departure::Crashed(barrier.count - counted),
    })
}

/// Waits until no member of the round is left; false if that could not be watched to the end.
async fn members_gone(barrier: &DoubleBarrier, round: i64) -> Result<bool, Error> {
    let session = &barrier.session;
    let request = WatchRequest { no_put: true, ..WatchRequest::prefix(barrier.members()) };
    let mut watching = Watching::new(session.backend().watch(request));
    if watching.opened().await?.is_none() {
        return Ok(false);
    }
    let (mut inside, as_of) = inside(barrier, round).await?;
    let mut doubt = Doubt::of(session.backend(), &watching, as_of);
    while !inside.is_empty() {
        match watching.hear(&mut doubt).await? {
            News::Events(events) => {
                doubt.dispel();
                for event in events.iter().filter(|event| event.kind == EventKind::Delete) {
                    inside.remove(&event.kv.key);
                }
            }
            News::Doubted => inside = self::inside(barrier, round).await?.0,
            News::Over => return Ok(false),
        }
    }
    Ok(true)
}

/// The members of the round that are there still, and as of which revision. A key's name is never used again.
async fn inside(barrier: &DoubleBarrier, round: i64) -> Result<(BTreeSet<Vec<u8>>, i64), Error> {
    let range = Range { keys_only: true, max_create_revision: round - 1, ..Range::prefix(barrier.members()) };
    let read = barrier.session.range(range).await?;
    Ok((read.kvs.into_iter().map(|kv| kv.key).collect(), read.header.revision))
}
