//! Two readers together, then a writer alone, before which no newer reader is let in.
//!
//!     cargo run --example rwlock -- http://127.0.0.1:2379

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an application: real tokio, real time"
)]

use std::process::ExitCode;
use std::time::Duration;

use tenure::{Etcd, RwLock, Session};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rwlock: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());
    let etcd = Etcd::connect([endpoint]).await?;
    let session = Session::builder(&etcd).ttl(Duration::from_secs(10)).open().await?;
    let config = RwLock::new(&session, "examples/config")?;

    let (one, other) = (config.read().await?, config.read().await?);
    println!("two readers: tokens {} and {}", one.fencing_token(), other.fencing_token());

    let writer = tokio::spawn({
        let config = config.clone();
        async move { config.write().await }
    });
    // Once the writer is in line, no reader is granted before it.
    while config.try_read().await?.is_some() {}
    println!("a writer waits: no new reader gets in");

    one.release().await?;
    other.release().await?;
    let write = writer.await??;
    println!("the writer holds alone: token {}", write.fencing_token());
    write.release().await?;
    session.close().await?;
    Ok(())
}
