//! What recipes bring to a good end once calm.

use super::Success;
use crate::check::Breach;
use crate::check::transactions::transactions;
use crate::history::Came;

/// Whoever may run a transaction so often commits it.
const ENOUGH: u32 = 100;

impl Success<'_, '_> {
    /// Transactions that meet conflicts again and again.
    pub(super) fn never_commits(&self) -> Option<Breach> {
        let mut late = transactions(self.evidence)
            .filter(|one| one.deed.began.at_ns >= self.settled_ns && !self.is_outside(one.deed.client));
        let one = late.find(|one| one.came == Came::Conflict && one.attempts >= ENOUGH)?;
        let detail = format!("a transaction of c{} met conflicts in each of {} runs", one.deed.client, one.attempts);
        Some(Breach { step: one.ended.step, detail })
    }
}
