//! Campaigns as JSON, for programs, and read again: the shards of a campaign are merged from their documents.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{command, timeline};
use crate::check::Judged;
use crate::coverage::rates::Rates;
use crate::planted;
use crate::run::{
    Campaign, Certificate, Check, Difference, Failure, Hunted, Judgement, MarkVerdict, Operations, Seen,
    Shard, Stopped, Verdict,
};
use crate::scenario::{BadInput, Scenario};
use crate::shrink::Small;

/// The form of documents; it changes when older ones cannot be read any more.
const FORM: u32 = 1;

/// All campaigns of one command.
#[derive(Serialize, Deserialize)]
pub struct Document {
    /// The document's form, so that another release can tell.
    pub form: u32,
    /// One for each scenario.
    pub campaigns: Vec<CampaignJson>,
    /// The command's exit code.
    pub exit_code: u8,
}

/// One campaign.
#[derive(Serialize, Deserialize)]
pub struct CampaignJson {
    scenario: String,
    /// As the user called it: a name or a file.
    named: String,
    planted: Option<String>,
    seeds: [u64; 2],
    /// How many of them were run.
    done: u64,
    shard: Option<Shard>,
    /// The seeds of all shards.
    whole: [u64; 2],
    stopped: Option<Stopped>,
    jobs: usize,
    exit_code: u8,
    failed_as_expected: bool,
    wall_s: f64,
    seeds_per_s: f64,
    simulated_s: f64,
    grants: u64,
    operations: u64,
    steps: u64,
    faults: BTreeMap<Cow<'static, str>, u64>,
    coverage: BTreeMap<Cow<'static, str>, u64>,
    missed_marks: Vec<String>,
    /// The marks that are hit less often than they used to be, beyond luck.
    #[serde(default)]
    rarer_marks: Vec<String>,
    /// What is to be said of each mark that the scenario lists.
    #[serde(default)]
    marks: Vec<MarkVerdict>,
    /// How often each mark was hit when that was measured.
    #[serde(default)]
    rates: Option<Rates>,
    /// What clients did, by kind and outcome.
    #[serde(default)]
    done_by_clients: Operations,
    /// What each invariant judged.
    #[serde(default)]
    checks: BTreeMap<String, Check>,
    /// How much of what clients did to registers was judged.
    #[serde(default)]
    linearizable: Judged,
    /// What the verdict stands on, if it is green.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    redone: u64,
    hash: String,
    /// Of a shard: each seed's hash, sixteen digits each, from the first seed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hashes: Option<String>,
    failures: Vec<FailureJson>,
    differences: Vec<DifferenceJson>,
    definition: Scenario,
}

#[derive(Serialize, Deserialize)]
struct FailureJson {
    seed: u64,
    #[serde(flatten)]
    verdict: Verdict,
    capsule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_capsule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shrunk: Option<Small>,
    reproduce: String,
}

#[derive(Serialize, Deserialize)]
struct DifferenceJson {
    seed: u64,
    step: usize,
    first: Option<String>,
    second: Option<String>,
}

impl Document {
    /// The document of campaigns, each with what its user called its scenario.
    pub fn of(campaigns: &[(String, Campaign)], exit_code: u8, hunted: Option<&Hunted>) -> Self {
        let campaigns =
            campaigns.iter().map(|(named, campaign)| CampaignJson::of(campaign, named, hunted)).collect();
        Self { form: FORM, campaigns, exit_code }
    }

    /// The campaigns that it tells of.
    ///
    /// # Errors
    /// If it is of another form, or tells of what this release does not know.
    pub fn campaigns(self) -> Result<Vec<(String, Campaign)>, BadInput> {
        if self.form != FORM {
            return Err(BadInput(format!(
                "a document of form {}; this release reads form {FORM}",
                self.form
            )));
        }
        self.campaigns.into_iter().map(CampaignJson::campaign).collect()
    }
}

