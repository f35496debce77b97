//! Makes a failure smaller: a capsule's plan, taken apart until nothing can be left out, while the same invariant breaks in
//! the same way. The plan is handled as the tree of lists and numbers that a capsule shows, so that an operation or a fault
//! that is new needs nothing here.

mod fingerprint;
mod passes;
mod search;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use fingerprint::{Fingerprint, subject};
pub(crate) use search::Trial;

use crate::plan::Plan;
use crate::planted::Planted;
use crate::run::{Capsule, Run, Verdict, execute, first_violation, judge};
use crate::scenario::BadInput;
use search::{Case, Search};

/// No failure has needed half as many.
const MOST_ROUNDS: u32 = 20;

/// How a capsule is shrunk.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Wall time after which it stops with what it has.
    pub limit: Duration,
    /// How many plans are tried at a time; what comes out does not depend on it.
    pub jobs: usize,
}

/// How large a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    /// Clients that do something.
    pub clients: usize,
    /// Faults.
    pub faults: usize,
    /// Operations of all clients.
    pub operations: usize,
    /// Simulated time.
    pub duration_ms: u64,
}

impl Size {
    /// Of a plan.
    pub fn of(plan: &Plan) -> Self {
        let tree = tree_of(plan);
        let works = |client: &&Value| !tree::is_idle(client);
        Self {
            clients: tree::list(&tree, "/clients").iter().filter(works).count(),
            faults: plan.faults.len(),
            operations: tree::operations(&tree),
            duration_ms: plan.duration_ms,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        write!(
            f,
            "{}, {}, {}{:.1} s",
            some(self.clients, "client"),
            some(self.faults, "fault"),
            // Code of a test's own has none that a plan knows of.
            if self.operations == 0 { String::new() } else { some(self.operations, "operation") + ", " },
            Duration::from_millis(self.duration_ms).as_secs_f64()
        )
    }
}

/// A capsule that was made smaller.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What is left.
    pub capsule: Capsule,
    /// Its size before.
    pub before: Size,
    /// Its size now.
    pub after: Size,
    /// How many plans were run.
    pub tried: u64,
    /// The time limit came first: it may become smaller yet.
    pub stopped: bool,
    /// Wall time.
    pub took: Duration,
}

/// Plans of scenarios, with the bug that is planted.
struct OfScenario(Option<&'static Planted>);

impl Trial for OfScenario {
    fn execute(&self, plan: &Arc<Plan>) -> Result<Run, BadInput> {
        execute(plan, self.0)
    }

    fn first_violation(&self, plan: &Plan, run: &Run, invariant: Option<&str>) -> Option<(Verdict, u64)> {
        first_violation(plan, run, invariant)
    }

    fn without_the_bug(&self) -> Option<Box<dyn Trial>> {
        self.0.map(|_| Box::new(Self(None)) as Box<dyn Trial>)
    }
}

/// A plan that was made smaller.
pub(crate) struct Smallest {
    /// What is left.
    pub(crate) plan: Plan,
    /// How many plans were run.
    pub(crate) tried: u64,
    /// The time limit came first.
    pub(crate) stopped: bool,
    /// Wall time.
    pub(crate) took: Duration,
}

/// Makes a plan smaller as long as it fails so.
///
/// # Errors
/// If it does not fail so.
pub(crate) fn smallest(
    plan: &Plan,
    trial: &dyn Trial,
    target: Fingerprint,
    options: Options,
    mut progress: impl FnMut(Size),
) -> Result<Smallest, BadInput> {
    let case = Case::new(plan, trial, target)?;
    let mut search = Search::new(&case, tree_of(plan), options);
    for _ in 0..MOST_ROUNDS {
        let before = search.plan.clone();
        for pass in passes::PASSES {
            pass(&mut search);
            if let Ok(plan) = serde_json::from_value(search.plan.clone()) {
                progress(Size::of(&plan));
            }
        }
        if search.plan == before || search.stopped {
            break;
        }
    }
    let plan = serde_json::from_value(search.plan.clone())
        .map_err(|error| BadInput(format!("the shrunk plan cannot be read: {error}")))?;
    Ok(Smallest { plan, tried: search.tried, stopped: search.stopped, took: search.took() })
}

/// Shrinks a capsule's plan. `progress` is told how large it is now and then.
///
/// # Errors
/// If the capsule does not fail, or no longer as it says.
pub fn shrink(
    capsule: &Capsule,
    planted: Option<&'static Planted>,
    options: Options,
    progress: impl FnMut(Size),
) -> Result<Shrunk, BadInput> {
    let (target, _) = subject(&capsule.verdict, capsule.subject(planted))
        .ok_or_else(|| BadInput("the capsule is green: there is no failure to shrink".to_owned()))?;
    if let Some(name) = target.invariant()
        && !capsule.scenario.invariants.iter().any(|one| one == name)
    {
        return Err(BadInput(format!("the capsule's scenario does not check {name}")));
    }
    let invariant = target.invariant().map(str::to_owned);
    let Smallest { plan, tried, stopped, took } =
        smallest(&capsule.plan, &OfScenario(planted), target, options, progress)?;
    let (before, after) = (Size::of(&capsule.plan), Size::of(&plan));
    let plan = Arc::new(plan);
    let run = execute(&plan, planted)?;
    let report = judge(&plan, &run, &capsule.scenario.invariants);
    let name = capsule.planted.as_deref();
    let mut small = Capsule::new(&capsule.scenario, name, &plan, &report.verdict, &run.history);
    small.invariant = invariant;
    Ok(Shrunk { capsule: small, before, after, tried, stopped, took })
}

/// The small version of a capsule that was written beside it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Small {
    /// The file.
    pub path: PathBuf,
    /// Its size before.
    pub before: Size,
    /// Its size now.
    pub after: Size,
    /// The time limit came first.
    pub stopped: bool,
}

/// Shrinks a capsule's file, and writes the small version beside it.
///
/// # Errors
/// If it cannot be read, does not fail as it says, or the small one cannot be written.
pub fn shrink_file(
    path: &Path,
    planted: Option<&'static Planted>,
    options: Options,
    progress: impl FnMut(Size),
) -> Result<Small, BadInput> {
    let Shrunk { capsule, before, after, stopped, .. } =
        shrink(&Capsule::read(path)?, planted, options, progress)?;
    let path = beside(path);
    capsule
        .write_as(&path)
        .map_err(|error| BadInput(format!("{}: cannot be written: {error}", path.display())))?;
    Ok(Small { path, before, after, stopped })
}

/// Where the small version of a capsule is written if nothing else is said: beside it.
pub fn beside(capsule: &Path) -> PathBuf {
    capsule.with_extension("min.json")
}

fn tree_of(plan: &Plan) -> Value {
    serde_json::to_value(plan).unwrap_or_default()
}
