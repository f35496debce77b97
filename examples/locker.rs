//! Code that takes any lock, and a plain thread that takes one.
//!
//!     cargo run --example locker -- http://127.0.0.1:2379

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an application: real tokio, real time"
)]

use std::process::ExitCode;

use tenure::{Etcd, Locker, Mutex, RwLock, Session, blocking};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("locker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());
    let etcd = Etcd::connect([endpoint]).await?;
    let session = Session::builder(&etcd).open().await?;
    let mutex = Mutex::new(&session, "examples/any")?;
    let rwlock = RwLock::new(&session, "examples/any-rw")?;

    let lockers: [Box<dyn Locker>; 3] =
        [Box::new(mutex.locker()), Box::new(rwlock.read_locker()), Box::new(rwlock.write_locker())];
    for locker in &lockers {
        under(locker.as_ref()).await?;
    }

    let plain = blocking::Locker::new(mutex.locker());
    let thread = std::thread::spawn(move || {
        plain.lock()?;
        println!("a plain thread holds token {:?}", plain.tenure().map(|tenure| tenure.fencing_token()));
        plain.unlock()
    });
    tokio::task::spawn_blocking(|| thread.join()).await?.map_err(|_| "the thread panicked")??;
    session.close().await?;
    Ok(())
}

/// Knows nothing of the kind of lock.
async fn under(locker: &dyn Locker) -> Result<(), tenure::Error> {
    locker.lock().await?;
    println!("holding {:?}", locker.tenure());
    locker.unlock().await
}
