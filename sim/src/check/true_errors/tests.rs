//! Hand-written histories whose errors, losses and values are true, and such where they are not.

use std::sync::Arc;

use tenure::Code;
use tenure::kv::{Op, Put, Request, Txn};
use tenure::wire::Status;

use crate::check::script::Script;
use crate::history::{
    Deed, DeedEnd, Failure, GuardSays, Holding, Kind, Refused, SeenLeader, SessionEnd, Telling, What,
};
use crate::node::Node;
use crate::workload::program::OperatorAct;

const SECOND: u64 = 1_000_000_000;

/// A client with a session of 3 s.
fn opened() -> Script {
    let mut script = Script::new();
    script.granted_lease(0, 0x10, 3);
    script.session(0, 0x10, 3_000);
    script
}

fn is_untrue(script: &mut Script) -> bool {
    script.breach("true-errors").is_some()
}

fn call(script: &mut Script, call: u64, request: Request, status: Option<(Code, &str)>) {
    script.record(Node::Client(0), What::Sent { call, member: 0, request: Arc::new(request) });
    let what = match status {
        Some((code, message)) => {
            let status = Status { code, message: message.to_owned(), sent: true };
            What::Answered { call, outcome: Err(status) }
        }
        None => What::GaveUp { call },
    };
    script.record(Node::Client(0), what);
}

fn a_write() -> Request {
    Request::Txn(Txn::new().and_then([Op::Put(Put::new("data/a", "1"))]))
}

#[test]
fn a_session_is_lost_when_its_lease_ended_or_its_deadline_passed_and_not_before() {
    for how in ["asks", "finds"] {
        let lost = |script: &mut Script| match how {
            "asks" => {
                let asked = script.queue(0, "a", 0x10);
                script.refuse(&asked, Failure::SessionLost);
            }
            _ => {
                let what = What::SessionEnded { lease: 0x10, how: SessionEnd::Lost };
                script.record(Node::Client(0), what);
            }
        };
        let mut early = opened();
        early.wait(2 * SECOND);
        lost(&mut early);
        assert!(is_untrue(&mut early), "{how}");
        let mut late = opened();
        // As the library does: it renews in vain, and at the deadline revokes.
        for (call, request, after_ns) in [
            (76, Request::LeaseKeepAlive { id: 0x10 }, SECOND),
            (77, Request::LeaseRevoke { id: 0x10 }, 2 * SECOND),
        ] {
            late.wait(after_ns);
            let request = Arc::new(request);
            late.record(Node::Client(0), What::Sent { call, member: 0, request });
        }
        lost(&mut late);
        assert_eq!(late.breach("true-errors"), None, "{how}");
        let mut revoked = opened();
        revoked.runs_out(0x10);
        lost(&mut revoked);
        assert_eq!(revoked.breach("true-errors"), None, "{how}");
    }
}

#[test]
fn a_clock_that_jumped_brings_the_deadline_nearer() {
    use crate::fault::Fault;
    let mut script = opened();
    let fault = Fault::ClockJump { node: Node::Client(0), ahead_ms: 2_500 };
    script.record(Node::World, What::FaultBegins { index: 0, fault });
    script.wait(SECOND / 2);
    script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how: SessionEnd::Lost });
    assert_eq!(script.breach("true-errors"), None);
}

#[test]
fn a_place_is_lost_only_if_somebody_else_took_it() {
    let mut taken = opened();
    let asked = taken.queue(0, "a", 0x10);
    taken.delete(&asked);
    taken.refuse(&asked, Failure::NotHeld);
    assert_eq!(taken.breach("true-errors"), None);
    let mut there = opened();
    let asked = there.queue(0, "a", 0x10);
    there.refuse(&asked, Failure::NotHeld);
    assert!(is_untrue(&mut there));
}

#[test]
fn a_try_finds_another_only_if_there_is_one_before_it() {
    for kind in [Kind::Mutex, Kind::Write, Kind::Read] {
        let rival = if kind == Kind::Mutex { Kind::Mutex } else { Kind::Write };
        for there in [true, false] {
            let mut script = opened();
            let first = script.grant_of(rival, 1, "a", 0x11, &[]);
            if !there {
                script.release(&first);
            }
            script.limit(0);
            let tried = script.queue_of(kind, 0, "a", 0x10);
            script.refuse(&tried, Failure::HeldByAnother);
            assert_eq!(is_untrue(&mut script), !there, "{kind:?}");
        }
    }
}

#[test]
fn a_wait_times_out_after_its_limit() {
    for (waits_ns, untrue) in [(SECOND / 2, true), (SECOND, false)] {
        let mut script = Script::new();
        script.limit(1_000);
        let asked = script.queue(0, "a", 0x10);
        script.wait(waits_ns);
        script.refuse(&asked, Failure::Timeout);
        assert_eq!(is_untrue(&mut script), untrue);
    }
}

