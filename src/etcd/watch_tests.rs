//! What a resuming watch promises, over scripted members.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::fake::{Answer, Clock, Member, Told, at, etcd, says};
use super::{Etcd, EtcdOptions};
use crate::Code;
use crate::backend::{Backend, Refusal, Runtime, WatchMessage, within};
use crate::kv::{
    Event, EventKind, Header, KeyValue, Put, PutResponse, Request, Response, WatchRequest, WatchResponse,
};

fn world(members: usize) -> (Arc<Clock>, Vec<Arc<Member>>, Etcd) {
    let clock = Arc::new(Clock::default());
    let members: Vec<_> = (0..members).map(|index| Member::new(&clock, &format!("m{index}"))).collect();
    let etcd = etcd(&clock, &members, EtcdOptions::default());
    (clock, members, etcd)
}

fn created(revision: i64) -> Told {
    Told::Message(WatchResponse { created: true, ..at(revision) })
}

fn event(key: &str, revision: i64) -> Event {
    let kv = KeyValue { key: key.into(), mod_revision: revision, ..KeyValue::default() };
    Event { kind: EventKind::Put, kv, prev_kv: None }
}

fn events(revisions: &[i64]) -> Told {
    let last = revisions.last().copied().unwrap_or_default();
    let events = revisions.iter().map(|&revision| event("k", revision)).collect();
    // etcd's header tells the store's revision, which can be ahead of what this message brings.
    Told::Message(WatchResponse { events, ..at(last + 50) })
}

fn canceled(compact_revision: i64, reason: &str) -> Told {
    Told::Message(WatchResponse {
        canceled: true,
        compact_revision,
        cancel_reason: reason.to_owned(),
        ..at(1)
    })
}

/// What the watch tells until `until_ms`, with the revisions of events only.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    Created(i64),
    Events(Vec<i64>),
    Compacted(i64),
    Refused(Refusal),
    End,
}

fn watch(clock: &Arc<Clock>, etcd: &Etcd, request: WatchRequest, for_ms: u64) -> Vec<Saw> {
    let until = etcd.now() + Duration::from_millis(for_ms);
    let mut stream = etcd.watch(request);
    clock.run(async {
        let mut saw = Vec::new();
        while let Ok(item) = within(etcd, until, stream.next()).await {
            saw.push(match item {
                Some(Ok(WatchMessage::Created { revision })) => Saw::Created(revision),
                Some(Ok(WatchMessage::Events { events })) => {
                    Saw::Events(events.iter().map(|event| event.kv.mod_revision).collect())
                }
                Some(Ok(WatchMessage::Compacted { compact_revision })) => Saw::Compacted(compact_revision),
                Some(Err(refusal)) => Saw::Refused(refusal),
                None => {
                    saw.push(Saw::End);
                    break;
                }
            });
        }
        saw
    })
}

#[test]
fn after_a_break_it_resumes_on_the_next_member_one_past_the_last_event_and_tells_none_twice() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![created(10), events(&[11, 12]), Told::End(None)]]);
    members[1].watches([vec![created(15), events(&[12, 13, 15]), Told::Idle { progress: 15 }]]);
    let saw = watch(&clock, &etcd, WatchRequest::key("k"), 1000);
    assert_eq!(saw, [Saw::Created(10), Saw::Events(vec![11, 12]), Saw::Events(vec![13, 15])]);
    assert_eq!((members[0].opened(), members[1].opened()), (vec![(0, 0)], vec![(0, 13)]));
}

#[test]
fn a_watch_from_now_that_saw_nothing_resumes_after_the_revision_it_was_opened_at() {
    let (clock, members, etcd) = world(2);
    members[0]
        .watches([vec![created(10), Told::End(Some(says(Code::Unavailable, "etcdserver: no leader")))]]);
    members[1].watches([vec![created(20), events(&[11]), Told::Idle { progress: 20 }]]);
    let saw = watch(&clock, &etcd, WatchRequest::key("k"), 1000);
    assert_eq!(saw, [Saw::Created(10), Saw::Events(vec![11])]);
    assert_eq!(members[1].opened(), [(0, 11)]);
}

#[test]
fn a_watch_from_now_that_never_opened_opens_anew_from_now() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![Told::End(Some(says(Code::Unavailable, "refused")))]]);
    members[1].watches([vec![created(20), Told::Idle { progress: 20 }]]);
    assert_eq!(watch(&clock, &etcd, WatchRequest::key("k"), 1000), [Saw::Created(20)]);
    assert_eq!(members[1].opened(), [(0, 0)]);
}

#[test]
fn a_watch_from_the_past_resumes_from_there_until_it_has_seen_something() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![created(10), Told::End(None)]]);
    members[1].watches([vec![created(10), events(&[5, 9]), Told::Idle { progress: 10 }]]);
    let request = WatchRequest { start_revision: 5, ..WatchRequest::key("k") };
    assert_eq!(watch(&clock, &etcd, request, 1000), [Saw::Created(10), Saw::Events(vec![5, 9])]);
    assert_eq!((members[0].opened(), members[1].opened()), (vec![(0, 5)], vec![(0, 5)]));
}

