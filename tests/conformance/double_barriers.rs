//! What the double barrier promises.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tenure::kv::{DeleteRange, Op, Request, Txn};
use tenure::{Departure, DoubleBarrier, Error, Session};

use crate::cx::{Cx, both};
use crate::lossy::{Fate, Lossy};

fn barrier(cx: &Cx, session: &Session, count: usize) -> DoubleBarrier {
    DoubleBarrier::new(session, &cx.name, count).expect("a good name")
}

/// As many sessions as members, each with the barrier.
async fn members(cx: &Cx, count: usize) -> Vec<(Session, DoubleBarrier)> {
    join_all((0..count).map(|_| async {
        let session = cx.session().await;
        let barrier = barrier(cx, &session, count);
        (session, barrier)
    }))
    .await
}

fn is_broken<T>(entered: &Result<T, Error>) -> bool {
    matches!(entered, Err(Error::BarrierBroken { .. }))
}

pub(crate) async fn nobody_is_in_before_all_are_there_nor_on_before_all_are_out(cx: Cx) {
    let members = members(&cx, 5).await;
    let (last, first) = members.split_last().expect("five");
    let mut entering = join_all(first.iter().map(|(_, barrier)| barrier.enter())).boxed();
    cx.not_yet("going in", &mut entering).await;
    let (entered, last) = cx.soon("all go in", both(entering, last.1.enter())).await;
    let mut entered: Vec<_> = entered.into_iter().map(|entered| entered.expect("all are there")).collect();
    entered.push(last.expect("all are there"));
    assert!(entered.iter().all(|member| member.is_held() && member.round() == entered[0].round()));
    let last = entered.pop().expect("five");
    let mut leaving = join_all(entered.into_iter().map(tenure::Entered::leave)).boxed();
    cx.not_yet("going on", &mut leaving).await;
    let (left, last) = cx.soon("all go on", both(leaving, last.leave())).await;
    assert!(left.into_iter().chain([last]).all(|left| left == Ok(Departure::Everyone)));
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn it_is_used_round_after_round_by_the_swift_and_the_slow(cx: Cx) {
    let members = members(&cx, 3).await;
    let rounds = members.iter().enumerate().map(|(slowness, (_, barrier))| {
        let cx = &cx;
        async move {
            let mut rounds = Vec::new();
            for _ in 0..8 {
                let entered = barrier.enter().await.expect("all come");
                rounds.push(entered.round());
                cx.pause(Duration::from_millis(4 * slowness as u64)).await;
                assert_eq!(entered.leave().await, Ok(Departure::Everyone));
            }
            rounds
        }
    });
    let rounds = cx.soon("all rounds", join_all(rounds)).await;
    assert!(rounds[0].is_sorted() && rounds[0] == rounds[1] && rounds[0] == rounds[2], "{rounds:?}");
}

pub(crate) async fn more_than_count_are_refused(cx: Cx) {
    let (members, more) = (members(&cx, 2).await, cx.session().await);
    let more = barrier(&cx, &more, 2);
    let full = Error::BarrierFull { name: cx.name.clone(), count: 2 };
    let (one, other) = cx.soon("both go in", both(members[0].1.enter(), members[1].1.enter())).await;
    let (one, other) = (one.expect("all are there"), other.expect("all are there"));
    assert_eq!(more.enter().await.map(drop), Err(full.clone()));
    let mut leaving = one.leave().boxed();
    cx.not_yet("going on", &mut leaving).await;
    // One place is free, but the round is not over (etcd 14603).
    assert_eq!(more.enter().await.map(drop), Err(full));
    let left = cx.soon("both go on", both(leaving, other.leave())).await;
    assert_eq!(left, (Ok(Departure::Everyone), Ok(Departure::Everyone)));
    assert!(matches!(more.enter_timeout(Duration::from_millis(50)).await.map(drop), Err(Error::Timeout)));
    assert!(DoubleBarrier::new(&members[0].0, &cx.name, 0).is_err());
    assert!(DoubleBarrier::new(&members[0].0, &cx.name, DoubleBarrier::MOST_MEMBERS + 1).is_err());
}

pub(crate) async fn of_more_who_come_at_once_only_count_go_in(cx: Cx) {
    let sessions = join_all((0..6).map(|_| cx.session())).await;
    let barriers: Vec<_> = sessions.iter().map(|session| barrier(&cx, session, 4)).collect();
    let entered = cx.soon("all are told", join_all(barriers.iter().map(DoubleBarrier::enter))).await;
    let full = entered.iter().filter(|entered| matches!(entered, Err(Error::BarrierFull { .. }))).count();
    assert_eq!((entered.iter().filter(|entered| entered.is_ok()).count(), full), (4, 2), "{entered:?}");
}

pub(crate) async fn one_who_waited_and_crashes_frees_the_others_at_once(cx: Cx) {
    let members = members(&cx, 3).await;
    let mut waiting = both(members[0].1.enter(), members[1].1.enter()).boxed_local();
    cx.not_yet("going in", &mut waiting).await;
    cx.revoke(members[1].0.lease()).await;
    let (freed, crashed) = cx.soon("both are told", waiting).await;
    assert!(is_broken(&freed), "{freed:?}");
    assert!(is_broken(&crashed) || matches!(crashed, Err(Error::SessionLost)), "{crashed:?}");
    cx.until_keys(0).await;
    let replacement = cx.session().await;
    let third = barrier(&cx, &replacement, 3);
    let again = join_all([&members[0].1, &members[2].1, &third].map(DoubleBarrier::enter));
    assert!(cx.soon("all go in", again).await.iter().all(Result::is_ok));
}

pub(crate) async fn one_who_gives_up_frees_the_others_at_once(cx: Cx) {
    let members = members(&cx, 3).await;
    let mut waiting = members[0].1.enter().boxed();
    cx.not_yet("going in", &mut waiting).await;
    assert!(matches!(members[1].1.enter_timeout(Duration::from_millis(100)).await, Err(Error::Timeout)));
    assert!(is_broken(&cx.soon("the other is told", waiting).await));
    cx.until_keys(0).await;
}

pub(crate) async fn one_who_crashes_inside_is_told_of_when_leaving(cx: Cx) {
    let members = members(&cx, 3).await;
    let entered = cx.soon("all go in", join_all(members.iter().map(|(_, barrier)| barrier.enter()))).await;
    let mut entered: Vec<_> = entered.into_iter().map(|entered| entered.expect("all are there")).collect();
    let crashed = entered.pop().expect("three");
    let mut leaving = join_all(entered.into_iter().map(tenure::Entered::leave)).boxed();
    cx.not_yet("going on", &mut leaving).await;
    cx.revoke(members[2].0.lease()).await;
    assert_eq!(cx.soon("both go on", leaving).await, [Ok(Departure::Crashed(1)), Ok(Departure::Crashed(1))]);
    cx.soon("the crashed one is told", crashed.lost()).await;
    assert!(matches!(crashed.leave().await, Err(Error::SessionLost | Error::NotHeld)));
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn a_round_that_all_crashed_in_is_closed_by_the_next(cx: Cx) {
    let crashing = members(&cx, 2).await;
    let entered = cx.soon("all go in", join_all(crashing.iter().map(|(_, barrier)| barrier.enter()))).await;
    assert!(entered.iter().all(Result::is_ok));
    for (session, _) in &crashing {
        cx.revoke(session.lease()).await;
    }
    assert_eq!(cx.keys().await.len(), 1, "the barrier is open, and nobody inside");
    let next = members(&cx, 2).await;
    let mut first = next[0].1.enter().boxed();
    cx.not_yet("going in", &mut first).await;
    let (one, other) = cx.soon("both go in", both(first, next[1].1.enter())).await;
    assert!(one.is_ok() && other.is_ok());
}

pub(crate) async fn the_keys_are_those_of_gos_recipe(cx: Cx) {
    let (session, lease) = (cx.session().await, cx.session().await);
    let barrier = barrier(&cx, &session, 2);
    let mut entering = barrier.enter().boxed();
    cx.not_yet("going in", &mut entering).await;
    let keys = cx.keys().await;
    assert_eq!(keys.len(), 1);
    assert!(keys[0].key.starts_with(format!("{}/waiters/", cx.name).as_bytes()));
    assert_eq!(keys[0].lease, session.lease());
    // As the second, Go's, does.
    let go = format!("{}/waiters/1700000000000000000", cx.name);
    let put = tenure::kv::Put::new(&*go, "").lease(lease.lease());
    cx.raw(Request::Txn(Txn::new().and_then([Op::Put(put)]))).await;
    cx.put(&format!("{}/ready", cx.name), "").await;
    let entered = cx.soon("going in", entering).await.expect("Go's opens the barrier");
    let mut leaving = entered.leave().boxed();
    cx.not_yet("going on", &mut leaving).await;
    cx.raw(Request::Txn(Txn::new().and_then([Op::Delete(DeleteRange::key(&*go))]))).await;
    let left = cx.soon("going on", leaving).await;
    assert_eq!(left, Ok(Departure::Crashed(1)), "Go's members do not tell that they leave");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn lost_answers_and_a_compaction_let_nobody_in_early_or_keep_anybody(cx: Cx) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session_of(Duration::from_secs(5)).await;
    let (one, other) = (barrier(&cx, &session, 2), barrier(&cx, &cx.session().await, 2));
    for fate in [Fate::AnswerLost, Fate::Late] {
        lossy.next([fate]);
        let mut entering = one.enter().boxed();
        cx.not_yet("going in", &mut entering).await;
        cx.compact().await;
        let (entered, second) = cx.soon("both go in", both(entering, other.enter())).await;
        lossy.next([fate]);
        let left = both(entered.expect("all are there").leave(), second.expect("all are there").leave());
        assert_eq!(
            cx.soon("both go on", left).await,
            (Ok(Departure::Everyone), Ok(Departure::Everyone)),
            "{fate:?}"
        );
        // And the one that opens the barrier.
        let mut second = other.enter().boxed();
        cx.not_yet("going in", &mut second).await;
        lossy.next([Fate::Answered, fate]);
        let (entered, second) = cx.soon("both go in", both(one.enter(), second)).await;
        let left = both(entered.expect("all are there").leave(), second.expect("all are there").leave());
        assert_eq!(
            cx.soon("both go on", left).await,
            (Ok(Departure::Everyone), Ok(Departure::Everyone)),
            "{fate:?}"
        );
        if fate == Fate::Late {
            lossy.arrives(&cx).await;
        }
        assert!(cx.keys().await.is_empty(), "{fate:?}");
    }
}
