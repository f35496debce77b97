//! Leaving the line: the contender's key is deleted, and what was lost on the way is fenced off.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::fence::{LEFT, mark};
use super::{Contender, Presence, fence_of, keys};
use crate::kv::{Compare, CompareOp, DeleteRange, Op, OpResponse, Put, Range, Txn};
use crate::session::{Failed, Slots};
use crate::{Error, Refusal, Session};

/// How long after a fence was refused for want of space it is tried again.
const FENCE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Whether an earlier join may still be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    /// It can not.
    Moved,
    /// It may, until there is space for the fence.
    OutOfSpace,
    /// It may, for good: the fence may not be written.
    Denied,
}

impl Contender {
    pub(super) async fn leave(&mut self) -> Result<(), Error> {
        let left = match self.presence {
            Presence::Absent => return Ok(()),
            Presence::Present { revision, doubtful: false } => self.delete(revision).await,
            Presence::Present { .. } | Presence::Unknown => self.delete_doubtful().await,
        };
        if !matches!(left, Err(Error::Refused(_))) {
            self.presence = Presence::Absent;
            self.slot = None;
        }
        left
    }

    /// Deletes this incarnation of the key and no other (etcd 22082), unless another process has taken it over meanwhile: the
    /// fence that this one knows was moved by that.
    async fn delete(&self, revision: i64) -> Result<(), Error> {
        let fence_key = self.fence_key();
        let mut lost_some = false;
        loop {
            let fence = self.session.fence(&fence_key);
            let txn = Txn::new()
                .when([
                    Compare::create_revision(&*self.key, CompareOp::Equal, revision),
                    Compare::mod_revision(&*fence_key, CompareOp::Equal, fence),
                ])
                .and_then([Op::Delete(DeleteRange::key(&*self.key))])
                .or_else([Op::Range(Range::key(&*self.key)), Op::Range(Range::key(&*fence_key))]);
            let outcome = self.txn(txn).await?;
            lost_some |= outcome.doubtful;
            let response = &outcome.value;
            if response.succeeded {
                return Ok(());
            }
            if keys(response, 0).first().is_none_or(|own| own.create_revision != revision) {
                // After a lost try the key may be gone by that.
                return if lost_some { Ok(()) } else { Err(Error::NotHeld) };
            }
            if self.is_taken_over(keys(response, 1).first()) {
                return Err(Error::NotHeld);
            }
            self.session.set_fence(&fence_key, fence_of(response, 1));
        }
    }

    /// Deletes the key, and sees to it that no join of before is applied any more: at once, or as soon as there is space.
    pub(super) async fn delete_doubtful(&mut self) -> Result<(), Error> {
        let left = self.delete_and_fence().await;
        // Before 3.4.20 and 3.5.7 etcd out of space refuses even what only reads or deletes.
        if matches!(left, Ok(Fence::OutOfSpace) | Err(Error::Refused(Refusal::NoSpace))) {
            self.fence_later();
        }
        left.map(drop)
    }

    /// Before a key is used again whose fence could not be moved: a lost request that was to move it would delete the new
    /// key, too.
    pub(super) async fn settle_fence(&mut self) -> Result<(), Error> {
        let fence_key = self.fence_key();
        if self.session.owes_fence(&fence_key) && self.delete_and_fence().await? == Fence::OutOfSpace {
            return Err(Error::Refused(Refusal::NoSpace));
        }
        Ok(())
    }

