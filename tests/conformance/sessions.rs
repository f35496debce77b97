//! What a session promises.

use std::time::Duration;

use tenure::{Error, Mutex, Runtime, Session};
use tokio::sync::oneshot;

use crate::cx::{Cx, heir};
use crate::lossy::{Fate, Lossy};

pub(crate) async fn a_session_outlives_its_ttl_many_times(cx: Cx) {
    let session = cx.session_of(Duration::from_secs(1)).await;
    let first = session.deadline();
    cx.pause(session.ttl() * 3).await;
    assert!(session.is_alive());
    assert!(session.deadline() > first, "the deadline moves on");
}

pub(crate) async fn an_orphan_lives_for_its_ttl_and_no_longer(cx: Cx) {
    let session = cx.session_of(Duration::from_secs(2)).await;
    let ttl = session.ttl();
    let guard = Mutex::new(&session, &cx.name).expect("a good name").lock().await.expect("it is free");
    let orphaned = cx.etcd.now();
    let lost = session.lost();
    session.orphan();
    cx.soon("the orphan is lost on this side", lost).await;
    assert!(!guard.is_held());
    std::mem::forget(guard);
    cx.until_keys(0).await;
    let lived = cx.etcd.now().saturating_since(orphaned);
    assert!(lived > ttl / 2, "its key was gone after {lived:?} already");
    assert!(lived < ttl + Duration::from_millis(1500), "its key was there for {lived:?}");
}

pub(crate) async fn an_orphan_can_be_taken_over(cx: Cx) {
    let first = cx.session().await;
    let lease = first.lease();
    first.orphan();
    let second = heir(&cx.etcd, lease).await;
    assert_eq!(second.lease(), lease);
    assert!(second.is_alive());
    second.close().await.expect("it is closed");
}

pub(crate) async fn a_lease_that_has_ended_cannot_be_taken_over(cx: Cx) {
    let session = cx.session().await;
    let lease = session.lease();
    session.close().await.expect("it is closed");
    let taken = Session::builder(&cx.etcd).lease(lease).open().await;
    assert_eq!(taken.err(), Some(Error::SessionLost));
}

pub(crate) async fn closing_frees_all_that_was_held(cx: Cx) {
    let session = cx.session().await;
    let guard = Mutex::new(&session, &cx.name).expect("a good name").lock().await.expect("it is free");
    let tenure = guard.tenure();
    let lost = tenure.lost();
    session.clone().close().await.expect("it is closed");
    assert!(!session.is_alive());
    assert!(!guard.is_held());
    cx.soon("the guard tells", lost).await;
    assert!(cx.keys().await.is_empty());
    assert_eq!(guard.release().await, Err(Error::SessionLost));
}

pub(crate) async fn dropping_the_last_handle_revokes(cx: Cx) {
    let session = cx.session().await;
    let guard = Mutex::new(&session, &cx.name).expect("a good name").lock().await.expect("it is free");
    drop(session);
    assert!(guard.is_held(), "a guard is a handle too");
    drop(guard);
    cx.until_keys(0).await;
}

pub(crate) async fn a_revoked_lease_is_told(cx: Cx) {
    let session = cx.session_of(Duration::from_secs(2)).await;
    cx.revoke(session.lease()).await;
    cx.soon("the session is lost", session.lost()).await;
    assert!(!session.is_alive());
    assert_eq!(session.deadline(), None);
    let refused = Mutex::new(&session, &cx.name).expect("a good name").lock().await;
    assert_eq!(refused.err(), Some(Error::SessionLost));
}

pub(crate) async fn two_sessions_of_one_backend_are_two(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    assert_ne!(one.lease(), other.lease());
    one.close().await.expect("it is closed");
    assert!(other.is_alive());
}

pub(crate) async fn a_session_without_a_ttl_is_refused(cx: Cx) {
    let refused = Session::builder(&cx.etcd).ttl(Duration::ZERO).open().await;
    assert!(matches!(refused, Err(Error::InvalidArgument { what: "ttl", .. })));
    let refused = Session::builder(&cx.etcd).drift_bound_ppm(1_000_000).open().await;
    assert!(matches!(refused, Err(Error::InvalidArgument { what: "drift_bound_ppm", .. })));
}

