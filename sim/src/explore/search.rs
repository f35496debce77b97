//! The search: every state that can be reached, depth first, on all cores.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::automaton::Bytes;
use super::bounds::Space;
use super::frontier::{Frontier, Hex, Open};
use super::independence::Touches;
use super::monitor::Broken;
use super::step::{Explored, Silent};
use super::world::{Choice, World};
use crate::planted::Planted;
use crate::scenario::BadInput;

/// A run that does not end within so many steps goes round in circles.
pub(super) const LONGEST: u32 = 500;

/// How much of what is redundant is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Nothing: every order of all steps. The judge of the others
    Plain,
    /// A state that was visited is not visited again
    States,
    /// As `states`, and the steps of a process alone where nothing that others do has to do with them
    Full,
    /// States are not told apart; of steps that are independent one order is taken (sleep sets). To compare with
    Sleep,
}

/// When a search ends though not all was searched.
#[derive(Clone, Debug, Default)]
pub struct Until {
    /// After this time.
    pub budget: Option<Duration>,
    /// When this is no longer 0.
    pub signal: Option<Arc<AtomicUsize>>,
}

impl Until {
    pub(super) fn is_over(&self, elapsed: Duration) -> bool {
        self.budget.is_some_and(|budget| elapsed >= budget)
            || self.signal.as_ref().is_some_and(|signal| signal.load(Ordering::Relaxed) != 0)
    }
}

