//! The Lock service (`api/v3lock/lock.go`, `concurrency/mutex.go`).

use etcd_client::proto::{PbLockResponse, PbUnlockResponse};
use tenure::kv::Range;

use super::super::convert;
use super::messages::{LockRequest, UnlockRequest};
use super::recipes::{Recipes, Result, unknown};

impl Recipes {
    pub(super) async fn lock(self, request: LockRequest) -> Result<PbLockResponse> {
        let lease = self.session(request.lease).await?;
        let place = self.join(&request.name, lease, b"").await?;
        let withdrawal = self.withdrawing(place.key.clone());
        let mut header = self.wait_for_older(&request.name, place.revision).await?;
        if self.timed.lock_checks_own_key {
            let (read, kvs) = self.range(Range::key(place.key.clone())).await?;
            if kvs.is_empty() {
                withdrawal.call_off();
                return Err(unknown("mutex: session is expired"));
            }
            header = read;
        }
        withdrawal.call_off();
        Ok(PbLockResponse { header: convert::header(header), key: place.key })
    }

    pub(super) async fn unlock(self, request: UnlockRequest) -> Result<PbUnlockResponse> {
        let header = self.delete(request.key).await?;
        Ok(PbUnlockResponse { header: convert::header(header) })
    }
}
