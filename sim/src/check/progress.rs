//! `progress`: once no fault is active but on nodes that stay broken, every ask of the others is answered within the scenario's bound, and so is every operation that a
//! client asks of etcd itself after it; and the keys of a client that
//! crashed, or of a session that ended, are gone within its TTL, the election timeout and a second.

use tenure::kv::{Request, Shown};

use super::evidence::Outcome;
use super::{Breach, Evidence};
use crate::history::CallEnd;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let calm_ns = evidence.calm?.at_ns;
    [waits_too_long(evidence, calm_ns), stays_too_long(evidence), gets_no_answer(evidence, calm_ns)]
        .into_iter()
        .flatten()
        .min_by_key(|breach| breach.step)
}

fn waits_too_long(evidence: &Evidence<'_>, calm_ns: u64) -> Option<Breach> {
    evidence
        .asks
        .iter()
        .filter(|ask| !evidence.outside.contains(&ask.client))
        .filter_map(|ask| {
            let by_ns = ask.asked.at_ns.max(calm_ns) + evidence.bounds.progress_ns;
            let (ended_ns, crashed) = match ask.ended {
                Some((moment, outcome)) => (moment.at_ns, outcome == Outcome::Crashed),
                None => (evidence.end_ns, false),
            };
            if ended_ns <= by_ns || crashed {
                return None;
            }
            let detail = format!(
                "c{} asked for the {} {:?} at {:.3} s and had no answer by {:.3} s, {} s after the calm began",
                ask.client,
                ask.kind,
                &*ask.name,
                seconds(ask.asked.at_ns),
                seconds(by_ns),
                seconds(by_ns - calm_ns),
            );
            Some(Breach { step: evidence.step_at(by_ns), detail })
        })
        .min_by_key(|breach| breach.step)
}

fn stays_too_long(evidence: &Evidence<'_>) -> Option<Breach> {
    evidence
        .keys
        .values()
        .flatten()
        .filter_map(|life| {
            let session = evidence.sessions.get(&life.lease)?;
            let by_ns = evidence.gone_by_ns(session)?;
            let gone_ns = life.deleted.map_or(evidence.end_ns, |(_, moment)| moment.at_ns);
            if gone_ns <= by_ns {
                return None;
            }
            let detail = format!(
                "the key {} of c{} is still there at {:.3} s, though its session (TTL {} s) ended at {:.3} s",
                Shown(&life.key),
                session.client,
                seconds(by_ns),
                seconds(session.ttl_ns),
                session.ended.map_or(0.0, |moment| seconds(moment.at_ns)),
            );
            Some(Breach { step: evidence.step_at(by_ns), detail })
        })
        .min_by_key(|breach| breach.step)
}

/// etcd lets the renewal of a lease that has run out wait for its revocation, which comes with a scan each half second.
const RENEWAL_WAITS_NS: u64 = 1_000_000_000;

/// A client that is served without faults has an answer before its deadline, unless etcd makes it wait for longer.
fn gets_no_answer(evidence: &Evidence<'_>, calm_ns: u64) -> Option<Breach> {
    let from_ns = calm_ns + evidence.bounds.progress_ns;
    let late = evidence.plain.operations.values().filter(|operation| {
        operation.called.at_ns >= from_ns && !evidence.outside.contains(&operation.client)
    });
    late.filter_map(|operation| {
        let (at, end) = operation.ended?;
        let why = match end {
            CallEnd::NotApplied(why) | CallEnd::Maybe(why) => why,
            CallEnd::Answered(_) | CallEnd::Refused(_) => return None,
        };
        let renews = matches!(**operation.request, Request::LeaseKeepAlive { .. });
        let waits = renews && at.at_ns - operation.called.at_ns < RENEWAL_WAITS_NS;
        if waits || evidence.asked_a_silent_member(why, operation.called, at) {
            return None;
        }
        let detail = format!(
            "operation {} of c{} has no answer, {:.3} s after the calm began: {why}",
            operation.op,
            operation.client,
            seconds(at.at_ns - calm_ns)
        );
        Some(Breach { step: at.step, detail })
    })
    .min_by_key(|breach| breach.step)
}

