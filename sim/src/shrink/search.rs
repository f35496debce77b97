//! The search for a smaller plan: candidates are run, several at a time, and the first in order that still fails the same
//! way is taken. Which one that is does not depend on how many run at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Options;
use super::fingerprint::Fingerprint;
use super::tree::{self, Asked};
use crate::history::What;
use crate::node::Node;
use crate::plan::Plan;
use crate::run::{Run, Stopwatch, Verdict};
use crate::scenario::BadInput;

/// Who carries plans out, and looks at what came of them for one failure.
pub(crate) trait Trial: Sync {
    /// Carries a plan out.
    ///
    /// # Errors
    /// If it cannot be.
    fn execute(&self, plan: &Arc<Plan>) -> Result<Run, BadInput>;

    /// The first breach of this invariant, or the panic, with its time.
    fn first_violation(&self, plan: &Plan, run: &Run, invariant: Option<&str>) -> Option<(Verdict, u64)>;

    /// The same without the bug that is planted, if one is.
    fn without_the_bug(&self) -> Option<Box<dyn Trial>> {
        None
    }
}

/// The failure that is to stay.
pub(super) struct Case<'a> {
    pub(super) target: Fingerprint,
    trial: &'a dyn Trial,
    /// Without the planted bug the plan is green, and so must be every smaller one: it is to show the bug, and nothing else.
    innocent: Option<Box<dyn Trial>>,
}

impl<'a> Case<'a> {
    /// A plan's failure.
    ///
    /// # Errors
    /// If the plan does not fail so.
    pub(super) fn new(plan: &Plan, trial: &'a dyn Trial, target: Fingerprint) -> Result<Self, BadInput> {
        let mut case = Self { target, trial, innocent: None };
        let plan = Arc::new(plan.clone());
        if case.fails_at(&plan).is_none() {
            let what = case.target.invariant().unwrap_or("the panic");
            return Err(BadInput(format!(
                "the capsule does not fail any more as it says ({what}): there is nothing to shrink; `tenure replay` \
                 shows what it does now"
            )));
        }
        case.innocent = trial.without_the_bug().filter(|innocent| case.is_green(&**innocent, &plan));
        Ok(case)
    }

    /// When the plan fails in the same way, if it does.
    fn fails_at(&self, plan: &Arc<Plan>) -> Option<u64> {
        let run = self.trial.execute(plan).ok()?;
        let (fingerprint, at_ns) = self.failure(self.trial, plan, &run)?;
        (fingerprint == self.target).then_some(at_ns)
    }

    fn failure(&self, trial: &dyn Trial, plan: &Plan, run: &Run) -> Option<(Fingerprint, u64)> {
        let (verdict, at_ns) = trial.first_violation(plan, run, self.target.invariant())?;
        Some((Fingerprint::all(&verdict).into_iter().next()?, at_ns))
    }

    fn is_green(&self, trial: &dyn Trial, plan: &Arc<Plan>) -> bool {
        trial.execute(plan).is_ok_and(|run| self.failure(trial, plan, &run).is_none())
    }

    /// When a tree is a plan that fails in the same way: that time.
    fn tree_fails_at(&self, tree: &Value) -> Option<u64> {
        let plan: Arc<Plan> = Arc::new(serde_json::from_value(tree.clone()).ok()?);
        let at_ns = self.fails_at(&plan)?;
        let innocent = self.innocent.as_deref().is_none_or(|innocent| self.is_green(innocent, &plan));
        innocent.then_some(at_ns)
    }
}

/// A message that the network lost, or doubled.
pub(super) struct Loss {
    /// When it was sent.
    pub(super) at_ms: u64,
    /// From where to where.
    pub(super) link: [String; 2],
}

