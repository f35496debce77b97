//! `no-polling`: a client asks etcd only where there is a reason to: it was told to do something, a watch told it news, or
//! a request or a watch of its came to nothing. Who waits by asking again and again is right in every other invariant, and
//! loads etcd with each waiter.

use std::collections::BTreeMap;

use tenure::kv::Request;

use super::{Breach, Evidence};
use crate::history::{Step, What};
use crate::node::Node;

/// Requests that one reason may lead to: a join or a watch, a list behind it, the clean-up. (A watch may be doubted three times, but
/// hardly each one is.) Green seeds stay green with a quarter less.
const PER_REASON: i64 = 4;

/// What a client may have left over: it may have been given many reasons at once.
const MOST: i64 = 10 * PER_REASON;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut left: BTreeMap<u32, i64> = BTreeMap::new();
    for (place, step) in evidence.history.steps.iter().enumerate() {
        let Node::Client(client) = step.node else { continue };
        let left = left.entry(client).or_insert(MOST);
        if is_reason(step) {
            *left = MOST.min(*left + PER_REASON);
        } else if is_question(step) {
            *left -= 1;
            if *left < 0 {
                let detail = format!(
                    "c{client} sent its {}th request and more for which nothing gave it a reason",
                    MOST + 1
                );
                return Some(Breach { step: place, detail });
            }
        }
    }
    None
}

/// Requests of a session's own rhythm are judged by `true-errors`.
fn is_question(step: &Step) -> bool {
    match &step.what {
        What::Sent { request, .. } => !matches!(**request, Request::LeaseKeepAlive { .. }),
        What::WatchSent { .. } => true,
        _ => false,
    }
}

fn is_reason(step: &Step) -> bool {
    match &step.what {
        What::Answered { outcome, .. } => outcome.is_err(),
        What::WatchTold { kind, .. } => matches!(*kind, "events" | "canceled" | "compacted"),
        What::Started
        | What::GaveUp { .. }
        | What::WatchBroke { .. }
        | What::SessionOpened { .. }
        | What::SessionEnded { .. }
        | What::Asks { .. }
        | What::Granted { .. }
        | What::NotGranted { .. }
        | What::Releases { .. }
        | What::ToldLost { .. }
        | What::Does { .. }
        | What::Observes { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;

    #[test]
    fn a_client_that_asks_for_its_turn_again_and_again_is_found_and_one_that_is_told_each_time_is_not() {
        let mut script = Script::new();
        script.queue(0, "a", 0x10);
        for _ in 0..100 {
            script.asks_etcd(0);
            script.tells(0);
        }
        assert_eq!(script.breach("no-polling"), None);
        for _ in 0..100 {
            script.asks_etcd(0);
        }
        let breach = script.breach("no-polling").expect("it polls");
        assert!(breach.detail.contains("c0"), "{breach:?}");
    }
}
