//! Hand-written histories of barriers that `barrier`, `double-barrier`, `true-errors` and `progress` find right, and wrong ones that they
//! find.

use super::script_recipes::{RecipeScript, SECOND};
use crate::history::{DeedEnd, Departed, Failure, RecipeDeed, RecipeEnd};

const GATE: &str = "gates/0";
const PAIR: &str = "pairs/0";

fn says(script: &mut RecipeScript, invariant: &str) -> String {
    script.breach(invariant).map_or_else(String::new, |breach| breach.detail)
}

/// Sessions of four clients.
fn sessions() -> RecipeScript {
    let mut script = RecipeScript::new();
    (1..=4).for_each(|client| script.session(client));
    script
}

fn passes() -> RecipeDeed {
    RecipeDeed::Pass { limit_ms: None }
}

/// A client asks to hold the barrier, and does. Gives the revision.
fn holds(script: &mut RecipeScript, client: u32) -> i64 {
    let deed = script.does(client, GATE, RecipeDeed::Hold { for_good: false });
    let revision = script.commit_leased(client, &[(GATE, "")], &[]);
    script.did(client, deed, DeedEnd::Recipe(RecipeEnd::Held { revision }));
    revision
}

/// A client's key at the double barrier.
fn member(client: u32) -> String {
    format!("{PAIR}/waiters/{client}.0")
}

/// A client asks to enter the double barrier, and waits. Gives the deed and the revision of its key.
fn comes(script: &mut RecipeScript, client: u32) -> (u64, i64) {
    let deed = script.does(client, PAIR, RecipeDeed::Enter { count: 2, limit_ms: None });
    (deed, script.commit_leased(client, &[(&member(client), "tenure")], &[]))
}

/// A client opens the double barrier for those of these revisions. Gives the round.
fn opens(script: &mut RecipeScript, client: u32, named: &[i64]) -> i64 {
    let named: Vec<_> = named.iter().map(i64::to_string).collect();
    script.commit(client, &[(&format!("{PAIR}/ready"), &named.join(" "))], &[])
}

fn enters(script: &mut RecipeScript, client: u32, deed: u64, round: i64) {
    script.did(client, deed, DeedEnd::Recipe(RecipeEnd::Entered { round }));
}

/// The first two clients are in. Gives the round.
fn both_are_in(script: &mut RecipeScript) -> i64 {
    let ((one, first), (other, second)) = (comes(script, 1), comes(script, 2));
    let round = opens(script, 2, &[first, second]);
    enters(script, 1, one, round);
    enters(script, 2, other, round);
    round
}

/// A client steps out of the round, and says so.
fn steps_out(script: &mut RecipeScript, client: u32, round: i64) {
    script.commit(client, &[(&format!("__{PAIR}\0left/{round:020}"), "")], &[&member(client)]);
}

fn leaves(script: &mut RecipeScript, client: u32, round: i64) -> u64 {
    script.does(client, PAIR, RecipeDeed::Leave { count: 2, round, limit_ms: None })
}

#[test]
fn who_passes_while_one_hold_stands_is_found_and_who_passes_between_two_is_not() {
    let passed = |between: bool| {
        let mut script = sessions();
        holds(&mut script, 1);
        let deed = script.does(2, GATE, passes());
        if between {
            script.commit(1, &[], &[GATE]);
            holds(&mut script, 3);
        }
        script.did(2, deed, DeedEnd::Done);
        says(&mut script, "barrier")
    };
    assert_eq!(passed(true), "");
    assert!(passed(false).contains("c2 passed the barrier \"gates/0\", which was held all the time"));
}

