//! What the mutex promises.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tenure::kv::{Compare, CompareOp, Op, Put, Request, Response, Txn};
use tenure::{Error, Mutex, MutexGuard, Session};

use crate::cx::{Cx, both, heir};
use crate::lossy::{Fate, Lossy};

fn mutex(cx: &Cx, session: &Session) -> Mutex {
    Mutex::new(session, &cx.name).expect("a good name")
}

async fn locked(cx: &Cx) -> (Session, MutexGuard) {
    let session = cx.session().await;
    let guard = mutex(cx, &session).lock().await.expect("it is free");
    (session, guard)
}

pub(crate) async fn a_held_lock_is_a_key_as_etcds_recipe_writes_it(cx: Cx) {
    let (session, guard) = locked(&cx).await;
    let keys = cx.keys().await;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key, format!("{}/{:x}", cx.name, session.lease()).into_bytes());
    assert_eq!(keys[0].value, b"");
    assert_eq!(keys[0].lease, session.lease());
    assert_eq!(keys[0].create_revision, guard.fencing_token());
    assert_eq!(keys[0].key, guard.key());
    guard.release().await.expect("it is held");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn of_five_contenders_one_holds_in_order_of_arrival(cx: Cx) {
    take_turns(&cx, 5).await;
}

pub(crate) async fn a_long_line_is_served_in_order(cx: Cx) {
    take_turns(&cx, 14).await;
}

