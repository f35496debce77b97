//! A part of `no-residue`: who leaves a line after a lost join and finds that etcd has no space for the fence tries again a second
//! later, and again, until it is moved or the session is over (`src/line/leave.rs`). Until then the lost join may be applied, and
//! leaves a key that nobody waits with and that everybody waits for.

use std::collections::{BTreeMap, BTreeSet};

use tenure::Code;
use tenure::kv::{CompareTarget, Op, OpResponse, Request, Response, Txn};

use super::causes::LATE_NS;
use super::evidence::Moment;
use super::{Breach, Evidence};
use crate::bytes::contains;
use crate::history::What;
use crate::node::Node;

/// The library's pause between two tries.
const AGAIN_AFTER_NS: u64 = 1_000_000_000;

/// The fence key of a client.
type FenceOf = (u32, Vec<u8>);

/// A fence that is to be moved.
struct Owed {
    lease: i64,
    /// When etcd refused to move it.
    refused: Moment,
    /// When the last call that had to do with it came to its end.
    since: Moment,
    /// The calls that have not.
    open: Vec<u64>,
    /// Those of them by which it looks whether there is a key that it could not fence off.
    looks: Vec<u64>,
    /// Whether it was told that there is none: from then on its client knows what it owes.
    is_known: bool,
}

/// A call that goes by where a fence is.
#[derive(Clone)]
struct Call {
    fence: FenceOf,
    /// Where it takes it to stand.
    stands_at: i64,
    way: Way,
}

/// What it does to the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It moves it, on behalf of who leaves.
    Leaves,
    /// It moves it for another reason.
    Moves,
    /// It only looks.
    Looks,
}

#[derive(Default)]
struct Fences {
    owed: BTreeMap<FenceOf, Owed>,
    /// The calls under way that go by one.
    calls: BTreeMap<u64, Call>,
    /// Where each stood before it was moved: a try that goes by that moves it no more. And where it stands since: whoever was about
    /// to move it and goes on with that may owe nothing by now.
    passed: BTreeSet<(FenceOf, i64)>,
    /// When a client was told last that one is not where it was.
    told_elsewhere_ns: BTreeMap<FenceOf, u64>,
    /// Those of which etcd refused what has to do with them for another reason: that is told to who asked, and not tried again.
    denied: BTreeSet<FenceOf>,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut fences = Fences::default();
    for (place, step) in evidence.history.steps.iter().enumerate() {
        let now = Moment { step: place, at_ns: step.at_ns };
        if let Some(breach) = fences.overdue(evidence, now) {
            return Some(breach);
        }
        let Node::Client(client) = step.node else { continue };
        match &step.what {
            What::Sent { call, request, .. } => {
                if let Some(detail) = fences.sent(evidence, client, (*call, request), now) {
                    return Some(Breach { step: place, detail });
                }
            }
            What::Answered { call, outcome } => {
                fences.ended(*call, outcome.as_deref().map_err(|status| status.code), now);
            }
            What::GaveUp { call } => fences.lost(*call, now),
            What::SessionEnded { lease, .. } => fences.owed.retain(|_, owed| owed.lease != *lease),
            What::Crashed => fences.owed.retain(|(of, _), _| *of != client),
            _ => {}
        }
    }
    None
}

impl Fences {
    /// What is wrong with a call, if something is.
    fn sent(
        &mut self,
        evidence: &Evidence<'_>,
        client: u32,
        (call, request): (u64, &Request),
        now: Moment,
    ) -> Option<String> {
        let Request::Txn(txn) = request else { return None };
        if let Some((key, stands_at, way)) = goes_by(txn) {
            let fence = (client, key.to_vec());
            if self.told_elsewhere_ns.get(&fence) == Some(&now.at_ns) {
                self.passed.insert((fence.clone(), stands_at));
            }
            self.calls.insert(call, Call { fence, stands_at, way });
        }
        let mut too_early = None;
        for ((of, key), owed) in &mut self.owed {
            if *of != client || !concerns(txn, key) {
                continue;
            }
            if owed.is_known && joins(txn, key) && !was_in_use(evidence, key, owed) {
                let key = tenure::kv::Shown(key);
                too_early = Some(format!("c{client} gets in line anew before the fence {key} is moved"));
            }
            owed.open.push(call);
            if is_look(txn) {
                owed.looks.push(call);
            }
        }
        too_early
    }

