//! What an operation on the simulated store costs: on the store alone, on the one-member server, and through etcd-client
//! and etcd's gRPC services without a network.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads the wall clock")]

use std::sync::Arc;
use std::time::Instant;

use tenure::kv::{Compare, CompareOp, Op, Put, Range, Request, SortOrder, SortTarget, Txn, WatchRequest};
use tenure::wire::Wire;
use tenure::{TokioRuntime, grpc_wire};
use tenure_sim::conform::SingleWire;
use tenure_sim::grpc::channel;
use tenure_sim::store::{Single, SingleConfig, Store, StoreConfig};

const ROUNDS: u32 = 20_000;

/// What a lock does: take a place in line if it is free, look who is first, give it back.
fn requests(round: u32) -> [Request; 3] {
    let key = format!("lock/{:x}", round % 8);
    let line = Range::prefix("lock/").sorted(SortTarget::Create, SortOrder::Ascend).limit(1);
    let take = Txn::new()
        .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
        .and_then([Op::Put(Put::new(key.as_str(), "")), Op::Range(line.clone())]);
    [Request::Txn(take), Request::Range(line), Request::Delete(tenure::kv::DeleteRange::key(key))]
}

fn report(name: &str, began: Instant) {
    let operations = f64::from(ROUNDS * 3);
    println!("{name:24} {:8.2} µs an operation", began.elapsed().as_secs_f64() * 1e6 / operations);
}

fn main() {
    let mut store = Store::new(StoreConfig::default());
    let began = Instant::now();
    for round in 0..ROUNDS {
        for request in requests(round) {
            store.apply(&request).result.expect("applied");
        }
    }
    report("store", began);

    let mut single = Single::new(SingleConfig::default());
    for _ in 0..5 {
        single.watch(WatchRequest::prefix("lock/"), 0);
    }
    let began = Instant::now();
    for round in 0..ROUNDS {
        for request in requests(round) {
            single.handle(&request, u64::from(round)).expect("answered");
        }
        single.take_messages();
    }
    report("server, 5 watches", began);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = Arc::new(TokioRuntime::current().expect("within the runtime"));
        let direct: Arc<dyn Wire> = Arc::new(SingleWire::new(SingleConfig::default(), clock));
        let through_grpc = grpc_wire("in-process", channel(Arc::clone(&direct), Vec::new()));
        for (name, wire) in [("wire, direct", direct), ("wire, grpc", through_grpc)] {
            let began = Instant::now();
            for round in 0..ROUNDS {
                for request in requests(round) {
                    wire.call(request).await.expect("answered");
                }
            }
            report(name, began);
        }
    });
}
