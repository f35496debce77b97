//! `applied`: a transaction or an addition to a counter that is acknowledged was applied once, while it was under way; one of which it is
//! said that nothing was applied never is; any other once at most. A counter changes by nothing else.

use std::collections::BTreeMap;

use tenure::kv::EventKind;

use super::causes::is_by_a_double;
use super::recipe_deeds::of_recipes;
use super::{Breach, DeedLife, Evidence, Moment};
use crate::history::{Came, DeedEnd, Failure, RecipeDeed, RecipeEnd};
use crate::workload::recipes::MADE;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut found = Found::default();
    for (deed, name, what) in of_recipes(evidence) {
        match what {
            RecipeDeed::Transfer { id, .. } => {
                found.transfers.insert(id, Vec::new());
            }
            RecipeDeed::Add { by } => {
                found.counters.entry(name).or_default();
                found.additions.insert((name, *by), Addition { deed, applied: Vec::new() });
            }
            _ => {}
        }
    }
    let unasked = found.read(evidence);
    let told = of_recipes(evidence).filter_map(|(deed, name, what)| {
        let (about, applied, number) = match what {
            RecipeDeed::Transfer { id, .. } => (format!("transfer {id}"), found.transfers.get(&**id)?, None),
            RecipeDeed::Add { by } => {
                let addition = found.additions.get(&(name, *by))?;
                (format!("the addition of {by} to {name:?}"), &addition.applied, counted(deed))
            }
            _ => return None,
        };
        let (step, why) = wrong(evidence, deed, applied, number)?;
        Some(Breach { step, detail: format!("{about} of c{} {why}", deed.client) })
    });
    told.chain(unasked).min_by_key(|breach| breach.step)
}

/// When something was applied, and the number that it made of a counter.
#[derive(Clone, Copy)]
struct Applied {
    at: Moment,
    number: i64,
}

struct Addition<'e, 'a> {
    deed: &'e DeedLife<'a>,
    applied: Vec<Applied>,
}

/// What was applied when, as the store has it.
#[derive(Default)]
struct Found<'e, 'a> {
    transfers: BTreeMap<&'a str, Vec<Applied>>,
    additions: BTreeMap<(&'a str, i64), Addition<'e, 'a>>,
    /// Each counter's number.
    counters: BTreeMap<&'a str, i64>,
}

impl Found<'_, '_> {
    /// Reads all writes. Gives the first change of a counter that nobody had asked for.
    fn read(&mut self, evidence: &Evidence<'_>) -> Option<Breach> {
        let mut unasked = None;
        for commit in evidence.order().commits() {
            for event in commit.events.iter().filter(|event| event.kind == EventKind::Put) {
                let Ok(key) = std::str::from_utf8(&event.kv.key) else { continue };
                if let Some(applied) = key.strip_prefix(MADE).and_then(|id| self.transfers.get_mut(id)) {
                    applied.push(Applied { at: commit.at, number: 0 });
                } else if let Some((name, number)) =
                    self.counters.get_key_value(key).map(|(name, n)| (*name, *n))
                {
                    let value = std::str::from_utf8(&event.kv.value).ok();
                    let now = value.and_then(|digits| digits.parse().ok()).unwrap_or(i64::MIN);
                    self.counters.insert(name, now);
                    let by = now.wrapping_sub(number);
                    let asked = self.additions.get_mut(&(name, by));
                    match asked.filter(|addition| addition.deed.began.step < commit.at.step) {
                        Some(addition) => addition.applied.push(Applied { at: commit.at, number: now }),
                        None => {
                            let detail = format!("{name:?} changed by {by}, which nobody asked for");
                            unasked.get_or_insert(Breach { step: commit.at.step, detail });
                        }
                    }
                }
            }
        }
        unasked
    }
}

/// The number that was given for an addition.
fn counted(deed: &DeedLife<'_>) -> Option<i64> {
    match deed.ended {
        Some((_, DeedEnd::Recipe(RecipeEnd::Counted(number)))) => Some(*number),
        _ => None,
    }
}

/// What was told of a transaction or an addition.
enum Told {
    Applied,
    NotApplied,
    Nothing,
}

fn told(end: &DeedEnd) -> Told {
    match end {
        DeedEnd::Recipe(RecipeEnd::Counted(_)) => Told::Applied,
        DeedEnd::Recipe(RecipeEnd::Transacted { came, .. }) => match came {
            Came::Committed { .. } => Told::Applied,
            Came::Conflict | Came::Aborted => Told::NotApplied,
        },
        DeedEnd::Failed(Failure::Cancelled | Failure::Maybe(_)) => Told::Nothing,
        _ => Told::NotApplied,
    }
}

/// What is wrong with how often it was applied, and where that is seen.
fn wrong(
    evidence: &Evidence<'_>,
    deed: &DeedLife<'_>,
    applied: &[Applied],
    number: Option<i64>,
) -> Option<(usize, String)> {
    if let [_, second, ..] = applied {
        return Some((second.at.step, "was applied twice".to_owned()));
    }
    let (ended, end) = deed.ended?;
    let applied = applied.first();
    match (told(end), applied) {
        (Told::Applied, None) => Some((ended.step, "is acknowledged, and was not applied".to_owned())),
        (Told::Applied, Some(one)) => {
            let meanwhile = (deed.began.step..ended.step).contains(&one.at.step);
            let wrong_number = number.filter(|number| *number != one.number);
            if !meanwhile {
                Some((ended.step.max(one.at.step), "was not applied while it was under way".to_owned()))
            } else {
                wrong_number.map(|number| (ended.step, format!("made {}, and was told {number}", one.number)))
            }
        }
        // A request that was refused may be applied by its double.
        (Told::NotApplied, Some(one)) if !is_by_a_double(evidence, one.at) => {
            Some((ended.step.max(one.at.step), "is said not to be applied, and was".to_owned()))
        }
        _ => None,
    }
}
