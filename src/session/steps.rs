//! Steps: calls that are repeated until etcd has answered or the session is over. What is a step must be idempotent.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, select_biased};

use super::Session;
use super::liveness::Ended;
use crate::kv::{Range, RangeResponse, Txn, TxnResponse};
use crate::{CallError, Error, Instant, Refusal};

/// A step that did not succeed.
pub(crate) struct Failed {
    /// Why.
    pub(crate) error: Error,
    /// A try may have been applied, or may be yet.
    pub(crate) doubtful: bool,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// What a step came to.
pub(crate) struct Outcome<T> {
    /// etcd's answer.
    pub(crate) value: T,
    /// An earlier try may have been applied, or may be yet, long after this answer.
    pub(crate) doubtful: bool,
}

impl Session {
    /// A transaction as a [step](Self::step).
    pub(crate) async fn txn(&self, txn: Txn) -> Result<Outcome<TxnResponse>, Failed> {
        let backend = self.backend();
        self.step(|deadline| backend.txn(txn.clone(), deadline)).await
    }

    /// A read as a [step](Self::step): a lost one is asked again, and leaves no doubt.
    pub(crate) async fn range(&self, range: Range) -> Result<RangeResponse, Error> {
        let backend = self.backend();
        Ok(self.step(|deadline| backend.range(range.clone(), deadline)).await?.value)
    }

    /// Waits for `work` as long as the session lives.
    ///
    /// # Errors
    /// [`Error::SessionLost`] at once when it is over, whatever `work` waits for, and those of `work`.
    ///
    /// Cancel safe as far as `work` is.
    pub(crate) async fn while_alive<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut lost = std::pin::pin!(self.lost().fuse());
        let mut work = std::pin::pin!(work.fuse());
        select_biased! {
            () = lost => Err(Error::SessionLost),
            done = work => done,
        }
    }

    /// Repeats `call` until it is answered or the session is over. `call` is given the deadline for one try.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::Refused`].
    ///
    /// Cancel safe as far as `call` is; whether it was applied is then not known.
    pub(crate) async fn step<T>(
        &self,
        mut call: impl FnMut(Instant) -> BoxFuture<'static, Result<T, CallError>>,
    ) -> Result<Outcome<T>, Failed> {
        let mut doubtful = false;
        let mut pause = Duration::from_millis(5);
        // No timer for the deadline: each try ends at it, and a session that is over is noticed at once.
        let mut lost = Ended::of(self.liveness()).fuse();
        loop {
            let Some(deadline) = self.deadline().filter(|_| self.is_alive()) else {
                return Err(Failed { error: Error::SessionLost, doubtful });
            };
            let answer = select_biased! {
                () = lost => return Err(Failed { error: Error::SessionLost, doubtful: true }),
                answer = call(deadline).fuse() => answer,
            };
            match answer {
                Ok(value) => return Ok(Outcome { value, doubtful }),
                Err(CallError::Refused(Refusal::LeaseNotFound)) => {
                    self.liveness().end();
                    return Err(Failed { error: Error::SessionLost, doubtful });
                }
                Err(CallError::Refused(refusal)) => {
                    return Err(Failed { error: Error::Refused(refusal), doubtful });
                }
                Err(CallError::Maybe(reason)) => {
                    tracing::debug!(reason, "maybe applied; trying again");
                    doubtful = true;
                }
                Err(CallError::NotApplied(reason)) => tracing::debug!(reason, "not applied; trying again"),
            }
            select_biased! {
                () = lost => return Err(Failed { error: Error::SessionLost, doubtful }),
                () = self.backend().sleep_until(self.backend().now() + pause).fuse() => {}
            }
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
}