impl CampaignJson {
    fn of(campaign: &Campaign, named: &str, hunted: Option<&Hunted>) -> Self {
        let wall_s = campaign.wall.as_secs_f64();
        let failures = campaign.failures.iter().map(|failure| FailureJson {
            seed: failure.seed,
            verdict: failure.verdict.clone(),
            capsule: match &failure.capsule {
                Some(Ok(path)) => Some(path.display().to_string()),
                _ => None,
            },
            no_capsule: match &failure.capsule {
                Some(Err(why)) => Some(why.clone()),
                _ => None,
            },
            shrunk: failure.shrunk.as_ref().and_then(|small| small.as_ref().ok()).cloned(),
            reproduce: command::replay(named, failure.seed, command::Flags::of(campaign)),
        });
        let differences = campaign.differences.iter().map(|difference| {
            let line = |seen: &Option<Seen>| seen.as_ref().map(|seen| plain_line(difference.step, seen));
            DifferenceJson {
                seed: difference.seed,
                step: difference.step,
                first: line(&difference.first),
                second: line(&difference.second),
            }
        });
        Self {
            scenario: campaign.scenario.name.clone(),
            named: named.to_owned(),
            planted: campaign.planted.map(|planted| planted.name.to_owned()),
            seeds: [campaign.seeds.start, campaign.seeds.end],
            done: campaign.count(),
            shard: campaign.shard,
            whole: [campaign.whole.start, campaign.whole.end],
            stopped: campaign.stopped,
            jobs: campaign.jobs,
            exit_code: campaign.exit_code(),
            failed_as_expected: campaign.failed_as_expected(),
            wall_s,
            seeds_per_s: campaign.count() as f64 / wall_s.max(1e-9),
            simulated_s: campaign.simulated_ms as f64 / 1e3,
            grants: campaign.grants,
            operations: campaign.operations,
            steps: campaign.steps,
            faults: campaign.faults.clone(),
            coverage: campaign.marks.clone(),
            missed_marks: campaign.missed_marks(),
            rarer_marks: campaign.marks_judged(Judgement::Rarer),
            marks: campaign.judged_marks(),
            rates: campaign.rates.clone(),
            done_by_clients: campaign.done.clone(),
            checks: campaign.checks.clone(),
            linearizable: campaign.registers,
            certificate: Certificate::of(campaign, hunted, command::redo(named, campaign)),
            redone: campaign.redone,
            hash: format!("{:016x}", campaign.hash()),
            hashes: campaign
                .shard
                .map(|_| campaign.hashes.values().map(|hash| format!("{hash:016x}")).collect()),
            failures: failures.collect(),
            differences: differences.collect(),
            definition: campaign.scenario.clone(),
        }
    }

    fn campaign(self) -> Result<(String, Campaign), BadInput> {
        let planted = match &self.planted {
            None => None,
            Some(name) => Some(
                planted::find(name)
                    .ok_or_else(|| BadInput(format!("this release has no planted bug called {name:?}")))?,
            ),
        };
        let hashes = self.hashes.unwrap_or_default();
        let digits = hashes.as_bytes().chunks(16).map(|digits| {
            let hash = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 16);
            hash.and_then(|digits| u64::from_str_radix(digits, 16).ok())
        });
        let hashes: Option<Vec<u64>> = digits.collect();
        let hashes = hashes
            .filter(|hashes| self.shard.is_none() || hashes.len() as u64 == self.done)
            .ok_or_else(|| {
                BadInput(format!(
                    "{}: `hashes` does not hold sixteen digits for each of {} seeds",
                    self.named, self.done
                ))
            })?;
        let failures = self.failures.into_iter().map(|failure| Failure {
            seed: failure.seed,
            verdict: failure.verdict,
            capsule: match (failure.capsule, failure.no_capsule) {
                (Some(path), _) => Some(Ok(path.into())),
                (None, Some(why)) => Some(Err(why)),
                (None, None) => None,
            },
            shrunk: failure.shrunk.map(Ok),
        });
        let differences = self.differences.into_iter().map(|difference| Difference {
            seed: difference.seed,
            step: difference.step,
            first: difference.first.map(Seen::Line),
            second: difference.second.map(Seen::Line),
        });
        let campaign = Campaign {
            scenario: self.definition,
            planted,
            seeds: self.seeds[0]..self.seeds[1],
            whole: self.whole[0]..self.whole[1],
            shard: self.shard,
            stopped: self.stopped,
            jobs: self.jobs,
            failures: failures.collect(),
            differences: differences.collect(),
            redone: self.redone,
            grants: self.grants,
            operations: self.operations,
            steps: self.steps,
            done: self.done_by_clients,
            checks: self.checks,
            registers: self.linearizable,
            faults: self.faults,
            marks: self.coverage,
            rates: self.rates,
            simulated_ms: (self.simulated_s * 1e3).round() as u64,
            wall: Duration::try_from_secs_f64(self.wall_s).unwrap_or_default(),
            hashes: (self.seeds[0]..).zip(hashes).collect(),
        };
        Ok((self.named, campaign))
    }
}

/// A step's line without colour.
fn plain_line(index: usize, seen: &Seen) -> String {
    match seen {
        Seen::Step(step) => anstream::adapter::strip_str(&timeline::line(index, step)).to_string(),
        Seen::Line(line) => line.clone(),
    }
}
