//! What the primitives need of the world: etcd's calls, and a clock, timers and tasks. Nothing in the primitives
//! names tokio, gRPC or a simulator; everything that they wait for, start or ask the time of goes through here.

use std::fmt;
use std::pin::Pin;

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::Stream;
use futures_util::{FutureExt, select_biased};

use crate::Instant;
use crate::kv::{Event, LeaseGrant, Range, RangeResponse, Txn, TxnResponse, WatchRequest};

/// The process's clock, timers and tasks.
///
/// An implementation must be the only source of time and concurrency for what runs on it: a simulator or an
/// exploring scheduler decides every step through these three methods.
pub trait Runtime: Send + Sync + 'static {
    /// The process's monotonic clock. It must go on while the process is suspended.
    fn now(&self) -> Instant;

    /// Resolves once [`Runtime::now`] has reached `deadline`; never for [`Instant::FAR_FUTURE`].
    ///
    /// Cancel safe: dropping the future forgets the timer.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Runs `task` to its end in the background. May be called from a destructor and from any thread.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// The part of etcd that the primitives use, in etcd's own shapes, on a [`Runtime`].
///
/// Each call takes the deadline until which it may try. Within it an implementation moves on to another member by
/// itself when it knows that the request was *not applied*, and for reads and renewals always; what may have been
/// applied it reports as [`CallError::Maybe`], and the primitive decides. A call never outlives its deadline by more
/// than the time it takes to notice.
///
/// Every future is `'static` and may be dropped at any time; then the request may or may not be applied.
pub trait Backend: Runtime {
    /// Applies a transaction once at most.
    fn txn(&self, txn: Txn, deadline: Instant) -> BoxFuture<'static, Result<TxnResponse, CallError>>;

    /// Reads; linearizable unless the request says otherwise.
    fn range(&self, range: Range, deadline: Instant) -> BoxFuture<'static, Result<RangeResponse, CallError>>;

    /// Watches until it is dropped. The stream resumes by itself, on another member if need be, with no event lost
    /// or told twice; see [`WatchMessage`] for what it says. It ends only after [`WatchMessage::Compacted`] or an error.
    fn watch(&self, request: WatchRequest) -> WatchStream;

    /// Makes a lease of at least `ttl`, in whole seconds, with an id that the server picks.
    fn lease_grant(
        &self,
        ttl: Duration,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<LeaseGrant, CallError>>;

    /// Renews a lease once. Gives the time to live in seconds that begins anew, 0 if there is no such lease.
    fn lease_keep_alive(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<i64, CallError>>;

    /// Ends a lease and deletes its keys. That there is no such lease is success.
    fn lease_revoke(&self, id: i64, deadline: Instant) -> BoxFuture<'static, Result<(), CallError>>;
}

/// The stream of a [`Backend::watch`].
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchMessage, Refusal>> + Send>>;

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchMessage {
    /// The watch is open: every change after `revision` will be told (or from the asked start on, if that is earlier).
    /// Told once, first.
    Created {
        /// The store's revision when the watch was opened.
        revision: i64,
    },
    /// What happened, in order of revision, each revision whole.
    Events {
        /// The events; never empty.
        events: Vec<Event>,
    },
    /// Changes were forgotten before they could be told. The stream ends; list and watch anew.
    Compacted {
        /// The oldest revision that can still be read and watched.
        compact_revision: i64,
    },
}

/// How a call failed, by the one thing its caller must know: whether the request may have been applied. There is no fourth way, so
/// the type is exhaustive: who decides by it is to decide of each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not applied, and will not be.
    #[error("not applied: {0}")]
    NotApplied(String),
    /// It may have been applied, or may be yet: the answer was lost, the deadline passed, the leader changed.
    #[error("maybe applied: {0}")]
    Maybe(String),
    /// etcd refused it, and would again. Not applied.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why etcd refused a request. What the primitives tell apart has a name; all else is, and what comes newly will be,
/// [`Refusal::Other`], so the type is exhaustive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The revision asked for is compacted.
    #[error("revision has been compacted")]
    Compacted,
    /// No such lease: a put named a lease that has ended.
    #[error("lease not found")]
    LeaseNotFound,
    /// The store is full (alarm NOSPACE): nothing can be put until it is compacted and disarmed. The one refusal that may
    /// follow an applied write: the put that fills the store is applied before it is found too much.
    #[error("etcd is out of space")]
    NoSpace,
    /// The user may not do this, or is not known.
    #[error("permission denied: {0}")]
    PermissionDenied(String),
    /// Anything else that a retry will not mend, with etcd's code and words.
    #[error("etcd refused: {code}: {message}")]
    Other {
        /// The gRPC code.
        code: Code,
        /// etcd's words.
        message: String,
    },
}

/// The gRPC status codes, as etcd uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The deadline passed first; see [`within`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline exceeded")]
pub struct DeadlineExceeded;

/// Waits for `future` until `deadline`. If both are ready the future wins.
///
/// Cancel safe if `future` is.
pub async fn within<T>(
    runtime: &(impl Runtime + ?Sized),
    deadline: Instant,
    future: impl Future<Output = T>,
) -> Result<T, DeadlineExceeded> {
    let future = std::pin::pin!(future);
    let mut timer = runtime.sleep_until(deadline).fuse();
    select_biased! {
        value = future.fuse() => Ok(value),
        () = timer => Err(DeadlineExceeded),
    }
}
