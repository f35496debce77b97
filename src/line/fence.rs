//! What a fence key says: who moved it, so that a try of one's own is told from another's.

use super::Contender;
use crate::kv::KeyValue;

/// Who moved the fence has left the line.
pub(super) const LEFT: &str = "left";

/// Who moved the fence has taken the key over from an earlier process of the lease.
pub(super) const TAKEN_OVER: &str = "taken over";

/// The value of a fence that is moved on from revision `fence`, on behalf of contender `key`.
pub(super) fn mark(key: &[u8], why: &str, fence: i64) -> Vec<u8> {
    [key, format!(" {why} {fence}").as_bytes()].concat()
}

impl Contender {
    /// Whether the fence says that another process has taken over this contender's key.
    pub(super) fn is_taken_over(&self, fence: Option<&KeyValue>) -> bool {
        let taken_over = [&*self.key, format!(" {TAKEN_OVER} ").as_bytes()].concat();
        fence.is_some_and(|kv| {
            // What was said of an earlier key of this name, or by this process, is not meant.
            kv.value.starts_with(&taken_over)
                && kv.value != self.takeover_mark
                && kv.mod_revision > self.created().max(self.taken_over_at)
        })
    }
}
