//! How a simulation fails, as a test that is red shows it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::campaign::Report;
use crate::run::Verdict;
use crate::scenario::BadInput;
use crate::shrink::Size;

/// Why a simulation is not green. `Debug` shows the same words as `Display`, since that is what a test that returns it prints.
#[non_exhaustive]
pub enum Failed {
    /// What was asked for cannot be: one line that says what is allowed. Nothing was run.
    BadInput(String),
    /// A seed broke an invariant, or something panicked.
    Red(Box<RedSeed>),
    /// A seed gave another history when it was run again, or a client is moved by something that no seed decides.
    NotDeterministic {
        /// The test.
        test: String,
        /// The seed.
        seed: u64,
        /// The first step that differs.
        difference: String,
    },
    /// Every seed is green, and says nothing: in words.
    Vacuous(String),
}

/// A seed that failed, and its smallest version.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedSeed {
    /// The test.
    pub test: String,
    /// The seed.
    pub seed: u64,
    /// How it failed; of the smallest version.
    pub verdict: Verdict,
    /// What happened, in words, in the smallest version.
    pub story: Vec<String>,
    /// Which process is which: `c0 is worker-1`.
    pub cast: Vec<String>,
    /// How large the seed's plan was.
    pub before: Size,
    /// How large its smallest version is.
    pub after: Size,
    /// Where that is kept, or why it could not be; `None` if it was not to be.
    pub capsule: Option<Result<PathBuf, String>>,
    /// The page that shows it, likewise.
    pub page: Option<Result<PathBuf, String>>,
    /// It was found before: the capsule was there, and was run first.
    pub known: bool,
    /// What the seeds that were done by then amount to, those beside it included.
    pub so_far: Report,
}

impl Failed {
    /// The seed that failed, if one did.
    pub fn seed(&self) -> Option<u64> {
        match self {
            Self::Red(red) => Some(red.seed),
            Self::NotDeterministic { seed, .. } => Some(*seed),
            Self::BadInput(_) | Self::Vacuous(_) => None,
        }
    }

    /// The failed seed with its smallest version, if an invariant broke or something panicked.
    pub fn red(&self) -> Option<&RedSeed> {
        match self {
            Self::Red(red) => Some(red),
            _ => None,
        }
    }
}

impl RedSeed {
    /// The invariant that broke first; none if something panicked or ran away.
    pub fn invariant(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Broken { violations } => {
                violations.first().map(|violation| violation.invariant.as_str())
            }
            Verdict::Green | Verdict::Panic { .. } | Verdict::RanAway { .. } => None,
        }
    }

    /// The file in which the smallest version is kept.
    pub fn capsule(&self) -> Option<&Path> {
        self.capsule.as_ref().and_then(|written| written.as_deref().ok())
    }

    /// The page that shows it.
    pub fn page(&self) -> Option<&Path> {
        self.page.as_ref().and_then(|written| written.as_deref().ok())
    }
}

impl From<BadInput> for Failed {
    fn from(BadInput(words): BadInput) -> Self {
        Self::BadInput(words)
    }
}

impl std::error::Error for Failed {}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInput(words) | Self::Vacuous(words) => f.write_str(words),
            Self::Red(red) => red.fmt(f),
            Self::NotDeterministic { test, seed, difference } => {
                writeln!(f, "{test}: seed {seed} is not deterministic: run twice, {difference}")?;
                write!(
                    f,
                    "  what no seed decides moves a client: a static, what its closure captures, the order of a hash \
                     map, an address, a thread, a file; Context::shared, Context::random and a BTreeMap are decided by it"
                )
            }
        }
    }
}

impl fmt::Display for RedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { test, seed, .. } = self;
        match &self.verdict {
            Verdict::Broken { violations } => {
                for violation in violations {
                    writeln!(f, "{test}: seed {seed} breaks {}: {}", violation.invariant, violation.detail)?;
                }
            }
            Verdict::Panic { message } => writeln!(f, "{test}: seed {seed} panics: {message}")?,
            Verdict::RanAway { message } => writeln!(f, "{test}: seed {seed} runs away: {message}")?,
            Verdict::Green => {}
        }
        if self.known {
            writeln!(f, "  it is a failure that was found before")?;
        }
        if !self.story.is_empty() {
            writeln!(f, "what happened ({}):", self.cast.join(", "))?;
            for sentence in &self.story {
                writeln!(f, "  {sentence}")?;
            }
        }
        if self.before == self.after {
            writeln!(f, "its size: {}", self.after)?;
        } else {
            writeln!(f, "its smallest version: {} (of {})", self.after, self.before)?;
        }
        match &self.capsule {
            Some(Ok(path)) => writeln!(f, "  kept in {}, and run first from now on", path.display())?,
            Some(Err(why)) => writeln!(f, "  it could not be kept: {why}")?,
            None => {}
        }
        match &self.page {
            Some(Ok(path)) => writeln!(f, "  a picture of it: {}", path.display())?,
            Some(Err(why)) => writeln!(f, "  no picture of it: {why}")?,
            None => {}
        }
        if self.known {
            write!(f, "run it again: cargo test {test}")
        } else {
            write!(f, "run the seed again: TENURE_SEED={seed} cargo test {test}")
        }
    }
}
