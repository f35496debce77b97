//! The second half of `true-errors`: a session is renewed in time and not too often, and when it is over it says so at once
//! and revokes its lease. What comes late or all the time works only by luck.
//!
//! The library renews a third of the TTL after the last renewal was sent, tries again after half a second at most, and at the
//! deadline ends the session (`src/session/keep_alive.rs`). All by the client's own clock, while it does not stand still.

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::{Op, Request};

use super::causes::{Attempt, AttemptEnd, Causes, LATE_NS, LONGEST_PAUSE_NS, Lease};
use super::evidence::Moment;
use super::{Breach, Evidence, TenureLife};
use crate::bytes::contains;
use crate::history::{Deed, DeedEnd, Failure, SessionEnd, What};
use crate::node::Node;

/// Where all members refuse, a call goes round them after 20 ms, 40 ms and so on: five times in the half second that it has
/// at least. A second touches three calls.
const MOST_ROUNDS_A_SECOND: usize = 15;
const SECOND_NS: u64 = 1_000_000_000;
/// What a holder does before it listens again: it prepares a write.
const HEARS_WITHIN_NS: u64 = 300_000_000;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let causes = evidence.causes();
    let mut tenures: BTreeMap<(u32, i64), Vec<&TenureLife>> = BTreeMap::new();
    for tenure in &evidence.tenures {
        tenures.entry((tenure.holding.client, tenure.holding.lease)).or_default().push(tenure);
    }
    causes
        .leases
        .iter()
        .filter(|(_, lease)| !lease.opened.is_empty())
        .filter_map(|(&(client, id), lease)| {
            let session = Session { evidence, causes, client, id, lease };
            let held = tenures.get(&(client, id)).map_or(&[][..], Vec::as_slice);
            [
                session.late(),
                session.too_often(),
                session.over(held),
                session.stays(),
                session.revoked_twice(),
            ]
            .into_iter()
            .flatten()
            .min_by_key(|b| b.step)
        })
        .min_by_key(|breach| breach.step)
}

/// A client's session on a lease.
struct Session<'e, 'a> {
    evidence: &'e Evidence<'a>,
    causes: &'e Causes<'a>,
    client: u32,
    id: i64,
    lease: &'e Lease,
}

impl Session<'_, '_> {
    fn breach(&self, at_ns: u64, detail: &str) -> Breach {
        let detail = format!("session {:x} of c{}: {detail}", self.id, self.client);
        Breach { step: self.evidence.step_at(at_ns), detail }
    }

    /// When something that is due is overdue: a process that stands still does it as it goes on.
    fn overdue_ns(&self, due_ns: u64, slack_ns: u64) -> u64 {
        let mut overdue_ns = due_ns + slack_ns;
        for &(client, from_ns, to_ns) in &self.evidence.pauses {
            if client == self.client && from_ns <= overdue_ns && to_ns >= due_ns {
                overdue_ns = overdue_ns.max(to_ns + slack_ns);
            }
        }
        overdue_ns
    }

    /// Whether there is no session any more at a time: nothing is to be renewed.
    fn is_over_by(&self, at_ns: u64) -> bool {
        let at = Moment { step: self.evidence.step_at(at_ns), at_ns };
        let opened = self.last_opened(at_ns);
        let mut ended = self.lease.ended.iter();
        let ended = ended.any(|(ended, _)| ended.at_ns <= at_ns && ended.step > opened);
        let told = self.lease.told_gone.is_some_and(|(told, _)| told.at_ns <= at_ns);
        ended
            || told
            || self.is_dead_by(at_ns)
            || self.causes.deadline_may_have_passed(self.client, self.id, at)
    }

    /// When a session on it was opened last by a time: an earlier process may have had one.
    fn last_opened(&self, at_ns: u64) -> usize {
        let opened = &self.lease.opened;
        let by_then = opened.partition_point(|opened| opened.at_ns <= at_ns);
        by_then
            .checked_sub(1)
            .or_else(|| (!opened.is_empty()).then_some(0))
            .map_or(0, |last| opened[last].step)
    }

