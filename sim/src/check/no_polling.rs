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

/// From when on a watch that no member has opened came to nothing: what the library waits for one (`EtcdOptions::attempt_timeout`),
/// less what a client's clock may drift.
const UNOPENED_NS: u64 = 900_000_000;

/// One client.
struct Asker {
    /// How many requests it may send yet.
    left: i64,
    /// The watches that no member has told it anything of, and when they were sent.
    unopened: BTreeMap<u64, u64>,
}

impl Asker {
    fn take_in(&mut self, step: &Step) {
        match &step.what {
            What::Started => self.unopened.clear(),
            What::WatchTold { watch, .. } | What::WatchBroke { watch, .. } => {
                self.unopened.remove(watch);
            }
            What::WatchSent { watch, .. } => {
                let sent = self.unopened.len();
                self.unopened.retain(|_, sent_ns| step.at_ns < *sent_ns + UNOPENED_NS);
                self.give_reasons(sent - self.unopened.len());
                self.unopened.insert(*watch, step.at_ns);
            }
            _ => {}
        }
        if is_reason(step) {
            self.give_reasons(1);
        } else if is_question(step) {
            self.left -= 1;
        }
    }

    fn give_reasons(&mut self, count: usize) {
        self.left = MOST.min(self.left + PER_REASON * count as i64);
    }
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut askers: BTreeMap<u32, Asker> = BTreeMap::new();
    for (place, step) in evidence.history.steps.iter().enumerate() {
        if let Node::Client(client) = step.node {
            let asker = askers.entry(client).or_insert(Asker { left: MOST, unopened: BTreeMap::new() });
            asker.take_in(step);
            if asker.left < 0 {
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
        What::GaveUp { .. } | What::WatchBroke { .. } | What::Observes { .. } => true,
        what => begins_something(what),
    }
}

/// Whether its program has something new to do, or is told of something.
pub(super) fn begins_something(what: &What) -> bool {
    matches!(
        what,
        What::Started
            | What::SessionOpened { .. }
            | What::SessionEnded { .. }
            | What::Asks { .. }
            | What::Granted { .. }
            | What::NotGranted { .. }
            | What::Releases { .. }
            | What::ToldLost { .. }
            | What::Does { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::UNOPENED_NS;
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

    #[test]
    fn a_watch_that_no_member_opens_may_be_asked_for_elsewhere_once_it_was_waited_for() {
        let mut script = Script::new();
        for watch in 0..100 {
            script.asks_for_watch(0, watch);
            script.wait(UNOPENED_NS);
        }
        assert_eq!(script.breach("no-polling"), None);
        for watch in 100..200 {
            script.asks_for_watch(0, watch);
            script.wait(UNOPENED_NS / 100);
        }
        assert!(script.breach("no-polling").is_some());
    }
}
