//! What the backend [`Etcd`] promises, over real etcd servers that are stopped, killed, cut off and restarted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

use std::time::Duration;

use tenure::kv::{Put, Range, Request, Response};
use tenure::{Backend, Etcd, Instant, Runtime};
use tenure_sim::real::{Cluster, ClusterOptions, Server, ServerOptions};

fn server() -> Server {
    Server::start(&ServerOptions::default()).unwrap()
}

fn within(etcd: &Etcd, seconds: u64) -> Instant {
    etcd.now() + Duration::from_secs(seconds)
}

async fn put(etcd: &Etcd, key: &str, value: &str) -> i64 {
    match etcd.call(Request::Put(Put::new(key, value)), within(etcd, 5)).await.unwrap() {
        Response::Put(put) => put.header.revision,
        other => panic!("{other:?}"),
    }
}

async fn get(etcd: &Etcd, key: &str) -> Option<String> {
    let found = etcd.range(Range::key(key), within(etcd, 5)).await.unwrap();
    found.kvs.into_iter().next().map(|kv| String::from_utf8(kv.value).unwrap())
}

#[tokio::test]
async fn smoke() {
    let t = std::time::Instant::now();
    let server = server();
    println!("single {:?}", t.elapsed());
    let etcd = Etcd::connect([server.endpoint()]).await.unwrap();
    println!("connected {:?}", t.elapsed());
    put(&etcd, "a", "1").await;
    assert_eq!(get(&etcd, "a").await.as_deref(), Some("1"));
    let lease = etcd.lease_grant(Duration::from_secs(5), within(&etcd, 5)).await.unwrap();
    println!("{lease:?}");
    assert_eq!(etcd.lease_keep_alive(lease.id, within(&etcd, 5)).await.unwrap(), 5);
    let t0 = std::time::Instant::now();
    for _ in 0..100 { etcd.lease_keep_alive(lease.id, within(&etcd, 5)).await.unwrap(); }
    println!("keepalive {:?}", t0.elapsed() / 100);
    let t0 = std::time::Instant::now();
    for _ in 0..100 { put(&etcd, "x", "y").await; }
    println!("put {:?}", t0.elapsed() / 100);
    assert_eq!(etcd.lease_revoke(lease.id, within(&etcd, 5)).await, Ok(()));
    assert_eq!(etcd.lease_revoke(lease.id, within(&etcd, 5)).await, Ok(()));
    assert_eq!(etcd.lease_keep_alive(lease.id, within(&etcd, 5)).await, Ok(0));
    let t = std::time::Instant::now();
    let cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    println!("cluster {:?} leader {:?}", t.elapsed(), cluster.leader());
    let etcd = Etcd::connect(cluster.endpoints()).await.unwrap();
    put(&etcd, "a", "1").await;
    let leader = cluster.leader().unwrap();
    let t = std::time::Instant::now();
    cluster.isolate(leader);
    let new = cluster.wait_for_leader_other_than(leader, Duration::from_secs(10));
    println!("new leader {new:?} {:?}", t.elapsed());
    let t = std::time::Instant::now();
    println!("{:?} {:?}", etcd.range(Range::key("a"), within(&etcd, 5)).await, t.elapsed());
    println!("old believes {:?}", cluster.member(leader).is_leader());
    println!("{:?} {:?}", etcd.range(Range::key("a"), within(&etcd, 5)).await.map(|_|()), t.elapsed());
    cluster.heal_all();
    let mut cluster = cluster;
    cluster.wait_healthy().unwrap();
    println!("healed {:?}", t.elapsed());
}
