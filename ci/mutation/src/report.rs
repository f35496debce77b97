//! What is said of a run: the two rates, the survivors, and what of the list of accepted ones is out of date.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::judge::Outcome;
use crate::list::Mutant;

/// A run that is done.
pub(crate) struct Report<'a> {
    /// Each mutant that was judged.
    pub(crate) judged: &'a [(Mutant, Outcome)],
    /// Every mutant that there is.
    pub(crate) all: &'a [Mutant],
    /// How many were to be judged.
    pub(crate) chosen: usize,
    /// Those that may survive.
    pub(crate) accepted: &'a BTreeMap<String, String>,
}

/// An outcome in a few words.
pub(crate) fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unviable => "does not compile".into(),
        Outcome::Seeds { scenario, by, seeds } => format!("caught by {scenario}, {seeds} seeds, {by}"),
        Outcome::TimeoutOfSeeds { scenario, seeds } => {
            format!("caught by {scenario}, {seeds} seeds: too late")
        }
        Outcome::Conformance { by } => format!("caught by {by}"),
        Outcome::TimeoutOfConformance => "caught by the conformance suite: too late".into(),
        Outcome::Survived { reached_by_seeds: true } => "SURVIVED".into(),
        Outcome::Survived { reached_by_seeds: false } => "SURVIVED, no seed comes by".into(),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    mutant: &'a str,
    at: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// The outcomes of an earlier run, by mutant; none if there was none.
pub(crate) fn earlier(file: &Path) -> Result<BTreeMap<String, Outcome>> {
    #[derive(Deserialize)]
    struct Line {
        mutant: String,
        #[serde(flatten)]
        outcome: Outcome,
    }
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let lines: Vec<Line> = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    Ok(lines.into_iter().map(|line| (line.mutant, line.outcome)).collect())
}

impl Report<'_> {
    /// Every outcome as JSON.
    pub(crate) fn json(&self) -> Result<String> {
        let lines: Vec<Line<'_>> = self
            .judged
            .iter()
            .map(|(mutant, outcome)| Line { mutant: &mutant.name, at: &mutant.located, outcome })
            .collect();
        Ok(serde_json::to_string_pretty(&lines)?)
    }

    fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.judged.iter().filter(|(_, outcome)| of(outcome)).count()
    }

    /// Prints all that is to be said; whether every survivor is accepted.
    pub(crate) fn print(&self) -> bool {
        let survivors: Vec<&Mutant> = self
            .judged
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Survived { .. }))
            .map(|(mutant, _)| mutant)
            .collect();
        let (accepted, unknown): (Vec<&Mutant>, Vec<&Mutant>) =
            survivors.iter().partition(|mutant| self.accepted.contains_key(&mutant.name));
        for mutant in &unknown {
            println!("survived: {}\n    at {}", mutant.name, mutant.located);
        }
        for (mutant, outcome) in self.judged {
            if self.accepted.contains_key(&mutant.name) && !matches!(outcome, Outcome::Survived { .. }) {
                println!("accepted, but {}: {}", words(outcome), mutant.name);
            }
        }
        for name in self.accepted.keys().filter(|name| !self.all.iter().any(|m| m.name == **name)) {
            println!("accepted, but there is no such mutant any more: {name}");
        }
        self.print_rates(accepted.len());
        unknown.is_empty()
    }

    fn print_rates(&self, accepted: usize) {
        let unviable = self.count(|o| *o == Outcome::Unviable);
        let viable = self.judged.len() - unviable;
        let late = self.count(|o| matches!(o, Outcome::TimeoutOfSeeds { .. }));
        let seeds = self.count(|o| matches!(o, Outcome::Seeds { .. })) + late;
        let conformance =
            self.count(|o| matches!(o, Outcome::Conformance { .. } | Outcome::TimeoutOfConformance));
        let rate = |caught: usize| 100.0 * caught as f64 / viable.max(1) as f64;
        println!(
            "{viable} mutants judged, {unviable} more do not compile, {} not judged for want of time",
            self.chosen - self.judged.len()
        );
        println!(
            "caught by seeds alone: {seeds} of {viable}, {:.1} % ({late} by the time limit)",
            rate(seeds)
        );
        println!(
            "with the simulated conformance suite: {} of {viable}, {:.1} %",
            seeds + conformance,
            rate(seeds + conformance)
        );
        let judged_by_list = viable - accepted;
        println!(
            "less the accepted: {seeds} of {judged_by_list}, {:.1} %, and {} of {judged_by_list}, {:.1} %",
            100.0 * seeds as f64 / judged_by_list.max(1) as f64,
            seeds + conformance,
            100.0 * (seeds + conformance) as f64 / judged_by_list.max(1) as f64
        );
        println!("survived: {}, of them accepted: {accepted}", viable - seeds - conformance);
    }
}
