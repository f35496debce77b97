//! The search: every state that can be reached, depth first, on all cores.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::automaton::Bytes;
use super::bounds::Space;
use super::monitor::Broken;
use super::step::{Explored, Silent};
use super::world::{Choice, World};
use crate::planted::Planted;

/// A run that does not end within so many steps goes round in circles.
pub(super) const LONGEST: u32 = 500;

/// How much of what is redundant is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reduction {
    /// Nothing: every order of all steps. The judge of the others
    Plain,
    /// A state that was visited is not visited again
    States,
    /// As `states`, and of steps that commute one order
    Full,
}

/// How to search.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// What is left out.
    pub reduction: Reduction,
    /// Threads.
    pub jobs: usize,
    /// After this time the search ends, wherever it is.
    pub budget: Option<Duration>,
    /// Carry out each step of the library anew, and remember none.
    pub forgets: bool,
    /// The search goes on after a violation, and collects which invariants broke.
    pub all: bool,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { reduction: Reduction::Full, jobs: 1, budget: None, forgets: false, all: false }
    }
}

/// A run that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The invariant.
    pub invariant: &'static str,
    /// How it broke.
    pub detail: String,
    /// The steps that lead there.
    pub path: Vec<Choice>,
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The violations: the first, or all kinds of them.
    pub found: Vec<Found>,
    /// Everything was searched.
    pub exhausted: bool,
    /// Runs that came to their end, each a way through the states that was not gone before.
    pub executions: u64,
    /// Steps taken.
    pub steps: u64,
    /// Distinct states; with `plain` none are told apart.
    pub states: u64,
    /// The states in which runs ended, hashed, in order.
    pub ends: Vec<u128>,
    /// The part of the search that was done, estimated if it was not exhausted.
    pub done: f64,
    /// The longest run.
    pub longest: u32,
    /// States of single processes, and inputs that the library's code was given.
    pub local: (usize, u64),
    /// How many states have steps that were not tried, and the way to one of them.
    pub unexplored: usize,
    /// The way to the first of these.
    pub first_unexplored: Vec<Choice>,
    /// How long it took.
    pub took: Duration,
}

/// How far a search is, now and then.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// As in [`Outcome`].
    pub steps: u64,
    /// As in [`Outcome`].
    pub states: u64,
    /// As in [`Outcome`].
    pub done: f64,
}

/// A way to a state, backwards.
struct Link {
    choice: Choice,
    before: Option<Arc<Link>>,
}

/// A state from which the search has to go on.
struct Item {
    world: World,
    way: Option<Arc<Link>>,
    depth: u32,
    /// Its part of the whole.
    weight: f64,
}

fn path(way: Option<&Arc<Link>>, last: Option<Choice>) -> Vec<Choice> {
    let mut path: Vec<Choice> = last.into_iter().collect();
    let mut way = way;
    while let Some(link) = way {
        path.push(link.choice);
        way = link.before.as_ref();
    }
    path.reverse();
    path
}

/// The hash of a state is one already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().take(8).enumerate() {
            self.0 |= u64::from(*byte) << (at * 8);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[allow(
    clippy::disallowed_types,
    reason = "only asked whether something is in it; never gone through in its order"
)]
type Shard = std::collections::HashSet<u128, BuildHasherDefault<AsIs>>;

/// The states that were visited.
struct Visited {
    shards: Vec<Mutex<Shard>>,
}

impl Visited {
    fn new() -> Self {
        Self { shards: (0..64).map(|_| Mutex::default()).collect() }
    }

    /// Notes a state; whether it is new.
    fn insert(&self, hash: u128) -> bool {
        lock(&self.shards[(hash >> 122) as usize]).insert(hash)
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Search<'s> {
    explored: Explored,
    options: &'s SearchOptions,
    visited: Visited,
    pool: Mutex<Vec<Item>>,
    more: Condvar,
    idle: AtomicUsize,
    stop: AtomicBool,
    /// A violation ended it.
    cut_short: AtomicBool,
    steps: AtomicU64,
    states: AtomicU64,
    total: Mutex<Outcome>,
}

/// Searches a space.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the time that a search may take, and the threads that it runs on; no explored run sees either"
)]
pub fn search(
    space: &Space,
    planted: Option<&'static Planted>,
    options: &SearchOptions,
    mut progress: impl FnMut(Progress),
) -> Outcome {
    let began = std::time::Instant::now();
    let search = Search {
        explored: Explored::new(space, planted, options.forgets),
        options,
        visited: Visited::new(),
        pool: Mutex::default(),
        more: Condvar::new(),
        idle: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        cut_short: AtomicBool::new(false),
        steps: AtomicU64::new(0),
        states: AtomicU64::new(0),
        total: Mutex::new(Outcome::default()),
    };
    match search.explored.begin(space, &mut Silent) {
        Ok(world) => {
            lock(&search.pool).push(Item { world, way: None, depth: 0, weight: 1.0 });
            search.states.store(1, Ordering::Relaxed);
        }
        Err(broken) => search.found(broken, Vec::new()),
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(|| search.work())).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(20));
            if options.budget.is_some_and(|budget| began.elapsed() >= budget) {
                search.stop.store(true, Ordering::Relaxed);
                search.more.notify_all();
            }
            let (steps, states) =
                (search.steps.load(Ordering::Relaxed), search.states.load(Ordering::Relaxed));
            progress(Progress { steps, states, done: lock(&search.total).done });
        }
    });
    let mut outcome = std::mem::take(&mut *lock(&search.total));
    let left = std::mem::take(&mut *lock(&search.pool));
    outcome.exhausted = left.is_empty() && !search.cut_short.load(Ordering::Relaxed);
    outcome.unexplored = left.len();
    outcome.first_unexplored =
        left.iter().map(|item| path(item.way.as_ref(), None)).min_by_key(Vec::len).unwrap_or_default();
    outcome.steps = search.steps.load(Ordering::Relaxed);
    outcome.states = search.states.load(Ordering::Relaxed);
    outcome.local = search.explored.seen();
    outcome.ends.sort_unstable();
    outcome.ends.dedup();
    outcome.took = began.elapsed();
    outcome
}

