//! The seam below [`Etcd`](crate::Etcd): one connection to one member, one attempt a call. gRPC is one wire, the
//! simulator's links are another; failover, deadlines and resuming are written once, above them.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use crate::backend::Code;
use crate::kv::{Request, Response, WatchRequest, WatchResponse};

/// One connection to one etcd member. It connects, and connects again, by itself; it has no deadlines and does not
/// retry. Streams and calls require that the member has a leader (gRPC metadata `hasleader`).
pub trait Wire: Send + Sync + 'static {
    /// The endpoint, for messages.
    fn endpoint(&self) -> String;

    /// Sends one request and waits for its answer, for ever if none comes.
    ///
    /// Dropping the future cancels the call; the request may still be applied.
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>>;

    /// Opens one watch on a stream of its own.
    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch>;
}

/// One raw watch; dropping it closes it.
pub trait WireWatch: Send + 'static {
    /// The next message. `None`, or an error, is the end of the stream.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchResponse, Status>>>;

    /// Asks the member to say its present revision, which it does with a message without events once all earlier
    /// events are told. Does not wait; if it cannot be sent, the stream will end.
    fn request_progress(&mut self);
}

/// How one attempt failed (a gRPC status), and whether the request left this process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Status {
    /// The gRPC code.
    pub code: Code,
    /// etcd's words, or the transport's.
    pub message: String,
    /// False if it is certain that the request never reached the member (the connection was refused).
    pub sent: bool,
}
