//! The Watch service: one gRPC stream carries many watches, each of them a watch of the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message;
use tenure::kv::{Header, WatchRequest, WatchResponse};
use tenure::wire::{Wire, WireWatch};

use super::{Service, Timed, convert};

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
            fragment_bytes: self.fragment_bytes,
            fragmented: BTreeSet::new(),
            notices: self.timed.clone().map(Notices::new),
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
    /// From this size on a response goes in parts, for watches that ask for that.
    fragment_bytes: usize,
    fragmented: BTreeSet<i64>,
    notices: Option<Notices>,
}

/// The news of quiet watches, at intervals (`progressTicker` in `sendLoop`, `api/v3rpc/watch.go`).
struct Notices {
    timed: Timed,
    /// The watches that ask for it, and whether each was quiet since the last time.
    quiet: BTreeMap<i64, bool>,
    next: BoxFuture<'static, ()>,
}

impl Notices {
    fn new(timed: Timed) -> Self {
        let next = Self::interval(&timed);
        Self { timed, quiet: BTreeMap::new(), next }
    }

    fn interval(timed: &Timed) -> BoxFuture<'static, ()> {
        let wait = std::time::Duration::from_millis(timed.progress_notify_ms.max(1));
        timed.runtime.sleep_until(timed.runtime.now() + wait)
    }

    /// The watches to tell now, if the time has come.
    fn due(&mut self, cx: &mut Context<'_>) -> Vec<i64> {
        if self.next.poll_unpin(cx).is_pending() {
            return Vec::new();
        }
        self.next = Self::interval(&self.timed);
        // It is to wake this task.
        let _ = self.next.poll_unpin(cx);
        let quiet = |(id, quiet): (&i64, &mut bool)| std::mem::replace(quiet, true).then_some(*id);
        self.quiet.iter_mut().filter_map(quiet).collect()
    }
}

/// A response in parts that are each below `limit` bytes, or of one event; the last says that it is
/// (`sendFragments` in `api/v3rpc/watch.go`).
fn fragments(mut response: PbWatchResponse, limit: usize) -> Vec<PbWatchResponse> {
    if response.encoded_len() < limit || response.events.len() < 2 {
        return vec![response];
    }
    let events = std::mem::take(&mut response.events);
    let part = PbWatchResponse { fragment: true, ..response };
    let around = part.encoded_len();
    let mut parts: Vec<PbWatchResponse> = Vec::new();
    let mut size = 0;
    for event in events {
        let length = event.encoded_len();
        let added = 1 + prost::length_delimiter_len(length) + length;
        match parts.last_mut() {
            Some(last) if size + added < limit => {
                last.events.push(event);
                size += added;
            }
            _ => {
                parts.push(PbWatchResponse { events: vec![event], ..part.clone() });
                size = around + added;
            }
        }
    }
    if let Some(last) = parts.last_mut() {
        last.fragment = false;
    }
    parts
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
                self.open(create.watch_id, create.fragment, request);
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
        if self.forget(id) {
            let message = WatchResponse { header: self.seen, canceled: true, ..WatchResponse::default() };
            self.waiting.push_back(convert::watch_response(id, message));
        }
    }

    /// Nothing more is told of a watch. Whether it was open.
    fn forget(&mut self, id: i64) -> bool {
        self.asked.remove(&id);
        self.fragmented.remove(&id);
        if let Some(notices) = &mut self.notices {
            notices.quiet.remove(&id);
        }
        self.open.remove(&id).is_some()
    }

    /// Opens a watch under the wanted id, or the next free one for 0 (`watchStream.Watch` in `mvcc/watcher.go`).
    fn open(&mut self, wanted: i64, fragment: bool, request: WatchRequest) {
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
            if fragment {
                self.fragmented.insert(id);
            }
            if let Some(notices) = self.notices.as_mut().filter(|_| request.progress_notify) {
                notices.quiet.insert(id, true);
            }
            self.open.insert(id, self.wire.watch(request));
        }
    }

    /// What of a watch's message goes to the client: all but the progress of one watch while that of all is asked.
    fn tell(&mut self, id: i64, message: WatchResponse) -> Option<PbWatchResponse> {
        self.seen = if message.header.revision > 0 { message.header } else { self.seen };
        if message.canceled {
            self.forget(id);
            let refused = message.created;
            return Some(convert::watch_response(if refused { NO_WATCH } else { id }, message));
        }
        let progress = message.events.is_empty() && !message.created;
        if progress && self.asked.remove(&id) {
            return self.asked.is_empty().then(|| convert::watch_response(NO_WATCH, message));
        }
        if let Some(quiet) = self.notices.as_mut().and_then(|notices| notices.quiet.get_mut(&id)) {
            *quiet &= message.events.is_empty();
        }
        let response = convert::watch_response(id, message);
        if !self.fragmented.contains(&id) {
            return Some(response);
        }
        let mut parts = fragments(response, self.fragment_bytes).into_iter();
        let first = parts.next();
        self.waiting.extend(parts);
        first
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
            for id in this.notices.as_mut().map(|notices| notices.due(cx)).unwrap_or_default() {
                if let Some(watch) = this.open.get_mut(&id) {
                    watch.request_progress();
                }
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

#[cfg(test)]
mod tests {
    use etcd_client::proto::{PbEvent, PbKeyValue};

    use super::*;

    fn response(sizes: &[usize]) -> PbWatchResponse {
        let event = |size: &usize| PbEvent {
            kv: Some(PbKeyValue { value: vec![0; *size], ..PbKeyValue::default() }),
            ..PbEvent::default()
        };
        PbWatchResponse {
            watch_id: 7,
            events: sizes.iter().map(event).collect(),
            ..PbWatchResponse::default()
        }
    }

    #[test]
    fn parts_are_below_the_limit_or_of_one_event_and_the_last_says_so() {
        let parts = fragments(response(&[400, 400, 400, 2000, 10, 10]), 1000);
        let events: Vec<usize> = parts.iter().map(|part| part.events.len()).collect();
        assert_eq!(events, [2, 1, 1, 2]);
        assert_eq!(parts.iter().map(|part| part.fragment).collect::<Vec<_>>(), [true, true, true, false]);
        assert!(parts.iter().all(|part| part.watch_id == 7));
        assert!(parts.iter().all(|part| part.encoded_len() < 1000 || part.events.len() == 1));
    }

    #[test]
    fn what_is_small_or_of_one_event_stays_whole() {
        assert_eq!(fragments(response(&[400, 400]), 1000).len(), 1);
        let one = fragments(response(&[4000]), 1000);
        assert!(one.len() == 1 && !one[0].fragment);
    }
}
