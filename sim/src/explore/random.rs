//! Random walks through a space: by priorities, as PCT draws them (Burckhardt and others, "A Randomized Scheduler with Probabilistic
//! Guarantees of Finding Bugs", ASPLOS 2010), to look for violations where a search does not come to its end; and evenly, as
//! Knuth did, to tell how large a search without any reduction would be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::automaton::Bytes;
use super::bounds::Space;
use super::monitor::Broken;
use super::search::{Found, LONGEST, Until};
use super::step::{Explored, Silent};
use super::world::Choice;
use crate::planted::Planted;
use crate::streams::Streams;

/// At so many steps of a walk who came first comes last from there on.
const CHANGES: usize = 3;

/// How long a walk is taken to be before one has come to its end.
const USUAL: usize = 40;

/// How to walk.
#[derive(Clone, Debug)]
pub struct RandomOptions {
    /// How many walks.
    pub walks: u64,
    /// What they are drawn from; the same seed gives the same walks.
    pub seed: u64,
    /// Threads.
    pub jobs: usize,
    /// When to end earlier.
    pub until: Until,
}

/// What walks came to.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// The first violation, of the walk with the least number.
    pub found: Option<Found>,
    /// Walks that came to their end.
    pub walks: u64,
    /// Steps taken.
    pub steps: u64,
    /// Different states in which walks ended.
    pub ends: usize,
    /// How long it took.
    pub took: Duration,
}

/// Takes random walks.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the time that walking takes, and the threads that it runs on; no explored run sees either"
)]
pub fn random(
    space: &Space,
    planted: Option<&'static Planted>,
    options: &RandomOptions,
    mut progress: impl FnMut(u64),
) -> Walked {
    let began = std::time::Instant::now();
    let explored = Explored::new(space, planted, false);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new((Walked::default(), BTreeSet::new(), u64::MAX));
    std::thread::scope(|scope| {
        let work = || {
            let mut bytes = Bytes::default();
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= options.walks {
                    return;
                }
                let walk = Walk::new(options.seed, number).take(&explored, space, &mut bytes);
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                let (walked, ends, first) = &mut *total;
                walked.walks += 1;
                walked.steps += walk.path.len() as u64;
                match walk.end {
                    Err(broken) if number < *first => {
                        *first = number;
                        let Broken { invariant, detail } = broken;
                        walked.found = Some(Found { invariant, detail, path: walk.path });
                        stop.store(true, Ordering::Relaxed);
                    }
                    Err(_) => {}
                    Ok(end) => {
                        ends.insert(end);
                    }
                }
            }
        };
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(20));
            if options.until.is_over(began.elapsed()) {
                stop.store(true, Ordering::Relaxed);
            }
            progress(next.load(Ordering::Relaxed).min(options.walks));
        }
    });
    let (mut walked, ends, _) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    walked.ends = ends.len();
    walked.took = began.elapsed();
    walked
}

/// What takes steps, as far as priorities go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    Process(u8),
    /// The network between a process and the store.
    Network(u8),
    Lease(u8),
    Store,
}

impl Actor {
    fn of(choice: Choice) -> Self {
        match (choice.own(), choice) {
            (Some(process), _) | (None, Choice::TakeOver { process }) => Self::Process(process),
            (None, Choice::Expire { process } | Choice::Revoke { process }) => Self::Lease(process),
            (
                None,
                Choice::Apply { process, .. }
                | Choice::ApplyLagging { process, .. }
                | Choice::ApplyLate { process, .. }
                | Choice::Open { process, .. },
            ) => Self::Network(process),
            (None, _) => Self::Store,
        }
    }
}

/// A walk by priorities.
struct Walk {
    rng: ChaCha8Rng,
    priorities: BTreeMap<Actor, u32>,
    /// The steps at which who came first comes last.
    changes: BTreeSet<usize>,
    /// The steps at which something goes wrong, if something can.
    faults: BTreeSet<usize>,
    path: Vec<Choice>,
}

/// A walk that was taken, and the state in which it ended.
struct Taken {
    path: Vec<Choice>,
    end: Result<u128, Broken>,
}