    fn lost(&mut self, call: u64, now: Moment) {
        for owed in self.owed.values_mut().filter(|owed| owed.open.contains(&call)) {
            owed.open.retain(|open| *open != call);
            owed.since = now;
        }
        self.calls.remove(&call);
    }

    fn ended(&mut self, call: u64, outcome: Result<&Response, Code>, now: Moment) {
        let known = self.calls.get(&call).cloned();
        if outcome.is_err_and(is_final) {
            let denied = self.owed.iter().filter(|(_, owed)| owed.open.contains(&call));
            self.denied.extend(denied.map(|(fence, _)| fence.clone()));
            self.owed.retain(|fence, _| !self.denied.contains(fence));
        }
        if let Ok(Response::Txn(answer)) = outcome
            && matches!(&answer.responses[..], [OpResponse::Range(read)] if read.kvs.is_empty())
        {
            let looked = self.owed.values_mut().filter(|owed| owed.looks.contains(&call));
            looked.for_each(|owed| owed.is_known = true);
        }
        self.lost(call, now);
        let Some(Call { fence, stands_at, way }) = known else { return };
        match outcome {
            // It tells of a move: its own, or that the fence is not where it was.
            Ok(Response::Txn(answer)) if !answer.succeeded || way != Way::Looks => {
                self.owed.remove(&fence);
                if !answer.succeeded {
                    self.told_elsewhere_ns.insert(fence.clone(), now.at_ns);
                }
                self.passed.insert((fence, stands_at));
            }
            Err(Code::ResourceExhausted)
                if way == Way::Leaves
                    && !self.denied.contains(&fence)
                    && !self.passed.contains(&(fence.clone(), stands_at)) =>
            {
                let lease = lease_of(&fence.1).unwrap_or_default();
                self.owed.entry(fence).or_insert(Owed {
                    lease,
                    refused: now,
                    since: now,
                    open: Vec::new(),
                    looks: Vec::new(),
                    is_known: false,
                });
            }
            _ => {}
        }
    }

    fn overdue(&self, evidence: &Evidence<'_>, now: Moment) -> Option<Breach> {
        let ((client, key), _) = self.owed.iter().find(|((client, key), owed)| {
            let causes = evidence.causes();
            let is_overdue = |since_ns: u64| {
                let overdue_ns = since_ns + AGAIN_AFTER_NS + causes.drift_of(AGAIN_AFTER_NS) + LATE_NS;
                now.at_ns > overdue_ns && !evidence.stood_still(*client, since_ns, overdue_ns)
            };
            owed.open.is_empty()
                && is_overdue(owed.since.at_ns)
                && is_overdue(used_until_ns(evidence, key, owed.lease, now))
                && !causes.session_may_be_over(*client, owed.lease, now)
        })?;
        let key = tenure::kv::Shown(key);
        let detail = format!("c{client} had no space for the fence {key}, and does not try again to move it");
        Some(Breach { step: now.step, detail })
    }
}

/// Until when something of the session's stood, or held, in the line of this fence: beside that nobody else may have to do with its
/// key.
fn used_until_ns(evidence: &Evidence<'_>, fence: &[u8], lease: i64, now: Moment) -> u64 {
    let is_of_it = |name: &str, of: i64| of == lease && is_fence_of(fence, name);
    let until = |end: Option<Moment>| end.map_or(now.at_ns, |end| end.at_ns.min(now.at_ns));
    let asks =
        evidence.asks.iter().filter(|ask| ask.asked.step <= now.step && is_of_it(&ask.name, ask.lease));
    let tenures = evidence.tenures.iter().filter(|tenure| {
        tenure.granted.step <= now.step && is_of_it(&tenure.holding.name, tenure.holding.lease)
    });
    let asked = asks.map(|ask| until(ask.ended.map(|(ended, _)| ended)));
    let held = tenures.map(|tenure| until(tenure.released.or(tenure.releases)));
    asked.chain(held).max().unwrap_or(0)
}