#[test]
fn a_hold_is_its_holders_own_and_made_for_it() {
    let mut script = sessions();
    let revision = holds(&mut script, 1);
    assert_eq!(says(&mut script, "barrier"), "");
    let mut told = |client: u32, revision: i64| {
        let deed = script.does(client, GATE, RecipeDeed::Hold { for_good: false });
        script.did(client, deed, DeedEnd::Recipe(RecipeEnd::Held { revision }));
        says(&mut script, "barrier")
    };
    assert!(told(1, revision).contains("which was not made while it asked"));
    let another = |client: u32, later: i64| {
        let mut script = sessions();
        let asked = [1, client].map(|client| script.does(client, GATE, RecipeDeed::Hold { for_good: false }));
        let revision = script.commit_leased(1, &[(GATE, "")], &[]);
        for (client, deed, revision) in [(1, asked[0], revision), (client, asked[1], revision + later)] {
            script.did(client, deed, DeedEnd::Recipe(RecipeEnd::Held { revision }));
        }
        says(&mut script, "barrier")
    };
    assert!(another(1, 0).contains("as another was told before"));
    assert!(another(1, 1).contains("which nobody made"));
    assert!(another(2, 0).contains("which is of the lease 1, not of 2"));
}

#[test]
fn what_is_said_to_be_released_is() {
    for what in [RecipeDeed::ReleaseBarrier, RecipeDeed::ReleaseHold { revision: 2 }] {
        let released = |is: bool| {
            let mut script = sessions();
            assert_eq!(holds(&mut script, 1), 2);
            let deed = script.does(1, GATE, what.clone());
            if is {
                script.commit(1, &[], &[GATE]);
            }
            script.did(1, deed, DeedEnd::Done);
            says(&mut script, "barrier")
        };
        assert_eq!(released(true), "", "{what:?}");
        assert!(released(false).contains("c1 released"), "{what:?}");
    }
}

#[test]
fn a_hold_is_released_by_its_holder_or_who_releases_the_barrier_and_by_no_older_request() {
    let mut script = sessions();
    holds(&mut script, 1);
    let deed = script.does(2, GATE, RecipeDeed::ReleaseBarrier);
    script.commit(2, &[], &[GATE]);
    script.did(2, deed, DeedEnd::Done);
    holds(&mut script, 1);
    script.expire(&[GATE]);
    assert_eq!(says(&mut script, "barrier"), "");
    holds(&mut script, 1);
    script.commit(2, &[], &[GATE]);
    assert!(
        says(&mut script, "barrier").contains("c2 released \"gates/0\" of revision 6, which it did not hold")
    );
    let mut script = sessions();
    let late = script.send(1);
    holds(&mut script, 1);
    script.commit_sent(late, &[], &[GATE]);
    assert!(says(&mut script, "barrier").contains("by a request of before that"));
}

#[test]
fn a_round_begins_with_all_of_its_members_there_and_none_of_an_earlier_inside() {
    let mut script = sessions();
    let round = both_are_in(&mut script);
    assert_eq!(says(&mut script, "double-barrier"), "");
    steps_out(&mut script, 1, round);
    script.commit(1, &[], &["pairs/0/ready"]);
    let ((deed, third), (_, fourth)) = (comes(&mut script, 3), comes(&mut script, 4));
    let next = opens(&mut script, 3, &[third, fourth]);
    enters(&mut script, 3, deed, next);
    assert!(says(&mut script, "double-barrier").contains("which began while one of an earlier was inside"));
    let mut script = sessions();
    let ((deed, first), (_, second)) = (comes(&mut script, 1), comes(&mut script, 2));
    script.expire(&[&member(2)]);
    let round = opens(&mut script, 1, &[first, second]);
    enters(&mut script, 1, deed, round);
    assert!(says(&mut script, "double-barrier").contains("which began with 1 there"));
}

#[test]
fn only_those_enter_a_round_with_whom_it_began() {
    let late = |round: i64, named: bool| {
        let mut script = sessions();
        let (deed, third) = comes(&mut script, 3);
        let ((one, first), (other, second)) = (comes(&mut script, 1), comes(&mut script, 2));
        let named = if named { vec![first, second, third] } else { vec![first, second] };
        let began = opens(&mut script, 2, &named);
        enters(&mut script, 1, one, began);
        enters(&mut script, 2, other, began);
        enters(&mut script, 3, deed, began + round);
        says(&mut script, "double-barrier")
    };
    assert!(late(0, false).contains("is one too many in round"));
    assert!(late(1, false).contains("which did not begin"));
    assert!(late(0, true).contains("is one too many in round"));
    let mut script = sessions();
    let (deed, _) = comes(&mut script, 3);
    let ((_, first), (_, second)) = (comes(&mut script, 1), comes(&mut script, 2));
    let round = opens(&mut script, 2, &[first, second]);
    enters(&mut script, 3, deed, round);
    assert!(says(&mut script, "double-barrier").contains("which did not begin with it"));
}

