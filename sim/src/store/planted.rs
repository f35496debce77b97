//! Wrong behaviours of the simulated store, to be chosen by name: the conformance check must find each of them.

use serde::{Deserialize, Serialize};

/// A difference from etcd that is put into the store on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Planted {
    /// A transaction that deletes what is not there advances the revision.
    TxnCountsNothing,
    /// A nested transaction's conditions see what earlier operations of the outer one wrote.
    TxnNestedSeesWrites,
    /// A range's count heeds its limit.
    RangeCountLimited,
    /// A key that is put without its former lease stays attached to it.
    LeaseKeepsFormerKeys,
    /// A watch from a past revision leaves out the first revision that it asked for.
    WatchSkipsFirst,
    /// The revision that is compacted to is not readable any more.
    CompactionTakesOneMore,
}