impl Search<'_> {
    fn work(&self) {
        let mut own: Vec<Item> = Vec::new();
        let mut bytes = Bytes::default();
        let mut done = Outcome::default();
        let mut since = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(item) = own.pop().or_else(|| self.fetch()) else { break };
            self.go_on(item, &mut own, &mut bytes, &mut done);
            since += 1;
            if since >= 256 {
                since = 0;
                self.merge(&mut done);
            }
            if self.idle.load(Ordering::Relaxed) > 0 && own.len() > 1 {
                // The oldest have the most behind them.
                let half = own.len() / 2;
                lock(&self.pool).extend(own.drain(..half));
                self.more.notify_all();
            }
        }
        self.merge(&mut done);
        lock(&self.pool).append(&mut own);
    }

    /// An item of the pool, once there is one; none when all are idle.
    fn fetch(&self) -> Option<Item> {
        let mut pool = lock(&self.pool);
        if let Some(item) = pool.pop() {
            return Some(item);
        }
        let idle = self.idle.fetch_add(1, Ordering::Relaxed) + 1;
        if idle == self.options.jobs.max(1) {
            self.more.notify_all();
            return None;
        }
        loop {
            pool = self.more.wait(pool).unwrap_or_else(PoisonError::into_inner);
            if let Some(item) = pool.pop() {
                self.idle.fetch_sub(1, Ordering::Relaxed);
                return Some(item);
            }
            if self.idle.load(Ordering::Relaxed) == self.options.jobs.max(1)
                || self.stop.load(Ordering::Relaxed)
            {
                return None;
            }
        }
    }

    fn merge(&self, done: &mut Outcome) {
        self.steps.fetch_add(std::mem::take(&mut done.steps), Ordering::Relaxed);
        self.states.fetch_add(std::mem::take(&mut done.states), Ordering::Relaxed);
        let mut total = lock(&self.total);
        total.executions += std::mem::take(&mut done.executions);
        total.done += std::mem::take(&mut done.done);
        total.longest = total.longest.max(done.longest);
        total.ends.append(&mut done.ends);
        if total.ends.len() > 1 << 20 {
            total.ends.sort_unstable();
            total.ends.dedup();
        }
    }

    fn go_on(&self, item: Item, own: &mut Vec<Item>, bytes: &mut Bytes, done: &mut Outcome) {
        let Item { mut world, way, depth, weight } = item;
        let enabled = world.enabled(&self.explored.roles);
        if enabled.iter().all(Choice::is_fault) {
            done.executions += 1;
            done.ends.push(world.hash(bytes));
            if let Some(broken) = world.at_the_end().filter(|broken| self.explored.judges(broken.invariant)) {
                self.found(broken, path(way.as_ref(), None));
            }
        }
        done.longest = done.longest.max(depth);
        if depth >= LONGEST {
            let detail = format!("the run has not come to an end after {LONGEST} steps");
            self.found(Broken { invariant: "progress", detail }, path(way.as_ref(), None));
            return;
        }
        let choices = match self.options.reduction {
            Reduction::Full => world.persistent(&self.explored.roles, enabled),
            Reduction::Plain | Reduction::States => enabled,
        };
        let count = choices.len();
        let mut left = count;
        let before = own.len();
        for choice in choices {
            left -= 1;
            // The last may have the world itself.
            let mut next =
                if left == 0 { std::mem::replace(&mut world, World::empty()) } else { world.clone() };
            done.steps += 1;
            if let Err(broken) = next.take(&self.explored, choice, &mut Silent) {
                self.found(broken, path(way.as_ref(), Some(choice)));
                continue;
            }
            if self.options.reduction != Reduction::Plain && !self.visited.insert(next.hash(bytes)) {
                continue;
            }
            done.states += 1;
            let way = Some(Arc::new(Link { choice, before: way.clone() }));
            own.push(Item { world: next, way, depth: depth + 1, weight: 0.0 });
        }
        let new = own.len() - before;
        if new == 0 {
            done.done += weight;
        }
        for item in &mut own[before..] {
            item.weight = weight / new as f64;
        }
    }

    fn found(&self, broken: Broken, path: Vec<Choice>) {
        let mut total = lock(&self.total);
        let Broken { invariant, detail } = broken;
        let found = Found { invariant, detail, path };
        match total.found.iter_mut().find(|other| other.invariant == invariant) {
            Some(other) if other.path.len() > found.path.len() => *other = found,
            Some(_) => {}
            None => total.found.push(found),
        }
        if !self.options.all {
            self.stop.store(true, Ordering::Relaxed);
            self.cut_short.store(true, Ordering::Relaxed);
            self.more.notify_all();
        }
    }
}
