//! Runs plans: one on a thread of its own, or a campaign of many on all cores.

mod campaign;
mod capsule;
mod certificate;
mod execute;
mod judge;
mod kills;
mod limits;
mod marks;
mod merge;
mod operations;
mod phases;
mod quiet;
mod replayed;
mod shard;
mod stopwatch;
mod whole;

pub use campaign::{Campaign, CampaignOptions, Difference, Failure, Seen};
pub use capsule::Capsule;
pub use certificate::{Certificate, Check, Hunted, Versions};
pub(crate) use execute::{Clients, Started, changes, execute_with};
pub use execute::{Run, execute};
pub(crate) use judge::first_violation;
pub use judge::{SeedReport, Verdict, evidence, judge};
pub use kills::{Canary, Hunt, HuntOptions, Kill, hunt};
pub use limits::{Limits, Stopped};
pub use marks::{Judgement, MarkVerdict};
pub use merge::{Part, merge};
pub use operations::Operations;
pub use phases::Phases;
pub use quiet::keep_panics_quiet;
pub(crate) use quiet::words;
pub use replayed::{Outcome, Replayed};
pub use shard::Shard;
pub(crate) use stopwatch::Stopwatch;
pub(crate) use whole::{cut_off_or, write_whole};
