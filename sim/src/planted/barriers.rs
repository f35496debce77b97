//! Wrong barriers: the library's own, with reads that may be old, or with conditions taken out of what they ask of etcd.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenure::kv::{Compare, CompareTarget, Range, RangeResponse, Txn};
use tenure::{Backend, CallError, Instant};

use super::recipes::Answer;
use crate::workload::decorate::Decoration;

/// Single keys are read from whatever state a member has.
pub(super) struct StaleLook;

impl Decoration for StaleLook {
    fn range(
        inner: &Arc<dyn Backend>,
        range: Range,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        inner.range(Range { serializable: true, ..range }, deadline)
    }
}

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