#[allow(clippy::cast_precision_loss, reason = "for showing")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::check::script_plain::PlainScript;
    use crate::fault::Fault;
    use crate::history::What;
    use crate::node::Node;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_wait_that_ends_in_time_is_right() {
        let mut script = Script::new();
        let held = script.grant(0, "a", 0x10);
        let waiting = script.queue(1, "a", 0x11);
        script.calm();
        script.wait(9 * SECOND);
        script.release(&held);
        script.granted(&waiting, &[]);
        script.wait(100 * SECOND);
        assert_eq!(script.breach("progress"), None);
    }

    #[test]
    fn a_wait_without_end_is_found() {
        let mut script = Script::new();
        script.grant(0, "a", 0x10);
        script.queue(1, "a", 0x11);
        script.calm();
        script.wait(11 * SECOND);
        assert!(script.breach("progress").expect("waits").detail.contains("c1 asked"), "bound is 10 s");
    }

    #[test]
    fn a_wait_under_faults_or_of_a_crashed_client_is_not_judged() {
        let mut script = Script::new();
        script.grant(0, "a", 0x10);
        script.queue(1, "a", 0x11);
        script.wait(50 * SECOND);
        assert_eq!(script.breach("progress"), None, "no calm");
        script.crash(1);
        script.expire(0x11);
        script.calm();
        script.wait(20 * SECOND);
        assert_eq!(script.breach("progress"), None, "crashed");
    }

    #[test]
    fn a_renewal_that_a_fault_holds_back_gives_a_dead_clients_lease_more_time() {
        let stays = |max_ms: u64| {
            let mut script = Script::new();
            script.session(0, 0x10, 4_000);
            script.grant(0, "a", 0x10);
            let fault = Fault::Delay { links: Vec::new(), max_ms };
            script.record(Node::World, What::FaultBegins { index: 0, fault });
            script.wait(SECOND);
            script.crash(0);
            script.record(Node::World, What::FaultEnds { index: 0 });
            script.calm();
            // Its TTL, the election timeout, a second, and two delays.
            script.wait(8 * SECOND);
            script.expire(0x10);
            script.breach("progress")
        };
        assert_eq!(stays(1_500), None);
        assert!(stays(200).expect("long gone").detail.contains("still there"));
    }

    #[test]
    fn a_new_leader_gives_a_dead_clients_lease_more_time_from_when_its_slow_disk_lets_it() {
        let stays = |leader_changes: bool| {
            let mut script = Script::new();
            script.session(0, 0x10, 4_000);
            script.grant(0, "a", 0x10);
            let fault = Fault::SlowCommit { node: Node::Member(0), max_ms: 3_000 };
            script.record(Node::World, What::FaultBegins { index: 0, fault });
            script.crash(0);
            script.record(Node::World, What::FaultEnds { index: 0 });
            script.calm();
            script.wait(SECOND);
            if leader_changes {
                script.leads(2);
            }
            // More than its TTL, the election timeout and a second from the calm on, and less than so long after two slow writes.
            script.wait(9 * SECOND);
            script.expire(0x10);
            script.breach("progress")
        };
        assert_eq!(stays(true), None);
        assert!(stays(false).expect("long gone").detail.contains("still there"));
    }

    #[test]
    fn a_member_that_stays_broken_or_took_over_a_snapshot_may_leave_a_request_without_an_answer() {
        let unanswered = |node: Node, what: What| {
            let mut script = PlainScript::new();
            script.step_of(Node::Member(1), What::StaysBroken);
            script.calm();
            script.wait(11 * SECOND);
            let op = script.call_put(0, "registers/0/0", "1");
            script.step_of(node, what);
            script.return_maybe_of(0, op, 12);
            script.breach("progress")
        };
        let restored = || What::Restored { revision: 1 };
        assert_eq!(unanswered(Node::Member(12), restored()), None);
        assert!(unanswered(Node::Member(2), restored()).expect("m12 did not").detail.contains("m12"));
        assert!(unanswered(Node::Member(12), What::Started).expect("it must answer").detail.contains("m12"));
    }

    #[test]
    fn who_stays_broken_may_wait_for_ever_and_nobody_else() {
        let waits = |outside: u32| {
            let mut script = Script::new();
            script.grant(0, "a", 0x10);
            script.queue(1, "a", 0x11);
            script.record(Node::Client(outside), What::StaysBroken);
            script.calm();
            script.wait(20 * SECOND);
            script.breach("progress")
        };
        assert_eq!(waits(1), None);
        assert!(waits(2).expect("c1 is of the core").detail.contains("c1 asked"));
    }

    #[test]
    fn an_operation_without_an_answer_long_after_the_calm_began_is_found() {
        let mut script = PlainScript::new();
        script.calm();
        script.wait(9 * SECOND);
        let op = script.call_put(0, "registers/0/0", "1");
        script.return_maybe(0, op);
        assert_eq!(script.breach("progress"), None, "within the bound");
        script.wait(2 * SECOND);
        let op = script.call_put(0, "registers/0/0", "2");
        script.return_maybe(0, op);
        assert!(script.breach("progress").expect("no answer").detail.contains("operation 2"));
    }

    #[test]
    fn a_crashed_holder_is_gone_within_ttl_election_timeout_and_a_second() {
        let mut script = Script::new();
        script.session(0, 0x10, 5_000);
        script.grant(0, "a", 0x10);
        script.calm();
        script.crash(0);
        script.wait(6 * SECOND);
        script.expire(0x10);
        script.wait(10 * SECOND);
        assert_eq!(script.breach("progress"), None);
    }

    #[test]
    fn a_crashed_holder_that_stays_is_found_but_a_new_leader_gives_it_more_time() {
        let crashed = || {
            let mut script = Script::new();
            script.session(0, 0x10, 5_000);
            script.grant(0, "a", 0x10);
            script.calm();
            script.crash(0);
            script.wait(3 * SECOND);
            script
        };
        let mut stays = crashed();
        stays.wait(5 * SECOND);
        assert!(stays.breach("progress").expect("stays").detail.contains("a/10"));
        let mut led = crashed();
        led.leads(1);
        led.wait(5 * SECOND);
        assert_eq!(led.breach("progress"), None);
    }
}
