//! The conformance check itself: it agrees where both sides are the same, and finds every planted difference.

use std::sync::Arc;

use clap::ValueEnum;
use tenure::TokioRuntime;
use tenure::wire::Wire;
use tenure_sim::conform::{Cases, ConformOptions, ConformOutcome, compare, run};
use tenure_sim::serve::SingleWire;
use tenure_sim::store::{EtcdVersion, Planted, SingleConfig};

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
