//! `true-answers`: every answer is what the one order of committed writes gives. A linearizable read is of a revision no older
//! than any that was committed when it was called; any read finds just what was there at the revision that it names;
//! a write is committed once, between its call and its return, and as its answer says. What was told to be not
//! applied never is.
//!
//! Exact and quick, since the order is known; `linearizable` is the same question asked without that knowledge.

use std::collections::BTreeMap;

use tenure::kv::{
    Compare, CompareOp, CompareTarget, EventKind, KeyValue, Op, OpResponse, Range, Request, Response, Shown,
    Txn, TxnResponse,
};

use super::{Breach, Evidence, Operation, Order};
use crate::history::{CallEnd, Refused};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let order = evidence.order();
    let answers = Answers { by_value: by_value(order), order };
    evidence.plain.operations.values().filter_map(|operation| answers.judge(operation)).min_by_key(|b| b.step)
}

/// At which revisions each value was written: clients write each value in one request only.
fn by_value<'a>(order: &Order<'a>) -> BTreeMap<&'a [u8], Vec<i64>> {
    let mut revisions: BTreeMap<&[u8], Vec<i64>> = BTreeMap::new();
    for event in order.commits().iter().flat_map(|commit| commit.events) {
        if event.kind == EventKind::Put {
            let revisions = revisions.entry(&event.kv.value).or_default();
            if revisions.last() != Some(&event.kv.mod_revision) {
                revisions.push(event.kv.mod_revision);
            }
        }
    }
    revisions
}

struct Answers<'a> {
    order: &'a Order<'a>,
    by_value: BTreeMap<&'a [u8], Vec<i64>>,
}

type Verdict = Result<(), String>;

