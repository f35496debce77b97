//! Software transactional memory: a closure reads and writes keys, and all of it commits at once or not at all.

pub(super) mod blocking;
mod error;
mod transaction;

use tracing::Instrument;

use super::backoff;
use crate::kv::{Op, Txn};
use crate::name::Name;
use crate::session::Once;
use crate::{Error, Refusal, Session};

pub use error::StmError;
pub use transaction::Transaction;
use transaction::{Attempt, Reads};

/// What a transaction may see of others, and what keeps it from committing: Go's levels
/// (`client/v3/concurrency/stm.go`), strictest first.
///
/// In each, a key that was read once is not read again, and a key that was written is read as written. All reads are
/// linearizable, where Go's may come from a member that lags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// As [`Isolation::Serializable`], and no key that it writes was written by others since its first read.
    #[default]
    SerializableSnapshot,
    /// All reads are of one revision, that of the first. It commits if nothing that it read was written since.
    Serializable,
    /// Each key is read as it is when it is first read, so two keys may be of different revisions. It commits if nothing that it
    /// read was written since.
    RepeatableReads,
    /// As [`Isolation::RepeatableReads`], and it commits in any case: what others wrote since may be overwritten.
    ReadCommitted,
}

impl Isolation {
    /// All reads are of one revision.
    fn is_snapshot(self) -> bool {
        matches!(self, Self::SerializableSnapshot | Self::Serializable)
    }
}

/// Transactions on keys of etcd, by optimistic concurrency: a closure reads and writes, the writes are held back, and one
/// transaction of etcd's applies them all if no other has got in between; else the closure runs anew.
///
/// The closure may run any number of times, so it should do nothing but read and write through its [`Transaction`].
///
/// **Once.** An answer that is lost is not taken for a failure: each commit writes a receipt, a key of the session's own by
/// the given name (`__NAME\0receipt/..`, gone with the session), by which it is seen whether it was applied. So a transaction is
/// neither applied twice nor reported as failed when it committed. Only when the session ends before etcd can be
/// asked is that unknown ([`Error::Maybe`]).
///
/// ```no_run
/// # use tenure::{Session, Stm, StmError};
/// # fn number(value: Option<Vec<u8>>) -> i64 { 0 }
/// # async fn example(session: Session) -> Result<(), StmError<&'static str>> {
/// let stm = Stm::new(&session, "accounts")?;
/// let transfer = stm.run(|tx| async move {
///     let (from, to) = (number(tx.get("accounts/a").await?), number(tx.get("accounts/b").await?));
///     if from < 10 {
///         return Err(StmError::Aborted("too little is left"));
///     }
///     tx.put("accounts/a", (from - 10).to_string());
///     tx.put("accounts/b", (to + 10).to_string());
///     Ok(())
/// });
/// let committed = transfer.await?;
/// println!("moved at revision {}", committed.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Stm {
    session: Session,
    name: Name,
    isolation: Isolation,
    attempts: u32,
    prefetch: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Stm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stm")
            .field("name", &self.name.as_str())
            .field("isolation", &self.isolation)
            .field("attempts", &self.attempts)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// A transaction that committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// The revision that its writes made; if it wrote nothing, one at which its reads were true together. 0 if it read nothing, or at
    /// [`Isolation::ReadCommitted`] need not have read what was true together.
    pub revision: i64,
    /// How often the closure ran.
    pub attempts: u32,
}