impl Walk {
    fn new(seed: u64, number: u64) -> Self {
        let rng = Streams::new(seed).stream(&format!("walk {number}"));
        let priorities = BTreeMap::new();
        Self { rng, priorities, changes: BTreeSet::new(), faults: BTreeSet::new(), path: Vec::new() }
    }

    fn take(mut self, explored: &Explored, space: &Space, bytes: &mut Bytes) -> Taken {
        for _ in 0..CHANGES {
            self.changes.insert(self.rng.random_range(0..USUAL));
        }
        for _ in 0..space.bounds.each().iter().map(|left| u32::from(*left)).sum() {
            self.faults.insert(self.rng.random_range(0..USUAL));
        }
        let mut world = match explored.begin(space, &mut Silent) {
            Ok(world) => world,
            Err(broken) => return Taken { path: self.path, end: Err(broken) },
        };
        loop {
            let enabled = world.enabled(&explored.roles);
            let over = enabled.iter().all(Choice::is_fault);
            if over && let Some(broken) = world.at_the_end(explored) {
                return Taken { path: self.path, end: Err(broken) };
            }
            let Some(choice) = self.choose(&enabled) else {
                return Taken { path: self.path, end: Ok(world.seen(bytes)) };
            };
            self.path.push(choice);
            if let Err(broken) = world.take(explored, choice, &mut Silent) {
                return Taken { path: self.path, end: Err(broken) };
            }
            if self.path.len() >= LONGEST as usize {
                return Taken { path: self.path, end: Err(Broken::goes_round()) };
            }
        }
    }

    /// None when nothing is left but what need not happen, and that is not to happen now.
    fn choose(&mut self, enabled: &[Choice]) -> Option<Choice> {
        let step = self.path.len();
        let faults: Vec<Choice> = enabled.iter().filter(|choice| choice.is_fault()).copied().collect();
        // What is not drawn in time may still come at the end of the run.
        if self.faults.first().is_some_and(|at| *at <= step) && !faults.is_empty() {
            self.faults.pop_first();
            return Some(faults[self.rng.random_range(0..faults.len())]);
        }
        let mut steps: Vec<Choice> = enabled.iter().filter(|choice| !choice.is_fault()).copied().collect();
        for choice in &steps {
            let priority = self.rng.random_range(u32::MAX / 2..u32::MAX);
            self.priorities.entry(Actor::of(*choice)).or_insert(priority);
        }
        let first =
            steps.iter().map(|choice| Actor::of(*choice)).max_by_key(|actor| self.priorities[actor])?;
        if self.changes.remove(&step) {
            self.priorities.insert(first, self.changes.len() as u32);
        }
        let first =
            steps.iter().map(|choice| Actor::of(*choice)).max_by_key(|actor| self.priorities[actor])?;
        steps.retain(|choice| Actor::of(*choice) == first);
        Some(steps[self.rng.random_range(0..steps.len())])
    }
}

/// How large a search is that leaves out nothing, estimated from so many walks (Knuth, "Estimating the Efficiency of Backtrack
/// Programs", 1975): steps, and complete runs.
pub fn plain_size(space: &Space, walks: u64) -> (f64, f64) {
    let explored = Explored::new(space, None, false);
    let (mut steps, mut executions) = (0.0, 0.0);
    for number in 0..walks {
        let mut rng = Streams::new(0).stream(&format!("size {number}"));
        let Ok(mut world) = explored.begin(space, &mut Silent) else { return (0.0, 0.0) };
        let mut paths = 1.0;
        for _ in 0..LONGEST {
            let enabled = world.enabled(&explored.roles);
            if enabled.iter().all(Choice::is_fault) {
                executions += paths;
            }
            if enabled.is_empty() {
                break;
            }
            paths *= enabled.len() as f64;
            steps += paths;
            if world.take(&explored, enabled[rng.random_range(0..enabled.len())], &mut Silent).is_err() {
                break;
            }
        }
    }
    (steps / walks as f64, executions / walks as f64)
}
