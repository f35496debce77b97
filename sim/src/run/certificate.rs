//! The certificate of a green campaign: what its verdict stands on. A verdict without it says that nothing was found, not
//! how much was looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Campaign, MarkVerdict, Operations, Stopped};
use crate::check::Judged;
use crate::scenario::{BadInput, Expect};

/// The form of certificates; it changes when older ones cannot be read any more.
const FORM: u32 = 1;

/// What a green campaign stands on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its form, so that another release can tell.
    pub form: u32,
    /// The scenario.
    pub scenario: String,
    /// The seeds, from and before.
    pub seeds: [u64; 2],
    /// How many of them were run.
    pub done: u64,
    /// Why not all were, if so.
    pub stopped: Option<Stopped>,
    /// How many were run twice, with the same history.
    pub redone: u64,
    /// The hash over all histories.
    pub hash: String,
    /// Simulated time in all.
    pub simulated_s: f64,
    /// How many steps were recorded.
    pub steps: u64,
    /// What each invariant judged.
    pub checks: BTreeMap<String, Check>,
    /// How much of what clients did to registers `linearizable` judged.
    pub linearizable: Option<Judged>,
    /// The coverage marks, with their rates and what this campaign says of each.
    pub marks: Vec<MarkVerdict>,
    /// The faults that began, by name.
    pub faults: BTreeMap<Cow<'static, str>, u64>,
    /// What clients did, by kind and outcome.
    pub operations: Operations,
    /// The last hunt of planted bugs; `None` if it is not known.
    pub planted_bugs: Option<Hunted>,
    /// What was run.
    pub versions: Versions,
    /// The command that does it again.
    pub redo: String,
}

/// What one invariant judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// In how many seeds it was evaluated.
    pub seeds: u64,
    /// How many of what it judges it had before it there.
    pub judged: u64,
    /// What these are.
    pub of: Cow<'static, str>,
}

/// What came of the last `tenure mutants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunted {
    /// The harness's version at that time.
    pub version: String,
    /// How many planted bugs the invariants that name them killed.
    pub killed: usize,
    /// Of how many.
    pub total: usize,
}

impl Hunted {
    /// Reads what `tenure mutants` left behind; `None` if there is no such file.
    ///
    /// # Errors
    /// One line if the file cannot be read, or is something else.
    pub fn read(file: &Path) -> Result<Option<Self>, BadInput> {
        let shown = file.display();
        match std::fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                BadInput(format!("{shown}:{line}:{column}: not what `tenure mutants` writes: {error}"))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BadInput(format!("{shown}: cannot be read: {error}"))),
        }
    }
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The harness, and with it the library.
    pub tenure: String,
    /// The revision of its source, where the build was told (`TENURE_REVISION`).
    pub revision: Option<String>,
    /// The etcd that the scenario names; under the swarm each seed draws its own.
    pub etcd: String,
}

impl Certificate {
    /// The certificate of a campaign; `None` if it is not green: red, expected to fail, with a planted bug, or one shard of
    /// several. `redo` is the command that runs it again.
    pub fn of(campaign: &Campaign, hunted: Option<&Hunted>, redo: String) -> Option<Self> {
        let is_whole = campaign.shard.is_none() && campaign.planted.is_none();
        if campaign.exit_code() != 0 || !is_whole || campaign.scenario.expect == Expect::Fail {
            return None;
        }
        let registers = campaign.registers;
        Some(Self {
            form: FORM,
            scenario: campaign.scenario.name.clone(),
            seeds: [campaign.seeds.start, campaign.seeds.end],
            done: campaign.count(),
            stopped: campaign.stopped,
            redone: campaign.redone,
            hash: format!("{:016x}", campaign.hash()),
            simulated_s: campaign.simulated_ms as f64 / 1e3,
            steps: campaign.steps,
            checks: campaign.checks.clone(),
            linearizable: (registers.operations > 0).then_some(registers),
            marks: campaign.judged_marks(),
            faults: campaign.faults.clone(),
            operations: campaign.done.clone(),
            planted_bugs: hunted.cloned(),
            versions: Versions {
                tenure: env!("CARGO_PKG_VERSION").to_owned(),
                revision: option_env!("TENURE_REVISION").map(str::to_owned),
                etcd: campaign.scenario.cluster.version.clone(),
            },
            redo,
        })
    }
}
