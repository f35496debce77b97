//! Runs the seeds of a simulation, on several threads, until one fails; which one that is does not depend on how many threads
//! there are. Some seeds are run twice, and what differs then is no seed's doing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::trial::Trial;
use super::view::name_of;
use crate::history::{History, What};
use crate::plan::{OwnSpec, Plan};
use crate::report::timeline;
use crate::run::{Run, Verdict, execute_with};
use crate::scenario::BadInput;

/// Each so many seeds one is done twice and compared, the first always.
const REDO_EVERY: u64 = 20;

/// What came of a simulation in which nothing failed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many failures of former times were run again first.
    pub regressions: u64,
    /// How many seeds were done twice and compared.
    pub redone: u64,
    /// How many steps happened in all.
    pub steps: u64,
    /// How many events clients told.
    pub events: u64,
    /// How many holds clients told.
    pub holds: u64,
    /// The faults that began, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many seeds hit each mark.
    pub marks: BTreeMap<String, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        write!(
            f,
            "{} seeds green, {} of them twice with the same history; {} steps, {} events told, {} holds told, \
             {faults} faults of {} kinds, {} former failures run again",
            self.seeds,
            self.redone,
            self.steps,
            self.events,
            self.holds,
            self.faults.len(),
            self.regressions
        )
    }
}

/// A seed that is not green, or not the same twice.
pub(super) struct Red {
    pub(super) plan: Arc<Plan>,
    pub(super) what: Trouble,
}

/// What is wrong with a seed.
pub(super) enum Trouble {
    Failed(Verdict),
    /// Run twice, it gave two histories; in words.
    Differs(String),
}

/// Runs seeds. Gives what they amount to, and the first that is wrong.
pub(super) fn run(
    trial: &Trial,
    spec: &OwnSpec,
    seeds: &Range<u64>,
    jobs: usize,
) -> Result<(Report, Option<Red>), BadInput> {
    let (next, over) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let found: Mutex<Found> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let one = one(trial, spec, seed, (seed - seeds.start).is_multiple_of(REDO_EVERY));
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    // Seeds are begun in order and finished once begun: the first failure of all is among them.
                    over.fetch_or(found.take_in(one, trial), Ordering::Relaxed);
                }
            });
        }
    });
    let Found { report, red, trouble } = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    match trouble {
        Some(bad) => Err(bad),
        None => Ok((report, red)),
    }
}

#[derive(Default)]
struct Found {
    report: Report,
    red: Option<Red>,
    trouble: Option<BadInput>,
}

impl Found {
    /// Takes a seed in; true if no further one is to be begun.
    fn take_in(&mut self, one: Result<One, BadInput>, trial: &Trial) -> bool {
        match one {
            Ok(One { red, counts, hits }) => {
                self.report.add(counts);
                for (mark, hit) in trial.marks.iter().zip(hits) {
                    *self.report.marks.entry(mark.name.clone()).or_default() += u64::from(hit);
                }
                if let Some(red) = red
                    && self.red.as_ref().is_none_or(|known| red.plan.seed < known.plan.seed)
                {
                    self.red = Some(red);
                }
            }
            Err(bad) => {
                self.trouble.get_or_insert(bad);
            }
        }
        self.red.is_some() || self.trouble.is_some()
    }
}

impl Report {
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.redone += other.redone;
        self.steps += other.steps;
        self.events += other.events;
        self.holds += other.holds;
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }
}

struct One {
    red: Option<Red>,
    counts: Report,
    hits: Vec<bool>,
}

fn one(trial: &Trial, spec: &OwnSpec, seed: u64, redo: bool) -> Result<One, BadInput> {
    let plan = Arc::new(Plan::draw_own(spec, seed));
    let (verdict, counts, hits, kept) = execute_with(&plan, trial, |run| {
        let (verdict, hits) = (trial.judge(&plan, &run), trial.hits(&plan, &run));
        (verdict, count(&run.history), hits, redo.then_some(run))
    })?;
    let differs = match kept {
        Some(first) => {
            execute_with(&plan, trial, |second| difference(&plan, &first, &second))?.map(Trouble::Differs)
        }
        None => None,
    };
    let failed = (verdict != Verdict::Green).then_some(Trouble::Failed(verdict));
    // What is not the same twice cannot be judged.
    let red = differs.or(failed).map(|what| Red { plan, what });
    Ok(One { red, counts: Report { redone: u64::from(redo), ..counts }, hits })
}

fn count(history: &History) -> Report {
    let mut counts = Report { seeds: 1, steps: history.steps.len() as u64, ..Report::default() };
    for step in &history.steps {
        match &step.what {
            What::Own(_) => counts.events += 1,
            What::Granted { .. } => counts.holds += 1,
            What::FaultBegins { fault, .. } => *counts.faults.entry(fault.name()).or_default() += 1,
            _ => {}
        }
    }
    counts
}

/// The first step in which two runs of a plan differ, in words.
fn difference(plan: &Plan, first: &Run, second: &Run) -> Option<String> {
    let step = first.history.first_difference(&second.history)?;
    let shown = |run: &Run| match run.history.steps.get(step) {
        Some(at) => {
            let seconds = std::time::Duration::from_nanos(at.at_ns).as_secs_f64();
            let who = name_of(plan, at.node);
            format!("at {seconds:.6} s {} ({who}): {}", at.node, timeline::text(&at.what))
        }
        None => "no such step".to_owned(),
    };
    Some(format!("step {step} was first\n    {}\n  and then\n    {}", shown(first), shown(second)))
}