/// How to search.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// What is left out.
    pub reduction: Reduction,
    /// Threads.
    pub jobs: usize,
    /// When the search ends, wherever it is.
    pub until: Until,
    /// What is left of a search that ends early is handed back, to be continued.
    pub keeps_frontier: bool,
    /// Carry out each step of the library anew, and remember none.
    pub forgets: bool,
    /// The search goes on after a violation, and collects which invariants broke.
    pub all: bool,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            reduction: Reduction::Full,
            jobs: 1,
            until: Until::default(),
            keeps_frontier: false,
            forgets: false,
            all: false,
        }
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
    /// What is left of a search that ended early, if it was asked for.
    pub frontier: Option<Frontier>,
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
    /// With sleep sets: steps that were tried elsewhere, and nothing since has to do with.
    asleep: Vec<(Choice, Touches)>,
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
    reason = "only asked whether something is in it; put in order where it is gone through"
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

    /// All of them, in order, taken out.
    fn take(&self) -> Vec<u128> {
        let mut all: Vec<u128> =
            self.shards.iter().flat_map(|shard| std::mem::take(&mut *lock(shard))).collect();
        all.sort_unstable();
        all
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that a state leads to share its part of the whole; without any it is done.
fn share(weight: f64, among: &mut [Item], done: &mut Outcome) {
    if among.is_empty() {
        done.done += weight;
    }
    let part = weight / among.len() as f64;
    among.iter_mut().for_each(|item| item.weight = part);
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
pub fn search(
    space: &Space,
    planted: Option<&'static Planted>,
    options: &SearchOptions,
    progress: impl FnMut(Progress),
) -> Outcome {
    let search = Search::new(space, planted, options);
    match search.explored.begin(space, &mut Silent) {
        Ok(world) => {
            let item = Item { world, way: None, depth: 0, weight: 1.0, asleep: Vec::new() };
            lock(&search.pool).push(item);
            search.states.store(1, Ordering::Relaxed);
        }
        Err(broken) => search.found(broken, Vec::new()),
    }
    search.run(space, planted, progress)
}

/// Goes on with a search that ended early; `options` say how, but for what is left out: that stays as it was.
///
/// # Errors
/// One line if this build does not come to the states that the search had come to.
pub fn resume(
    frontier: Frontier,
    planted: Option<&'static Planted>,
    options: &SearchOptions,
    progress: impl FnMut(Progress),
) -> Result<Outcome, BadInput> {
    let Frontier { head, visited } = frontier;
    let options = SearchOptions { reduction: head.reduction, ..options.clone() };
    let search = Search::new(&head.space, planted, &options);
    let elsewhere = || BadInput("it was made by another build: its steps lead elsewhere now".to_owned());
    let mut bytes = Bytes::default();
    for open in head.open {
        let mut world = search.explored.begin(&head.space, &mut Silent).map_err(|_| elsewhere())?;
        let mut way = None;
        let depth = open.path.len() as u32;
        for choice in open.path {
            let possible = world.enabled(&search.explored.roles).contains(&choice);
            if !possible || world.take(&search.explored, choice, &mut Silent).is_err() {
                return Err(elsewhere());
            }
            way = Some(Arc::new(Link { choice, before: way }));
        }
        if world.hash(&mut bytes) != open.state.0 {
            return Err(elsewhere());
        }
        let item = Item { world, way, depth, weight: open.weight, asleep: Vec::new() };
        lock(&search.pool).push(item);
    }
    for hash in visited {
        search.visited.insert(hash);
    }
    search.steps.store(head.steps, Ordering::Relaxed);
    search.states.store(head.states, Ordering::Relaxed);
    {
        let mut total = lock(&search.total);
        total.executions = head.executions;
        total.longest = head.longest;
        total.done = head.done;
        total.ends = head.ends.into_iter().map(|Hex(end)| end).collect();
    }
    Ok(search.run(&head.space, planted, progress))
}

impl<'s> Search<'s> {
    fn new(space: &Space, planted: Option<&'static Planted>, options: &'s SearchOptions) -> Self {
        Self {
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
        }
    }

    #[allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the time that a search may take, and the threads that it runs on; no explored run sees either"
    )]
    fn run(
        self,
        space: &Space,
        planted: Option<&'static Planted>,
        mut progress: impl FnMut(Progress),
    ) -> Outcome {
        let search = self;
        let options = search.options;
        let began = std::time::Instant::now();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(|| search.work())).collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                std::thread::park_timeout(Duration::from_millis(20));
                if options.until.is_over(began.elapsed()) {
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
        if options.keeps_frontier && !left.is_empty() && outcome.found.is_empty() {
            outcome.frontier = Some(search.frontier(space, planted, &outcome, &left));
        }
        outcome
    }

    fn frontier(
        &self,
        space: &Space,
        planted: Option<&'static Planted>,
        outcome: &Outcome,
        left: &[Item],
    ) -> Frontier {
        let mut frontier = Frontier::new(space, planted.map(|planted| planted.name), self.options.reduction);
        let mut bytes = Bytes::default();
        let open = |item: &Item| Open {
            path: path(item.way.as_ref(), None),
            state: Hex(item.world.hash(&mut bytes)),
            weight: item.weight,
        };
        frontier.visited = self.visited.take();
        let head = &mut frontier.head;
        head.open = left.iter().map(open).collect();
        head.visited = frontier.visited.len() as u64;
        head.executions = outcome.executions;
        head.steps = outcome.steps;
        head.states = outcome.states;
        head.longest = outcome.longest;
        head.done = outcome.done;
        head.ends = outcome.ends.iter().copied().map(Hex).collect();
        frontier
    }
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

    /// Tries the steps of one state.
    fn go_on(&self, item: Item, own: &mut Vec<Item>, bytes: &mut Bytes, done: &mut Outcome) {
        let Item { mut world, way, depth, weight, asleep } = item;
        let enabled = world.enabled(&self.explored.roles);
        if enabled.iter().all(Choice::is_fault) {
            done.executions += 1;
            done.ends.push(world.seen(bytes));
            if let Some(broken) = world.at_the_end(&self.explored) {
                self.found(broken, path(way.as_ref(), None));
            }
        }
        done.longest = done.longest.max(depth);
        if depth >= LONGEST {
            self.found(Broken::goes_round(), path(way.as_ref(), None));
            return;
        }
        let choices = match self.options.reduction {
            Reduction::Full => world.persistent(&self.explored.roles, enabled),
            Reduction::Plain | Reduction::States | Reduction::Sleep => enabled,
        };
        let before = own.len();
        if self.options.reduction == Reduction::Sleep {
            let from = Item { world, way, depth, weight, asleep };
            self.try_awake(&from, choices, own, done);
            share(weight, &mut own[before..], done);
            return;
        }
        let mut left = choices.len();
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
            own.push(Item { world: next, way, depth: depth + 1, weight: 0.0, asleep: Vec::new() });
        }
        share(weight, &mut own[before..], done);
    }

    /// Tries the steps that are not asleep. Each of them sleeps in what comes after its later siblings, until a step is taken that
    /// has to do with it.
    fn try_awake(&self, from: &Item, choices: Vec<Choice>, own: &mut Vec<Item>, done: &mut Outcome) {
        let mut asleep = from.asleep.clone();
        for choice in choices {
            if asleep.iter().any(|(other, _)| *other == choice) {
                continue;
            }
            done.steps += 1;
            let (world, taken, touches) = from.world.take_noting(&self.explored, choice);
            match taken {
                Err(broken) => self.found(broken, path(from.way.as_ref(), Some(choice))),
                Ok(()) => {
                    done.states += 1;
                    let still = asleep.iter().filter(|(_, other)| other.independent(touches));
                    let way = Some(Arc::new(Link { choice, before: from.way.clone() }));
                    let asleep = still.copied().collect();
                    own.push(Item { world, way, depth: from.depth + 1, weight: 0.0, asleep });
                }
            }
            asleep.push((choice, touches));
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
