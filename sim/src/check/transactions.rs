//! What a history says of transactions that were run to an end: what each read, and what of that was true when.

use super::order::Order;
use super::recipe_deeds::of_recipes;
use super::{DeedLife, Evidence, Moment};
use crate::history::{Came, DeedEnd, RecipeDeed, RecipeEnd, TransactionRead, TransactionRun};
use crate::workload::recipes::program::Level;

/// A transaction that was run to an end.
#[derive(Clone, Copy)]
pub(crate) struct Transaction<'e, 'a> {
    pub(crate) deed: &'e DeedLife<'a>,
    /// Whose accounts.
    pub(crate) bank: &'a str,
    pub(crate) what: &'a RecipeDeed,
    pub(crate) level: Level,
    /// How often it may run.
    pub(crate) attempts: u32,
    pub(crate) ended: Moment,
    pub(crate) came: Came,
    pub(crate) runs: &'a [TransactionRun],
}

/// Every transaction that was run to an end, in the order in which they were begun.
pub(crate) fn transactions<'e, 'a>(evidence: &'e Evidence<'a>) -> impl Iterator<Item = Transaction<'e, 'a>> {
    of_recipes(evidence).filter_map(|(deed, bank, what)| {
        let (level, attempts) = match what {
            RecipeDeed::Transfer { level, attempts, .. } | RecipeDeed::Audit { level, attempts } => {
                (*level, *attempts)
            }
            _ => return None,
        };
        let Some((ended, DeedEnd::Recipe(RecipeEnd::Transacted { came, runs }))) = deed.ended else {
            return None;
        };
        Some(Transaction { deed, bank, what, level, attempts, ended, came: *came, runs })
    })
}

impl TransactionRead {
    /// Whether the key was so at a revision.
    pub(crate) fn was_so_at(&self, order: &Order<'_>, revision: i64) -> bool {
        let kv = order.state(self.key.as_bytes(), revision);
        kv.map_or(0, |kv| kv.mod_revision) == self.revision
            && kv.map(|kv| &*kv.value) == self.value.as_ref().map(String::as_bytes)
    }
}

impl Transaction<'_, '_> {
    /// The oldest revision that it may have read, and the newest.
    pub(crate) fn may_read(&self, order: &Order<'_>) -> (i64, i64) {
        (order.newest_before(self.deed.began.step), order.newest_before(self.ended.step))
    }

    /// Whether others wrote what a run of it had read, or was to write, before the transaction came to its end; or so much that what the
    /// run had begun to read was forgotten.
    pub(crate) fn met_a_conflict(&self, order: &Order<'_>, run: &TransactionRun) -> bool {
        let (oldest, newest) = self.may_read(order);
        if !run.is_whole {
            return order.compacted_before(self.ended.step) > oldest;
        }
        let written = |key: &str| order.state(key.as_bytes(), newest).map_or(0, |kv| kv.mod_revision);
        let blind = match self.what {
            RecipeDeed::Transfer { blind: Some(key), .. } if self.level == Level::SerializableSnapshot => {
                written(key)
            }
            _ => 0,
        };
        blind > oldest || run.reads.iter().any(|read| written(&read.key) != read.revision)
    }

    /// Whether all of these were so at one revision, from `oldest` on. No account is ever deleted, so that what was so begins with
    /// the revision that wrote it.
    pub(crate) fn were_so_together(order: &Order<'_>, reads: &[TransactionRead], oldest: i64) -> bool {
        let newest_written = reads.iter().map(|read| read.revision).max().unwrap_or(0);
        reads.iter().all(|read| read.was_so_at(order, newest_written.max(oldest)))
    }
}
