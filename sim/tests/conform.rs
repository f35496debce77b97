//! The conformance check itself: it agrees where both sides are the same, and finds every planted difference.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tenure::kv::{DeleteRange, Op, Put, Range, Request, Txn};
use tenure::wire::Wire;
use tenure::{Runtime, TokioRuntime, grpc_wire};
use tenure_sim::conform::{Cases, ConformOptions, ConformOutcome, SingleWire, compare, run};
use tenure_sim::grpc::channel;
use tenure_sim::real::{Server, ServerOptions};
use tenure_sim::store::{EtcdVersion, Planted, SingleConfig, Store, StoreConfig};

fn against_itself(cases: Cases) -> ConformOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = Arc::new(TokioRuntime::current().expect("within the runtime"));
        let config = SingleConfig { cluster_id: 3, member_id: 4, ..SingleConfig::default() };
        let wire: Arc<dyn Wire> = Arc::new(SingleWire::new(config, clock));
        compare(vec![wire], &cases).await.expect("compared")
    })
}

#[test]
fn the_store_agrees_with_itself() {
    let outcome = against_itself(Cases { count: 150, seed: 1, planted: None });
    assert!(outcome.agreed(), "{outcome}");
    assert_eq!(outcome.cases, 150);
}

/// The same store behind etcd's gRPC services, asked by etcd-client, without a network between them.
#[test]
fn nothing_is_lost_or_added_on_the_way_through_grpc() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let clock = Arc::new(TokioRuntime::current().expect("within the runtime"));
        let config = SingleConfig { cluster_id: 3, member_id: 4, ..SingleConfig::default() };
        let served: Arc<dyn Wire> = Arc::new(SingleWire::new(config, clock));
        let wire = grpc_wire("in-process", channel(served, Vec::new()));
        compare(vec![wire], &Cases { count: 150, seed: 2, planted: None }).await.expect("compared")
    });
    assert!(outcome.agreed(), "{outcome}");
}

/// A real server refuses what the simulated store does while its alarm is on.
#[test]
fn without_space_every_release_refuses_the_same() {
    for version in EtcdVersion::VENDORED {
        without_space(version);
    }
}

fn without_space(version: EtcdVersion) {
    let server = Server::start(&ServerOptions::version(&version.to_string())).expect("a real server");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = etcd_client::Client::connect([server.endpoint()], None).await.expect("connected");
        let config = StoreConfig { version, ..StoreConfig::default() };
        let mut store = Store::new(config);
        let channel =
            tonic::transport::Endpoint::from_shared(server.endpoint()).expect("an endpoint").connect_lazy();
        let wire = grpc_wire("real", etcd_client::Channel::Tonic(channel));
        let put = |key: &str| Op::Put(Put::new(key, "1"));
        let nested = Txn::new().and_then([Op::Txn(Txn::new().and_then([put("b")]))]);
        let before = [Request::Put(Put::new("a", "1")), Request::LeaseGrant { id: 7, ttl_s: 100 }];
        let while_full = [
            Request::Put(Put::new("b", "1")),
            Request::LeaseGrant { id: 8, ttl_s: 100 },
            Request::Txn(Txn::new().and_then([put("b")])),
            Request::Txn(Txn::new().or_else([put("b")])),
            Request::Txn(nested),
            Request::Txn(Txn::new().and_then([Op::Delete(DeleteRange::key("a"))])),
            Request::Range(Range::key("a")),
            Request::LeaseKeepAlive { id: 7 },
            Request::LeaseRevoke { id: 7 },
            Request::Compact { revision: 2, physical: false },
        ];
        for (full, requests) in [(false, &before[..]), (true, &while_full[..])] {
            if full {
                let alarm = etcd_client::AlarmAction::Activate;
                client.alarm(alarm, etcd_client::AlarmType::Nospace, None).await.expect("raised");
                store.set_no_space(true);
            }
            for request in requests {
                let ours = match request {
                    // Answered by a lessor, which no alarm reaches.
                    Request::LeaseKeepAlive { .. } => Ok(()),
                    request => store.apply(request).result.map(drop).map_err(|status| status.message),
                };
                let theirs = wire.call(request.clone()).await.map(drop).map_err(|status| status.message);
                assert_eq!(ours, theirs, "{version}: {request:?}");
            }
        }
    });
}

/// Why conformance scripts hold no such transactions: see `Accepted::FatalTxn`.
#[test]
fn a_put_of_what_its_transaction_deleted_kills_every_release() {
    let all = DeleteRange { key: vec![0], range_end: vec![0], prev_kv: false };
    let keeps = Put { ignore_value: true, ..Put::new("a", "") };
    let put_back = Txn::new().and_then([Op::Delete(all.clone()), Op::Put(Put::new("a", "2"))]);
    let kept = Txn::new().and_then([Op::Delete(all), Op::Put(keeps)]);
    kills(&[Request::Txn(kept)]);
    kills(&[
        Request::Txn(put_back),
        Request::Compact { revision: 3, physical: true },
        Request::Range(Range::key("a")),
    ]);
}

/// After a put of "a" and these requests no server lives any more.
fn kills(requests: &[Request]) {
    for version in EtcdVersion::VENDORED {
        let server = Server::start(&ServerOptions::version(&version.to_string())).expect("a real server");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let channel = tonic::transport::Endpoint::from_shared(server.endpoint())
                .expect("an endpoint")
                .connect_lazy();
            let wire = grpc_wire("real", etcd_client::Channel::Tonic(channel));
            wire.call(Request::Put(Put::new("a", "1"))).await.expect("put");
            for request in requests {
                // Which of them is the one without an answer is not the point.
                let _ = wire.call(request.clone()).await;
            }
            let clock = TokioRuntime::current().expect("within the runtime");
            let deadline = clock.now() + Duration::from_secs(10);
            while server.is_healthy() {
                assert!(clock.now() < deadline, "{version} lives on");
                clock.sleep_until(clock.now() + Duration::from_millis(20)).await;
            }
        });
    }
}

#[test]
fn every_planted_difference_is_found_and_shrunk_to_five_steps() {
    for planted in Planted::value_variants() {
        let outcome = against_itself(Cases { count: 2_000, seed: 1, planted: Some(*planted) });
        let found = outcome.found.unwrap_or_else(|| panic!("{planted:?} was not found"));
        println!("{planted:?}: {found}");
        assert!(found.steady && found.script.len() <= 5, "{planted:?}: {found}");
    }
}

/// Cases a release in the test; a campaign plays more of them, by the command.
const REAL_CASES: u64 = 300;

#[test]
fn the_store_agrees_with_every_release_of_real_etcd() {
    let cases =
        std::env::var("CONFORM_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(REAL_CASES);
    for etcd_version in EtcdVersion::VENDORED.into_iter().rev() {
        let options =
            ConformOptions { cases, seed: 7, etcd_version, endpoints: Vec::new(), servers: 4, planted: None };
        let outcome = run(&options).expect("compared");
        println!("{etcd_version}: {outcome}");
        assert!(outcome.agreed(), "{etcd_version}: {outcome}");
    }
}
