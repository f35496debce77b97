//! The one error type of the primitives.

use crate::Refusal;
use crate::kv::Shown;

/// How an operation of a primitive failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot name a lock or an election.
    #[error("invalid name {name:?}: {rule}")]
    InvalidName {
        /// What was given.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// An argument is out of its range.
    #[error("invalid {what}: {allowed}")]
    InvalidArgument {
        /// Which argument.
        what: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The session is over: its lease ran out, was revoked, or it was closed. Nothing is held through it any more, and it
    /// does not come back; open another.
    #[error("the session is over")]
    SessionLost,
    /// The session could not be opened in time.
    #[error("no session could be opened in time: {0}")]
    NotOpened(String),
    /// The tenure is over, or was never granted: its key is gone from etcd.
    #[error("not held any more: the key is gone from etcd")]
    NotHeld,
    /// The wait reached its time limit; the place in the line is given up.
    #[error("timed out waiting in line")]
    Timeout,
    /// This session holds this name already, or waits for it. On etcd that is one and the same contender, so a second
    /// wait would be granted beside the first. Use a session for each.
    #[error("this session already holds {name:?} or waits for it: two contenders need two sessions")]
    InUse {
        /// The name.
        name: String,
    },
    /// The barrier is held already.
    #[error("the barrier {name:?} is held already")]
    BarrierHeld {
        /// The barrier.
        name: String,
    },
    /// As many as the double barrier is for are in it already, or those of the last round are not all out.
    #[error("the barrier {name:?} is full: {count} members are in it")]
    BarrierFull {
        /// The barrier.
        name: String,
        /// How many members it has.
        count: usize,
    },
    /// One who waited at the double barrier is gone, so all who waited are out again. Enter anew.
    #[error("the barrier {name:?} is broken: one of those who waited is gone")]
    BarrierBroken {
        /// The barrier.
        name: String,
    },
    /// A key that is no contender's lies below the name's prefix, so the line has no meaning. Something else writes
    /// there: another kind of lock on the same name, or a name that continues this one after a slash.
    #[error("foreign key {key} below the name's prefix: something other than a contender writes there")]
    ForeignKey {
        /// The key, with what is not printable escaped.
        key: String,
    },
    /// Users of one semaphore disagree on how many permits it has. Who came first goes on; a new number holds once all who
    /// go by the old one have left.
    #[error("the semaphore {name:?} has {theirs} permits for another contender, not {ours}")]
    PermitsDiffer {
        /// The name.
        name: String,
        /// What was given here.
        ours: u32,
        /// What a contender before goes by.
        theirs: u32,
    },
    /// The sum would leave the counter's bounds. Nothing was added.
    #[error("the counter {name:?} is at {number}, and {by:+} would leave its bounds")]
    OutOfBounds {
        /// The name.
        name: String,
        /// The number as it is.
        number: i64,
        /// What was to be added.
        by: i64,
    },
    /// The key of that name holds something that this kind of recipe does not write.
    #[error("the key {name:?} holds something else")]
    ForeignValue {
        /// The name.
        name: String,
    },
    /// `unlock` without a `lock` before it.
    #[error("not locked")]
    NotLocked,
    /// etcd refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// etcd did not answer in time; nothing was asked that would change anything.
    #[error("etcd did not answer in time: {0}")]
    Unavailable(String),
    /// The request may or may not have been applied, and repeating it would not be the same.
    #[error("the outcome is unknown: {0}")]
    Maybe(String),
}

impl Error {
    pub(crate) fn foreign_key(key: &[u8]) -> Self {
        Self::ForeignKey { key: Shown(key).to_string() }
    }
}
