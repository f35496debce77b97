//! A scenario: what is run, as written in a TOML file. The cluster, its clients, what they do, what goes wrong and
//! what must hold. A seed turns it into a plan.

mod load;
mod parse;
mod schema;
mod validate;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use load::{BUILT_IN, NEW, find, load, rates, rates_file, read};
pub(crate) use parse::{from_toml, wrong_at};
pub use schema::schema;
pub(crate) use validate::validate_own;

use crate::cluster::Transport;
use crate::store::min_lease_ttl_s;
use crate::workload::plain;
use crate::workload::program::PrimitiveKind;
use crate::workload::recipes;

/// A wish that cannot be met: one line that says where, which field, what is wrong and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// A range of numbers from the first to the last, both included: `[0, 250]`.
pub type Span = [u64; 2];

/// A scenario file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name by which it is run: the file's name without `.toml`.
    #[serde(default)]
    #[schemars(skip)]
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// Simulated seconds of a run, the calm end included.
    #[serde(default = "default_duration_s")]
    pub duration_s: u64,
    /// The last so many seconds are without faults.
    #[serde(default = "default_calm_s")]
    pub calm_s: u64,
    /// In the last so many seconds clients ask for nothing new, finish what they do and close.
    #[serde(default = "default_drain_s")]
    pub drain_s: u64,
    /// Once calm, every ask is answered within this time.
    #[serde(default = "default_progress_s")]
    pub progress_s: u64,
    /// Whether each seed draws its own cluster and clients, or all have those of the file.
    #[serde(default)]
    pub profile: Profile,
    /// Whether an invariant is expected to break.
    #[serde(default)]
    pub expect: Expect,
    /// The invariants that are checked, by name.
    pub invariants: Vec<String>,
    /// The coverage marks that a campaign must hit, if its size makes a miss improbable.
    #[serde(default)]
    pub coverage: Vec<String>,
    /// The simulated etcd.
    #[serde(default)]
    pub cluster: ClusterSpec,
    /// The processes that use it.
    pub clients: ClientSpec,
    /// What they do.
    pub workload: WorkloadSpec,
    /// What goes wrong.
    #[serde(default)]
    pub faults: FaultSpec,
}

/// Who decides on sizes, versions, times and clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The file: each seed has its cluster and clients, and at the end everything heals.
    #[default]
    Fixed,
    /// The seed: members, clients, names, sessions, times to live, timings, latencies, clocks and etcd's release are drawn,
    /// around what the file says. At the end of every other seed only a majority of the members heals, and some clients.
    Swarm,
}

impl Scenario {
    /// Lets clients talk to members in this way. Through gRPC `true-errors` is not judged: `etcd-client` sends each renewal
    /// twice, so when the library renewed, from which that invariant counts, is not what the members see.
    pub fn talk_by(&mut self, transport: Transport) {
        self.cluster.transport = transport;
        if transport == Transport::Grpc {
            self.invariants.retain(|name| name != "true-errors");
        }
    }
}

/// What a campaign of a scenario is expected to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Green: no invariant breaks.
    #[default]
    Pass,
    /// Red: an invariant breaks in some seed. For scenarios that show what does not work.
    Fail,
}

/// The simulated etcd cluster of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSpec {
    /// How many members: 1, 3 or 5.
    pub members: u32,
    /// How many more servers there are that are no members yet: clients know their addresses, and the fault `member-add`
    /// adds them.
    pub spares: u32,
    /// Which etcd they behave like: a version of the lines 3.4 to 3.7.
    pub version: String,
    /// The leader's heartbeat interval.
    pub heartbeat_ms: u64,
    /// After so long without a heartbeat a member stands for election.
    pub election_timeout_ms: u64,
    /// How clients talk to members: `direct`, or `grpc`.
    pub transport: Transport,
    /// A message between two members is under way so many microseconds.
    pub peer_delay_us: Span,
    /// A message between a client and a member is under way so many microseconds.
    pub client_delay_us: Span,
    /// A member takes so many microseconds to make an entry durable.
    pub disk_us: Span,
    /// The leader keeps at least so many applied entries of its log, and twice as many at most; a member that lacks older ones
    /// gets a snapshot (etcd's `--snapshot-count` and `--snapshot-catchup-entries`).
    pub catch_up_entries: u64,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            members: 3,
            spares: 0,
            version: "3.7".into(),
            heartbeat_ms: 100,
            election_timeout_ms: 1000,
            transport: Transport::Direct,
            peer_delay_us: [100, 600],
            client_delay_us: [100, 800],
            disk_us: [50, 500],
            catch_up_entries: 5_000,
        }
    }
}

