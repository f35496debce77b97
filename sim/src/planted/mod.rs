//! Planted bugs: faults of real lock libraries, built here and never in the library, and faults of a cluster, to show that
//! each is caught by the invariant that names it.

mod barriers;
mod canary;
mod deaf;
mod election;
mod explored;
mod harness;
mod met;
mod old_reads;
mod permits;
mod readers;
mod recipes;
mod sends_again;
mod silent;
mod transactions;
mod unlock;
mod wrong_lock;

use std::sync::Arc;

use tenure::wire::Wire;
use tenure::{Backend, EtcdOptions};

use crate::cluster;
use crate::workload::decorate::decorated;
use crate::workload::primitive::Primitive;
use crate::workload::program::PrimitiveKind;
use wrong_lock::{Flaw, wrong_lock};

pub use canary::{CANARIES, Canary};
pub(crate) use canary::{idle, refusing};
pub use explored::EXPLORED;
pub use harness::HARNESS;
pub use met::{Answer, MET, Met};
pub(crate) use recipes::is_receipt;

/// What a planted bug does to the backend.
pub type Decorate = fn(Arc<dyn Backend>) -> Arc<dyn Backend>;

/// What a planted bug does to a connection to a member.
pub type DecorateWire = fn(Arc<dyn Wire>) -> Arc<dyn Wire>;

/// What a planted bug does to the settings of the library's own backend.
pub type ChangeOptions = fn(EtcdOptions) -> EtcdOptions;

/// The primitive that a planted bug puts in the library's place, if it has one of that kind.
pub type WrongPrimitive = fn(PrimitiveKind) -> Option<Box<dyn Primitive>>;

/// One planted bug.
#[derive(Debug)]
pub struct Planted {
    /// As `--planted` names it.
    pub name: &'static str,
    /// What is wrong, and where it was seen.
    pub about: &'static str,
    /// The scenario that catches it.
    pub scenario: &'static str,
    /// The invariant that must catch it.
    pub invariant: &'static str,
    /// What is done.
    pub bug: Bug,
}

/// Where a bug is planted.
#[derive(Clone, Copy, Debug)]
pub enum Bug {
    /// In what the primitives have for a backend.
    Backend(Decorate),
    /// In the place of the library's primitives.
    Primitive(WrongPrimitive),
    /// In the settings of the library's own backend.
    Options(ChangeOptions),
    /// Below the library's backend.
    Wire(DecorateWire),
    /// In the cluster.
    Cluster(cluster::Planted),
    /// Everywhere: whatever is asked is refused.
    DoesNothing,
}

impl Planted {
    const fn new(
        name: &'static str,
        about: &'static str,
        (scenario, invariant): (&'static str, &'static str),
        bug: Bug,
    ) -> Self {
        Self { name, about, scenario, invariant, bug }
    }

    const fn backend(
        name: &'static str,
        about: &'static str,
        caught: (&'static str, &'static str),
        decorate: Decorate,
    ) -> Self {
        Self::new(name, about, caught, Bug::Backend(decorate))
    }

    const fn primitive(
        name: &'static str,
        about: &'static str,
        caught: (&'static str, &'static str),
        wrong: WrongPrimitive,
    ) -> Self {
        Self::new(name, about, caught, Bug::Primitive(wrong))
    }

    /// Whether the bug is in the harness: the library is as it is, and so owes what it owes.
    pub fn is_in_harness(&self) -> bool {
        HARNESS.iter().any(|planted| planted.name == self.name)
    }

    /// The cluster as the bug has it.
    pub fn cluster(&self) -> Option<cluster::Planted> {
        match self.bug {
            Bug::Cluster(wrong) => Some(wrong),
            _ => None,
        }
    }
}