    /// Whether its process died, or the run ended.
    fn is_dead_by(&self, at_ns: u64) -> bool {
        let opened = self.last_opened(at_ns);
        let crashed = self
            .causes
            .crashes
            .iter()
            .any(|(client, crash)| *client == self.client && crash.step > opened && crash.at_ns <= at_ns);
        crashed || at_ns >= self.evidence.end_ns
    }

    /// The first attempt after a step.
    fn next_attempt(&self, after: usize) -> Option<&Attempt> {
        let attempts = &self.lease.attempts;
        attempts.get(attempts.partition_point(|attempt| attempt.sent.step <= after))
    }

    /// A renewal that is not sent when it is due.
    fn late(&self) -> Option<Breach> {
        let after_success = self.lease.renewed.iter().map(|renewed| {
            let due_ns = renewed.last_sent_ns + renewed.ttl_ns / 3;
            (renewed.answered.step, renewed.answered, due_ns.max(renewed.answered.at_ns))
        });
        let failed = self.lease.attempts.iter().filter_map(|attempt| match attempt.ended {
            Some((ended, AttemptEnd::Failed)) => {
                Some((attempt.sent.step, ended, ended.at_ns + LONGEST_PAUSE_NS))
            }
            _ => None,
        });
        after_success
            .chain(failed)
            .filter_map(|(of, since, due_ns)| {
                let due_ns = due_ns + self.causes.drift_of(due_ns - since.at_ns);
                let overdue_ns = self.overdue_ns(due_ns, LATE_NS);
                let sent = self.next_attempt(since.step).map(|attempt| attempt.sent.at_ns);
                // What an earlier process of the lease was to renew, its successor does in its own time.
                let mut taken_over = self.lease.taken_over.iter();
                let succeeded = taken_over.any(|begun| begun.step > of && begun.at_ns <= overdue_ns);
                let in_time = sent.is_some_and(|sent_ns| sent_ns <= overdue_ns);
                if in_time || succeeded || self.is_over_by(overdue_ns) {
                    return None;
                }
                Some(self.breach(overdue_ns, "no renewal is sent, though it is due"))
            })
            .min_by_key(|breach| breach.step)
    }

    /// Renewals that come before they are due, or all at once.
    fn too_often(&self) -> Option<Breach> {
        let early = self.lease.renewed.iter().find_map(|renewed| {
            let next = self.next_attempt(renewed.answered.step)?;
            let passed_ns = self.causes.at_most_ns(self.client, renewed.sent_ns, next.sent.at_ns);
            // A session that is opened anew on the lease begins with one.
            let between = renewed.answered.step..=next.sent.step;
            let anew = self.lease.taken_over.iter().any(|begun| between.contains(&begun.step));
            (passed_ns < renewed.ttl_ns / 3 && !anew).then(|| {
                let detail = "a renewal is sent before a third of the time to live has passed";
                self.breach(next.sent.at_ns, detail)
            })
        });
        let members =
            self.lease.attempts.iter().map(|attempt| attempt.member as usize + 1).max().unwrap_or(1);
        let most = MOST_ROUNDS_A_SECOND * members;
        let all_at_once = self.lease.attempts.windows(most + 1).find_map(|attempts| {
            let (first, last) = (attempts.first()?.sent, attempts.last()?.sent);
            let detail = format!("more than {most} renewals are sent in a second to {members} members");
            (last.at_ns - first.at_ns < SECOND_NS).then(|| self.breach(last.at_ns, &detail))
        });
        early.or(all_at_once)
    }

    /// Whether between two steps its process came to its end and another opened a session on the lease: that one's deadline is its
    /// own, and the lease may have lived on etcd beyond the former one's.
    fn is_taken_over(&self, from: usize, to: usize) -> bool {
        let crashes = self.causes.crashes.iter().filter(|(client, _)| *client == self.client);
        let ends =
            crashes.map(|(_, crash)| crash.step).chain(self.lease.ended.iter().map(|(end, _)| end.step));
        let begun =
            |end: usize| self.lease.taken_over.iter().any(|begun| end < begun.step && begun.step < to);
        ends.filter(|&end| from < end).any(begun)
    }

