//! What the semaphore promises.

use std::cell::Cell;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tenure::kv::{Op, Put};
use tenure::{Error, Mutex, Permit, Semaphore, Session};

use crate::cx::{Cx, both, heir};

fn semaphore(cx: &Cx, session: &Session, permits: u32) -> Semaphore {
    Semaphore::new(session, &cx.name, permits).expect("a good name")
}

async fn acquired(cx: &Cx, permits: u32) -> (Session, Permit) {
    let session = cx.session().await;
    let permit = semaphore(cx, &session, permits).acquire().await.expect("one is free");
    (session, permit)
}

pub(crate) async fn a_held_permit_is_a_key_that_says_how_many_there_are(cx: Cx) {
    let (session, permit) = acquired(&cx, 3).await;
    let keys = cx.keys().await;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key, format!("{}/sem/3/{:x}-0", cx.name, session.lease()).into_bytes());
    assert_eq!(keys[0].lease, session.lease());
    assert_eq!(keys[0].create_revision, permit.fencing_token());
    assert_eq!(keys[0].key, permit.key());
    permit.release().await.expect("it is held");
    assert!(cx.keys().await.is_empty());
}

/// How many hold at once: of what is passed through, and the most that were seen.
#[derive(Default)]
struct Holders {
    now: Cell<usize>,
    most: Cell<usize>,
}

impl Holders {
    /// Holds the permit for a moment, and looks in etcd whether it was its turn.
    async fn hold(&self, cx: &Cx, permit: Permit, permits: usize) {
        self.now.set(self.now.get() + 1);
        self.most.set(self.most.get().max(self.now.get()));
        assert!(self.now.get() <= permits, "{} hold at once", self.now.get());
        let older = cx.keys().await.iter().filter(|kv| kv.create_revision < permit.fencing_token()).count();
        assert!(older < permits, "granted behind {older} others");
        cx.pause(Duration::from_millis(3)).await;
        self.now.set(self.now.get() - 1);
        permit.release().await.expect("it is held");
    }
}

