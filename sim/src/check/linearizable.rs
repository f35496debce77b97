//! `linearizable`: all linearizable operations on one key can be put into one order, each somewhere between its call and its
//! return, in which they are right for a register. Judged by `todc-utils`' search (Wing, Gong and Lowe's), which knows
//! nothing of revisions, members or how this simulator works: only calls, returns and values.
//!
//! The keys are registers that nobody but clients writes, each value once. A transaction on two registers is taken for an
//! operation on each: what is right for both together is right for each (not the other way round; `true-answers`
//! looks at the whole).
//!
//! The search wants every operation to return. One of unknown outcome returns at the end of the history, and is right in
//! every state: so it may take effect at any time after its call or, as the last of all, where nobody can tell whether it
//! took effect or not. That holds for a write, a deletion and a compare-and-set alike. Reads without an answer
//! are left out. So are writes that were never committed: they only widen the search, and one that is
//! seen nevertheless is found, since nobody wrote it.

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::{
    Compare, CompareOp, CompareTarget, KeyValue, Op, OpResponse, Request, Response, Shown, Txn,
};
use todc_utils::{Action, History, Specification, WGLChecker};

use super::{Breach, Evidence, Operation};
use crate::history::{CallEnd, Refused, What};
use crate::workload::plain::REGISTERS;

/// At most so many operations of one key are judged, the first ones: the search takes exponential time in the worst case.
const MOST_OPERATIONS: usize = 56;
/// At most so many of them of unknown outcome.
const MOST_UNKNOWN: usize = 8;

/// A register's state: its value, or that its key is not there.
type State = Option<Vec<u8>>;

/// What is known of an operation on one register.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// It found this.
    found: Option<State>,
    /// It did not find this.
    found_other_than: Option<State>,
    /// It found a key, or none.
    found_key: Option<bool>,
    /// It changed the register only if it found this.
    only_if: Option<State>,
    /// It changed the register to this.
    becomes: Option<State>,
}

/// A register that is compared, written and deleted.
struct Register;

impl Specification for Register {
    type State = State;
    type Operation = Seen;

    fn init() -> State {
        None
    }

    fn apply(seen: &Seen, state: &State) -> (bool, State) {
        let right = seen.found.as_ref().is_none_or(|found| found == state)
            && seen.found_other_than.as_ref().is_none_or(|other| other != state)
            && seen.found_key.is_none_or(|there| there == state.is_some());
        if !right {
            return (false, state.clone());
        }
        let takes_effect = seen.only_if.as_ref().is_none_or(|wanted| wanted == state);
        let after = seen.becomes.as_ref().filter(|_| takes_effect).unwrap_or(state);
        (true, after.clone())
    }
}

/// One operation on one register.
#[derive(Clone, Debug)]
struct Interval {
    called: usize,
    /// `None`: its outcome is not known.
    returned: Option<usize>,
    seen: Seen,
    /// What is left of it if it has not returned.
    unknown: Option<Seen>,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let registers = Registers::of(evidence);
    registers.intervals.iter().filter_map(|(key, intervals)| judge(key, intervals)).min_by_key(|b| b.step)
}

/// Finds the first return after which no order is left.
fn judge(key: &[u8], intervals: &[Interval]) -> Option<Breach> {
    let until = horizon(intervals);
    if is_linearizable(intervals, until) {
        return None;
    }
    let mut returns: Vec<usize> =
        intervals.iter().filter_map(|one| one.returned).filter(|&returned| returned < until).collect();
    returns.sort_unstable();
    // If there is no order up to a return, there is none up to a later one.
    let first = returns.partition_point(|&returned| is_linearizable(intervals, returned + 1));
    let step = returns.get(first).copied()?;
    let detail = format!(
        "no order of the operations on {} explains the answers up to here ({} operations)",
        Shown(key),
        intervals.iter().filter(|one| one.called < step).count()
    );
    Some(Breach { step, detail })
}

