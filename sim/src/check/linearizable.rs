//! `linearizable`: all linearizable operations on one key can be put into one order, each somewhere between its call and its
//! return, in which they are right for a register. Judged by `todc-utils`' search (Wing, Gong and Lowe's), which knows
//! nothing of revisions, members or how this simulator works: only calls, returns and values (see `registers`).
//!
//! The search takes exponential time in the worst case, so a long history is cut into windows wherever no operation is
//! open: every order keeps those before such a moment before those behind it. What the register can be there, all its
//! states that some order of the window ends in, is what the next window begins with; so nothing is lost by the cut. A
//! window in which more than [`MOST_OPERATIONS`] are never all over is judged up to so many, and the next begins with a
//! register that may be anything. [`judged`] says how many operations were not judged for that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tenure::kv::Shown;
use todc_utils::{Action, History, Specification, WGLChecker};

use super::registers::{Interval, Seen, State};
use super::{Breach, Evidence};

/// At most so many operations of one window are judged, the first ones.
const MOST_OPERATIONS: usize = 56;

/// How much of what clients did to registers was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Operations on one register.
    pub operations: u64,
    /// Those of them that were judged.
    pub judged: u64,
    /// Registers.
    pub keys: u64,
    /// Those of them some of whose operations were not judged.
    pub cut_short: u64,
}

impl Judged {
    /// Adds another seed's.
    pub fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.judged += other.judged;
        self.keys += other.keys;
        self.cut_short += other.cut_short;
    }
}

/// How much of a history is judged.
pub fn judged(evidence: &Evidence<'_>) -> Judged {
    let mut sum = Judged::default();
    for intervals in evidence.registers().intervals.values() {
        let judged: usize = windows(intervals).map(|window| window.len().min(MOST_OPERATIONS)).sum();
        sum.add(Judged {
            operations: intervals.len() as u64,
            judged: judged as u64,
            keys: 1,
            cut_short: u64::from(judged < intervals.len()),
        });
    }
    sum
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let registers = evidence.registers().intervals.iter();
    registers.filter_map(|(key, intervals)| judge(key, intervals)).min_by_key(|breach| breach.step)
}

fn judge(key: &[u8], intervals: &[Interval]) -> Option<Breach> {
    let mut states: BTreeSet<Known> = [Some(None)].into();
    for window in windows(intervals) {
        if window.len() > MOST_OPERATIONS {
            // What is called later may take effect before something that is judged is over: it is not judged either.
            let until = window[MOST_OPERATIONS].called;
            if !states.iter().any(|from| is_linearizable(from, window, until, None)) {
                return Some(breach(key, intervals, window, &states, until));
            }
            states = [None].into();
            continue;
        }
        let after = states_after(&states, window);
        if after.is_empty() {
            return Some(breach(key, intervals, window, &states, usize::MAX));
        }
        states = after;
    }
    None
}

/// The first return up to which no order is left.
fn breach(
    key: &[u8],
    intervals: &[Interval],
    window: &[Interval],
    states: &BTreeSet<Known>,
    until: usize,
) -> Breach {
    let mut ends: Vec<usize> = window.iter().map(|one| one.over).filter(|&over| over < until).collect();
    ends.sort_unstable();
    // If there is no order up to a return, there is none up to a later one.
    let first = ends.partition_point(|&over| {
        states.iter().any(|from| is_linearizable(from, window, over.saturating_add(1), None))
    });
    let step = ends.get(first).or(ends.last()).copied().unwrap_or_default();
    let detail = format!(
        "no order of the operations on {} explains the answers up to here ({} operations)",
        Shown(key),
        intervals.iter().filter(|one| one.called < step).count()
    );
    Breach { step, detail }
}

/// Cuts the operations, which are in order of their calls, wherever all that were called before are over.
fn windows(intervals: &[Interval]) -> impl Iterator<Item = &[Interval]> {
    let mut rest = intervals;
    std::iter::from_fn(move || {
        let mut over = rest.first()?.over;
        let inside = rest.iter().take_while(|one| {
            let is_inside = one.called <= over;
            over = over.max(one.over);
            is_inside
        });
        let (window, behind) = rest.split_at(inside.count());
        rest = behind;
        Some(window)
    })
}