pub(crate) async fn as_many_hold_as_there_are_permits_and_no_more(cx: Cx) {
    let holders = Holders::default();
    let turns = (0..8).map(|_| async {
        let session = cx.session().await;
        let semaphore = semaphore(&cx, &session, 3);
        for _ in 0..4 {
            let permit = semaphore.acquire().await.expect("its turn comes");
            holders.hold(&cx, permit, 3).await;
        }
    });
    cx.soon("all have their turns", join_all(turns.collect::<Vec<_>>())).await;
    assert_eq!(holders.most.get(), 3, "permits were left unused");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn a_long_line_is_served_beside_one_that_holds_for_long(cx: Cx) {
    let (_session, long) = acquired(&cx, 2).await;
    let holders = Holders::default();
    let turns = (0..24).map(|_| async {
        let session = cx.session().await;
        let permit = semaphore(&cx, &session, 2).acquire().await.expect("its turn comes");
        holders.hold(&cx, permit, 2).await;
    });
    cx.soon("all have their turn", join_all(turns.collect::<Vec<_>>())).await;
    assert_eq!(holders.most.get(), 1, "one permit was taken all the time");
    long.release().await.expect("it is held");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn a_long_line_is_served_beside_one_of_its_middle_that_holds_for_long(cx: Cx) {
    const ALL: usize = 24;
    let (granted, gone) = (Cell::new(0), Cell::new(0));
    let turns = (0..ALL).map(|_| async {
        let session = cx.session().await;
        let permit = semaphore(&cx, &session, 2).acquire().await.expect("its turn comes");
        granted.set(granted.get() + 1);
        // Somebody was five places behind it, and far from the head of the line, when getting in.
        let stays = granted.get() == 12;
        while stays && gone.get() < ALL - 1 {
            cx.pause(Duration::from_millis(3)).await;
        }
        permit.release().await.expect("it is held");
        gone.set(gone.get() + 1);
    });
    cx.soon("all have their turn", join_all(turns.collect::<Vec<_>>())).await;
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn two_permits_of_one_session_are_two(cx: Cx) {
    let (session, one) = acquired(&cx, 2).await;
    let semaphore = semaphore(&cx, &session, 2);
    let other = cx.soon("the second permit", semaphore.acquire()).await.expect("one is free");
    assert!(other.fencing_token() > one.fencing_token());
    assert!(semaphore.try_acquire().await.expect("etcd").is_none());
    one.release().await.expect("it is held");
    assert!(other.confirm().await.expect("etcd"), "the release of one took the other");
}

pub(crate) async fn many_waiters_of_one_session_are_served_in_order(cx: Cx) {
    let session = cx.session().await;
    let semaphore = semaphore(&cx, &session, 3);
    let holders = Holders::default();
    let turns = (0..40).map(|_| async {
        let permit = semaphore.acquire().await.expect("its turn comes");
        holders.hold(&cx, permit, 3).await;
    });
    cx.soon("all have their turn", join_all(turns.collect::<Vec<_>>())).await;
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn of_five_that_try_as_many_win_as_there_are_permits(cx: Cx) {
    let sessions = join_all((0..5).map(|_| cx.session())).await;
    let tries = sessions.iter().map(|session| semaphore(&cx, session, 2));
    let tries = join_all(tries.map(|semaphore| async move { semaphore.try_acquire().await })).await;
    let won: Vec<_> = tries.into_iter().filter_map(|tried| tried.expect("etcd")).collect();
    assert_eq!(won.len(), 2);
    assert_eq!(cx.keys().await.len(), 2, "one that did not win left a key");
}

pub(crate) async fn a_released_permit_goes_to_who_waits_longest(cx: Cx) {
    let (_first, permit) = acquired(&cx, 1).await;
    let (second, third) = (cx.session().await, cx.session().await);
    let (second, third) = (semaphore(&cx, &second, 1), semaphore(&cx, &third, 1));
    let mut second = second.acquire().boxed();
    cx.not_yet("the second one's grant", &mut second).await;
    let mut third = third.acquire().boxed();
    cx.not_yet("the third one's grant", &mut third).await;
    permit.release().await.expect("it is held");
    let permit = cx.soon("the second one's grant", second).await.expect("its turn has come");
    cx.not_yet("the third one's grant", &mut third).await;
    permit.release().await.expect("it is held");
    let _permit = cx.soon("the third one's grant", third).await.expect("its turn has come");
}

pub(crate) async fn a_middle_waiter_that_expires_promotes_nobody(cx: Cx) {
    let (_one, _first) = acquired(&cx, 2).await;
    let (_other, permit) = acquired(&cx, 2).await;
    let (middle, last) = (cx.session().await, cx.session().await);
    let (middle_semaphore, last_semaphore) = (semaphore(&cx, &middle, 2), semaphore(&cx, &last, 2));
    let mut middle_wait = middle_semaphore.acquire().boxed();
    cx.not_yet("the middle one's grant", &mut middle_wait).await;
    let mut last_wait = last_semaphore.acquire().boxed();
    cx.not_yet("the last one's grant", &mut last_wait).await;
    cx.revoke(middle.lease()).await;
    let told = cx.soon("the middle one is told", middle_wait).await;
    assert!(matches!(told, Err(Error::NotHeld | Error::SessionLost)), "{told:?}");
    cx.not_yet("the last one's grant", &mut last_wait).await;
    permit.release().await.expect("it is held");
    let _permit = cx.soon("the last one's grant", last_wait).await.expect("its turn has come");
}

pub(crate) async fn a_crashed_holders_permits_are_freed(cx: Cx) {
    let crashed = cx.session_of(Duration::from_secs(1)).await;
    let holder = semaphore(&cx, &crashed, 2);
    let held = [holder.acquire().await.expect("free"), holder.acquire().await.expect("free")];
    // A process that dies renews no more and releases nothing.
    crashed.orphan();
    let next = cx.session().await;
    let next = semaphore(&cx, &next, 2);
    let mut one = next.acquire().boxed();
    cx.not_yet("the grant", &mut one).await;
    let _one = cx.soon("the grant", one).await.expect("its turn has come");
    let _other = cx.soon("the grant of the other", next.acquire()).await.expect("its turn has come");
    assert!(held.iter().all(|permit| !permit.is_held()));
    held.into_iter().for_each(std::mem::forget);
}

pub(crate) async fn a_waiter_that_gives_up_leaves_no_key(cx: Cx) {
    let (_session, permit) = acquired(&cx, 1).await;
    let waiter = cx.session().await;
    let waiting = semaphore(&cx, &waiter, 1);
    let outcome = waiting.acquire_timeout(Duration::from_millis(100)).await;
    assert_eq!(outcome.err(), Some(Error::Timeout));
    {
        let mut waits = waiting.acquire().boxed();
        cx.not_yet("the grant", &mut waits).await;
    }
    cx.until_keys(1).await;
    permit.release().await.expect("it is held");
    let _permit = waiting.acquire().await.expect("it is free, and the session as good as new");
}

pub(crate) async fn dropping_the_permit_releases(cx: Cx) {
    let (_session, permit) = acquired(&cx, 1).await;
    let tenure = permit.tenure();
    drop(permit);
    assert!(!tenure.is_held());
    cx.until_keys(0).await;
}

pub(crate) async fn a_guarded_transaction_commits_only_while_held(cx: Cx) {
    let (_one, _older) = acquired(&cx, 2).await;
    let (_other, permit) = acquired(&cx, 2).await;
    let target = format!("{}.target", cx.name);
    permit.txn([Op::Put(Put::new(&*target, "1"))]).await.expect("it is held, beside an older one");
    cx.delete(permit.key()).await;
    let late = permit.txn([Op::Put(Put::new(&*target, "2"))]).await;
    assert_eq!(late.err(), Some(Error::NotHeld));
    assert_eq!(cx.below(&target).await[0].value, b"1");
}

pub(crate) async fn a_permit_of_an_earlier_process_of_the_lease_is_another(cx: Cx) {
    let (first, permit) = acquired(&cx, 2).await;
    let lease = first.lease();
    first.orphan();
    std::mem::forget(permit);
    let heir = heir(&cx.etcd, lease).await;
    let semaphore = semaphore(&cx, &heir, 2);
    let permit = semaphore.acquire().await.expect("one is free");
    assert_eq!(cx.keys().await.len(), 2);
    assert!(semaphore.try_acquire().await.expect("etcd").is_none(), "the earlier one's still counts");
    permit.release().await.expect("it is held");
    assert_eq!(cx.keys().await.len(), 1, "the earlier one's is not this one's to release");
}

pub(crate) async fn users_that_disagree_on_the_permits_are_told(cx: Cx) {
    let (_session, permit) = acquired(&cx, 2).await;
    let session = cx.session().await;
    let wider = semaphore(&cx, &session, 5);
    let differ = Some(Error::PermitsDiffer { name: cx.name.clone(), ours: 5, theirs: 2 });
    assert_eq!(wider.acquire().await.err(), differ);
    assert_eq!(wider.try_acquire().await.err(), differ);
    cx.until_keys(1).await;
    permit.release().await.expect("it is held");
    let _permit = wider.acquire().await.expect("the old number is forgotten");
}

pub(crate) async fn a_mutex_on_the_same_name_is_reported(cx: Cx) {
    let (session, permit) = acquired(&cx, 1).await;
    let other = cx.session().await;
    let mutex = Mutex::new(&other, &cx.name).expect("a good name");
    let told = mutex.lock().await.err();
    assert!(matches!(told, Some(Error::ForeignKey { .. })), "{told:?}");
    cx.until_keys(1).await;
    permit.release().await.expect("it is held");
    let _guard = mutex.lock().await.expect("it is free");
    let told = semaphore(&cx, &session, 1).acquire().await.err();
    assert!(matches!(told, Some(Error::ForeignKey { .. })), "{told:?}");
}

pub(crate) async fn a_compaction_while_waiting_harms_nobody(cx: Cx) {
    let (_session, permit) = acquired(&cx, 1).await;
    let waiter = cx.session().await;
    let waiting = semaphore(&cx, &waiter, 1);
    let mut waits = waiting.acquire().boxed();
    cx.not_yet("the grant", &mut waits).await;
    for _ in 0..20 {
        cx.put(&format!("{}.noise", cx.name), "x").await;
    }
    cx.compact().await;
    let (released, granted) = both(permit.release(), cx.soon("the grant", waits)).await;
    released.expect("it is held");
    granted.expect("its turn has come").release().await.expect("it is held");
}

pub(crate) async fn without_permits_it_is_refused(cx: Cx) {
    let session = cx.session().await;
    let refused = Semaphore::new(&session, &cx.name, 0).err();
    assert!(matches!(refused, Some(Error::InvalidArgument { .. })), "{refused:?}");
    let refused = Semaphore::new(&session, "a/", 1).err();
    assert!(matches!(refused, Some(Error::InvalidName { .. })), "{refused:?}");
}