/// The smallest plan so far.
pub(super) struct Search<'a> {
    case: &'a Case<'a>,
    options: Options,
    began: Stopwatch,
    pub(super) plan: Value,
    pub(super) tried: u64,
    pub(super) stopped: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(case: &'a Case<'a>, plan: Value, options: Options) -> Self {
        Self { case, options, began: Stopwatch::start(), plan, tried: 0, stopped: false }
    }

    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// When the present plan fails.
    pub(super) fn fails_at_ns(&mut self) -> Option<u64> {
        self.tried += 1;
        self.case.tree_fails_at(&self.plan)
    }

    /// The present plan's run.
    fn run(&mut self) -> Option<Run> {
        self.tried += 1;
        let plan = serde_json::from_value(self.plan.clone()).ok()?;
        self.case.trial.execute(&Arc::new(plan)).ok()
    }

    /// When each operation of the present plan was begun.
    pub(super) fn asked(&mut self) -> Asked {
        let mut asked = Asked::new();
        let Some(run) = self.run() else { return asked };
        for step in &run.history.steps {
            let Node::Client(client) = step.node else { continue };
            let list = match &step.what {
                What::Asks { lane, .. } | What::PassesOver { lane, .. } => {
                    format!("/clients/{client}/lanes/{lane}/operations")
                }
                // Who uses etcd itself does not say in which of its programs; most have one.
                What::Calls { .. }
                    if tree::list(&self.plan, &format!("/clients/{client}/lanes")).len() == 1 =>
                {
                    format!("/clients/{client}/lanes/0/plain")
                }
                _ => continue,
            };
            asked.entry(list).or_default().push(step.at_ns / 1_000_000);
        }
        asked
    }

    /// What the network lost of the present plan's calls.
    pub(super) fn losses(&mut self) -> Vec<Loss> {
        let Some(run) = self.run() else { return Vec::new() };
        let mut members = BTreeMap::new();
        let mut losses = Vec::new();
        for step in &run.history.steps {
            match &step.what {
                What::Sent { call, member, .. } => {
                    members.insert(*call, Node::Member(*member));
                }
                What::Network { call, did } => {
                    let Some(&member) = members.get(call) else { continue };
                    let link =
                        if did.starts_with("answer") { [member, step.node] } else { [step.node, member] };
                    losses.push(Loss {
                        at_ms: step.at_ns / 1_000_000,
                        link: link.map(|node| node.to_string()),
                    });
                }
                _ => {}
            }
        }
        losses
    }

    /// Takes the first candidate that still fails. Gives its place.
    pub(super) fn take_first(&mut self, candidates: impl IntoIterator<Item = Value>) -> Option<usize> {
        let plan = self.plan.clone();
        let mut candidates = candidates.into_iter().enumerate().filter(|(_, tree)| *tree != plan).peekable();
        while candidates.peek().is_some() {
            if self.began.elapsed() >= self.options.limit {
                self.stopped = true;
                return None;
            }
            let batch: Vec<_> = candidates.by_ref().take(self.options.jobs.max(1)).collect();
            self.tried += batch.len() as u64;
            let case = self.case;
            let fails: Vec<bool> = std::thread::scope(|scope| {
                let running: Vec<_> = batch
                    .iter()
                    .map(|(_, tree)| scope.spawn(|| case.tree_fails_at(tree).is_some()))
                    .collect();
                running.into_iter().map(|thread| thread.join().unwrap_or(false)).collect()
            });
            if let Some((place, tree)) =
                batch.into_iter().zip(fails).find_map(|(one, fails)| fails.then_some(one))
            {
                self.plan = tree;
                return Some(place);
            }
        }
        None
    }

    /// Delta debugging: applies a change to as many of these things as possible, half of them at a time, then a quarter,
    /// down to each alone.
    pub(super) fn change_most<T>(&mut self, things: &[T], change: impl Fn(&mut Value, &[&T])) {
        let base = self.plan.clone();
        let mut changed = vec![false; things.len()];
        let mut size = things.len();
        while size > 0 && !self.stopped {
            let left: Vec<usize> = (0..things.len()).filter(|&thing| !changed[thing]).collect();
            let chunks: Vec<&[usize]> = left.chunks(size).collect();
            let mut from = 0;
            while let Some(rest) = chunks.get(from..).filter(|rest| !rest.is_empty()) {
                let (so_far, base, change) = (changed.clone(), &base, &change);
                let candidates = rest.iter().map(move |chunk| {
                    let chosen = (0..things.len()).filter(|thing| so_far[*thing] || chunk.contains(thing));
                    let chosen: Vec<&T> = chosen.map(|thing| &things[thing]).collect();
                    let mut tree = base.clone();
                    change(&mut tree, &chosen);
                    tree
                });
                let Some(place) = self.take_first(candidates) else { break };
                for &thing in chunks[from + place] {
                    changed[thing] = true;
                }
                from += place + 1;
            }
            size /= 2;
        }
    }
}
