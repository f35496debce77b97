//! `exactly-once`: what was enqueued is in its queue once, and nothing else is. What is taken is given to one consumer, who had asked
//! for it, and to no other. By `dequeue` an item is lost at most with a consumer that was told of nothing; what is claimed is lost
//! with nobody, and done with once. The first item in the queue's order is taken or claimed first. Once calm, a consumer that waits
//! gets an item that is there.

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::EventKind;

use super::causes::is_by_a_double;
use super::items::{Item, Items, Taken};
use super::recipe_deeds::of_recipes;
use super::{Breach, DeedLife, Evidence};
use crate::history::{Deed, DeedEnd, Failure, RecipeDeed, RecipeEnd, Refused};
use crate::workload::recipes::WORKED;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let items = evidence.items();
    let mut ranked = BTreeMap::new();
    for (_, queue, what) in of_recipes(evidence) {
        if let RecipeDeed::Enqueue { priority, .. } = what {
            ranked.insert(queue, priority.is_some());
        }
    }
    let judge = Judge { evidence, items, ranked };
    [
        judge.added(),
        judge.enqueued(),
        judge.given(),
        judge.lost(),
        judge.worked(),
        judge.overtaken(),
        judge.waits(),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|breach| breach.step)
}

struct Judge<'e, 'a> {
    evidence: &'e Evidence<'a>,
    items: &'e Items<'a>,
    /// Each queue, and whether it has priorities.
    ranked: BTreeMap<&'a str, bool>,
}