/// The client processes of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// How many.
    pub count: u32,
    /// A session's time to live is drawn from this range.
    #[serde(default = "default_ttl_s")]
    pub ttl_s: Span,
    /// How many more clients observe an election and do nothing else.
    #[serde(default)]
    pub observers: u32,
    /// How many watches each client listens to, besides what else it does; for kind `etcd`.
    #[serde(default)]
    pub watches: u32,
    /// How many sessions each client has, each with a program of its own.
    #[serde(default = "default_sessions")]
    pub sessions: u32,
    /// Each clock starts at most this far ahead of true time.
    #[serde(default = "default_clock_offset_ms")]
    pub clock_offset_ms: u64,
    /// Each clock, the members' included, runs at most so many millionths fast or slow.
    #[serde(default = "default_drift_ppm")]
    pub drift_ppm: u64,
    /// The drift between its own clock and the server's that a session allows for, in millionths.
    #[serde(default = "default_drift_bound_ppm")]
    pub drift_bound_ppm: u64,
}

/// What the clients of a scenario do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Which kind of program: see [`KINDS`].
    pub kind: String,
    /// How many different names are contended for; for kind `etcd`, how many registers there are.
    #[serde(default = "default_names")]
    pub names: u32,
    /// Clients wait so long between two operations.
    #[serde(default = "default_think_ms")]
    pub think_ms: Span,
    /// Each call is given a deadline of so long; for kind `etcd`.
    #[serde(default = "default_patience_ms")]
    pub patience_ms: Span,
    /// They hold so long.
    #[serde(default = "default_hold_ms")]
    pub hold_ms: Span,
    /// A write to the remote resource is under way so long.
    #[serde(default = "default_write_ms")]
    pub write_ms: Span,
    /// Whether writes to the remote resource carry the fencing token.
    #[serde(default = "default_fenced")]
    pub fenced: bool,
    /// The operations with their weights; 0 is never.
    pub operations: BTreeMap<String, f64>,
    /// How a tenure ends, with weights; 0 is never.
    #[serde(default = "default_endings")]
    pub endings: BTreeMap<String, f64>,
    /// How likely, from 0 to 1, the habits are that clients can have: see [`HABITS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub habits: BTreeMap<String, f64>,
}

impl WorkloadSpec {
    /// How likely a habit is.
    pub fn habit(&self, name: &str) -> f64 {
        self.habits.get(name).copied().unwrap_or(0.0)
    }
}

/// What goes wrong in a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultSpec {
    /// The time between the beginnings of two faults.
    pub gap_ms: Span,
    /// How long a fault lasts.
    pub lasting_ms: Span,
    /// The faults by name with their weights; 0 is never. A seed draws a random subset of them, each with a
    /// random share of its weight.
    pub weights: BTreeMap<String, f64>,
}

impl Default for FaultSpec {
    fn default() -> Self {
        Self { gap_ms: [300, 4000], lasting_ms: [100, 9000], weights: BTreeMap::new() }
    }
}

/// A kind of program: its name, and what a scenario of it can weigh.
#[derive(Clone, Copy, Debug)]
pub struct ProgramKind {
    /// As a scenario names it.
    pub name: &'static str,
    /// The primitives that it uses.
    pub primitives: &'static [PrimitiveKind],
    /// The operations of etcd itself that it does.
    pub plain: &'static [&'static str],
    /// The operations of recipes that it does.
    pub recipes: &'static [&'static str],
}