#[test]
fn nobody_goes_on_before_all_are_out_and_is_told_how_they_left() {
    let left = |other: Option<bool>, how: Departed| {
        let mut script = sessions();
        let round = both_are_in(&mut script);
        let deed = leaves(&mut script, 1, round);
        steps_out(&mut script, 1, round);
        match other {
            Some(true) => steps_out(&mut script, 2, round),
            Some(false) => drop(script.expire(&[&member(2)])),
            None => {}
        }
        script.did(1, deed, DeedEnd::Recipe(RecipeEnd::Left(how)));
        says(&mut script, "double-barrier")
    };
    assert_eq!(left(Some(true), Departed::Everyone), "");
    assert_eq!(left(Some(false), Departed::Crashed(1)), "");
    assert!(left(None, Departed::Everyone).contains("in which the member of 3 is still"));
    assert!(left(Some(false), Departed::Everyone).contains("is told Everyone"));
    assert!(left(Some(true), Departed::Crashed(1)).contains("is told Crashed(1)"));
    assert!(left(Some(true), Departed::Unknown).contains("is told Unknown"));
}

#[test]
fn a_barrier_is_held_already_only_by_another_hold() {
    let told = |other: bool| {
        let mut script = sessions();
        if other {
            holds(&mut script, 2);
        }
        let deed = script.does(1, GATE, RecipeDeed::Hold { for_good: false });
        if !other {
            script.commit_leased(1, &[(GATE, "")], &[]);
        }
        script.did(1, deed, DeedEnd::Failed(Failure::BarrierHeld));
        says(&mut script, "true-errors")
    };
    assert_eq!(told(true), "");
    assert!(told(false).contains("it is held already, but by nobody else"));
}

#[test]
fn a_hold_is_not_held_any_more_only_if_another_ended_it() {
    let told = |by: u32| {
        let mut script = sessions();
        let revision = holds(&mut script, 1);
        let deed = script.does(1, GATE, RecipeDeed::ReleaseHold { revision });
        if by > 0 {
            script.does(by, GATE, RecipeDeed::ReleaseBarrier);
            script.commit(by, &[], &[GATE]);
        } else {
            script.commit(1, &[], &[GATE]);
        }
        script.did(1, deed, DeedEnd::Failed(Failure::NotHeld));
        says(&mut script, "true-errors")
    };
    assert_eq!(told(2), "");
    assert_eq!(told(1), "", "another program of the client releases the barrier");
    assert!(told(0).contains("nobody took it away"));
}

#[test]
fn a_double_barrier_is_full_only_in_a_round_or_if_enough_others_are_there() {
    let told = |others: &[u32], opened: bool| {
        let mut script = sessions();
        let named: Vec<_> = others.iter().map(|client| comes(&mut script, *client).1).collect();
        if opened {
            opens(&mut script, 2, &named);
            script.commit(2, &[], &[&member(1), &member(2)]);
        }
        let (deed, _) = comes(&mut script, 3);
        script.did(3, deed, DeedEnd::Failed(Failure::BarrierFull));
        says(&mut script, "true-errors")
    };
    assert_eq!(told(&[1, 2], false), "");
    assert_eq!(told(&[1, 2], true), "", "the round is not closed");
    assert!(told(&[1], false).contains("there were never 2 others"));
}

