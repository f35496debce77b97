//! Mended: what it puts carries the fencing token of its leadership, so that the database refuses what comes too late; and it
//! stops as soon as it is told that it leads no more.

use std::time::Duration;

use futures_util::future::{Either, select};
use tenure::{Election, Etcd, Runtime, Session};

use crate::{Reports, Stale};

/// Runs until etcd or the session fails; who calls it starts it again.
pub async fn run(etcd: Etcd, name: &str, reports: impl Reports) -> Result<(), tenure::Error> {
    let session = Session::builder(&etcd).ttl(Duration::from_secs(3)).open().await?;
    let leadership = Election::new(&session, "reports")?.campaign(name).await?;
    let work = std::pin::pin!(lead(&etcd, leadership.fencing_token(), &reports));
    match select(std::pin::pin!(leadership.lost()), work).await {
        Either::Left(((), _)) => {}
        Either::Right((Stale, _)) => {}
    }
    Ok(())
}

/// Makes one report after the other, until one is refused.
async fn lead(etcd: &Etcd, token: i64, reports: &impl Reports) -> Stale {
    loop {
        let number = reports.last().await + 1;
        // Making it takes a while.
        etcd.sleep_until(etcd.now() + Duration::from_millis(40)).await;
        if let Err(stale) = reports.put(number, Some(token)).await {
            return stale;
        }
        etcd.sleep_until(etcd.now() + Duration::from_millis(300)).await;
    }
}