/// The step up to which the search is cheap.
fn horizon(intervals: &[Interval]) -> usize {
    let mut unknown = 0;
    for (count, one) in intervals.iter().enumerate() {
        unknown += usize::from(one.returned.is_none());
        if count >= MOST_OPERATIONS || unknown > MOST_UNKNOWN {
            return one.called;
        }
    }
    usize::MAX
}

/// Whether there is an order of what is known before a step.
fn is_linearizable(intervals: &[Interval], until: usize) -> bool {
    let mut ends: Vec<(usize, usize, Action<Seen>)> = Vec::new();
    for (process, one) in intervals.iter().enumerate().filter(|(_, one)| one.called < until) {
        let returned = one.returned.filter(|&returned| returned < until);
        let seen = if returned.is_some() { Some(&one.seen) } else { one.unknown.as_ref() };
        let Some(seen) = seen else { continue };
        ends.push((one.called, process, Action::Call(seen.clone())));
        ends.push((returned.unwrap_or(usize::MAX), process, Action::Response(seen.clone())));
    }
    if ends.is_empty() {
        return true;
    }
    ends.sort_by_key(|(step, process, _)| (*step, *process));
    let actions = ends.into_iter().map(|(_, process, action)| (process, action)).collect();
    WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
}

/// The operations on each register, in order of their calls.
#[derive(Default)]
struct Registers {
    intervals: BTreeMap<Vec<u8>, Vec<Interval>>,
    /// Which value a key had at which revision, as far as clients were told: what a comparison of revisions means.
    values: BTreeMap<(Vec<u8>, i64), Vec<u8>>,
    /// The requests of writes that were committed.
    committed: BTreeSet<Vec<u8>>,
}

impl Registers {
    fn of(evidence: &Evidence<'_>) -> Self {
        let mut registers = Self::default();
        for step in &evidence.history.steps {
            if let What::Committed { events, .. } = &step.what {
                registers.committed.extend(events.iter().map(|event| event.kv.value.clone()));
            }
        }
        for operation in evidence.plain.operations.values() {
            if let Some((_, CallEnd::Answered(response))) = operation.ended {
                registers.learn(operation.request, response);
            }
        }
        for operation in evidence.plain.operations.values() {
            registers.add(operation);
        }
        registers
    }

