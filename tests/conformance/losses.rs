//! What is promised when requests are lost on the way, or refused.

use std::time::Duration;

use futures_util::FutureExt;
use tenure::kv::{Op, Put, Request};
use tenure::{Counter, Election, Error, Locker, Mutex, Refusal, Runtime, RwLock, Session};

use crate::cx::{Cx, both};
use crate::lossy::{Fate, Lossy};

async fn lossy(cx: &Cx) -> (Lossy, Session) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session().await;
    (lossy, session)
}

fn mutex(cx: &Cx, session: &Session) -> Mutex {
    Mutex::new(session, &cx.name).expect("a good name")
}

pub(crate) async fn what_is_refused_outright_leaves_nothing_to_clear_away(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    lossy.next([Fate::Denied]);
    let refused = mutex(&cx, &session).lock().await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::PermissionDenied(_)))), "{refused:?}");
    let _held = mutex(&cx, &session).lock().await.expect("it is free");
    assert_eq!(lossy.asked().txns, 2);
    assert_eq!(cx.keys().await.len(), 1);
}

pub(crate) async fn a_lost_join_leaves_no_key_whatever_the_next_try_is_refused_for(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    lossy.next([Fate::Late, Fate::Denied]);
    let refused = mutex(&cx, &session).lock().await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::PermissionDenied(_)))), "{refused:?}");
    // The fence.
    cx.until_keys(1).await;
    lossy.arrives(&cx).await;
    assert!(cx.is_free().await, "nobody waits with that key, and everybody would wait for it");
}

pub(crate) async fn a_join_that_was_one_too_much_for_the_space_leaves_no_key(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    lossy.next([Fate::AppliedAndRefused]);
    let refused = mutex(&cx, &session).lock().await;
    assert_eq!(refused.err(), Some(Error::Refused(Refusal::NoSpace)));
    cx.until_in_line(0).await;
}

pub(crate) async fn a_join_that_arrives_after_the_release_leaves_no_key(cx: Cx) {
    // The key that is held was made by the second try of three.
    let (lossy, session) = lossy(&cx).await;
    lossy.next([Fate::Late, Fate::AnswerLost]);
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    guard.release().await.expect("it is held");
    lossy.arrives(&cx).await;
    assert!(cx.is_free().await, "nobody waits with that key, and everybody would wait for it");
}

pub(crate) async fn a_release_whose_answer_was_lost_is_known_to_be_made(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    // What may arrive late must be fenced off, so the release is more than a deletion.
    lossy.next([Fate::Late]);
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    let before = lossy.asked().txns;
    lossy.next([Fate::AnswerLost]);
    guard.release().await.expect("it is held");
    assert_eq!(lossy.asked().txns, before + 2, "it was made twice");
    assert!(cx.is_free().await);
}

pub(crate) async fn of_two_readers_that_leave_at_once_each_is_known_to_be_out(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    let lock = RwLock::new(&session, &cx.name).expect("a good name");
    lossy.next([Fate::Late]);
    let one = lock.read().await.expect("no writer");
    lossy.next([Fate::Late]);
    let other = lock.read().await.expect("no writer");
    // The other one moves the fence before the first one asks what became of its release.
    lossy.next([Fate::AnswerLostLate]);
    let (first, second) = both(one.release(), async {
        cx.until_in_line(1).await;
        other.release().await
    })
    .await;
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert!(cx.is_free().await, "a reader is left that nobody knows of");
    lossy.arrives(&cx).await;
    assert!(cx.is_free().await, "a reader came that nobody knows of");
}

pub(crate) async fn a_fence_that_there_was_no_space_for_is_made_up_for(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    lossy.next([Fate::Late]);
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    lossy.next([Fate::RefusedLate]);
    guard.release().await.expect("the key can be deleted");
    assert!(cx.keys().await.is_empty());
    cx.until_keys(1).await;
    lossy.arrives(&cx).await;
    assert!(cx.is_free().await, "nobody waits with that key, and everybody would wait for it");
    // And that is settled.
    let before = lossy.asked().txns;
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    guard.release().await.expect("it is held");
    let settled = lossy.asked().txns;
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    guard.release().await.expect("it is held");
    assert_eq!(lossy.asked().txns - settled, 2);
    assert_eq!(settled - before, 2, "the fence was moved again");
}