    /// A session that is over by its own clock, or by etcd's word, and does not say so or does not revoke its lease.
    fn over(&self, held: &[&TenureLife]) -> Option<Breach> {
        let surely = self.surely_over_ns()?;
        let overdue_ns = self.overdue_ns(surely.at_ns, LATE_NS);
        let ended = |at_ns: u64| {
            let closed = self.lease.ended.iter().any(|(ended, _)| ended.at_ns < surely.at_ns);
            closed || self.is_dead_by(at_ns)
        };
        let revoked = self.lease.revokes.iter().any(|revoke| revoke.at_ns <= overdue_ns);
        if !revoked && surely.revokes && !ended(overdue_ns) {
            return Some(self.breach(overdue_ns, "it is over, but its lease is not revoked"));
        }
        let hears_ns = self.overdue_ns(surely.at_ns, HEARS_WITHIN_NS);
        if ended(hears_ns) {
            return None;
        }
        held.iter().find_map(|tenure| {
            let told = [tenure.told_lost, tenure.releases, tenure.crashed].into_iter().flatten();
            let heard = told.map(|told| told.at_ns).min().is_some_and(|at_ns| at_ns <= hears_ns);
            let before = tenure.granted.at_ns < surely.at_ns;
            (before && !heard).then(|| {
                let detail = format!("it is over, but its holder of {:?} is not told", &*tenure.holding.name);
                self.breach(hears_ns, &detail)
            })
        })
    }

    /// A session that was closed or dropped, and whose lease is not revoked; also if its owner does not wait for that.
    fn stays(&self) -> Option<Breach> {
        let given_up = self.evidence.deeds.iter().filter_map(|deed| match (deed.what, deed.ended) {
            (Deed::CloseSession { lease }, Some((at, DeedEnd::Failed(Failure::Cancelled))))
                if *lease == self.id && deed.client == self.client =>
            {
                Some(at)
            }
            _ => None,
        });
        let ttl_ns = self.lease.renewed.iter().map(|renewed| renewed.ttl_ns).max().unwrap_or(0);
        let ended = self.lease.ended.iter().filter_map(|(at, how)| match how {
            SessionEnd::Closed => Some((*at, 0)),
            // What it held is given back first.
            SessionEnd::Dropped => Some((self.last_try_to_give_back(*at, 2 * ttl_ns), 2 * ttl_ns)),
            SessionEnd::Lost | SessionEnd::Orphaned => None,
        });
        ended
            .chain(given_up.map(|at| (at, 0)))
            .filter_map(|(at, more_ns)| {
                let overdue_ns = self.overdue_ns(at.at_ns, more_ns + LONGEST_PAUSE_NS + LATE_NS);
                let mut revokes = self.lease.revokes.iter();
                let revoked = revokes.any(|revoke| revoke.step > at.step && revoke.at_ns <= overdue_ns);
                let told = self.lease.told_gone.is_some_and(|(told, _)| told.at_ns <= overdue_ns);
                let dead = self.is_dead_by(overdue_ns);
                (!revoked && !told && !dead)
                    .then(|| self.breach(overdue_ns, "it was given up, but its lease is not revoked"))
            })
            .min_by_key(|breach| breach.step)
    }

    /// Two that revoke its lease at once, though its deadline has not passed: its owner gives it up once.
    fn revoked_twice(&self) -> Option<Breach> {
        let mut deeds = self.evidence.deeds.iter();
        if deeds.any(|deed| matches!(deed.what, Deed::Operator { revokes: Some(id), .. } if *id == self.id)) {
            return None;
        }
        let [first, .., last] = &self.lease.revokes[..] else { return None };
        let mut open: BTreeSet<u64> = BTreeSet::new();
        for (place, step) in
            self.evidence.history.steps.iter().enumerate().take(last.step + 1).skip(first.step)
        {
            match &step.what {
                What::Sent { call, request, .. }
                    if step.node == Node::Client(self.client)
                        && matches!(**request, Request::LeaseRevoke { id } if id == self.id) =>
                {
                    let at = Moment { step: place, at_ns: step.at_ns };
                    let is_over = self.lease.told_gone.is_some_and(|(told, _)| told.step <= place)
                        || self.causes.deadline_may_have_passed(self.client, self.id, at);
                    if is_over {
                        return None;
                    }
                    if !open.is_empty() {
                        return Some(self.breach(step.at_ns, "its lease is revoked twice at once"));
                    }
                    open.insert(*call);
                }
                What::Answered { call, .. } | What::GaveUp { call } => {
                    open.remove(call);
                }
                _ => {}
            }
        }
        None
    }