#[test]
fn a_name_is_in_use_only_by_another_ask_or_tenure_of_the_session() {
    let mut used = opened();
    used.grant(0, "a", 0x10);
    let again = used.queue(0, "a", 0x10);
    used.refuse(&again, Failure::InUse);
    assert_eq!(used.breach("true-errors"), None);
    let mut free = opened();
    let first = free.grant(0, "a", 0x10);
    free.release(&first);
    let again = free.queue(0, "a", 0x10);
    free.refuse(&again, Failure::InUse);
    assert!(is_untrue(&mut free));
}

#[test]
fn a_leader_that_gave_up_to_resign_has_its_name_in_use_and_one_that_resigned_has_not() {
    for (end, untrue) in [(DeedEnd::Failed(Failure::Cancelled), false), (DeedEnd::Done, true)] {
        let mut script = opened();
        let leader = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        script.record(Node::Client(0), What::Releases { holding: leader.clone(), awaited: false });
        script.deed(0, Deed::Resign { holding: leader }, end);
        let again = script.queue_of(Kind::Leader, 0, "a", 0x10);
        script.refuse(&again, Failure::InUse);
        assert_eq!(is_untrue(&mut script), untrue);
    }
}

#[test]
fn a_foreign_key_must_be_there_and_be_foreign() {
    for (key, lease, untrue) in [("a/10", 0x10, true), ("a/99", 0x11, true)] {
        let mut script = opened();
        let asked = script.queue(0, "a", lease);
        script.refuse(&asked, Failure::ForeignKey { key: key.into() });
        assert_eq!(is_untrue(&mut script), untrue);
    }
    let mut script = opened();
    script.queue(1, "a/x", 0x11);
    let asked = script.queue(0, "a", 0x10);
    script.refuse(&asked, Failure::ForeignKey { key: "a/x/11".into() });
    assert!(is_untrue(&mut script) == crate::check::true_errors::is_contenders(b"x/11"));
}

#[test]
fn a_foreign_key_is_in_the_way_of_who_stands_again_and_of_no_proclamation() {
    for stands_again in [true, false] {
        let mut script = opened();
        let foreign = script.queue(1, "a/x", 0x11);
        let leader = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        let said = Deed::Proclaim { holding: leader, value: vec![], stands_again };
        let key = format!("a/x/{:x}", foreign.lease);
        script.deed(0, said, DeedEnd::Failed(Failure::ForeignKey { key }));
        assert_eq!(is_untrue(&mut script), !stands_again);
    }
}

#[test]
fn etcd_refuses_for_want_of_space_only_and_only_if_it_says_so() {
    let full = Some((Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"));
    let refused = |why: Refused, status| {
        let mut script = opened();
        let asked = script.queue(0, "a", 0x10);
        call(&mut script, 70, a_write(), status);
        script.refuse(&asked, Failure::Refused(why));
        is_untrue(&mut script)
    };
    assert!(!refused(Refused::NoSpace, full));
    assert!(refused(Refused::NoSpace, None));
    for other in [Refused::Compacted, Refused::LeaseNotFound, Refused::Other("what".into())] {
        assert!(refused(other, full), "no primitive passes that on");
    }
}

#[test]
fn an_outcome_is_unknown_only_if_a_write_was_lost() {
    for lost in [true, false] {
        let mut script = opened();
        let held = script.grant(0, "a", 0x10);
        let deed = Deed::Txn { holding: held };
        script.record(Node::Client(0), What::Does { deed: 1, what: deed });
        if lost {
            call(&mut script, 70, a_write(), None);
        }
        let end = DeedEnd::Failed(Failure::Maybe("lost".into()));
        script.record(Node::Client(0), What::Did { deed: 1, end });
        assert_eq!(is_untrue(&mut script), !lost);
    }
}

#[test]
fn a_session_is_not_opened_only_after_it_was_tried_for_long() {
    for (waits_ns, untrue) in [(SECOND, true), (5 * SECOND, false), (6 * SECOND, true)] {
        let mut script = Script::new();
        let what = Deed::OpenSession { on: None, ttl_ms: 2_000 };
        script.record(Node::Client(0), What::Does { deed: 1, what });
        script.wait(waits_ns);
        let end = DeedEnd::Failed(Failure::NotOpened("late".into()));
        script.record(Node::Client(0), What::Did { deed: 1, end });
        assert_eq!(is_untrue(&mut script), untrue);
    }
}

#[test]
fn a_session_is_closed_only_if_its_lease_is_revoked() {
    for revoked in [true, false] {
        let mut script = opened();
        script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how: SessionEnd::Closed });
        if revoked {
            script.runs_out(0x10);
        }
        script.deed(0, Deed::CloseSession { lease: 0x10 }, DeedEnd::Done);
        assert_eq!(is_untrue(&mut script), !revoked);
    }
}

