//! Bugs planted in the harness itself: a cluster that is kinder than etcd, faults that never fire, a loop. A campaign must notice
//! each, by an invariant, by the coverage marks that are never hit, or by the bound on what happens in a run.

use super::{Bug, Planted};
use crate::cluster;

/// Every bug that is planted in the harness.
pub const HARNESS: &[Planted] = &[
    Planted::new(
        "leases-never-expire",
        "the simulated etcd ends no lease that has run out",
        ("mutex", "progress"),
        Bug::Cluster(cluster::Planted::LeasesNeverExpire),
    ),
    Planted::new(
        "faults-never-fire",
        "faults are recorded and do nothing",
        ("mutex", "coverage"),
        Bug::Cluster(cluster::Planted::FaultsNeverFire),
    ),
    Planted::new(
        "appends-never-match",
        "a leader and its followers go round and round with what it appends, and the run with them",
        ("mutex", "bound of events"),
        Bug::Cluster(cluster::Planted::AppendsNeverMatch),
    ),
];
