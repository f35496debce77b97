//! A campaign: many seeds of one scenario, on several threads, each seed on a fresh one. What it tells does not depend on how
//! many threads there are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use super::execute::{execute_here, on_fresh_thread};
use super::operations::add_up;
use super::stopwatch::Stopwatch;
use super::{Capsule, Check, Limits, Operations, Run, SeedReport, Shard, Stopped, Verdict, execute, judge};
use crate::check::Judged;
use crate::coverage::rates::Rates;
use crate::history::Step;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::scenario::{BadInput, Expect, Scenario};
use crate::shrink::{Fingerprint, Options, Size, Small, shrink_file, subject};

/// Each so many seeds one is done twice and compared.
const REDO_EVERY: u64 = 20;

/// How a campaign is run.
#[derive(Clone, Debug)]
pub struct CampaignOptions {
    /// The seeds of the whole campaign.
    pub seeds: Range<u64>,
    /// The part of them that is run here; all if there is none.
    pub shard: Option<Shard>,
    /// How many at a time.
    pub jobs: usize,
    /// The planted bug.
    pub planted: Option<&'static Planted>,
    /// Where capsules of failing seeds are written.
    pub capsules: PathBuf,
    /// How many capsules at most.
    pub most_capsules: u64,
    /// What may end it before its last seed.
    pub limits: Limits,
}

impl CampaignOptions {
    /// The seeds that are run here.
    pub fn own_seeds(&self) -> Range<u64> {
        self.shard.map_or_else(|| self.seeds.clone(), |shard| shard.part(&self.seeds))
    }
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How.
    pub verdict: Verdict,
    /// Its capsule, or why it could not be written; `None` if enough were written.
    pub capsule: Option<Result<PathBuf, String>>,
    /// The small version of it, or why there is none; `None` if it was not asked for.
    pub shrunk: Option<Result<Small, String>>,
}

/// A seed whose second run was not like its first.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The seed.
    pub seed: u64,
    /// The first step that differs.
    pub step: usize,
    /// That step in the first run, if it had so many.
    pub first: Option<Seen>,
    /// That step in the second run.
    pub second: Option<Seen>,
}

/// A step that differs: seen here, or read from another machine's report.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The step.
    Step(Box<Step>),
    /// Its line.
    Line(String),
}

/// What came of a campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The scenario.
    pub scenario: Scenario,
    /// The planted bug.
    pub planted: Option<&'static Planted>,
    /// The seeds that were to be run here.
    pub seeds: Range<u64>,
    /// The seeds of the whole campaign; the same unless this is a shard.
    pub whole: Range<u64>,
    /// Which part of it this is.
    pub shard: Option<Shard>,
    /// Why it ended before its last seed, if it did.
    pub stopped: Option<Stopped>,
    /// How many ran at a time.
    pub jobs: usize,
    /// The seeds that failed, in order.
    pub failures: Vec<Failure>,
    /// The seeds that are not deterministic, in order.
    pub differences: Vec<Difference>,
    /// How many were done twice.
    pub redone: u64,
    /// How many grants in all.
    pub grants: u64,
    /// How many operations on etcd itself in all.
    pub operations: u64,
    /// How many steps in all.
    pub steps: u64,
    /// What clients did, by kind and outcome.
    pub done: Operations,
    /// What each invariant judged.
    pub checks: BTreeMap<String, Check>,
    /// How much of what clients did to registers was judged.
    pub registers: Judged,
    /// The faults that began, by name.
    pub faults: BTreeMap<Cow<'static, str>, u64>,
    /// How many seeds hit each mark.
    pub marks: BTreeMap<Cow<'static, str>, u64>,
    /// How often each mark was hit when that was measured; `None` if it is not known.
    pub rates: Option<Rates>,
    /// Simulated time in all.
    pub simulated_ms: u64,
    /// Wall time.
    pub wall: Duration,
    /// The hash of each seed's history.
    pub hashes: BTreeMap<u64, u64>,
}

/// One seed, done.
struct Done {
    report: SeedReport,
    capsule: Option<Result<PathBuf, String>>,
    redone: bool,
    difference: Option<Difference>,
}

impl Done {
    /// Whether it is a failure that its scenario does not ask for.
    fn should_not_be(&self, scenario: &Scenario) -> bool {
        let failed = match &self.report.verdict {
            Verdict::Green => false,
            Verdict::Broken { .. } => scenario.expect == Expect::Pass,
            Verdict::Panic { .. } | Verdict::RanAway { .. } => true,
        };
        failed || self.difference.is_some()
    }
}

