//! Canaries: what tells that the hunt for planted bugs is honest. `changes-nothing` is no bug and must not be killed by anything;
//! `does-nothing` is a library that never takes anything, which every scenario must notice.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{Request, Response, WatchRequest, WatchResponse};
use tenure::wire::{Status, Wire, WireWatch};
use tenure::{Code, Error};

use super::{Bug, Planted};
use crate::workload::decorate::{Plain, decorated};
use crate::workload::primitive::{Ask, Held, Primitive, Through};

/// One canary.
#[derive(Debug)]
pub struct Canary {
    /// What is planted.
    pub bug: Planted,
    /// Whether every scenario must kill it, or none may.
    pub must_die: bool,
}

/// Every canary.
pub const CANARIES: &[Canary] = &[
    Canary {
        bug: Planted::backend(
            "changes-nothing",
            "no bug at all: nothing may be said against it",
            ("mutex", "mutual-exclusion"),
            decorated::<Plain>,
        ),
        must_die: false,
    },
    Canary {
        bug: Planted::new(
            "does-nothing",
            "a library that refuses whatever it is asked: every scenario must notice",
            ("mutex", "progress"),
            Bug::DoesNothing,
        ),
        must_die: true,
    },
];

/// A primitive that refuses every ask at once.
pub(crate) fn idle() -> Box<dyn Primitive> {
    Box::new(Idle)
}

struct Idle;

impl Primitive for Idle {
    fn take(&self, _: Through, _: &Ask) -> BoxFuture<'static, Result<Option<Box<dyn Held>>, Error>> {
        std::future::ready(Err(Error::NotHeld)).boxed()
    }
}

/// A connection that lets leases through and refuses all else.
pub(crate) fn refusing(inner: &Arc<dyn Wire>) -> Arc<dyn Wire> {
    Arc::new(Refusing(Arc::clone(inner)))
}

struct Refusing(Arc<dyn Wire>);

fn refused() -> Status {
    Status { code: Code::Unavailable, message: "not asked".to_owned(), sent: false }
}

impl Wire for Refusing {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        match request {
            Request::LeaseGrant { .. } | Request::LeaseRevoke { .. } | Request::LeaseKeepAlive { .. } => {
                self.0.call(request)
            }
            _ => std::future::ready(Err(refused())).boxed(),
        }
    }

    fn watch(&self, _: WatchRequest) -> Box<dyn WireWatch> {
        Box::new(RefusedWatch { told: false })
    }
}

struct RefusedWatch {
    told: bool,
}

impl WireWatch for RefusedWatch {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<WatchResponse, Status>>> {
        let first = !std::mem::replace(&mut self.told, true);
        Poll::Ready(first.then(|| Err(refused())))
    }

    fn request_progress(&mut self) {}
}
