//! What the parts of one seed cost: drawing the plan, running it, recording, reading the history, judging it, freeing it.

use std::sync::Arc;
use std::time::Duration;

use super::execute::{execute_here, on_fresh_thread};
use super::judge::bounds;
use super::stopwatch::Stopwatch;
use crate::check::{Evidence, INVARIANTS};
use crate::coverage;
use crate::history::Recorder;
use crate::plan::Plan;
use crate::scenario::{BadInput, Scenario};

/// How long each part of one seed, or of several, took.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    /// The seeds.
    pub seeds: u64,
    /// Drawing the plan.
    pub drawing: Duration,
    /// The cluster, the clients and the faults; without `recording`.
    pub running: Duration,
    /// Taking the steps into the history, with their hashes.
    pub recording: Duration,
    /// Reading the history as evidence, once for all checks.
    pub reading: Duration,
    /// Each invariant of the scenario.
    pub judging: Vec<(&'static str, Duration)>,
    /// The coverage marks.
    pub coverage: Duration,
    /// Giving the memory of plan and history back.
    pub freeing: Duration,
    /// How many events happened.
    pub events: u64,
}

impl Phases {
    /// Measures one seed on a fresh thread, as a campaign runs it.
    ///
    /// # Errors
    /// If the scenario's cluster cannot be.
    pub fn of(scenario: &Scenario, seed: u64) -> Result<Self, BadInput> {
        on_fresh_thread(seed, || {
            let mut phases = Self { seeds: 1, ..Self::default() };
            let mut watch = Stopwatch::start();
            let plan = Arc::new(Plan::draw(scenario, seed));
            phases.drawing = watch.lap();
            let run = execute_here(&plan, None)?;
            phases.running = watch.lap();
            phases.events = run.events;
            // Within a run it is done in thousands of small pieces, too short to be timed one by one: so once more.
            let steps = run.history.steps.clone();
            watch.lap();
            let recorder = Recorder::default();
            steps.into_iter().for_each(|step| recorder.record(step.at_ns, step.node, step.what));
            phases.recording = watch.lap();
            phases.running = phases.running.saturating_sub(phases.recording);
            drop(recorder);
            watch.lap();
            let evidence = Evidence::of(&run.history, bounds(&plan));
            phases.reading = watch.lap();
            for invariant in
                INVARIANTS.iter().filter(|one| scenario.invariants.iter().any(|name| name == one.name))
            {
                // Found red or not: what it costs is the question.
                let _ = (invariant.check)(&evidence);
                phases.judging.push((invariant.name, watch.lap()));
            }
            let _ = coverage::hits(&evidence);
            phases.coverage = watch.lap();
            drop(evidence);
            drop((run, plan));
            phases.freeing = watch.lap();
            Ok(phases)
        })?
    }

    /// Adds another seed's.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.drawing += other.drawing;
        self.running += other.running;
        self.recording += other.recording;
        self.reading += other.reading;
        self.coverage += other.coverage;
        self.freeing += other.freeing;
        self.events += other.events;
        if self.judging.is_empty() {
            self.judging = other.judging;
        } else {
            self.judging.iter_mut().zip(other.judging).for_each(|(sum, one)| sum.1 += one.1);
        }
    }

    /// Each part by name, in order.
    pub fn parts(&self) -> Vec<(String, Duration)> {
        let judging = self.judging.iter().map(|(name, took)| (format!("judging {name}"), *took));
        let before = [
            ("drawing the plan", self.drawing),
            ("running it", self.running),
            ("recording and hashing", self.recording),
            ("reading the history", self.reading),
        ];
        let after = [("coverage marks", self.coverage), ("freeing", self.freeing)];
        let named = |(name, took): (&str, Duration)| (name.to_owned(), took);
        before.into_iter().map(named).chain(judging).chain(after.into_iter().map(named)).collect()
    }

    /// All of it.
    pub fn whole(&self) -> Duration {
        self.parts().iter().map(|(_, took)| took).sum()
    }
}
