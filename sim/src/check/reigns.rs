//! Who led when: the states of each line as the store had them.

use std::collections::BTreeMap;

use tenure::kv::EventKind;

use super::Evidence;
use super::evidence::{Moment, line_of};
use crate::history::{History, SeenLeader, What};

/// Who leads: create and mod revision of the first key, be it a candidate's or a foreign one; `None` if there is none.
pub(super) type State = Option<(i64, i64)>;

/// The states of one line, each with the step that began it; at first nobody leads.
pub(super) type Reigns = Vec<(usize, State)>;

/// Before the first candidate.
pub(super) const NOBODY: &[(usize, State)] = &[(0, None)];

/// The candidates by key, with their create and mod revisions.
type Line = BTreeMap<Vec<u8>, (i64, i64)>;

/// The states of all lines.
pub(super) fn reigns(history: &History) -> BTreeMap<Vec<u8>, Reigns> {
    let mut lines: BTreeMap<Vec<u8>, Line> = BTreeMap::new();
    let mut reigns: BTreeMap<Vec<u8>, Reigns> = BTreeMap::new();
    for (step, at) in history.steps.iter().enumerate() {
        let What::Committed { events, .. } = &at.what else { continue };
        for event in events {
            let line = lines.entry(line_of(&event.kv.key).to_vec()).or_default();
            match event.kind {
                EventKind::Put => {
                    line.insert(event.kv.key.clone(), (event.kv.create_revision, event.kv.mod_revision))
                }
                EventKind::Delete => line.remove(&event.kv.key),
            };
        }
        // A revision counts as a whole.
        for event in events {
            let name = line_of(&event.kv.key);
            let first = lines.get(name).and_then(|line| line.values().min().copied());
            let reigns = reigns.entry(name.to_vec()).or_insert_with(|| NOBODY.to_vec());
            if reigns.last().is_none_or(|(_, last)| *last != first) {
                reigns.push((step, first));
            }
        }
    }
    reigns
}

/// Whether this one led, or nobody did, at some time between two moments.
pub(super) fn leads_within(
    evidence: &Evidence<'_>,
    name: &str,
    leader: Option<&SeenLeader>,
    from: Moment,
    to: Moment,
) -> bool {
    let reigns = evidence.reigns().get(name.as_bytes()).map_or(NOBODY, Vec::as_slice);
    let begin = reigns.partition_point(|(begun, _)| *begun <= from.step).saturating_sub(1);
    let end = reigns.partition_point(|(begun, _)| *begun <= to.step);
    let state = leader.map(|leader| (leader.rev, leader.mod_revision));
    reigns[begin..end].iter().any(|(_, reign)| *reign == state)
}
