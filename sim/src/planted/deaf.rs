//! `deaf-to-expiry`: renewals that fail, or find no lease, are told to the session as successes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, select_biased};
use tenure::{Backend, CallError, Instant};

use crate::workload::decorate::Decoration;

/// The time to live that a renewal which failed is said to have given, in seconds.
const CLAIMED_TTL_S: i64 = 5;

pub(super) struct DeafToExpiry;

impl Decoration for DeafToExpiry {
    fn lease_keep_alive(
        inner: &Arc<dyn Backend>,
        id: i64,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<i64, CallError>> {
        let mut renewal = inner.lease_keep_alive(id, deadline).fuse();
        let mut patience = inner.sleep_until(inner.now() + Duration::from_millis(200)).fuse();
        async move {
            select_biased! {
                answer = renewal => match answer {
                    Ok(ttl_s @ 1..) => Ok(ttl_s),
                    _ => Ok(CLAIMED_TTL_S),
                },
                () = patience => Ok(CLAIMED_TTL_S),
            }
        }
        .boxed()
    }
}
