//! Connections that remember the newest revision that any answer told: a step of a process comes after every write that
//! the process can know of.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{Request, Response, WatchRequest, WatchResponse};
use tenure::wire::{Status, Wire, WireWatch};

/// The newest revision seen.
pub(super) type Newest = Arc<AtomicI64>;

/// A connection that tells `newest` of what it carries.
pub(super) struct Watched {
    pub(super) inner: Arc<dyn Wire>,
    pub(super) newest: Newest,
}

impl Wire for Watched {
    fn endpoint(&self) -> String {
        self.inner.endpoint()
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let (answer, newest) = (self.inner.call(request), Arc::clone(&self.newest));
        async move {
            let mut answer = answer.await;
            if let Ok(response) = &mut answer {
                newest.fetch_max(response.header_mut().revision, Ordering::AcqRel);
            }
            answer
        }
        .boxed()
    }

    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        Box::new(Stream { inner: self.inner.watch(request), newest: Arc::clone(&self.newest) })
    }
}

struct Stream {
    inner: Box<dyn WireWatch>,
    newest: Newest,
}

impl WireWatch for Stream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchResponse, Status>>> {
        let told = self.inner.poll_next(cx);
        if let Poll::Ready(Some(Ok(message))) = &told {
            // The header's revision may be ahead of the events, which is no knowledge of what lies between.
            let seen = message.events.iter().map(|event| event.kv.mod_revision).max();
            newest_of(&self.newest, seen.or(message.created.then_some(message.header.revision)));
        }
        told
    }

    fn request_progress(&mut self) {
        self.inner.request_progress();
    }
}

fn newest_of(newest: &AtomicI64, seen: Option<i64>) {
    if let Some(revision) = seen {
        newest.fetch_max(revision, Ordering::AcqRel);
    }
}
