//! What recipes bring to a good end once calm.

use std::collections::BTreeMap;

use super::Success;
use crate::check::barrier::releases;
use crate::check::barriers::{asked_by, hold_of, holds, members, rounds};
use crate::check::transactions::transactions;
use crate::check::{Breach, DeedLife, KeyLife, of_recipes};
use crate::history::{Came, Deed, DeedEnd, Failure, RecipeDeed, What};

/// Whoever may run a transaction so often commits it.
const ENOUGH: u32 = 100;

impl Success<'_, '_> {
    /// Transactions that meet conflicts again and again.
    pub(super) fn never_commits(&self) -> Option<Breach> {
        let mut late = transactions(self.evidence)
            .filter(|one| one.deed.began.at_ns >= self.settled_ns && !self.is_outside(one.deed.client));
        let one = late.find(|one| one.came == Came::Conflict && one.attempts >= ENOUGH)?;
        let detail =
            format!("a transaction of c{} met conflicts in each of {} runs", one.deed.client, one.attempts);
        Some(Breach { step: one.ended.step, detail })
    }

    /// Whether what failed is the release of a hold that somebody had released.
    pub(super) fn released_by_another(&self, what: &What) -> bool {
        let What::Did { deed, end: DeedEnd::Failed(Failure::NotHeld) } = what else { return false };
        let Some(deed) = self.evidence.deed(*deed) else { return false };
        let Deed::Recipe { name, what: RecipeDeed::ReleaseHold { revision }, .. } = deed.what else {
            return false;
        };
        let gone = hold_of(self.evidence, name, *revision).and_then(|hold| hold.deleted);
        gone.and_then(|(_, gone)| asked_by(self.evidence, gone))
            .is_some_and(|(client, sent)| releases(self.evidence, name, client, sent))
    }

    /// Who waits at a barrier, or for the other members of a double barrier, for longer than there is a reason for.
    pub(super) fn never_passes(&self) -> Option<Breach> {
        let causes = self.evidence.causes();
        of_recipes(self.evidence)
            .filter(|(deed, ..)| !self.is_outside(deed.client) && !causes.cuts_off(deed))
            .filter_map(|(deed, name, what)| {
                let looks_ns = deed.began.at_ns.max(self.settled_ns) + self.soon_ns;
                let ended_ns = deed.ended.map_or(self.evidence.end_ns, |(ended, _)| ended.at_ns);
                if ended_ns <= looks_ns {
                    return None;
                }
                let looks = self.evidence.step_at(looks_ns);
                let (free_ns, why) = match what {
                    RecipeDeed::Pass { .. } => {
                        (self.free_ns_of_holds(name, deed, looks), "which nobody holds any more")
                    }
                    RecipeDeed::Enter { .. } => {
                        (self.free_ns_of_member(name, deed, ended_ns), "in which it is, or is out")
                    }
                    RecipeDeed::Leave { round, .. } => {
                        let all = members(self.evidence, name).iter();
                        let of_it = all.filter(|life| life.create_revision < *round);
                        (of_it.map(gone_ns).max().unwrap_or(0), "which all have left")
                    }
                    _ => return None,
                };
                let by_ns = free_ns.max(looks_ns - self.soon_ns).saturating_add(self.soon_ns);
                let detail =
                    format!("c{} waits at {name:?}, {why}, since {:.3} s", deed.client, free_ns as f64 / 1e9);
                (by_ns < ended_ns).then(|| Breach { step: self.evidence.step_at(by_ns), detail })
            })
            .chain(self.never_opens())
            .min_by_key(|breach| breach.step)
    }

    /// When all holds have ended that a client may have found when it came.
    fn free_ns_of_holds(&self, name: &str, deed: &DeedLife<'_>, looks: usize) -> u64 {
        let met = holds(self.evidence, name).filter(|hold| hold.is_there_within(&(deed.began.step..=looks)));
        met.map(gone_ns).max().unwrap_or(0)
    }

    /// When every key that a client may have made to enter by was gone, or in a round.
    fn free_ns_of_member(&self, name: &str, deed: &DeedLife<'_>, ended_ns: u64) -> u64 {
        let Deed::Recipe { lease, .. } = deed.what else { return u64::MAX };
        let rounds = rounds(self.evidence, name);
        let all = members(self.evidence, name).iter();
        let own = all.filter(|life| {
            life.lease == *lease && life.created.step > deed.began.step && life.created.at_ns <= ended_ns
        });
        let decided_ns = |life: &KeyLife| {
            let named = rounds.iter().find(|round| round.named.contains(&life.create_revision));
            named.map_or(u64::MAX, |round| round.began.at_ns).min(gone_ns(life))
        };
        own.map(decided_ns).max().unwrap_or(0)
    }

    /// A double barrier at which as many wait as it is for, and which does not open.
    fn never_opens(&self) -> Option<Breach> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (_, name, what) in of_recipes(self.evidence) {
            if let RecipeDeed::Enter { count, .. } = what {
                counts.insert(name, *count);
            }
        }
        let late = counts.into_iter().filter_map(|(name, count)| {
            let all = members(self.evidence, name);
            let rounds = rounds(self.evidence, name);
            let is_in = |life: &KeyLife| rounds.iter().any(|one| one.named.contains(&life.create_revision));
            let waiting: Vec<_> = all.iter().filter(|life| !is_in(life)).collect();
            waiting
                .iter()
                .filter_map(|last| {
                    let from_ns = last.created.at_ns.max(self.settled_ns);
                    let by_ns = from_ns + self.soon_ns;
                    let stay = waiting.iter().filter(|life| {
                        life.created.step <= last.created.step
                            && gone_ns(life) > by_ns
                            && self
                                .evidence
                                .sessions
                                .get(&life.lease)
                                .is_some_and(|one| !self.is_outside(one.client))
                    });
                    let enough = by_ns < self.evidence.end_ns && stay.count() >= count as usize;
                    let detail = format!(
                        "{count} wait at {name:?} since {:.3} s, and it does not open",
                        from_ns as f64 / 1e9
                    );
                    enough.then(|| Breach { step: self.evidence.step_at(by_ns), detail })
                })
                .next()
        });
        late.min_by_key(|breach| breach.step)
    }
}

fn gone_ns(life: &KeyLife) -> u64 {
    life.deleted.map_or(u64::MAX, |(_, gone)| gone.at_ns)
}
