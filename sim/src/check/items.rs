//! What a history says of the items of queues, as the store's commits have it: when each was added, claimed and taken, and by
//! whose request.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tenure::kv::{Event, EventKind};

use super::order::Commit;
use super::recipe_deeds::of_recipes;
use super::{DeedLife, Evidence, Moment};
use crate::history::{DeedEnd, RecipeDeed, RecipeEnd};
use crate::node::Node;

/// A claim of an item, from commit to commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemClaim {
    /// The revision that made it.
    pub(crate) token: i64,
    pub(crate) made: Moment,
    pub(crate) ended: Option<Moment>,
}

/// An item was taken from its queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) at: Moment,
    /// Who had asked for it.
    pub(crate) by: Option<u32>,
    /// When that was sent.
    pub(crate) sent: usize,
    /// How many items were taken together.
    pub(crate) together: usize,
}

/// An item, from the commit that added it.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) queue: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) value: String,
    /// The revision that added it.
    pub(crate) revision: i64,
    pub(crate) added: Moment,
    pub(crate) claims: Vec<ItemClaim>,
    pub(crate) taken: Option<Taken>,
}

impl Item<'_> {
    /// Whether it is in the queue before this step and after it.
    pub(crate) fn stays(&self, step: usize) -> bool {
        self.added.step < step && self.taken.is_none_or(|taken| taken.at.step > step)
    }

    /// Whether somebody has claimed it at some time of these steps.
    pub(crate) fn is_claimed_within(&self, steps: RangeInclusive<usize>) -> bool {
        self.claims.iter().any(|claim| {
            claim.made.step < *steps.end() && claim.ended.is_none_or(|ended| ended.step >= *steps.start())
        })
    }
}

/// The items of a run, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Items<'a> {
    pub(crate) all: Vec<Item<'a>>,
    /// What consumers were given for good, with what it was given by and when.
    pub(crate) given: BTreeMap<&'a str, (DeedLife<'a>, Moment)>,
    /// Who was told of a claim, by queue and token.
    pub(crate) claimants: BTreeMap<(&'a str, i64), u32>,
    /// Where those of each key stand, the newest last.
    by_key: BTreeMap<&'a [u8], usize>,
}

impl<'a> Items<'a> {
    pub(super) fn of(evidence: &Evidence<'a>) -> Self {
        let mut items = Self::default();
        // Each queue, and how its claims' keys begin.
        let mut queues: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for (deed, queue, what) in of_recipes(evidence) {
            if matches!(what, RecipeDeed::Enqueue { .. }) {
                queues.entry(queue).or_insert_with(|| format!("__{queue}\0claim/").into_bytes());
            }
            items.told(deed, queue, what);
        }
        if queues.is_empty() {
            return items;
        }
        for commit in evidence.order().commits() {
            let taken = items.taken(evidence, commit);
            for event in commit.events {
                for (queue, claims) in &queues {
                    items.event(event, (queue, claims), commit, taken);
                }
            }
        }
        items
    }

    fn told(&mut self, deed: &DeedLife<'a>, queue: &'a str, what: &'a RecipeDeed) {
        match (what, deed.ended) {
            (_, Some((at, DeedEnd::Recipe(RecipeEnd::Items(items))))) => {
                self.given.extend(items.iter().map(|item| (item.as_str(), (*deed, at))));
            }
            (RecipeDeed::Acknowledge { item, .. }, Some((at, DeedEnd::Done))) => {
                self.given.insert(item, (*deed, at));
            }
            (_, Some((_, DeedEnd::Recipe(RecipeEnd::Claimed { token, .. })))) => {
                self.claimants.entry((queue, *token)).or_insert(deed.client);
            }
            _ => {}
        }
    }

    fn taken(&self, evidence: &Evidence<'_>, commit: &Commit<'_>) -> Taken {
        let sent = commit.call.and_then(|call| evidence.calls.get(&call)?.sent);
        let by = sent.and_then(|sent| match evidence.history.steps[sent].node {
            Node::Client(client) => Some(client),
            _ => None,
        });
        let deleted = commit.events.iter().filter(|event| event.kind == EventKind::Delete);
        let together = deleted.filter(|event| self.by_key.contains_key(&*event.kv.key)).count();
        Taken { at: commit.at, by, sent: sent.unwrap_or(commit.at.step), together }
    }

    fn event(&mut self, event: &'a Event, of: (&'a str, &[u8]), commit: &Commit<'_>, taken: Taken) {
        let (queue, claims) = of;
        let key = &*event.kv.key;
        if let Some(rest) = key.strip_prefix(claims) {
            let of = [queue.as_bytes(), b"/", rest].concat();
            let item = self.by_key.get(&*of).and_then(|place| self.all.get_mut(*place));
            match (item, event.kind) {
                (Some(item), EventKind::Put) => {
                    item.claims.push(ItemClaim { token: commit.revision, made: commit.at, ended: None });
                }
                (Some(item), EventKind::Delete) => {
                    if let Some(claim) = item.claims.last_mut() {
                        claim.ended.get_or_insert(commit.at);
                    }
                }
                (None, _) => {}
            }
        } else if key.strip_prefix(queue.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")) {
            match event.kind {
                EventKind::Put => {
                    self.by_key.insert(key, self.all.len());
                    self.all.push(Item {
                        queue,
                        key,
                        value: String::from_utf8_lossy(&event.kv.value).into_owned(),
                        revision: commit.revision,
                        added: commit.at,
                        claims: Vec::new(),
                        taken: None,
                    });
                }
                EventKind::Delete => {
                    if let Some(item) = self.by_key.get(key).and_then(|place| self.all.get_mut(*place)) {
                        item.taken.get_or_insert(taken);
                    }
                }
            }
        }
    }
}
