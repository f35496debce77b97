//! What clients did to each register: calls, returns and values, and nothing of members, terms or how the simulator
//! works.
//!
//! The keys are registers that nobody but clients writes, each value once. A transaction on two registers is taken for an
//! operation on each: what is right for both together is right for each (not the other way round; `true-answers`
//! looks at the whole).
//!
//! An operation of unknown outcome is over, at the latest, when its write is committed: it takes effect at any time from
//! its call until then. One that was never committed is left out: it only widens the search, and if it is
//! seen nevertheless, that is found, since nobody wrote it. A deletion names no value that tells it from other deletions
//! of its key: it is over with the last of these, and left out if there is none. Reads without an answer are left out.
//!
//! A request that the network doubled is two operations: the one that its client knows of, and one of unknown outcome, which
//! is over when the last of the two has changed something.

use std::collections::BTreeMap;

use tenure::kv::{
    Compare, CompareOp, CompareTarget, EventKind, KeyValue, Op, OpResponse, Request, Response, Txn,
};

use super::{Evidence, Operation};
use crate::history::{CallEnd, Refused, What};
use crate::workload::plain::REGISTERS;

/// A register's state: its value, or that its key is not there.
pub(super) type State = Option<Vec<u8>>;

/// What is known of an operation on one register.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// It found this.
    pub(super) found: Option<State>,
    /// It did not find this.
    pub(super) found_other_than: Option<State>,
    /// It found a key, or none.
    pub(super) found_key: Option<bool>,
    /// It changed the register only if it found this.
    pub(super) only_if: Option<State>,
    /// It changed the register to this.
    pub(super) becomes: Option<State>,
}

/// One operation on one register.
#[derive(Clone, Debug)]
pub(super) struct Interval {
    /// The step of its call.
    pub(super) called: usize,
    /// The step by which it has taken effect: that of its return or, of unknown outcome, of its commit.
    pub(super) over: usize,
    /// What is known of it then.
    pub(super) seen: Seen,
    /// What is known of it before; `None`: it changes nothing.
    pub(super) open: Option<Seen>,
}

/// The operations on each register, in order of their calls.
#[derive(Default)]
pub(super) struct Registers {
    /// By key.
    pub(super) intervals: BTreeMap<Vec<u8>, Vec<Interval>>,
    /// Which value a key had at which revision, as far as clients were told: what a comparison of revisions means.
    values: BTreeMap<(Vec<u8>, i64), Vec<u8>>,
    /// The step at which each value of a key was committed; of its deletions the last.
    committed: BTreeMap<(Vec<u8>, State), usize>,
}

impl Registers {
    pub(super) fn of(evidence: &Evidence<'_>) -> Self {
        let mut registers = Self::default();
        if evidence.plain.operations.is_empty() {
            return registers;
        }
        for (index, step) in evidence.history.steps.iter().enumerate() {
            let What::Committed { events, .. } = &step.what else { continue };
            for event in events.iter().filter(|event| event.kv.key.starts_with(REGISTERS.as_bytes())) {
                let key = event.kv.key.clone();
                if event.kind == EventKind::Delete {
                    registers.committed.insert((key, None), index);
                } else {
                    registers.committed.entry((key, Some(event.kv.value.clone()))).or_insert(index);
                }
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
        registers.add_doubles(evidence);
        registers
    }

    /// What the network did a second time.
    fn add_doubles(&mut self, evidence: &Evidence<'_>) {
        let steps = evidence.history.steps.iter().enumerate();
        let changes = steps.filter_map(|(step, at)| match &at.what {
            What::Committed { call: Some(call), events, .. } if !events.is_empty() => Some((*call, step)),
            _ => None,
        });
        let last: BTreeMap<u64, usize> = changes.collect();
        for (call, over) in last {
            let Some(sent) = evidence.calls.get(&call).filter(|call| call.doubled).and_then(|call| call.sent)
            else {
                continue;
            };
            let What::Sent { request, .. } = &evidence.history.steps[sent].what else { continue };
            for (key, _, open) in self.parts(request, None) {
                let Some(open) = open.filter(|_| key.starts_with(REGISTERS.as_bytes())) else { continue };
                let double = Interval { called: sent, over, seen: open.clone(), open: Some(open) };
                let intervals = self.intervals.entry(key).or_default();
                let place = intervals.partition_point(|one| one.called < sent);
                intervals.insert(place, double);
            }
        }
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
        let called = operation.called.step;
        for (key, seen, open) in self.parts(operation.request, response) {
            if !key.starts_with(REGISTERS.as_bytes()) {
                continue;
            }
            let interval = match returned {
                Some(over) => Interval { called, over, seen, open },
                None => {
                    let Some(open) = open else { continue };
                    let becomes = open.becomes.clone().flatten();
                    let committed = self.committed.get(&(key.clone(), becomes)).copied();
                    let Some(over) = committed.filter(|&over| over > called) else { continue };
                    Interval { called, over, seen: open.clone(), open: Some(open) }
                }
            };
            self.intervals.entry(key).or_default().push(interval);
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
