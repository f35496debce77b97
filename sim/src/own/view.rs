//! What an invariant of a test's own looks at: the events that the test's clients told, and all else that happened.

use std::collections::BTreeMap;
use std::time::Duration;

use tenure::kv::{EventKind, KeyValue};

use crate::check::{Breach, Evidence};
use crate::history::{History, What};
use crate::node::Node;
use crate::plan::Plan;

/// One run, for an invariant to judge.
#[derive(Clone, Copy)]
pub struct RunView<'a> {
    plan: &'a Plan,
    evidence: &'a Evidence<'a>,
}

/// An event that was told.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a, T> {
    /// Its place in the history.
    pub step: usize,
    /// When, in true simulated time since the run's start.
    pub at: Duration,
    /// Who told of it: the process's name, or `outside`.
    pub who: &'a str,
    /// The event.
    pub event: &'a T,
}

impl<T> Told<'_, T> {
    /// Says that an invariant broke here, in a line that names who and what.
    pub fn breach(&self, detail: impl Into<String>) -> Breach {
        Breach { step: self.step, detail: detail.into() }
    }
}

impl std::fmt::Debug for RunView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps = self.history().steps.len();
        f.debug_struct("RunView")
            .field("seed", &self.plan.seed)
            .field("steps", &steps)
            .finish_non_exhaustive()
    }
}

impl<'a> RunView<'a> {
    pub(super) fn new(plan: &'a Plan, evidence: &'a Evidence<'a>) -> Self {
        Self { plan, evidence }
    }

    /// The events of this type, in the order in which they happened.
    pub fn events<T: 'static>(&self) -> impl Iterator<Item = Told<'a, T>> + use<'a, T> {
        let plan = self.plan;
        self.history().steps.iter().enumerate().filter_map(move |(step, at)| {
            let What::Own(event) = &at.what else { return None };
            let (who, at) = (name_of(plan, at.node), Duration::from_nanos(at.at_ns));
            Some(Told { step, at, who, event: event.value::<T>()? })
        })
    }

    /// The names of the processes.
    pub fn clients(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.plan.clients.iter().filter_map(|client| client.own.as_ref()).map(|own| own.name.as_str())
    }

    /// When the last fault was over: from here on all should go well.
    pub fn calm_at(&self) -> Duration {
        Duration::from_millis(self.plan.calm_at_ms)
    }

    /// When the run ended.
    pub fn ends_at(&self) -> Duration {
        Duration::from_millis(self.plan.duration_ms)
    }

    /// How long each pause of a process lasted, by its name.
    pub fn pauses(&self) -> impl Iterator<Item = (&'a str, Duration)> + use<'a> {
        let plan = self.plan;
        self.evidence.pauses.iter().map(move |&(client, from_ns, to_ns)| {
            (name_of(plan, Node::Client(client)), Duration::from_nanos(to_ns - from_ns))
        })
    }

    /// What is in etcd at the end, by key.
    pub fn keys_at_end(&self) -> BTreeMap<&'a [u8], &'a KeyValue> {
        let mut keys = BTreeMap::new();
        for step in &self.history().steps {
            let What::Committed { events, .. } = &step.what else { continue };
            for event in events {
                match event.kind {
                    EventKind::Put => keys.insert(event.kv.key.as_slice(), &event.kv),
                    EventKind::Delete => keys.remove(event.kv.key.as_slice()),
                };
            }
        }
        keys
    }

    /// Says that an invariant broke at the end: what should have happened did not.
    pub fn at_end(&self, detail: impl Into<String>) -> Breach {
        Breach { step: self.history().steps.len().saturating_sub(1), detail: detail.into() }
    }

    /// Every step of the run.
    pub fn history(&self) -> &'a History {
        self.evidence.history
    }

    /// The same read: who held what when, which keys lived from when to when.
    pub fn evidence(&self) -> &'a Evidence<'a> {
        self.evidence
    }
}

/// The name of a process; `outside` for what is none.
pub(super) fn name_of(plan: &Plan, node: Node) -> &str {
    let client = match node {
        Node::Client(client) => plan.clients.get(client as usize),
        Node::Member(_) | Node::World => None,
    };
    client.and_then(|client| client.own.as_ref()).map_or("outside", |own| own.name.as_str())
}
