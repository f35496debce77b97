//! The recipes from plain threads, on a real server.
#![allow(missing_docs, clippy::expect_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "the tests themselves run on real threads and tokio")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tenure::kv::{Op, Put};
use tenure::{Departure, Error, Etcd, Session, StmError, blocking};
use tenure_sim::real::{Server, ServerOptions};

/// Runs a test by a server, with sessions whose runtime is on other threads.
fn with_sessions<const N: usize>(test: impl FnOnce([Session; N])) {
    let server = Server::start(&ServerOptions::version("3.7.2")).expect("etcd starts");
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let sessions = tokio.block_on(async {
        let etcd = Etcd::connect([server.endpoint()]).await.expect("the server is there");
        let mut sessions = Vec::new();
        for _ in 0..N {
            sessions.push(Session::builder(&etcd).ttl(Duration::from_secs(10)).open().await.expect("etcd"));
        }
        sessions
    });
    test(sessions.try_into().expect("as many"));
}

#[test]
fn a_thread_waits_at_a_barrier_until_another_releases_it() {
    with_sessions(|[holder, waiter]| {
        let barrier = |session: &Session| {
            blocking::Barrier::new(tenure::Barrier::new(session, "gate").expect("a good name"))
        };
        let hold = barrier(&holder).hold().expect("it is free");
        let released = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier(&waiter).wait().expect("etcd");
                assert!(released.load(Ordering::SeqCst), "it did not wait");
            });
            thread::sleep(Duration::from_millis(200));
            released.store(true, Ordering::SeqCst);
            hold.release().expect("it is held");
        });
        assert_eq!(barrier(&waiter).wait_timeout(Duration::from_millis(50)), Ok(()));
    });
}

#[test]
fn two_threads_go_through_a_double_barrier_together() {
    with_sessions(|sessions: [Session; 2]| {
        thread::scope(|scope| {
            for session in &sessions {
                scope.spawn(move || {
                    let barrier = tenure::DoubleBarrier::new(session, "round", 2).expect("a good name");
                    let entered = blocking::DoubleBarrier::new(barrier).enter().expect("both come");
                    assert_eq!(entered.leave(), Ok(Departure::Everyone));
                });
            }
        });
    });
}

#[test]
fn a_thread_takes_from_a_queue_what_another_puts_there() {
    with_sessions(|[producer, consumer]| {
        let queue = |session: &Session| {
            blocking::Queue::new(tenure::Queue::new(session, "items").expect("a good name"))
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let queue = queue(&consumer);
                assert_eq!(queue.dequeue().expect("etcd"), b"one");
                let claim = queue.claim().expect("etcd");
                assert_eq!(claim.value(), b"two");
                claim.ack().expect("it is held");
                assert_eq!(queue.dequeue_timeout(Duration::from_millis(50)), Err(Error::Timeout));
            });
            let queue = queue(&producer);
            queue.enqueue(b"one".to_vec()).expect("etcd");
            queue.enqueue(b"two".to_vec()).expect("etcd");
        });
        let urgent = blocking::PriorityQueue::new(
            tenure::PriorityQueue::new(&producer, "urgent").expect("a good name"),
        );
        urgent.enqueue(9, b"later".to_vec()).expect("etcd");
        urgent.enqueue(1, b"now".to_vec()).expect("etcd");
        assert_eq!(urgent.dequeue().expect("etcd"), b"now");
        urgent.claim().expect("etcd").give_back().expect("it is held");
        assert_eq!(urgent.dequeue().expect("etcd"), b"later");
    });
}

#[test]
fn what_may_fail_at_once_gives_none_and_what_is_done_at_once_is_one() {
    with_sessions(|[session]| {
        let queue = blocking::Queue::new(tenure::Queue::new(&session, "items").expect("a good name"));
        assert_eq!(queue.try_dequeue(), Ok(None));
        assert!(queue.try_claim().expect("etcd").is_none());
        queue.enqueue_all(vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]).expect("etcd");
        assert_eq!(queue.count(), Ok(3));
        assert_eq!(queue.dequeue_batch(2), Ok(vec![b"one".to_vec(), b"two".to_vec()]));
        let claim = queue.try_claim().expect("etcd").expect("one is left");
        claim.ack_with(vec![Op::Put(Put::new("done", "three"))]).expect("it is held");
        assert_eq!(queue.try_dequeue(), Ok(None));
        let barrier = tenure::DoubleBarrier::new(&session, "round", 1).expect("a good name");
        let entered = blocking::DoubleBarrier::new(barrier).enter().expect("it is enough");
        assert_eq!(entered.leave_timeout(Duration::from_secs(5)), Ok(Departure::Everyone));
    });
}

#[test]
fn no_two_threads_hold_the_one_permit() {
    with_sessions(|sessions: [Session; 2]| {
        let inside = AtomicBool::new(false);
        thread::scope(|scope| {
            for session in &sessions {
                scope.spawn(|| {
                    let semaphore = tenure::Semaphore::new(session, "slots", 1).expect("a good name");
                    let semaphore = blocking::Semaphore::from(semaphore);
                    for _ in 0..5 {
                        let permit = semaphore.acquire().expect("etcd");
                        assert!(!inside.swap(true, Ordering::SeqCst), "another holds it, too");
                        assert!(semaphore.try_acquire().expect("etcd").is_none());
                        inside.store(false, Ordering::SeqCst);
                        permit.release().expect("it is held");
                    }
                });
            }
        });
    });
}

#[test]
fn threads_count_and_move_money_and_nothing_is_lost() {
    with_sessions(|sessions: [Session; 2]| {
        thread::scope(|scope| {
            for session in &sessions {
                scope.spawn(move || {
                    let counter = tenure::Counter::new(session, "visits").expect("a good name");
                    let stm = tenure::Stm::new(session, "accounts").expect("a good name");
                    let (counter, stm) = (blocking::Counter::from(counter), blocking::Stm::from(stm));
                    for _ in 0..10 {
                        counter.increment().expect("etcd");
                        stm.run(move_one).expect("it commits");
                    }
                    let aborted = stm.run(|tx| {
                        tx.put("a", "spoilt");
                        Err::<(), _>(StmError::Aborted("no"))
                    });
                    assert_eq!(aborted, Err(StmError::Aborted("no")));
                });
            }
        });
        let counter = tenure::Counter::new(&sessions[0], "visits").expect("a good name");
        assert_eq!(blocking::Counter::new(counter).get(), Ok(20));
        let stm = blocking::Stm::new(tenure::Stm::new(&sessions[0], "accounts").expect("a good name"));
        let both = stm.run(|tx| Ok::<_, StmError<()>>((balance(tx, "a")?, balance(tx, "b")?)));
        assert_eq!(both.expect("it commits").value, (-20, 20));
    });
}

fn balance(tx: &blocking::Transaction, account: &str) -> Result<i64, Error> {
    let value = tx.get(account)?.unwrap_or_else(|| b"0".to_vec());
    Ok(String::from_utf8_lossy(&value).parse().expect("a number"))
}

fn move_one(tx: &blocking::Transaction) -> Result<(), StmError<()>> {
    let (from, to) = (balance(tx, "a")?, balance(tx, "b")?);
    tx.put("a", (from - 1).to_string());
    tx.put("b", (to + 1).to_string());
    Ok(())
}
