//! What a history says of barriers, as the store's commits have it: holds, members of double barriers, and the rounds that these go
//! through.

use std::ops::RangeInclusive;

use tenure::kv::Request;

use super::causes::{asker, life_of, lives};
use super::evidence::{Evidence, KeyLife, Moment, line_of};
use crate::history::What;

/// The holds of a barrier, oldest first.
pub(crate) fn holds<'e>(
    evidence: &'e Evidence<'_>,
    name: &str,
) -> impl Iterator<Item = &'e KeyLife> + use<'e> {
    let key = name.as_bytes().to_vec();
    lives(evidence, line_of(&key)).iter().filter(move |life| life.key == key)
}

/// The hold that a revision began.
pub(crate) fn hold_of<'e>(evidence: &'e Evidence<'_>, name: &str, revision: i64) -> Option<&'e KeyLife> {
    life_of(evidence, name.as_bytes(), revision)
}

/// Whoever came to a double barrier, oldest first.
pub(crate) fn members<'e>(evidence: &'e Evidence<'_>, name: &str) -> &'e [KeyLife] {
    lives(evidence, format!("{name}/waiters").as_bytes())
}

/// A round of a double barrier.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// The revision that began it.
    pub(crate) revision: i64,
    pub(crate) began: Moment,
    /// When the barrier was closed again.
    pub(crate) closed: Option<Moment>,
    /// Those whom it began with, by the revisions that made their keys.
    pub(crate) named: Vec<i64>,
}

/// The rounds of a double barrier, oldest first.
pub(crate) fn rounds(evidence: &Evidence<'_>, name: &str) -> Vec<Round> {
    let ready = format!("{name}/ready").into_bytes();
    let lives = lives(evidence, name.as_bytes()).iter().filter(|life| life.key == ready);
    lives
        .map(|life| {
            let written = evidence.order().state(&ready, life.create_revision);
            let value = written.map_or(&[][..], |kv| &*kv.value);
            let named =
                value.split(|byte| *byte == b' ').filter_map(|number| std::str::from_utf8(number).ok());
            Round {
                revision: life.create_revision,
                began: life.created,
                closed: life.deleted.map(|(_, closed)| closed),
                named: named.filter_map(|number| number.parse().ok()).collect(),
            }
        })
        .collect()
}

impl KeyLife {
    /// Whether it was there at some time of these steps.
    pub(crate) fn is_there_within(&self, steps: &RangeInclusive<usize>) -> bool {
        self.created.step <= *steps.end() && self.deleted.is_none_or(|(_, gone)| gone.step >= *steps.start())
    }

    /// Whether it was there all the time from one step to another.
    pub(crate) fn is_there_throughout(&self, from: usize, to: usize) -> bool {
        self.created.step < from && self.deleted.is_none_or(|(_, gone)| gone.step > to)
    }

    /// Whether it was there at a revision.
    pub(crate) fn is_there_at(&self, revision: i64) -> bool {
        self.create_revision <= revision && self.deleted.is_none_or(|(gone, _)| gone > revision)
    }

    /// Whether it was gone before a step.
    pub(crate) fn is_gone_before(&self, step: usize) -> bool {
        self.deleted.is_some_and(|(_, gone)| gone.step < step)
    }
}

/// Who asked for what was committed then, and when that was sent; nobody if a lease ended.
pub(crate) fn asked_by(evidence: &Evidence<'_>, committed: Moment) -> Option<(u32, usize)> {
    let What::Committed { call: Some(call), request, .. } = &evidence.history.steps[committed.step].what
    else {
        return None;
    };
    if matches!(**request, Request::LeaseRevoke { .. }) {
        return None;
    }
    Some((asker(evidence, *call)?, evidence.calls.get(call)?.sent?))
}
