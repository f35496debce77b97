//! The marks of barriers.

use linkme::distributed_slice;

use super::{MARKS, Mark};
use crate::check::{Evidence, KeyLife, asked_by, hold_of, holds, of_recipes, rounds};
use crate::history::{DeedEnd, Departed, Failure, RecipeDeed, RecipeEnd};

fn passed_after(evidence: &Evidence<'_>, ended: fn(&Evidence<'_>, &KeyLife) -> bool) -> bool {
    of_recipes(evidence).any(|(deed, name, what)| {
        let (RecipeDeed::Pass { .. }, Some((at, DeedEnd::Done))) = (what, deed.ended) else { return false };
        holds(evidence, name).any(|hold| {
            let during = deed.began.step..at.step;
            let gone = hold.deleted.is_some_and(|(_, gone)| during.contains(&gone.step));
            hold.created.step < deed.began.step && gone && ended(evidence, hold)
        })
    })
}

fn by_a_request(evidence: &Evidence<'_>, hold: &KeyLife) -> bool {
    hold.deleted.is_some_and(|(_, gone)| asked_by(evidence, gone).is_some())
}

fn is_told(evidence: &Evidence<'_>, is: impl Fn(&RecipeDeed, &DeedEnd) -> bool) -> bool {
    of_recipes(evidence).any(|(deed, _, what)| deed.ended.is_some_and(|(_, end)| is(what, end)))
}

fn failed(evidence: &Evidence<'_>, why: &Failure) -> bool {
    is_told(evidence, |_, end| matches!(end, DeedEnd::Failed(failure) if failure == why))
}

#[distributed_slice(MARKS)]
static PASSED: Mark = Mark {
    name: "who waited at a barrier passed when its hold was released",
    seen: |evidence| passed_after(evidence, by_a_request),
};

#[distributed_slice(MARKS)]
static PASSED_AT_AN_END: Mark = Mark {
    name: "who waited at a barrier passed when its holder's lease ended",
    seen: |evidence| passed_after(evidence, |evidence, hold| !by_a_request(evidence, hold)),
};

#[distributed_slice(MARKS)]
static HELD_AGAIN: Mark = Mark {
    name: "who waited at a barrier passed though it was held again",
    seen: |evidence| {
        passed_after(evidence, |evidence, hold| {
            let next_key =
                |other: &KeyLife| other.key == hold.key && other.create_revision > hold.create_revision;
            let gone = hold.deleted.map_or(u64::MAX, |(_, gone)| gone.at_ns);
            // Before any look that was begun at the release can have been answered.
            let soon = |other: &KeyLife| other.created.at_ns < gone + 500_000;
            evidence.keys.values().flatten().any(|other| next_key(other) && soon(other))
        })
    },
};

#[distributed_slice(MARKS)]
static TAKEN_AWAY: Mark = Mark {
    name: "a holder was told that another had released the barrier",
    seen: |evidence| {
        of_recipes(evidence).any(|(deed, name, what)| match (what, deed.ended) {
            (RecipeDeed::ReleaseHold { revision }, Some((_, DeedEnd::Failed(Failure::NotHeld)))) => {
                hold_of(evidence, name, *revision).is_some_and(|hold| by_a_request(evidence, hold))
            }
            _ => false,
        })
    },
};

#[distributed_slice(MARKS)]
static HELD: Mark =
    Mark { name: "a barrier was held already", seen: |evidence| failed(evidence, &Failure::BarrierHeld) };

#[distributed_slice(MARKS)]
static ANSWER_LOST: Mark = Mark {
    name: "a barrier was held though the answer was lost, and its holder was told",
    seen: |evidence| {
        of_recipes(evidence).any(|(deed, name, _)| {
            let Some((_, DeedEnd::Recipe(RecipeEnd::Held { revision }))) = deed.ended else { return false };
            let hold = hold_of(evidence, name, *revision);
            let sent = hold.and_then(|hold| asked_by(evidence, hold.created)).map(|(_, sent)| sent);
            evidence.calls.values().any(|call| call.sent == sent && call.sent.is_some() && call.answer_lost)
        })
    },
};

#[distributed_slice(MARKS)]
static EVERYONE: Mark = Mark {
    name: "all members left a double barrier",
    seen: |evidence| is_told(evidence, |_, end| *end == DeedEnd::Recipe(RecipeEnd::Left(Departed::Everyone))),
};

#[distributed_slice(MARKS)]
static CRASHED: Mark = Mark {
    name: "a member of a double barrier was gone without having left",
    seen: |evidence| {
        is_told(evidence, |_, end| matches!(end, DeedEnd::Recipe(RecipeEnd::Left(Departed::Crashed(_)))))
    },
};

#[distributed_slice(MARKS)]
static BROKEN: Mark =
    Mark { name: "a double barrier was broken", seen: |evidence| failed(evidence, &Failure::BarrierBroken) };

#[distributed_slice(MARKS)]
static FULL: Mark =
    Mark { name: "a double barrier was full", seen: |evidence| failed(evidence, &Failure::BarrierFull) };

#[distributed_slice(MARKS)]
static OPENING_LOST: Mark = Mark {
    name: "a double barrier was opened though the answer was lost",
    seen: |evidence| {
        let mut entered = of_recipes(evidence).filter_map(|(deed, name, _)| match deed.ended {
            Some((_, DeedEnd::Recipe(RecipeEnd::Entered { round }))) => Some((name, *round)),
            _ => None,
        });
        entered.any(|(name, revision)| {
            let round = rounds(evidence, name).into_iter().find(|round| round.revision == revision);
            let sent = round.and_then(|round| asked_by(evidence, round.began)).map(|(_, sent)| sent);
            evidence.calls.values().any(|call| call.sent == sent && call.sent.is_some() && call.answer_lost)
        })
    },
};
