//! Takes a lock, holds it for a while, and gives it back. The argument is etcd's endpoint.

use std::process::ExitCode;
use std::time::Duration;

use tenure::{Etcd, Mutex, Session};

#[tokio::main]
async fn main() -> ExitCode {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());
    match report(&endpoint).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("first-lock: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn report(endpoint: &str) -> Result<(), Box<dyn std::error::Error>> {
    // All endpoints of the cluster: when one fails, the next serves.
    let etcd = Etcd::connect([endpoint]).await?;
    // If this process dies, what it holds is free 10 s later.
    let session = Session::builder(&etcd).ttl(Duration::from_secs(10)).open().await?;

    let guard = Mutex::new(&session, "reports/nightly")?.lock().await?;
    println!("holding it with fencing token {}", guard.fencing_token());

    tokio::select! {
        biased;
        () = guard.lost() => eprintln!("the lock may be someone else's by now: stop"),
        () = build_report() => guard.release().await?,
    }
    session.close().await?;
    Ok(())
}

async fn build_report() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}
