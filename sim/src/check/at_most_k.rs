//! `at-most-k`: at the instant of a grant of a semaphore's permit there are fewer others that believe that they hold one than
//! there are permits, and the key that it is granted by is one of the first in line as the store's commits have it.

use super::causes::{lives, own_line};
use super::evidence::Moment;
use super::{Breach, Evidence};
use crate::history::{Holding, Kind, What};
use crate::workload::program::PERMITS;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    evidence.history.steps.iter().enumerate().find_map(|(step, at)| {
        let What::Granted { holding, believers, .. } = &at.what else { return None };
        let now = Moment { step, at_ns: at.at_ns };
        let is_taken = |one: &Holding| evidence.is_taken_away(one, now);
        if holding.kind != Kind::Permit || is_taken(holding) {
            return None;
        }
        let others = believers.iter().filter(|other| !is_taken(other)).count();
        let why = if others >= PERMITS as usize {
            format!("{others} others still believe that they hold one of {PERMITS}")
        } else {
            not_among_the_first(evidence, holding, step)?
        };
        let detail = format!(
            "c{} was granted the {} {:?} (token {}), but {why}",
            holding.client, holding.kind, &*holding.name, holding.token
        );
        Some(Breach { step, detail })
    })
}

fn not_among_the_first(evidence: &Evidence<'_>, holding: &Holding, step: usize) -> Option<String> {
    let line = lives(evidence, &own_line(&holding.name, holding.kind));
    let is_there = |deleted: Option<(i64, Moment)>| deleted.is_none_or(|(_, gone)| gone.step > step);
    let there = || line.iter().filter(|life| life.created.step < step && is_there(life.deleted));
    if there().all(|life| life.create_revision != holding.token) {
        return Some("its own key is not there".to_owned());
    }
    let older = there().filter(|life| life.create_revision < holding.token).count();
    (older >= PERMITS as usize).then(|| format!("{older} keys are before it in line"))
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::history::Kind;
    use crate::workload::program::OperatorAct;

    #[test]
    fn two_of_two_permits_are_right_and_so_is_one_that_changes_hands() {
        let mut script = Script::new();
        let first = script.grant_of(Kind::Permit, 0, "a", 0x10, &[]);
        let second = script.grant_of(Kind::Permit, 1, "a", 0x11, &[&first]);
        script.release(&first);
        script.grant_of(Kind::Permit, 2, "a", 0x12, &[&second]);
        assert_eq!(script.breach("at-most-k"), None);
        assert_eq!(script.breach("mutual-exclusion"), None, "they may be held beside each other");
    }

    #[test]
    fn a_third_believer_is_found() {
        let mut script = Script::new();
        let first = script.grant_of(Kind::Permit, 0, "a", 0x10, &[]);
        let second = script.grant_of(Kind::Permit, 1, "a", 0x11, &[&first]);
        script.delete(&first);
        let third = script.queue_of(Kind::Permit, 2, "a", 0x12);
        let step = script.next_step();
        script.granted(&third, &[&first, &second]);
        let breach = script.breach("at-most-k").expect("three of two");
        assert_eq!(breach.step, step);
        assert!(breach.detail.contains("2 others still believe"), "{breach:?}");
    }

    #[test]
    fn one_that_overtakes_is_found_and_so_is_one_whose_key_is_gone() {
        let mut script = Script::new();
        script.grant_of(Kind::Permit, 0, "a", 0x10, &[]);
        let second = script.queue_of(Kind::Permit, 1, "a", 0x11);
        let third = script.queue_of(Kind::Permit, 2, "a", 0x12);
        script.granted(&third, &[]);
        assert!(script.breach("at-most-k").expect("overtakes").detail.contains("2 keys are before it"));
        let mut script = Script::new();
        script.delete(&second);
        let gone = script.queue_of(Kind::Permit, 1, "a", 0x11);
        script.delete(&gone);
        script.granted(&gone, &[]);
        assert!(script.breach("at-most-k").expect("gone").detail.contains("its own key is not there"));
    }

    #[test]
    fn what_was_taken_by_hand_its_holder_may_believe_in() {
        let mut script = Script::new();
        let first = script.grant_of(Kind::Permit, 0, "a", 0x10, &[]);
        let second = script.grant_of(Kind::Permit, 1, "a", 0x11, &[&first]);
        script.by_hand(0, &first, OperatorAct::DeleteHolder);
        script.grant_of(Kind::Permit, 2, "a", 0x12, &[&first, &second]);
        assert_eq!(script.breach("at-most-k"), None);
    }
}
