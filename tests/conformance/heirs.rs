//! What is promised of a lease that changes hands: whatever an earlier process of it has sent, and whenever that arrives.

use futures_util::FutureExt;
use tenure::kv::Request;
use tenure::{Election, Error, Mutex, MutexGuard, Session};

use crate::cx::{Cx, heir};
use crate::lossy::{Fate, Lossy};

fn mutex(cx: &Cx, session: &Session) -> Mutex {
    Mutex::new(session, &cx.name).expect("a good name")
}

fn election(cx: &Cx, session: &Session) -> Election {
    Election::new(session, &cx.name).expect("a good name")
}

/// A process on a lossy backend, to which an earlier one hands its lease.
async fn heir_of(cx: &Cx, earlier: Session) -> (Lossy, Session) {
    let lease = earlier.lease();
    earlier.orphan();
    let lossy = Lossy::new(&cx.etcd);
    let heir = heir(&lossy, lease).await;
    (lossy, heir)
}

/// As [`heir_of`], when the earlier one holds the lock.
async fn heir_of_holder(cx: &Cx) -> (Lossy, Session, MutexGuard) {
    let first = cx.session().await;
    let guard = mutex(cx, &first).lock().await.expect("it is free");
    let (lossy, heir) = heir_of(cx, first).await;
    (lossy, heir, guard)
}

pub(crate) async fn an_heir_takes_what_is_free_with_one_request(cx: Cx) {
    let (lossy, heir) = heir_of(&cx, cx.session().await).await;
    let guard = mutex(&cx, &heir).lock().await.expect("it is free");
    assert_eq!(lossy.asked().txns, 1);
    assert_eq!(cx.keys().await.len(), 1, "there was nothing to fence off");
    guard.release().await.expect("it is held");
}

pub(crate) async fn a_key_with_a_negative_lease_is_as_etcds_recipe_writes_it(cx: Cx) {
    let id = -0x5e55_1011;
    cx.raw(Request::LeaseGrant { id, ttl_s: 20 }).await;
    let session = heir(&cx.etcd, id).await;
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    assert_eq!(guard.key(), format!("{}/-5e551011", cx.name).as_bytes());
    session.close().await.expect("etcd is there");
}

pub(crate) async fn a_key_is_taken_over_with_one_request_more(cx: Cx) {
    let (lossy, heir, guard) = heir_of_holder(&cx).await;
    let again = mutex(&cx, &heir).lock().await.expect("the key is its own");
    assert_eq!((again.fencing_token(), lossy.asked().txns), (guard.fencing_token(), 2));
    again.release().await.expect("it is held");
    assert_eq!(lossy.asked().txns, 3);
    assert!(cx.is_free().await);
}

pub(crate) async fn a_takeover_whose_answer_was_lost_takes_the_same_key_over(cx: Cx) {
    let (lossy, heir, guard) = heir_of_holder(&cx).await;
    lossy.next([Fate::Answered, Fate::AnswerLost]);
    let again = mutex(&cx, &heir).lock().await.expect("the key is its own");
    assert_eq!(again.fencing_token(), guard.fencing_token());
    again.release().await.expect("it is held");
    assert!(cx.is_free().await);
}

pub(crate) async fn who_releases_what_another_process_has_taken_over_frees_nothing(cx: Cx) {
    // With and without something of its own that was lost on the way.
    for fates in [vec![], vec![Fate::Late]] {
        let lossy = Lossy::new(&cx.etcd);
        let one = lossy.session().await;
        lossy.next(fates);
        let guard = mutex(&cx, &one).lock().await.expect("it is free");
        let other = heir(&cx.etcd, one.lease()).await;
        let again = mutex(&cx, &other).lock().await.expect("the key is its own");
        assert_eq!(again.fencing_token(), guard.fencing_token());
        assert_eq!(guard.release().await, Err(Error::NotHeld));
        assert!(again.confirm().await.expect("etcd is there"), "it was freed");
        again.release().await.expect("it is held");
        assert!(cx.is_free().await);
    }
}

pub(crate) async fn a_late_release_of_another_process_frees_nothing_that_was_taken_back(cx: Cx) {
    let first = cx.session().await;
    let late = Lossy::new(&cx.etcd);
    let second = heir(&late, first.lease()).await;
    let guard = mutex(&cx, &second).lock().await.expect("it is free");
    let token = guard.fencing_token();
    // Its tries in the background, too.
    late.next([Fate::Stuck; 100]);
    assert!(guard.release().now_or_never().is_none(), "the release is under way");
    second.orphan();
    let back = mutex(&cx, &first).lock().await.expect("the key is its own");
    assert_eq!(back.fencing_token(), token);
    late.arrives(&cx).await;
    assert!(back.confirm().await.expect("etcd is there"), "it was freed");
    back.release().await.expect("it is held");
}

