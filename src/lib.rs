//! Distributed locks and leader election on etcd that say when they end.
//!
//! A lock or a leadership on etcd is a *tenure*: it is held for the term of a lease, and it can end without its holder
//! knowing. This crate has etcd's concurrency primitives ([`Mutex`], [`RwLock`], [`Election`], [`Locker`]) over a
//! [`Session`], with the keys and transactions of etcd's own recipes, so Go programs, `etcdctl lock` and `etcdctl elect`
//! contend on the same names. Beside them are a [`Semaphore`], a [`Counter`] and transactions over any keys ([`Stm`]).
//!
//! # What a lock on etcd can promise, and what it cannot
//!
//! - **In etcd, one holder at a time.** The line of contenders is ordered by etcd itself; a contender is granted only by
//!   the revision at which it is first *and* still in line.
//! - **At the holder, knowledge of the end, in time.** [`Tenure::is_held`] turns `false`, and [`Tenure::lost`] resolves,
//!   by the holder's own clock *before* etcd gives the lock to another, as long as that clock is not slower than etcd's by more than
//!   the session's [drift bound](SessionBuilder::drift_bound_ppm). (Who deletes keys or revokes leases by hand is beyond
//!   this.)
//! - **After a crash, release.** What a dead process held is free once its lease has run out.
//! - **Not: that nothing is done late.** Between looking at a clock and writing to a disk elsewhere, a process can be
//!   suspended for an hour. No lock service can prevent that write; only who receives it can, by its *fencing token*.
//!
//! - **Not: that etcd keeps every lease.** An etcd leader that stood still past the TTL of its leases may, as it goes on, revoke some
//!   that its successor has renewed (etcd 15247; much rarer since 3.4.31 and 3.5.13, seen on 3.7.2 all the same). The holder learns
//!   of it with its next renewal, or by a transaction that does not commit; the token holds.
//!
//! - **Not: that a proxy may send writes twice.** gRPC sends a request once, and what this crate repeats it makes safe to repeat. A
//!   proxy between it and etcd that retries by itself may do so with reads, renewals, revocations and releases. One that does with
//!   other writes can bring a contender back into line after it has left, with a key that nobody waits with: all behind
//!   it then wait until that session ends. Retries of writes are to be off there.
//!
//! # Fencing
//!
//! [`Tenure::fencing_token`] grows from holder to holder. Either let what the lock protects refuse any token lower than
//! the highest it has seen; or keep what it protects in etcd and write it with [`Tenure::txn`], which commits only while
//! the tenure lasts:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tenure::kv::{Op, Put};
//! use tenure::{Etcd, Mutex, Session};
//!
//! let etcd = Etcd::connect(["http://127.0.0.1:2379"]).await?;
//! let session = Session::builder(&etcd).ttl(Duration::from_secs(10)).open().await?;
//!
//! let guard = Mutex::new(&session, "reports/nightly")?.lock().await?;
//! guard.txn([Op::Put(Put::new("reports/latest", "2026-11-22"))]).await?; // nobody else's, or an error
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! For work outside etcd, race it against the loss, and send the token along:
//!
//! ```no_run
//! # async fn build_report(token: i64) -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
//! # async fn example(guard: tenure::MutexGuard) -> Result<(), Box<dyn std::error::Error>> {
//! tokio::select! {
//!     biased;
//!     () = guard.lost() => eprintln!("the lock may be someone else's by now"),
//!     built = build_report(guard.fencing_token()) => {
//!         built?;
//!         guard.release().await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Elections
//!
//! ```no_run
//! # async fn example(session: tenure::Session) -> Result<(), tenure::Error> {
//! use tenure::{Election, Observation};
//!
//! let election = Election::new(&session, "scheduler")?;
//! let leadership = election.campaign("10.0.0.7:4000").await?; // waits until elected
//! leadership.proclaim("10.0.0.7:4001").await?; // says a new value
//! leadership.resign().await?;
//!
//! let mut observer = election.observe(); // the present leader, then every change
//! while let Observation::NoLeader = observer.next().await? {}
//! # Ok(())
//! # }
//! ```
//!
//! # Read-write locks
//!
//! ```no_run
//! # async fn example(session: tenure::Session) -> Result<(), tenure::Error> {
//! use tenure::RwLock;
//!
//! let config = RwLock::new(&session, "config")?; // writers first; or RwLock::with_policy(.., Policy::Fifo)
//! let read = config.read().await?;
//! read.release().await?;
//! let write = config.write().await?;
//! write.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Barriers and queues
//!
//! [`Barrier`], [`DoubleBarrier`], [`Queue`] and [`PriorityQueue`] are on the keys of Go's recipes, too:
//!
//! ```no_run
//! # async fn example(session: tenure::Session) -> Result<(), tenure::Error> {
//! use tenure::Queue;
//!
//! let mails = Queue::new(&session, "mails")?;
//! mails.enqueue("to: anna").await?; // once, whatever answers are lost
//! let claim = mails.claim().await?; // nobody else's until it is acknowledged, or its consumer dies
//! println!("{:?}", claim.value());
//! claim.ack().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Sessions, and how many
//!
//! On etcd a session is one contender: two mutexes of one session and name are one lock. Here the second is refused
//! ([`Error::InUse`]) rather than granted beside the first. Any number of *different* names can be held through one
//! session; two tasks that are to exclude each other on one name take a session each.
//!
//! # Cancelling
//!
//! Any future may be dropped: a wait is withdrawn in the background, also when it is not known whether etcd has heard of it. Guards
//! release when dropped, in the background; `release().await` waits for etcd's word.
//!
//! # Other backends
//!
//! The primitives are written against the [`Backend`] trait and wait for nothing else: [`Etcd`] is the one for real
//! use, over gRPC and tokio; the `tenure-sim` crate runs the very same code against a simulated cluster, with crashes,
//! partitions and skewed clocks drawn from a seed.

mod backend;
mod election;
mod error;
mod etcd;
mod instant;
pub mod kv;
mod line;
mod locker;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
mod metrics;
mod mutex;
mod name;
mod recipes;
mod rwlock;
mod session;
mod sync;
mod tenure;
pub mod wire;

/// The primitives for plain threads: calls that block.
pub mod blocking {
    pub use crate::locker::blocking::Locker;
    pub use crate::recipes::blocking::{
        Barrier, BarrierHold, Claim, Counter, DoubleBarrier, Entered, Permit, PriorityQueue, Queue,
        Semaphore, Stm, Transaction,
    };
}

pub use backend::{
    Backend, CallError, Code, DeadlineExceeded, Refusal, Runtime, WatchMessage, WatchStream, within,
};
pub use election::{Election, Leader, Leadership, Observation, Observer};
pub use error::Error;
#[cfg(feature = "tls")]
pub use etcd::{Certificate, Identity, TlsOptions};
pub use etcd::{ConnectError, Etcd, EtcdBuilder, EtcdOptions, TokioRuntime, grpc_wire};
pub use instant::Instant;
pub use locker::{Locker, LockerOf};
pub use mutex::{Mutex, MutexGuard};
pub use recipes::{
    Barrier, BarrierHold, Claim, Committed, Counter, Departure, DoubleBarrier, Entered, Isolation, Permit,
    PriorityQueue, Queue, Semaphore, Stm, StmError, Transaction,
};
pub use rwlock::{Policy, ReadGuard, RwLock, WriteGuard};
pub use session::{Session, SessionBuilder};
pub use tenure::Tenure;
