//! The Watch service: one gRPC stream carries many watches, each of them a watch of the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use futures_util::{Stream, StreamExt};
use tenure::kv::{Header, WatchRequest, WatchResponse};
use tenure::wire::{Wire, WireWatch};

use super::{Service, convert};

/// The id in messages that are of no watch: a refused one, or the progress of all (`InvalidWatchID`).
const NO_WATCH: i64 = -1;

#[tonic::async_trait]
impl PbWatchService for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<PbWatchResponse, tonic::Status>> + Send>>;

    async fn watch(
        &self,
        request: tonic::Request<tonic::Streaming<PbWatchRequest>>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Ok(tonic::Response::new(Box::pin(Watches {
            wire: Arc::clone(&self.wire),
            requests: Some(request.into_inner()),
            open: BTreeMap::new(),
            next_id: 0,
            turn: 0,
            asked: BTreeSet::new(),
            waiting: VecDeque::new(),
            seen: Header::default(),
            ended: false,
        })))
    }
}

/// The watches of one stream.
struct Watches {
    wire: Arc<dyn Wire>,
    /// What the client asks; none once it has said its last.
    requests: Option<tonic::Streaming<PbWatchRequest>>,
    open: BTreeMap<i64, Box<dyn WireWatch>>,
    next_id: i64,
    /// The watch that is listened to first, so that a busy one does not keep out the others.
    turn: i64,
    /// The watches whose progress the client waits for.
    asked: BTreeSet<i64>,
    /// Messages to send before any other.
    waiting: VecDeque<PbWatchResponse>,
    /// The newest header that a watch has told.
    seen: Header,
    ended: bool,
}

impl Watches {
    fn take(&mut self, request: PbWatchRequest) {
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                const NO_PUT: i32 = 0;
                const NO_DELETE: i32 = 1;
                let request = WatchRequest {
                    no_put: create.filters.contains(&NO_PUT),
                    no_delete: create.filters.contains(&NO_DELETE),
                    key: create.key,
                    range_end: create.range_end,
                    start_revision: create.start_revision,
                    progress_notify: create.progress_notify,
                    prev_kv: create.prev_kv,
                };
                self.open(create.watch_id, request);
            }
            Some(PbWatchRequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(PbWatchRequestUnion::ProgressRequest(_)) => {
                for (id, watch) in &mut self.open {
                    watch.request_progress();
                    self.asked.insert(*id);
                }
            }
            None => {}
        }
    }

    /// Closes a watch; of one that is not open etcd says nothing.
    fn cancel(&mut self, id: i64) {
        if self.open.remove(&id).is_some() {
            self.asked.remove(&id);
            let message = WatchResponse { header: self.seen, canceled: true, ..WatchResponse::default() };
            self.waiting.push_back(convert::watch_response(id, message));
        }
    }

    /// Opens a watch under the wanted id, or the next free one for 0 (`watchStream.Watch` in `mvcc/watcher.go`).
    fn open(&mut self, wanted: i64, request: WatchRequest) {
        let id = if wanted == 0 {
            while self.open.contains_key(&self.next_id) {
                self.next_id += 1;
            }
            self.next_id += 1;
            self.next_id - 1
        } else {
            wanted
        };
        if self.open.contains_key(&id) {
            let message = WatchResponse {
                header: self.seen,
                created: true,
                canceled: true,
                cancel_reason: "mvcc: duplicate watch ID provided on the WatchStream".to_owned(),
                ..WatchResponse::default()
            };
            self.waiting.push_back(convert::watch_response(NO_WATCH, message));
        } else {
            self.open.insert(id, self.wire.watch(request));
        }
    }

    /// What of a watch's message goes to the client: all but the progress of one watch while that of all is asked.
    fn tell(&mut self, id: i64, message: WatchResponse) -> Option<PbWatchResponse> {
        self.seen = if message.header.revision > 0 { message.header } else { self.seen };
        if message.canceled {
            self.open.remove(&id);
            self.asked.remove(&id);
            let refused = message.created;
            return Some(convert::watch_response(if refused { NO_WATCH } else { id }, message));
        }
        let progress = message.events.is_empty() && !message.created;
        if progress && self.asked.remove(&id) {
            return self.asked.is_empty().then(|| convert::watch_response(NO_WATCH, message));
        }
        Some(convert::watch_response(id, message))
    }

    /// Listens to every open watch once, the one whose turn it is first.
    fn poll_watches(&mut self, cx: &mut Context<'_>) -> Option<Result<PbWatchResponse, tonic::Status>> {
        let ids: Vec<i64> =
            self.open.range(self.turn..).chain(self.open.range(..self.turn)).map(|(id, _)| *id).collect();
        for id in ids {
            while let Some(watch) = self.open.get_mut(&id) {
                let Poll::Ready(message) = watch.poll_next(cx) else { break };
                self.turn = id + 1;
                match message {
                    Some(Ok(message)) => {
                        if let Some(message) = self.tell(id, message) {
                            return Some(Ok(message));
                        }
                    }
                    // A watch that fails takes its stream with it, as in etcd when the leader is lost.
                    Some(Err(status)) => return Some(Err(convert::status(status))),
                    None => return Some(Err(tonic::Status::unavailable("the watch ended"))),
                }
            }
        }
        None
    }
}

impl Stream for Watches {
    type Item = Result<PbWatchResponse, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(message) = this.waiting.pop_front() {
                return Poll::Ready(Some(Ok(message)));
            }
            if let Some(message) = this.poll_watches(cx) {
                this.ended = message.is_err();
                return Poll::Ready(Some(message));
            }
            let Some(requests) = &mut this.requests else { return Poll::Pending };
            match requests.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(request))) => this.take(request),
                Poll::Ready(Some(Err(status))) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
                // The client asks no more; what is open goes on until it closes the stream.
                Poll::Ready(None) => this.requests = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
