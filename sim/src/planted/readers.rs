//! Wrong readers of a read-write lock: `reader-beside-writer` does not look for writers, `reader-overtakes` looks only whether
//! one holds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{CompareOp, CompareTarget, Range, SortOrder, SortTarget, Txn, TxnResponse};
use tenure::{Backend, CallError, Instant};

use crate::workload::decorate::Decoration;

/// Takes the condition that no writer exists out of a reader's transaction; gives the prefix of the writers.
fn without_writers(txn: &mut Txn) -> Option<Vec<u8>> {
    let place = txn.compares.iter().position(|compare| {
        !compare.range_end.is_empty()
            && compare.op == CompareOp::Equal
            && compare.target == CompareTarget::Create(0)
    })?;
    Some(txn.compares.remove(place).key)
}

pub(super) struct ReaderBesideWriter;

impl Decoration for ReaderBesideWriter {
    fn txn(
        inner: &Arc<dyn Backend>,
        mut txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        without_writers(&mut txn);
        inner.txn(txn, deadline)
    }
}

pub(super) struct ReaderOvertakes;

impl Decoration for ReaderOvertakes {
    fn txn(
        inner: &Arc<dyn Backend>,
        txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let mut overtaking = txn.clone();
        let Some(writers) = without_writers(&mut overtaking) else { return inner.txn(txn, deadline) };
        let inner = Arc::clone(inner);
        async move {
            let lock = writers.strip_suffix(b"write/".as_slice()).unwrap_or(&writers);
            let oldest = Range::prefix(lock).sorted(SortTarget::Create, SortOrder::Ascend).limit(1);
            let patience = inner.now() + Duration::from_secs(1);
            let oldest = inner.range(oldest, deadline.min(patience)).await?;
            let writer_holds = oldest.kvs.first().is_some_and(|kv| kv.key.starts_with(&writers));
            inner.txn(if writer_holds { txn } else { overtaking }, deadline).await
        }
        .boxed()
    }
}
