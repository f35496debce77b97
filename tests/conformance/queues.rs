//! What the queue promises.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tenure::kv::{Op, Put};
use tenure::{Error, Queue, Session};

use crate::cx::{Cx, both};
use crate::lossy::{Fate, Lossy};

fn queue(cx: &Cx, session: &Session) -> Queue {
    Queue::new(session, &cx.name).expect("a good name")
}

async fn queue_of_its_own(cx: &Cx) -> Queue {
    queue(cx, &cx.session().await)
}

async fn lossy(cx: &Cx) -> (Lossy, Queue) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session_of(Duration::from_secs(5)).await;
    (lossy, queue(cx, &session))
}

async fn dequeue(cx: &Cx, queue: &Queue) -> String {
    text(cx.soon("an item", queue.dequeue()).await.expect("etcd"))
}

fn text(item: Vec<u8>) -> String {
    String::from_utf8(item).expect("text")
}

/// Item `n` of `of`.
fn item(of: &str, n: usize) -> String {
    format!("{of} {n:03}")
}

pub(crate) async fn items_come_out_in_order_of_arrival(cx: Cx) {
    let (one, other) = (queue_of_its_own(&cx).await, queue_of_its_own(&cx).await);
    one.enqueue("first").await.expect("etcd");
    other.enqueue_all((0..120).map(|n| item("batch", n))).await.expect("etcd");
    one.enqueue("last").await.expect("etcd");
    assert_eq!(one.count().await.expect("etcd"), 122);
    assert_eq!(dequeue(&cx, &other).await, "first");
    for n in 0..20 {
        assert_eq!(dequeue(&cx, if n % 2 == 0 { &one } else { &other }).await, item("batch", n));
    }
    let mut n = 20;
    while n < 120 {
        for got in cx.soon("a batch", other.dequeue_batch(40)).await.expect("etcd") {
            assert_eq!(text(got), if n < 120 { item("batch", n) } else { "last".to_owned() });
            n += 1;
        }
    }
    let rest = cx.soon("the rest", one.try_dequeue()).await.expect("etcd").map(text);
    assert!(rest.is_none_or(|rest| rest == "last"));
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn an_item_is_a_key_below_the_name_that_no_lease_ends(cx: Cx) {
    let session = cx.session().await;
    let queue = queue(&cx, &session);
    queue.enqueue("kept").await.expect("etcd");
    session.close().await.expect("etcd");
    let keys = cx.keys().await;
    assert_eq!(keys.len(), 1);
    assert!(keys[0].key.starts_with(format!("{}/", cx.name).as_bytes()));
    assert_eq!((&*keys[0].value, keys[0].lease), (&b"kept"[..], 0));
}

pub(crate) async fn items_of_gos_recipe_are_items(cx: Cx) {
    // By its producers' clocks, which do not agree: the order is etcd's.
    cx.put(&format!("{}/1700000000000000002", cx.name), "one").await;
    cx.put(&format!("{}/1700000000000000001", cx.name), "two").await;
    cx.put(&format!("{}2/1700000000000000000", cx.name), "another queue's").await;
    let queue = queue_of_its_own(&cx).await;
    assert_eq!(dequeue(&cx, &queue).await, "one");
    let claim = queue.claim().await.expect("etcd");
    assert_eq!(claim.value(), b"two");
    claim.ack().await.expect("it is held");
    assert_eq!(queue.try_dequeue().await.expect("etcd"), None);
}

pub(crate) async fn each_item_is_given_to_one_of_many_consumers(cx: Cx) {
    let given = RefCell::new(Vec::new());
    let queues = join_all((0..4).map(|_| queue_of_its_own(&cx))).await;
    let consumers = queues.iter().flat_map(|queue| {
        (0..3).map(|_| async {
            while let Ok(item) = queue.dequeue_timeout(Duration::from_secs(2)).await {
                given.borrow_mut().push(text(item));
            }
        })
    });
    let producers = queues.iter().enumerate().map(|(producer, queue)| async move {
        for n in 0..20 {
            queue.enqueue(item(&producer.to_string(), n)).await.expect("etcd");
        }
    });
    let consumers = join_all(consumers.collect::<Vec<_>>());
    let producers = join_all(producers.collect::<Vec<_>>());
    cx.soon("all is consumed", both(consumers, producers)).await;
    let mut given = given.into_inner();
    assert_eq!(given.len(), 80);
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 80, "one was given twice");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn many_who_wait_share_a_watch_and_read_nothing(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    let mut waiting = join_all((0..50).map(|_| queue.dequeue())).boxed();
    cx.not_yet("an item", &mut waiting).await;
    let before = lossy.asked();
    assert_eq!(before.watches, 2, "one of items, one of claims");
    cx.not_yet("an item", &mut waiting).await;
    assert_eq!(lossy.asked(), before, "somebody polls");
    let other = queue_of_its_own(&cx).await;
    other.enqueue_all((0..50).map(|n| item("item", n))).await.expect("etcd");
    let mut given: Vec<_> =
        cx.soon("all items", waiting).await.into_iter().map(|item| text(item.expect("etcd"))).collect();
    given.sort();
    assert_eq!(given, (0..50).map(|n| item("item", n)).collect::<Vec<_>>());
}

pub(crate) async fn waiting_ends_with_an_item_the_limit_or_the_session(cx: Cx) {
    let session = cx.session().await;
    let (waiting, other) = (queue(&cx, &session), queue_of_its_own(&cx).await);
    assert_eq!(waiting.try_dequeue().await.expect("etcd"), None);
    assert!(waiting.try_claim().await.expect("etcd").is_none());
    assert_eq!(waiting.dequeue_timeout(Duration::from_millis(50)).await, Err(Error::Timeout));
    assert_eq!(waiting.claim_timeout(Duration::from_millis(50)).await.map(drop), Err(Error::Timeout));
    let mut item = waiting.dequeue().boxed();
    cx.not_yet("an item", &mut item).await;
    cx.compact().await;
    other.enqueue("here").await.expect("etcd");
    assert_eq!(cx.soon("an item", item).await.expect("etcd"), b"here");
    let mut item = waiting.dequeue().boxed();
    cx.not_yet("an item", &mut item).await;
    cx.revoke(session.lease()).await;
    assert_eq!(cx.soon("the end", item).await, Err(Error::SessionLost));
}

pub(crate) async fn an_enqueue_whose_answer_was_lost_is_one_item(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    for fates in
        [vec![Fate::AnswerLost], vec![Fate::Late], vec![Fate::AnswerLost, Fate::AnswerLost, Fate::Late]]
    {
        let late = fates.contains(&Fate::Late);
        lossy.next(fates.clone());
        queue.enqueue("once").await.expect("etcd");
        lossy.next([]);
        assert_eq!(cx.keys().await.len(), 1, "{fates:?}");
        assert_eq!(dequeue(&cx, &queue).await, "once");
        if late {
            lossy.arrives(&cx).await;
        }
        assert!(cx.keys().await.is_empty(), "{fates:?}: a late try enqueued it again");
    }
}

pub(crate) async fn a_dequeue_whose_answer_was_lost_gives_its_item(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    for fate in [Fate::AnswerLost, Fate::Late] {
        queue.enqueue_all(["one", "two"]).await.expect("etcd");
        lossy.next([fate]);
        assert_eq!(dequeue(&cx, &queue).await, "one", "{fate:?}");
        if fate == Fate::Late {
            lossy.arrives(&cx).await;
        }
        assert_eq!(dequeue(&cx, &queue).await, "two", "{fate:?}");
    }
}

pub(crate) async fn a_dequeue_given_up_half_way_leaves_its_item_to_the_next(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    queue.enqueue_all(["one", "two"]).await.expect("etcd");
    lossy.next([Fate::Stuck]);
    let given_up = queue.dequeue_timeout(Duration::from_millis(100)).await;
    assert_eq!(given_up, Err(Error::Timeout));
    lossy.arrives(&cx).await;
    assert_eq!(cx.keys().await.len(), 1, "it was taken after all");
    assert_eq!(dequeue(&cx, &queue.clone()).await, "one");
    assert_eq!(dequeue(&cx, &queue).await, "two");
}

pub(crate) async fn what_stood_against_a_dequeue_given_up_is_not_told_to_the_next(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    queue.enqueue("one").await.expect("etcd");
    lossy.next([Fate::RefusedLate]);
    let given_up = queue.dequeue_timeout(Duration::from_millis(100)).await;
    assert_eq!(given_up, Err(Error::Timeout));
    assert_eq!(dequeue(&cx, &queue).await, "one");
}

pub(crate) async fn a_claimed_item_is_nobody_elses_until_it_is_given_back(cx: Cx) {
    let (one, other) = (queue_of_its_own(&cx).await, queue_of_its_own(&cx).await);
    one.enqueue_all(["a", "b", "c"]).await.expect("etcd");
    let a = one.claim().await.expect("etcd");
    assert_eq!(a.value(), b"a");
    let b = other.claim().await.expect("etcd");
    assert_eq!(b.value(), b"b");
    assert_eq!(dequeue(&cx, &other).await, "c");
    assert_eq!(other.try_dequeue().await.expect("etcd"), None, "the rest is claimed");
    assert!(a.is_held() && one.count().await.expect("etcd") == 2);
    let mut waiting = one.claim().boxed();
    cx.not_yet("an item", &mut waiting).await;
    let token = b.fencing_token();
    b.give_back().await.expect("it is held");
    let again = cx.soon("an item", waiting).await.expect("etcd");
    assert_eq!(again.value(), b"b");
    assert!(again.fencing_token() > token);
    drop((a, again));
    cx.soon("both are back, in their places", async {
        while other.try_claim().await.expect("etcd").is_none_or(|first| first.value() != b"a") {
            cx.pause(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) async fn a_consumers_crash_gives_its_item_back(cx: Cx) {
    let session = cx.session().await;
    let (crashing, other) = (queue(&cx, &session), queue_of_its_own(&cx).await);
    other.enqueue("work").await.expect("etcd");
    let claim = crashing.claim().await.expect("etcd");
    let mut waiting = other.claim().boxed();
    cx.not_yet("an item", &mut waiting).await;
    cx.revoke(session.lease()).await;
    let second = cx.soon("the item", waiting).await.expect("etcd");
    cx.soon("the first is told", claim.lost()).await;
    assert!(matches!(claim.ack().await, Err(Error::SessionLost | Error::NotHeld)));
    second.ack().await.expect("it is held");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn who_acknowledges_what_is_no_longer_claimed_is_told(cx: Cx) {
    let (one, other) = (queue_of_its_own(&cx).await, queue_of_its_own(&cx).await);
    one.enqueue("work").await.expect("etcd");
    let claim = one.claim().await.expect("etcd");
    // As somebody who means to help does.
    let key = format!("__{}\0claim/{}", cx.name, text(claim.key()[cx.name.len() + 1..].to_vec()));
    cx.delete(key.as_bytes()).await;
    let second = other.claim().await.expect("etcd");
    assert_eq!(claim.ack().await, Err(Error::NotHeld));
    assert!(second.is_held());
    // As a consumer of Go's recipe does.
    cx.delete(second.key()).await;
    assert_eq!(second.ack().await, Err(Error::NotHeld));
    cx.until_below(&format!("__{}\0claim/", cx.name), 0).await;
}

pub(crate) async fn an_acknowledgement_and_its_work_are_one_transaction(cx: Cx) {
    let (lossy, one) = lossy(&cx).await;
    one.enqueue_all(["one", "two"]).await.expect("etcd");
    let done = format!("{}.done", cx.name);
    let work = |value: &str| [Op::Put(Put::new(&*done, value))];
    let claim = one.claim().await.expect("etcd");
    lossy.next([Fate::AnswerLost]);
    claim.ack_with(work("one")).await.expect("it is held");
    assert_eq!(cx.below(&done).await[0].value, b"one");
    let claim = one.claim().await.expect("etcd");
    cx.delete(claim.key()).await;
    assert_eq!(claim.ack_with(work("two")).await, Err(Error::NotHeld));
    assert_eq!(cx.below(&done).await[0].version, 1, "it was done all the same");
}

pub(crate) async fn a_claim_whose_answer_was_lost_is_ones_own(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    queue.enqueue("work").await.expect("etcd");
    for fate in [Fate::AnswerLost, Fate::Late] {
        lossy.next([fate]);
        let claim = cx.soon("the claim", queue.claim()).await.expect("etcd");
        claim.give_back().await.expect("it is held");
        if fate == Fate::Late {
            lossy.arrives(&cx).await;
        }
        let claims = cx.below(&format!("__{}\0claim/", cx.name)).await;
        assert!(claims.is_empty(), "{fate:?}: nobody knows of {claims:?}");
    }
}

pub(crate) async fn a_claim_given_up_half_way_gives_its_item_back(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    let other = queue_of_its_own(&cx).await;
    queue.enqueue("work").await.expect("etcd");
    lossy.next([Fate::Stuck]);
    assert_eq!(queue.claim_timeout(Duration::from_millis(100)).await.map(drop), Err(Error::Timeout));
    lossy.arrives(&cx).await;
    let mut waiting = other.claim().boxed();
    cx.not_yet("the item", &mut waiting).await;
    let claim = cx.soon("the item", waiting).await.expect("etcd");
    claim.ack().await.expect("it is held");
}

pub(crate) async fn a_batch_is_no_larger_than_a_transaction(cx: Cx) {
    let queue = queue_of_its_own(&cx).await;
    let too_many = (0..=Queue::MOST_ENQUEUED).map(|n| item("item", n));
    assert!(matches!(queue.enqueue_all(too_many).await, Err(Error::InvalidArgument { .. })));
    queue.enqueue_all((0..Queue::MOST_ENQUEUED).map(|n| item("item", n))).await.expect("they fit");
    let taken = queue.dequeue_batch(usize::MAX).await.expect("etcd");
    assert_eq!(taken.len(), Queue::MOST_TAKEN);
    queue.enqueue_all(Vec::<Vec<u8>>::new()).await.expect("none is none");
}
