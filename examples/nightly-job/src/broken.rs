//! With the mistake: it looks whether it leads, makes the report, and puts it. If it stands still in between (a long garbage
//! collection, a suspended machine), another leads by then, and the old report overwrites a newer one.

use std::time::Duration;

use tenure::{Election, Etcd, Runtime, Session};

use crate::Reports;

/// Runs until etcd or the session fails; who calls it starts it again.
pub async fn run(etcd: Etcd, name: &str, reports: impl Reports) -> Result<(), tenure::Error> {
    let session = Session::builder(&etcd).ttl(Duration::from_secs(3)).open().await?;
    let leadership = Election::new(&session, "reports")?.campaign(name).await?;
    while leadership.is_held() {
        let Ok(last) = reports.last(None).await else { break };
        // Making it takes a while.
        etcd.sleep_until(etcd.now() + Duration::from_millis(40)).await;
        let Ok(()) = reports.put(last + 1, None).await else { break };
        etcd.sleep_until(etcd.now() + Duration::from_millis(300)).await;
    }
    Ok(())
}
