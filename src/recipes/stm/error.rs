//! How a transaction did not commit.

use crate::Error;
use crate::backend::{Code, Refusal};

/// Why [`Stm::run`](crate::Stm::run) did not commit; `E` is the closure's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StmError<E> {
    /// The closure gave up. Nothing was applied.
    #[error("the transaction was aborted")]
    Aborted(E),
    /// Others got in between each time. Nothing was applied.
    #[error("the transaction met conflicts in each of {attempts} attempts")]
    Conflict {
        /// How often the closure ran.
        attempts: u32,
    },
    /// The closure read or wrote more keys than etcd takes in one transaction (`--max-txn-ops`). Nothing was applied.
    #[error("the transaction has more operations than etcd takes in one")]
    TooManyOps,
    /// A request failed. Nothing was applied, unless it is [`Error::Maybe`].
    #[error(transparent)]
    Failed(#[from] Error),
}

impl<E> StmError<E> {
    /// Of a request for many keys at once.
    pub(super) fn of_request(error: Error) -> Self {
        match error {
            // `ErrGRPCTooManyOps`, api/v3rpc/rpctypes/error.go.
            Error::Refused(Refusal::Other { code: Code::InvalidArgument, message })
                if message.contains("too many operations in txn request") =>
            {
                Self::TooManyOps
            }
            error => Self::Failed(error),
        }
    }
}
