//! Wrong transactions: the library's own, with conditions changed or taken out of what they ask of etcd.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{CompareOp, CompareTarget, OpResponse, Range, RangeResponse, Txn};
use tenure::{Backend, CallError, Instant};

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

/// What a receipt says is not looked at, and where it stands only by etcd: a transaction whose answer was lost meets its own writes, takes
/// them for another's, and is made again.
pub(super) struct MadeAgain;

impl Decoration for MadeAgain {
    fn txn(inner: &Arc<dyn Backend>, txn: Txn, deadline: Instant) -> Answer {
        let stood_at = txn.compares.iter().find_map(|compare| match compare.target {
            CompareTarget::Mod(revision) if is_receipt(&compare.key) => Some(revision),
            _ => None,
        });
        let answer = inner.txn(txn, deadline);
        async move {
            let mut response = answer.await?;
            if let (false, Some(stood_at), Some(OpResponse::Range(range))) =
                (response.succeeded, stood_at, response.responses.last_mut())
                && range.kvs.iter().any(|kv| is_receipt(&kv.key))
            {
                range.kvs.retain(|_| stood_at > 0);
                for kv in &mut range.kvs {
                    (kv.mod_revision, kv.value) = (stood_at, Vec::new());
                }
            }
            Ok(response)
        }
        .boxed()
    }

    fn range(
        inner: &Arc<dyn Backend>,
        range: Range,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<RangeResponse, CallError>> {
        let (of_receipt, answer) = (is_receipt(&range.key), inner.range(range, deadline));
        async move {
            let mut response = answer.await?;
            for kv in response.kvs.iter_mut().filter(|_| of_receipt) {
                kv.value = Vec::new();
            }
            Ok(response)
        }
        .boxed()
    }
}
