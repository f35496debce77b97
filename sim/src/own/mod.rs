//! Your own service under seeds: code that uses `tenure`, run as several processes against the simulated etcd, with crashes,
//! partitions and pauses drawn from a seed, inside `cargo test` of its own crate.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tenure::{Election, Session};
//! use tenure_sim::{Context, Failed, Faults, RunView, Simulation};
//!
//! #[derive(Debug)]
//! struct Published { night: u64 }
//!
//! async fn nightly(context: Context) -> Result<(), tenure::Error> {
//!     let session = Session::builder(&context.etcd()).ttl(Duration::from_secs(3)).open().await?;
//!     let leader = Election::new(&session, "nightly")?.campaign(context.name()).await?;
//!     let _recorded = context.holds(&leader);
//!     context.record(Published { night: 1 });
//!     leader.resign().await
//! }
//!
//! # fn main() -> Result<(), Failed> {
//! Simulation::builder()
//!     .clients("worker", 3, nightly)
//!     .faults(Faults::swarm())
//!     .always("someone publishes", |run: &RunView<'_>| match run.events::<Published>().next() {
//!         Some(_) => Ok(()),
//!         None => Err(run.at_end("nobody published")),
//!     })
//!     .seeds(0..1000)
//!     .run()?;
//! # Ok(())
//! # }
//! ```
//!
//! What the crate has to set is in the [crate's documentation](crate#in-a-crate-of-your-own).

mod builder;
mod campaign;
mod client;
mod context;
mod environment;
mod failed;
mod invariant;
mod red;
mod regressions;
mod trial;
mod view;

pub use builder::{Faults, Simulation, SimulationBuilder};
pub use campaign::Report;
pub use client::Ends;
pub use context::{Context, Guard, Outside, Recorded};
pub use failed::Failed;
pub use invariant::Invariant;
pub use view::{RunView, Told};
