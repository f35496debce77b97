//! What the barrier promises.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tenure::kv::{DeleteRange, Op, Put, Request, Txn};
use tenure::{Barrier, Error, Session};

use crate::cx::Cx;
use crate::lossy::{Fate, Lossy};

fn barrier(cx: &Cx, session: &Session) -> Barrier {
    Barrier::new(session, &cx.name).expect("a good name")
}

async fn lossy(cx: &Cx) -> (Lossy, Barrier) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session_of(Duration::from_secs(5)).await;
    (lossy, barrier(cx, &session))
}

pub(crate) async fn a_hold_is_the_key_of_gos_recipe(cx: Cx) {
    let session = cx.session().await;
    let barrier = barrier(&cx, &session);
    let hold = barrier.hold().await.expect("it is free");
    let keys = cx.keys().await;
    assert_eq!(keys.len(), 1);
    assert_eq!((&*keys[0].key, &*keys[0].value), (cx.name.as_bytes(), &b""[..]));
    assert_eq!((keys[0].lease, keys[0].create_revision), (session.lease(), hold.revision()));
    assert!(hold.is_held() && barrier.is_held().await.expect("etcd"));
    hold.release().await.expect("it is held");
    assert!(cx.keys().await.is_empty());
    let revision = barrier.hold_for_good().await.expect("it is free");
    session.close().await.expect("etcd");
    let keys = cx.keys().await;
    assert_eq!((keys[0].lease, keys[0].create_revision), (0, revision), "the hold outlives the session");
    let other = self::barrier(&cx, &cx.session().await);
    other.release().await.expect("etcd");
    other.release().await.expect("releasing what is free is as good");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn holding_what_is_held_is_refused(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let hold = barrier(&cx, &one).hold().await.expect("it is free");
    let held = Error::BarrierHeld { name: cx.name.clone() };
    for session in [&one, &other] {
        assert_eq!(barrier(&cx, session).hold().await.map(drop), Err(held.clone()));
        assert_eq!(barrier(&cx, session).hold_for_good().await.map(drop), Err(held.clone()));
    }
    assert!(hold.is_held());
    barrier(&cx, &other).release().await.expect("etcd");
    assert_eq!(hold.release().await, Err(Error::NotHeld), "somebody else released it");
}

pub(crate) async fn all_who_wait_go_on_when_the_hold_ends(cx: Cx) {
    let session = cx.session().await;
    let free = barrier(&cx, &session);
    cx.soon("nobody waits at a free barrier", free.wait()).await.expect("etcd");
    for by_drop in [false, true] {
        let hold = free.hold().await.expect("it is free");
        let waits = (0..10).map(|_| free.wait());
        let mut all = join_all(waits).boxed();
        cx.not_yet("going on", &mut all).await;
        if by_drop {
            drop(hold)
        } else {
            hold.release().await.expect("it is held")
        }
        let all = cx.soon("all go on", all).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }
}

pub(crate) async fn a_holders_crash_lets_who_waits_go_on(cx: Cx) {
    let (holder, waiter) = (cx.session().await, cx.session().await);
    let hold = barrier(&cx, &holder).hold().await.expect("it is free");
    let waiting = barrier(&cx, &waiter);
    let mut wait = waiting.wait().boxed();
    cx.not_yet("going on", &mut wait).await;
    cx.revoke(holder.lease()).await;
    cx.soon("going on", wait).await.expect("the hold has ended");
    cx.soon("the holder is told", hold.lost()).await;
    assert!(!hold.is_held());
}

pub(crate) async fn a_wait_is_for_the_hold_that_was_there(cx: Cx) {
    let (holder, waiter) = (cx.session().await, cx.session().await);
    let (held, waiting) = (barrier(&cx, &holder), barrier(&cx, &waiter));
    let first = held.hold().await.expect("it is free");
    let mut wait = waiting.wait().boxed();
    cx.not_yet("going on", &mut wait).await;
    first.release().await.expect("it is held");
    let _second = held.hold().await.expect("it is free again");
    cx.compact().await;
    cx.soon("the first hold's end", wait).await.expect("etcd");
    let mut wait = waiting.wait().boxed();
    cx.not_yet("the second hold's end", &mut wait).await;
}

pub(crate) async fn writing_the_key_again_lets_nobody_go_on(cx: Cx) {
    let session = cx.session().await;
    let barrier = barrier(&cx, &session);
    barrier.hold_for_good().await.expect("it is free");
    let mut wait = barrier.wait().boxed();
    cx.not_yet("going on", &mut wait).await;
    cx.put(&cx.name, "another value").await;
    cx.compact().await;
    cx.not_yet("going on", &mut wait).await;
    // Gone and there again in one transaction's neighbourhood: whoever looks finds a key.
    cx.raw(Request::Txn(Txn::new().and_then([Op::Delete(DeleteRange::key(cx.name.as_str()))]))).await;
    cx.raw(Request::Txn(Txn::new().and_then([Op::Put(Put::new(cx.name.as_str(), ""))]))).await;
    cx.soon("going on", wait).await.expect("the hold has ended");
}

pub(crate) async fn a_wait_ends_with_its_session_or_its_limit(cx: Cx) {
    let (holder, waiter) = (cx.session().await, cx.session().await);
    let _hold = barrier(&cx, &holder).hold().await.expect("it is free");
    let waiting = barrier(&cx, &waiter);
    let limited = cx.soon("the limit", waiting.wait_timeout(Duration::from_millis(50))).await;
    assert_eq!(limited, Err(Error::Timeout));
    let mut wait = waiting.wait().boxed();
    cx.not_yet("going on", &mut wait).await;
    cx.revoke(waiter.lease()).await;
    assert_eq!(cx.soon("the waiter is told", wait).await, Err(Error::SessionLost));
}

pub(crate) async fn a_hold_whose_answer_was_lost_is_known_to_be_ones_own(cx: Cx) {
    let (lossy, barrier) = lossy(&cx).await;
    lossy.next([Fate::AnswerLost]);
    let hold = barrier.hold().await.expect("it was free");
    assert_eq!(cx.keys().await[0].create_revision, hold.revision());
    lossy.next([Fate::AnswerLost]);
    hold.release().await.expect("it was held");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn a_hold_that_arrives_late_holds_nobody_up(cx: Cx) {
    let (lossy, barrier) = lossy(&cx).await;
    for for_good in [false, true] {
        lossy.next([Fate::Late]);
        if for_good {
            barrier.hold_for_good().await.expect("the retry held it");
        } else {
            let hold = barrier.hold().await.expect("the retry held it");
            hold.release().await.expect("it is held");
        }
        barrier.release().await.expect("etcd");
        lossy.arrives(&cx).await;
        assert!(cx.keys().await.is_empty(), "the first try held it again");
    }
    // One that was refused at last is not applied later either.
    let other = cx.session().await;
    let hold = self::barrier(&cx, &other).hold().await.expect("it is free");
    lossy.next([Fate::Late]);
    assert!(matches!(barrier.hold().await.map(drop), Err(Error::BarrierHeld { .. })));
    hold.release().await.expect("it is held");
    lossy.arrives(&cx).await;
    assert!(cx.keys().await.is_empty(), "the refused one holds it");
}

pub(crate) async fn a_late_release_spares_a_newer_hold(cx: Cx) {
    let (lossy, barrier) = lossy(&cx).await;
    barrier.hold_for_good().await.expect("it is free");
    lossy.next([Fate::Late]);
    barrier.release().await.expect("the retry released it");
    let again = barrier.hold_for_good().await.expect("it is free again");
    lossy.arrives(&cx).await;
    assert_eq!(cx.keys().await[0].create_revision, again);
}

pub(crate) async fn a_hold_that_is_given_up_leaves_no_key(cx: Cx) {
    let (lossy, barrier) = lossy(&cx).await;
    for fate in [Fate::AnswerLost, Fate::Stuck] {
        lossy.next([fate]);
        let mut hold = barrier.hold().boxed();
        let _ = hold.as_mut().now_or_never();
        drop(hold);
        if fate == Fate::Stuck {
            lossy.arrives(&cx).await;
        }
        cx.soon("the key is gone", async {
            // From the moment on at which the given up hold has run its course.
            while barrier.hold().await.map(drop).is_err() {
                cx.pause(Duration::from_millis(20)).await;
            }
        })
        .await;
        cx.until_keys(0).await;
    }
}

pub(crate) async fn a_hold_that_ends_while_a_wait_begins_keeps_nobody(cx: Cx) {
    let session = cx.session().await;
    let (lossy, waiting) = lossy(&cx).await;
    let _hold = barrier(&cx, &session).hold_for_good().await.expect("it is free");
    lossy.before_watches([Some(Request::Delete(DeleteRange::key(&*cx.name)))]);
    cx.soon("going on", waiting.wait()).await.expect("etcd");
}