impl ProgramKind {
    /// The names of its operations.
    pub fn operations(&self) -> Vec<&'static str> {
        let own = OPERATIONS.iter().filter(|operation| self.primitives.contains(&operation.primitive));
        own.map(|operation| operation.name).chain(self.plain.iter().chain(self.recipes).copied()).collect()
    }
}

const READ_WRITE: &[PrimitiveKind] =
    &[PrimitiveKind::Read, PrimitiveKind::Write, PrimitiveKind::ReadInTurn, PrimitiveKind::WriteInTurn];

const ALL: &[PrimitiveKind] = &[
    PrimitiveKind::Mutex,
    PrimitiveKind::Election,
    PrimitiveKind::Read,
    PrimitiveKind::Write,
    PrimitiveKind::ReadInTurn,
    PrimitiveKind::WriteInTurn,
];

/// The programs there are.
pub const KINDS: &[ProgramKind] = &[
    of_primitives("mutex", &[PrimitiveKind::Mutex]),
    of_primitives("election", &[PrimitiveKind::Election]),
    of_primitives("rwlock", READ_WRITE),
    of_primitives("mixed", ALL),
    of_primitives("semaphore", &[PrimitiveKind::Semaphore]),
    ProgramKind { name: ETCD, primitives: &[], plain: plain::program::OPERATIONS, recipes: &[] },
    of_recipes("queue", recipes::program::QUEUE_OPERATIONS),
    of_recipes("barrier", recipes::program::BARRIER_OPERATIONS),
    of_recipes("stm", recipes::program::STM_OPERATIONS),
];

/// The kind of program that uses etcd itself.
const ETCD: &str = "etcd";

const fn of_primitives(name: &'static str, primitives: &'static [PrimitiveKind]) -> ProgramKind {
    ProgramKind { name, primitives, plain: &[], recipes: &[] }
}

const fn of_recipes(name: &'static str, recipes: &'static [&'static str]) -> ProgramKind {
    ProgramKind { name, primitives: &[], plain: &[], recipes }
}

/// An operation that a scenario can weigh.
#[derive(Clone, Copy, Debug)]
pub struct OperationKind {
    /// As a scenario names it.
    pub name: &'static str,
    /// Of which primitive.
    pub primitive: PrimitiveKind,
    /// How it waits.
    pub waits: Waits,
}

/// The ways to wait that an operation can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// As long as it takes.
    Forever,
    /// Not at all.
    Not,
    /// With a time limit.
    Timeout,
    /// Until it is cancelled.
    Cancelled,
}

const fn operation(name: &'static str, primitive: PrimitiveKind, waits: Waits) -> OperationKind {
    OperationKind { name, primitive, waits }
}

/// The operations there are.
pub const OPERATIONS: &[OperationKind] = &[
    operation("lock", PrimitiveKind::Mutex, Waits::Forever),
    operation("try-lock", PrimitiveKind::Mutex, Waits::Not),
    operation("lock-timeout", PrimitiveKind::Mutex, Waits::Timeout),
    operation("cancel-lock", PrimitiveKind::Mutex, Waits::Cancelled),
    operation("campaign", PrimitiveKind::Election, Waits::Forever),
    operation("try-campaign", PrimitiveKind::Election, Waits::Not),
    operation("campaign-timeout", PrimitiveKind::Election, Waits::Timeout),
    operation("cancel-campaign", PrimitiveKind::Election, Waits::Cancelled),
    operation("read", PrimitiveKind::Read, Waits::Forever),
    operation("try-read", PrimitiveKind::Read, Waits::Not),
    operation("read-timeout", PrimitiveKind::Read, Waits::Timeout),
    operation("cancel-read", PrimitiveKind::Read, Waits::Cancelled),
    operation("write", PrimitiveKind::Write, Waits::Forever),
    operation("try-write", PrimitiveKind::Write, Waits::Not),
    operation("write-timeout", PrimitiveKind::Write, Waits::Timeout),
    operation("cancel-write", PrimitiveKind::Write, Waits::Cancelled),
    operation("read-in-turn", PrimitiveKind::ReadInTurn, Waits::Forever),
    operation("try-read-in-turn", PrimitiveKind::ReadInTurn, Waits::Not),
    operation("read-in-turn-timeout", PrimitiveKind::ReadInTurn, Waits::Timeout),
    operation("cancel-read-in-turn", PrimitiveKind::ReadInTurn, Waits::Cancelled),
    operation("write-in-turn", PrimitiveKind::WriteInTurn, Waits::Forever),
    operation("try-write-in-turn", PrimitiveKind::WriteInTurn, Waits::Not),
    operation("write-in-turn-timeout", PrimitiveKind::WriteInTurn, Waits::Timeout),
    operation("cancel-write-in-turn", PrimitiveKind::WriteInTurn, Waits::Cancelled),
    operation("acquire", PrimitiveKind::Semaphore, Waits::Forever),
    operation("try-acquire", PrimitiveKind::Semaphore, Waits::Not),
    operation("acquire-timeout", PrimitiveKind::Semaphore, Waits::Timeout),
    operation("cancel-acquire", PrimitiveKind::Semaphore, Waits::Cancelled),
];

