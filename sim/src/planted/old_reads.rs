//! Reads that are not asked of the leader: an observer's first look, or a look at a barrier, may be old.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenure::kv::{Range, RangeResponse};
use tenure::{Backend, CallError, Instant};

use crate::workload::decorate::Decoration;

pub(super) struct OldReads;

impl Decoration for OldReads {
    fn range(
        inner: &Arc<dyn Backend>,
        range: Range,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        inner.range(Range { serializable: true, ..range }, deadline)
    }
}
