//! Transactions for plain threads: the same attempts, around a closure that blocks.

use super::{Committed, Run, StmError};
use crate::{Error, sync};

/// An [`Stm`](crate::Stm) whose transactions block the calling thread.
///
/// The backend's runtime must run on other threads: never call it from a task, nor with a current-thread tokio runtime that
/// nobody drives.
///
/// ```no_run
/// # use tenure::{Error, Session, StmError};
/// use tenure::blocking::Stm;
/// # fn example(session: &Session) -> Result<(), StmError<&'static str>> {
/// let stm = Stm::new(tenure::Stm::new(session, "accounts")?);
/// let committed = stm.run(|tx| {
///     if tx.get("accounts/a")?.is_some() {
///         return Err(StmError::Aborted("it is there already"));
///     }
///     tx.put("accounts/a", "100");
///     Ok(())
/// })?;
/// println!("opened at revision {}", committed.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stm {
    inner: crate::Stm,
}

impl Stm {
    /// Makes it blocking.
    pub fn new(inner: crate::Stm) -> Self {
        Self { inner }
    }

    /// As [`Stm::run`](crate::Stm::run), with a closure that blocks: it runs on the calling thread.
    ///
    /// # Errors
    /// As that.
    pub fn run<T, E>(
        &self,
        mut closure: impl FnMut(&Transaction) -> Result<T, StmError<E>>,
    ) -> Result<Committed<T>, StmError<E>> {
        self.inner.span().in_scope(|| {
            let mut run = sync::block_on(Run::begin(&self.inner))?;
            loop {
                let (transaction, attempt) = run.attempt()?;
                let closed = closure(&Transaction { inner: transaction });
                if let Some(committed) = sync::block_on(run.close(&attempt, closed))? {
                    return Ok(committed);
                }
            }
        })
    }
}

impl From<crate::Stm> for Stm {
    fn from(inner: crate::Stm) -> Self {
        Self::new(inner)
    }
}

/// What the closure of [`Stm::run`] reads and writes through.
#[derive(Clone, Debug)]
pub struct Transaction {
    inner: crate::Transaction,
}

impl Transaction {
    /// The value of a key as this transaction sees it, `None` if the key is absent.
    ///
    /// # Errors
    /// As [`Transaction::get`](crate::Transaction::get); the closure is to return them.
    pub fn get(&self, key: impl Into<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        sync::block_on(self.inner.get(key))
    }

    /// The revision that last wrote a key, as this transaction has read it, and 0 if the key was absent.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn rev(&self, key: impl Into<Vec<u8>>) -> Result<i64, Error> {
        sync::block_on(self.inner.rev(key))
    }

    /// Writes a key, without a lease, when the transaction commits.
    pub fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.inner.put(key, value);
    }

    /// Writes a key that lives by `lease` when the transaction commits.
    pub fn put_leased(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: i64) {
        self.inner.put_leased(key, value, lease);
    }

    /// Deletes a key when the transaction commits.
    pub fn delete(&self, key: impl Into<Vec<u8>>) {
        self.inner.delete(key);
    }
}
