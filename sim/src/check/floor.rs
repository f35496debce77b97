//! `floor`: a run that shows nothing is no green run. Once calm, every program of the plan that has not come to its end
//! brings one ask to an end at least (of etcd itself: one operation to its answer; of a recipe: one use), or leaves one out because another
//! program of its session stands in that election; and something is granted.

use std::collections::BTreeSet;

use super::{Breach, Evidence, PlannedLane};
use crate::history::{CallEnd, Deed, DeedEnd, Failure};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let calm = evidence.calm?;
    // Too short a calm owes nothing.
    if evidence.end_ns < calm.at_ns + evidence.bounds.progress_ns {
        return None;
    }
    let asked = evidence
        .asks
        .iter()
        .filter(|ask| ask.ended.is_some_and(|(ended, _)| ended.step > calm.step))
        .map(|ask| (ask.client, ask.lane));
    let passed = evidence.passed_over.iter().filter(|(_, _, at)| at.step > calm.step);
    let went_on: BTreeSet<(u32, u32)> =
        asked.chain(passed.map(|&(client, lane, _)| (client, lane))).collect();
    let answered: BTreeSet<u32> = evidence
        .plain
        .operations
        .values()
        .filter(|operation| {
            operation
                .ended
                .is_some_and(|(ended, end)| ended.step > calm.step && matches!(end, CallEnd::Answered(_)))
        })
        .map(|operation| operation.client)
        .collect();
    let used = used_recipes(evidence, calm.step);
    let idle = evidence.planned.lanes.iter().find(|lane| {
        let asks = lane.asks > 0 && !went_on.contains(&(lane.client, lane.lane));
        let operations = lane.operations > 0 && !answered.contains(&lane.client);
        let recipes = lane.recipes > 0 && !used.contains(&(lane.client, lane.lane));
        (asks || operations || recipes)
            && !evidence.outside.contains(&lane.client)
            && !is_at_its_end(evidence, lane)
    });
    let detail = match idle {
        Some(lane) => format!("program {} of c{} came to nothing once calm", lane.lane, lane.client),
        None => {
            let lanes = evidence.planned.lanes.iter();
            let asks = lanes
                .filter(|lane| lane.asks > 0)
                .any(|lane| !evidence.outside.contains(&lane.client) && !is_at_its_end(evidence, lane));
            let granted = evidence.tenures.last().is_some_and(|tenure| tenure.granted.step > calm.step);
            if !asks || granted {
                return None;
            }
            "nothing was granted once calm".to_owned()
        }
    };
    Some(Breach { step: evidence.history.steps.len() - 1, detail })
}

/// The programs that used a recipe after this step with success, or that wait there for others.
fn used_recipes(evidence: &Evidence<'_>, calm: usize) -> BTreeSet<(u32, u32)> {
    let deeds = evidence.deeds.iter().filter_map(|deed| {
        let Deed::Recipe { place: (lane, _), what, .. } = deed.what else { return None };
        let used = match deed.ended {
            Some((ended, DeedEnd::Failed(why))) => ended.step > calm && may_come(why),
            Some((ended, _)) => ended.step > calm,
            None => what.waits_for_others(),
        };
        used.then_some((deed.client, *lane))
    });
    deeds.collect()
}

/// What is no failure: nothing was there in time, or others were before it.
fn may_come(why: &Failure) -> bool {
    matches!(
        why,
        Failure::Timeout
            | Failure::Cancelled
            | Failure::BarrierHeld
            | Failure::BarrierFull
            | Failure::BarrierBroken
    )
}

