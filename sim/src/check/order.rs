//! The one order of all writes, as the members committed it: what each key was at each revision, and how far history was
//! compacted when.

use std::collections::BTreeMap;

use tenure::kv::{Event, EventKind, KeyValue, Request};

use super::Moment;
use crate::history::{History, What};

/// The revision of an empty store.
const FIRST_REVISION: i64 = 1;

/// A committed write that changed something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    /// When.
    pub(crate) at: Moment,
    /// The revision that it made.
    pub(crate) revision: i64,
    /// The call that asked for it, if a client did.
    pub(crate) call: Option<u64>,
    /// The write.
    pub(crate) request: &'a Request,
    /// What it changed.
    pub(crate) events: &'a [Event],
}

/// What a key became at which revision; `None`: deleted.
type States<'a> = Vec<(i64, Option<&'a KeyValue>)>;

/// The order of all writes.
#[derive(Debug, Default)]
pub(crate) struct Order<'a> {
    commits: Vec<Commit<'a>>,
    keys: BTreeMap<&'a [u8], States<'a>>,
    /// When which revision became the oldest that is readable.
    compactions: Vec<(Moment, i64)>,
}

impl<'a> Order<'a> {
    /// Reads it out of a history.
    pub(crate) fn of(history: &'a History) -> Self {
        let mut order = Self::default();
        for (step, at) in history.steps.iter().enumerate() {
            let What::Committed { revision, call, request, events } = &at.what else { continue };
            let at = Moment { step, at_ns: at.at_ns };
            if let Request::Compact { revision: to, .. } = **request
                && to <= *revision
                && order.compactions.last().is_none_or(|(_, before)| to > *before)
            {
                order.compactions.push((at, to));
            }
            if events.is_empty() {
                continue;
            }
            for event in events {
                let state = (event.kind == EventKind::Put).then_some(&event.kv);
                order.keys.entry(&event.kv.key).or_default().push((event.kv.mod_revision, state));
            }
            order.commits.push(Commit { at, revision: *revision, call: *call, request, events });
        }
        order
    }

    /// Every write that changed something, in order.
    pub(crate) fn commits(&self) -> &[Commit<'a>] {
        &self.commits
    }

    /// The writes of these revisions, both included.
    pub(crate) fn between(&self, from: i64, to: i64) -> &[Commit<'a>] {
        let begin = self.commits.partition_point(|commit| commit.revision < from);
        let end = self.commits.partition_point(|commit| commit.revision <= to);
        self.commits.get(begin..end).unwrap_or_default()
    }

    /// The write that made this revision.
    pub(crate) fn commit(&self, revision: i64) -> Option<&Commit<'a>> {
        self.between(revision, revision).first()
    }

    /// The newest revision that was committed before this step.
    pub(crate) fn newest_before(&self, step: usize) -> i64 {
        let before = self.commits.partition_point(|commit| commit.at.step < step);
        before.checked_sub(1).map_or(FIRST_REVISION, |last| self.commits[last].revision)
    }

    /// The oldest revision that was readable before this step; 0 if nothing was compacted yet.
    pub(crate) fn compacted_before(&self, step: usize) -> i64 {
        let before = self.compactions.partition_point(|(at, _)| at.step < step);
        before.checked_sub(1).map_or(0, |last| self.compactions[last].1)
    }

    /// Whether history was compacted to just this revision before this step.
    pub(crate) fn was_compacted_to(&self, revision: i64, step: usize) -> bool {
        self.compactions.iter().any(|&(at, to)| to == revision && at.step < step)
    }

    /// The key as it was at a revision.
    pub(crate) fn state(&self, key: &[u8], revision: i64) -> Option<&'a KeyValue> {
        self.keys.get(key).and_then(|states| state_at(states, revision))
    }

    /// All keys of a span as they were at a revision, in order.
    pub(crate) fn span(&self, key: &[u8], range_end: &[u8], revision: i64) -> Vec<&'a KeyValue> {
        if range_end.is_empty() {
            return self.state(key, revision).into_iter().collect();
        }
        let states = self.keys.iter().filter(|(one, _)| covers(key, range_end, one));
        states.filter_map(|(_, states)| state_at(states, revision)).collect()
    }
}

fn state_at<'a>(states: &States<'a>, revision: i64) -> Option<&'a KeyValue> {
    let by_then = states.partition_point(|(at, _)| *at <= revision);
    by_then.checked_sub(1).and_then(|last| states[last].1)
}

/// Whether the span from `key` to `range_end`, as etcd writes spans, has this key in it.
pub(crate) fn covers(key: &[u8], range_end: &[u8], one: &[u8]) -> bool {
    match range_end {
        [] => one == key,
        [0] => one >= key,
        end => one >= key && one < end,
    }
}
