//! What the priority queue promises beyond what the queue does.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tenure::{Error, PriorityQueue, Session};

use crate::cx::Cx;
use crate::lossy::{Fate, Lossy};

fn queue(cx: &Cx, session: &Session) -> PriorityQueue {
    PriorityQueue::new(session, &cx.name).expect("a good name")
}

async fn queue_of_its_own(cx: &Cx) -> PriorityQueue {
    queue(cx, &cx.session().await)
}

async fn lossy(cx: &Cx) -> (Lossy, PriorityQueue) {
    let lossy = Lossy::new(&cx.etcd);
    let session = lossy.session_of(Duration::from_secs(5)).await;
    (lossy, queue(cx, &session))
}

async fn dequeue(cx: &Cx, queue: &PriorityQueue) -> String {
    let item = cx.soon("an item", queue.dequeue()).await.expect("etcd");
    String::from_utf8(item).expect("text")
}

pub(crate) async fn the_lowest_number_comes_first_and_equals_in_order(cx: Cx) {
    let (one, other) = (queue_of_its_own(&cx).await, queue_of_its_own(&cx).await);
    one.enqueue(7, "7 first").await.expect("etcd");
    other.enqueue(u16::MAX, "last").await.expect("etcd");
    other.enqueue_all(7, ["7 second", "7 third"]).await.expect("etcd");
    one.enqueue(7, "7 fourth").await.expect("etcd");
    other.enqueue(0, "0").await.expect("etcd");
    for expected in ["0", "7 first", "7 second"] {
        assert_eq!(dequeue(&cx, &one).await, expected);
    }
    let claim = other.claim().await.expect("etcd");
    assert_eq!(claim.value(), b"7 third");
    let batch = one.dequeue_batch(10).await.expect("etcd");
    assert_eq!(batch, [b"7 fourth".to_vec(), b"last".to_vec()]);
    claim.ack().await.expect("it is held");
    assert!(cx.keys().await.is_empty());
}

pub(crate) async fn the_keys_are_those_of_gos_recipe(cx: Cx) {
    let queue = queue_of_its_own(&cx).await;
    let key = |number: u64| format!("{}/00003/{number:016}", cx.name);
    cx.put(&key(41), "Go's").await;
    queue.enqueue(3, "ours").await.expect("etcd");
    let keys: Vec<_> = cx.keys().await.into_iter().map(|kv| kv.key).collect();
    assert_eq!(keys, [key(41).into_bytes(), key(42).into_bytes()]);
    let bookkeeping = format!("__{}/00003", cx.name);
    let written = cx.below(&bookkeeping).await;
    assert_eq!((written.len(), written[0].lease), (1, 0));
    // As Go's next enqueueing does.
    cx.put(&bookkeeping, "").await;
    cx.put(&key(43), "Go's").await;
    queue.enqueue(3, "ours").await.expect("etcd");
    assert_eq!(cx.keys().await.last().map(|kv| kv.key.clone()), Some(key(44).into_bytes()));
    cx.put(&format!("{}/00003/x", cx.name), "").await;
    cx.put(&bookkeeping, "").await;
    assert!(matches!(queue.enqueue(3, "ours").await, Err(Error::ForeignKey { .. })));
}

pub(crate) async fn producers_of_one_priority_share_no_number(cx: Cx) {
    let queues = join_all((0..4).map(|_| queue_of_its_own(&cx))).await;
    let producers = queues.iter().map(|queue| async move {
        for n in 0..10 {
            queue.enqueue(1, n.to_string()).await.expect("etcd");
        }
    });
    cx.soon("all are there", join_all(producers)).await;
    assert_eq!(cx.keys().await.len(), 40);
}

pub(crate) async fn what_comes_while_a_consumer_looks_is_not_overtaken(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    let other = queue_of_its_own(&cx).await;
    other.enqueue(5, "5").await.expect("etcd");
    lossy.next([Fate::Stuck]);
    let mut first = queue.dequeue().boxed();
    cx.not_yet("an item", &mut first).await;
    other.enqueue(4, "4").await.expect("etcd");
    assert_eq!(cx.soon("an item", first).await.expect("etcd"), b"4");
    lossy.arrives(&cx).await;
    assert_eq!(dequeue(&cx, &queue).await, "5", "the late one took it, and nobody has it");
}

pub(crate) async fn lost_answers_double_nothing(cx: Cx) {
    let (lossy, queue) = lossy(&cx).await;
    for fate in [Fate::AnswerLost, Fate::Late] {
        lossy.next([fate]);
        queue.enqueue(1, "once").await.expect("etcd");
        lossy.next([fate]);
        assert_eq!(dequeue(&cx, &queue).await, "once");
        if fate == Fate::Late {
            lossy.arrives(&cx).await;
        }
        assert!(cx.keys().await.is_empty(), "{fate:?}");
    }
}