impl<'a> Judge<'_, 'a> {
    /// What is in a queue was asked for, and is there once.
    fn added(&self) -> Option<Breach> {
        let mut asked = BTreeMap::new();
        for (deed, queue, what) in of_recipes(self.evidence) {
            if let RecipeDeed::Enqueue { items, .. } = what {
                asked.extend(items.iter().map(|item| (item.as_str(), (queue, deed))));
            }
        }
        let mut seen = BTreeSet::new();
        self.items.all.iter().find_map(|item| {
            let breach = |why: &str| {
                let detail = format!("item {} of {:?} {why}", item.value, item.queue);
                Some(Breach { step: item.added.step, detail })
            };
            let enqueuing = asked.get(item.value.as_str());
            let Some((_, deed)) =
                enqueuing.filter(|(queue, deed)| *queue == item.queue && deed.began.step < item.added.step)
            else {
                return breach("was added, and nobody has enqueued it");
            };
            if !seen.insert(item.value.as_str()) {
                return breach("was added twice");
            }
            match deed.ended {
                Some((_, DeedEnd::Failed(Failure::Refused(why)))) if *why != Refused::NoSpace => {
                    breach("was added, and its producer is told that it was not")
                }
                _ => None,
            }
        })
    }

    /// What its producer was told to be enqueued was added.
    fn enqueued(&self) -> Option<Breach> {
        let mut added: BTreeMap<&str, usize> = BTreeMap::new();
        for item in &self.items.all {
            added.entry(item.value.as_str()).or_insert(item.added.step);
        }
        of_recipes(self.evidence).find_map(|(deed, queue, what)| {
            let (RecipeDeed::Enqueue { items, .. }, Some((ended, DeedEnd::Done))) = (what, deed.ended) else {
                return None;
            };
            let missing =
                items.iter().find(|item| added.get(item.as_str()).is_none_or(|at| *at > ended.step))?;
            let detail =
                format!("c{} has enqueued item {missing} to {queue:?}, which was not added", deed.client);
            Some(Breach { step: ended.step, detail })
        })
    }

    /// What a consumer is given it has taken, alone.
    fn given(&self) -> Option<Breach> {
        let mut given: BTreeMap<&str, u32> = BTreeMap::new();
        let mut ended: Vec<_> = of_recipes(self.evidence)
            .filter_map(|(deed, queue, what)| deed.ended.map(|(at, end)| (at, deed, queue, what, end)))
            .collect();
        ended.sort_by_key(|(at, ..)| at.step);
        for (at, deed, queue, what, end) in ended {
            let (got, how): (Vec<&'a str>, _) = match (what, end) {
                (_, DeedEnd::Recipe(RecipeEnd::Items(items))) => {
                    (items.iter().map(String::as_str).collect(), How::Dequeued)
                }
                (RecipeDeed::Acknowledge { item, token, .. }, DeedEnd::Done) => {
                    (vec![item], How::Acknowledged(*token))
                }
                (_, DeedEnd::Recipe(RecipeEnd::Claimed { item, token })) => {
                    (vec![item], How::Claimed(*token))
                }
                _ => continue,
            };
            for value in got {
                let before = given.get(value).copied();
                let wrong = match self.item(queue, value) {
                    None => Some("which was never there".to_owned()),
                    Some(_) if before.is_some() => {
                        before.map(|before| format!("which c{before} was given before"))
                    }
                    Some(item) => how.wrong(item, deed, at.step),
                };
                if let Some(why) = wrong {
                    let detail = format!("c{} {how} item {value} of {queue:?}, {why}", deed.client);
                    return Some(Breach { step: at.step, detail });
                }
                if !matches!(how, How::Claimed(_)) {
                    given.insert(value, deed.client);
                }
            }
        }
        None
    }

    fn item(&self, queue: &str, value: &str) -> Option<&Item<'a>> {
        self.items.all.iter().find(|item| item.queue == queue && item.value == value)
    }

    /// What was taken was given, or lost with a consumer that was told of no success.
    fn lost(&self) -> Option<Breach> {
        self.items.all.iter().find_map(|item| {
            let taken = item.taken?;
            if self.items.given.contains_key(item.value.as_str()) || self.is_excused(item, taken) {
                return None;
            }
            let by = taken.by.map_or_else(|| "nobody".to_owned(), |by| format!("c{by}"));
            let detail = format!(
                "item {} of {:?} is lost: {by} took it, and no consumer was given it",
                item.value, item.queue
            );
            Some(Breach { step: taken.at.step, detail })
        })
    }

    /// Whether its consumer may have lost it: by a dequeue, or an acknowledgement, that came to no good end.
    fn is_excused(&self, item: &Item<'_>, taken: Taken) -> bool {
        // A request that was refused may be applied by its double, and its sender finds that somebody was there before.
        let by_a_double = is_by_a_double(self.evidence, taken.at);
        let came_to_nothing = |deed: &DeedLife<'_>| match deed.ended {
            None => true,
            Some((_, DeedEnd::Failed(Failure::NotHeld | Failure::Refused(_)))) => by_a_double,
            Some((_, DeedEnd::Failed(_))) => true,
            Some(_) => false,
        };
        let overlaps = |deed: &DeedLife<'_>| {
            deed.began.step < taken.at.step && deed.ended.is_none_or(|(ended, _)| ended.step > taken.sent)
        };
        let mut theirs = of_recipes(self.evidence)
            .filter(|(deed, queue, _)| Some(deed.client) == taken.by && *queue == item.queue)
            .filter(|(deed, ..)| came_to_nothing(deed));
        theirs.any(|(deed, _, what)| match what {
            RecipeDeed::Dequeue { most, .. } => {
                // What a batch took that was given up is for the next of the handle, which may want fewer.
                overlaps(deed) || (*most > 1 && taken.together > 1 && deed.began.step < taken.at.step)
            }
            RecipeDeed::Acknowledge { item: of, .. } => *of == item.value,
            _ => false,
        })
    }

    /// The write that shows that an item was worked on is made once.
    fn worked(&self) -> Option<Breach> {
        let commits = self.evidence.order().commits().iter();
        let mut events = commits.flat_map(|commit| commit.events.iter().map(move |event| (commit.at, event)));
        events.find_map(|(at, event)| {
            let item = event.kv.key.strip_prefix(WORKED.as_bytes())?;
            (event.kind == EventKind::Put && event.kv.version > 1).then(|| Breach {
                step: at.step,
                detail: format!("item {} was worked on twice", String::from_utf8_lossy(item)),
            })
        })
    }

    /// An item that was there, for nobody else, while a consumer looked for one and took a later one.
    fn overtaken(&self) -> Option<Breach> {
        let takings = self.items.all.iter().flat_map(|item| {
            let by_claim = |at: usize| item.is_claimed_within(at..=at);
            let taken = item.taken.filter(|taken| !by_claim(taken.at.step));
            let taken = taken.map(|taken| (taken.at.step, taken.by));
            let claimant = |token: i64| self.items.claimants.get(&(item.queue, token)).copied();
            let claims = item.claims.iter().map(move |claim| (claim.made.step, claimant(claim.token)));
            taken.into_iter().chain(claims).map(move |(step, by)| (step, by, item))
        });
        takings
            .filter_map(|(step, by, item)| {
                let since = self.looks_since(by?, item.queue, step)?;
                let overtaken = self.items.all.iter().find(|other| {
                    other.queue == item.queue
                        // Of one batch all are taken at once.
                        && other.stays(step)
                        && self.is_before(other, item)
                        && !other.is_claimed_within(since..=step)
                })?;
                let detail = format!(
                    "item {} of {:?} was taken before item {}, which is first",
                    item.value, item.queue, overtaken.value
                );
                Some(Breach { step, detail })
            })
            .min_by_key(|breach| breach.step)
    }

    /// Since when a consumer may have known what it acted on at this step: each of its programs may go on with what one that was
    /// given up had begun.
    fn looks_since(&self, client: u32, queue: &str, step: usize) -> Option<usize> {
        let mut since: BTreeMap<u32, (usize, bool)> = BTreeMap::new();
        for (deed, of, what) in of_recipes(self.evidence) {
            let consumes = matches!(what, RecipeDeed::Dequeue { .. } | RecipeDeed::Claim { .. });
            if deed.client != client || of != queue || !consumes || deed.began.step >= step {
                continue;
            }
            let Deed::Recipe { place: (lane, _), .. } = deed.what else { continue };
            let succeeded = matches!(deed.ended, Some((ended, DeedEnd::Recipe(_))) if ended.step < step);
            let known = since.entry(*lane).or_insert((deed.began.step, false));
            *known = if known.1 { (deed.began.step, succeeded) } else { (known.0, succeeded) };
        }
        since.values().filter(|(_, is_over)| !is_over).map(|(since, _)| *since).min()
    }

    fn is_before(&self, one: &Item<'_>, other: &Item<'_>) -> bool {
        if self.ranked.get(one.queue).copied().unwrap_or(false) {
            one.key < other.key
        } else {
            (one.revision, one.key) < (other.revision, other.key)
        }
    }

    /// Once calm, a consumer that waits beside an item that nobody else has.
    fn waits(&self) -> Option<Breach> {
        let settled_ns = super::success::settled_ns(self.evidence)?;
        let soon_ns = self.evidence.bounds.progress_ns / 2;
        let causes = self.evidence.causes();
        of_recipes(self.evidence)
            .filter(|(deed, ..)| !self.evidence.outside.contains(&deed.client) && !causes.cuts_off(deed))
            .filter(|(_, _, what)| matches!(what, RecipeDeed::Dequeue { .. } | RecipeDeed::Claim { .. }))
            .filter_map(|(deed, queue, _)| {
                let from_ns = deed.began.at_ns.max(settled_ns);
                let to_ns = deed.ended.map_or(self.evidence.end_ns, |(ended, _)| ended.at_ns);
                if to_ns < from_ns + soon_ns {
                    return None;
                }
                let of_it = self.items.all.iter().filter(|item| item.queue == queue);
                let (item, free_ns) = of_it
                    .filter_map(|item| Some((item, free_for(item, from_ns, to_ns, soon_ns)?)))
                    .min_by_key(|(_, free_ns)| *free_ns)?;
                let detail = format!(
                    "c{} waits for an item of {queue:?}, and item {} is there since {:.3} s",
                    deed.client,
                    item.value,
                    free_ns as f64 / 1e9
                );
                Some(Breach { step: self.evidence.step_at(free_ns + soon_ns), detail })
            })
            .min_by_key(|breach| breach.step)
    }
}