pub(crate) async fn the_deadline_is_earlier_than_the_ttl_by_the_drift_bound(cx: Cx) {
    let before = cx.etcd.now();
    let session = Session::builder(&cx.etcd)
        .ttl(Duration::from_secs(10))
        .drift_bound_ppm(100_000)
        .open()
        .await
        .expect("etcd");
    let after = cx.etcd.now();
    let deadline = session.deadline().expect("it is alive");
    assert!(deadline >= before + Duration::from_secs(9));
    assert!(deadline <= after + Duration::from_secs(9));
}

/// More than anybody tries, who pauses between.
const NEVER: usize = 10_000;

/// Less than the longest pause between two tries.
const A_PAUSE: Duration = Duration::from_millis(300);

pub(crate) async fn opening_is_tried_again_until_its_timeout_and_not_in_a_rush(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    lossy.next_of_leases([Fate::NotApplied; NEVER]);
    let timeout = Duration::from_secs(2);
    let began = cx.etcd.now();
    let refused = Session::builder(&lossy).open_timeout(timeout).open().await;
    assert!(matches!(refused, Err(Error::NotOpened(_))), "{refused:?}");
    let took = cx.etcd.now().saturating_since(began);
    assert!(took < timeout + A_PAUSE, "it took {took:?}");
    let tries = lossy.asked().of_leases;
    assert!((3..=10).contains(&tries), "{tries} tries");
}

pub(crate) async fn a_grant_that_is_not_answered_is_asked_for_again_while_there_is_time(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    lossy.next_of_leases([Fate::Stuck]);
    let ttl = Duration::from_secs(2);
    let began = cx.etcd.now();
    let session = lossy.session_of(ttl).await;
    let took = cx.etcd.now().saturating_since(began);
    assert!(took < ttl, "it took {took:?}");
    session.close().await.expect("it is closed");
}

pub(crate) async fn closing_is_tried_again_until_the_lease_has_run_out_and_not_in_a_rush(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session_of(Duration::from_secs(2)).await;
    let (ttl, before) = (session.ttl(), lossy.asked().of_leases);
    lossy.next_of_leases([Fate::NotApplied; NEVER]);
    let began = cx.etcd.now();
    let closed = session.close().await;
    assert!(matches!(closed, Err(Error::Maybe(_))), "{closed:?}");
    let took = cx.etcd.now().saturating_since(began);
    assert!(took < ttl + A_PAUSE, "it took {took:?}");
    let tries = lossy.asked().of_leases - before;
    assert!((3..=10).contains(&tries), "{tries} tries");
}

pub(crate) async fn a_renewal_that_fails_is_tried_again_soon_and_not_in_a_rush(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session_of(Duration::from_secs(2)).await;
    let before = lossy.asked().of_leases;
    lossy.next_of_leases([Fate::NotApplied; NEVER]);
    session.lost().await;
    let tries = lossy.asked().of_leases - before;
    assert!((6..=20).contains(&tries), "{tries} tries");
}

pub(crate) async fn who_waits_for_an_answer_is_told_at_once_that_the_session_is_lost(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session_of(Duration::from_secs(2)).await;
    let deadline = session.deadline().expect("it is alive");
    lossy.next_of_leases([Fate::NotApplied; NEVER]);
    lossy.next([Fate::NotApplied; NEVER]);
    cx.pause(Duration::from_millis(200)).await;
    let outcome = Mutex::new(&session, &cx.name).expect("a good name").lock().await;
    assert_eq!(outcome.err(), Some(Error::SessionLost));
    let late = cx.etcd.now().saturating_since(deadline);
    assert!(late < Duration::from_millis(200), "it was told {late:?} later");
}

pub(crate) async fn who_waits_for_the_sessions_end_is_told_at_once_of_its_close(cx: Cx) {
    let session = cx.session_of(Duration::from_secs(60)).await;
    let (tells, mut told) = oneshot::channel();
    let lost = session.lost();
    // A task of its own, which nothing else wakes.
    cx.etcd.spawn(Box::pin(async move {
        lost.await;
        let _ = tells.send(());
    }));
    cx.not_yet("the session's end", &mut told).await;
    // Another handle is left.
    session.clone().close().await.expect("it is closed");
    cx.soon("the session's end", told).await.expect("it is told");
}

pub(crate) async fn dropping_the_last_handle_revokes_once(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session().await;
    let lock = Mutex::new(&session, &cx.name).expect("a good name");
    let _left = lock.lock().await.expect("it is free").tenure();
    drop((lock, session));
    cx.until_keys(0).await;
    cx.pause(Duration::from_millis(300)).await;
    assert_eq!(lossy.asked().of_leases, 2, "the grant and the revocation");
}
