//! What waiting in line costs, and whom it grants.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{DeleteRange, Request};
use tenure::{Error, Mutex, MutexGuard, Runtime};

use crate::cx::{Cx, both};
use crate::lossy::Lossy;

async fn lossy(cx: &Cx) -> (Lossy, Mutex) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session().await;
    let mutex = Mutex::new(&session, &cx.name).expect("a good name");
    (lossy, mutex)
}

/// The key of one who stands in line and does nothing else. It sorts before those of sessions that etcd names.
fn stranger(cx: &Cx, number: usize) -> String {
    format!("{}/-{number:x}", cx.name)
}

/// So many who stand in line.
async fn strangers(cx: &Cx, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        cx.put(&stranger(cx, number), "").await;
    }
}

async fn leave(cx: &Cx, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        cx.delete(stranger(cx, number).as_bytes()).await;
    }
}

/// Somebody who waits in line, and is not granted yet.
async fn waits<'a>(cx: &Cx, mutex: &'a Mutex) -> BoxFuture<'a, Result<MutexGuard, Error>> {
    let mut waiting = mutex.lock().boxed();
    cx.not_yet("the grant", &mut waiting).await;
    waiting
}

pub(crate) async fn what_is_free_is_taken_with_one_request_and_no_watch(cx: Cx) {
    let (lossy, mutex) = lossy(&cx).await;
    for round in 0..3 {
        let guard = mutex.lock().await.expect("it is free");
        assert_eq!((lossy.asked().txns, lossy.asked().watches), (2 * round + 1, 0));
        guard.release().await.expect("it is held");
    }
}

pub(crate) async fn where_one_had_to_wait_the_watch_is_opened_with_the_next_join(cx: Cx) {
    let (lossy, mutex) = lossy(&cx).await;
    strangers(&cx, 1..=1).await;
    drop(waits(&cx, &mutex).await);
    assert_eq!(lossy.asked().watches, 1);
    assert!(mutex.try_lock().await.expect("etcd is there").is_none());
    assert_eq!(lossy.asked().watches, 1, "who does not wait opened a watch");
    let waiting = waits(&cx, &mutex).await;
    assert_eq!(lossy.asked().watches, 2, "what was opened with the join was not used");
    leave(&cx, 1..=1).await;
    let _held = cx.soon("the grant", waiting).await.expect("its turn has come");
}

pub(crate) async fn who_had_to_wait_before_passes_over_nobody_in_a_long_line(cx: Cx) {
    let (_, mutex) = lossy(&cx).await;
    strangers(&cx, 1..=1).await;
    drop(waits(&cx, &mutex).await);
    cx.until_keys(1).await;
    // One after the other is the first whose list is not whole.
    for last in 8..=11 {
        strangers(&cx, 2..=last).await;
        let mut waiting = mutex.lock().boxed();
        // All but the oldest leave at once, before anybody lists again.
        let leaving = async {
            cx.until_keys(last + 1).await;
            let range_end = stranger(&cx, last + 1).into_bytes();
            let all = DeleteRange { range_end, ..DeleteRange::key(stranger(&cx, 2)) };
            cx.raw(Request::Delete(all)).await;
        };
        both(cx.not_yet("a grant before the oldest has left", &mut waiting), leaving).await;
        drop(waiting);
        cx.until_keys(1).await;
    }
}

pub(crate) async fn who_is_far_back_is_told_of_the_nearest_and_not_of_each_that_leaves(cx: Cx) {
    let (lossy, mutex) = lossy(&cx).await;
    strangers(&cx, 1..=30).await;
    let mut waiting = waits(&cx, &mutex).await;
    let before = lossy.asked();
    assert!(before.most_listed <= 10, "{} were listed", before.most_listed);
    leave(&cx, 1..=10).await;
    leave(&cx, 29..=30).await;
    cx.not_yet("the grant", &mut waiting).await;
    assert_eq!(lossy.asked(), before);
    leave(&cx, 11..=28).await;
    let _held = cx.soon("the grant", waiting).await.expect("its turn has come");
}

pub(crate) async fn who_is_near_is_granted_without_another_look(cx: Cx) {
    let (lossy, mutex) = lossy(&cx).await;
    strangers(&cx, 1..=3).await;
    let mut waiting = mutex.lock().boxed();
    // Until the watch is no longer doubted.
    for _ in 0..2 {
        cx.not_yet("the grant", &mut waiting).await;
    }
    let before = lossy.asked();
    leave(&cx, 1..=2).await;
    cx.not_yet("the grant", &mut waiting).await;
    leave(&cx, 3..=3).await;
    let _held = cx.soon("the grant", waiting).await.expect("its turn has come");
    assert_eq!(lossy.asked(), before);
}

pub(crate) async fn who_loses_its_key_together_with_the_holder_is_not_granted(cx: Cx) {
    let (_, mutex) = lossy(&cx).await;
    strangers(&cx, 1..=1).await;
    let waiting = waits(&cx, &mutex).await;
    // One revision, which tells of the holder first.
    cx.raw(Request::Delete(DeleteRange::prefix(format!("{}/", cx.name)))).await;
    let outcome = cx.soon("the waiter is told", waiting).await;
    assert_eq!(outcome.err(), Some(Error::NotHeld));
}

pub(crate) async fn what_a_young_watch_is_late_to_tell_is_looked_for(cx: Cx) {
    let (lossy, mutex) = lossy(&cx).await;
    strangers(&cx, 1..=1).await;
    // As etcd's watches are when a write comes between the request and its taking in.
    lossy.deafen(cx.revision().await);
    let release = DeleteRange::key(stranger(&cx, 1));
    // The list, the first look, and the second.
    lossy.before_reads([None, None, Some(Request::Delete(release))]);
    let began = cx.etcd.now();
    let _held = cx.soon("the grant", mutex.lock()).await.expect("its turn has come");
    let took = cx.etcd.now().saturating_since(began);
    assert!(took >= Duration::from_millis(80), "it looked twice within {took:?}");
}

pub(crate) async fn a_list_older_than_the_watch_is_made_again_and_then_believed(cx: Cx) {
    let (lossy, mutex) = lossy(&cx).await;
    strangers(&cx, 1..=1).await;
    // As if much had been written between the list and the watch.
    lossy.deafen(cx.revision().await + 1_000_000_000);
    let _waiting = waits(&cx, &mutex).await;
    assert_eq!(lossy.asked().txns, 3, "the join and two lists");
}
