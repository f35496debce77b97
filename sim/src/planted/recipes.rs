//! Wrong recipes: the library's own, with conditions taken out of what they ask of etcd, or asking for something else.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenure::kv::{Compare, CompareTarget, Op, SortOrder, SortTarget, Txn, TxnResponse};
use tenure::{Backend, CallError, Instant};

use crate::workload::decorate::Decoration;

pub(super) type Answer = BoxFuture<'static, Result<TxnResponse, CallError>>;

/// Whether it is one of the keys by which transactions are applied once.
pub(crate) fn is_receipt(key: &[u8]) -> bool {
    crate::bytes::contains(key, b"\0receipt/")
}

/// No transaction looks whether its receipt is as it was: one whose answer was lost is applied once more if nothing else is in the way.
pub(super) struct WithoutReceipts;

impl Decoration for WithoutReceipts {
    fn txn(inner: &Arc<dyn Backend>, mut txn: Txn, deadline: Instant) -> Answer {
        txn.compares.retain(|compare| !is_receipt(&compare.key));
        inner.txn(txn, deadline)
    }
}

/// Items are deleted by their names, whoever has taken or claimed them meanwhile.
pub(super) struct TakenByName;

impl Decoration for TakenByName {
    fn txn(inner: &Arc<dyn Backend>, mut txn: Txn, deadline: Instant) -> Answer {
        let takes = txn.success.iter().any(|op| matches!(op, Op::Delete(_)));
        let guards =
            |compare: &Compare| matches!(compare.target, CompareTarget::Mod(_)) && !is_receipt(&compare.key);
        txn.compares.retain(|compare| !takes || !guards(compare));
        inner.txn(txn, deadline)
    }
}

/// What came last is first.
pub(super) struct NewestFirst;

impl Decoration for NewestFirst {
    fn txn(inner: &Arc<dyn Backend>, mut txn: Txn, deadline: Instant) -> Answer {
        for op in &mut txn.success {
            if let Op::Range(range) = op
                && range.sort_target == SortTarget::Mod
            {
                range.sort_order = SortOrder::Descend;
            }
        }
        inner.txn(txn, deadline)
    }
}
