//! The watch that resumes: over any number of raw watches on any members, one stream with no event lost or told twice.
//!
//! It opens where it was asked to, and after a break at the first revision that it has not seen the whole of: one past
//! the last event, the last progress message, or, if there was neither, the revision at which it was opened.
//! A watch that was asked for "now" stays at "now" until it has been open once.
//!
//! A member can go silent in three ways, and each is noticed:
//! - it stands still or is cut off from us: it is asked for its progress when nothing has come for a while, and is left
//!   if it does not answer (etcd issues 8980, 12534, 14641);
//! - it is cut off from its cluster: wires require a leader, so it ends the stream itself;
//! - it hears its leader and yet applies nothing: its progress stays behind a revision that another answer has
//!   told us of a whole interval before, and it is left.
//!
//! Progress messages are trusted to come after the events before them, which holds from etcd 3.4.25 and 3.5.8 on
//! (etcd issue 15220).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FusedFuture, FutureExt};
use futures_util::{select_biased, stream};

use super::Shared;
use super::namespace::Namespace;
use super::status::{Failure, classify};
use crate::Instant;
use crate::backend::{Code, Refusal, WatchMessage, WatchStream};
use crate::kv::{WatchRequest, WatchResponse};
use crate::metrics;
use crate::wire::{Status, WireWatch};

/// The resuming watch of `request`.
pub(super) fn resuming(shared: Arc<Shared>, request: WatchRequest) -> WatchStream {
    let request = Namespace(&shared.options.namespace).watch(request);
    let watch = Watch {
        resume_from: request.start_revision,
        shared,
        request,
        created_told: false,
        open: None,
        failures: 0,
        untold: VecDeque::new(),
        ended: false,
    };
    Box::pin(stream::unfold(watch, async |mut watch| watch.next().await.map(|said| (said, watch))))
}

struct Watch {
    shared: Arc<Shared>,
    request: WatchRequest,
    /// The first revision not yet seen; 0 while that is "now".
    resume_from: i64,
    created_told: bool,
    open: Option<Open>,
    /// Raw watches that broke, one after another.
    failures: u32,
    untold: VecDeque<WatchMessage>,
    ended: bool,
}

/// One raw watch, and what is known of its member.
struct Open {
    wire: Box<dyn WireWatch>,
    endpoint: usize,
    opened_at: Instant,
    heard_at: Instant,
    created: bool,
    /// When the member was asked for its progress, if it has not said anything since.
    asked_at: Option<Instant>,
    /// The newest revision known when it was last asked.
    newest_when_asked: i64,
    /// The newest revision known when it was asked the time before: by now the member must have it.
    newest_before: i64,
    /// Fires at [`Open::due`] or before.
    timer: futures_util::future::Fuse<BoxFuture<'static, ()>>,
}

/// What came of waiting.
enum Heard {
    Message(WatchResponse),
    /// Nothing, for as long as may be.
    Nothing,
    /// The stream ended.
    End(Option<Status>),
}

impl Watch {
    async fn next(&mut self) -> Option<Result<WatchMessage, Refusal>> {
        loop {
            if let Some(message) = self.untold.pop_front() {
                return Some(Ok(message));
            }
            if self.ended {
                return None;
            }
            if let Err(refusal) = self.step().await {
                self.ended = true;
                self.open = None;
                return Some(Err(refusal));
            }
        }
    }

    /// Waits for one thing to happen and takes it in.
    async fn step(&mut self) -> Result<(), Refusal> {
        let Some(open) = &mut self.open else {
            return self.reopen().await;
        };
        match open.hear(&self.shared).await {
            Heard::Message(response) => {
                open.heard_at = self.shared.runtime.now();
                open.asked_at = None;
                self.shared.saw_revision(response.header.revision);
                if response.canceled { self.canceled(&response) } else { self.take_in(response) }
            }
            Heard::Nothing if open.created && open.asked_at.is_none() => {
                open.ask_progress(&self.shared);
                Ok(())
            }
            Heard::Nothing => {
                self.broken("the member gave no sign of life");
                Ok(())
            }
            Heard::End(None) => {
                self.broken("the stream ended");
                Ok(())
            }
            Heard::End(Some(status)) => self.failed(&status),
        }
    }

