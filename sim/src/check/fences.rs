//! A part of `no-residue`: who leaves a line after a lost join and finds that etcd has no space for the fence tries again a second
//! later, and again, until it is moved or the session is over (`src/line/leave.rs`). Until then the lost join may be applied, and
//! leaves a key that nobody waits with and that everybody waits for.

use std::collections::{BTreeMap, BTreeSet};

use tenure::Code;
use tenure::kv::{Op, Request, Txn};

use super::causes::LATE_NS;
use super::evidence::Moment;
use super::{Breach, Evidence};
use crate::history::What;
use crate::node::Node;

/// The library's pause between two tries.
const AGAIN_AFTER_NS: u64 = 1_000_000_000;

/// The fence key of a client.
type FenceOf = (u32, Vec<u8>);

/// A fence that is to be moved.
struct Owed {
    lease: i64,
    /// When the last call that had to do with it came to its end.
    since: Moment,
    /// The calls that have not.
    open: Vec<u64>,
}

#[derive(Default)]
struct Fences {
    owed: BTreeMap<FenceOf, Owed>,
    /// The calls under way that are to move one, and whether on behalf of who leaves.
    moving: BTreeMap<u64, (FenceOf, bool)>,
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
            What::Sent { call, request, .. } => fences.sent(client, *call, request),
            What::Answered { call, outcome } => {
                let code = outcome.as_ref().err().map(|status| status.code);
                fences.ended(*call, code, now);
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
    fn sent(&mut self, client: u32, call: u64, request: &Request) {
        let Request::Txn(txn) = request else { return };
        if let Some((key, leaves)) = moves(txn) {
            self.moving.insert(call, ((client, key.to_vec()), leaves));
        }
        let mine = self.owed.iter_mut().filter(|((of, key), _)| *of == client && concerns(txn, key));
        mine.for_each(|(_, owed)| owed.open.push(call));
    }

    fn lost(&mut self, call: u64, now: Moment) {
        for owed in self.owed.values_mut().filter(|owed| owed.open.contains(&call)) {
            owed.open.retain(|open| *open != call);
            owed.since = now;
        }
        self.moving.remove(&call);
    }

    fn ended(&mut self, call: u64, refused: Option<Code>, now: Moment) {
        let moving = self.moving.get(&call).cloned();
        if refused.is_some_and(is_final) {
            let denied = self.owed.iter().filter(|(_, owed)| owed.open.contains(&call));
            self.denied.extend(denied.map(|(fence, _)| fence.clone()));
            self.owed.retain(|fence, _| !self.denied.contains(fence));
        }
        self.lost(call, now);
        match (moving, refused) {
            // Moved, by this or by something else.
            (Some((fence, _)), None) => {
                self.owed.remove(&fence);
            }
            (Some((fence, true)), Some(Code::ResourceExhausted)) if !self.denied.contains(&fence) => {
                let lease = lease_of(&fence.1).unwrap_or_default();
                self.owed.entry(fence).or_insert(Owed { lease, since: now, open: Vec::new() });
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
    let is_of_it = |name: &str, of: i64| {
        of == lease && fence.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    };
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

/// The fence that a transaction is to move, and whether on behalf of who leaves.
fn moves(txn: &Txn) -> Option<(&[u8], bool)> {
    const LEAVES: &[u8] = b" left ";
    txn.success.iter().find_map(|op| match op {
        Op::Put(put) if lease_of(&put.key).is_some() => {
            Some((&*put.key, put.value.windows(LEAVES.len()).any(|part| part == LEAVES)))
        }
        _ => None,
    })
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

/// The lease by which a fence key lives; nothing for other keys.
fn lease_of(key: &[u8]) -> Option<i64> {
    let (_, lease) = std::str::from_utf8(key).ok()?.split_once("\0fence/")?;
    i64::from_str_radix(lease, 16).ok()
}

/// Whether a transaction has to do with this fence, or with the keys of the line that it keeps late requests from.
fn concerns(txn: &Txn, fence: &[u8]) -> bool {
    let Some(end) = fence.iter().position(|&byte| byte == 0) else { return false };
    let line = [&fence[..end], b"/"].concat();
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
    use tenure::kv::{DeleteRange, Op, Put, Request, Response, Txn, TxnResponse};
    use tenure::wire::Status;

    use crate::check::script::Script;
    use crate::history::{SessionEnd, What};
    use crate::node::Node;

    const SECOND: u64 = 1_000_000_000;

    /// A client that leaves a line by moving its fence, and is told that there is no space.
    fn refused(script: &mut Script, call: u64) {
        let full = Status { code: Code::ResourceExhausted, message: "space exceeded".to_owned(), sent: true };
        moves(script, call, Err(full));
    }

    fn moves(script: &mut Script, call: u64, outcome: Result<Arc<Response>, Status>) {
        let ops = [Op::Delete(DeleteRange::key("a/10")), Op::Put(Put::new("a\0fence/10", "a/10 left 0"))];
        let request = Arc::new(Request::Txn(Txn::new().and_then(ops)));
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
            refused(&mut script, call);
            script.wait(SECOND);
        }
        assert_eq!(detail(&mut script), None);
        moves(&mut script, 52, Ok(Arc::new(Response::Txn(TxnResponse::default()))));
        script.wait(5 * SECOND);
        script.calm();
        assert_eq!(detail(&mut script), None, "it is moved");
        refused(&mut script, 53);
        script.wait(2 * SECOND);
        script.calm();
        assert!(detail(&mut script).expect("not again").contains("does not try again to move it"));
    }

    #[test]
    fn a_session_that_is_over_owes_nothing() {
        let mut script = Script::new();
        script.granted_lease(0, 0x10, 60);
        script.session(0, 0x10, 60_000);
        refused(&mut script, 50);
        script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how: SessionEnd::Dropped });
        script.wait(5 * SECOND);
        script.calm();
        assert_eq!(detail(&mut script), None);
    }
}
