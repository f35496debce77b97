//! One seed, one history: alone, in a batch, with one thread and with two, in this process and in another.

use std::process::Command;
use std::sync::Arc;

use tenure_sim::plan::Plan;
use tenure_sim::run::{Campaign, CampaignOptions, Limits, execute};
use tenure_sim::scenario;

const SEEDS: u64 = 24;

/// One of the primitives', and the one of etcd itself.
const SCENARIOS: [&str; 2] = ["mutex", "etcd"];

fn campaign(name: &str, jobs: usize) -> Campaign {
    let scenario = scenario::find(name).expect("built in");
    let folder = tempfile::tempdir().expect("a folder");
    let options = CampaignOptions {
        seeds: 0..SEEDS,
        shard: None,
        jobs,
        planted: None,
        capsules: folder.path().to_owned(),
        most_capsules: 0,
        limits: Limits::default(),
    };
    Campaign::run(&scenario, &options, |_| {}).expect("runs")
}

#[test]
fn a_seed_has_the_same_history_alone_and_in_a_batch_with_one_job_and_with_two() {
    for name in SCENARIOS {
        let (one, two) = (campaign(name, 1), campaign(name, 2));
        assert_eq!(one.hashes.len() as u64, SEEDS);
        assert_eq!(one.hashes, two.hashes);
        assert!(one.differences.is_empty() && one.redone > 0);
        let scenario = scenario::find(name).expect("built in");
        for seed in [0, 7, SEEDS - 1] {
            let plan = Arc::new(Plan::draw(&scenario, seed));
            let run = execute(&plan, None).expect("runs");
            assert_eq!(one.hashes[&seed], run.history.hash(), "{name} seed {seed}");
            assert!(run.history.steps.len() > 500, "{name} seed {seed} does something");
        }
    }
}

#[test]
fn different_seeds_have_different_histories() {
    for name in SCENARIOS {
        let mut hashes: Vec<_> = campaign(name, 2).hashes.into_values().collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len() as u64, SEEDS, "{name}");
    }
}

#[test]
fn two_processes_see_the_same_history() {
    let timeline = |name: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tenure"))
            .args(["replay", name, "--seed", "11"])
            .output()
            .expect("starts");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for name in SCENARIOS {
        let first = timeline(name);
        assert!(first.len() > 10_000, "a timeline");
        assert_eq!(first, timeline(name), "{name}");
    }
}
