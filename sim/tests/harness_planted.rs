//! What is planted in the harness itself is noticed: a kinder cluster, faults that never fire, a checker that excuses everything.

use tenure_sim::planted::{self, CANARIES, HARNESS, PLANTED};
use tenure_sim::run::{Campaign, CampaignOptions, HuntOptions, Limits, Verdict, hunt, keep_panics_quiet};
use tenure_sim::scenario::{self, Scenario};

fn campaign(bug: &str, seeds: u64) -> Campaign {
    keep_panics_quiet();
    let planted = planted::find(bug).expect("planted");
    let scenario = scenario::find(planted.scenario).expect("built in");
    let options = CampaignOptions {
        seeds: 0..seeds,
        shard: None,
        jobs: 2,
        planted: Some(planted),
        capsules: std::env::temp_dir(),
        most_capsules: 0,
        limits: Limits::default(),
    };
    Campaign::run(&scenario, &options, |_| {}).expect("runs")
}

fn few() -> HuntOptions {
    HuntOptions { ranges: 2, seeds: 40, elsewhere: 10, jobs: 2 }
}

fn mutex() -> Scenario {
    scenario::find("mutex").expect("built in")
}

#[test]
fn leases_that_never_expire_are_noticed() {
    let campaign = campaign("leases-never-expire", 60);
    let broke = |name: &str| {
        campaign.failures.iter().any(|failure| match &failure.verdict {
            Verdict::Broken { violations } => violations.iter().any(|violation| violation.invariant == name),
            _ => false,
        })
    };
    assert!(broke("progress"), "{:?}", campaign.failures);
    assert_ne!(campaign.exit_code(), 0);
}

#[test]
fn faults_that_never_fire_are_noticed_by_marks_that_are_missed() {
    let campaign = campaign("faults-never-fire", 500);
    let missed = campaign.missed_marks();
    assert!(missed.iter().any(|mark| mark == "a holder was paused past its TTL"), "{missed:?}");
    assert_ne!(campaign.exit_code(), 0);
}

#[test]
fn a_checker_that_excuses_everything_leaves_its_planted_bug_alive() {
    keep_panics_quiet();
    let bug = planted::find("unlock-by-name").expect("planted");
    let found = hunt(&[bug], &[mutex()], &few(), |_, _| {}).expect("runs");
    assert!(found.bugs[0].killed);
    let mut blind = mutex();
    blind.invariants.retain(|name| name != bug.invariant);
    let found = hunt(&[bug], &[blind], &few(), |_, _| {}).expect("runs");
    assert!(!found.bugs[0].killed);
    assert!(!found.is_good());
}

#[test]
fn a_canary_that_changes_nothing_lives_and_a_library_that_does_nothing_dies() {
    keep_panics_quiet();
    let scenarios: Vec<Scenario> = ["mutex", "election", "rwlock", "mixed", "etcd"]
        .map(|name| scenario::find(name).expect("built in"))
        .into();
    let found = hunt(&[], &scenarios, &few(), |_, _| {}).expect("runs");
    assert_eq!(found.canaries.len(), CANARIES.len());
    assert!(found.is_good(), "{:?}", found.canaries);
}

#[test]
fn no_two_planted_bugs_share_a_name() {
    let canaries = CANARIES.iter().map(|canary| canary.bug.name);
    let mut names: Vec<_> =
        PLANTED.iter().chain(HARNESS).map(|planted| planted.name).chain(canaries).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}
