//! The marks of recipes.

use linkme::distributed_slice;

use super::{MARKS, Mark};
use crate::check::{Evidence, Item, Moment, of_recipes};
use crate::history::{DeedEnd, Failure, RecipeDeed, RecipeEnd, What};
use crate::node::Node;

#[distributed_slice(MARKS)]
static GIVEN_BACK: Mark =
    Mark { name: "an item was given back by the crash of its consumer", seen: given_back_by_a_crash };

fn given_back_by_a_crash(evidence: &Evidence<'_>) -> bool {
    let crashed = |client: u32, from: Moment, to: Moment| {
        let mut steps = evidence.history.steps[from.step..to.step].iter();
        steps.any(|step| step.node == Node::Client(client) && step.what == What::Crashed)
    };
    let items = evidence.items();
    items.all.iter().any(|item| {
        item.claims.iter().any(|claim| {
            let claimant = items.claimants.get(&(item.queue, claim.token));
            let (Some(client), Some(ended)) = (claimant, claim.ended) else { return false };
            item.taken.is_some_and(|taken| taken.at.step > ended.step) && crashed(*client, claim.made, ended)
        })
    })
}

#[distributed_slice(MARKS)]
static LOST: Mark = Mark {
    name: "an item was lost with the consumer that had taken it",
    seen: |evidence| {
        let items = evidence.items();
        let is_given = |item: &Item<'_>| items.given.contains_key(item.value.as_str());
        items.all.iter().any(|item| item.taken.is_some() && !is_given(item))
    },
};

#[distributed_slice(MARKS)]
static ANSWER_LOST: Mark = Mark {
    name: "an item was taken though the answer was lost",
    seen: |evidence| {
        let items = evidence.items();
        items.all.iter().any(|item| {
            let lost =
                |sent: usize| evidence.calls.values().any(|call| call.sent == Some(sent) && call.answer_lost);
            item.taken.is_some_and(|taken| lost(taken.sent)) && items.given.contains_key(item.value.as_str())
        })
    },
};

#[distributed_slice(MARKS)]
static WAITED: Mark = Mark {
    name: "an item came to one who had waited for it",
    seen: |evidence| {
        let items = evidence.items();
        items.all.iter().any(|item| {
            items.given.get(item.value.as_str()).is_some_and(|(deed, _)| deed.began.step < item.added.step)
        })
    },
};

#[distributed_slice(MARKS)]
static TAKEN_BEFORE: Mark = Mark {
    name: "a consumer was given what an earlier wait of its had taken",
    seen: |evidence| {
        let items = evidence.items();
        items.all.iter().any(|item| {
            let taken = item.taken.map_or(usize::MAX, |taken| taken.at.step);
            items.given.get(item.value.as_str()).is_some_and(|(deed, _)| taken < deed.began.step)
        })
    },
};

#[distributed_slice(MARKS)]
static TOO_LATE: Mark = Mark {
    name: "an acknowledgement came too late",
    seen: |evidence| {
        of_recipes(evidence).any(|(deed, _, what)| {
            matches!(what, RecipeDeed::Acknowledge { .. })
                && matches!(deed.ended, Some((_, DeedEnd::Failed(Failure::NotHeld | Failure::SessionLost))))
        })
    },
};

#[distributed_slice(MARKS)]
static BATCH: Mark = Mark {
    name: "a batch was taken whole",
    seen: |evidence| {
        of_recipes(evidence).any(|(deed, ..)| {
            matches!(deed.ended, Some((_, DeedEnd::Recipe(RecipeEnd::Items(items)))) if items.len() > 1)
        })
    },
};