impl Campaign {
    /// Runs it. `progress` is told of each seed that is done, with the number of failures so far. What is done when a limit
    /// is reached is a row of seeds from the first on without a gap.
    ///
    /// # Errors
    /// If the scenario's cluster cannot be.
    pub fn run(
        scenario: &Scenario,
        options: &CampaignOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Self, BadInput> {
        let started = Stopwatch::start();
        let seeds = options.own_seeds();
        let next = AtomicU64::new(seeds.start);
        let capsules = AtomicU64::new(0);
        let (failed, stopped) = (AtomicBool::new(false), OnceLock::new());
        let mut campaign = Self::new(scenario, options);
        let mut trouble = None;
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..options.jobs.max(1) {
                let (sender, seeds) = (sender.clone(), seeds.clone());
                let (next, capsules, failed, stopped) = (&next, &capsules, &failed, &stopped);
                scope.spawn(move || {
                    loop {
                        let begun = next.load(Ordering::Relaxed) > seeds.start;
                        let has_failed = failed.load(Ordering::Relaxed);
                        if let Some(why) = options.limits.reached(started.elapsed(), begun, has_failed) {
                            stopped.get_or_init(|| why);
                            return;
                        }
                        let step = |seed| (seed < seeds.end).then(|| seed + 1);
                        let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) else {
                            return;
                        };
                        let done = one(scenario, options, seed, capsules);
                        if done.as_ref().is_ok_and(|done| done.should_not_be(scenario)) {
                            failed.store(true, Ordering::Relaxed);
                        }
                        if sender.send(done).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for done in receiver {
                match done {
                    Ok(done) => {
                        campaign.add(done);
                        progress(campaign.failures.len() as u64);
                    }
                    // The others would find the same: stop.
                    Err(bad) => {
                        next.store(seeds.end, Ordering::Relaxed);
                        trouble.get_or_insert(bad);
                    }
                }
            }
        });
        if let Some(bad) = trouble {
            return Err(bad);
        }
        campaign.sort();
        campaign.stopped = stopped.into_inner().filter(|_| campaign.count() < campaign.asked());
        campaign.wall = started.elapsed();
        Ok(campaign)
    }

    fn new(scenario: &Scenario, options: &CampaignOptions) -> Self {
        Self {
            scenario: scenario.clone(),
            planted: options.planted,
            seeds: options.own_seeds(),
            whole: options.seeds.clone(),
            shard: options.shard,
            stopped: None,
            jobs: options.jobs,
            failures: Vec::new(),
            differences: Vec::new(),
            redone: 0,
            grants: 0,
            operations: 0,
            steps: 0,
            done: Operations::new(),
            checks: BTreeMap::new(),
            registers: Judged::default(),
            faults: BTreeMap::new(),
            marks: BTreeMap::new(),
            rates: None,
            simulated_ms: 0,
            wall: Duration::ZERO,
            hashes: BTreeMap::new(),
        }
    }

    fn add(&mut self, done: Done) {
        let Done { report, capsule, redone, difference } = done;
        self.hashes.insert(report.seed, report.hash);
        self.redone += u64::from(redone);
        self.differences.extend(difference);
        self.grants += report.grants;
        self.operations += report.operations;
        self.steps += report.steps;
        self.simulated_ms += report.simulated_ms;
        self.registers.add(report.registers);
        add_up(&mut self.done, report.done);
        for (name, judged, of) in report.checks {
            self.add_check(name, &Check { seeds: 1, judged, of: of.into() });
        }
        for (name, count) in report.faults {
            *self.faults.entry(name.into()).or_default() += count;
        }
        for mark in report.marks {
            *self.marks.entry(mark.into()).or_default() += 1;
        }
        if report.verdict != Verdict::Green {
            self.failures.push(Failure { seed: report.seed, verdict: report.verdict, capsule, shrunk: None });
        }
    }

    fn add_check(&mut self, name: String, check: &Check) {
        let sum = self.checks.entry(name).or_default();
        sum.seeds += check.seeds;
        sum.judged += check.judged;
        sum.of = check.of.clone();
    }

    /// Shrinks a failure of each kind, until the limit, which is for all of them: of those that have a capsule the one that
    /// comes after the fewest steps, which has least to lose.
    pub fn shrink_failures(&mut self, options: Options, mut progress: impl FnMut(u64, Size)) {
        let (clock, planted) = (Stopwatch::start(), self.planted);
        let wanted = planted.map(|planted| planted.invariant);
        let mut kinds: Vec<(Fingerprint, usize, usize)> = Vec::new();
        for (place, failure) in self.failures.iter().enumerate() {
            let (Some(Ok(_)), Some((kind, step))) = (&failure.capsule, subject(&failure.verdict, wanted))
            else {
                continue;
            };
            match kinds.iter_mut().find(|(known, ..)| *known == kind) {
                Some((_, least, chosen)) if step < *least => (*least, *chosen) = (step, place),
                Some(_) => {}
                None => kinds.push((kind, step, place)),
            }
        }
        for (.., place) in kinds {
            let failure = &mut self.failures[place];
            let limit = options.limit.saturating_sub(clock.elapsed());
            let Some(Ok(capsule)) = &failure.capsule else { continue };
            if !limit.is_zero() {
                let (seed, options) = (failure.seed, Options { limit, ..options });
                let small = shrink_file(capsule, planted, options, |size| progress(seed, size));
                failure.shrunk = Some(small.map_err(|BadInput(why)| why));
            }
        }
    }

    fn sort(&mut self) {
        self.failures.sort_by_key(|failure| failure.seed);
        self.differences.sort_by_key(|difference| difference.seed);
    }

    /// Takes in what another shard of the same campaign found.
    pub(super) fn absorb(&mut self, other: Self) {
        self.failures.extend(other.failures);
        self.differences.extend(other.differences);
        self.sort();
        self.redone += other.redone;
        self.grants += other.grants;
        self.operations += other.operations;
        self.steps += other.steps;
        self.simulated_ms += other.simulated_ms;
        self.registers.add(other.registers);
        add_up(&mut self.done, other.done);
        for (name, check) in other.checks {
            self.add_check(name, &check);
        }
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in other.marks {
            *self.marks.entry(name).or_default() += count;
        }
        self.hashes.extend(other.hashes);
        // Shards run beside one another.
        self.jobs += other.jobs;
        self.wall = self.wall.max(other.wall);
        let code = |stopped: &Option<Stopped>| stopped.and_then(Stopped::exit_code);
        if self.stopped.is_none() || code(&self.stopped) < code(&other.stopped) {
            self.stopped = other.stopped.or(self.stopped);
        }
    }

    /// A hash over all seeds' hashes, in the order of seeds: equal for equal campaigns, however they were run.
    pub fn hash(&self) -> u64 {
        let bytes: Vec<u8> = self.hashes.values().flat_map(|hash| hash.to_le_bytes()).collect();
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    /// How many seeds it ran.
    pub fn count(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// How many seeds it was to run.
    pub fn asked(&self) -> u64 {
        self.seeds.end - self.seeds.start
    }

    /// The failures in which an invariant broke.
    pub fn broken(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter().filter(|failure| matches!(failure.verdict, Verdict::Broken { .. }))
    }

    /// The failures in which the run itself came to a wrong end: something panicked, or it never would have ended.
    pub fn wrong_ends(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter().filter(|failure| failure.verdict.wrong_end().is_some())
    }

    /// Whether it failed, and should have.
    pub fn failed_as_expected(&self) -> bool {
        self.scenario.expect == Expect::Fail && self.broken().next().is_some()
    }

    /// 0 green (or failed as expected), 1 red, 3 green but without the coverage that it owes, 4 not deterministic, 130 or
    /// 143 ended by a signal.
    pub fn exit_code(&self) -> u8 {
        if let Some(code) = self.stopped.and_then(Stopped::exit_code) {
            return code;
        }
        if !self.differences.is_empty() {
            return 4;
        }
        let as_expected = match self.scenario.expect {
            Expect::Pass => self.failures.is_empty(),
            Expect::Fail => self.failed_as_expected() && self.wrong_ends().next().is_none(),
        };
        match (as_expected, self.lacks_coverage()) {
            (false, _) => 1,
            (true, true) => 3,
            (true, false) => 0,
        }
    }
}

fn one(
    scenario: &Scenario,
    options: &CampaignOptions,
    seed: u64,
    capsules: &AtomicU64,
) -> Result<Done, BadInput> {
    let redone = (seed - options.seeds.start).is_multiple_of(REDO_EVERY);
    let (report, capsule, kept) = on_fresh_thread(seed, || {
        let plan = Arc::new(Plan::draw(scenario, seed));
        let run = execute_here(&plan, options.planted)?;
        let report = judge(&plan, &run, &scenario.invariants);
        // Before anything else can go wrong.
        let capsule = (report.verdict != Verdict::Green
            && capsules.fetch_add(1, Ordering::Relaxed) < options.most_capsules)
            .then(|| {
                let planted = options.planted.map(|planted| planted.name);
                Capsule::new(scenario, planted, &plan, &report.verdict, &run.history)
                    .write(&options.capsules)
                    .map_err(|error| error.to_string())
            });
        Ok::<_, BadInput>((report, capsule, redone.then_some(run)))
    })??;
    let difference = match kept {
        Some(run) => {
            let again = execute(&Arc::new(Plan::draw(scenario, seed)), options.planted)?;
            difference(seed, &run, &again)
        }
        None => None,
    };
    Ok(Done { report, capsule, redone, difference })
}

fn difference(seed: u64, first: &Run, second: &Run) -> Option<Difference> {
    let step = first.history.first_difference(&second.history)?;
    let at = |run: &Run| run.history.steps.get(step).cloned().map(|step| Seen::Step(Box::new(step)));
    Some(Difference { seed, step, first: at(first), second: at(second) })
}
