//! One call: attempts on one endpoint after another until one answers, the request is refused, or the deadline passes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use super::namespace::Namespace;
use super::status::{Failure, classify};
use crate::Instant;
use crate::backend::{CallError, within};
use crate::kv::{Op, Request, Response, Txn};
use crate::metrics;
use crate::wire::Status;

/// What may be done about an answer that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing: it is tried again, and was never applied.
    Read,
    /// Applying it twice is applying it once: it is tried again, and may have been applied.
    Idempotent,
    /// It is tried once.
    Write,
}

/// What `request` does to the store.
pub(super) fn effect(request: &Request) -> Effect {
    match request {
        Request::Range(_) | Request::LeaseTimeToLive { .. } | Request::LeaseLeases | Request::Status => {
            Effect::Read
        }
        Request::Txn(txn) if !can_write(txn) => Effect::Read,
        Request::LeaseKeepAlive { .. } | Request::LeaseRevoke { .. } => Effect::Idempotent,
        Request::Txn(_)
        | Request::Put(_)
        | Request::Delete(_)
        | Request::LeaseGrant { .. }
        | Request::Compact { .. } => Effect::Write,
    }
}

fn can_write(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Range(_) => false,
        Op::Put(_) | Op::Delete(_) => true,
        Op::Txn(inner) => can_write(inner),
    })
}

/// How one attempt ended.
enum Attempt {
    Answered(Response),
    /// It took too long.
    TimedOut,
    Failed(Status),
}

impl Shared {
    pub(super) async fn call(&self, request: Request, deadline: Instant) -> Result<Response, CallError> {
        let namespace = Namespace(&self.options.namespace);
        let request = namespace.outward(request)?;
        let response = self.call_any(request, deadline).await?;
        Ok(namespace.inward(response))
    }

    async fn call_any(&self, request: Request, deadline: Instant) -> Result<Response, CallError> {
        if self.wires.is_empty() {
            return Err(CallError::NotApplied("there is no endpoint".to_owned()));
        }
        let effect = effect(&request);
        let mut progress = Progress { effect, maybe_applied: false, failures: 0, last: String::new() };
        let mut endpoint = self.preferred();
        loop {
            if self.runtime.now() >= deadline {
                return Err(progress.deadline_passed());
            }
            match self.attempt(endpoint, &request, deadline, progress.failures).await {
                Attempt::Answered(mut response) => {
                    self.answered();
                    self.saw_revision(response.header_mut().revision);
                    self.prefer(endpoint, progress.failures);
                    return Ok(response);
                }
                Attempt::TimedOut => {
                    self.timed_out();
                    self.move_on_from(endpoint);
                    progress.lost(format!("{} did not answer in time", self.wires[endpoint].endpoint()))?;
                }
                Attempt::Failed(status) => {
                    let words = format!("{}: {status}", self.wires[endpoint].endpoint());
                    match classify(&status) {
                        Failure::Refused(refusal) => {
                            self.answered();
                            return Err(CallError::Refused(refusal));
                        }
                        Failure::NotApplied => {
                            self.move_on_from(endpoint);
                            progress.not_applied(words);
                        }
                        Failure::Lost => {
                            self.move_on_from(endpoint);
                            progress.lost(words)?;
                        }
                    }
                }
            }
            tracing::debug!(failures = progress.failures, error = %progress.last, "an attempt failed");
            metrics::attempt_failed(&*self.wires[endpoint]);
            endpoint = (endpoint + 1) % self.wires.len();
            self.pause(progress.failures, deadline).await;
        }
    }

    /// One attempt on one endpoint. `failures` is how many came before it in this call.
    async fn attempt(&self, endpoint: usize, request: &Request, deadline: Instant, failures: u32) -> Attempt {
        let now = self.runtime.now();
        let left = deadline.saturating_since(now);
        let is_last = (failures as usize + 1).is_multiple_of(self.wires.len());
        let share = if is_last { left } else { left / 2 };
        let until = now + self.attempt_timeout().min(share).max(Duration::from_nanos(1));
        let answer = self.wires[endpoint].call(request.clone());
        match within(&*self.runtime, until, answer).await {
            Ok(Ok(response)) => Attempt::Answered(response),
            Ok(Err(status)) => Attempt::Failed(status),
            Err(_) => Attempt::TimedOut,
        }
    }

    /// The endpoint answered after others had failed: later calls begin with it.
    fn prefer(&self, endpoint: usize, failures: u32) {
        if failures > 0 {
            self.preferred.store(endpoint, Ordering::Relaxed);
        }
    }

    async fn pause(&self, failures: u32, deadline: Instant) {
        let pause = self.backoff(failures);
        if !pause.is_zero() {
            self.runtime.sleep_until((self.runtime.now() + pause).min(deadline)).await;
        }
    }
}

/// What the attempts of one call have come to.
struct Progress {
    effect: Effect,
    /// An attempt that failed may have been applied.
    maybe_applied: bool,
    failures: u32,
    last: String,
}

impl Progress {
    fn not_applied(&mut self, words: String) {
        self.failures += 1;
        self.last = words;
    }

    /// The answer was lost; for a write that is the end.
    fn lost(&mut self, words: String) -> Result<(), CallError> {
        if self.effect == Effect::Write {
            return Err(CallError::Maybe(words));
        }
        self.maybe_applied |= self.effect == Effect::Idempotent;
        self.not_applied(words);
        Ok(())
    }

    fn deadline_passed(self) -> CallError {
        let words = match self.failures {
            0 => "the deadline had passed".to_owned(),
            1 => format!("deadline passed; {}", self.last),
            n => format!("deadline passed after {n} attempts; last, {}", self.last),
        };
        if self.maybe_applied { CallError::Maybe(words) } else { CallError::NotApplied(words) }
    }
}
