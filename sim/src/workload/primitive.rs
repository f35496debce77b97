//! What a program needs of a primitive: to take a tenure, and what can be done with one. The library's primitives give
//! it, and so do the wrong locks that are planted.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenure::kv::{Op, TxnResponse};
use tenure::{Backend, Error, Session};

/// The session that a tenure is asked for with.
#[derive(Clone)]
pub struct Through {
    /// The session.
    pub session: Session,
    /// The backend that it was opened on.
    pub backend: Arc<dyn Backend>,
}

/// How a primitive itself is asked to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as it takes.
    Forever,
    /// Not at all.
    Try,
    /// With a time limit, in milliseconds.
    LimitMs(u64),
}

/// Whether a holder still believes, by its own clock, that it holds.
pub type Belief = Arc<dyn Fn() -> bool + Send + Sync>;

/// A primitive that gives tenures.
pub trait Primitive: Send + Sync {
    /// Takes the tenure of this name; `None` if it was only tried and another holds it.
    fn take(
        &self,
        through: Through,
        name: &str,
        wait: Wait,
    ) -> BoxFuture<'static, Result<Option<Box<dyn Held>>, Error>>;
}

/// A tenure that is held; dropping it gives it back in the background.
pub trait Held: Send + Sync {
    /// Its fencing token.
    fn token(&self) -> i64;
    /// Its holder's belief, from any node's point of view.
    fn belief(&self) -> Belief;
    /// Resolves when the holder is told that it is lost.
    fn lost(&self) -> BoxFuture<'static, ()>;
    /// A transaction that is to commit only while it is held.
    fn txn(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<TxnResponse, Error>>;
    /// Gives it back and waits for that.
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>>;
}