/// The states that a window can end in, from one of these: all of those that some order of it gives.
fn states_after(before: &BTreeSet<Known>, window: &[Interval]) -> BTreeSet<Known> {
    if let [one] = window {
        let after = before.iter().map(|state| Register::apply(&Step::Operation(one.seen.clone()), state));
        return after.filter(|(is_right, _)| *is_right).map(|(_, state)| state).collect();
    }
    let written = window.iter().filter_map(|one| one.seen.becomes.clone().map(Some));
    let found = window.iter().filter_map(|one| one.seen.found.clone().map(Some));
    let candidates: BTreeSet<Known> = before.iter().cloned().chain(written).chain(found).collect();
    candidates
        .into_iter()
        .filter(|to| before.iter().any(|from| is_linearizable(from, window, usize::MAX, Some(to))))
        .collect()
}

/// What is known of a register: its state, or nothing.
type Known = Option<State>;

/// What the search puts into an order.
#[derive(Clone, Debug)]
enum Step {
    /// The window begins: the register is this.
    Begins(Known),
    Operation(Seen),
    /// The window ends: the register is exactly this.
    Ends(Known),
}

/// A register that is compared, written and deleted.
struct Register;

impl Specification for Register {
    type State = Known;
    type Operation = Step;

    fn init() -> Known {
        Some(None)
    }

    fn apply(step: &Step, state: &Known) -> (bool, Known) {
        let seen = match step {
            Step::Begins(from) => return (true, from.clone()),
            Step::Ends(to) => return (to == state, state.clone()),
            Step::Operation(seen) => seen,
        };
        let Some(known) = state else { return (true, after_anything(seen)) };
        let right = seen.found.as_ref().is_none_or(|found| found == known)
            && seen.found_other_than.as_ref().is_none_or(|other| other != known)
            && seen.found_key.is_none_or(|there| there == known.is_some());
        if !right {
            return (false, state.clone());
        }
        let takes_effect = seen.only_if.as_ref().is_none_or(|wanted| wanted == known);
        let after = seen.becomes.as_ref().filter(|_| takes_effect).unwrap_or(known);
        (true, Some(after.clone()))
    }
}

/// What is known of a register behind an operation if nothing was before.
fn after_anything(seen: &Seen) -> Known {
    match (&seen.becomes, &seen.only_if) {
        (Some(becomes), None) => Some(becomes.clone()),
        // Whether it took effect is not known.
        (Some(_), Some(_)) => None,
        (None, _) if seen.found_key == Some(false) => Some(None),
        (None, _) => seen.found.clone(),
    }
}

