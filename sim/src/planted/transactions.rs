//! Wrong transactions: the library's own, with conditions changed or taken out of what they ask of etcd.

use std::sync::Arc;

use tenure::kv::{CompareOp, CompareTarget, Op, Txn};
use tenure::{Backend, Instant};

use super::recipes::{Answer, is_receipt};
use crate::workload::decorate::Decoration;

/// Of a key that was read it is compared only whether it is still there.
pub(super) struct ByExistence;

impl Decoration for ByExistence {
    fn txn(inner: &Arc<dyn Backend>, mut txn: Txn, deadline: Instant) -> Answer {
        for compare in txn.compares.iter_mut().filter(|compare| !is_receipt(&compare.key)) {
            if compare.op == CompareOp::Equal && matches!(compare.target, CompareTarget::Mod(1..)) {
                (compare.op, compare.target) = (CompareOp::NotEqual, CompareTarget::Mod(0));
            }
        }
        inner.txn(txn, deadline)
    }
}

/// No transaction goes by a receipt: one whose answer was lost meets its own writes, takes them for a conflict, and is made again.
pub(super) struct MadeAgain;

impl Decoration for MadeAgain {
    fn txn(inner: &Arc<dyn Backend>, mut txn: Txn, deadline: Instant) -> Answer {
        txn.compares.retain(|compare| !is_receipt(&compare.key));
        txn.success.retain(|op| !matches!(op, Op::Put(put) if is_receipt(&put.key)));
        inner.txn(txn, deadline)
    }
}
