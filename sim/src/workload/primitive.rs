//! What a program needs of a primitive: to take a tenure, and what can be done with one. The library's primitives give
//! it, and so do the wrong locks that are planted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{Op, TxnResponse};
use tenure::{Backend, Error, Session};

use crate::history::GuardSays;

/// The session that a tenure is asked for with.
#[derive(Clone)]
pub struct Through {
    /// The session.
    pub session: Session,
    /// The backend that it was opened on.
    pub backend: Arc<dyn Backend>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The name of the lock or election.
    pub name: Arc<str>,
    /// What a leader is to say.
    pub value: String,
    /// How the primitive is to wait.
    pub wait: Wait,
    /// Whether it is asked through its [`tenure::Locker`], if it has one and waits for as long as it takes.
    pub locker: bool,
    /// The revision of the key that an earlier process of the same lease held, to be gone on with.
    pub resumes: Option<i64>,
}

/// How a primitive itself is asked to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as it takes.
    Forever,
    /// Not at all.
    Try,
    /// With a time limit.
    Limit(Duration),
}

/// Whether a holder still believes, by its own clock, that it holds.
pub type Belief = Arc<dyn Fn() -> bool + Send + Sync>;

/// A primitive that gives tenures.
pub trait Primitive: Send + Sync {
    /// Takes the tenure; `None` if it was only tried and another holds it.
    fn take(&self, through: Through, ask: &Ask) -> BoxFuture<'static, Result<Option<Box<dyn Held>>, Error>>;
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

    /// What it says of itself, as far as it can be asked.
    fn says(&self) -> GuardSays {
        GuardSays::default()
    }

    /// Whether etcd says that it is held; by default what a transaction that changes nothing says.
    fn confirm(&self) -> BoxFuture<'static, Result<bool, Error>> {
        let asked = self.txn(Vec::new());
        async move {
            match asked.await {
                Ok(_) => Ok(true),
                Err(Error::NotHeld) => Ok(false),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    /// Gives it back and waits for that.
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>>;

    /// What gives it back and may be given up half-way, while this keeps its place; nothing for what is given back for good.
    fn resigning(&self) -> Option<BoxFuture<'static, Result<(), Error>>> {
        None
    }

    /// Takes in all that decides what comes of it while nothing of it is under way; false if that is not known.
    fn hash_state(&self, _into: &mut dyn std::hash::Hasher) -> bool {
        false
    }

    /// A leader says a new value; nothing for what is no leadership.
    fn proclaim(&self, _value: String) -> BoxFuture<'static, Result<(), Error>> {
        std::future::ready(Ok(())).boxed()
    }
}
