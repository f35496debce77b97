//! What was seen: how long things took, what was wrong, what happened how often; and the table that holds two clusters'
//! times against the bands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::time::Duration;

use crate::band::{Behaviour, Settings};

/// What the scripts saw on one cluster.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// How long each behaviour took, each time, in milliseconds.
    pub(crate) took_ms: BTreeMap<Behaviour, Vec<u64>>,
    /// What must not be.
    pub(crate) wrong: Vec<String>,
    /// How often something happened that may happen.
    pub(crate) counts: BTreeMap<&'static str, u32>,
    /// How often a member that had no say answered what to what.
    pub(crate) answers: BTreeMap<String, u32>,
}

impl Log {
    pub(crate) fn took(&mut self, behaviour: Behaviour, span: Duration) {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.took_ms.entry(behaviour).or_default().push(ms);
    }

    pub(crate) fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn answered(&mut self, what: String) {
        *self.answers.entry(what).or_default() += 1;
    }

    /// Takes in what another log holds.
    pub(crate) fn add(&mut self, other: Self) {
        for (behaviour, took_ms) in other.took_ms {
            self.took_ms.entry(behaviour).or_default().extend(took_ms);
        }
        self.wrong.extend(other.wrong);
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        for (what, count) in other.answers {
            *self.answers.entry(what).or_default() += count;
        }
    }

    /// The times that are not in the bands of `settings`, of which the longest may be exceeded by `late`.
    pub(crate) fn out_of_band(&self, settings: Settings, late: Late) -> Vec<String> {
        let mut out = Vec::new();
        for (&behaviour, took_ms) in &self.took_ms {
            let band = behaviour.band(settings);
            let mut sorted = took_ms.clone();
            sorted.sort_unstable();
            let (quickest, median, slowest) =
                (sorted[0], sorted[(sorted.len() - 1) / 2], sorted[sorted.len() - 1]);
            for (holds, what) in [
                (quickest >= band.least_ms, "too soon"),
                (slowest <= band.most_ms + late.ever_ms, "too late"),
                (median <= band.usual_ms + late.ever_ms, "usually too late"),
                (quickest <= band.usual_ms + late.best_ms, "never in time"),
            ] {
                if !holds {
                    out.push(format!("{behaviour} ({settings}): {what}, {band:?}: {sorted:?}"));
                }
            }
        }
        out
    }
}

/// By how much a band's end may be exceeded, since what happens is seen only later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    /// In any round.
    pub(crate) ever_ms: u64,
    /// In the quickest one.
    pub(crate) best_ms: u64,
}

/// One line of the table.
struct Row<'a> {
    behaviour: Behaviour,
    settings: Settings,
    simulated: &'a [u64],
    real: &'a [u64],
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let band = self.behaviour.band(self.settings);
        let band = format!("{}..{}", band.least_ms, band.most_ms);
        let (simulated, real) = (range(self.simulated), range(self.real));
        write!(f, "{:<40} {:>11} {band:>12} {simulated:>18} {real:>18}", self.behaviour, self.settings)
    }
}

/// Shortest and longest, and of how many.
fn range(took_ms: &[u64]) -> String {
    match (took_ms.iter().min(), took_ms.iter().max()) {
        (Some(min), Some(max)) => format!("{min}..{max} ({})", took_ms.len()),
        _ => "-".to_owned(),
    }
}

/// Both clusters' times, with the bands.
pub(crate) fn table(settings: Settings, simulated: &Log, real: &Log) -> String {
    let mut text =
        format!("{:<40} {:>11} {:>12} {:>18} {:>18}\n", "", "settings", "band, ms", "simulated", "real");
    for (&behaviour, took_ms) in &simulated.took_ms {
        let real = real.took_ms.get(&behaviour).map_or(&[][..], Vec::as_slice);
        let _ = writeln!(text, "{}", Row { behaviour, settings, simulated: took_ms, real });
    }
    let counts = |log: &Log| -> BTreeMap<String, u32> {
        let counts = log.counts.iter().map(|(&what, &count)| (what.to_owned(), count));
        counts.chain(log.answers.iter().map(|(what, &count)| (what.clone(), count))).collect()
    };
    let (simulated, real) = (counts(simulated), counts(real));
    let both: BTreeSet<&String> = simulated.keys().chain(real.keys()).collect();
    for what in both {
        let count = |counts: &BTreeMap<String, u32>| counts.get(what).copied().unwrap_or(0);
        let _ = writeln!(text, "{what:<65} {:>18} {:>18}", count(&simulated), count(&real));
    }
    text
}