impl Answers<'_> {
    fn judge(&self, operation: &Operation<'_>) -> Option<Breach> {
        let written = value_of(operation.request).and_then(|value| self.by_value.get(value));
        let written = written.map_or(&[][..], Vec::as_slice);
        if let [_, again, ..] = written {
            let step = self.order.commit(*again)?.at.step;
            return Some(breach(step, operation, "it was applied twice"));
        }
        let (at, end) = operation.ended?;
        let verdict = match end {
            CallEnd::Answered(response) => self.answered(operation, at.step, response),
            CallEnd::Maybe(_) | CallEnd::Refused(Refused::NoSpace) => Ok(()),
            CallEnd::Refused(Refused::Compacted) => self.compacted(operation.request, at.step),
            CallEnd::NotApplied(_)
            | CallEnd::Refused(Refused::LeaseNotFound | Refused::PermissionDenied(_) | Refused::Other(_)) => {
                match written.first() {
                    None => Ok(()),
                    Some(revision) => {
                        let commit = self.order.commit(*revision)?;
                        let call = commit.call.map_or_else(String::new, |call| format!(" by call {call}"));
                        let detail = format!(
                            "its client is told that it was not applied, but it made revision {revision}{call}"
                        );
                        return Some(breach(at.step.max(commit.at.step), operation, &detail));
                    }
                }
            }
        };
        verdict.err().map(|detail| breach(at.step, operation, &detail))
    }

    fn answered(&self, operation: &Operation<'_>, step: usize, response: &Response) -> Verdict {
        match (&**operation.request, response) {
            (Request::Range(range), Response::Range(read)) => {
                let revision = read.header.revision;
                self.is_of_its_time(operation, step, revision, range.serializable)?;
                self.found(range, if range.revision > 0 { range.revision } else { revision }, &read.kvs)
            }
            (Request::Put(_), Response::Put(done)) => self.committed(operation, step, done.header.revision),
            (Request::Delete(delete), Response::Delete(done)) => {
                let revision = done.header.revision;
                if done.deleted > 0 {
                    return self.committed(operation, step, revision);
                }
                self.is_of_its_time(operation, step, revision, false)?;
                let there = !self.order.span(&delete.key, &delete.range_end, revision).is_empty();
                refuse(there, || {
                    format!("it deleted nothing at revision {revision}, where there was something")
                })
            }
            (Request::Txn(txn), Response::Txn(done)) => self.txn(operation, step, txn, done),
            _ => Ok(()),
        }
    }

    /// A revision in an answer is one between those of the call and of the return; of a serializable read, or one of the
    /// past, any that there has been.
    fn is_of_its_time(
        &self,
        operation: &Operation<'_>,
        step: usize,
        revision: i64,
        may_be_old: bool,
    ) -> Verdict {
        let oldest = if may_be_old { 1 } else { self.order.newest_before(operation.called.step) };
        let newest = self.order.newest_before(step);
        refuse(revision < oldest, || {
            format!(
                "it was answered from revision {revision}, though {oldest} was committed before it was called"
            )
        })?;
        refuse(revision > newest, || {
            format!("it was answered from revision {revision}, which there was not yet")
        })
    }

    fn found(&self, range: &Range, revision: i64, found: &[KeyValue]) -> Verdict {
        let there = self.order.span(&range.key, &range.range_end, revision);
        refuse(!found.iter().eq(there.iter().copied()), || {
            format!(
                "of {} it found {} keys (revisions {:?}), where at revision {revision} there were {} ({:?})",
                Shown(&range.key),
                found.len(),
                found.iter().map(|kv| kv.mod_revision).collect::<Vec<_>>(),
                there.len(),
                there.iter().map(|kv| kv.mod_revision).collect::<Vec<_>>(),
            )
        })
    }

    /// The write made this revision, between call and return.
    fn committed(&self, operation: &Operation<'_>, step: usize, revision: i64) -> Verdict {
        let commit = self.order.commit(revision).ok_or_else(|| format!("there is no revision {revision}"))?;
        refuse(commit.request != &**operation.request, || {
            format!("it was answered with revision {revision}, which another request made")
        })?;
        refuse(!(operation.called.step..step).contains(&commit.at.step), || {
            format!(
                "it was answered with revision {revision}, which was not made between its call and its return"
            )
        })
    }

    fn txn(&self, operation: &Operation<'_>, step: usize, txn: &Txn, done: &TxnResponse) -> Verdict {
        let revision = done.header.revision;
        let branch = if done.succeeded { &txn.success } else { &txn.failure };
        let changed = branch.iter().zip(&done.responses).any(|(op, response)| match (op, response) {
            (Op::Put(_), _) => true,
            (Op::Delete(_), OpResponse::Delete(delete)) => delete.deleted > 0,
            _ => false,
        });
        // What the conditions and reads of the transaction saw; its reads come before its writes.
        let before = if changed {
            self.committed(operation, step, revision)?;
            revision - 1
        } else {
            self.is_of_its_time(operation, step, revision, false)?;
            revision
        };
        let holds = txn.compares.iter().all(|compare| self.holds(compare, before));
        refuse(holds != done.succeeded, || {
            let [said, was] = [done.succeeded, holds].map(|yes| if yes { "held" } else { "did not hold" });
            format!("its answer says that its conditions {said}, but at revision {before} they {was}")
        })?;
        branch.iter().zip(&done.responses).try_for_each(|(op, response)| match (op, response) {
            (Op::Range(range), OpResponse::Range(read)) => self.found(range, before, &read.kvs),
            _ => Ok(()),
        })
    }

    /// Whether a comparison of one key holds at a revision; an absent key compares as zeros, and has no value.
    fn holds(&self, compare: &Compare, revision: i64) -> bool {
        let kv = self.order.state(&compare.key, revision);
        let of = |number: fn(&KeyValue) -> i64| kv.map_or(0, number);
        let order = match &compare.target {
            CompareTarget::Create(wanted) => of(|kv| kv.create_revision).cmp(wanted),
            CompareTarget::Mod(wanted) => of(|kv| kv.mod_revision).cmp(wanted),
            CompareTarget::Version(wanted) => of(|kv| kv.version).cmp(wanted),
            CompareTarget::Lease(wanted) => of(|kv| kv.lease).cmp(wanted),
            CompareTarget::Value(wanted) => match kv {
                Some(kv) => kv.value.cmp(wanted),
                None => return false,
            },
        };
        match compare.op {
            CompareOp::Equal => order.is_eq(),
            CompareOp::NotEqual => order.is_ne(),
            CompareOp::Greater => order.is_gt(),
            CompareOp::Less => order.is_lt(),
        }
    }

    fn compacted(&self, request: &Request, step: usize) -> Verdict {
        let Request::Range(range) = request else {
            return Err("it was refused as compacted, though it is no read of the past".to_owned());
        };
        let compacted = self.order.compacted_before(step);
        refuse(range.revision >= compacted, || {
            format!("revision {} was refused as compacted; the oldest was {compacted}", range.revision)
        })
    }
}

