//! How soon planted bugs are killed: each in its own scenario over disjoint ranges of seeds, and in every other scenario once.
//! What a campaign is worth is what it would catch; this measures it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use serde::Serialize;

use super::execute::execute_here;
use super::{Run, SeedReport, Verdict, judge};
use crate::plan::Plan;
use crate::planted::{CANARIES, Planted};
use crate::scenario::{BadInput, Scenario};

/// How bugs are hunted.
#[derive(Clone, Debug)]
pub struct HuntOptions {
    /// How many ranges of seeds each bug is hunted over in its own scenario.
    pub ranges: u64,
    /// How many seeds a range has at most; it ends with the first kill.
    pub seeds: u64,
    /// How many seeds of every other scenario are tried.
    pub elsewhere: u64,
    /// How many seeds run at a time.
    pub jobs: usize,
}

/// Ranges begin so far apart.
const APART: u64 = 100_000;

/// In so many seeds of another scenario something must be otherwise than without the bug, or it is not there.
const LOOKS: u64 = 5;

/// A seed that takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// What one range of seeds came to.
#[derive(Clone, Debug, Default)]
struct Found {
    /// After how many seeds the invariant that names the bug broke, the last one counted.
    killed_after: Option<u64>,
    /// In how many seeds each invariant broke up to then.
    broke: BTreeMap<String, u64>,
    /// In how many seeds something panicked.
    panics: u64,
    /// Whether a seed hung.
    hung: bool,
    /// Whether any history was otherwise than without the bug. Only looked for in other scenarios.
    differs: bool,
}

/// What became of one planted bug.
#[derive(Clone, Debug, Serialize)]
pub struct Kill {
    /// The bug.
    pub bug: &'static str,
    /// Its scenario.
    pub scenario: &'static str,
    /// The invariant that is to kill it.
    pub invariant: &'static str,
    /// Whether that invariant did in any range.
    pub killed: bool,
    /// In how many ranges.
    pub ranges_killed: u64,
    /// Of how many.
    pub ranges: u64,
    /// Seeds to the first kill, the median over the ranges; none if most ranges have no kill.
    pub median_seeds: Option<u64>,
    /// Seeds to the first kill in the slowest range that has one.
    pub most_seeds: Option<u64>,
    /// In how many seeds another invariant broke, before or with the first kill.
    pub by_others: BTreeMap<String, u64>,
    /// In how many seeds something panicked: no kill.
    pub panics: u64,
    /// Whether a seed hung: no kill.
    pub hung: bool,
    /// By which invariants it is killed in other scenarios; a scenario in which it changes something and breaks nothing has an
    /// empty list, one in which it changes nothing is not there.
    pub elsewhere: BTreeMap<String, Vec<String>>,
}

/// What became of a canary.
#[derive(Clone, Debug, Serialize)]
pub struct Canary {
    /// Its name.
    pub canary: &'static str,
    /// Whether every scenario is to kill it, or none.
    pub must_die: bool,
    /// The scenarios that killed it.
    pub killed_in: Vec<String>,
    /// Those that did not.
    pub survived_in: Vec<String>,
}

impl Canary {
    /// Whether it did what it must.
    pub fn is_good(&self) -> bool {
        if self.must_die { self.survived_in.is_empty() } else { self.killed_in.is_empty() }
    }
}

/// The whole hunt; it has no date, so that an equal one is equal to the letter.
#[derive(Clone, Debug, Serialize)]
pub struct Hunt {
    /// The harness's version.
    pub version: &'static str,
    /// How many bugs the invariants that name them killed.
    pub killed: usize,
    /// Of how many.
    pub total: usize,
    /// Each bug.
    pub bugs: Vec<Kill>,
    /// The canaries.
    pub canaries: Vec<Canary>,
}

impl Hunt {
    /// Whether every bug was killed, and the canaries tell that kills mean something.
    pub fn is_good(&self) -> bool {
        self.killed == self.total && self.canaries.iter().all(Canary::is_good)
    }
}

/// A range of seeds of one scenario with one bug.
#[derive(Clone, Copy)]
struct Task<'a> {
    planted: &'static Planted,
    scenario: &'a Scenario,
    first: u64,
    seeds: u64,
    is_own: bool,
}

