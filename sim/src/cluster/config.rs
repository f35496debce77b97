//! The settings of a simulated cluster and of its clients.

use serde::{Deserialize, Serialize};

use crate::store::EtcdVersion;

/// How the simulated etcd cluster is set up. All times are of the simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// How many members: 1, 3 or 5.
    pub members: u32,
    /// How many more servers there are that are no members yet: clients know their addresses, and a fault adds them.
    pub spares: u32,
    /// Which etcd's behaviour, where lines differ.
    pub version: EtcdVersion,
    /// etcd's `--heartbeat-interval`, in milliseconds.
    pub heartbeat_ms: u64,
    /// etcd's `--election-timeout`, in milliseconds.
    pub election_timeout_ms: u64,
    /// How clients talk to members.
    pub transport: Transport,
    /// How long a message between two members is under way, in microseconds.
    pub peer_delay_us: Span,
    /// How long a message between a client and a member is under way, in microseconds.
    pub client_delay_us: Span,
    /// How long a member takes to make an entry durable, in microseconds.
    pub disk_us: Span,
    /// At least so many applied entries stay in a leader's log, twice as many at most: etcd's `--snapshot-count` and
    /// `--snapshot-catchup-entries` in one.
    pub catch_up_entries: usize,
    /// Operations in one list of a transaction at most: etcd's `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// Bytes of one request at most: etcd's `--max-request-bytes`.
    pub max_request_bytes: usize,
    /// Bytes of a member's backend at most, 0 for no limit: etcd's `--quota-backend-bytes`.
    pub quota_bytes: u64,
    /// Clients are outside, behind sockets: what a link does to their bytes is done there, and here every message between a
    /// client and a member arrives at once.
    pub clients_outside: bool,
    /// A wrong behaviour, put in on purpose: a scenario's checks must find it.
    pub planted: Option<Planted>,
}

/// How clients talk to members; either way every message takes the same simulated link.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// In the library's own types.
    #[default]
    Direct,
    /// Through `etcd-client` and etcd's gRPC services, so that all that users ship is run; several times slower.
    Grpc,
}

/// Wrong behaviours of the cluster, to be chosen by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Planted {
    /// Members serve linearizable reads from their own state, without asking whether it is the newest.
    StaleReads,
    /// A watch that starts at a past revision misses that revision.
    WatchSkipsAtResume,
    /// A leader grants and renews leases for half their time to live.
    LeaseDiesEarly,
    /// A leader ends no lease that has run out.
    LeasesNeverExpire,
    /// Faults are recorded and do nothing.
    FaultsNeverFire,
    /// Followers reject whatever their leader appends, and it sends that again at once: round and round.
    AppendsNeverMatch,
}

/// Shortest and longest of something drawn uniformly between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Shortest.
    pub min: u64,
    /// Longest.
    pub max: u64,
}

impl Span {
    /// Whether there is nothing to draw: everything takes the same time.
    pub(crate) fn is_even(self) -> bool {
        self.min >= self.max
    }
}

impl From<[u64; 2]> for Span {
    fn from([min, max]: [u64; 2]) -> Self {
        Self { min, max }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            members: 3,
            spares: 0,
            version: EtcdVersion::default(),
            heartbeat_ms: 100,
            election_timeout_ms: 1_000,
            transport: Transport::Direct,
            peer_delay_us: Span { min: 100, max: 600 },
            client_delay_us: Span { min: 100, max: 800 },
            disk_us: Span { min: 50, max: 500 },
            catch_up_entries: 5_000,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            quota_bytes: 0,
            clients_outside: false,
            planted: None,
        }
    }
}

/// A client process's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// What its clock shows when the run starts, in milliseconds.
    pub clock_offset_ms: u64,
    /// How much faster (above 0) or slower (below 0) than true time it runs when no fault changes it, in parts of a million.
    pub drift_ppm: i64,
}
