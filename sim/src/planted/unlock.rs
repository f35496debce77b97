//! Wrong releases: `unlock-by-name` deletes whatever has its key, and its retry a newer hold; `resign-forgets` takes a release
//! that failed for done.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{CompareTarget, DeleteResponse, Op, OpResponse, Txn, TxnResponse};
use tenure::{Backend, CallError, Instant};

use crate::workload::decorate::Decoration;

/// Whether this is the deletion of one incarnation of a contender's key.
fn is_release(txn: &Txn) -> bool {
    let of_one = |target: &CompareTarget| matches!(target, CompareTarget::Create(revision) if *revision != 0);
    let one_incarnation = txn.compares.iter().any(|compare| of_one(&compare.target));
    one_incarnation && matches!(txn.success.as_slice(), [Op::Delete(_)])
}

/// Carries out a transaction without its compares, whatever is there; one that may be lost counts as `done` and is sent
/// again `again_after` later.
pub(super) fn blindly(
    inner: &Arc<dyn Backend>,
    mut txn: Txn,
    deadline: Instant,
    done: OpResponse,
    again_after: Duration,
) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
    txn.compares.clear();
    let inner = Arc::clone(inner);
    async move {
        match inner.txn(txn.clone(), deadline).await {
            Err(CallError::Maybe(_)) => {
                let again = Arc::clone(&inner);
                inner.spawn(
                    async move {
                        again.sleep_until(again.now() + again_after).await;
                        let _ = again.txn(txn, again.now() + Duration::from_secs(1)).await;
                    }
                    .boxed(),
                );
                Ok(succeeded(done))
            }
            answer => answer,
        }
    }
    .boxed()
}

fn succeeded(response: OpResponse) -> TxnResponse {
    TxnResponse { succeeded: true, responses: vec![response], ..TxnResponse::default() }
}

fn deleted() -> OpResponse {
    OpResponse::Delete(DeleteResponse { deleted: 1, ..DeleteResponse::default() })
}

pub(super) struct UnlockByName;

impl Decoration for UnlockByName {
    fn txn(
        inner: &Arc<dyn Backend>,
        txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        if is_release(&txn) {
            blindly(inner, txn, deadline, deleted(), Duration::from_millis(50))
        } else {
            inner.txn(txn, deadline)
        }
    }
}

pub(super) struct ResignForgets;

impl Decoration for ResignForgets {
    fn txn(
        inner: &Arc<dyn Backend>,
        txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let release = is_release(&txn);
        let answer = inner.txn(txn, deadline);
        async move {
            match answer.await {
                Err(CallError::Maybe(_) | CallError::NotApplied(_)) if release => Ok(succeeded(deleted())),
                answer => answer,
            }
        }
        .boxed()
    }
}
