//! `barrier`: who waits at a barrier does not go on while one hold stands from before it came until after it left; a hold that is given
//! was made for it, and is nobody else's; a barrier that is said to be released was; and nobody releases a hold but its holder, who
//! releases the barrier, and the end of a lease, none of them by a request of before it.

use std::collections::BTreeSet;

use super::barriers::{asked_by, hold_of, holds};
use super::evidence::{KeyLife, Moment};
use super::recipe_deeds::of_recipes;
use super::{Breach, DeedLife, Evidence};
use crate::history::{Deed, DeedEnd, RecipeDeed, RecipeEnd};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let told = of_recipes(evidence).filter_map(|(deed, name, what)| {
        let (ended, end) = deed.ended?;
        let why = match (what, end) {
            (RecipeDeed::Pass { .. }, DeedEnd::Done) => {
                let stands = held_throughout(evidence, name, deed, ended)?;
                format!("passed the barrier {name:?}, which was held all the time since revision {stands}")
            }
            (RecipeDeed::ReleaseBarrier, DeedEnd::Done) => {
                let stands = held_throughout(evidence, name, deed, ended)?;
                format!("released the barrier {name:?}, which is held all the time since revision {stands}")
            }
            (RecipeDeed::ReleaseHold { revision }, DeedEnd::Done) => {
                let hold = hold_of(evidence, name, *revision)?;
                if hold.is_gone_before(ended.step) {
                    return None;
                }
                format!("released its hold of {name:?} of revision {revision}, which stands")
            }
            (RecipeDeed::Hold { for_good }, DeedEnd::Recipe(RecipeEnd::Held { revision })) => {
                let hold = hold_of(evidence, name, *revision);
                let why = not_its_own(deed, ended, *for_good, hold)?;
                format!("holds {name:?} by revision {revision}, {why}")
            }
            _ => return None,
        };
        Some(Breach { step: ended.step, detail: format!("c{} {why}", deed.client) })
    });
    told.chain(given_twice(evidence)).chain(wrongly_released(evidence)).min_by_key(|breach| breach.step)
}

/// The revision of a hold that stands from before it was begun until after it has ended.
fn held_throughout(evidence: &Evidence<'_>, name: &str, deed: &DeedLife<'_>, ended: Moment) -> Option<i64> {
    let mut holds = holds(evidence, name);
    let stands = holds.find(|hold| hold.is_there_throughout(deed.began.step, ended.step))?;
    Some(stands.create_revision)
}

/// What is wrong with a hold that was given.
fn not_its_own(deed: &DeedLife<'_>, ended: Moment, for_good: bool, hold: Option<&KeyLife>) -> Option<String> {
    let Deed::Recipe { lease, .. } = deed.what else { return None };
    let Some(hold) = hold else { return Some("which nobody made".to_owned()) };
    let lease = if for_good { 0 } else { *lease };
    if hold.lease != lease {
        return Some(format!("which is of the lease {:x}, not of {lease:x}", hold.lease));
    }
    let meanwhile = (deed.began.step..ended.step).contains(&hold.created.step);
    (!meanwhile).then(|| "which was not made while it asked".to_owned())
}

/// A hold that two were given.
fn given_twice(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut given = BTreeSet::new();
    let held = of_recipes(evidence).filter_map(|(deed, name, _)| match deed.ended {
        Some((ended, DeedEnd::Recipe(RecipeEnd::Held { revision }))) => Some((ended, deed, name, *revision)),
        _ => None,
    });
    let mut held: Vec<_> = held.collect();
    held.sort_by_key(|(ended, ..)| ended.step);
    let (ended, deed, name, revision) =
        held.into_iter().find(|(.., name, revision)| !given.insert((*name, *revision)))?;
    let detail =
        format!("c{} holds {name:?} by revision {revision}, as another was told before", deed.client);
    Some(Breach { step: ended.step, detail })
}

/// A hold that was ended by somebody who is not its holder and did not release the barrier, or by a request of before it.
fn wrongly_released(evidence: &Evidence<'_>) -> Option<Breach> {
    let names: BTreeSet<&str> = of_recipes(evidence).map(|(_, name, _)| name).collect();
    let ended = names
        .into_iter()
        .flat_map(|name| holds(evidence, name).filter_map(move |hold| Some((name, hold, hold.deleted?.1))));
    ended
        .filter_map(|(name, hold, gone)| {
            let (client, sent) = asked_by(evidence, gone)?;
            let revision = hold.create_revision;
            let why = if sent < hold.created.step {
                format!("c{client} released {name:?} of revision {revision} by a request of before that")
            } else if is_holder(evidence, hold, client) || releases(evidence, name, client, sent) {
                return None;
            } else {
                format!("c{client} released {name:?} of revision {revision}, which it did not hold")
            };
            Some(Breach { step: gone.step, detail: why })
        })
        .min_by_key(|breach| breach.step)
}

fn is_holder(evidence: &Evidence<'_>, hold: &KeyLife, client: u32) -> bool {
    evidence.sessions.get(&hold.lease).is_some_and(|session| session.client == client)
}

/// Whether a client had begun, and not ended, to release the barrier when it sent something.
pub(crate) fn releases(evidence: &Evidence<'_>, name: &str, client: u32, sent: usize) -> bool {
    of_recipes(evidence).any(|(deed, of, what)| {
        (deed.client, of) == (client, name)
            && matches!(what, RecipeDeed::ReleaseBarrier)
            && deed.began.step < sent
            && deed.ended.is_none_or(|(ended, _)| ended.step > sent)
    })
}
