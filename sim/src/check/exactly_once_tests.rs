//! Hand-written histories that `exactly-once` finds right, and wrong ones that it finds.

use super::script_recipes::{RecipeScript, SECOND};
use crate::history::{DeedEnd, Failure, RecipeDeed};

const QUEUE: &str = "lines/a";

fn says(script: &mut RecipeScript) -> String {
    script.breach("exactly-once").map_or_else(String::new, |breach| breach.detail)
}

fn with_two_items() -> RecipeScript {
    let mut script = RecipeScript::new();
    script.enqueue(0, QUEUE, "1", "x");
    script.enqueue(0, QUEUE, "2", "y");
    script
}

#[test]
fn items_that_are_given_once_and_in_order_are_right() {
    let mut script = with_two_items();
    script.dequeue(1, QUEUE, "1", "x");
    let token = script.claim(2, QUEUE, "2", "y");
    let deed = script.acknowledges(2, QUEUE, "y", token);
    script.commit(2, &[], &["__lines/a\0claim/2", "lines/a/2"]);
    script.did(2, deed, DeedEnd::Done);
    assert_eq!(says(&mut script), "");
}

#[test]
fn an_item_that_nobody_enqueued_and_one_that_is_added_twice_are_found() {
    let mut script = with_two_items();
    script.commit(0, &[("lines/a/3", "z")], &[]);
    assert!(says(&mut script).contains("nobody has enqueued it"));
    let mut script = with_two_items();
    script.dequeue(1, QUEUE, "1", "x");
    script.commit(0, &[("lines/a/1", "x")], &[]);
    assert!(says(&mut script).contains("was added twice"));
}

#[test]
fn an_enqueueing_that_is_told_of_and_did_not_happen_is_found() {
    let mut script = with_two_items();
    let what = RecipeDeed::Enqueue { priority: None, items: vec!["z".to_owned()] };
    let deed = script.does(0, QUEUE, what);
    script.did(0, deed, DeedEnd::Done);
    assert!(says(&mut script).contains("which was not added"));
}

#[test]
fn an_item_that_is_given_to_two_is_found() {
    let mut script = with_two_items();
    let (one, other) = (script.dequeues(1, QUEUE), script.dequeues(2, QUEUE));
    script.commit(1, &[], &["lines/a/1"]);
    script.given(1, one, "x");
    script.given(2, other, "x");
    assert!(says(&mut script).contains("which c1 was given before"));
}

#[test]
fn an_item_that_another_has_taken_is_found_and_so_is_one_that_is_still_there() {
    let mut script = with_two_items();
    let deed = script.dequeues(1, QUEUE);
    script.commit(2, &[], &["lines/a/1"]);
    script.given(1, deed, "x");
    assert!(says(&mut script).contains("which c2 has taken"));
    let mut script = with_two_items();
    let deed = script.dequeues(1, QUEUE);
    script.given(1, deed, "x");
    assert!(says(&mut script).contains("still in the queue"));
}

#[test]
fn what_a_consumer_took_and_was_not_told_of_may_be_lost_and_nothing_else() {
    let lost = |end: Option<DeedEnd>| {
        let mut script = with_two_items();
        let deed = script.dequeues(1, QUEUE);
        script.commit(1, &[], &["lines/a/1"]);
        match end {
            Some(end) => script.did(1, deed, end),
            None => script.crash(1),
        }
        says(&mut script)
    };
    assert_eq!(lost(None), "");
    assert_eq!(lost(Some(DeedEnd::Failed(Failure::SessionLost))), "");
    assert!(lost(Some(DeedEnd::Done)).contains("is lost"));
}

#[test]
fn an_acknowledgement_by_a_claim_that_had_ended_is_found() {
    let mut script = with_two_items();
    let token = script.claim(1, QUEUE, "1", "x");
    script.commit(1, &[], &["__lines/a\0claim/1"]);
    let deed = script.acknowledges(1, QUEUE, "x", token);
    script.commit(1, &[], &["lines/a/1"]);
    script.did(1, deed, DeedEnd::Done);
    assert!(says(&mut script).contains("had not claimed any more"));
}

#[test]
fn a_claimed_item_that_another_takes_is_found() {
    let mut script = with_two_items();
    script.claim(1, QUEUE, "1", "x");
    script.dequeue(2, QUEUE, "1", "x");
    assert!(says(&mut script).contains("which another has claimed"));
}

#[test]
fn work_that_is_done_twice_is_found() {
    let mut script = with_two_items();
    script.commit(1, &[("worked/x", "7")], &[]);
    assert_eq!(says(&mut script), "");
    script.commit(2, &[("worked/x", "8")], &[]);
    assert!(says(&mut script).contains("worked on twice"));
}

#[test]
fn an_item_that_is_overtaken_is_found_unless_another_had_claimed_it() {
    let mut script = with_two_items();
    script.dequeue(1, QUEUE, "2", "y");
    assert!(says(&mut script).contains("item x, which is first"));
    let mut script = with_two_items();
    script.claim(1, QUEUE, "1", "x");
    script.dequeue(2, QUEUE, "2", "y");
    assert_eq!(says(&mut script), "");
}

#[test]
fn a_consumer_that_waits_beside_an_item_is_found_once_calm() {
    let mut script = RecipeScript::new();
    script.calm();
    script.dequeues(1, QUEUE);
    script.wait(30 * SECOND);
    script.enqueue(0, QUEUE, "1", "x");
    script.wait(4 * SECOND);
    assert_eq!(says(&mut script), "", "it is late, but not too late");
    script.wait(2 * SECOND);
    assert!(says(&mut script).contains("c1 waits for an item"));
}
