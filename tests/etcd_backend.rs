//! What the backend [`Etcd`] promises, over real etcd servers that are stopped, killed, cut off and restarted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real tasks, beside real servers")]
#![cfg(unix)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tenure::kv::{Op, Put, Range, Request, Response, Txn, WatchRequest};
use tenure::{
    Backend, CallError, ConnectError, Etcd, Instant, Refusal, Runtime, WatchMessage, WatchStream, within,
};
use tenure_sim::real::{Cluster, ClusterOptions, Server, ServerOptions, VERSIONS};

fn server() -> Server {
    Server::start(&ServerOptions::default()).unwrap()
}

fn after(etcd: &Etcd, ms: u64) -> Instant {
    etcd.now() + Duration::from_millis(ms)
}

async fn try_put(etcd: &Etcd, key: &str) -> Result<i64, CallError> {
    match etcd.call(Request::Put(Put::new(key, "v")), after(etcd, 10_000)).await? {
        Response::Put(put) => Ok(put.header.revision),
        other => panic!("{other:?}"),
    }
}

/// Puts `key`, again if the answer was lost.
async fn put(etcd: &Etcd, key: &str) -> i64 {
    loop {
        match try_put(etcd, key).await {
            Ok(revision) => return revision,
            Err(CallError::Maybe(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The revisions at which keys below `prefix` were last written, in order.
async fn revisions(etcd: &Etcd, prefix: &str) -> Vec<i64> {
    let found = etcd.range(Range::prefix(prefix), after(etcd, 10_000)).await.unwrap();
    found.kvs.iter().map(|kv| kv.mod_revision).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The stream's next message, which must come within 20 s.
async fn next(etcd: &Etcd, watch: &mut WatchStream) -> Option<Result<WatchMessage, Refusal>> {
    within(etcd, after(etcd, 20_000), watch.next()).await.expect("the watch tells something")
}

async fn opened(etcd: &Etcd, request: WatchRequest) -> (WatchStream, i64) {
    let mut watch = etcd.watch(request);
    match next(etcd, &mut watch).await {
        Some(Ok(WatchMessage::Created { revision })) => (watch, revision),
        other => panic!("{other:?}"),
    }
}

/// Takes in events until one of revision `last` has come; gives all their revisions.
async fn seen_until(etcd: &Etcd, watch: &mut WatchStream, last: i64) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|&revision| revision < last) {
        match next(etcd, watch).await {
            Some(Ok(WatchMessage::Events { events })) => {
                seen.extend(events.iter().map(|event| event.kv.mod_revision));
            }
            other => panic!("{other:?}"),
        }
    }
    seen
}

#[tokio::test]
async fn with_one_dead_endpoint_of_two_nothing_fails() {
    let server = server();
    let mut dead = self::server();
    dead.kill();
    for endpoints in [[dead.endpoint(), server.endpoint()], [server.endpoint(), dead.endpoint()]] {
        let etcd = Etcd::connect(endpoints).await.unwrap();
        for _ in 0..20 {
            try_put(&etcd, "k").await.unwrap();
            etcd.range(Range::key("k"), after(&etcd, 1000)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_members_are_killed_and_restarted_reads_never_fail_and_writes_are_at_most_maybe() {
    let mut cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    let etcd = Etcd::connect(cluster.endpoints()).await.unwrap();
    let worker = tokio::spawn({
        let etcd = etcd.clone();
        async move {
            for index in 0.. {
                match try_put(&etcd, &format!("k/{index}")).await {
                    Err(CallError::Maybe(_)) | Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
                let stop = etcd.range(Range::key("stop"), after(&etcd, 10_000)).await.unwrap();
                if !stop.kvs.is_empty() {
                    return index;
                }
            }
            0
        }
    });
    for member in 0..3 {
        tokio::task::block_in_place(|| {
            cluster.member_mut(member).kill();
            cluster.wait_for_leader_other_than(member, Duration::from_secs(10)).unwrap();
            cluster.member_mut(member).restart().unwrap();
        });
    }
    put(&etcd, "stop").await;
    assert!(worker.await.unwrap() > 10);
}

/// Which endpoint serves `etcd` now.
async fn serving(etcd: &Etcd, endpoints: &[String]) -> usize {
    let serving = etcd.range(Range::key("k"), after(etcd, 5000)).await.unwrap().header.member_id;
    for (index, endpoint) in endpoints.iter().enumerate() {
        let one = Etcd::connect([endpoint]).await.unwrap();
        let read = one.range(Range::key("k"), after(etcd, 5000)).await.unwrap();
        if read.header.member_id == serving {
            return index;
        }
    }
    panic!("no member has the id {serving}")
}

#[tokio::test]
async fn a_member_that_stands_still_is_left() {
    let cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    let etcd = Etcd::connect(cluster.endpoints()).await.unwrap();
    let lease = etcd.lease_grant(Duration::from_secs(60), after(&etcd, 5000)).await.unwrap();
    let (mut watch, _) = opened(&etcd, WatchRequest::prefix("k/")).await;
    let still = serving(&etcd, &cluster.endpoints()).await;
    cluster.member(still).pause();
    let write = try_put(&etcd, "k/1").await;
    assert!(matches!(write, Err(CallError::Maybe(_))), "{write:?}");
    etcd.range(Range::key("k/1"), after(&etcd, 5000)).await.unwrap();
    assert_eq!(etcd.lease_keep_alive(lease.id, after(&etcd, 5000)).await, Ok(60));
    let last = put(&etcd, "k/2").await;
    let seen = seen_until(&etcd, &mut watch, last).await;
    assert_eq!(seen, revisions(&etcd, "k/").await);
}

#[tokio::test]
async fn a_watch_leaves_a_member_that_is_cut_off_from_its_cluster() {
    let cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    let follower = (cluster.leader().unwrap() + 1) % 3;
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(follower);
    let etcd = Etcd::connect(endpoints.clone()).await.unwrap();
    let (mut watch, _) = opened(&etcd, WatchRequest::prefix("k/")).await;
    cluster.isolate(follower);
    let others = Etcd::connect(endpoints.split_off(1)).await.unwrap();
    let last = put(&others, "k/1").await;
    assert_eq!(seen_until(&etcd, &mut watch, last).await, revisions(&others, "k/").await);
    // And calls: a linearizable read there never answers.
    assert_eq!(revisions(&etcd, "k/").await, [last]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_restarts_with_no_event_lost_or_doubled() {
    let mut server = server();
    let etcd = Etcd::connect([server.endpoint()]).await.unwrap();
    let (mut watch, _) = opened(&etcd, WatchRequest::prefix("k/")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (etcd, stop) = (etcd.clone(), Arc::clone(&stop));
        async move {
            // A key of its own for each try: one that was maybe applied is then still one revision of one key.
            for index in 0.. {
                match try_put(&etcd, &format!("k/{index}")).await {
                    Ok(revision) if stop.load(Ordering::SeqCst) => return revision,
                    Ok(_) | Err(CallError::Maybe(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            0
        }
    });
    let mut seen = Vec::new();
    for _ in 0..3 {
        let Some(Ok(WatchMessage::Events { events })) = next(&etcd, &mut watch).await else {
            panic!("events expected");
        };
        seen.extend(events.iter().map(|event| event.kv.mod_revision));
        tokio::task::block_in_place(|| server.restart().unwrap());
    }
    stop.store(true, Ordering::SeqCst);
    let last = writer.await.unwrap();
    seen.extend(seen_until(&etcd, &mut watch, last).await);
    assert_eq!(seen, revisions(&etcd, "k/").await);
}

#[tokio::test]
async fn a_watch_that_compaction_has_overtaken_says_so_and_ends() {
    for version in VERSIONS {
        let server = Server::start(&ServerOptions::version(version)).unwrap();
        let etcd = Etcd::connect([server.endpoint()]).await.unwrap();
        for _ in 0..10 {
            put(&etcd, "k").await;
        }
        let compact = Request::Compact { revision: 8, physical: false };
        etcd.call(compact, after(&etcd, 5000)).await.unwrap();
        let past = WatchRequest { start_revision: 3, ..WatchRequest::key("k") };
        let (mut watch, _) = opened(&etcd, past).await;
        assert_eq!(next(&etcd, &mut watch).await, Some(Ok(WatchMessage::Compacted { compact_revision: 8 })));
        assert_eq!(next(&etcd, &mut watch).await, None);
        let past = Range { revision: 3, ..Range::key("k") };
        let read = etcd.range(past, after(&etcd, 5000)).await;
        assert_eq!(read, Err(CallError::Refused(Refusal::Compacted)), "{version}");
    }
}

#[tokio::test]
async fn a_silent_watch_moves_on_with_the_store_and_is_not_overtaken_by_compaction() {
    for version in VERSIONS {
        let mut server = Server::start(&ServerOptions::version(version)).unwrap();
        let builder = Etcd::builder([server.endpoint()]).progress_interval(Duration::from_millis(50));
        let etcd = builder.connect().await.unwrap();
        let (mut watch, _) = opened(&etcd, WatchRequest::key("k")).await;
        let mut newest = 0;
        for _ in 0..5 {
            newest = put(&etcd, "other").await;
        }
        // Long enough for it to ask for progress twenty times.
        let silent = within(&etcd, after(&etcd, 1000), watch.next()).await;
        assert!(silent.is_err(), "{silent:?}");
        let compact = Request::Compact { revision: newest, physical: true };
        etcd.call(compact, after(&etcd, 5000)).await.unwrap();
        server.restart().unwrap();
        let put = put(&etcd, "k").await;
        assert_eq!(seen_until(&etcd, &mut watch, put).await, [put], "{version}");
    }
}

#[tokio::test]
async fn a_call_to_a_server_that_stands_still_ends_at_its_deadline() {
    let server = server();
    let etcd = Etcd::connect([server.endpoint()]).await.unwrap();
    put(&etcd, "k").await;
    server.pause();
    let deadline = after(&etcd, 1500);
    let read = etcd.range(Range::key("k"), deadline).await;
    assert!(matches!(read, Err(CallError::NotApplied(_))), "{read:?}");
    assert!(etcd.now() >= deadline);
    let write = etcd.call(Request::Put(Put::new("k", "w")), after(&etcd, 500)).await;
    assert!(matches!(write, Err(CallError::Maybe(_))), "{write:?}");
    let renewal = etcd.lease_keep_alive(1, after(&etcd, 500)).await;
    assert!(matches!(renewal, Err(CallError::Maybe(_))), "{renewal:?}");
    server.resume();
    etcd.range(Range::key("k"), after(&etcd, 5000)).await.unwrap();
}

#[tokio::test]
async fn a_call_to_a_server_that_is_gone_is_not_applied() {
    let mut server = server();
    let etcd = Etcd::connect([server.endpoint()]).await.unwrap();
    server.kill();
    // The connection's end may be noticed by the call itself.
    let _ = etcd.call(Request::Put(Put::new("k", "v")), after(&etcd, 500)).await;
    let write = etcd.call(Request::Put(Put::new("k", "w")), after(&etcd, 500)).await;
    assert!(matches!(write, Err(CallError::NotApplied(_))), "{write:?}");
}

#[tokio::test]
async fn connecting_fails_with_what_is_wrong() {
    let none = Etcd::connect(Vec::<String>::new()).await.err();
    assert_eq!(none, Some(ConnectError::NoEndpoints));
    for bad in ["http://", "ftp://127.0.0.1:1", "http://a b", "", "http://[::1"] {
        let error = Etcd::connect([bad]).await.err();
        assert!(matches!(error, Some(ConnectError::BadEndpoint { .. })), "{bad:?}: {error:?}");
    }
    let mut gone = server();
    gone.kill();
    let builder =
        |server: &Server| Etcd::builder([server.endpoint()]).connect_timeout(Duration::from_millis(600));
    let error = builder(&gone).connect().await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&gone.endpoint()), "{error}");
    let still = server();
    still.pause();
    let error = builder(&still).connect().await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

#[test]
fn connecting_off_a_runtime_is_an_error() {
    let connect = Box::pin(Etcd::connect(["http://127.0.0.1:2379"]));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut connect = connect;
    match connect.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(ConnectError::NoRuntime)) => {}
        other => panic!("{:?}", other.map(|result| result.err())),
    }
}

#[tokio::test]
async fn a_put_with_a_lease_that_is_gone_is_refused_and_applies_nothing() {
    for version in VERSIONS {
        let server = Server::start(&ServerOptions::version(version)).unwrap();
        let etcd = Etcd::connect([server.endpoint()]).await.unwrap();
        let refused = CallError::Refused(Refusal::LeaseNotFound);
        let put = Put::new("k", "v").lease(12_345);
        let result = etcd.call(Request::Put(put.clone()), after(&etcd, 5000)).await;
        assert_eq!(result.err(), Some(refused.clone()), "{version}");
        let txn = Txn::new().and_then([Op::Put(Put::new("before", "v")), Op::Put(put)]);
        assert_eq!(etcd.txn(txn, after(&etcd, 5000)).await.err(), Some(refused), "{version}");
        assert!(revisions(&etcd, "before").await.is_empty());
        assert_eq!(etcd.lease_keep_alive(12_345, after(&etcd, 5000)).await, Ok(0), "{version}");
        assert_eq!(etcd.lease_revoke(12_345, after(&etcd, 5000)).await, Ok(()), "{version}");
    }
}

#[tokio::test]
async fn a_namespace_hides_what_is_outside_of_it() {
    let server = server();
    let plain = Etcd::connect([server.endpoint()]).await.unwrap();
    let inner = Etcd::builder([server.endpoint()]).namespace("app/").connect().await.unwrap();
    put(&plain, "outside").await;
    let (mut watch, _) = opened(&inner, WatchRequest { range_end: vec![0], ..WatchRequest::key("\0") }).await;
    put(&plain, "zzz").await;
    let lease = inner.lease_grant(Duration::from_secs(60), after(&inner, 5000)).await.unwrap();
    let written = Request::Put(Put::new("k", "v").lease(lease.id));
    inner.call(written, after(&inner, 5000)).await.unwrap();
    let Some(Ok(WatchMessage::Events { events })) = next(&inner, &mut watch).await else { panic!("events") };
    assert_eq!(events[0].kv.key, b"k");
    let all = Range { range_end: vec![0], ..Range::key("\0") };
    let found = inner.range(all, after(&inner, 5000)).await.unwrap();
    assert_eq!(found.kvs.iter().map(|kv| kv.key.as_slice()).collect::<Vec<_>>(), [b"k"]);
    let found = plain.range(Range::key("app/k"), after(&plain, 5000)).await.unwrap();
    assert_eq!(found.kvs.len(), 1);
    let about = Request::LeaseTimeToLive { id: lease.id, keys: true };
    match inner.call(about, after(&inner, 5000)).await.unwrap() {
        Response::LeaseTimeToLive { keys, granted_ttl_s, .. } => {
            assert_eq!((keys, granted_ttl_s), (vec![b"k".to_vec()], 60));
        }
        other => panic!("{other:?}"),
    }
}
