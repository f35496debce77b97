//! Takes a lock, works under it until done or lost, and gives it back.
//!
//!     cargo run --example mutex -- http://127.0.0.1:2379
//!
//! Run it in two terminals, and beside `etcdctl lock examples/report`: one at a time works.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an application: real tokio, real time"
)]

use std::process::ExitCode;
use std::time::Duration;

use tenure::kv::{Op, Put};
use tenure::{Etcd, Mutex, Session, Tenure};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutex: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());
    let etcd = Etcd::connect([endpoint]).await?;
    let session = Session::builder(&etcd).ttl(Duration::from_secs(10)).open().await?;

    println!("waiting for the lock");
    let guard = Mutex::new(&session, "examples/report")?.lock().await?;
    println!("holding it, fencing token {}", guard.fencing_token());

    tokio::select! {
        biased;
        () = guard.lost() => println!("lost: it may be somebody else's by now"),
        written = write_report(guard.tenure()) => {
            written?;
            guard.release().await?;
            println!("released");
        }
    }
    session.close().await?;
    Ok(())
}

/// What the lock protects is kept in etcd, so each write commits only while the lock is held: no former holder, however
/// late it wakes up, can write.
async fn write_report(tenure: Tenure) -> Result<(), tenure::Error> {
    for part in 1..=3 {
        let put = Put::new(
            format!("examples/parts/{part}"),
            format!("written under token {}", tenure.fencing_token()),
        );
        tenure.txn([Op::Put(put)]).await?;
        println!("part {part} written");
    }
    Ok(())
}
