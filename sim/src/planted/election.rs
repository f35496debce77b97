//! Wrong elections: `stale-proclaim` writes without a look at what it replaces; `observe-skips-last` holds back what was told last.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tenure::kv::{CompareTarget, Op, OpResponse, PutResponse, Txn, TxnResponse, WatchRequest};
use tenure::{Backend, CallError, Instant, WatchMessage, WatchStream};

use super::unlock::blindly;
use crate::workload::decorate::Decoration;

pub(super) struct StaleProclaim;

/// Whether this is a leader's proclamation.
fn is_proclamation(txn: &Txn) -> bool {
    matches!(txn.success.as_slice(), [Op::Put(_)])
        && txn.compares.iter().any(|compare| matches!(compare.target, CompareTarget::Mod(_)))
        && txn.compares.iter().any(|compare| matches!(compare.target, CompareTarget::Create(1..)))
}

impl Decoration for StaleProclaim {
    fn txn(
        inner: &Arc<dyn Backend>,
        txn: Txn,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<TxnResponse, CallError>> {
        if is_proclamation(&txn) {
            let said = OpResponse::Put(PutResponse::default());
            blindly(inner, txn, deadline, said, Duration::from_millis(100))
        } else {
            inner.txn(txn, deadline)
        }
    }
}

pub(super) struct ObserveSkipsLast;

impl Decoration for ObserveSkipsLast {
    /// What is told is held back until more is told. Only of observers: contenders leave out puts.
    fn watch(inner: &Arc<dyn Backend>, request: WatchRequest) -> WatchStream {
        let watch = inner.watch(request.clone());
        if request.no_put {
            return watch;
        }
        let late = stream::unfold((watch, None), |(mut watch, mut held_back)| async move {
            loop {
                let message = watch.next().await?;
                let is_events = matches!(message, Ok(WatchMessage::Events { .. }));
                if !is_events {
                    return Some((message, (watch, held_back)));
                }
                if let Some(earlier) = held_back.replace(message) {
                    return Some((earlier, (watch, held_back)));
                }
            }
        });
        Box::pin(late)
    }
}