#[test]
fn a_double_barrier_is_broken_only_if_another_is_gone() {
    let told = |gone: &[u32]| {
        let mut script = sessions();
        comes(&mut script, 1);
        let (deed, _) = comes(&mut script, 2);
        for client in gone {
            script.commit(*client, &[], &[&member(*client)]);
        }
        script.did(2, deed, DeedEnd::Failed(Failure::BarrierBroken));
        says(&mut script, "true-errors")
    };
    assert_eq!(told(&[1, 2]), "");
    assert!(told(&[2]).contains("nobody of those who waited is gone"), "it went by itself");
    assert!(told(&[]).contains("nobody of those who waited is gone"));
}

#[test]
fn a_member_is_not_inside_any_more_only_if_another_took_it_out() {
    let told = |lease_ended: bool| {
        let mut script = sessions();
        let round = both_are_in(&mut script);
        let deed = leaves(&mut script, 1, round);
        if lease_ended {
            script.expire(&[&member(1)]);
        } else {
            steps_out(&mut script, 1, round);
        }
        script.did(1, deed, DeedEnd::Failed(Failure::NotHeld));
        says(&mut script, "true-errors")
    };
    assert_eq!(told(true), "");
    assert!(told(false).contains("nobody took it out"));
}

/// A calm that has settled: whoever waits goes on within five seconds.
fn calm() -> RecipeScript {
    let mut script = sessions();
    script.calm();
    script.wait(6 * SECOND);
    script
}

#[test]
fn once_calm_who_waits_at_a_barrier_goes_on_when_nobody_holds_it() {
    let mut script = calm();
    holds(&mut script, 1);
    script.does(2, GATE, passes());
    script.wait(20 * SECOND);
    assert_eq!(says(&mut script, "progress"), "", "it is held");
    script.commit(1, &[], &[GATE]);
    script.wait(4 * SECOND);
    assert_eq!(says(&mut script, "progress"), "", "it is late, but not too late");
    script.wait(2 * SECOND);
    assert!(says(&mut script, "progress").contains("c2 waits at \"gates/0\", which nobody holds any more"));
}

#[test]
fn once_calm_a_double_barrier_opens_and_all_of_its_members_are_in() {
    let mut script = calm();
    let (_, first) = comes(&mut script, 1);
    script.wait(20 * SECOND);
    assert_eq!(says(&mut script, "progress"), "", "it is alone");
    let (_, second) = comes(&mut script, 2);
    script.wait(6 * SECOND);
    assert!(says(&mut script, "progress").contains("2 wait at \"pairs/0\""));
    let mut script = calm();
    let (_, third) = comes(&mut script, 3);
    let (deed, fourth) = comes(&mut script, 4);
    let round = opens(&mut script, 4, &[third, fourth]);
    enters(&mut script, 4, deed, round);
    script.wait(6 * SECOND);
    assert!(says(&mut script, "progress").contains("c3 waits at \"pairs/0\", in which it is, or is out"));
    assert!(first < second);
}

#[test]
fn once_calm_who_leaves_goes_on_when_all_are_out() {
    let mut script = calm();
    let round = both_are_in(&mut script);
    leaves(&mut script, 1, round);
    steps_out(&mut script, 1, round);
    script.wait(20 * SECOND);
    assert_eq!(says(&mut script, "progress"), "", "the other is inside");
    steps_out(&mut script, 2, round);
    script.wait(6 * SECOND);
    assert!(says(&mut script, "progress").contains("c1 waits at \"pairs/0\", which all have left"));
}

#[test]
fn once_calm_a_release_fails_only_if_somebody_releases_the_barrier() {
    for (by, is_found) in [(2, false), (1, true)] {
        let mut script = calm();
        let revision = holds(&mut script, 1);
        if by == 2 {
            script.does(2, GATE, RecipeDeed::ReleaseBarrier);
        }
        script.commit(by, &[], &[GATE]);
        let deed = script.does(1, GATE, RecipeDeed::ReleaseHold { revision });
        script.did(1, deed, DeedEnd::Failed(Failure::NotHeld));
        assert_eq!(says(&mut script, "progress").contains("nothing stands against it"), is_found);
    }
}
