//! Taking over a key that an earlier process of the same lease left: the fence is moved, so that nothing which that process sent
//! and lost, a join or a deletion, is applied to it any more.

use super::fence::{TAKEN_OVER, mark};
use super::{Contender, Joined, Presence, fence_of, keys};
use crate::kv::{Compare, CompareOp, KeyValue, Op, Put, Range, Txn, TxnResponse, prefix_end};
use crate::session::Failed;
use crate::{Error, Refusal};

/// A key that was taken over.
struct TakenOver {
    /// As it was.
    own: KeyValue,
    /// The oldest contender.
    first: Vec<KeyValue>,
    /// The fence was moved. If it was not, what was lost may be applied yet.
    fenced: bool,
}

impl Contender {
    /// Takes over a key that leads the line, perhaps from an earlier process of the same session.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if that incarnation of the key is gone.
    pub(super) async fn resume(&mut self, revision: i64) -> Result<Joined, Error> {
        // One that does not lead is left alone, with all that its process may have sent.
        let leads = Compare::create_revision(&*self.line.before, CompareOp::Greater, revision - 1)
            .over(prefix_end(&self.line.before));
        let taken = self.take_over(revision, Some(leads)).await?.ok_or(Error::NotHeld)?;
        self.presence = Presence::Present { revision, doubtful: !taken.fenced };
        self.joined(&taken.first, revision, Some(taken.own))
    }

    /// Takes over the key that a join has found; false if it is gone.
    pub(super) async fn take_over_joined(&mut self) -> Result<bool, Error> {
        let revision = self.created();
        match self.take_over(revision, None).await? {
            Some(taken) => {
                self.presence = Presence::Present { revision, doubtful: !taken.fenced };
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// `None` if the key created at `revision` is gone. Where `only_if` does not hold the fence stays where it is.
    async fn take_over(
        &mut self,
        revision: i64,
        only_if: Option<Compare>,
    ) -> Result<Option<TakenOver>, Error> {
        let fence_key = self.fence_key();
        loop {
            let fence = self.session.fence(&fence_key);
            self.takeover_mark = mark(&self.key, TAKEN_OVER, fence);
            let look = self.look();
            let put = Put::new(&*fence_key, &*self.takeover_mark).lease(self.session.lease());
            let txn = Txn::new()
                .when([
                    Compare::create_revision(&*self.key, CompareOp::Equal, revision),
                    Compare::mod_revision(&*fence_key, CompareOp::Equal, fence),
                ])
                .when(only_if.clone())
                .and_then(look.iter().cloned().chain([Op::Put(put)]))
                .or_else(look);
            let response = match self.txn(txn).await {
                Err(Failed { error: Error::Refused(refusal), .. }) => {
                    return self.take_over_unfenced(revision, refusal).await;
                }
                outcome => outcome?.value,
            };
            let Some(own) = self.own_of(&response, revision) else { return Ok(None) };
            let first = keys(&response, 1).to_vec();
            if response.succeeded {
                self.taken_over_at = response.header.revision;
                self.session.set_fence(&fence_key, self.taken_over_at);
                return Ok(Some(TakenOver { own, first, fenced: true }));
            }
            let fence_now = fence_of(&response, 2);
            if fence_now == fence {
                return Ok(Some(TakenOver { own, first, fenced: false }));
            }
            // By an earlier process, or by a lost try of this one, which may have left the very same mark. Moved once more it is
            // behind all that any earlier process knew.
            self.session.set_fence(&fence_key, fence_now);
        }
    }

    /// For when etcd refuses to put the fence: out of space, or no permission for that key. The key is taken over as it is, and
    /// what the fence says by now is of earlier processes, or of a try of this one.
    async fn take_over_unfenced(
        &mut self,
        revision: i64,
        refusal: Refusal,
    ) -> Result<Option<TakenOver>, Error> {
        tracing::warn!(name = self.line.name.as_str(), %refusal, "a lost request could not be fenced off");
        let response = self.txn(Txn::new().and_then(self.look())).await?.value;
        self.session.set_fence(&self.fence_key(), fence_of(&response, 2));
        self.taken_over_at = response.header.revision;
        let own = self.own_of(&response, revision);
        Ok(own.map(|own| TakenOver { own, first: keys(&response, 1).to_vec(), fenced: false }))
    }

    /// Reads the own key, those that are granted, and the fence.
    fn look(&self) -> [Op; 3] {
        [Range::key(&*self.key), self.first(), Range::key(self.fence_key())].map(Op::Range)
    }

    fn own_of(&self, response: &TxnResponse, revision: i64) -> Option<KeyValue> {
        keys(response, 0).first().filter(|own| own.create_revision == revision).cloned()
    }
}
