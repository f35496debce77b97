//! `mutual-exclusion` and `single-leader`: at the instant of a grant nobody else believes that he holds the same.
//! Belief ends with the release, or when the holder's own clock says so; it never begins again, so grants are the
//! only instants that need looking at.

use super::evidence::Moment;
use super::{Breach, Evidence};
use crate::history::{Holding, Kind, What};

/// Of locks.
pub(super) fn mutual_exclusion(evidence: &Evidence<'_>) -> Option<Breach> {
    first_shared(evidence, |kind| !matches!(kind, Kind::Leader | Kind::Permit))
}

/// Of leaderships.
pub(super) fn single_leader(evidence: &Evidence<'_>) -> Option<Breach> {
    first_shared(evidence, |kind| kind == Kind::Leader)
}

fn first_shared(evidence: &Evidence<'_>, concerns: impl Fn(Kind) -> bool) -> Option<Breach> {
    evidence.history.steps.iter().enumerate().find_map(|(step, at)| {
        let What::Granted { holding, believers, .. } = &at.what else { return None };
        if !concerns(holding.kind) {
            return None;
        }
        let now = Moment { step, at_ns: at.at_ns };
        let is_taken = |one: &Holding| evidence.is_taken_away(one, now);
        let mut others = believers.iter().filter(|other| excludes(holding, other));
        let other = others.find(|other| !is_taken(other) && !is_taken(holding))?;
        let detail = format!(
            "c{} was granted the {} {:?} (token {}) while c{} still believes that it holds it (token {})",
            holding.client, holding.kind, &*holding.name, holding.token, other.client, other.token
        );
        Some(Breach { step, detail })
    })
}

fn excludes(one: &Holding, other: &Holding) -> bool {
    !(one.kind == Kind::Read && other.kind == Kind::Read)
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::history::Kind;
    use crate::workload::program::OperatorAct;

    #[test]
    fn a_lock_that_changes_hands_is_right() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        script.release(&first);
        script.grant(1, "a", 0x11);
        assert_eq!(script.breach("mutual-exclusion"), None);
    }

    #[test]
    fn two_believers_are_found_at_the_second_grant() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        let step = script.next_step() + 2;
        script.grant_beside(1, "a", 0x11, &[&first]);
        let breach = script.breach("mutual-exclusion").expect("two believe");
        assert_eq!(breach.step, step);
        assert!(breach.detail.contains("c1 was granted") && breach.detail.contains("c0 still"), "{breach:?}");
        assert_eq!(script.breach("single-leader"), None, "it is a lock, not a leadership");
    }

    #[test]
    fn what_was_taken_by_hand_its_holder_may_believe_in() {
        for act in [OperatorAct::DeleteHolder, OperatorAct::RevokeHolder] {
            let mut script = Script::new();
            let first = script.grant(0, "a", 0x10);
            script.by_hand(0, &first, act);
            script.grant_beside(1, "a", 0x11, &[&first]);
            assert_eq!(script.breach("mutual-exclusion"), None, "{act:?}");
            let third = script.queue(2, "a", 0x12);
            let second = Script::holding(1, "a", 0x11, third.token - 1);
            script.granted(&third, &[&second]);
            assert!(script.breach("mutual-exclusion").is_some(), "{act:?}: that one is still there");
        }
    }

    #[test]
    fn readers_may_share_but_not_with_a_writer() {
        let mut script = Script::new();
        let reader = script.grant_of(Kind::Read, 0, "a", 0x10, &[]);
        script.grant_of(Kind::Read, 1, "a", 0x11, &[&reader]);
        assert_eq!(script.breach("mutual-exclusion"), None);
        script.grant_of(Kind::Write, 2, "a", 0x12, &[&reader]);
        assert!(script.breach("mutual-exclusion").is_some());
    }

    #[test]
    fn two_leaders_are_found_by_single_leader() {
        let mut script = Script::new();
        let first = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
        script.grant_of(Kind::Leader, 1, "a", 0x11, &[&first]);
        assert!(script.breach("single-leader").is_some());
        assert_eq!(script.breach("mutual-exclusion"), None);
    }
}