fn breach(step: usize, operation: &Operation<'_>, detail: &str) -> Breach {
    Breach { step, detail: format!("operation {} of c{}: {detail}", operation.op, operation.client) }
}

fn refuse(wrong: bool, detail: impl FnOnce() -> String) -> Verdict {
    if wrong { Err(detail()) } else { Ok(()) }
}

/// The value that a request writes, and no other.
fn value_of(request: &Request) -> Option<&[u8]> {
    match request {
        Request::Put(put) => Some(&put.value),
        Request::Txn(txn) => txn.success.iter().find_map(|op| match op {
            Op::Put(put) => Some(&*put.value),
            _ => None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::script_plain::PlainScript;

    const KEY: &str = "registers/0/0";

    #[test]
    fn what_the_order_gives_is_right() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let seen = script.revision();
        script.read(1, KEY);
        script.compare_and_set(1, KEY, seen, "2");
        script.compare_and_set(0, KEY, seen, "3");
        script.delete(0, KEY);
        script.delete(0, KEY);
        script.read(1, KEY);
        script.read_serializable_at(1, KEY, seen);
        assert_eq!(script.breach("true-answers"), None);
    }

    #[test]
    fn a_stale_read_is_found_even_if_nobody_touched_its_key() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let old = script.revision();
        script.put(0, "registers/1/0", "2");
        let step = script.read_at(1, KEY, old);
        let breach = script.breach("true-answers").expect("stale");
        assert_eq!(breach.step, step);
        assert!(breach.detail.contains("committed before it was called"), "{}", breach.detail);
        assert_eq!(script.breach("linearizable"), None, "the key's own operations do not tell");
    }

    #[test]
    fn a_read_of_what_never_was_is_found_even_if_it_is_serializable() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        script.read_serializable_says(1, KEY, "never written");
        assert!(script.breach("true-answers").is_some());
    }

    #[test]
    fn a_write_that_was_told_as_not_applied_must_not_be_committed() {
        let mut script = PlainScript::new();
        let op = script.call_put(0, KEY, "1");
        script.return_not_applied(0, op);
        assert_eq!(script.breach("true-answers"), None);
        script.commit(op);
        assert!(script.breach("true-answers").expect("applied").detail.contains("not applied"));
    }

    #[test]
    fn a_write_that_is_applied_twice_is_found() {
        let mut script = PlainScript::new();
        let op = script.call_put(0, KEY, "1");
        script.commit(op);
        script.return_done(0, op);
        assert_eq!(script.breach("true-answers"), None);
        script.commit(op);
        assert!(script.breach("true-answers").expect("twice").detail.contains("twice"));
    }

    #[test]
    fn an_answer_without_a_commit_is_found() {
        let mut script = PlainScript::new();
        let op = script.call_put(0, KEY, "1");
        script.return_done(0, op);
        assert!(script.breach("true-answers").is_some());
    }

    #[test]
    fn a_compare_and_set_that_wins_or_loses_wrongly_is_found() {
        let mut wins = PlainScript::new();
        wins.put(0, KEY, "1");
        let seen = wins.revision();
        wins.put(0, KEY, "2");
        wins.compare_and_set_wins(1, KEY, seen, "3");
        assert!(wins.breach("true-answers").is_some());
        let mut loses = PlainScript::new();
        loses.put(0, KEY, "1");
        let seen = loses.revision();
        loses.compare_and_set_loses(1, KEY, seen, "3");
        assert!(loses.breach("true-answers").is_some());
    }

    #[test]
    fn a_read_that_is_refused_as_compacted_must_have_been() {
        let mut script = PlainScript::new();
        script.put(0, KEY, "1");
        let old = script.revision();
        script.put(0, KEY, "2");
        script.compact(old + 1);
        script.read_past_refused(0, KEY, old);
        assert_eq!(script.breach("true-answers"), None);
        script.read_past_refused(0, KEY, old + 1);
        assert!(script.breach("true-answers").is_some(), "the compact revision itself is still there");
    }
}