/// The fence that a transaction goes by, where it takes it to stand, and what it does to it.
fn goes_by(txn: &Txn) -> Option<(&[u8], i64, Way)> {
    let (key, stands_at) = txn.compares.iter().find_map(|compare| match compare.target {
        CompareTarget::Mod(revision) if lease_of(&compare.key).is_some() => Some((&*compare.key, revision)),
        _ => None,
    })?;
    let mark = txn.success.iter().find_map(|op| match op {
        Op::Put(put) if put.key == key => Some(&put.value),
        _ => None,
    });
    let way = match mark {
        Some(mark) if contains(mark, b" left ") && deletes_own(txn, key) => Way::Leaves,
        Some(_) => Way::Moves,
        None => Way::Looks,
    };
    Some((key, stands_at, way))
}

/// Whether something of the session's was asked for in this line when etcd refused to move its fence: that goes on as it began.
fn was_in_use(evidence: &Evidence<'_>, fence: &[u8], owed: &Owed) -> bool {
    evidence.asks.iter().any(|ask| {
        ask.lease == owed.lease
            && is_fence_of(fence, &ask.name)
            && ask.asked.step < owed.refused.step
            && ask.ended.is_none_or(|(ended, _)| ended.step > owed.refused.step)
    })
}

/// Whether a transaction only reads one key.
fn is_look(txn: &Txn) -> bool {
    let one = matches!(&txn.success[..], [Op::Range(range)] if range.range_end.is_empty());
    one && txn.compares.is_empty()
}

/// The one key that a session can have in the line of this fence. Of readers and holders of permits, each with a key of its own, one
/// may move it while another finds out what it owes: these are not judged.
fn own_key(fence: &[u8]) -> Option<Vec<u8>> {
    let (name, lease) = parts(fence)?;
    Some(format!("{name}/{lease}").into_bytes())
}

fn deletes_own(txn: &Txn, fence: &[u8]) -> bool {
    let own = own_key(fence);
    txn.success.iter().any(|op| matches!(op, Op::Delete(delete) if Some(&delete.key) == own.as_ref()))
}

/// Whether a transaction gets in the line of this fence.
fn joins(txn: &Txn, fence: &[u8]) -> bool {
    let Some(own) = own_key(fence) else { return false };
    let creates = txn.compares.iter().any(|new| new.key == own && new.target == CompareTarget::Create(0));
    creates && txn.success.iter().any(|op| matches!(op, Op::Put(put) if put.key == own))
}

/// Whether it is tried no more: the members are not out of reach, nor out of space.
fn is_final(code: Code) -> bool {
    !matches!(
        code,
        Code::ResourceExhausted
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
    )
}

/// The name of the lock that a fence key is of, and the lease by which it lives as the key has it; nothing for other keys.
fn parts(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once("\0fence/")
}

fn lease_of(key: &[u8]) -> Option<i64> {
    i64::from_str_radix(parts(key)?.1, 16).ok()
}

fn is_fence_of(key: &[u8], name: &str) -> bool {
    parts(key).is_some_and(|(of, _)| of == name)
}

