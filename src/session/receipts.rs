//! Transactions that are applied once at most, and of which it is known in the end whether they were, whatever answers are
//! lost.
//!
//! Each goes by a *receipt*: a key of the session's that the transaction itself rewrites, and compares to be as it was. So no
//! two tries of one transaction can both be applied; a try whose answer was lost is told by what the receipt says; and once a
//! transaction is answered as not applied, the receipt has been moved on, so that no lost try is applied later either. It lives
//! by the session's lease, so nothing is applied once the session is over, and nothing stays behind.

use std::collections::BTreeMap;

use super::{Failed, Outcome, Session};
use crate::kv::{Compare, CompareOp, KeyValue, Op, OpResponse, Put, Range, Txn, TxnResponse};
use crate::name::Name;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::{Error, Refusal};

/// The receipts of a session that no transaction goes by at present, by their prefix. Where many go on at once there are many.
#[derive(Default)]
pub(crate) struct Receipts {
    free: Mutex<BTreeMap<Vec<u8>, Vec<Receipt>>>,
}

/// One receipt.
#[derive(Clone, Copy, Debug)]
struct Receipt {
    number: u64,
    /// Where it stands; `None` if a transaction by it was given up, so that it may have moved and may move yet.
    revision: Option<i64>,
}

/// What became of a transaction.
#[derive(Debug)]
pub(crate) enum Once {
    /// It was applied.
    Applied {
        /// By this revision.
        revision: i64,
    },
    /// Its conditions did not hold, and it will not be applied.
    Not {
        /// What its other list of operations told.
        response: TxnResponse,
    },
}

