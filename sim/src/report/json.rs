//! Campaigns as JSON, for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{command, timeline};
use crate::run::{Campaign, Verdict};

/// All campaigns of one command.
#[derive(Serialize)]
pub struct Document<'a> {
    /// One for each scenario.
    pub campaigns: Vec<CampaignJson<'a>>,
    /// The command's exit code.
    pub exit_code: u8,
}

/// One campaign.
#[derive(Serialize)]
pub struct CampaignJson<'a> {
    scenario: &'a str,
    planted: Option<&'a str>,
    seeds: [u64; 2],
    jobs: usize,
    exit_code: u8,
    failed_as_expected: bool,
    wall_s: f64,
    seeds_per_s: f64,
    simulated_s: f64,
    grants: u64,
    operations: u64,
    steps: u64,
    faults: &'a BTreeMap<&'static str, u64>,
    coverage: &'a BTreeMap<&'static str, u64>,
    missed_marks: Vec<&'a str>,
    redone: u64,
    hash: String,
    failures: Vec<FailureJson<'a>>,
    differences: Vec<DifferenceJson>,
}

#[derive(Serialize)]
struct FailureJson<'a> {
    seed: u64,
    #[serde(flatten)]
    verdict: &'a Verdict,
    capsule: Option<String>,
    reproduce: String,
}

#[derive(Serialize)]
struct DifferenceJson {
    seed: u64,
    step: usize,
    first: Option<String>,
    second: Option<String>,
}

impl<'a> CampaignJson<'a> {
    /// A campaign of the scenario that the user called `named`.
    pub fn of(campaign: &'a Campaign, named: &str) -> Self {
        let planted = campaign.planted.map(|planted| planted.name);
        let wall_s = campaign.wall.as_secs_f64();
        let failures = campaign.failures.iter().map(|failure| FailureJson {
            seed: failure.seed,
            verdict: &failure.verdict,
            capsule: failure
                .capsule
                .as_ref()
                .and_then(|written| written.as_ref().ok())
                .map(|path| path.display().to_string()),
            reproduce: command::replay(named, failure.seed, command::Flags::of(campaign)),
        });
        let differences = campaign.differences.iter().map(|difference| {
            let line = |step: &Option<crate::history::Step>| {
                step.as_ref().map(|step| {
                    anstream::adapter::strip_str(&timeline::line(difference.step, step)).to_string()
                })
            };
            DifferenceJson {
                seed: difference.seed,
                step: difference.step,
                first: line(&difference.first),
                second: line(&difference.second),
            }
        });
        Self {
            scenario: &campaign.scenario.name,
            planted,
            seeds: [campaign.seeds.start, campaign.seeds.end],
            jobs: campaign.jobs,
            exit_code: campaign.exit_code(),
            failed_as_expected: campaign.failed_as_expected(),
            wall_s,
            seeds_per_s: campaign.count() as f64 / wall_s.max(1e-9),
            simulated_s: campaign.simulated_ms as f64 / 1e3,
            grants: campaign.grants,
            operations: campaign.operations,
            steps: campaign.steps,
            faults: &campaign.faults,
            coverage: &campaign.marks,
            missed_marks: campaign.missed_marks(),
            redone: campaign.redone,
            hash: format!("{:016x}", campaign.hash()),
            failures: failures.collect(),
            differences: differences.collect(),
        }
    }
}
