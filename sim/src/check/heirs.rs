//! A part of `fencing`: who goes on with a key that an earlier process of its lease left has first moved the fence of the line, so
//! that nothing which that process sent, and lost, is applied to what is its heir's (`src/line/takeover.rs`).

use tenure::Code;
use tenure::kv::{Op, Request};

use super::causes::{lives, own_line};
use super::evidence::{Ask, Outcome};
use super::{Breach, Evidence, KeyLife};
use crate::bytes::contains;
use crate::history::{Kind, What};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    evidence.asks.iter().find_map(|ask| {
        let (granted, Outcome::Granted) = ask.ended? else { return None };
        if !matches!(ask.kind, Kind::Mutex | Kind::Leader | Kind::Write) {
            return None;
        }
        let granted_by = |life: &&KeyLife| {
            life.lease == ask.lease
                && life.created.step < ask.asked.step
                && life.deleted.is_none_or(|(_, gone)| gone.step > granted.step)
        };
        let life = lives(evidence, &own_line(&ask.name, ask.kind)).iter().find(granted_by)?;
        let opened = &evidence.causes().leases.get(&(ask.client, ask.lease))?.opened;
        let is_heir = opened.iter().any(|opened| (life.created.step..ask.asked.step).contains(&opened.step));
        if !is_heir || is_fenced(evidence, ask, granted.step) {
            return None;
        }
        let key = tenure::kv::Shown(&life.key);
        let detail = format!(
            "c{} goes on with the key {key} of an earlier process, and has not fenced it off",
            ask.client
        );
        Some(Breach { step: granted.step, detail })
    })
}

/// Whether its fence was moved for that while it asked, or etcd would not have it.
fn is_fenced(evidence: &Evidence<'_>, ask: &Ask, granted: usize) -> bool {
    let fence = format!("{}\0fence/{:x}", ask.name, ask.lease);
    let moves = |request: &Request| match request {
        Request::Txn(txn) => {
            txn.success.iter().any(|op| matches!(op, Op::Put(put) if put.key.ends_with(fence.as_bytes())))
        }
        _ => false,
    };
    let committed = evidence.history.steps[ask.asked.step..granted].iter().any(|step| {
        matches!(&step.what, What::Committed { events, .. } if events.iter().any(|event| {
            event.kv.key.ends_with(fence.as_bytes()) && contains(&event.kv.value, b" taken over ")
        }))
    });
    let denied =
        |code: Code| matches!(code, Code::ResourceExhausted | Code::PermissionDenied | Code::Unauthenticated);
    let mut failed = evidence.causes().failed_within(ask.client, ask.asked.step, granted);
    committed
        || failed.any(|call| moves(call.request) && call.status.is_some_and(|status| denied(status.code)))
}

#[cfg(test)]
mod tests {
    use tenure::kv::{Event, EventKind, KeyValue, Put, Request};

    use crate::check::script::Script;
    use crate::history::{SessionEnd, What};
    use crate::node::Node;

    #[test]
    fn who_goes_on_with_an_earlier_processs_key_has_moved_the_fence() {
        let goes_on = |fences: bool| {
            let mut script = Script::new();
            script.granted_lease(0, 0x10, 60);
            script.session(0, 0x10, 60_000);
            let held = script.grant(0, "a", 0x10);
            script.record(Node::Client(0), What::SessionEnded { lease: 0x10, how: SessionEnd::Orphaned });
            script.session(0, 0x10, 60_000);
            script.asks_again(&held);
            if fences {
                let value = b"a/10 taken over 0".to_vec();
                let kv =
                    KeyValue { key: b"a\0fence/10".to_vec(), value, mod_revision: 9, ..KeyValue::default() };
                let events = vec![Event { kind: EventKind::Put, kv, prev_kv: None }];
                let request = std::sync::Arc::new(Request::Put(Put::new("a\0fence/10", "")));
                script.record(Node::Member(0), What::Committed { revision: 9, call: None, request, events });
            }
            script.granted(&held, &[]);
            script.breach("fencing").map(|breach| breach.detail)
        };
        assert_eq!(goes_on(true), None);
        assert!(goes_on(false).expect("late requests are applied").contains("has not fenced it off"));
    }
}