    /// The end of the last in a row of tries without success to give back what it held, each no longer than this after the
    /// one before.
    fn last_try_to_give_back(&self, since: Moment, within_ns: u64) -> Moment {
        let mut last = since;
        loop {
            let until = self.evidence.step_at(self.overdue_ns(last.at_ns, within_ns));
            let failed = self.causes.failed_within(self.client, last.step + 1, until);
            let Some(failure) = failed.filter(|call| self.gives_back(call.request)).last() else {
                return last;
            };
            last = Moment { step: failure.ended, at_ns: self.evidence.history.steps[failure.ended].at_ns };
        }
    }

    /// Whether a request deletes a key of this session.
    fn gives_back(&self, request: &Request) -> bool {
        let lease = format!("/{:x}", self.id).into_bytes();
        let Request::Txn(txn) = request else { return false };
        txn.success.iter().any(|op| matches!(op, Op::Delete(delete) if contains(&delete.key, &lease)))
    }

    /// When it was over beyond doubt.
    fn surely_over_ns(&self) -> Option<SurelyOver> {
        let told =
            self.lease.told_gone.map(|(told, renewal)| SurelyOver { at_ns: told.at_ns, revokes: renewal });
        // One after another: what is renewed too late does not count.
        let mut deadline_ns: Option<u64> = None;
        let mut before = 0;
        for renewed in &self.lease.renewed {
            if deadline_ns.is_some_and(|deadline_ns| renewed.answered.at_ns > deadline_ns) {
                if !self.is_taken_over(before, renewed.answered.step) {
                    break;
                }
                deadline_ns = None;
            }
            before = renewed.answered.step;
            let passes_ns = renewed.last_sent_ns + renewed.ttl_ns + self.causes.drift_of(renewed.ttl_ns);
            deadline_ns = Some(deadline_ns.map_or(passes_ns, |before| before.max(passes_ns)));
        }
        let passed = deadline_ns.map(|at_ns| SurelyOver { at_ns, revokes: true });
        [told, passed].into_iter().flatten().min_by_key(|over| over.at_ns)
    }
}

/// A session's end by its own clock, or by etcd's word.
#[derive(Clone, Copy)]
struct SurelyOver {
    at_ns: u64,
    /// Whether its lease is to be revoked then.
    revokes: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::kv::{DeleteRange, Header, Op, Request, Response, Txn};

