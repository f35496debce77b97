//! What is brought to its end in the background when who waits for it goes away.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::Backend;

/// A future that goes on in the background when it is dropped half-way. Its value is dropped there, which is to undo what was
/// done.
pub(crate) struct Finishing<T: Send + 'static> {
    backend: Arc<dyn Backend>,
    work: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> Finishing<T> {
    pub(crate) fn new(backend: &Arc<dyn Backend>, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { backend: Arc::clone(backend), work: Some(work.boxed()) }
    }
}

impl<T: Send + 'static> Future for Finishing<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let value = std::task::ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(value)
    }
}

impl<T: Send + 'static> Drop for Finishing<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.backend.spawn(work.map(drop).boxed());
        }
    }
}
