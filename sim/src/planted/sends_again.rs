//! `sends-writes-again`: a connection that broke while an answer was awaited counts as one that was never made, so the write
//! is sent once more, or reported as not applied.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::Code;
use tenure::kv::{Request, Response, WatchRequest};
use tenure::wire::{Status, Wire, WireWatch};

pub(super) fn sends_writes_again(inner: Arc<dyn Wire>) -> Arc<dyn Wire> {
    Arc::new(SendsAgain(inner))
}

struct SendsAgain(Arc<dyn Wire>);

impl Wire for SendsAgain {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let answer = self.0.call(request);
        async move {
            answer
                .await
                .map_err(|status| Status { sent: status.sent && status.code != Code::Unavailable, ..status })
        }
        .boxed()
    }

    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        self.0.watch(request)
    }
}