    use crate::check::script::Script;
    use crate::history::{SessionEnd, Telling, What};
    use crate::node::Node;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_session_that_is_given_up_has_its_lease_revoked() {
        for how in [SessionEnd::Closed, SessionEnd::Dropped] {
            for revoked in [true, false] {
                let mut script = Script::new();
                script.granted_lease(0, 0x10, 3);
                script.session(0, 0x10, 3_000);
                script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how });
                if revoked {
                    let request = Arc::new(Request::LeaseRevoke { id: 0x10 });
                    script.record(Node::Client(0), What::Sent { call: 90, member: 0, request });
                }
                script.wait(8_000 * MS);
                assert_eq!(script.breach("true-errors").is_some(), !revoked, "{how}");
            }
        }
    }

    #[test]
    fn a_dropped_session_goes_on_for_as_long_as_what_it_held_cannot_be_given_back() {
        let revoked = |key: &str| {
            let mut script = Script::new();
            script.granted_lease(0, 0x10, 3);
            script.session(0, 0x10, 3_000);
            script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how: SessionEnd::Dropped });
            let gives_back = Arc::new(Request::Txn(Txn::new().and_then([Op::Delete(DeleteRange::key(key))])));
            for call in 200..210 {
                let request = Arc::clone(&gives_back);
                script.record(Node::Client(0), What::Sent { call, member: 0, request });
                script.wait(1_000 * MS);
                script.record(Node::Client(0), What::GaveUp { call });
                renew(&mut script, call + 100);
            }
            revokes(&mut script);
            script.wait(8_000 * MS);
            why(&mut script)
        };
        assert_eq!(revoked("a/10"), None);
        assert!(revoked("a/11").expect("another's key").contains("it was given up"));
    }

    fn renew(script: &mut Script, call: u64) {
        let request = Arc::new(Request::LeaseKeepAlive { id: 0x10 });
        script.record(Node::Client(0), What::Sent { call, member: 0, request });
        let outcome = Ok(Arc::new(Response::LeaseKeepAlive { header: Header::default(), ttl_s: 3 }));
        script.record(Node::Client(0), What::Answered { call, outcome });
    }

    /// A client with a session of 3 s, that is renewed after so many milliseconds each.
    fn renewed(after_ms: &[u64]) -> Script {
        let mut script = Script::new();
        script.granted_lease(0, 0x10, 3);
        script.session(0, 0x10, 3_000);
        for (call, &after_ms) in (100..).zip(after_ms) {
            script.wait(after_ms * MS);
            renew(&mut script, call);
        }
        script
    }

    fn revokes(script: &mut Script) {
        let request = Arc::new(Request::LeaseRevoke { id: 0x10 });
        script.record(Node::Client(0), What::Sent { call: 99, member: 0, request });
    }

    fn why(script: &mut Script) -> Option<String> {
        script.breach("true-errors").map(|breach| breach.detail)
    }

    #[test]
    fn a_renewal_after_a_third_of_the_ttl_is_right_an_earlier_or_a_later_one_is_found() {
        assert_eq!(why(&mut renewed(&[1_000, 1_000, 1_000])), None);
        assert!(why(&mut renewed(&[1_000, 700])).expect("early").contains("before a third"));
        assert!(why(&mut renewed(&[1_000, 1_200])).expect("late").contains("no renewal is sent"));
    }

    #[test]
    fn a_lease_that_is_revoked_twice_at_once_is_found() {
        let revoked = |answered: bool| {
            let mut script = renewed(&[1_000]);
            let how = SessionEnd::Closed;
            script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how });
            for call in [300, 301] {
                let request = Arc::new(Request::LeaseRevoke { id: 0x10 });
                script.record(Node::Client(0), What::Sent { call, member: 0, request });
                if answered {
                    script.record(Node::Client(0), What::GaveUp { call });
                }
            }
            why(&mut script)
        };
        assert_eq!(revoked(true), None);
        assert!(revoked(false).expect("twice").contains("revoked twice at once"));
    }

    #[test]
    fn who_stands_still_renews_when_it_goes_on() {
        let paused = |goes_on: bool| {
            let mut script = renewed(&[1_000]);
            script.record(Node::Client(0), What::Paused);
            script.wait(1_500 * MS);
            script.record(Node::Client(0), What::Resumed);
            script.wait(if goes_on { MS } else { 200 * MS });
            let request = Arc::new(Request::LeaseKeepAlive { id: 0x10 });
            script.record(Node::Client(0), What::Sent { call: 200, member: 0, request });
            script.wait(MS);
            why(&mut script)
        };
        assert_eq!(paused(true), None);
        assert!(paused(false).is_some());
    }

    #[test]
    fn a_session_past_its_deadline_revokes_its_lease_and_tells_its_holders() {
        let over = |revoked: bool, told: bool| {
            let mut script = Script::new();
            script.granted_lease(0, 0x10, 3);
            script.session(0, 0x10, 3_000);
            let held = script.grant(0, "a", 0x10);
            let request = Arc::new(Request::LeaseKeepAlive { id: 0x10 });
            script.wait(1_000 * MS);
            script.record(Node::Client(0), What::Sent { call: 200, member: 0, request });
            script.wait(2_000 * MS);
            if revoked {
                revokes(&mut script);
            }
            if told {
                let by = Telling::Lost { is_held: false };
                script.record(Node::Client(0), What::ToldLost { holding: held, by });
            }
            script.wait(1_000 * MS);
            why(&mut script)
        };
        assert_eq!(over(true, true), None);
        assert!(over(false, true).expect("not revoked").contains("not revoked"));
        assert!(over(true, false).expect("not told").contains("is not told"));
    }
}
