//! `observe-order`: an observer sees leaders in the order in which they led, none that had ceased before it began to look, each
//! leader's proclamations in the order in which they were made, and at the end of a run the last state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reigns::{NOBODY, Reigns, State};
use super::{Breach, Evidence};
use crate::history::What;
use crate::node::Node;

/// How long before the end a change may come that an observer need not have seen.
const SETTLED_NS: u64 = 3_000_000_000;

struct Observer {
    client: Node,
    name: Arc<str>,
    began: usize,
    /// The place of the last observation among the reigns.
    at: Option<usize>,
    /// The ask of the leader that was seen last, and which of its proclamations.
    said: Option<(u64, u64)>,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let reigns = evidence.reigns();
    let mut observers: BTreeMap<u64, Observer> = BTreeMap::new();
    for (step, at) in evidence.history.steps.iter().enumerate() {
        match &at.what {
            What::Observes { name, observer } => {
                // A client has one observer at a time: the one before has ended.
                observers.retain(|_, other| other.client != at.node);
                let name = Arc::clone(name);
                let began = Observer { client: at.node, name, began: step, at: None, said: None };
                observers.insert(*observer, began);
            }
            What::Crashed => observers.retain(|_, observer| observer.client != at.node),
            What::Observed { name, observer, leader } => {
                let seen = observers.get_mut(observer)?;
                let reigns = reigns.get(name.as_bytes()).map_or(NOBODY, Vec::as_slice);
                let state = leader.as_ref().map(|leader| (leader.rev, leader.mod_revision));
                let value = leader.as_ref().map(|leader| leader.value.as_slice());
                if let Some(why) = seen.sees(step, reigns, state, value) {
                    let detail = format!("observer {observer} of {name:?} at {} saw {why}", at.node);
                    return Some(Breach { step, detail });
                }
            }
            _ => {}
        }
    }
    last_state(evidence, reigns, &observers)
}

impl Observer {
    /// Takes in an observation. Gives what is wrong with it.
    fn sees(
        &mut self,
        step: usize,
        reigns: &[(usize, State)],
        state: State,
        value: Option<&[u8]>,
    ) -> Option<String> {
        let from = match self.at {
            Some(at) => at + 1,
            // What had ended before it began is old news.
            None => reigns.partition_point(|(begun, _)| *begun <= self.began).saturating_sub(1),
        };
        // Nobody sees the future: a state without a leader comes again and again.
        let until = reigns.partition_point(|(begun, _)| *begun <= step);
        let found = reigns.get(from..until).unwrap_or_default().iter().position(|(_, reign)| *reign == state);
        let shown = state.map_or("nobody leading".to_owned(), |(created, modified)| {
            format!("the leader of revision {created} as of {modified}")
        });
        match found {
            Some(ahead) => self.at = Some(from + ahead),
            None if self.at.is_none() => return Some(format!("first {shown}, which was over when it began")),
            None => return Some(format!("{shown} after something newer")),
        }
        let said = value.and_then(proclamation);
        if let (Some((before, earlier)), Some((now, later))) = (self.said, said)
            && before == now
            && later < earlier
        {
            return Some(format!("{shown} say its proclamation {later} after {earlier}"));
        }
        self.said = said;
        None
    }
}

/// Of which ask a value is, and which of its proclamations.
fn proclamation(value: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (ticket, number) = text.split_once('/')?;
    Some((ticket.parse().ok()?, number.parse().ok()?))
}

fn last_state(
    evidence: &Evidence<'_>,
    reigns: &BTreeMap<Vec<u8>, Reigns>,
    observers: &BTreeMap<u64, Observer>,
) -> Option<Breach> {
    evidence.calm?;
    let is_outside = |observer: &Observer| matches!(observer.client, Node::Client(client) if evidence.outside.contains(&client));
    let settled_ns = evidence.end_ns.saturating_sub(SETTLED_NS);
    let settled = evidence.history.steps.partition_point(|step| step.at_ns < settled_ns);
    observers.iter().filter(|(_, seen)| !is_outside(seen)).find_map(|(observer, seen)| {
        let reigns = reigns.get(seen.name.as_bytes())?;
        let last = reigns.partition_point(|(step, _)| *step < settled).checked_sub(1)?;
        if seen.began >= settled || seen.at.is_some_and(|at| at >= last) {
            return None;
        }
        let detail = format!(
            "observer {observer} of {:?} at {} has not seen the last state, which began at step {}",
            &*seen.name, seen.client, reigns[last].0
        );
        Some(Breach { step: evidence.history.steps.len() - 1, detail })
    })
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::history::Kind;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_leader_in_turn_and_then_nobody_is_right() {
        let mut script = Script::new();
        script.observes(3, "a", 1);
        script.observed(3, "a", 1, None);
        let first = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        script.observed(3, "a", 1, Some(&first));
        let second = script.queue_of(Kind::Leader, 1, "a", 0x11);
        script.release(&first);
        script.granted(&second, &[]);
        script.observed(3, "a", 1, Some(&second));
        script.calm();
        script.release(&second);
        script.observed(3, "a", 1, None);
        script.wait(10 * SECOND);
        assert_eq!(script.breach("observe-order"), None);
    }

    #[test]
    fn an_older_leader_after_a_newer_one_is_found() {
        let mut script = Script::new();
        script.observes(3, "a", 1);
        let first = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        script.release(&first);
        let second = script.grant_of(Kind::Leader, 1, "a", 0x11, &[]);
        script.observed(3, "a", 1, Some(&second));
        assert_eq!(script.breach("observe-order"), None, "it need not see all");
        script.observed(3, "a", 1, Some(&first));
        assert!(script.breach("observe-order").expect("older").detail.contains("after something newer"));
    }

    #[test]
    fn a_first_look_at_who_had_resigned_before_is_found() {
        let mut script = Script::new();
        let first = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        script.release(&first);
        script.grant_of(Kind::Leader, 1, "a", 0x11, &[]);
        script.observes(3, "a", 1);
        script.observed(3, "a", 1, Some(&first));
        assert!(script.breach("observe-order").expect("stale").detail.contains("over when it began"));
    }

    #[test]
    fn a_last_state_that_is_never_seen_is_found() {
        let mut script = Script::new();
        script.observes(3, "a", 1);
        let leader = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        script.observed(3, "a", 1, Some(&leader));
        script.calm();
        script.release(&leader);
        script.wait(SECOND);
        assert_eq!(script.breach("observe-order"), None, "it still has time");
        script.wait(10 * SECOND);
        assert!(script.breach("observe-order").expect("missed").detail.contains("last state"));
    }

    #[test]
    fn an_older_proclamation_after_a_newer_one_is_found() {
        let mut script = Script::new();
        script.observes(3, "a", 1);
        let leader = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        for number in [0, 2, 1] {
            let modified = if number == 0 { leader.token } else { script.proclaim(&leader) };
            assert_eq!(script.breach("observe-order"), None);
            script.observed_saying(3, "a", 1, (leader.token, modified), &format!("7/{number}"));
        }
        assert!(script.breach("observe-order").expect("older").detail.contains("proclamation 1 after 2"));
    }
}
