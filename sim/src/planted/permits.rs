//! A wrong semaphore: `one-permit-too-many` leaves the oldest contender out of what is listed of a semaphore's line.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{OpResponse, Txn, TxnResponse};
use tenure::{Backend, CallError, Instant};

use crate::workload::decorate::Decoration;

/// What contenders for a semaphore have in their keys.
const KIND: &[u8] = b"/sem/";

pub(super) struct OnePermitTooMany;

impl Decoration for OnePermitTooMany {
    fn txn(
        inner: &Arc<dyn Backend>,
        txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        let answer = inner.txn(txn, deadline);
        async move {
            let mut response = answer.await?;
            for response in &mut response.responses {
                if let OpResponse::Range(range) = response
                    && range.kvs.len() > 1
                    && range.kvs.iter().all(|kv| crate::bytes::contains(&kv.key, KIND))
                {
                    let oldest = range.kvs.iter().map(|kv| kv.create_revision).min();
                    range.kvs.retain(|kv| Some(kv.create_revision) != oldest);
                }
            }
            Ok(response)
        }
        .boxed()
    }
}
