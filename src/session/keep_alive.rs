//! The background task that renews a session's lease until the session is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};

use super::{Ended, Liveness};
use crate::sync::{AtomicBool, Ordering};
use crate::{Backend, CallError, Instant, Refusal, metrics, within};

/// Renews one lease. It holds no handle of the session, so that a forgotten session is dropped.
pub(super) struct KeepAlive {
    backend: Arc<dyn Backend>,
    lease: i64,
    drift_bound_ppm: u32,
    ttl: Duration,
    sent: Instant,
    liveness: Arc<Liveness>,
    revokes: Arc<AtomicBool>,
}

impl KeepAlive {
    /// For a lease that was granted or renewed by a request sent at `sent`.
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        lease: i64,
        drift_bound_ppm: u32,
        ttl: Duration,
        sent: Instant,
    ) -> Self {
        let deadline = sent + safe_part(ttl, drift_bound_ppm);
        Self {
            backend,
            lease,
            drift_bound_ppm,
            ttl,
            sent,
            liveness: Arc::new(Liveness::new(deadline.as_nanos())),
            revokes: Arc::new(AtomicBool::new(true)),
        }
    }

    pub(super) fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.liveness)
    }

    /// Whether it revokes the lease when it finds the session over.
    pub(super) fn revokes(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.revokes)
    }

    /// Renews every third of the TTL, and after a failure again soon, until the session is over.
    pub(super) async fn run(mut self) {
        let mut ended = Ended::of(&self.liveness).fuse();
        let mut next = self.sent + self.ttl / 3;
        loop {
            // A late wake-up (the process was suspended) must find the session over before it renews.
            let due =
                self.liveness.deadline_ns().map_or(next, |deadline| next.min(Instant::from_nanos(deadline)));
            select_biased! {
                () = ended => return self.ended().await,
                () = self.backend.sleep_until(due).fuse() => {}
            }
            let renewed = select_biased! {
                () = ended => return self.ended().await,
                renewed = self.renew().fuse() => renewed,
            };
            match renewed {
                Renewal::Done => next = self.sent + self.ttl / 3,
                Renewal::Again => next = self.backend.now() + (self.ttl / 20).min(Duration::from_millis(500)),
                Renewal::Ended => return self.ended().await,
                Renewal::Over(why) => return self.give_up(why).await,
            }
        }
    }

    /// The session was ended: by its owner, who sees to the lease, or by somebody else who saw its deadline pass first.
    async fn ended(self) {
        if self.is_past_deadline() {
            self.give_up("its deadline passed without a renewal").await;
        }
    }

    fn is_past_deadline(&self) -> bool {
        self.backend.now() >= self.sent + safe_part(self.ttl, self.drift_bound_ppm)
    }

    async fn renew(&mut self) -> Renewal {
        let sent = self.backend.now();
        let Some(deadline) = self.liveness.deadline_ns().map(Instant::from_nanos) else {
            return Renewal::Ended;
        };
        if !self.liveness.is_alive(sent.as_nanos()) {
            return Renewal::Over("its deadline passed without a renewal");
        }
        let answer =
            within(&*self.backend, deadline, self.backend.lease_keep_alive(self.lease, deadline)).await;
        metrics::renewed(&*self.backend, sent, matches!(answer, Ok(Ok(1..))));
        match answer {
            Ok(Ok(ttl_s)) => match u64::try_from(ttl_s) {
                Ok(ttl_s @ 1..) => {
                    self.ttl = Duration::from_secs(ttl_s);
                    self.sent = sent;
                    let until = sent + safe_part(self.ttl, self.drift_bound_ppm);
                    if self.liveness.extend(self.backend.now().as_nanos(), until.as_nanos()) {
                        Renewal::Done
                    } else {
                        Renewal::Over("its deadline passed before the renewal was answered")
                    }
                }
                _ => Renewal::Over("etcd has no such lease any more"),
            },
            Ok(Err(CallError::Refused(Refusal::LeaseNotFound))) => {
                Renewal::Over("etcd has no such lease any more")
            }
            Ok(Err(error)) => {
                tracing::debug!(lease = self.lease, %error, "renewal failed");
                Renewal::Again
            }
            Err(_) => Renewal::Over("its deadline passed without an answer"),
        }
    }

    /// The session is over on this side. If etcd still has the lease (it adds time at a leader change), ending it early
    /// frees who waits.
    async fn give_up(self, why: &'static str) {
        // Who looked at the clock first, a guard or this task, has ended it; lost it is all the same.
        if self.liveness.end() || self.is_past_deadline() {
            tracing::warn!(lease = self.lease, why, "session lost");
            metrics::session_lost();
        }
        if !self.revokes.load(Ordering::Acquire) {
            return;
        }
        let give_up_at = self.backend.now() + self.ttl;
        let revoked =
            within(&*self.backend, give_up_at, self.backend.lease_revoke(self.lease, give_up_at)).await;
        if !matches!(revoked, Ok(Ok(()))) {
            tracing::debug!(lease = self.lease, "the lost session's lease could not be revoked");
        }
    }
}

enum Renewal {
    Done,
    Again,
    /// By somebody else, who has seen to the lease.
    Ended,
    /// Found over by the renewal itself.
    Over(&'static str),
}

/// The part of a TTL that has certainly not passed on etcd's clock when it has passed on ours.
fn safe_part(ttl: Duration, drift_bound_ppm: u32) -> Duration {
    ttl.saturating_sub(ttl.mul_f64(f64::from(drift_bound_ppm) / 1e6))
}