pub(crate) async fn what_could_not_be_fenced_off_is_before_the_key_is_used_again(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    lossy.next([Fate::Late]);
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    // The release that was lost would delete whatever stands under that key.
    lossy.next([Fate::Late, Fate::RefusedLate]);
    guard.release().await.expect("the key can be deleted");
    let guard = mutex(&cx, &session).lock().await.expect("it is free again");
    lossy.arrives(&cx).await;
    assert!(guard.confirm().await.expect("etcd is there"), "it was freed");
    guard.release().await.expect("it is held");
    assert!(cx.is_free().await);
}

pub(crate) async fn who_resumes_what_is_being_resigned_is_refused_if_that_is_given_up(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    let election = Election::new(&session, &cx.name).expect("a good name");
    let leadership = election.campaign("one").await.expect("nobody stands");
    lossy.next([Fate::Stuck]);
    let mut resignation = leadership.resign().boxed();
    assert!((&mut resignation).now_or_never().is_none(), "the resignation is under way");
    let mut resuming = election.resume(leadership.key(), leadership.rev()).boxed();
    assert!((&mut resuming).now_or_never().is_none(), "it waits for the place of the same session");
    drop(resignation);
    let refused = cx.soon("the refusal", resuming).await.err();
    assert_eq!(refused, Some(Error::InUse { name: cx.name.clone() }));
    leadership.resign().await.expect("its key is there");
    assert!(cx.is_free().await);
}

pub(crate) async fn who_locks_what_is_being_unlocked_is_refused_if_that_is(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    let locker = mutex(&cx, &session).locker();
    locker.lock().await.expect("it is free");
    lossy.next([Fate::RefusedLate]);
    let again = cx.soon("both are answered", both(locker.unlock(), locker.lock()));
    let (unlocked, locked) = again.await;
    assert_eq!(unlocked, Err(Error::Refused(Refusal::NoSpace)));
    assert_eq!(locked, Err(Error::InUse { name: cx.name.clone() }));
    locker.unlock().await.expect("its key is there");
    assert!(cx.is_free().await);
}

pub(crate) async fn a_lost_proclamation_is_made_over_what_was_said_meanwhile(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    let election = Election::new(&session, &cx.name).expect("a good name");
    let leadership = election.campaign("one").await.expect("nobody stands");
    // As another process of the lease says it.
    let said = Put::new(leadership.key(), "meanwhile").lease(session.lease());
    cx.raw(Request::Put(said)).await;
    lossy.next([Fate::Late]);
    leadership.proclaim("two").await.expect("it leads");
    let leader = election.leader().await.expect("etcd is there").expect("somebody leads");
    assert_eq!(leader.value, b"two");
    lossy.arrives(&cx).await;
    assert!(leadership.confirm().await.expect("etcd is there"));
}

pub(crate) async fn what_is_refused_after_a_loss_is_known_to_be_made_if_it_was(cx: Cx) {
    let (lossy, session) = lossy(&cx).await;
    let counter = Counter::new(&session, &cx.name).expect("a good name");
    lossy.next([Fate::AnswerLost, Fate::Denied]);
    assert_eq!(counter.increment().await, Ok(1));
    lossy.next([Fate::AppliedAndRefused]);
    assert_eq!(counter.increment().await, Ok(2));
    lossy.next([Fate::Late, Fate::Denied]);
    let unknown = counter.increment().await;
    assert!(matches!(unknown, Err(Error::Maybe(_))), "{unknown:?}");
    assert_eq!(counter.increment().await, Ok(3));
    lossy.arrives(&cx).await;
    assert_eq!(counter.get().await, Ok(3));
    lossy.next([Fate::Denied]);
    let denied = counter.increment().await;
    assert!(matches!(denied, Err(Error::Refused(Refusal::PermissionDenied(_)))), "{denied:?}");
}

pub(crate) async fn what_is_not_applied_is_tried_again_and_not_in_a_rush(cx: Cx) {
    const TRIES: usize = 7;
    // Of five milliseconds, and twice as long each time.
    let pauses = Duration::from_millis(5) * ((1 << TRIES) - 1);
    let (lossy, session) = lossy(&cx).await;
    lossy.next([Fate::NotApplied; TRIES]);
    let began = cx.etcd.now();
    let guard = mutex(&cx, &session).lock().await.expect("it is free");
    assert!(cx.etcd.now().saturating_since(began) >= pauses);
    lossy.next([Fate::NotApplied; TRIES]);
    let began = cx.etcd.now();
    guard.txn([Op::Put(Put::new(format!("{}.target", cx.name), "1"))]).await.expect("it is held");
    assert!(cx.etcd.now().saturating_since(began) >= pauses);
}
