//! Wrong double barriers: the library's own, with conditions taken out of what they ask of etcd.

use std::sync::Arc;

use tenure::kv::{Compare, CompareTarget, Txn};
use tenure::{Backend, Instant};

use super::recipes::Answer;
use crate::workload::decorate::Decoration;

/// A double barrier is entered and opened while a round is on.
pub(super) struct LateClient;

impl Decoration for LateClient {
    fn txn(inner: &Arc<dyn Backend>, mut txn: Txn, deadline: Instant) -> Answer {
        let of_ready = |compare: &Compare| {
            compare.key.ends_with(b"/ready") && compare.target == CompareTarget::Create(0)
        };
        txn.compares.retain(|compare| !of_ready(compare));
        inner.txn(txn, deadline)
    }
}
