//! What the counter promises.

use futures_util::future::join_all;
use tenure::{Counter, Error, Session};

use crate::cx::{Cx, heir};
use crate::lossy::{Fate, Lossy};

fn counter(cx: &Cx, session: &Session) -> Counter {
    Counter::new(session, &cx.name).expect("a good name")
}

async fn value(cx: &Cx) -> String {
    let keys = cx.keys().await;
    let own = keys.iter().find(|kv| kv.key == cx.name.as_bytes()).expect("the counter is there");
    String::from_utf8(own.value.clone()).expect("digits")
}

pub(crate) async fn an_absent_counter_is_zero_and_counts_from_there(cx: Cx) {
    let session = cx.session().await;
    let counter = counter(&cx, &session);
    assert_eq!(counter.get().await, Ok(0));
    assert!(cx.keys().await.is_empty(), "a read wrote");
    assert_eq!(counter.increment().await, Ok(1));
    assert_eq!(counter.add(41).await, Ok(42));
    assert_eq!(counter.add(-50).await, Ok(-8));
    assert_eq!(counter.get().await, Ok(-8));
    assert_eq!(value(&cx).await, "-8");
}

pub(crate) async fn of_many_increments_none_is_lost_and_none_is_made_twice(cx: Cx) {
    let sessions = join_all((0..4).map(|_| cx.session())).await;
    let handles = sessions.iter().map(|session| counter(&cx, session)).collect::<Vec<_>>();
    // Two tasks of each session, at the same time.
    let tasks = handles.iter().chain(&handles).map(|counter| async move {
        let mut given = Vec::new();
        for _ in 0..5 {
            given.push(counter.clone().increment().await.expect("etcd is there"));
        }
        given
    });
    let given = cx.soon("all have counted", join_all(tasks.collect::<Vec<_>>())).await;
    assert!(given.iter().all(|of_one| of_one.is_sorted()));
    let mut given = given.concat();
    given.sort_unstable();
    assert_eq!(given, (1..=40).collect::<Vec<_>>());
    assert_eq!(handles[0].get().await, Ok(40));
}

pub(crate) async fn what_is_lost_on_the_way_is_counted_once(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session().await;
    for (fates, number) in [
        (vec![Fate::AnswerLost], 1),
        (vec![Fate::Late], 2),
        (vec![Fate::Late, Fate::AnswerLost, Fate::Late], 3),
    ] {
        lossy.next(fates.clone());
        assert_eq!(counter(&cx, &session).increment().await, Ok(number), "{fates:?}");
        assert_eq!(value(&cx).await, number.to_string(), "{fates:?}");
    }
}

pub(crate) async fn what_arrives_late_is_counted_once(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    let session = late.session().await;
    let counter = counter(&cx, &session);
    late.next([Fate::Late]);
    assert_eq!(counter.increment().await, Ok(1));
    // The number's key is gone, as it was when that was sent.
    cx.delete(cx.name.as_bytes()).await;
    late.arrives(&cx).await;
    assert_eq!(counter.get().await, Ok(0), "it was counted twice");
    assert_eq!(counter.increment().await, Ok(1), "the deletion went unnoticed");
}

pub(crate) async fn out_of_its_bounds_nothing_is_added(cx: Cx) {
    let session = cx.session().await;
    let small = Counter::with_bounds(&session, &cx.name, 0..=2).expect("good bounds");
    let out_of = |number, by| Err(Error::OutOfBounds { name: cx.name.clone(), number, by });
    assert_eq!(small.add(3).await, out_of(0, 3));
    assert_eq!(small.add(2).await, Ok(2));
    assert_eq!(small.increment().await, out_of(2, 1));
    assert_eq!(small.get().await, Ok(2));
    // What it remembers is old: it looks again before it refuses.
    assert_eq!(counter(&cx, &session).add(-1).await, Ok(1));
    assert_eq!(small.increment().await, Ok(2));
    let wide = counter(&cx, &session);
    assert_eq!(wide.add(i64::MAX - 2).await, Ok(i64::MAX));
    assert_eq!(wide.increment().await, out_of(i64::MAX, 1));
    assert_eq!(wide.add(i64::MIN).await, Ok(-1));
    let refused = Counter::with_bounds(&session, &cx.name, std::ops::RangeInclusive::new(1, 0)).err();
    assert!(matches!(refused, Some(Error::InvalidArgument { .. })), "{refused:?}");
}

pub(crate) async fn what_is_no_number_is_reported(cx: Cx) {
    cx.put(&cx.name, "many").await;
    let session = cx.session().await;
    let foreign = Err(Error::ForeignValue { name: cx.name.clone() });
    assert_eq!(counter(&cx, &session).increment().await, foreign);
    assert_eq!(counter(&cx, &session).get().await, foreign);
    assert_eq!(value(&cx).await, "many");
}

pub(crate) async fn the_number_outlives_the_session_and_nothing_else_does(cx: Cx) {
    let session = cx.session().await;
    let one = counter(&cx, &session);
    one.increment().await.expect("etcd is there");
    session.close().await.expect("etcd is there");
    assert_eq!(one.increment().await, Err(Error::SessionLost));
    assert_eq!(cx.keys().await.len(), 1);
    assert!(cx.below(&format!("__{}", cx.name)).await.is_empty());
    let session = cx.session().await;
    assert_eq!(counter(&cx, &session).increment().await, Ok(2));
}

pub(crate) async fn an_heir_of_the_lease_counts_by_itself(cx: Cx) {
    let late = Lossy::new(&cx.etcd);
    let first = late.session().await;
    let lease = first.lease();
    let crashing = counter(&cx, &first);
    assert_eq!(crashing.increment().await, Ok(1));
    late.next([Fate::Stuck]);
    let mut on_its_way = Box::pin(crashing.increment());
    cx.not_yet("an answer", &mut on_its_way).await;
    drop(on_its_way);
    first.orphan();
    let heir = heir(&cx.etcd, lease).await;
    let counter = counter(&cx, &heir);
    assert_eq!(counter.increment().await, Ok(2));
    late.arrives(&cx).await;
    assert_eq!(counter.get().await, Ok(2), "what the earlier process sent was overtaken");
    assert_eq!(counter.increment().await, Ok(3));
}

pub(crate) async fn an_heirs_addition_is_not_taken_for_the_earlier_ones(cx: Cx) {
    let first = cx.session().await;
    let lease = first.lease();
    assert_eq!(counter(&cx, &first).increment().await, Ok(1));
    first.orphan();
    let heir = heir(&cx.etcd, lease).await;
    assert_eq!(counter(&cx, &heir).increment().await, Ok(2));
    assert_eq!(value(&cx).await, "2");
}

pub(crate) async fn one_addition_after_another_goes_by_one_receipt_and_takes_one_request(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session().await;
    let counter = counter(&cx, &session);
    for number in 1..=3 {
        assert_eq!(counter.increment().await, Ok(number));
    }
    assert_eq!(lossy.asked().txns, 3);
    let receipts = cx.below(&format!("__{}\0receipt/{:x}.", cx.name, session.lease())).await;
    assert_eq!(receipts.iter().map(|kv| kv.lease).collect::<Vec<_>>(), [session.lease()]);
}