/// Whether there is an order of what is known of a window before a step, from one state and, if asked for, to another.
fn is_linearizable(from: &Known, window: &[Interval], until: usize, to: Option<&Known>) -> bool {
    let mut ends: Vec<(usize, usize, Action<Step>)> = Vec::new();
    for (process, one) in window.iter().enumerate().filter(|(_, one)| one.called < until) {
        let over = Some(one.over).filter(|&over| over < until);
        let Some(seen) = (if over.is_some() { Some(&one.seen) } else { one.open.as_ref() }) else { continue };
        ends.push((one.called, process, Action::Call(Step::Operation(seen.clone()))));
        ends.push((over.unwrap_or(usize::MAX), process, Action::Response(Step::Operation(seen.clone()))));
    }
    // A call at the step of a return may still come before it.
    ends.sort_by_key(|(step, process, action)| (*step, matches!(action, Action::Response(_)), *process));
    let at_once = |process: usize, step: Step| {
        [(process, Action::Call(step.clone())), (process, Action::Response(step))]
    };
    let begins = at_once(window.len(), Step::Begins(from.clone()));
    let ends = ends.into_iter().map(|(_, process, action)| (process, action));
    let to = to.map(|to| at_once(window.len() + 1, Step::Ends(to.clone())));
    let actions = begins.into_iter().chain(ends).chain(to.into_iter().flatten()).collect();
    WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::script_plain::PlainScript;

    const KEY: &str = "registers/0/0";

    /// Operations on one register that overlap in all ways, some of them wrong.
    fn overlapping() -> impl Strategy<Value = Vec<Interval>> {
        let value = prop_oneof![Just(None), (0..3_u8).prop_map(|value| Some(vec![value]))];
        let seen = (value.clone(), value, 0..5_u8).prop_map(|(one, other, kind)| match kind {
            0 => Seen { found: Some(one), ..Seen::default() },
            1 => Seen { found_other_than: Some(one), ..Seen::default() },
            2 => Seen { found: Some(one), becomes: Some(other), ..Seen::default() },
            3 => Seen { only_if: Some(one), becomes: Some(other), ..Seen::default() },
            _ => Seen { becomes: Some(one), ..Seen::default() },
        });
        let one = (1..4_usize, 1..7_usize, seen);
        prop::collection::vec(one, 1..9).prop_map(|all| {
            let mut called = 0;
            let intervals = all.into_iter().map(|(gap, length, seen)| {
                called += gap;
                let open = seen.becomes.is_some().then(|| seen.clone());
                Interval { called, over: called + length, seen, open }
            });
            intervals.collect()
        })
    }

    proptest! {
        #[test]
        fn windows_say_what_one_search_over_all_says(intervals in overlapping()) {
            let whole = is_linearizable(&Some(None), &intervals, usize::MAX, None);
            prop_assert_eq!(judge(KEY.as_bytes(), &intervals).is_none(), whole);
        }
    }

    #[test]
    fn a_stale_read_behind_the_first_hundred_operations_is_found_and_all_are_judged() {
        let mut script = PlainScript::new();
        for round in 0..50 {
            script.put(0, KEY, &format!("{round}"));
            script.read(1, KEY);
        }
        let old = script.revision();
        script.put(0, KEY, "new");
        assert_eq!(script.breach("linearizable"), None);
        let step = script.read_at(1, KEY, old);
        assert_eq!(script.breach("linearizable").expect("stale").step, step);
        let sum = script.with_evidence(judged);
        assert_eq!(sum, Judged { operations: 102, judged: 102, keys: 1, cut_short: 0 });
    }

    #[test]
    fn a_write_that_stays_open_joins_all_that_happen_meanwhile_and_what_comes_behind_is_judged_again() {
        let mut script = PlainScript::new();
        let late = script.call_put(1, KEY, "late");
        script.return_maybe(1, late);
        for round in 0..70 {
            script.put(0, KEY, &format!("{round}"));
        }
        script.commit(late);
        script.read(0, KEY);
        assert_eq!(script.breach("linearizable"), None);
        // The last read is behind the commit: a window of its own.
        let sum = script.with_evidence(judged);
        assert_eq!((sum.operations, sum.judged, sum.cut_short), (72, 57, 1));
        let old = script.revision();
        script.put(0, KEY, "new");
        let step = script.read_at(1, KEY, old);
        assert_eq!(script.breach("linearizable").expect("stale").step, step);
    }

    #[test]
    fn a_write_of_unknown_outcome_is_over_once_it_is_committed() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let old = script.revision();
        let op = script.call_put(1, KEY, "2");
        script.return_maybe(1, op);
        script.commit(op);
        script.read_at(0, KEY, old);
        assert!(script.breach("linearizable").is_some(), "it is no older than its commit");
    }

    #[test]
    fn reads_between_writes_are_right() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        script.read(1, KEY);
        script.put(1, KEY, "2");
        script.read(0, KEY);
        assert_eq!(script.breach("linearizable"), None);
    }

    #[test]
    fn a_read_that_forgets_a_write_that_had_returned_is_found_at_its_return() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let old = script.revision();
        script.put(0, KEY, "2");
        let step = script.read_at(1, KEY, old);
        script.read(1, KEY);
        assert_eq!(script.breach("linearizable").expect("stale").step, step);
    }

    #[test]
    fn a_read_beside_a_write_may_find_either_but_not_first_the_new_and_then_the_old() {
        let either = |second_is_old: bool| {
            let mut script = PlainScript::new();
            script.put(0, KEY, "1");
            let old = script.revision();
            let op = script.call_put(0, KEY, "2");
            script.commit(op);
            script.read(1, KEY);
            if second_is_old {
                script.read_at(2, KEY, old);
            } else {
                script.read(2, KEY);
            }
            script.return_done(0, op);
            script.breach("linearizable")
        };
        assert_eq!(either(false), None);
        assert!(either(true).is_some());
    }

    #[test]
    fn a_write_of_unknown_outcome_may_take_effect_late_or_never() {
        let mut late = PlainScript::new();
        late.put(0, KEY, "1");
        let op = late.call_put(1, KEY, "2");
        late.return_maybe(1, op);
        late.read(0, KEY);
        late.put(0, KEY, "3");
        late.read(0, KEY);
        late.commit(op);
        late.read(0, KEY);
        assert_eq!(late.breach("linearizable"), None, "it took effect late");
        let mut never = PlainScript::new();
        never.put(0, KEY, "1");
        let op = never.call_put(1, KEY, "2");
        never.return_maybe(1, op);
        never.read(0, KEY);
        assert_eq!(never.breach("linearizable"), None, "it never took effect");
    }

    #[test]
    fn a_write_of_unknown_outcome_takes_effect_once() {
        let mut script = PlainScript::new();
        let op = script.call_put(1, KEY, "2");
        script.return_maybe(1, op);
        script.commit(op);
        let there = script.revision();
        script.read(0, KEY);
        script.put(0, KEY, "3");
        script.read(0, KEY);
        script.read_at(0, KEY, there);
        assert!(script.breach("linearizable").is_some());
    }

    #[test]
    fn two_compare_and_sets_from_one_state_cannot_both_win() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let seen = script.revision();
        script.compare_and_set(0, KEY, seen, "2");
        assert_eq!(script.breach("linearizable"), None);
        script.compare_and_set_wins(1, KEY, seen, "3");
        assert!(script.breach("linearizable").is_some());
    }

    #[test]
    fn a_compare_and_set_that_loses_though_nobody_was_there_is_found() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let seen = script.revision();
        script.compare_and_set_loses(1, KEY, seen, "3");
        assert!(script.breach("linearizable").is_some());
    }

    #[test]
    fn a_deletion_that_finds_its_own_double_done_is_right_and_one_without_a_double_is_not() {
        let deletes = |doubled: bool| {
            let mut script = PlainScript::new();
            script.put(0, KEY, "1");
            let op = script.call_compare_and_delete(0, KEY, script.revision());
            if doubled {
                script.send_doubled(0, op);
            }
            script.commit(op);
            script.return_no_key(0, op);
            script.read(1, KEY);
            script
        };
        assert_eq!(deletes(true).breach("linearizable"), None);
        assert!(deletes(false).breach("linearizable").is_some());
        let mut script = deletes(true);
        script.put(1, KEY, "2");
        assert_eq!(script.breach("linearizable"), None);
        let gone = script.revision() - 1;
        script.read_at(0, KEY, gone);
        assert!(script.breach("linearizable").is_some(), "the double is over when it is done");
    }

    #[test]
    fn a_deletion_says_whether_there_was_something() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        script.delete(0, KEY);
        script.delete(0, KEY);
        script.read(0, KEY);
        assert_eq!(script.breach("linearizable"), None);
        script.delete_says(0, KEY, 1);
        assert!(script.breach("linearizable").is_some());
    }

    #[test]
    fn a_serializable_read_may_be_old() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let old = script.revision();
        script.put(0, KEY, "2");
        script.read_serializable_at(1, KEY, old);
        assert_eq!(script.breach("linearizable"), None);
    }

    #[test]
    fn many_writes_of_unknown_outcome_do_not_make_the_search_endless() {
        let mut script = PlainScript::new();
        for round in 0..60 {
            let op = script.call_put(1, KEY, &format!("maybe {round}"));
            script.return_maybe(1, op);
            script.commit(op);
            script.read(0, KEY);
        }
        assert_eq!(script.breach("linearizable"), None);
    }
}