/// Every planted bug.
pub const PLANTED: &[Planted] = &[
    Planted::primitive(
        "no-own-key-check",
        "a waiter whose key is gone is granted when those before it are gone (etcd 11456)",
        ("mutex", "fifo"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::NoOwnKeyCheck)),
    ),
    Planted::backend(
        "unlock-by-name",
        "an unlock deletes whatever has its key, and its retry a newer hold (etcd 22082)",
        ("mutex", "mutual-exclusion"),
        decorated::<unlock::UnlockByName>,
    ),
    Planted::backend(
        "deaf-to-expiry",
        "a holder is never told that its lease has run out (etcd 6127)",
        ("mutex", "mutual-exclusion"),
        decorated::<deaf::DeafToExpiry>,
    ),
    Planted::primitive(
        "first-key-wins-late",
        "a waiter is granted when any key of its line goes, without a look at who is before it",
        ("mutex", "mutual-exclusion"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::FirstKeyWinsLate)),
    ),
    Planted::primitive(
        "is-owner-while-queued",
        "a contender counts as the holder as soon as it is in line (etcd 12017)",
        ("mutex", "fencing"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::OwnerWhileQueued)),
    ),
    Planted::primitive(
        "blind-to-own-expiry",
        "a waiter does not look whether its own session lives until those before it are gone (etcd 19597)",
        ("mutex", "progress"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::BlindToOwnExpiry)),
    ),
    Planted::primitive(
        "token-is-the-lease",
        "the fencing token does not grow from holder to holder: it is the lease (etcd 11457)",
        ("mutex", "fencing"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::TokenIsTheLease)),
    ),
    Planted::primitive(
        "names-overlap",
        "keys follow a name without a slash, so one name is a prefix of another's (etcd 6278)",
        ("mutex", "progress"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::NamesOverlap)),
    ),
    Planted::backend(
        "opening-hangs",
        "a session whose lease's answer was lost is never opened, and never refused (etcd 6681, 14631)",
        ("mutex", "floor"),
        decorated::<silent::OpeningHangs>,
    ),
    Planted::new(
        "hangs-on-silent-member",
        "a watch on a member that says nothing is waited on for ever (etcd 8980, 12534, 14641)",
        ("mutex", "progress"),
        Bug::Options(silent::never_asks),
    ),
    Planted::primitive(
        "asks-again-and-again",
        "a waiter asks again and again who is before it, where it could be told",
        ("mutex", "no-polling"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::Polls)),
    ),
    Planted::primitive(
        "zombie-after-compaction",
        "a compaction during the wait is an error that leaves the key in line (etcd 21128)",
        ("mutex", "progress"),
        |kind| (kind == PrimitiveKind::Mutex).then(|| wrong_lock(Flaw::ZombieAfterCompaction)),
    ),
    Planted::primitive(
        "campaign-after-expiry",
        "a candidate whose lease has run out is elected (etcd 11051)",
        ("election", "single-leader"),
        |kind| (kind == PrimitiveKind::Election).then(|| wrong_lock(Flaw::NoOwnKeyCheck)),
    ),
    Planted::backend(
        "resign-forgets",
        "a resignation that failed counts as done and is not retried (etcd 22123)",
        ("election", "no-residue"),
        decorated::<unlock::ResignForgets>,
    ),
    Planted::backend(
        "stale-proclaim",
        "a proclamation writes without a look at what it replaces, and its retry over a newer one",
        ("election", "observe-order"),
        decorated::<election::StaleProclaim>,
    ),
    Planted::backend(
        "observe-stale-first",
        "an observer begins with a leader that had resigned before (etcd 18163)",
        ("election", "observe-order"),
        decorated::<old_reads::OldReads>,
    ),
    Planted::backend(
        "observe-skips-last",
        "an observer is told of a change only when the next one comes",
        ("election", "observe-order"),
        decorated::<election::ObserveSkipsLast>,
    ),
    Planted::backend(
        "observe-never-no-leader",
        "an observer is not told that nobody leads, until somebody does again (trillian 1387)",
        ("election", "observe-order"),
        decorated::<silent::ObserveNeverNoLeader>,
    ),
    Planted::primitive(
        "writer-without-key",
        "a waiting writer whose key is gone is granted when those before it are gone (etcd 16221)",
        ("rwlock", "mutual-exclusion"),
        |kind| (kind == PrimitiveKind::Write).then(|| wrong_lock(Flaw::WriterWithoutKey)),
    ),
    Planted::backend(
        "reader-overtakes",
        "readers look only whether a writer holds, not whether one waits",
        ("rwlock", "writer-priority"),
        decorated::<readers::ReaderOvertakes>,
    ),
    Planted::backend(
        "reader-beside-writer",
        "readers do not look for writers at all",
        ("rwlock", "mutual-exclusion"),
        decorated::<readers::ReaderBesideWriter>,
    ),
    Planted::backend(
        "one-permit-too-many",
        "who comes to a semaphore does not count the oldest of those before it",
        ("semaphore", "at-most-k"),
        decorated::<permits::OnePermitTooMany>,
    ),
    Planted::new(
        "sends-writes-again",
        "a write whose answer was lost with its connection is sent again, or told as not applied",
        ("etcd", "true-answers"),
        Bug::Wire(sends_again::sends_writes_again),
    ),
    Planted::new(
        "stale-reads",
        "members answer linearizable reads without asking whether what they have is the newest",
        ("etcd", "linearizable"),
        Bug::Cluster(cluster::Planted::StaleReads),
    ),
    Planted::new(
        "watch-skips-at-resume",
        "a watch that begins at a past revision misses that revision",
        ("etcd", "watch-guarantees"),
        Bug::Cluster(cluster::Planted::WatchSkipsAtResume),
    ),
    Planted::new(
        "lease-dies-early",
        "a leader gives leases half of their time to live",
        ("etcd", "lease-life"),
        Bug::Cluster(cluster::Planted::LeaseDiesEarly),
    ),
    Planted::backend(
        "without-receipts",
        "a write to a queue whose answer was lost is made once more, without a look at its receipt",
        ("queue", "exactly-once"),
        decorated::<recipes::WithoutReceipts>,
    ),
    Planted::backend(
        "taken-by-name",
        "who takes an item deletes its key without a look whether it is there still",
        ("queue", "exactly-once"),
        decorated::<recipes::TakenByName>,
    ),
    Planted::backend(
        "newest-first",
        "of the items of a queue the one that came last is taken first",
        ("queue", "exactly-once"),
        decorated::<recipes::NewestFirst>,
    ),
    Planted::backend(
        "by-existence",
        "a transaction commits if what it read is there, whoever wrote it since",
        ("stm", "isolation"),
        decorated::<transactions::ByExistence>,
    ),
    Planted::backend(
        "made-again",
        "a transaction whose answer was lost takes what it wrote for another's, and is made again",
        ("stm", "applied"),
        decorated::<transactions::MadeAgain>,
    ),
    Planted::backend(
        "stale-look",
        "who comes to a barrier takes any member's word that nobody holds it",
        ("barrier", "barrier"),
        decorated::<old_reads::OldReads>,
    ),
    Planted::backend(
        "late-client",
        "a double barrier is entered and opened while a round is on (etcd 14603)",
        ("barrier", "double-barrier"),
        decorated::<barriers::LateClient>,
    ),
];

/// Finds a planted bug, of a library or of the harness, or a canary, by its name.
pub fn find(name: &str) -> Option<&'static Planted> {
    let canaries = CANARIES.iter().map(|canary| &canary.bug);
    PLANTED.iter().chain(EXPLORED).chain(HARNESS).chain(canaries).find(|planted| planted.name == name)
}