    /// Deletes the key and moves the fence, in one transaction.
    async fn delete_and_fence(&mut self) -> Result<Fence, Error> {
        let fence_key = self.fence_key();
        let mut lost_some = false;
        loop {
            let fence = self.session.fence(&fence_key);
            let mark = mark(&self.key, LEFT, fence);
            let put = Put::new(&*fence_key, &*mark).lease(self.session.lease());
            let txn = Txn::new()
                .when([Compare::mod_revision(&*fence_key, CompareOp::Equal, fence)])
                .and_then([Op::Delete(DeleteRange::key(&*self.key)), Op::Put(put)])
                .or_else([Op::Range(Range::key(&*fence_key))]);
            let outcome = match self.txn(txn).await {
                Err(Failed { error: Error::Refused(refusal), .. }) => {
                    if refusal == Refusal::NoSpace {
                        // What was lost of this may be applied late, too, and would delete a key that is there by then.
                        self.session.owe_fence(&fence_key);
                    }
                    return self.delete_unfenced(refusal).await;
                }
                outcome => outcome?,
            };
            lost_some |= outcome.doubtful;
            if outcome.value.succeeded {
                self.session.set_fence(&fence_key, outcome.value.header.revision);
                let deleted =
                    matches!(outcome.value.responses.first(), Some(OpResponse::Delete(d)) if d.deleted > 0);
                let was_present = matches!(self.presence, Presence::Present { .. });
                // After a lost try the key may be gone by that.
                return if deleted || !was_present || lost_some {
                    Ok(Fence::Moved)
                } else {
                    Err(Error::NotHeld)
                };
            }
            let now = keys(&outcome.value, 0).first();
            if self.is_taken_over(now) {
                // What this process has lost is fenced off by that, and the key is another's.
                let held = matches!(self.presence, Presence::Present { .. });
                return if held { Err(Error::NotHeld) } else { Ok(Fence::Moved) };
            }
            self.session.set_fence(&fence_key, fence_of(&outcome.value, 0));
            // The mark tells that a lost try of this very transaction was applied; but one from before the key was created
            // is an earlier process's of the same lease.
            if now.is_some_and(|kv| kv.value == mark && kv.mod_revision > self.created()) {
                return Ok(Fence::Moved);
            }
        }
    }

    /// For when etcd refuses to put the fence: out of space, or no permission for that key. The key is deleted, which is
    /// never refused for want of space, and the doubt stays.
    ///
    /// By its revision: what is lost of this, too, may be applied late, when the key is another's of the same name.
    async fn delete_unfenced(&self, refusal: Refusal) -> Result<Fence, Error> {
        tracing::warn!(name = self.line.name.as_str(), %refusal, "a lost request could not be fenced off");
        let read = self.txn(Txn::new().and_then([Op::Range(Range::key(&*self.key))])).await?.value;
        if let Some(own) = keys(&read, 0).first() {
            match self.delete(own.create_revision).await {
                Ok(()) | Err(Error::NotHeld) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(if refusal == Refusal::NoSpace { Fence::OutOfSpace } else { Fence::Denied })
    }

    /// Tries in the background until the fence is moved or the session is over: a lost join that is applied meanwhile holds up
    /// everybody. Who joins again meanwhile does it first; even then this goes on until it has deleted the key itself, for another
    /// contender of the session moves the fence and deletes a key of its own.
    fn fence_later(&self) {
        let backend = Arc::clone(self.session.backend());
        let owner = self.session.downgrade();
        let (line, key) = (Arc::clone(&self.line), self.key.clone());
        let clock = Arc::clone(&backend);
        let slots = Arc::clone(self.session.slots());
        let task = async move {
            loop {
                clock.sleep_until(clock.now() + FENCE_AGAIN_AFTER).await;
                if Session::upgrade(&owner).is_none_or(|session| !session.is_alive()) {
                    return;
                }
                let Ok(slot) = Slots::take_leaving(&slots, &key).await else { continue };
                // Not before: who waits for a slot must not keep the session.
                let Some(session) = Session::upgrade(&owner) else { return };
                let mut contender = Self {
                    session,
                    line: Arc::clone(&line),
                    key: key.clone(),
                    slot: Some(slot),
                    presence: Presence::Unknown,
                    taken_over_at: 0,
                    takeover_mark: Vec::new(),
                    condition: None,
                };
                match contender.delete_and_fence().await {
                    Ok(Fence::OutOfSpace) | Err(Error::Refused(Refusal::NoSpace)) => {}
                    Ok(Fence::Moved | Fence::Denied) | Err(_) => return,
                }
            }
        };
        backend.spawn(task.boxed());
    }
}