pub(crate) async fn what_a_lost_join_finds_may_be_of_an_earlier_process(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    let first = late.session().await;
    let guard = mutex(&cx, &first).lock().await.expect("it is free");
    late.next([Fate::Stuck; 100]);
    let token = guard.fencing_token();
    assert!(guard.release().now_or_never().is_none(), "the release is under way");
    let (lossy, second) = heir_of(&cx, first).await;
    lossy.next([Fate::Late]);
    let again = mutex(&cx, &second).lock().await.expect("the key is its own");
    assert_eq!(again.fencing_token(), token);
    late.arrives(&cx).await;
    assert!(again.confirm().await.expect("etcd is there"), "it was freed");
    again.release().await.expect("it is held");
    lossy.arrives(&cx).await;
    assert!(cx.is_free().await);
}

pub(crate) async fn a_lost_takeover_is_told_from_an_earlier_one(cx: Cx) {
    let first = cx.session().await;
    let leadership = election(&cx, &first).campaign("one").await.expect("nobody stands");
    let (key, rev) = (leadership.key().to_vec(), leadership.rev());
    let (late, second) = heir_of(&cx, first).await;
    let resumed = election(&cx, &second).resume(&key, rev).await.expect("it leads still");
    late.next([Fate::Stuck; 100]);
    assert!(resumed.resign().now_or_never().is_none(), "the resignation is under way");
    let (lossy, third) = heir_of(&cx, second).await;
    lossy.next([Fate::Late]);
    let resumed = election(&cx, &third).resume(&key, rev).await.expect("it leads still");
    late.arrives(&cx).await;
    assert!(resumed.confirm().await.expect("etcd is there"), "it was deposed");
    resumed.resign().await.expect("it is held");
    assert!(cx.is_free().await);
}

pub(crate) async fn who_does_not_lead_is_not_resumed_and_keeps_its_place(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let leadership = election(&cx, &one).campaign("one").await.expect("nobody stands");
    let candidate = election(&cx, &other);
    let mut campaign = candidate.campaign("other").boxed();
    cx.not_yet("a second leader", &mut campaign).await;
    let own = cx.keys().await.pop().expect("it stands");
    let lease = other.lease();
    other.orphan();
    drop(campaign);
    let heir = heir(&cx.etcd, lease).await;
    let candidate = election(&cx, &heir);
    let refused = cx.soon("an answer", candidate.resume(&own.key, own.create_revision)).await;
    assert_eq!(refused.err(), Some(Error::NotHeld));
    assert_eq!(cx.keys().await.len(), 2, "both stand, and nothing was fenced off");
    leadership.resign().await.expect("it is held");
    let resumed = candidate.resume(&own.key, own.create_revision).await.expect("it leads by now");
    resumed.resign().await.expect("it is held");
    assert!(cx.is_free().await);
}

pub(crate) async fn what_could_not_be_fenced_off_when_taken_over_is_fenced_off_by_the_release(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    let first = late.session().await;
    late.next([Fate::Late]);
    let guard = mutex(&cx, &first).lock().await.expect("it is free");
    let lease = first.lease();
    first.orphan();
    drop(guard);
    let denied = Lossy::new(&cx.etcd);
    let heir = heir(&denied, lease).await;
    denied.next([Fate::Answered, Fate::Denied]);
    let again = mutex(&cx, &heir).lock().await.expect("the key is its own");
    again.release().await.expect("it is held");
    late.arrives(&cx).await;
    assert!(cx.is_free().await, "nobody waits with that key, and everybody would wait for it");
}

pub(crate) async fn what_could_not_be_fenced_off_when_resumed_is_fenced_off_by_the_resignation(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    let first = late.session().await;
    late.next([Fate::Late]);
    let leadership = election(&cx, &first).campaign("one").await.expect("nobody stands");
    let (lease, key, rev) = (first.lease(), leadership.key().to_vec(), leadership.rev());
    first.orphan();
    drop(leadership);
    let denied = Lossy::new(&cx.etcd);
    let heir = heir(&denied, lease).await;
    denied.next([Fate::Denied]);
    let resumed = election(&cx, &heir).resume(&key, rev).await.expect("it leads still");
    resumed.resign().await.expect("it is held");
    late.arrives(&cx).await;
    assert!(cx.is_free().await, "nobody stands with that key, and everybody would wait for it");
}
