//! Judges a run: the checkers' verdict, and what a campaign counts. The history is not needed any more after that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::operations::operations;
use super::{Operations, Run};
use crate::check::{self, Bounds, Evidence, Judged, Planned, PlannedLane, Violation};
use crate::coverage;
use crate::history::{History, What};
use crate::plan::Plan;
use crate::store::{EtcdVersion, LeadershipCheck};
use crate::workload::recipes::program::RecipeKind;

/// What is to be said of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every invariant held.
    Green,
    /// Invariants broke; the first breach first.
    Broken {
        /// The first breach of each.
        violations: Vec<Violation>,
    },
    /// Something panicked: a bug, but no invariant's catch.
    Panic {
        /// The panic's words.
        message: String,
    },
    /// More happened than any run needs: a loop, and no invariant's catch either.
    RanAway {
        /// How much, by when, and what went round.
        message: String,
    },
}

impl Verdict {
    /// What broke, step by step; nothing unless invariants did.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Broken { violations } => violations,
            Self::Green | Self::Panic { .. } | Self::RanAway { .. } => &[],
        }
    }

    /// What it is called and what it says, if the run itself came to a wrong end.
    pub fn wrong_end(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Green | Self::Broken { .. } => None,
            Self::Panic { message } => Some(("panic", message)),
            Self::RanAway { message } => Some(("ran away", message)),
        }
    }

    /// The wrong end that a run came to by itself, if it did.
    fn of_the_run(run: &Run) -> Option<Self> {
        let panic = run.panic.as_ref().map(|message| Self::Panic { message: message.clone() });
        panic.or_else(|| run.ran_away.as_ref().map(|message| Self::RanAway { message: message.clone() }))
    }
}

/// What remains of a run once it is judged.
#[derive(Clone, Debug)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The history's hash.
    pub hash: u64,
    /// How many steps it has.
    pub steps: u64,
    /// How many grants.
    pub grants: u64,
    /// How many operations on etcd itself.
    pub operations: u64,
    /// What clients did, by kind and outcome.
    pub done: Operations,
    /// How many of what each invariant judges it had before it, and what these are.
    pub checks: Vec<(String, u64, &'static str)>,
    /// How much of what clients did to registers was judged.
    pub registers: Judged,
    /// The faults that began, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// The coverage marks that it hit.
    pub marks: Vec<&'static str>,
    /// Simulated time.
    pub simulated_ms: u64,
}

/// Reads a run's history with the bounds of its plan.
pub fn evidence<'a>(plan: &Plan, run: &'a Run) -> Evidence<'a> {
    let mut evidence = Evidence::of(&run.history, bounds(plan));
    evidence.planned = planned(plan);
    evidence
}

/// Judges a run of a plan by these invariants.
pub fn judge(plan: &Plan, run: &Run, invariants: &[String]) -> SeedReport {
    let evidence = evidence(plan, run);
    let verdict = match Verdict::of_the_run(run) {
        Some(wrong_end) => wrong_end,
        None => match check::check(&evidence, invariants) {
            violations if violations.is_empty() => Verdict::Green,
            violations => Verdict::Broken { violations },
        },
    };
    SeedReport {
        seed: plan.seed,
        verdict,
        hash: run.history.hash(),
        steps: run.history.steps.len() as u64,
        grants: evidence.tenures.len() as u64,
        operations: evidence.plain.operations.len() as u64,
        done: operations(&evidence),
        checks: invariants
            .iter()
            .map(|name| {
                let (count, of) = check::subjects(&evidence, name);
                (name.clone(), count, of)
            })
            .collect(),
        registers: check::judged_registers(&evidence),
        faults: faults(&run.history),
        marks: coverage::hits(&evidence),
        simulated_ms: plan.duration_ms,
    }
}

/// The first breach of this invariant, or the wrong end, with its time. Nothing else is looked at.
pub(crate) fn first_violation(plan: &Plan, run: &Run, invariant: Option<&str>) -> Option<(Verdict, u64)> {
    let steps = &run.history.steps;
    if let Some(wrong_end) = Verdict::of_the_run(run) {
        return Some((wrong_end, steps.last().map_or(0, |step| step.at_ns)));
    }
    let wanted = [invariant?.to_owned()];
    let violations = check::check(&evidence(plan, run), &wanted);
    let at_ns = steps.get(violations.first()?.step)?.at_ns;
    Some((Verdict::Broken { violations }, at_ns))
}

pub(super) fn bounds(plan: &Plan) -> Bounds {
    Bounds {
        progress_ns: plan.progress_ms * 1_000_000,
        election_timeout_ns: plan.cluster.election_timeout_ms * 1_000_000,
        robs: plan
            .cluster
            .version
            .parse::<EtcdVersion>()
            .is_ok_and(|version| version.leadership_check() == LeadershipCheck::WhenStalled),
        drift_ppm: plan.clients.iter().map(|client| client.drift_bound_ppm).max().unwrap_or(0),
    }
}

fn planned(plan: &Plan) -> Planned {
    let lanes = (0..).zip(&plan.clients).flat_map(|(client, own)| {
        (0..).zip(&own.lanes).map(move |(lane, program)| PlannedLane {
            client,
            lane,
            asks: program.operations.len(),
            operations: program.plain.len(),
            // To close a session is no use of a recipe.
            recipes: program
                .recipes
                .iter()
                .rposition(|operation| operation.what != RecipeKind::CloseSession)
                .map_or(0, |last| last + 1),
        })
    });
    Planned { lanes: lanes.collect() }
}

fn faults(history: &History) -> BTreeMap<&'static str, u64> {
    let mut faults = BTreeMap::new();
    for step in &history.steps {
        if let What::FaultBegins { fault, .. } = &step.what {
            *faults.entry(fault.name()).or_default() += 1;
        }
    }
    faults
}
