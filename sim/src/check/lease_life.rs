//! `lease-life`: the cluster lets no lease run out before its time to live has passed since a client sent the last grant or
//! renewal of it that was answered. Its holder counts from that moment, so whatever it believes rests on this.
//!
//! etcd keeps this but for the two cases that `robbed` tells of, and excuses.

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::{Request, Response};

use super::{Breach, Evidence};
use crate::history::What;

/// A grant or renewal that was answered.
#[derive(Clone, Copy)]
pub(super) struct Renewed {
    pub(super) sent_ns: u64,
    /// The steps at which it was sent and answered.
    pub(super) sent: usize,
    pub(super) answered: usize,
    ttl_s: i64,
}

impl Renewed {
    /// The end of the time that it gives at least, by a clock that runs faster by so many millionths.
    pub(super) fn lives_until_ns(&self, drift_ppm: u32) -> u64 {
        let ttl_ns = u64::try_from(self.ttl_s).unwrap_or(0).saturating_mul(1_000_000_000);
        self.sent_ns + (ttl_ns - ttl_ns / 1_000_000 * u64::from(drift_ppm).min(1_000_000))
    }
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let renewals = renewals(evidence);
    let mut ended = BTreeSet::new();
    evidence.history.steps.iter().enumerate().find_map(|(step, at)| {
        let What::Committed { call, request, .. } = &at.what else { return None };
        let Request::LeaseRevoke { id } = **request else { return None };
        // Who asks for a revocation may have it at any time; and what has ended cannot end again.
        if !ended.insert(id) || call.is_some() || evidence.robbed.contains_key(&id) {
            return None;
        }
        let before = renewals.get(&id)?.iter().filter(|renewed| renewed.sent_ns <= at.at_ns);
        let drift_ppm = evidence.bounds.drift_ppm;
        let last = before.max_by_key(|renewed| renewed.lives_until_ns(drift_ppm))?;
        let until_ns = last.lives_until_ns(drift_ppm);
        (at.at_ns < until_ns).then(|| {
            let detail = format!(
                "lease {id:x} ran out at {:.3} s, though its renewal for {} s, which was answered, was sent at {:.3} s",
                seconds(at.at_ns),
                last.ttl_s,
                seconds(last.sent_ns)
            );
            Breach { step, detail }
        })
    })
}

/// The answered grants and renewals of each lease.
pub(super) fn renewals(evidence: &Evidence<'_>) -> BTreeMap<i64, Vec<Renewed>> {
    let steps = &evidence.history.steps;
    let mut renewals: BTreeMap<i64, Vec<Renewed>> = BTreeMap::new();
    for (answered, step) in steps.iter().enumerate() {
        let What::Answered { call, outcome: Ok(response) } = &step.what else { continue };
        let (lease, ttl_s) = match **response {
            Response::LeaseGrant { grant, .. } => (Some(grant.id), grant.ttl_s),
            Response::LeaseKeepAlive { ttl_s, .. } if ttl_s > 0 => (None, ttl_s),
            _ => continue,
        };
        let Some(sent) = evidence.calls.get(call).and_then(|call| call.sent) else { continue };
        let lease = lease.or(match &steps[sent].what {
            What::Sent { request, .. } => match **request {
                Request::LeaseKeepAlive { id } => Some(id),
                _ => None,
            },
            _ => None,
        });
        if let Some(lease) = lease {
            let sent_ns = steps[sent].at_ns;
            renewals.entry(lease).or_default().push(Renewed { sent_ns, sent, answered, ttl_s });
        }
    }
    renewals
}

#[allow(clippy::cast_precision_loss, reason = "for showing")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use crate::check::script_plain::{PlainScript, SECOND};

    #[test]
    fn a_lease_that_runs_out_after_its_time_is_right() {
        let mut script = PlainScript::new();
        script.grant(0, 7, 3);
        script.wait(2 * SECOND);
        script.renew(0, 7, 3);
        script.wait(3 * SECOND);
        script.runs_out(7);
        assert_eq!(script.breach("lease-life"), None);
    }

    #[test]
    fn a_lease_that_runs_out_early_is_found() {
        let mut script = PlainScript::new();
        script.grant(0, 7, 3);
        script.wait(2 * SECOND);
        let step = script.runs_out(7);
        assert_eq!(script.breach("lease-life").expect("too early").step, step);
    }

    #[test]
    fn a_renewal_counts_from_its_sending_and_only_if_it_was_answered() {
        let mut early = PlainScript::new();
        early.grant(0, 7, 3);
        early.wait(2 * SECOND);
        early.renew(0, 7, 3);
        early.wait(2 * SECOND);
        early.runs_out(7);
        assert!(early.breach("lease-life").expect("too early").detail.contains("lease 7"));
        let mut unanswered = PlainScript::new();
        unanswered.grant(0, 7, 3);
        unanswered.wait(2 * SECOND);
        unanswered.renew_unanswered(0, 7);
        unanswered.wait(SECOND);
        unanswered.runs_out(7);
        assert_eq!(unanswered.breach("lease-life"), None);
    }

    #[test]
    fn a_lease_that_a_client_revokes_may_end_at_any_time() {
        let mut script = PlainScript::new();
        script.grant(0, 7, 3);
        script.revoke(0, 7);
        assert_eq!(script.breach("lease-life"), None);
    }
}