/// The ways in which a tenure can end.
pub const ENDINGS: &[&str] =
    &["release", "drop", "close-session", "cancel-release", "cancel-close", "drop-session", "hand-over"];

/// What clients can be in the habit of, each with what its chance is counted by.
pub const HABITS: &[(&str, &str)] = &[
    ("ask-leader", "of a candidature: the candidate asks first who leads"),
    ("crowd", "of a seed: a dozen sessions and more contend for one name"),
    ("last", "of a tenure: a process that is restarted goes on with its lease and what it held"),
    ("locker", "of a lock that waits for as long as it takes: through its Locker"),
    (
        "operator",
        "of a tenure: somebody deletes the key, or revokes the lease, of its holder or of the next in line",
    ),
    ("share-session", "of a client: one more program, which uses the session of another"),
    ("stand-again", "of a leadership: the leader stands for election once more"),
];

impl Scenario {
    /// When the last fault is healed, in milliseconds since the start.
    pub fn calm_at_ms(&self) -> u64 {
        self.duration_s.saturating_sub(self.calm_s) * 1000
    }

    /// How long a lease can live that nobody renews: its time to live, or the least that etcd grants, and what a new
    /// leader adds.
    pub fn longest_lease_ms(&self) -> u64 {
        let least_s = min_lease_ttl_s(self.cluster.election_timeout_ms).unsigned_abs();
        self.clients.ttl_s[1].max(least_s) * 1_000 + self.cluster.election_timeout_ms
    }

    /// Whether its clients use etcd itself, and no primitive.
    pub fn uses_etcd_itself(&self) -> bool {
        self.workload.kind == ETCD
    }

    /// Whether its clients use recipes, which give no tenures.
    pub fn uses_recipes(&self) -> bool {
        KINDS.iter().any(|kind| kind.name == self.workload.kind && !kind.recipes.is_empty())
    }

    /// When clients stop asking, in milliseconds since the start.
    pub fn drain_at_ms(&self) -> u64 {
        self.duration_s.saturating_sub(self.drain_s) * 1000
    }
}

fn default_duration_s() -> u64 {
    60
}

fn default_calm_s() -> u64 {
    25
}

fn default_drain_s() -> u64 {
    12
}

fn default_progress_s() -> u64 {
    12
}

fn default_ttl_s() -> Span {
    [2, 5]
}

fn default_sessions() -> u32 {
    1
}

fn default_clock_offset_ms() -> u64 {
    3_600_000
}

fn default_drift_ppm() -> u64 {
    200
}

fn default_drift_bound_ppm() -> u64 {
    1000
}

fn default_names() -> u32 {
    2
}

fn default_think_ms() -> Span {
    [0, 500]
}

fn default_patience_ms() -> Span {
    [300, 6000]
}

fn default_hold_ms() -> Span {
    [0, 200]
}

fn default_write_ms() -> Span {
    [1, 300]
}

fn default_fenced() -> bool {
    true
}

fn default_endings() -> BTreeMap<String, f64> {
    BTreeMap::from([("release".to_owned(), 1.0)])
}
