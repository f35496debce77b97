//! The same scenarios on a real cluster: a plan's clients as processes of their own, its faults done to real servers,
//! and one history of it all for the same checkers. Real time, real processes; nothing that a simulation reaches.
//!
//! Everything runs on one machine, so that all processes read one clock (`CLOCK_BOOTTIME`); what cannot be known to the
//! nanosecond is judged only where it is certain (see `merge`).

mod clients;
mod clock;
mod commits;
mod errand;
mod faults;
mod merge;
mod process;
mod resource;
mod round;
mod watched;

pub use process::serve_errand;
pub use round::{JUDGED, Round, RoundOptions};