/// Hunts `bugs`, and the canaries, in `scenarios`. `progress` is told of each range that is done, of how many.
///
/// # Errors
/// If a scenario's cluster cannot be.
pub fn hunt(
    bugs: &[&'static Planted],
    scenarios: &[Scenario],
    options: &HuntOptions,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Hunt, BadInput> {
    let hunted = bugs.iter().copied().chain(CANARIES.iter().map(|canary| &canary.bug));
    let mut tasks = Vec::new();
    for planted in hunted {
        for scenario in scenarios {
            let is_own = scenario.name == planted.scenario;
            let ranges = if is_own { options.ranges } else { 1 };
            let seeds = if is_own { options.seeds } else { options.elsewhere };
            let range = |range| Task { planted, scenario, first: range * APART, seeds, is_own };
            tasks.extend((0..ranges).map(range));
        }
    }
    let found = run_all(&tasks, options.jobs, progress)?;
    let of = |planted: &Planted, scenario: &str| -> Vec<&Found> {
        let here = tasks.iter().zip(&found);
        here.filter(|(task, _)| task.planted.name == planted.name && task.scenario.name == scenario)
            .map(|(_, found)| found)
            .collect()
    };
    let bugs: Vec<Kill> = bugs.iter().map(|planted| kill(planted, scenarios, &of)).collect();
    let canaries = CANARIES
        .iter()
        .map(|canary| {
            let killed = |scenario: &&Scenario| {
                of(&canary.bug, &scenario.name).iter().any(|found| !found.broke.is_empty())
            };
            let (dead, alive): (Vec<&Scenario>, Vec<&Scenario>) = scenarios.iter().partition(killed);
            let names = |scenarios: Vec<&Scenario>| scenarios.iter().map(|s| s.name.clone()).collect();
            Canary {
                canary: canary.bug.name,
                must_die: canary.must_die,
                killed_in: names(dead),
                survived_in: names(alive),
            }
        })
        .collect();
    let killed = bugs.iter().filter(|bug| bug.killed).count();
    Ok(Hunt { version: env!("CARGO_PKG_VERSION"), killed, total: bugs.len(), bugs, canaries })
}

fn kill<'f>(
    planted: &'static Planted,
    scenarios: &[Scenario],
    of: &impl Fn(&Planted, &str) -> Vec<&'f Found>,
) -> Kill {
    let own = of(planted, planted.scenario);
    // A range without a kill counts as longer than any with one.
    let mut seeds: Vec<Option<u64>> = own.iter().map(|found| found.killed_after).collect();
    seeds.sort_by_key(|killed_after| killed_after.unwrap_or(u64::MAX));
    let mut by_others: BTreeMap<String, u64> = BTreeMap::new();
    for (invariant, count) in own.iter().flat_map(|found| &found.broke) {
        if invariant != planted.invariant {
            *by_others.entry(invariant.clone()).or_default() += count;
        }
    }
    let elsewhere = scenarios.iter().filter(|scenario| scenario.name != planted.scenario);
    let elsewhere = elsewhere.filter_map(|scenario| {
        let found = of(planted, &scenario.name);
        let broke: BTreeSet<String> = found.iter().flat_map(|found| found.broke.keys().cloned()).collect();
        let is_there = !broke.is_empty() || found.iter().any(|found| found.differs);
        is_there.then(|| (scenario.name.clone(), broke.into_iter().collect()))
    });
    Kill {
        bug: planted.name,
        scenario: planted.scenario,
        invariant: planted.invariant,
        killed: own.iter().any(|found| found.killed_after.is_some()),
        ranges_killed: own.iter().filter(|found| found.killed_after.is_some()).count() as u64,
        ranges: own.len() as u64,
        median_seeds: seeds.get(seeds.len() / 2).copied().flatten(),
        most_seeds: seeds.iter().filter_map(|&killed_after| killed_after).max(),
        by_others,
        panics: own.iter().map(|found| found.panics).sum(),
        hung: own.iter().any(|found| found.hung),
        elsewhere: elsewhere.collect(),
    }
}

fn run_all(
    tasks: &[Task<'_>],
    jobs: usize,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Vec<Found>, BadInput> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, Result<Found, BadInput>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(index) else { return };
                    let found = range(task);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(index, found);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, tasks.len());
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Runs seeds until the bug is killed: in its own scenario by the invariant that names it, elsewhere by any.
fn range(task: &Task<'_>) -> Result<Found, BadInput> {
    let mut found = Found::default();
    for (count, seed) in (1..=task.seeds).zip(task.first..) {
        let Some(report) = within_time(task.scenario, seed, Some(task.planted))? else {
            found.hung = true;
            return Ok(found);
        };
        if !task.is_own && !found.differs && count <= LOOKS {
            let without = within_time(task.scenario, seed, None)?;
            found.differs = without.is_some_and(|without| without.hash != report.hash);
        }
        match report.verdict {
            Verdict::Green => {}
            Verdict::Panic { .. } => found.panics += 1,
            Verdict::RanAway { .. } => found.hung = true,
            Verdict::Broken { violations } => {
                // One for each invariant that broke.
                for violation in violations {
                    *found.broke.entry(violation.invariant).or_default() += 1;
                }
                let named = found.broke.contains_key(task.planted.invariant);
                if named {
                    found.killed_after = Some(count);
                }
                if named || !task.is_own {
                    return Ok(found);
                }
            }
        }
        if !task.is_own && !found.differs && count == LOOKS {
            return Ok(found);
        }
    }
    Ok(found)
}

/// One seed; `None` if it hangs. Its threads are then left behind, and end with the process.
#[allow(clippy::disallowed_methods, reason = "a thread to wait for with a limit; nothing simulated sees it")]
fn within_time(
    scenario: &Scenario,
    seed: u64,
    planted: Option<&'static Planted>,
) -> Result<Option<SeedReport>, BadInput> {
    let (sender, receiver) = mpsc::channel();
    let scenario = scenario.clone();
    std::thread::Builder::new()
        .name(format!("judge of seed {seed}"))
        .spawn(move || {
            let plan = Arc::new(Plan::draw(&scenario, seed));
            let report =
                execute_here(&plan, planted).map(|run: Run| judge(&plan, &run, &scenario.invariants));
            // Nobody waits any more if it came too late.
            let _ = sender.send(report);
        })
        .map_err(|error| BadInput(format!("no thread could be started: {error}")))?;
    receiver.recv_timeout(HANGS_AFTER).ok().transpose()
}
