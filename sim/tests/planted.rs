//! Every planted bug is caught within 2,000 seeds by the invariant that names it, and never by a panic; the library's own
//! code, under the same seeds, breaks none.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenure_sim::fault::{Fault, TimedFault};
use tenure_sim::node::Node;
use tenure_sim::plan::Plan;
use tenure_sim::planted::{PLANTED, Planted};
use tenure_sim::run::{SeedReport, Verdict, execute, judge, keep_panics_quiet};
use tenure_sim::scenario::{self, Profile, Scenario};

const SEEDS: u64 = 2_000;

fn report(scenario: &Scenario, seed: u64, planted: Option<&'static Planted>) -> SeedReport {
    let plan = Arc::new(Plan::draw(scenario, seed));
    let run = execute(&plan, planted).expect("runs");
    judge(&plan, &run, &scenario.invariants)
}

#[test]
fn every_planted_bug_is_caught_by_the_invariant_that_names_it() {
    keep_panics_quiet();
    for planted in PLANTED {
        let scenario = scenario::find(planted.scenario).expect("built in");
        assert!(scenario.invariants.iter().any(|name| name == planted.invariant), "{}", planted.name);
        let caught = (0..SEEDS).find(|&seed| match report(&scenario, seed, Some(planted)).verdict {
            Verdict::Green => false,
            Verdict::Panic { message } | Verdict::RanAway { message } => {
                panic!("{} at seed {seed}: {message}", planted.name)
            }
            Verdict::Broken { violations } => {
                violations.iter().any(|violation| violation.invariant == planted.invariant)
            }
        });
        let seed = caught.unwrap_or_else(|| panic!("{} was not caught in {SEEDS} seeds", planted.name));
        let own = report(&scenario, seed, None);
        assert_eq!(own.verdict, Verdict::Green, "seed {seed} without {}", planted.name);
    }
}

#[test]
fn a_core_that_cannot_go_on_is_found() {
    keep_panics_quiet();
    let scenario = scenario::find("mutex").expect("built in");
    let plan = Plan::draw(&Scenario { profile: Profile::Fixed, ..scenario.clone() }, 5);
    let with_broken = |members: u32| {
        let mut plan = plan.clone();
        let (at_ms, for_ms) = (plan.calm_at_ms, plan.duration_ms);
        let broken = (0..members).map(|member| Fault::Pause { node: Node::Member(member) });
        plan.faults.extend(broken.map(|fault| TimedFault { at_ms, for_ms, fault }));
        let run = execute(&Arc::new(plan.clone()), None).expect("runs");
        judge(&plan, &run, &scenario.invariants).verdict
    };
    assert_eq!(with_broken(1), Verdict::Green);
    let Verdict::Broken { violations } = with_broken(2) else { panic!("no majority is left") };
    assert!(violations.iter().any(|violation| violation.invariant == "progress"), "{violations:?}");
}

#[test]
fn the_faults_of_an_old_release_of_etcd_are_found_and_no_others() {
    keep_panics_quiet();
    let mut scenario = scenario::find("etcd").expect("built in");
    // Its old leaders revoke leases that the new one has renewed (etcd 15247), and a compaction forgets a deletion at its
    // revision, so that a watch from there never tells it (etcd 18089).
    scenario.profile = Profile::Fixed;
    scenario.cluster.version = "3.4.20".to_owned();
    // What brings them about: leaders that stand still, and compactions.
    scenario.faults.weights =
        [("member-pause", 3.0), ("compact", 1.0)].map(|(name, weight)| (name.to_owned(), weight)).into();
    let mut found = BTreeSet::new();
    for seed in 0..600 {
        match report(&scenario, seed, None).verdict {
            Verdict::Green => {}
            Verdict::Panic { message } | Verdict::RanAway { message } => panic!("seed {seed}: {message}"),
            Verdict::Broken { violations } => {
                found.extend(violations.into_iter().map(|violation| violation.invariant));
            }
        }
    }
    assert_eq!(found, BTreeSet::from(["lease-life".to_owned(), "watch-guarantees".to_owned()]));
}

#[test]
fn a_failure_is_the_same_at_the_same_step_every_time() {
    keep_panics_quiet();
    let planted = tenure_sim::planted::find("first-key-wins-late");
    let scenario = scenario::find("mutex").expect("built in");
    let mut reports = (0..SEEDS).map(|seed| report(&scenario, seed, planted));
    let first = reports.find(|report| matches!(report.verdict, Verdict::Broken { .. })).expect("is caught");
    for _ in 0..3 {
        let again = report(&scenario, first.seed, planted);
        assert_eq!((again.verdict, again.hash), (first.verdict.clone(), first.hash));
    }
}
