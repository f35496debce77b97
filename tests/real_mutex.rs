//! The mutex against a real server where the world is at its worst: contenders in processes of their own, killed holders,
//! a dead endpoint, a server that stands still.

#![cfg(unix)]
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real processes in real time")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tenure::kv::{Op, Put, Range};
use tenure::{Backend, Etcd, Mutex, Runtime, Session};
use tenure_sim::real::{Server, ServerOptions};

const COUNTER: &str = "real/counter";
const NAME: &str = "real/lock";

/// What a child process is to do, and where; the test binary starts itself with these set.
const ROLE: &str = "TENURE_TEST_ROLE";
const ENDPOINT: &str = "TENURE_TEST_ENDPOINT";

const PROCESSES: usize = 4;
const CONTENDERS_EACH: usize = 2;
const TURNS: usize = 300;

fn server() -> Server {
    Server::start(&ServerOptions::default()).expect("etcd starts")
}

fn on_tokio<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("tokio starts")
        .block_on(work)
}

/// This test binary again, in a role, on a server.
fn child(role: &str, endpoint: &str) -> Child {
    Command::new(std::env::current_exe().expect("the test binary"))
        .args(["--exact", "a_child_process_in_its_role", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(ENDPOINT, endpoint)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process starts")
}

/// Does nothing when run as a test: it is what the other tests' child processes run.
#[test]
fn a_child_process_in_its_role() {
    let (Ok(role), Ok(endpoint)) = (std::env::var(ROLE), std::env::var(ENDPOINT)) else { return };
    on_tokio(async {
        let etcd = Etcd::connect([endpoint]).await.expect("etcd");
        match role.as_str() {
            "count" => {
                let contenders = (0..CONTENDERS_EACH).map(|_| tokio::spawn(count(etcd.clone())));
                for contender in contenders.collect::<Vec<_>>() {
                    contender.await.expect("it counts to its end");
                }
            }
            "hold" => {
                let session = Session::builder(&etcd).ttl(Duration::from_secs(2)).open().await.expect("etcd");
                let guard = Mutex::new(&session, NAME).expect("a name").lock().await.expect("it is free");
                println!("holding {}", guard.fencing_token());
                std::future::pending::<()>().await;
            }
            other => panic!("no role {other}"),
        }
    });
}

/// Reads and writes the counter in two steps that only the lock makes one.
async fn count(etcd: Etcd) {
    let session = Session::builder(&etcd).ttl(Duration::from_secs(20)).open().await.expect("etcd");
    let mutex = Mutex::new(&session, NAME).expect("a name");
    for _ in 0..TURNS {
        let guard = mutex.lock().await.expect("its turn comes");
        let next = counter(&etcd).await + 1;
        guard.txn([Op::Put(Put::new(COUNTER, next.to_string()))]).await.expect("it is held");
        guard.release().await.expect("it is held");
    }
}

async fn counter(etcd: &Etcd) -> usize {
    let read = etcd.range(Range::key(COUNTER), etcd.now() + Duration::from_secs(10)).await.expect("etcd");
    let value = read.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
    value.map_or(0, |text| text.parse().expect("a number"))
}

#[test]
fn eight_contenders_in_four_processes_lose_no_increment() {
    let server = server();
    let mut children: Vec<_> = (0..PROCESSES).map(|_| child("count", &server.endpoint())).collect();
    for child in &mut children {
        assert!(child.wait().expect("it ends").success(), "a contender failed");
    }
    let counted = on_tokio(async { counter(&Etcd::connect([server.endpoint()]).await.expect("etcd")).await });
    assert_eq!(counted, PROCESSES * CONTENDERS_EACH * TURNS);
}

#[test]
fn a_killed_holders_lock_is_free_within_its_ttl_and_a_half_second_scan() {
    let server = server();
    let mut holder = child("hold", &server.endpoint());
    let mut said = BufReader::new(holder.stdout.take().expect("piped")).lines();
    assert!(said.any(|line| line.expect("text").contains("holding")), "the holder never held");
    on_tokio(async {
        let etcd = Etcd::connect([server.endpoint()]).await.expect("etcd");
        let session = Session::builder(&etcd).ttl(Duration::from_secs(20)).open().await.expect("etcd");
        let mutex = Mutex::new(&session, NAME).expect("a name");
        assert!(mutex.try_lock().await.expect("etcd").is_none(), "the holder holds");
        holder.kill().expect("it can be killed");
        let killed = Instant::now();
        let limit = Duration::from_secs(2) + Duration::from_millis(1500);
        let guard = mutex.lock_timeout(limit).await;
        assert!(guard.is_ok(), "not free {:?} after the kill: {guard:?}", killed.elapsed());
    });
    holder.wait().expect("it is dead");
}

#[test]
fn with_one_dead_endpoint_of_two_nothing_fails() {
    let server = server();
    let dead = {
        let mut gone = self::server();
        let endpoint = gone.endpoint();
        gone.kill();
        endpoint
    };
    on_tokio(async {
        for endpoints in [[dead.clone(), server.endpoint()], [server.endpoint(), dead]] {
            let etcd = Etcd::connect(endpoints).await.expect("one is there");
            let session = Session::builder(&etcd).ttl(Duration::from_secs(5)).open().await.expect("etcd");
            let mutex = Mutex::new(&session, NAME).expect("a name");
            for _ in 0..50 {
                mutex.lock().await.expect("it is free").release().await.expect("it is held");
            }
            assert!(session.is_alive());
            session.close().await.expect("it is closed");
        }
    });
}

#[test]
fn while_the_server_stands_still_the_guard_tells_before_the_server_frees() {
    let server = server();
    on_tokio(async {
        let etcd = Etcd::connect([server.endpoint()]).await.expect("etcd");
        let session = Session::builder(&etcd).ttl(Duration::from_secs(2)).open().await.expect("etcd");
        let guard = Mutex::new(&session, NAME).expect("a name").lock().await.expect("it is free");
        let key = guard.key().to_vec();
        server.pause();
        let stopped = Instant::now();
        let told = tokio::time::timeout(Duration::from_secs(4), guard.lost()).await;
        assert!(told.is_ok(), "not told {:?} after the stop", stopped.elapsed());
        assert!(!guard.is_held());
        assert!(stopped.elapsed() <= Duration::from_millis(2100), "told after {:?}", stopped.elapsed());
        // Longer than the TTL in all: what the server does when it goes on comes after what the guard has told.
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.resume();
        let other = Etcd::connect([server.endpoint()]).await.expect("etcd");
        let next = Session::builder(&other).ttl(Duration::from_secs(5)).open().await.expect("etcd");
        let next = Mutex::new(&next, NAME).expect("a name");
        let granted = next.lock_timeout(Duration::from_secs(6)).await.expect("it is freed at last");
        assert!(granted.key() != key && granted.fencing_token() > guard.fencing_token());
    });
}