/// Whether a transaction has to do with this fence, or with the keys of the line that it keeps late requests from.
fn concerns(txn: &Txn, fence: &[u8]) -> bool {
    let Some((name, _)) = parts(fence) else { return false };
    let line = format!("{name}/").into_bytes();
    let mut compared = txn.compares.iter().map(|compare| &compare.key);
    let mut used = txn.success.iter().chain(&txn.failure).filter_map(|op| match op {
        Op::Put(put) => Some(&put.key),
        Op::Delete(delete) => Some(&delete.key),
        Op::Range(range) => Some(&range.key),
        Op::Txn(_) => None,
    });
    let is_of_it = |key: &Vec<u8>| key == fence || key.starts_with(&line);
    compared.any(is_of_it) || used.any(is_of_it)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::Code;
    use tenure::kv::{
        Compare, CompareOp, DeleteRange, Op, OpResponse, Put, Range, RangeResponse, Request, Response, Txn,
        TxnResponse,
    };
    use tenure::wire::Status;

    use crate::check::script::Script;
    use crate::history::{SessionEnd, What};
    use crate::node::Node;

    const SECOND: u64 = 1_000_000_000;

    /// A client that leaves a line by moving its fence from there, and is told that there is no space.
    fn refused(script: &mut Script, call: u64, stands_at: i64) {
        let full = Status { code: Code::ResourceExhausted, message: "space exceeded".to_owned(), sent: true };
        moves(script, call, stands_at, Err(full));
    }

    fn moves(script: &mut Script, call: u64, stands_at: i64, outcome: Result<Arc<Response>, Status>) {
        let ops = [Op::Delete(DeleteRange::key("a/10")), Op::Put(Put::new("a\0fence/10", "a/10 left 0"))];
        let stands = Compare::mod_revision("a\0fence/10", CompareOp::Equal, stands_at);
        sends(script, call, Txn::new().when([stands]).and_then(ops), outcome);
    }

    fn sends(script: &mut Script, call: u64, txn: Txn, outcome: Result<Arc<Response>, Status>) {
        let request = Arc::new(Request::Txn(txn));
        script.record(Node::Client(0), What::Sent { call, member: 0, request });
        script.record(Node::Client(0), What::Answered { call, outcome });
    }

    fn detail(script: &mut Script) -> Option<String> {
        script.breach("no-residue").map(|breach| breach.detail)
    }

    #[test]
    fn a_fence_that_there_was_no_space_for_is_tried_again_every_second_until_it_is_moved() {
        let mut script = Script::new();
        script.granted_lease(0, 0x10, 60);
        script.session(0, 0x10, 60_000);
        for call in [50, 51] {
            refused(&mut script, call, 0);
            script.wait(SECOND);
        }
        assert_eq!(detail(&mut script), None);
        moves(&mut script, 52, 0, Ok(Arc::new(Response::Txn(TxnResponse::default()))));
        script.wait(5 * SECOND);
        script.calm();
        assert_eq!(detail(&mut script), None, "it is moved");
        refused(&mut script, 53, 9);
        script.wait(2 * SECOND);
        script.calm();
        assert!(detail(&mut script).expect("not again").contains("does not try again to move it"));
    }

    #[test]
    fn who_gets_in_line_anew_has_moved_the_fence_that_it_owes() {
        let mut script = Script::new();
        script.granted_lease(0, 0x10, 60);
        script.session(0, 0x10, 60_000);
        refused(&mut script, 50, 0);
        let responses = vec![OpResponse::Range(RangeResponse::default())];
        let no_key = TxnResponse { succeeded: true, responses, ..Default::default() };
        let no_key = Arc::new(Response::Txn(no_key));
        let look = Txn::new().and_then([Op::Range(Range::key("a/10"))]);
        sends(&mut script, 51, look, Ok(Arc::clone(&no_key)));
        assert_eq!(detail(&mut script), None);
        let new = Compare::create_revision("a/10", CompareOp::Equal, 0);
        let stands = Compare::mod_revision("a\0fence/10", CompareOp::Equal, 0);
        let join = Txn::new().when([new, stands]).and_then([Op::Put(Put::new("a/10", ""))]);
        sends(&mut script, 52, join, Ok(no_key));
        assert!(detail(&mut script).expect("too early").contains("gets in line anew before the fence"));
    }

    #[test]
    fn a_session_that_is_over_owes_nothing() {
        let mut script = Script::new();
        script.granted_lease(0, 0x10, 60);
        script.session(0, 0x10, 60_000);
        refused(&mut script, 50, 0);
        script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how: SessionEnd::Dropped });
        script.wait(5 * SECOND);
        script.calm();
        assert_eq!(detail(&mut script), None);
    }
}