    fn learn(&mut self, request: &Request, response: &Response) {
        match (request, response) {
            (_, Response::Range(read)) => self.learn_keys(&read.kvs),
            (Request::Put(put), Response::Put(done)) => {
                self.values.insert((put.key.clone(), done.header.revision), put.value.clone());
            }
            (Request::Txn(txn), Response::Txn(done)) => {
                let branch = if done.succeeded { &txn.success } else { &txn.failure };
                for (op, response) in branch.iter().zip(&done.responses) {
                    match (op, response) {
                        (_, OpResponse::Range(read)) => self.learn_keys(&read.kvs),
                        (Op::Put(put), _) => {
                            self.values.insert((put.key.clone(), done.header.revision), put.value.clone());
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn learn_keys(&mut self, kvs: &[KeyValue]) {
        for kv in kvs {
            self.values.insert((kv.key.clone(), kv.mod_revision), kv.value.clone());
        }
    }

    fn add(&mut self, operation: &Operation<'_>) {
        let (returned, response) = match operation.ended {
            Some((at, CallEnd::Answered(response))) => (Some(at.step), Some(&**response)),
            None | Some((_, CallEnd::Maybe(_) | CallEnd::Refused(Refused::NoSpace))) => (None, None),
            Some((_, CallEnd::NotApplied(_) | CallEnd::Refused(_))) => return,
        };
        for (key, seen, unknown) in self.parts(operation.request, response) {
            let uncommitted = |seen: &Seen| match &seen.becomes {
                Some(Some(value)) => !self.committed.contains(value),
                _ => false,
            };
            let unknown = unknown.filter(|seen| returned.is_some() || !uncommitted(seen));
            if returned.is_none() && unknown.is_none() || !key.starts_with(REGISTERS.as_bytes()) {
                continue;
            }
            let called = operation.called.step;
            self.intervals.entry(key).or_default().push(Interval { called, returned, seen, unknown });
        }
    }

    /// What an operation is to each register: as its answer has it, and without an answer.
    fn parts(&self, request: &Request, response: Option<&Response>) -> Vec<(Vec<u8>, Seen, Option<Seen>)> {
        match request {
            Request::Range(range) if is_plain_read(range) => {
                let Some(Response::Range(read)) = response else { return Vec::new() };
                vec![(range.key.clone(), found(&read.kvs), None)]
            }
            Request::Put(put) => {
                let write = writes(Some(put.value.clone()));
                vec![(put.key.clone(), write.clone(), Some(write))]
            }
            Request::Delete(delete) if delete.range_end.is_empty() => {
                let deletion = writes(None);
                let found_key = match response {
                    Some(Response::Delete(done)) => Some(done.deleted > 0),
                    _ => None,
                };
                vec![(delete.key.clone(), Seen { found_key, ..deletion.clone() }, Some(deletion))]
            }
            Request::Txn(txn) => self.txn_parts(txn, response),
            _ => Vec::new(),
        }
    }

    fn txn_parts(&self, txn: &Txn, response: Option<&Response>) -> Vec<(Vec<u8>, Seen, Option<Seen>)> {
        let mut parts: BTreeMap<&[u8], (Seen, Seen)> = BTreeMap::new();
        let answer = match response {
            Some(Response::Txn(answer)) => Some(answer),
            _ => None,
        };
        for op in &txn.success {
            let (key, becomes) = match op {
                Op::Put(put) => (&put.key, Some(put.value.clone())),
                Op::Delete(delete) => (&delete.key, None),
                Op::Range(_) | Op::Txn(_) => continue,
            };
            let (seen, unknown) = parts.entry(key).or_default();
            unknown.becomes = Some(becomes.clone());
            if answer.is_some_and(|answer| answer.succeeded) {
                seen.becomes = Some(becomes);
            }
        }
        for compare in &txn.compares {
            let Some(wanted) = self.wanted(compare) else { continue };
            let (seen, unknown) = parts.entry(&compare.key).or_default();
            unknown.only_if = Some(wanted.clone());
            match answer {
                Some(answer) if answer.succeeded => seen.found = Some(wanted),
                // Of several conditions it may be another that did not hold.
                Some(_) if txn.compares.len() == 1 => seen.found_other_than = Some(wanted),
                _ => {}
            }
        }
        let read = answer.map_or(&[][..], |answer| &answer.responses);
        let branch = if answer.is_some_and(|answer| answer.succeeded) { &txn.success } else { &txn.failure };
        for (op, response) in branch.iter().zip(read) {
            if let (Op::Range(range), OpResponse::Range(read)) = (op, response) {
                parts.entry(&range.key).or_default().0.found = found(&read.kvs).found;
            }
        }
        let parts = parts.into_iter();
        parts
            .map(|(key, (seen, unknown))| {
                let changes = unknown.becomes.is_some();
                (key.to_vec(), seen, changes.then_some(unknown))
            })
            .collect()
    }

    /// The state that a comparison asks for.
    fn wanted(&self, compare: &Compare) -> Option<State> {
        match (&compare.target, compare.op) {
            (CompareTarget::Create(0) | CompareTarget::Mod(0), CompareOp::Equal) => Some(None),
            (CompareTarget::Value(value), CompareOp::Equal) => Some(Some(value.clone())),
            (CompareTarget::Mod(revision), CompareOp::Equal) => {
                self.values.get(&(compare.key.clone(), *revision)).map(|value| Some(value.clone()))
            }
            _ => None,
        }
    }
}

fn is_plain_read(range: &tenure::kv::Range) -> bool {
    range.range_end.is_empty() && !range.serializable && range.revision == 0
}

fn found(kvs: &[KeyValue]) -> Seen {
    Seen { found: Some(kvs.first().map(|kv| kv.value.clone())), ..Seen::default() }
}

fn writes(state: State) -> Seen {
    Seen { becomes: Some(state), ..Seen::default() }
}

#[cfg(test)]
mod tests {
    use crate::check::script_plain::PlainScript;

    const KEY: &str = "registers/0/0";

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
