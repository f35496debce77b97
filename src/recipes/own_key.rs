//! A key in etcd that stands for something its maker holds: given back by deleting that incarnation of it and no other.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::kv::{Compare, CompareOp, DeleteRange, Op, Range, Txn};
use crate::line::keys;
use crate::{Error, Session};

/// The key. Dropping it deletes it in the background.
pub(crate) struct OwnKey {
    session: Session,
    key: Vec<u8>,
    created: i64,
    /// It may still be there.
    armed: bool,
}

impl OwnKey {
    /// The key that the session created at `created`.
    ///
    /// # Errors
    /// [`Error::SessionLost`]: the answer that told of it may have found a process that had stood still for longer than the lease.
    pub(crate) fn grant(session: &Session, key: Vec<u8>, created: i64) -> Result<Self, Error> {
        let own = Self { session: session.clone(), key, created, armed: true };
        if own.is_held() { Ok(own) } else { Err(Error::SessionLost) }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn created(&self) -> i64 {
        self.created
    }

    /// Whether it is there, by this process's clock.
    pub(crate) fn is_held(&self) -> bool {
        self.armed && self.session.is_alive()
    }

    /// The condition that it is there.
    pub(crate) fn condition(&self) -> Compare {
        Compare::create_revision(&*self.key, CompareOp::Equal, self.created)
    }

    /// Deletes it together with what `ops` do, all or none, and waits until etcd has confirmed it. A late try can do no harm:
    /// what it compares will not come again.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if it was gone before, or `only_if` did not hold; [`Error::SessionLost`], [`Error::Refused`]. What is
    /// still there then is deleted when this is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future and the key leaves the deletion, without `ops`, to the background.
    pub(crate) async fn delete_with(
        &mut self,
        only_if: impl IntoIterator<Item = Compare>,
        ops: impl IntoIterator<Item = Op>,
    ) -> Result<(), Error> {
        let txn = Txn::new()
            .when([self.condition()])
            .when(only_if)
            .and_then([Op::Delete(DeleteRange::key(&*self.key))])
            .and_then(ops)
            .or_else([Op::Range(Range::key(&*self.key))]);
        let outcome = self.session.txn(txn).await.map_err(Error::from);
        let is_there = match &outcome {
            Ok(outcome) if outcome.value.succeeded => false,
            Ok(outcome) => {
                keys(&outcome.value, 0).first().is_some_and(|own| own.create_revision == self.created)
            }
            Err(error) => matches!(error, Error::Refused(_)),
        };
        self.armed = is_there;
        match outcome? {
            // After a lost try it may be gone by that.
            outcome if outcome.value.succeeded || (outcome.doubtful && !is_there) => Ok(()),
            _ => Err(Error::NotHeld),
        }
    }

    /// Deletes it and waits until etcd has confirmed it; see [`OwnKey::delete_with`].
    pub(crate) async fn delete(&mut self) -> Result<(), Error> {
        self.delete_with([], []).await
    }

    /// It is not to be deleted any more.
    pub(crate) fn disown(&mut self) {
        self.armed = false;
    }
}

impl Drop for OwnKey {
    fn drop(&mut self) {
        if !std::mem::take(&mut self.armed) || !self.session.is_alive() {
            return;
        }
        let mut own =
            Self { session: self.session.clone(), key: std::mem::take(&mut self.key), armed: false, ..*self };
        let backend = Arc::clone(self.session.backend());
        backend.spawn(
            async move {
                if let Err(error @ Error::Refused(_)) = own.delete().await {
                    let key = crate::kv::Shown(&own.key).to_string();
                    tracing::warn!(key, %error, "the key could not be deleted; it ends with the session");
                }
            }
            .boxed(),
        );
    }
}
