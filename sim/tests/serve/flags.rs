//! etcd's own flags, and what it serves over HTTP on the same port.

use etcd_client::{AlarmAction, AlarmType, Error, Txn, TxnOp};

use super::{client, control, serve, until};

fn words(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_requests_are_those_of_the_flags() {
    let serving = serve(&["--max-txn-ops", "2", "--max-request-bytes", "1000"]).await;
    let mut client = client(&serving).await;
    let puts = |count: usize| {
        let put = |number| TxnOp::put(format!("k{number}"), "", None);
        Txn::new().and_then((0..count).map(put).collect::<Vec<_>>())
    };
    client.txn(puts(2)).await.expect("two are allowed");
    let refused = client.txn(puts(3)).await.expect_err("three are not");
    assert_eq!(words(&refused), "etcdserver: too many operations in txn request");
    client.put("small", vec![0; 900], None).await.expect("it fits");
    let refused = client.put("large", vec![0; 1000], None).await.expect_err("it does not");
    assert_eq!(words(&refused), "etcdserver: request is too large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_backend_raises_the_alarm_until_it_is_compacted_defragmented_and_disarmed() {
    let serving = serve(&["--quota-backend-bytes", "100000", "--members", "3"]).await;
    let mut client = client(&serving).await;
    let refused = loop {
        if let Err(error) = client.put("k", vec![0; 10_000], None).await {
            break error;
        }
    };
    assert_eq!(words(&refused), "etcdserver: mvcc: database space exceeded");
    let raised = async || {
        let listed = client.clone().alarm(AlarmAction::Get, AlarmType::None, None).await.expect("listed");
        listed.alarms().len() == 1
    };
    until("an alarm at every member", async || raised().await && raised().await && raised().await).await;
    let refused = client.put("tiny", "", None).await.expect_err("the alarm is on");
    assert_eq!(words(&refused), "etcdserver: mvcc: database space exceeded");

    let full = client.status().await.expect("status");
    let revision = full.header().expect("a header").revision();
    client.compact(revision, None).await.expect("compacted");
    client.defragment().await.expect("defragmented");
    assert!(client.status().await.expect("status").db_size() < full.db_size());
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await.expect("disarmed");
    client.put("tiny", "", None).await.expect("there is space");
}

async fn http(url: String) -> (u16, String) {
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(url).call().expect("answered");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    });
    asked.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_version_and_metrics_are_on_the_clients_port() {
    let serving = serve(&["--version", "3.5.34", "--control"]).await;
    client(&serving).await.put("a", "1", None).await.expect("put");
    let at = |path: &str| http(format!("{}{path}", serving.endpoint()));
    assert_eq!(at("/health").await, (200, r#"{"health":"true","reason":""}"#.to_owned()));
    let (_, version) = at("/version").await;
    let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
    assert_eq!(version, serde_json::json!({"etcdserver": "3.5.34", "etcdcluster": "3.5.0"}));
    let (_, metrics) = at("/metrics").await;
    for line in ["etcd_server_has_leader 1", "etcd_mvcc_put_total 1", "etcd_debugging_mvcc_keys_total 1"] {
        assert!(metrics.lines().any(|said| said == line), "{line} is missing:\n{metrics}");
    }
    control(&serving, "/faults", Some(r#"{"kind": "no-space"}"#)).await;
    // The space is filled by the next write, which is applied and then refused.
    client(&serving).await.put("a", "2", None).await.expect_err("no space is left");
    until("the alarm", async || at("/health").await.0 == 503).await;
    assert_eq!(at("/health").await.1, r#"{"health":"false","reason":"ALARM NOSPACE"}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_listens_on_all_addresses_that_are_named() {
    let serving = serve(&["--listen", "127.0.0.1:0"]).await;
    let [one, other] = serving.endpoints() else { panic!("{:?}", serving.endpoints()) };
    etcd_client::Client::connect([one], None)
        .await
        .expect("connected")
        .put("a", "1", None)
        .await
        .expect("put");
    let mut other = etcd_client::Client::connect([other], None).await.expect("connected");
    assert_eq!(other.get("a", None).await.expect("read").count(), 1);
}
