//! The whole script: which behaviours are tried how often on one cluster.

use crate::cluster::TestCluster;
use crate::cut_off::Patience;
use crate::elections::{Loss, leader_lost};
use crate::log::Log;
use crate::{cut_off, leases, watches};

/// How often each script is played.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    /// Leaders killed under writes and watches.
    pub(crate) failovers: u32,
    /// Leaders stopped, and made deaf or mute.
    pub(crate) losses: u32,
    /// Leaders, and followers, cut off.
    pub(crate) cuts: u32,
    /// The same, until requests have timed out.
    pub(crate) long_cuts: u32,
    /// Watches cut off for a short while.
    pub(crate) short_cuts: u32,
    /// Leases whose leader is killed.
    pub(crate) orphans: u32,
    /// Leaders stopped for longer than their leases live.
    pub(crate) outlived: u32,
    /// Leases that nobody renews, a few each time.
    pub(crate) leases: u32,
}

/// Plays it.
pub(crate) async fn play(cluster: &mut impl TestCluster, rounds: Rounds, log: &mut Log) {
    for _ in 0..rounds.failovers {
        watches::across_failover(cluster, log).await;
    }
    for _ in 0..rounds.losses {
        for loss in [Loss::Pause, Loss::Deaf, Loss::Mute] {
            leader_lost(cluster, loss, log).await;
        }
    }
    for (count, patience) in [(rounds.cuts, Patience::Short), (rounds.long_cuts, Patience::Long)] {
        for _ in 0..count {
            cut_off::leader(cluster, patience, log).await;
            cut_off::follower(cluster, patience, log).await;
        }
    }
    for _ in 0..rounds.short_cuts {
        watches::across_short_cut(cluster, log).await;
    }
    for _ in 0..rounds.orphans {
        leases::orphaned(cluster, log).await;
    }
    for _ in 0..rounds.outlived {
        leases::outlived(cluster, log).await;
    }
    for _ in 0..rounds.leases {
        leases::not_renewed(cluster, log).await;
    }
}