#[test]
fn progress_moves_the_resumption_on() {
    let (clock, members, etcd) = world(1);
    let progressed = Told::Message(at(99));
    members[0].watches([
        vec![created(10), progressed, Told::Wait(1500), Told::End(None)],
        vec![created(120), Told::Idle { progress: 120 }],
    ]);
    assert_eq!(watch(&clock, &etcd, WatchRequest::key("k"), 2000), [Saw::Created(10)]);
    assert_eq!(members[0].opened(), [(0, 0), (1520, 100)]);
}

#[test]
fn compaction_is_told_and_ends_it() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![created(10), Told::End(None)]]);
    members[1].watches([vec![created(90), canceled(80, "")]]);
    let saw = watch(&clock, &etcd, WatchRequest::key("k"), 1000);
    assert_eq!(saw, [Saw::Created(10), Saw::Compacted(80), Saw::End]);
}

#[test]
fn a_member_that_closes_it_for_another_reason_is_left() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![created(10), canceled(0, "etcdserver: no leader")]]);
    members[1].watches([vec![created(12), events(&[11]), Told::Idle { progress: 12 }]]);
    let saw = watch(&clock, &etcd, WatchRequest::key("k"), 1000);
    assert_eq!(saw, [Saw::Created(10), Saw::Events(vec![11])]);
}

#[test]
fn a_user_who_may_not_watch_is_told() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![canceled(
        0,
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
    )]]);
    let saw = watch(&clock, &etcd, WatchRequest::key("k"), 1000);
    assert!(matches!(&saw[..], [Saw::Refused(Refusal::PermissionDenied(_)), Saw::End]), "{saw:?}");
    assert!(members[1].opened().is_empty());
}

#[test]
fn a_member_that_does_not_open_it_is_left_after_an_attempt_timeout() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![Told::Silence]]);
    members[1].watches([vec![created(20), Told::Idle { progress: 20 }]]);
    assert_eq!(watch(&clock, &etcd, WatchRequest::key("k"), 1500), [Saw::Created(20)]);
    assert_eq!(members[1].opened(), [(1000, 0)]);
}

#[test]
fn a_member_that_falls_silent_is_asked_and_then_left() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![created(10), Told::Wait(500), events(&[11]), Told::Silence]]);
    members[1].watches([vec![created(20), events(&[12]), Told::Idle { progress: 20 }]]);
    let saw = watch(&clock, &etcd, WatchRequest::key("k"), 5000);
    assert_eq!(saw, [Saw::Created(10), Saw::Events(vec![11]), Saw::Events(vec![12])]);
    // Heard last at 500 ms; two seconds of silence, one to answer.
    assert_eq!(members[1].opened(), [(3500, 12)]);
}

#[test]
fn a_member_that_answers_is_kept_though_nothing_happens() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![created(10), Told::Idle { progress: 10 }]]);
    assert_eq!(watch(&clock, &etcd, WatchRequest::key("k"), 600_000), [Saw::Created(10)]);
    assert_eq!((members[0].opened().len(), members[1].opened().len()), (1, 0));
}

#[test]
fn a_member_that_answers_and_yet_applies_nothing_is_left() {
    let (clock, members, etcd) = world(2);
    members[0].watches([vec![created(10), Told::Idle { progress: 10 }]]);
    members[1].watches([vec![created(30), events(&[25]), Told::Idle { progress: 30 }]]);
    members[0].answers([Answer::Reply(Response::Put(PutResponse {
        header: Header { revision: 30, ..Header::default() },
        prev_kv: None,
    }))]);
    let write = etcd.call(Request::Put(Put::new("other", "v")), etcd.now() + Duration::from_secs(1));
    assert!(clock.run(write).is_ok());
    let saw = watch(&clock, &etcd, WatchRequest::key("k"), 10_000);
    assert_eq!(saw, [Saw::Created(10), Saw::Events(vec![25])]);
    // Asked at 2 s, when revision 30 was known, and again at 4 s: it should have it by then.
    assert_eq!(members[1].opened(), [(4000, 11)]);
}

#[test]
fn watches_that_end_at_once_are_not_opened_in_a_hot_loop() {
    let (clock, members, etcd) = world(2);
    for member in &members {
        member.watches([vec![created(10), Told::End(None)]]);
    }
    assert_eq!(watch(&clock, &etcd, WatchRequest::key("k"), 10_000), [Saw::Created(10)]);
    let opened = members[0].opened().len() + members[1].opened().len();
    assert!((20..60).contains(&opened), "{opened}");
}

#[test]
fn a_namespace_is_before_the_watched_keys_and_in_no_event() {
    let clock = Arc::new(Clock::default());
    let member = Member::new(&clock, "m0");
    let options = EtcdOptions { namespace: b"ns/".to_vec(), ..EtcdOptions::default() };
    let etcd = etcd(&clock, std::slice::from_ref(&member), options);
    let message = WatchResponse { events: vec![event("ns/a/1", 11)], ..at(11) };
    member.watches([vec![created(10), Told::Message(message), Told::Idle { progress: 11 }]]);
    let mut stream = etcd.watch(WatchRequest::prefix("a/"));
    let told = clock.run(async { (stream.next().await, stream.next().await) });
    assert_eq!(told.1, Some(Ok(WatchMessage::Events { events: vec![event("a/1", 11)] })));
    assert_eq!(member.watched(), [(b"ns/a/".to_vec(), b"ns/a0".to_vec())]);
}
