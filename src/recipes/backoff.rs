//! How long who lost a race waits before the next try.

use std::time::Duration;

use crate::Session;

const FIRST: Duration = Duration::from_millis(1);
const DOUBLINGS: u32 = 6;

/// Waits after the `lost`th try, counted from 1, that met a conflict: 1 ms to 2 ms at first, 64 ms to 128 ms at most. Sessions wait
/// for different times, so that those that met do not meet again; nothing is drawn, so a simulated run stays one.
///
/// Cancel safe.
pub(super) async fn after_conflict(session: &Session, lost: u32) {
    let pause = FIRST * 2_u32.pow(lost.saturating_sub(1).min(DOUBLINGS));
    // A finalizer of hashes (Stafford's 13th), over what tells the sessions and the tries apart.
    let mut spread = session.lease().unsigned_abs().wrapping_add(u64::from(lost));
    spread = (spread ^ (spread >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    spread = (spread ^ (spread >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let sixteenths = u32::try_from(spread >> 60).unwrap_or(0);
    let backend = session.backend();
    backend.sleep_until(backend.now() + pause + pause * sixteenths / 16).await;
}
