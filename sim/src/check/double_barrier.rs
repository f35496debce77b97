//! `double-barrier`: a round of a double barrier begins with as many members as it is for, all of them there and none of an earlier
//! round inside; only these enter, each once; and nobody goes on before all of them are out, nor is told otherwise how they left.

use std::collections::BTreeMap;

use tenure::kv::EventKind;

use super::barriers::{Round, members, rounds};
use super::evidence::{KeyLife, Moment};
use super::recipe_deeds::of_recipes;
use super::{Breach, DeedLife, Evidence};
use crate::history::{Deed, DeedEnd, Departed, RecipeDeed, RecipeEnd};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut barriers: BTreeMap<&str, Barrier<'_, '_>> = BTreeMap::new();
    let mut entered: BTreeMap<(&str, i64), usize> = BTreeMap::new();
    let mut ended: Vec<_> = of_recipes(evidence)
        .filter_map(|(deed, name, what)| deed.ended.map(|(at, end)| (at, end, deed, name, what)))
        .collect();
    ended.sort_by_key(|(at, ..)| at.step);
    ended.into_iter().find_map(|(at, end, deed, name, what)| {
        let DeedEnd::Recipe(end) = end else { return None };
        let barrier = barriers.entry(name).or_insert_with(|| Barrier {
            evidence,
            name,
            rounds: rounds(evidence, name),
        });
        let why = match (what, end) {
            (RecipeDeed::Enter { count, .. }, RecipeEnd::Entered { round }) => {
                let inside = entered.entry((name, *round)).or_default();
                *inside += 1;
                barrier.entered(deed, at, (*count as usize, *inside), *round)?
            }
            (RecipeDeed::Leave { count, round, .. }, RecipeEnd::Left(how)) => {
                barrier.left(at, u64::from(*count), *round, *how)?
            }
            _ => return None,
        };
        Some(Breach { step: at.step, detail: format!("c{} {why} of {name:?}", deed.client) })
    })
}

struct Barrier<'e, 'a> {
    evidence: &'e Evidence<'a>,
    name: &'e str,
    rounds: Vec<Round>,
}

impl Barrier<'_, '_> {
    /// What is wrong with that a member is in a round, as the so many-th.
    fn entered(
        &self,
        deed: &DeedLife<'_>,
        at: Moment,
        (count, inside): (usize, usize),
        revision: i64,
    ) -> Option<String> {
        let Some(round) = self.round(revision).filter(|round| round.began.step < at.step) else {
            return Some(format!("is in round {revision}, which did not begin,"));
        };
        let all = members(self.evidence, self.name);
        let there: Vec<_> = all.iter().filter(|life| life.is_there_at(revision)).collect();
        let earlier = self.rounds.iter().filter(|one| one.revision < revision).map(|one| one.revision).max();
        let is_own = |life: &&KeyLife| {
            let Deed::Recipe { lease, .. } = deed.what else { return false };
            let meanwhile = (deed.began.step..at.step).contains(&life.created.step);
            life.lease == *lease && meanwhile && round.named.contains(&life.create_revision)
        };
        if there.len() < count {
            Some(format!("is in round {revision}, which began with {} there,", there.len()))
        } else if there.iter().any(|life| earlier.is_some_and(|earlier| life.create_revision < earlier)) {
            Some(format!("is in round {revision}, which began while one of an earlier was inside,"))
        } else if inside > count {
            Some(format!("is one too many in round {revision}"))
        } else if !all.iter().any(|life| is_own(&life)) {
            Some(format!("is in round {revision}, which did not begin with it,"))
        } else {
            None
        }
    }

    /// What is wrong with that all are out of a round.
    fn left(&self, at: Moment, count: u64, revision: i64, how: Departed) -> Option<String> {
        let all = members(self.evidence, self.name).iter();
        let mut of_it = all.filter(|life| life.create_revision < revision);
        if let Some(inside) = of_it.find(|life| !life.is_gone_before(at.step)) {
            let revision_of = inside.create_revision;
            return Some(format!("left round {revision}, in which the member of {revision_of} is still,"));
        }
        let left = self.have_left(revision, at);
        let is_so = match how {
            Departed::Everyone => left >= count,
            Departed::Crashed(gone) => left + gone == count && gone > 0,
            // Somebody has left a later one.
            Departed::Unknown => {
                self.rounds.iter().any(|one| one.revision > revision && one.began.step < at.step)
            }
        };
        (!is_so).then(|| format!("is told {how:?} of round {revision}, which {left} have left,"))
    }

    /// How many have left a round and said so.
    fn have_left(&self, revision: i64, before: Moment) -> u64 {
        let key = format!("__{}\0left/{revision:020}", self.name).into_bytes();
        let commits =
            self.evidence.order().commits().iter().take_while(|commit| commit.at.step < before.step);
        let events = commits.flat_map(|commit| commit.events);
        events.filter(|event| event.kind == EventKind::Put && event.kv.key == key).count() as u64
    }

    fn round(&self, revision: i64) -> Option<&Round> {
        self.rounds.iter().find(|round| round.revision == revision)
    }
}
