//! Mended: all that it asks of the database carries the fencing token of its leadership, so that what comes too late is refused;
//! and it stops as soon as it is told that it leads no more.

use std::time::Duration;

use futures_util::future::select;
use tenure::{Election, Etcd, Runtime, Session};

use crate::{Reports, Stale};

/// Runs until etcd or the session fails; who calls it starts it again.
pub async fn run(etcd: Etcd, name: &str, reports: impl Reports) -> Result<(), tenure::Error> {
    let session = Session::builder(&etcd).ttl(Duration::from_secs(3)).open().await?;
    let leadership = Election::new(&session, "reports")?.campaign(name).await?;
    let work = std::pin::pin!(lead(&etcd, leadership.fencing_token(), &reports));
    // Told of the loss, or refused by the database: either way it leads no more.
    select(std::pin::pin!(leadership.lost()), work).await;
    Ok(())
}

/// Makes one report after the other, until one is refused.
async fn lead(etcd: &Etcd, token: i64, reports: &impl Reports) -> Result<(), Stale> {
    loop {
        // The token goes with the question, too: else a former leader's report that is under way could still come between.
        let last = reports.last(Some(token)).await?;
        // Making it takes a while.
        etcd.sleep_until(etcd.now() + Duration::from_millis(40)).await;
        reports.put(last + 1, Some(token)).await?;
        etcd.sleep_until(etcd.now() + Duration::from_millis(300)).await;
    }
}