async fn take_turns(cx: &Cx, contenders: usize) {
    let holders = Cell::new(0);
    let tokens = RefCell::new(Vec::new());
    let turns = (0..contenders).map(|_| async {
        let session = cx.session().await;
        let guard = mutex(cx, &session).lock().await.expect("its turn comes");
        assert_eq!(holders.replace(holders.get() + 1), 0, "two hold at once");
        tokens.borrow_mut().push(guard.fencing_token());
        cx.pause(Duration::from_millis(3)).await;
        holders.set(holders.get() - 1);
        guard.release().await.expect("it is held");
    });
    cx.soon("all have their turn", join_all(turns.collect::<Vec<_>>())).await;
    let tokens = tokens.into_inner();
    assert_eq!(tokens.len(), contenders);
    assert!(tokens.is_sorted(), "the order of grants is not that of create_revision: {tokens:?}");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn contenders_that_queue_again_at_once_exclude_each_other(cx: Cx) {
    let holders = Cell::new(0);
    let contenders = (0..8).map(|_| async {
        let session = cx.session().await;
        let mutex = mutex(&cx, &session);
        for _ in 0..12 {
            let guard = mutex.lock().await.expect("its turn comes");
            assert_eq!(holders.replace(1), 0, "two hold at once");
            assert!(guard.confirm().await.expect("etcd"), "granted, but not held in etcd");
            holders.set(0);
            guard.release().await.expect("it is held");
        }
    });
    cx.soon("all have their turns", join_all(contenders.collect::<Vec<_>>())).await;
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn of_two_that_try_one_wins(cx: Cx) {
    let (one, other) = (cx.session().await, cx.session().await);
    let (one, other) = (mutex(&cx, &one), mutex(&cx, &other));
    let (one, other) = both(one.try_lock(), other.try_lock()).await;
    let won: Vec<_> = [one.expect("etcd"), other.expect("etcd")].into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    assert_eq!(cx.keys().await.len(), 1, "the one that did not win left a key");
}

pub(crate) async fn locking_again_on_one_session_is_refused_not_deadlocked(cx: Cx) {
    let (session, guard) = locked(&cx).await;
    let again = mutex(&cx, &session);
    let in_use = Err(Error::InUse { name: cx.name.clone() });
    assert_eq!(again.lock().await.map(|_| ()), in_use);
    assert_eq!(again.try_lock().await.map(|_| ()), in_use);
    assert!(guard.is_held(), "the refused one took nothing away");
    guard.release().await.expect("it is held");
    let guard = again.lock().await.expect("it is free again");
    drop(guard);
    // The release is under way; locking waits for it instead of adopting the key that is about to go.
    let guard = cx.soon("it is free again", again.lock()).await.expect("it is free again");
    assert_eq!(cx.keys().await[0].create_revision, guard.fencing_token());
}

pub(crate) async fn a_middle_waiter_that_expires_promotes_nobody(cx: Cx) {
    let (_session, guard) = locked(&cx).await;
    let (middle, last) = (cx.session().await, cx.session().await);
    let (middle_mutex, last_mutex) = (mutex(&cx, &middle), mutex(&cx, &last));
    let mut middle_lock = middle_mutex.lock().boxed();
    cx.not_yet("the middle one's grant", &mut middle_lock).await;
    let mut last_lock = last_mutex.lock().boxed();
    cx.not_yet("the last one's grant", &mut last_lock).await;
    cx.revoke(middle.lease()).await;
    let middle_outcome = cx.soon("the middle one is told", middle_lock).await;
    assert!(matches!(middle_outcome, Err(Error::NotHeld | Error::SessionLost)), "{middle_outcome:?}");
    cx.not_yet("the last one's grant", &mut last_lock).await;
    guard.release().await.expect("it is held");
    let _held = cx.soon("the last one's grant", last_lock).await.expect("its turn has come");
}

pub(crate) async fn a_waiter_without_a_lease_is_never_granted(cx: Cx) {
    let (_session, guard) = locked(&cx).await;
    let waiter = cx.session().await;
    let waiting = mutex(&cx, &waiter);
    let mut lock = waiting.lock().boxed();
    cx.not_yet("the grant", &mut lock).await;
    let (outcome, ()) = both(lock, async {
        cx.revoke(waiter.lease()).await;
        guard.release().await.expect("it is held");
    })
    .await;
    assert!(matches!(outcome, Err(Error::NotHeld | Error::SessionLost)), "{outcome:?}");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn a_waiter_whose_key_is_deleted_is_told(cx: Cx) {
    let (_session, _guard) = locked(&cx).await;
    let waiter = cx.session().await;
    let waiting = mutex(&cx, &waiter);
    let mut lock = waiting.lock().boxed();
    cx.not_yet("the grant", &mut lock).await;
    cx.delete(format!("{}/{:x}", cx.name, waiter.lease()).as_bytes()).await;
    let outcome = cx.soon("the waiter is told", lock).await;
    assert_eq!(outcome.err(), Some(Error::NotHeld));
}

pub(crate) async fn what_an_earlier_process_of_the_lease_lost_on_the_way_leaves_no_key(cx: Cx) {
    let (first, guard) = locked(&cx).await;
    let (lease, key) = (first.lease(), guard.key().to_vec());
    first.orphan();
    drop(guard);
    let heir = heir(&cx.etcd, lease).await;
    let again = mutex(&cx, &heir).lock().await.expect("the key is its own");
    assert_eq!(again.key(), key);
    again.release().await.expect("it is held");
    // The first process asked twice to get in line, and one of the two was on its way until now.
    let fence = format!("{}\0fence/{lease:x}", cx.name);
    let join = Txn::new()
        .when([
            Compare::create_revision(&*key, CompareOp::Equal, 0),
            Compare::mod_revision(fence, CompareOp::Equal, 0),
        ])
        .and_then([Op::Put(Put::new(&*key, "").lease(lease))]);
    let Response::Txn(late) = cx.raw(Request::Txn(join)).await else { panic!("not a transaction's answer") };
    assert!(!late.succeeded, "nobody waits with that key, and everybody would wait for it");
    assert!(cx.below(&format!("{}/", cx.name)).await.is_empty());
}

pub(crate) async fn dropping_the_guard_releases(cx: Cx) {
    let (_session, guard) = locked(&cx).await;
    let tenure = guard.tenure();
    drop(guard);
    assert!(!tenure.is_held());
    cx.until_keys(0).await;
}

pub(crate) async fn dropping_a_waiting_lock_leaves_no_key(cx: Cx) {
    let (_session, guard) = locked(&cx).await;
    let waiter = cx.session().await;
    {
        let waiting = mutex(&cx, &waiter);
        let mut lock = waiting.lock().boxed();
        cx.not_yet("the grant", &mut lock).await;
        assert_eq!(cx.keys().await.len(), 2);
    }
    cx.until_keys(1).await;
    guard.release().await.expect("it is held");
    let _held = mutex(&cx, &waiter).lock().await.expect("it is free, and the session as good as new");
}

pub(crate) async fn a_lock_that_times_out_leaves_no_key(cx: Cx) {
    let (_session, _guard) = locked(&cx).await;
    let waiter = cx.session().await;
    let outcome = mutex(&cx, &waiter).lock_timeout(Duration::from_millis(100)).await;
    assert_eq!(outcome.err(), Some(Error::Timeout));
    cx.until_keys(1).await;
}

pub(crate) async fn a_guarded_transaction_commits_only_while_held(cx: Cx) {
    let (_session, guard) = locked(&cx).await;
    let target = format!("{}.target", cx.name);
    guard.txn([Op::Put(Put::new(&*target, "1"))]).await.expect("it is held");
    assert!(guard.confirm().await.expect("etcd"));
    cx.delete(guard.key()).await;
    let late = guard.txn([Op::Put(Put::new(&*target, "2"))]).await;
    assert_eq!(late.err(), Some(Error::NotHeld));
    assert!(!guard.is_held(), "what etcd has told is believed");
    assert_eq!(cx.below(&target).await[0].value, b"1");
}

pub(crate) async fn releasing_what_is_gone_says_so(cx: Cx) {
    let (_session, guard) = locked(&cx).await;
    cx.delete(guard.key()).await;
    assert_eq!(guard.release().await, Err(Error::NotHeld));
}

pub(crate) async fn a_retried_release_spares_a_newer_hold(cx: Cx) {
    let (session, guard) = locked(&cx).await;
    cx.delete(guard.key()).await;
    // The same key again, as by another process of the same lease.
    let key = guard.key().to_vec();
    cx.raw(tenure::kv::Request::Put(Put::new(key, "").lease(session.lease()))).await;
    assert_eq!(guard.release().await, Err(Error::NotHeld));
    assert_eq!(cx.keys().await.len(), 1, "the newer hold was deleted");
}

pub(crate) async fn a_late_release_of_an_earlier_process_frees_nothing(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    let first = late.session().await;
    let guard = mutex(&cx, &first).lock().await.expect("it is free");
    // Its tries in the background, too.
    late.next([Fate::Stuck; 100]);
    let (lease, token) = (first.lease(), guard.fencing_token());
    assert!(guard.release().now_or_never().is_none(), "the release is under way");
    first.orphan();
    let second = heir(&cx.etcd, lease).await;
    let guard = mutex(&cx, &second).lock().await.expect("the key is its own");
    assert_eq!(guard.fencing_token(), token, "the key was adopted");
    late.arrives(&cx).await;
    assert!(guard.confirm().await.expect("etcd is there"), "it was freed");
    guard.release().await.expect("it is held");
    assert!(cx.below(&format!("{}/", cx.name)).await.is_empty());
}

pub(crate) async fn closing_a_holders_session_grants_the_next(cx: Cx) {
    let (session, guard) = locked(&cx).await;
    let next = cx.session().await;
    let waiting = mutex(&cx, &next);
    let mut lock = waiting.lock().boxed();
    cx.not_yet("the grant", &mut lock).await;
    session.close().await.expect("it is closed");
    let next = cx.soon("the grant", lock).await.expect("its turn has come");
    assert!(next.fencing_token() > guard.fencing_token());
    assert!(!guard.is_held());
}

pub(crate) async fn a_compaction_while_waiting_harms_nobody(cx: Cx) {
    let (_session, guard) = locked(&cx).await;
    let waiter = cx.session().await;
    let waiting = mutex(&cx, &waiter);
    let mut lock = waiting.lock().boxed();
    cx.not_yet("the grant", &mut lock).await;
    for _ in 0..20 {
        cx.put(&format!("{}.noise", cx.name), "x").await;
    }
    cx.compact().await;
    guard.release().await.expect("it is held");
    cx.compact().await;
    let _held = cx.soon("the grant", lock).await.expect("its turn has come");
}

pub(crate) async fn a_name_that_begins_like_another_is_another(cx: Cx) {
    let (_session, _guard) = locked(&cx).await;
    let other = cx.session().await;
    let longer = Mutex::new(&other, format!("{}x", cx.name)).expect("a good name");
    let _held = cx.soon("another name's lock", longer.lock()).await.expect("it is free");
}

pub(crate) async fn a_bad_name_is_refused(cx: Cx) {
    let session = cx.session().await;
    for name in ["", "a/", "/", "a\0b"] {
        let refused = Mutex::new(&session, name).err();
        assert!(matches!(refused, Some(Error::InvalidName { .. })), "{name:?}: {refused:?}");
    }
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn a_foreign_key_is_reported(cx: Cx) {
    cx.put(&format!("{}/somebody/elses", cx.name), "").await;
    let session = cx.session().await;
    let outcome = cx.soon("an answer", mutex(&cx, &session).lock()).await;
    assert!(matches!(outcome, Err(Error::ForeignKey { .. })), "{outcome:?}");
    cx.until_keys(1).await;
}

pub(crate) async fn a_lock_and_its_guard_tell_their_name_and_lease(cx: Cx) {
    let session = cx.session().await;
    let mutex = mutex(&cx, &session);
    assert_eq!(mutex.name(), cx.name);
    let guard = mutex.lock().await.expect("it is free");
    assert_eq!(guard.name(), cx.name);
    assert_eq!(guard.lease(), session.lease());
    assert_eq!(mutex.lock().await.expect_err("it is held"), Error::InUse { name: cx.name.clone() });
}
