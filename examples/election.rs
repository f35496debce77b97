//! Stands for election, leads for a moment, and watches who leads.
//!
//!     cargo run --example election -- http://127.0.0.1:2379 my-name
//!
//! Run it in several terminals, and beside `etcdctl elect examples/leader another-name`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an application: real tokio, real time"
)]

use std::process::ExitCode;
use std::time::Duration;

use tenure::{Election, Etcd, Observation, Session};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("election: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());
    let me = args.next().unwrap_or_else(|| format!("process {}", std::process::id()));
    let etcd = Etcd::connect([endpoint]).await?;

    // An observer needs no session, and never ends.
    let mut observer = Election::observer(&etcd, "examples/leader")?;
    let watching = tokio::spawn(async move {
        loop {
            match observer.next().await {
                Ok(Observation::Leader(leader)) => {
                    println!("leader: {} (rev {})", String::from_utf8_lossy(&leader.value), leader.rev);
                }
                Ok(Observation::NoLeader) => println!("no leader"),
                Err(error) => println!("cannot observe: {error}"),
            }
        }
    });

    let session = Session::builder(&etcd).ttl(Duration::from_secs(5)).open().await?;
    let leadership = Election::new(&session, "examples/leader")?.campaign(&me).await?;
    leadership.proclaim(format!("{me}, at work")).await?;
    tokio::select! {
        biased;
        () = leadership.lost() => println!("deposed"),
        () = tokio::time::sleep(Duration::from_secs(1)) => leadership.resign().await?,
    }
    session.close().await?;
    watching.abort();
    Ok(())
}