#[test]
fn whether_a_session_is_closed_is_left_open_after_its_time_to_live_no_sooner_and_no_later() {
    for (waits_ns, untrue) in [(SECOND, true), (3 * SECOND, false), (4 * SECOND, true)] {
        let mut script = opened();
        script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how: SessionEnd::Closed });
        let what = Deed::CloseSession { lease: 0x10 };
        script.record(Node::Client(0), What::Does { deed: 1, what });
        let request = Arc::new(Request::LeaseRevoke { id: 0x10 });
        script.record(Node::Client(0), What::Sent { call: 50, member: 0, request });
        script.wait(waits_ns);
        let end = DeedEnd::Failed(Failure::Maybe("late".into()));
        script.record(Node::Client(0), What::Did { deed: 1, end });
        assert_eq!(is_untrue(&mut script), untrue, "after {waits_ns} ns");
    }
}

#[test]
fn a_loss_is_told_with_cause_and_never_while_it_is_held() {
    let told = |take_away: bool, by: Telling| {
        let mut script = opened();
        let held = script.grant(0, "a", 0x10);
        if take_away {
            script.delete(&held);
        }
        script.record(Node::Client(0), What::ToldLost { holding: held, by });
        is_untrue(&mut script)
    };
    for by in [Telling::NotHeld, Telling::Lost { is_held: false }] {
        assert!(told(false, by), "{by:?}");
        assert!(!told(true, by), "{by:?}");
    }
    assert!(told(true, Telling::Lost { is_held: true }), "is_held() says otherwise");
}

#[test]
fn what_was_taken_by_hand_is_not_held_also_if_its_own_machine_asked_for_it() {
    for (act, error) in [
        (OperatorAct::DeleteHolder, Failure::NotHeld),
        (OperatorAct::RevokeHolder, Failure::NotHeld),
        (OperatorAct::RevokeHolder, Failure::SessionLost),
    ] {
        let mut script = opened();
        let held = script.grant(0, "a", 0x10);
        script.by_hand(0, &held, act);
        let what = What::Released { holding: held, error: Some(error) };
        script.record(Node::Client(0), what);
        assert_eq!(script.breach("true-errors"), None, "{act:?}");
    }
}

#[test]
fn a_leadership_is_resumed_unless_its_key_is_gone_or_not_the_first() {
    let resumed = |gone: bool| {
        let mut script = opened();
        let first = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        if gone {
            script.delete(&first);
        }
        script.resumes_in_vain(&first);
        is_untrue(&mut script)
    };
    assert!(!resumed(true));
    assert!(resumed(false), "it leads");
}

#[test]
fn a_confirmation_says_what_is() {
    let confirmed = |gone: bool, says: bool| {
        let mut script = opened();
        let held = script.grant(0, "a", 0x10);
        if gone {
            script.delete(&held);
        }
        script.deed(0, Deed::Confirm { holding: held }, DeedEnd::Confirmed(says));
        is_untrue(&mut script)
    };
    assert!(!confirmed(false, true) && !confirmed(true, false));
    assert!(confirmed(true, true), "its key was gone");
    assert!(confirmed(false, false), "it is held");
}

#[test]
fn a_guard_says_the_token_the_rev_and_the_key_that_were_committed() {
    let says = |key: &str, rev: i64| {
        let mut script = opened();
        let holding = script.queue(0, "a", 0x10);
        let says = GuardSays { key: Some(key.as_bytes().to_vec()), rev: Some(rev), ..GuardSays::default() };
        let what = What::Granted { ticket: 1, holding, believers: vec![], says };
        script.record(Node::Client(0), what);
        is_untrue(&mut script)
    };
    assert!(!says("a/10", 2));
    assert!(says("a/10", 0), "rev");
    assert!(says("a/11", 2), "key");
}

#[test]
fn a_leader_is_seen_as_it_was_committed() {
    let seen = |rev: i64, value: &str| {
        let mut script = opened();
        let leader = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        script.observes(1, "a", 1);
        let value = value.as_bytes().to_vec();
        let leader =
            SeenLeader { key: b"a/10".to_vec(), rev, mod_revision: leader.token, value, lease: 0x10 };
        let what = What::Observed { name: "a".into(), observer: 1, leader: Some(leader) };
        script.record(Node::Client(1), what);
        is_untrue(&mut script)
    };
    assert!(!seen(2, ""));
    assert!(seen(0, ""), "rev");
    assert!(seen(2, "other"), "value");
}

#[test]
fn a_proclamation_that_is_done_was_committed_once() {
    let said =
        |holding: &Holding| Deed::Proclaim { holding: holding.clone(), value: vec![], stands_again: false };
    let mut done = opened();
    let leader = done.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
    done.record(Node::Client(0), What::Does { deed: 1, what: said(&leader) });
    done.proclaim(&leader);
    done.record(Node::Client(0), What::Did { deed: 1, end: DeedEnd::Done });
    assert_eq!(done.breach("true-errors"), None);
    let mut twice = opened();
    let leader = twice.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
    twice.record(Node::Client(0), What::Does { deed: 1, what: said(&leader) });
    twice.proclaim(&leader);
    twice.proclaim(&leader);
    twice.record(Node::Client(0), What::Did { deed: 1, end: DeedEnd::Done });
    assert!(is_untrue(&mut twice));
    let mut not = opened();
    let leader = not.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
    not.deed(0, said(&leader), DeedEnd::Done);
    assert!(is_untrue(&mut not));
}
