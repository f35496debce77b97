//! What became of a capsule's failure when it was run again.

use std::fmt;

use super::{Capsule, Run, SeedReport, Verdict};
use crate::planted::Planted;
use crate::shrink::{Fingerprint, subject};

/// Whether a capsule's failure is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The same invariant broke in the same way.
    StillFails,
    /// Every invariant held.
    Fixed,
    /// Something else broke.
    FailsDifferently,
}

impl Outcome {
    /// The exit code that tells of it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Fixed => 0,
            Self::StillFails => 1,
            Self::FailsDifferently => 5,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StillFails => "still fails",
            Self::Fixed => "fixed",
            Self::FailsDifferently => "fails differently",
        })
    }
}

/// A capsule that was run again.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// Whether it still fails.
    pub outcome: Outcome,
    /// The first step at which its history is another one than was written down; `None` inside if the capsule cannot tell which.
    pub diverged: Option<Option<usize>>,
}

impl Replayed {
    /// Compares a capsule with a run of its plan.
    pub fn of(capsule: &Capsule, planted: Option<&Planted>, run: &Run, report: &SeedReport) -> Self {
        let was = subject(&capsule.verdict, capsule.subject(planted));
        let outcome = match (&report.verdict, was) {
            (Verdict::Green, _) => Outcome::Fixed,
            (now, Some((was, _))) if Fingerprint::all(now).contains(&was) => Outcome::StillFails,
            _ => Outcome::FailsDifferently,
        };
        let same = capsule.hash == format!("{:016x}", report.hash);
        Self { outcome, diverged: (!same).then(|| capsule.diverges_at(&run.history)) }
    }

    /// Whether its history is the one that was written down.
    pub fn history_words(&self) -> String {
        match self.diverged {
            None => "the same history as in the capsule".to_owned(),
            Some(Some(step)) => format!("its history diverged from the capsule's at step {step}"),
            Some(None) => "another history than the capsule's, which keeps no trail of it".to_owned(),
        }
    }
}