/// Whether a program has nothing left to do: each crash may have cost it one operation.
fn is_at_its_end(evidence: &Evidence<'_>, lane: &PlannedLane) -> bool {
    let crashes = evidence.causes().crashes.iter().filter(|(client, _)| *client == lane.client).count();
    let asks = evidence.asks.iter().filter(|ask| (ask.client, ask.lane) == (lane.client, lane.lane)).count();
    let passed = evidence.passed_over.iter().filter(|one| (one.0, one.1) == (lane.client, lane.lane)).count();
    let operations = evidence.plain.operations.values().filter(|one| one.client == lane.client).count();
    let recipes = evidence.deeds.iter().filter_map(|deed| match deed.what {
        Deed::Recipe { place: (one, operation), .. } if (deed.client, *one) == (lane.client, lane.lane) => {
            Some(*operation as usize + 1)
        }
        _ => None,
    });
    asks + passed + crashes >= lane.asks
        && operations + crashes >= lane.operations
        && recipes.max().unwrap_or(0) + crashes >= lane.recipes
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::check::{Planned, PlannedLane};
    use crate::history::{Deed, DeedEnd, Failure, RecipeDeed, RecipeEnd, What};
    use crate::node::Node;

    const SECOND: u64 = 1_000_000_000;

    fn planned(asks: usize) -> Planned {
        Planned { lanes: vec![PlannedLane { client: 0, lane: 0, asks, operations: 0, recipes: 0 }] }
    }

    #[test]
    fn a_client_that_gets_something_once_calm_is_right_and_one_that_does_not_is_found() {
        let mut script = Script::new();
        let before = script.grant(0, "a", 0x10);
        script.release(&before);
        script.calm();
        script.wait(20 * SECOND);
        assert_eq!(script.breach_of_plan("floor", planned(1)), None, "it has done all");
        let breach = script.breach_of_plan("floor", planned(2)).expect("nothing");
        assert!(breach.detail.contains("of c0 came to nothing"), "{breach:?}");
        script.grant(0, "a", 0x10);
        assert_eq!(script.breach_of_plan("floor", planned(2)), None);
    }

    #[test]
    fn a_program_that_only_leaves_out_what_another_of_its_session_does_is_right() {
        let mut script = Script::new();
        script.calm();
        script.grant(0, "a", 0x10);
        script.wait(20 * SECOND);
        let lane = |lane: u32| PlannedLane { client: 0, lane, asks: 3, operations: 0, recipes: 0 };
        let planned = || Planned { lanes: vec![lane(0), lane(1)] };
        assert!(script.breach_of_plan("floor", planned()).expect("idle").detail.contains("program 1 of c0"));
        script.record(Node::Client(0), What::PassesOver { name: "a".into(), lane: 1 });
        assert_eq!(script.breach_of_plan("floor", planned()), None);
    }

    #[test]
    fn a_program_that_uses_a_recipe_once_calm_or_waits_there_is_right_and_one_that_only_fails_is_found() {
        let with = |limit_ms: Option<u64>, end: Option<DeedEnd>| {
            let mut script = Script::new();
            script.calm();
            let what = RecipeDeed::Dequeue { most: 1, limit_ms };
            let what = Deed::Recipe { name: "a".into(), lease: 0x10, place: (0, 0), what };
            script.record(Node::Client(0), What::Does { deed: 1, what });
            if let Some(end) = end {
                script.record(Node::Client(0), What::Did { deed: 1, end });
            }
            script.wait(20 * SECOND);
            let lane = PlannedLane { client: 0, lane: 0, asks: 0, operations: 0, recipes: 3 };
            script.breach_of_plan("floor", Planned { lanes: vec![lane] })
        };
        assert_eq!(with(Some(0), Some(DeedEnd::Recipe(RecipeEnd::Items(Vec::new())))), None);
        assert_eq!(with(Some(5), Some(DeedEnd::Failed(Failure::Timeout))), None);
        assert_eq!(with(None, None), None);
        assert!(with(Some(5), None).is_some());
        assert!(with(None, Some(DeedEnd::Failed(Failure::SessionLost))).is_some());
    }

    #[test]
    fn a_calm_without_a_grant_is_found() {
        let mut script = Script::new();
        script.calm();
        let asked = script.queue(0, "a", 0x10);
        script.refuse(&asked, crate::history::Failure::Timeout);
        script.wait(20 * SECOND);
        let breach = script.breach_of_plan("floor", planned(2)).expect("nothing granted");
        assert!(breach.detail.contains("nothing was granted"), "{breach:?}");
    }
}