/// Since when an item was there for so long and unclaimed, within these times.
fn free_for(item: &Item<'_>, from_ns: u64, to_ns: u64, long_ns: u64) -> Option<u64> {
    let to_ns = item.taken.map_or(to_ns, |taken| taken.at.at_ns.min(to_ns));
    let mut free_ns = item.added.at_ns.max(from_ns);
    for claim in &item.claims {
        if claim.made.at_ns >= free_ns + long_ns {
            break;
        }
        free_ns = free_ns.max(claim.ended.map_or(u64::MAX, |ended| ended.at_ns));
    }
    (to_ns >= free_ns.saturating_add(long_ns)).then_some(free_ns)
}

/// How a consumer has an item.
#[derive(Clone, Copy)]
enum How {
    Dequeued,
    Claimed(i64),
    Acknowledged(i64),
}

impl How {
    /// What is wrong with that, as the store has it.
    fn wrong(self, item: &Item<'_>, deed: &DeedLife<'_>, told: usize) -> Option<String> {
        let claim = |token: i64| item.claims.iter().find(|claim| claim.token == token);
        if let Self::Claimed(token) = self {
            let Some(claim) = claim(token).filter(|claim| claim.made.step < told) else {
                return Some("but there is no such claim".to_owned());
            };
            let gone = item.taken.is_some_and(|taken| taken.at.step < claim.made.step);
            return gone.then(|| "which was not there any more".to_owned());
        }
        let Some(taken) = item.taken.filter(|taken| taken.at.step < told) else {
            return Some("which is still in the queue".to_owned());
        };
        if let Some(by) = taken.by.filter(|by| *by != deed.client) {
            return Some(format!("which c{by} has taken"));
        }
        match self {
            Self::Acknowledged(token) => {
                let holds = claim(token)
                    .is_some_and(|claim| claim.ended.is_none_or(|ended| ended.step >= taken.at.step));
                (!holds).then(|| "which it had not claimed any more".to_owned())
            }
            _ => {
                let claimed = item.is_claimed_within(taken.at.step..=taken.at.step);
                claimed.then(|| "which another has claimed".to_owned())
            }
        }
    }
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dequeued => "was given",
            Self::Claimed(_) => "has claimed",
            Self::Acknowledged(_) => "has acknowledged",
        })
    }
}
