//! The backend [`Etcd`] as a user, over real servers with authentication switched on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

use std::time::Duration;

use etcd_client::{Client, Permission};
use futures_util::StreamExt;
use tenure::kv::{Put, Range, Request, WatchRequest};
use tenure::{Backend, CallError, ConnectError, Etcd, Instant, Refusal, Runtime, WatchMessage, within};
use tenure_sim::real::{Server, ServerOptions, VERSIONS};

fn after(etcd: &Etcd, ms: u64) -> Instant {
    etcd.now() + Duration::from_millis(ms)
}

/// Puts `key`, again if the answer was lost.
async fn put(etcd: &Etcd, key: &str) -> Result<(), CallError> {
    loop {
        match etcd.call(Request::Put(Put::new(key, "v")), after(etcd, 5000)).await {
            Err(CallError::Maybe(_)) => {}
            result => return result.map(drop),
        }
    }
}

/// Makes `root`, and `worker` who may use what is below `work/`; authentication stays off.
async fn with_users(server: &Server) -> Client {
    let mut client = Client::connect([server.endpoint()], None).await.unwrap();
    client.role_add("worker").await.unwrap();
    client.role_grant_permission("worker", Permission::read_write("work/").with_prefix()).await.unwrap();
    for name in ["root", "worker"] {
        client.user_add(name, format!("{name}-secret"), None).await.unwrap();
    }
    client.role_add("root").await.unwrap();
    for name in ["root", "worker"] {
        client.user_grant_role(name, name).await.unwrap();
    }
    client
}

async fn worker(server: &Server) -> Result<Etcd, ConnectError> {
    Etcd::builder([server.endpoint()]).user("worker", "worker-secret").connect().await
}

#[tokio::test]
async fn a_user_may_do_what_the_roles_allow_on_every_server_line() {
    for version in VERSIONS {
        let server = Server::start(&ServerOptions::version(version)).unwrap();
        with_users(&server).await.auth_enable().await.unwrap();
        let etcd = worker(&server).await.unwrap();
        put(&etcd, "work/1").await.unwrap();
        let denied = put(&etcd, "other").await;
        assert!(
            matches!(denied, Err(CallError::Refused(Refusal::PermissionDenied(_)))),
            "{version}: {denied:?}"
        );
        let mut watch = etcd.watch(WatchRequest::prefix("work/"));
        let first = within(&etcd, after(&etcd, 5000), watch.next()).await.unwrap();
        assert!(matches!(first, Some(Ok(WatchMessage::Created { .. }))), "{version}: {first:?}");
        let mut watch = etcd.watch(WatchRequest::prefix("other/"));
        let first = within(&etcd, after(&etcd, 5000), watch.next()).await.unwrap();
        assert!(matches!(first, Some(Err(Refusal::PermissionDenied(_)))), "{version}: {first:?}");
        let lease = etcd.lease_grant(Duration::from_secs(30), after(&etcd, 5000)).await.unwrap();
        assert_eq!(etcd.lease_keep_alive(lease.id, after(&etcd, 5000)).await, Ok(30), "{version}");
        assert_eq!(etcd.lease_revoke(lease.id, after(&etcd, 5000)).await, Ok(()), "{version}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_no_user_at_all_are_refused_at_once_on_every_server_line() {
    for version in VERSIONS {
        let server = Server::start(&ServerOptions::version(version)).unwrap();
        with_users(&server).await.auth_enable().await.unwrap();
        for (user, password) in [("worker", "guess"), ("nobody", "guess")] {
            let error = Etcd::builder([server.endpoint()]).user(user, password).connect().await.err();
            assert!(
                matches!(error, Some(ConnectError::Refused(Refusal::PermissionDenied(_)))),
                "{version}: {error:?}"
            );
        }
        // Whether a server tells a stranger its status differs between versions; its keys it tells none.
        if let Ok(stranger) = Etcd::connect([server.endpoint()]).await {
            let read = stranger.range(Range::key("work/1"), after(&stranger, 5000)).await;
            assert!(
                matches!(read, Err(CallError::Refused(Refusal::PermissionDenied(_)))),
                "{version}: {read:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_user_set_before_authentication_is_switched_on_counts_from_then_on() {
    for version in VERSIONS {
        let server = Server::start(&ServerOptions::version(version)).unwrap();
        let mut client = with_users(&server).await;
        let etcd = worker(&server).await.unwrap();
        put(&etcd, "work/1").await.unwrap();
        client.auth_enable().await.unwrap();
        put(&etcd, "work/2").await.unwrap_or_else(|error| panic!("{version}: {error}"));
    }
}

#[tokio::test]
async fn a_token_that_expired_is_renewed_without_anyone_noticing() {
    // 3.4 cannot be told how long a token lives.
    for version in &VERSIONS[1..] {
        let args = ["--auth-token-ttl", "1"].map(String::from).to_vec();
        let server = Server::start(&ServerOptions { args, ..ServerOptions::version(version) }).unwrap();
        with_users(&server).await.auth_enable().await.unwrap();
        let (writer, watcher) = (worker(&server).await.unwrap(), worker(&server).await.unwrap());
        put(&writer, "work/1").await.unwrap();
        writer.sleep_until(after(&writer, 3000)).await;
        let mut watch = watcher.watch(WatchRequest::prefix("work/"));
        let first = within(&watcher, after(&watcher, 5000), watch.next()).await.unwrap();
        assert!(matches!(first, Some(Ok(WatchMessage::Created { .. }))), "{version}: {first:?}");
        put(&writer, "work/2").await.unwrap_or_else(|error| panic!("{version}: {error}"));
        let next = within(&watcher, after(&watcher, 5000), watch.next()).await.unwrap();
        let Some(Ok(WatchMessage::Events { events })) = next else { panic!("{version}: {next:?}") };
        assert_eq!(events[0].kv.key, b"work/2");
    }
}
