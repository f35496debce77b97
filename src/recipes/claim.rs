//! A claim of a queue's item: held by a session until it is acknowledged or given back.

use super::own_key::OwnKey;
use crate::kv::{Compare, CompareOp, DeleteRange, KeyValue, Op, Txn};
use crate::name::Name;
use crate::session::Once;
use crate::{Error, Session};

/// An item that this consumer works on and nobody else sees. [`Claim::ack`] takes it from the queue; dropping the claim, or the
/// end of its session, gives it back, in its old place.
///
/// So an item is worked on at least once: by another, too, when its consumer's session ends between the work and the
/// acknowledgement. Where the work is a write to etcd, [`Claim::ack_with`] does both in one transaction, hence exactly once. Go's
/// consumers know of no claims: one that takes from the same queue gets claimed items, too, and the acknowledgement then says so.
#[must_use = "dropping a claim gives the item back"]
pub struct Claim {
    own: OwnKey,
    name: Name,
    item: KeyValue,
}

impl Claim {
    pub(crate) fn new(own: OwnKey, name: Name, item: KeyValue) -> Self {
        Self { own, name, item }
    }

    /// The item.
    pub fn value(&self) -> &[u8] {
        &self.item.value
    }

    /// The item's key in etcd: the same each time that it is claimed.
    pub fn key(&self) -> &[u8] {
        &self.item.key
    }

    /// The fencing token: it grows from claim to claim of an item.
    pub fn fencing_token(&self) -> i64 {
        self.own.created()
    }

    /// Whether the claim may still be believed to hold, by this process's clock.
    pub fn is_held(&self) -> bool {
        self.own.is_held()
    }

    /// Resolves when the session is over, before etcd gives the item back.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.own.session().lost()
    }

    /// The work is done: takes the item from the queue, and waits until etcd has confirmed it.
    ///
    /// # Errors
    /// [`Error::NotHeld`], [`Error::SessionLost`]: the claim had ended before, so the item may be, or have been, worked on by
    /// another. [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is acknowledged; if it is not, the item is given back.
    pub async fn ack(mut self) -> Result<(), Error> {
        let (unchanged, delete) = self.taking();
        self.own.delete_with([unchanged], [delete]).await
    }

    /// As [`Claim::ack`], together with `ops`, 125 at most: all are applied and the item is taken, or nothing is. An item whose work
    /// is `ops` is so worked on exactly once, whatever fails.
    ///
    /// # Errors
    /// [`Error::NotHeld`]: nothing was applied. [`Error::SessionLost`]: it is not known, but it will not be applied any more.
    /// [`Error::Maybe`], [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is applied; if it is not, the item is given back.
    pub async fn ack_with(mut self, ops: impl IntoIterator<Item = Op>) -> Result<(), Error> {
        let (unchanged, delete) = self.taking();
        let own = Op::Delete(DeleteRange::key(self.own.key()));
        let txn = Txn::new().when([self.own.condition(), unchanged]).and_then([own, delete]).and_then(ops);
        match self.session().once(&self.name, txn).await? {
            Once::Applied { .. } => {
                self.own.disown();
                Ok(())
            }
            Once::Not { .. } => Err(Error::NotHeld),
        }
    }

    /// Gives the item back for another to claim, and waits until etcd has confirmed it.
    ///
    /// # Errors
    /// [`Error::NotHeld`], [`Error::SessionLost`]: the claim had ended before. [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves it to the background.
    pub async fn give_back(mut self) -> Result<(), Error> {
        self.own.delete().await
    }

    /// That the item is as it was claimed, and its deletion.
    fn taking(&self) -> (Compare, Op) {
        let unchanged = Compare::mod_revision(&*self.item.key, CompareOp::Equal, self.item.mod_revision);
        (unchanged, Op::Delete(DeleteRange::key(&*self.item.key)))
    }

    fn session(&self) -> &Session {
        self.own.session()
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("key", &crate::kv::Shown(&self.item.key).to_string())
            .field("token", &self.fencing_token())
            .finish_non_exhaustive()
    }
}