    async fn reopen(&mut self) -> Result<(), Refusal> {
        if self.shared.wires.is_empty() {
            return Err(Refusal::Other {
                code: Code::Unavailable,
                message: "there is no endpoint".to_owned(),
            });
        }
        let runtime = &self.shared.runtime;
        let pause = self.shared.backoff(self.failures);
        if !pause.is_zero() {
            runtime.sleep_until(runtime.now() + pause).await;
        }
        let endpoint = self.shared.preferred();
        let now = runtime.now();
        let request = WatchRequest { start_revision: self.resume_from, ..self.request.clone() };
        self.open = Some(Open {
            wire: self.shared.wires[endpoint].watch(request),
            endpoint,
            opened_at: now,
            heard_at: now,
            created: false,
            asked_at: None,
            newest_when_asked: 0,
            newest_before: 0,
            timer: runtime.sleep_until(now + self.shared.options.attempt_timeout).fuse(),
        });
        Ok(())
    }

    fn take_in(&mut self, response: WatchResponse) -> Result<(), Refusal> {
        let revision = response.header.revision;
        if response.created {
            if let Some(open) = &mut self.open {
                open.created = true;
            }
            if self.resume_from <= 0 {
                self.resume_from = revision + 1;
            }
            if !self.created_told {
                self.created_told = true;
                self.untold.push_back(WatchMessage::Created { revision });
            }
        } else if response.events.is_empty() {
            self.progressed_to(revision);
        }
        let mut events = response.events;
        events.retain(|event| event.kv.mod_revision >= self.resume_from);
        if let Some(last) = events.last() {
            self.resume_from = last.kv.mod_revision + 1;
            Namespace(&self.shared.options.namespace).events(&mut events);
            self.untold.push_back(WatchMessage::Events { events });
        }
        Ok(())
    }

    /// All events up to `revision` have been told.
    fn progressed_to(&mut self, revision: i64) {
        let behind = self.open.as_ref().is_some_and(|open| revision < open.newest_before);
        self.resume_from = self.resume_from.max(revision + 1);
        if behind {
            self.broken("the member applies nothing");
        }
    }

    fn canceled(&mut self, response: &WatchResponse) -> Result<(), Refusal> {
        if response.compact_revision != 0 {
            self.untold.push_back(WatchMessage::Compacted { compact_revision: response.compact_revision });
            self.open = None;
            self.ended = true;
            return Ok(());
        }
        // etcd gives the reason in words only.
        let denied = response.cancel_reason.contains("permission denied");
        let code = if denied { Code::PermissionDenied } else { Code::Unavailable };
        self.failed(&Status { code, message: response.cancel_reason.clone(), sent: true })
    }

    fn failed(&mut self, status: &Status) -> Result<(), Refusal> {
        match classify(status) {
            Failure::Refused(refusal) => Err(refusal),
            Failure::NotApplied | Failure::Lost => {
                self.broken(&status.message);
                Ok(())
            }
        }
    }

    /// The raw watch is of no more use: the next is opened on another endpoint.
    fn broken(&mut self, why: &str) {
        let Some(open) = self.open.take() else { return };
        let lived = self.shared.runtime.now().saturating_since(open.opened_at);
        // One that lived a while is no reason to hesitate; one that ended at once may do so again.
        if open.created && lived >= self.shared.options.attempt_timeout {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.shared.move_on_from(open.endpoint);
        let endpoint = self.shared.wires[open.endpoint].endpoint();
        tracing::debug!(endpoint, why, resume_from = self.resume_from, "a watch broke");
        metrics::watch_broken(&*self.shared.wires[open.endpoint]);
    }
}

impl Open {
    async fn hear(&mut self, shared: &Shared) -> Heard {
        loop {
            let Self { wire, timer, .. } = self;
            let mut message = poll_fn(|cx| wire.poll_next(cx)).fuse();
            select_biased! {
                message = message => return match message {
                    Some(Ok(response)) => Heard::Message(response),
                    Some(Err(status)) => Heard::End(Some(status)),
                    None => Heard::End(None),
                },
                () = &mut *timer => {}
            }
            let due = self.due(shared);
            if shared.runtime.now() >= due {
                return Heard::Nothing;
            }
            self.timer = shared.runtime.sleep_until(due).fuse();
        }
    }

    /// When the silence will have lasted too long.
    fn due(&self, shared: &Shared) -> Instant {
        let options = &shared.options;
        match self.asked_at {
            _ if !self.created => self.opened_at + options.attempt_timeout,
            Some(asked_at) => asked_at + options.attempt_timeout,
            None => self.heard_at + options.progress_interval,
        }
    }

    fn ask_progress(&mut self, shared: &Shared) {
        self.wire.request_progress();
        self.asked_at = Some(shared.runtime.now());
        self.newest_before = self.newest_when_asked;
        self.newest_when_asked = shared.newest_revision();
        debug_assert!(self.timer.is_terminated(), "silence is noticed by the timer");
        self.timer = shared.runtime.sleep_until(self.due(shared)).fuse();
    }
}