impl Receipts {
    /// Takes in where the receipts stand.
    pub(crate) fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        for (prefix, receipts) in &*self.lock() {
            into.write(prefix);
            for Receipt { number, revision } in receipts {
                into.write_u64(*number);
                into.write_i64(revision.unwrap_or(-1));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<Receipt>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Applies `txn` once or not at all, on behalf of what bears `name`. It may have 127 conditions and operations.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::Refused`]: it was not applied, and will not be. [`Error::Maybe`] if the session ended, or
    /// etcd refused what would tell, before it was known whether a lost try was applied. Once the session is over it will not
    /// be any more.
    ///
    /// # Cancel safety
    /// When the future is dropped it may have been applied, and may be until another goes by the same receipt.
    pub(crate) async fn once(&self, name: &Name, txn: Txn) -> Result<Once, Error> {
        let mut bearer = Bearer::of(self, name);
        loop {
            let stands_at = match bearer.receipt.revision.take() {
                Some(revision) => revision,
                None => bearer.move_on(None).await?.stands_at,
            };
            let mark = format!("{:x}.{} after {stands_at}", self.lease(), self.next_number()).into_bytes();
            let tried = bearer.attempt(&txn, &mark, stands_at).await?;
            bearer.receipt.revision = tried.stands_at;
            if let Some(outcome) = tried.outcome {
                return Ok(outcome);
            }
        }
    }
}

/// What trying came to.
struct Tried {
    /// `None`: the receipt was elsewhere, by what had been given up earlier.
    outcome: Option<Once>,
    stands_at: Option<i64>,
}

/// Where a receipt was moved, or was found.
struct Moved {
    stands_at: i64,
    /// It bears the mark that was asked for: it was not moved.
    is_marked: bool,
}

/// A receipt in use.
struct Bearer<'a> {
    session: &'a Session,
    prefix: Vec<u8>,
    key: Vec<u8>,
    receipt: Receipt,
}

impl<'a> Bearer<'a> {
    fn of(session: &'a Session, name: &Name) -> Self {
        let prefix = name.receipts(session.lease());
        let free = session.receipts().lock().get_mut(&prefix).and_then(Vec::pop);
        let receipt = free.unwrap_or_else(|| Receipt {
            number: session.next_number(),
            // What an earlier process of the lease has left under this key is not known.
            revision: (!session.is_taken_over()).then_some(0),
        });
        let key = [&*prefix, receipt.number.to_string().as_bytes()].concat();
        Self { session, prefix, key, receipt }
    }

    async fn attempt(&self, txn: &Txn, mark: &[u8], stands_at: i64) -> Result<Tried, Error> {
        let put = Put::new(&*self.key, mark).lease(self.session.lease());
        let guarded = txn
            .clone()
            .when([Compare::mod_revision(&*self.key, CompareOp::Equal, stands_at)])
            .and_then([Op::Put(put)])
            .or_else([Op::Range(Range::key(&*self.key))]);
        let Outcome { value: mut response, doubtful } = match self.session.txn(guarded).await {
            Ok(outcome) => outcome,
            Err(Failed { error: Error::Refused(refusal), doubtful }) => {
                return self.after_refusal(refusal, doubtful, mark, stands_at).await;
            }
            Err(Failed { error, doubtful: false }) => return Err(error),
            Err(failed) => return Err(unknown(&failed.error)),
        };
        if response.succeeded {
            return Ok(Tried::applied(response.header.revision));
        }
        let receipt = match response.responses.pop() {
            Some(OpResponse::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        match receipt {
            Some(kv) if kv.value == mark => Ok(Tried::applied(kv.mod_revision)),
            now if now.as_ref().map_or(0, |kv| kv.mod_revision) != stands_at => {
                Ok(Tried { outcome: None, stands_at: None })
            }
            // A lost try may find the conditions holding later on, unless the receipt has moved by then.
            _ if doubtful => {
                let moved = self.move_on(Some(mark)).await.map_err(|error| unknown(&error))?;
                Ok(if moved.is_marked {
                    Tried::applied(moved.stands_at)
                } else {
                    Tried { outcome: Some(Once::Not { response }), stands_at: Some(moved.stands_at) }
                })
            }
            _ => Ok(Tried { outcome: Some(Once::Not { response }), stands_at: Some(stands_at) }),
        }
    }

    /// Out of space may mean: applied, and only then found too much (etcd's quotaApplierV3, apply.go); and an earlier try may
    /// have been applied whatever the last one was refused for.
    async fn after_refusal(
        &self,
        refusal: Refusal,
        doubtful: bool,
        mark: &[u8],
        stands_at: i64,
    ) -> Result<Tried, Error> {
        if !doubtful && refusal != Refusal::NoSpace {
            return Err(refusal.into());
        }
        match self.read().await.map_err(|error| unknown(&error))? {
            Some(kv) if kv.value == mark => Ok(Tried::applied(kv.mod_revision)),
            _ if doubtful => Err(Error::Maybe(format!("a try was lost before etcd refused: {refusal}"))),
            now => {
                tracing::debug!(stands_at, now = now.map_or(0, |kv| kv.mod_revision), %refusal, "not applied");
                Err(refusal.into())
            }
        }
    }

    /// Moves the receipt, so that nothing which was sent before is applied any more; but not if it bears `mark`.
    async fn move_on(&self, mark: Option<&[u8]>) -> Result<Moved, Error> {
        loop {
            let now = self.read().await?;
            let stands_at = now.as_ref().map_or(0, |kv| kv.mod_revision);
            if mark.is_some() && now.as_ref().map(|kv| &*kv.value) == mark {
                return Ok(Moved { stands_at, is_marked: true });
            }
            let put = Put::new(&*self.key, "moved on").lease(self.session.lease());
            let txn = Txn::new()
                .when([Compare::mod_revision(&*self.key, CompareOp::Equal, stands_at)])
                .and_then([Op::Put(put)]);
            let response = self.session.txn(txn).await?.value;
            if response.succeeded {
                return Ok(Moved { stands_at: response.header.revision, is_marked: false });
            }
        }
    }

    async fn read(&self) -> Result<Option<KeyValue>, Error> {
        Ok(self.session.range(Range::key(&*self.key)).await?.kvs.into_iter().next())
    }
}

/// What is told when something came in between a lost try and the knowledge whether it was applied.
fn unknown(error: &Error) -> Error {
    Error::Maybe(format!("a try was lost, and then: {error}"))
}

impl Tried {
    fn applied(revision: i64) -> Self {
        Self { outcome: Some(Once::Applied { revision }), stands_at: Some(revision) }
    }
}

impl Drop for Bearer<'_> {
    fn drop(&mut self) {
        let prefix = std::mem::take(&mut self.prefix);
        self.session.receipts().lock().entry(prefix).or_default().push(self.receipt);
    }
}
