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
    let one_incarnation = matches!(
        txn.compares.as_slice(),
        [only] if matches!(only.target, CompareTarget::Create(revision) if revision != 0)
    );
    one_incarnation && matches!(txn.success.as_slice(), [Op::Delete(_)])
}

fn deleted() -> TxnResponse {
    let response = OpResponse::Delete(DeleteResponse { deleted: 1, ..DeleteResponse::default() });
    TxnResponse { succeeded: true, responses: vec![response], ..TxnResponse::default() }
}

pub(super) struct UnlockByName;

impl Decoration for UnlockByName {
    fn txn(
        inner: &Arc<dyn Backend>,
        mut txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        if !is_release(&txn) {
            return inner.txn(txn, deadline);
        }
        txn.compares.clear();
        let inner = Arc::clone(inner);
        async move {
            match inner.txn(txn.clone(), deadline).await {
                Err(CallError::Maybe(_)) => {
                    let again = Arc::clone(&inner);
                    inner.spawn(
                        async move {
                            again.sleep_until(again.now() + Duration::from_millis(50)).await;
                            let _ = again.txn(txn, again.now() + Duration::from_secs(1)).await;
                        }
                        .boxed(),
                    );
                    Ok(deleted())
                }
                answer => answer,
            }
        }
        .boxed()
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
                Err(CallError::Maybe(_) | CallError::NotApplied(_)) if release => Ok(deleted()),
                answer => answer,
            }
        }
        .boxed()
    }
}