impl Stm {
    /// Transactions of a session, at [`Isolation::SerializableSnapshot`] and with 100 attempts at most. Nothing is sent.
    ///
    /// `name` is what the receipts are named by; the keys of transactions are named in full and may lie anywhere.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        Ok(Self {
            session: session.clone(),
            name: Name::new(name.as_ref())?,
            isolation: Isolation::default(),
            attempts: 100,
            prefetch: Vec::new(),
        })
    }

    /// Sets the level of isolation.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets how often the closure may run; 0 counts as 1. Between two runs it waits for a millisecond or two at first, for an
    /// eighth of a second at most.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Adds keys that the closure is likely to read: they are read at once, before it runs. What it then does not read does not
    /// keep it from committing.
    #[must_use]
    pub fn prefetch<K: Into<Vec<u8>>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.prefetch.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Runs the closure until what it read and wrote has committed.
    ///
    /// # Errors
    /// [`StmError::Aborted`], as the closure returned it, and [`StmError::Conflict`] if others got in between in every
    /// attempt: nothing was applied. [`StmError::TooManyOps`]: it read or wrote more keys than etcd takes in one transaction (128
    /// by default, the receipt included). [`StmError::Failed`]: the session is over or etcd refuses, and nothing was applied,
    /// unless it is [`Error::Maybe`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it committed, or does yet; it is applied once at most. While the closure
    /// runs nothing has been applied.
    pub async fn run<T, E, F>(
        &self,
        mut closure: impl FnMut(Transaction) -> F,
    ) -> Result<Committed<T>, StmError<E>>
    where
        F: Future<Output = Result<T, StmError<E>>>,
    {
        let run = async {
            let mut run = Run::begin(self).await?;
            loop {
                let (transaction, attempt) = run.attempt()?;
                let closed = closure(transaction).await;
                if let Some(committed) = run.close(&attempt, closed).await? {
                    return Ok(committed);
                }
            }
        };
        run.instrument(self.span()).await
    }

    fn span(&self) -> tracing::Span {
        tracing::debug_span!("stm", name = self.name.as_str(), isolation = ?self.isolation)
    }

    async fn read_ahead(&self) -> Result<Reads, Error> {
        if self.prefetch.is_empty() {
            return Ok(Reads::default());
        }
        let keys = || self.prefetch.iter().map(Vec::as_slice);
        let txn = Txn::new().and_then(Reads::ops(keys()));
        let read = self.session.txn(txn).await?.value;
        Ok(Reads::of(keys(), read.responses, read.header.revision))
    }

    async fn commit(&self, attempt: &Attempt) -> Result<Ended, Error> {
        let commit = attempt.take();
        let txn = Txn::new().when(commit.conditions).and_then(commit.writes);
        if txn.success.is_empty() {
            if txn.compares.is_empty() {
                return Ok(Ended::Committed { revision: commit.read_at });
            }
            return self.confirm(txn, &commit.reads).await;
        }
        let again = txn.or_else(Reads::ops(commit.reads.keys()));
        Ok(match self.session.once(&self.name, again).await? {
            Once::Applied { revision } => Ended::Committed { revision },
            Once::Not { response } => {
                let (now, revision) = (response.responses, response.header.revision);
                Ended::Conflict(Reads::of(commit.reads.keys(), now, revision))
            }
        })
    }

    /// What wrote nothing and read at several revisions: all of it must be true at one.
    async fn confirm(&self, txn: Txn, reads: &Reads) -> Result<Ended, Error> {
        // etcd takes a transaction without operations for a serializable read, so it reads in any case.
        let now: Vec<Op> = Reads::ops(reads.keys()).collect();
        let txn = txn.and_then(now.iter().cloned()).or_else(now);
        let answer = self.session.txn(txn).await?.value;
        let revision = answer.header.revision;
        Ok(if answer.succeeded {
            Ended::Committed { revision }
        } else {
            Ended::Conflict(Reads::of(reads.keys(), answer.responses, revision))
        })
    }
}

/// The attempts of one transaction, less its closure, which is between [`Run::attempt`] and [`Run::close`].
struct Run<'a> {
    stm: &'a Stm,
    /// What is read before the closure asks for it.
    ahead: Reads,
    attempts: u32,
}

impl<'a> Run<'a> {
    async fn begin<E>(stm: &'a Stm) -> Result<Self, StmError<E>> {
        let ahead = stm.read_ahead().await.map_err(StmError::of_request)?;
        Ok(Self { stm, ahead, attempts: 0 })
    }

    fn attempt<E>(&mut self) -> Result<(Transaction, Attempt), StmError<E>> {
        if self.attempts == self.stm.attempts {
            return Err(StmError::Conflict { attempts: self.attempts });
        }
        self.attempts += 1;
        let ahead = std::mem::take(&mut self.ahead);
        Ok(Transaction::begin(&self.stm.session, self.stm.isolation, ahead))
    }

    /// Commits what the closure did; if others got in between, waits a moment and gives `None`: then it is to run again.
    async fn close<T, E>(
        &mut self,
        attempt: &Attempt,
        closed: Result<T, StmError<E>>,
    ) -> Result<Option<Committed<T>>, StmError<E>> {
        let (stm, attempts) = (self.stm, self.attempts);
        self.ahead = match closed {
            Ok(value) => match stm.commit(attempt).await.map_err(StmError::of_request)? {
                Ended::Committed { revision } => return Ok(Some(Committed { value, revision, attempts })),
                Ended::Conflict(now) => now,
            },
            // Others wrote so much that what it began with is forgotten.
            Err(StmError::Failed(Error::Refused(Refusal::Compacted))) => {
                stm.read_ahead().await.map_err(StmError::of_request)?
            }
            Err(error) => return Err(error),
        };
        backoff::after_conflict(&stm.session, attempts).await;
        Ok(None)
    }
}

/// How an attempt to commit ended.
enum Ended {
    Committed {
        revision: i64,
    },
    /// With what the keys that it read hold now.
    Conflict(Reads),
}
