//! A [`Single`] as a [`Wire`]: calls and watches without a network, on the clock of a [`Runtime`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use tenure::kv::{Request, Response, WatchRequest, WatchResponse};
use tenure::wire::{Status, Wire, WireWatch};
use tenure::{Instant, Runtime};

use crate::store::{Single, SingleConfig, WatchId};

/// A server of one member in this process. Clones are the same server.
#[derive(Clone)]
pub struct SingleWire {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Arc<dyn Runtime>,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    single: Single,
    queues: BTreeMap<WatchId, Queue>,
}

/// What one watch has been told and has not taken in.
#[derive(Default)]
struct Queue {
    messages: VecDeque<WatchResponse>,
    waker: Option<Waker>,
}

impl SingleWire {
    /// A server with an empty store, whose clock begins now.
    pub fn new(config: SingleConfig, runtime: Arc<dyn Runtime>) -> Self {
        let state = State { single: Single::new(config), queues: BTreeMap::new() };
        let began = runtime.now();
        Self { shared: Arc::new(Shared { runtime, began, state: Mutex::new(state) }) }
    }

    /// Does what is due, now and whenever something is, for ever: expired leases are revoked, lagging watches are served.
    /// Without it that waits for the next call.
    pub async fn run(&self) {
        // Often enough for a loop of 100 ms and a scan of 500 ms; what is due is computed, so an idle turn costs nothing.
        const TURN: std::time::Duration = std::time::Duration::from_millis(20);
        loop {
            self.shared.runtime.sleep_until(self.shared.runtime.now() + TURN).await;
            self.shared.with(|single, now_ns| single.tick(now_ns));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something on the server and hands out what watches are told of it.
    fn with<T>(&self, act: impl FnOnce(&mut Single, u64) -> T) -> T {
        let mut state = self.lock();
        let now = self.runtime.now().saturating_since(self.began);
        let done = act(&mut state.single, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        for (id, message) in state.single.take_messages() {
            let queue = state.queues.entry(id).or_default();
            queue.messages.push_back(message);
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
        }
        done
    }
}

impl Wire for SingleWire {
    fn endpoint(&self) -> String {
        "simulated".to_owned()
    }

    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.with(|single, now_ns| single.handle(&request, now_ns)) })
    }

    fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        let id = self.shared.with(|single, now_ns| single.watch(request, now_ns));
        Box::new(SingleWatch { shared: Arc::clone(&self.shared), id, ended: false })
    }
}

struct SingleWatch {
    shared: Arc<Shared>,
    id: WatchId,
    ended: bool,
}

impl WireWatch for SingleWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchResponse, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut state = self.shared.lock();
        let queue = state.queues.entry(self.id).or_default();
        let Some(message) = queue.messages.pop_front() else {
            queue.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        self.ended = message.canceled;
        Poll::Ready(Some(Ok(message)))
    }

    fn request_progress(&mut self) {
        self.shared.with(|single, now_ns| {
            single.tick(now_ns);
            single.request_progress(self.id);
        });
    }
}

impl Drop for SingleWatch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.single.cancel_watch(self.id);
        state.queues.remove(&self.id);
    }
}
