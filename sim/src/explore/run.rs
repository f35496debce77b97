//! One run of a space, given by its steps: the history that it makes, for checkers and for who looks at it; and its capsule.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bounds::Space;
use super::monitor::Broken;
use super::program::DRIFT_BOUND_PPM;
use super::search::{Found, LONGEST};
use super::step::{Explored, Telling};
use super::world::Choice;
use crate::check::{self, Bounds, Evidence, Violation};
use crate::history::{History, Recorder, What};
use crate::node::Node;
use crate::planted::Planted;
use crate::run::Verdict;
use crate::scenario::BadInput;

/// The form of these capsules that this release writes and reads.
const FORM: u32 = 1;

const MS: u64 = 1_000_000;

/// The times that checkers go by, where each step takes a millisecond.
pub(super) const BOUNDS: Bounds = Bounds {
    progress_ns: 50_000 * MS,
    election_timeout_ns: 1_000 * MS,
    drift_ppm: DRIFT_BOUND_PPM,
    robs: false,
};

/// What one run came to.
#[derive(Debug)]
pub struct Walk {
    /// Its history. Time is shown as a millisecond a step: only the order is meant.
    pub history: History,
    /// What it breaks, found while it went.
    pub broken: Option<(&'static str, String)>,
    /// What the checkers say of its history.
    pub violations: Vec<Violation>,
}

impl Walk {
    /// What its history shows.
    pub fn evidence(&self) -> Evidence<'_> {
        Evidence::of(&self.history, BOUNDS)
    }

    /// What came of it. What broke while it went, and the checkers cannot tell by the history, broke at its last step.
    pub fn verdict(&self) -> Verdict {
        let mut violations = self.violations.clone();
        if let Some((invariant, detail)) = &self.broken
            && violations.iter().all(|violation| violation.invariant != *invariant)
        {
            violations.push(Violation {
                invariant: (*invariant).to_owned(),
                step: self.history.steps.len().saturating_sub(1),
                detail: detail.clone(),
            });
        }
        if violations.is_empty() { Verdict::Green } else { Verdict::Broken { violations } }
    }
}

/// Writes down what is told.
#[derive(Default)]
pub(super) struct Recording {
    pub(super) recorder: Recorder,
    at_ns: u64,
    /// The deeds as the checkers number them, in the order in which they are begun; a process numbers its own by its asks.
    deeds: BTreeMap<u64, u64>,
}

impl Telling for Recording {
    fn tell(&mut self, node: Node, mut what: What) {
        if let What::Does { deed, .. } | What::Did { deed, .. } = &mut what {
            let next = self.deeds.len() as u64 + 1;
            *deed = *self.deeds.entry(*deed).or_insert(next);
        }
        self.recorder.record(self.at_ns, node, what);
    }
}

/// Takes these steps.
///
/// # Errors
/// If one of them cannot be taken where it stands.
pub fn walk(space: &Space, planted: Option<&'static Planted>, path: &[Choice]) -> Result<Walk, BadInput> {
    let explored = Explored::new(space, planted, false);
    let mut to = Recording::default();
    let mut broken = None;
    match explored.begin(space, &mut to) {
        Err(found) => broken = Some(found),
        Ok(mut world) => {
            for (at, choice) in path.iter().enumerate() {
                to.at_ns += MS;
                if !world.enabled(&explored.roles).contains(choice) {
                    return Err(BadInput(format!("step {} ({choice:?}) cannot be taken there", at + 1)));
                }
                if let Err(found) = world.take(&explored, *choice, &mut to) {
                    broken = Some(found);
                    break;
                }
            }
            let over = world.enabled(&explored.roles).iter().all(Choice::is_fault);
            if broken.is_none() && over {
                to.tell(Node::World, What::Calm);
                to.at_ns += 100_000 * MS;
                to.tell(Node::World, What::Note("the run is over: nothing is under way any more".into()));
                broken = world.at_the_end(&explored);
            } else if broken.is_none() && path.len() >= LONGEST as usize {
                broken = Some(Broken::goes_round());
            }
        }
    }
    if broken.is_some() {
        // A moment more, so that a picture shows what lasts when it broke.
        to.at_ns += MS;
        to.tell(Node::World, What::Note("an invariant is broken: the run ends here".into()));
    }
    let history = to.recorder.finish();
    let violations = check::check_history(&history, BOUNDS, &space.invariants);
    Ok(Walk { history, broken: broken.map(|broken| (broken.invariant, broken.detail)), violations })
}

/// A run that broke an invariant, written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExploreCapsule {
    /// The form, so that another release can tell.
    pub explore_form: u32,
    /// The space.
    pub space: Space,
    /// The planted bug, if one was planted.
    pub planted: Option<String>,
    /// The invariant that broke.
    pub invariant: String,
    /// How.
    pub detail: String,
    /// The steps that lead there.
    pub path: Vec<Choice>,
}

impl ExploreCapsule {
    /// Puts a run into a capsule.
    pub fn new(space: &Space, planted: Option<&'static Planted>, found: &Found) -> Self {
        Self {
            explore_form: FORM,
            space: space.clone(),
            planted: planted.map(|planted| planted.name.to_owned()),
            invariant: found.invariant.to_owned(),
            detail: found.detail.clone(),
            path: found.path.clone(),
        }
    }

    /// Writes it into a folder, which is made if need be; there whole or not at all. Gives the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let planted = self.planted.as_deref().map_or_else(String::new, |name| format!("-{name}"));
        let path = folder.join(format!("explore-{}{planted}.json", self.space.name));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }

    /// Reads one; `None` if the file is something else.
    ///
    /// # Errors
    /// One line if it cannot be read, or is of a form that this release does not know.
    pub fn read(path: &Path) -> Result<Option<Self>, BadInput> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadInput(format!("{shown}: cannot be read: {error}")))?;
        if !text.contains("\"explore_form\"") {
            return Ok(None);
        }
        let capsule: Self = serde_json::from_str(&text)
            .map_err(|error| BadInput(format!("{shown}:{}: not a capsule: {error}", error.line())))?;
        if capsule.explore_form != FORM {
            return Err(BadInput(format!(
                "{shown}: an explorer's capsule of form {}; this release reads form {FORM}",
                capsule.explore_form
            )));
        }
        Ok(Some(capsule))
    }
}
