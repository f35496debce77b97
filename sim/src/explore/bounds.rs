//! What is to be explored: which processes there are, what each does, and how much may go wrong. A file in
//! `scenarios/explore/` says it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::check;
use crate::scenario::{BadInput, from_toml, wrong_at};
use crate::workload::recipes::program::Level;

/// A space of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// What it is called: its file's name.
    #[serde(default)]
    pub name: String,
    /// What it is for, in a line.
    pub about: String,
    /// What must hold in each of its runs; `ends` always must.
    pub invariants: Vec<String>,
    /// The invariant that is known to break within these bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<String>,
    /// The processes.
    #[serde(rename = "process")]
    pub processes: Vec<Role>,
    /// How much may go wrong.
    #[serde(default)]
    pub bounds: Bounds,
}

/// What one process, or several alike, do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// How many processes do this.
    #[serde(default = "one")]
    pub count: u32,
    /// What they do.
    pub does: Does,
    /// The lock, election or recipe that they do it with.
    #[serde(default = "default_name")]
    pub name: String,
    /// How often.
    #[serde(default = "one")]
    pub rounds: u32,
    /// How a read-write lock is shared.
    #[serde(default)]
    pub policy: Policy,
    /// How a holder gives back, and a member of a double barrier leaves.
    #[serde(default)]
    pub ending: Ending,
    /// Whether a holder makes a transaction that is to commit only while it holds.
    #[serde(default)]
    pub guarded_txn: bool,
    /// How many values a leader says after its first.
    #[serde(default)]
    pub proclaims: u32,
    /// Whether a queue has priorities. Then each item of a producer is to be taken before those that it enqueued earlier.
    #[serde(default)]
    pub ranked: bool,
    /// For how many members a double barrier is.
    #[serde(default = "two")]
    pub members: u32,
    /// At which level of isolation a transaction is run.
    #[serde(default = "strictest")]
    pub isolation: Level,
    /// What becomes of its session when it has done all.
    #[serde(default)]
    pub after: After,
    /// Whether the opening of its session is explored, too. Else everybody has one from the start.
    #[serde(default)]
    pub opens: bool,
    /// Whether it may be one of those that crash.
    #[serde(default = "yes")]
    pub may_crash: bool,
    /// Whether its session may be one of those that run out.
    #[serde(default = "yes")]
    pub may_expire: bool,
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn strictest() -> Level {
    Level::SerializableSnapshot
}

/// The lock, election or recipe that a process uses, unless it is told another.
pub(super) const CONTENDED: &str = "l";

fn default_name() -> String {
    CONTENDED.to_owned()
}

fn yes() -> bool {
    true
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// `Mutex::lock`
    Lock,
    /// `Mutex::try_lock`
    TryLock,
    /// `RwLock::read`
    Read,
    /// `RwLock::write`
    Write,
    /// `Semaphore::acquire`
    Acquire,
    /// `Election::campaign`
    Campaign,
    /// Once the first process has crashed or ended, takes over its session and `Election::resume`s its leadership.
    Resume,
    /// Once the first process has crashed or ended, takes over its session and `Mutex::lock`s by the key that it may have left.
    Relock,
    /// `Election::observer`
    Observe,
    /// `Queue::enqueue`
    Enqueue,
    /// `Queue::dequeue`
    Dequeue,
    /// `Queue::claim`, and `Claim::ack`; with `guarded_txn`, `Claim::ack_with`. Who drops gives the item back.
    Claim,
    /// `Barrier::hold`
    Hold,
    /// `Barrier::hold_for_good`
    HoldForGood,
    /// `Barrier::release`
    ReleaseBarrier,
    /// `Barrier::wait`
    Pass,
    /// `DoubleBarrier::enter`, and `Entered::leave`
    Enter,
    /// `Stm::run`: an amount is moved between the two accounts of a bank, by some one way and by others the other.
    Transfer,
    /// `Stm::run`: all accounts of a bank are read.
    Audit,
    /// `Counter::add`
    Add,
}

/// As `tenure::Policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Writers before readers.
    #[default]
    WritersFirst,
    /// In order of arrival.
    Fifo,
}

impl Does {
    /// Whether it uses a recipe, and contends for no tenure.
    pub(super) fn is_of_recipe(self) -> bool {
        self.kind().is_none()
    }

    /// Whether it begins when the first process has crashed, with that one's session.
    pub(super) fn takes_over(self) -> bool {
        matches!(self, Self::Resume | Self::Relock)
    }
}

impl From<Policy> for tenure::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::WritersFirst => Self::WritersFirst,
            Policy::Fifo => Self::Fifo,
        }
    }
}

/// How a holder gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It releases, and waits for etcd's word.
    #[default]
    Release,
    /// It drops the guard.
    Drop,
    /// Not at all: it holds to the end of the run.
    Keep,
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    /// It is closed.
    #[default]
    Close,
    /// It is orphaned: its lease is left for another process, or to run out.
    Orphan,
    /// It stays open to the end of the run.
    Stay,
}

/// How often at most each thing happens in a run that need not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// A process dies.
    pub crashes: u8,
    /// A request is applied and its answer lost.
    pub lost_answers: u8,
    /// A request is not applied, and its client told so.
    pub not_applied: u8,
    /// A request is applied when its client has given it up, or never.
    pub late_requests: u8,
    /// A session's time runs out though its process lives.
    pub expiries: u8,
    /// A process stands still while its lease runs out.
    pub pauses: u8,
    /// A session's time comes to be renewed.
    pub renewals: u8,
    /// A watch breaks, and resumes later.
    pub breaks: u8,
    /// A sleep of up to a second ends while something else is under way that nothing holds up. Any number end when nothing is.
    pub early_timers: u8,
    /// A wait, or a release, is dropped.
    pub cancels: u8,
    /// The store is compacted to its newest revision.
    pub compactions: u8,
    /// A serializable read is answered by a member that lags a write behind.
    pub lags: u8,
    /// Somebody revokes the lease of a process that waits and is not first in line, as a deposed leader of etcd did (etcd 15247).
    pub revocations: u8,
}

impl Bounds {
    /// The place of `late_requests` among [`Bounds::each`].
    pub(super) const LATE: u64 = 3;

    /// Each of them.
    pub(super) fn each(&self) -> [u8; 13] {
        // Every field, so that a new one is thought of here.
        let Self {
            crashes,
            lost_answers,
            not_applied,
            late_requests,
            expiries,
            pauses,
            renewals,
            breaks,
            early_timers,
            cancels,
            compactions,
            lags,
            revocations,
        } = *self;
        [
            crashes,
            lost_answers,
            not_applied,
            late_requests,
            expiries,
            pauses,
            renewals,
            breaks,
            early_timers,
            cancels,
            compactions,
            lags,
            revocations,
        ]
    }
}

/// The spaces that come with the command, in the order in which they are listed and explored.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("mutex-2x1", include_str!("../../scenarios/explore/mutex-2x1.toml")),
    ("mutex-2x1-crash", include_str!("../../scenarios/explore/mutex-2x1-crash.toml")),
    ("mutex-2x2-drop", include_str!("../../scenarios/explore/mutex-2x2-drop.toml")),
    ("mutex-2x2-late", include_str!("../../scenarios/explore/mutex-2x2-late.toml")),
    ("rwlock-1r1w-crash", include_str!("../../scenarios/explore/rwlock-1r1w-crash.toml")),
    ("election-2-observer", include_str!("../../scenarios/explore/election-2-observer.toml")),
    ("mutex-2-renewal-expiry", include_str!("../../scenarios/explore/mutex-2-renewal-expiry.toml")),
    ("mutex-2-compaction", include_str!("../../scenarios/explore/mutex-2-compaction.toml")),
    ("election-2-expiry-lost", include_str!("../../scenarios/explore/election-2-expiry-lost.toml")),
    ("mutex-2-expiry-lost-late", include_str!("../../scenarios/explore/mutex-2-expiry-lost-late.toml")),
    ("mutex-2-compaction-stay", include_str!("../../scenarios/explore/mutex-2-compaction-stay.toml")),
    ("mutex-2-revoked", include_str!("../../scenarios/explore/mutex-2-revoked.toml")),
    ("mutex-2-late-stay", include_str!("../../scenarios/explore/mutex-2-late-stay.toml")),
    ("mutex-kept-expiry", include_str!("../../scenarios/explore/mutex-kept-expiry.toml")),
    ("mutex-names", include_str!("../../scenarios/explore/mutex-names.toml")),
    ("semaphore-3-crash", include_str!("../../scenarios/explore/semaphore-3-crash.toml")),
    ("session-opening", include_str!("../../scenarios/explore/session-opening.toml")),
    ("election-1-observer-lost", include_str!("../../scenarios/explore/election-1-observer-lost.toml")),
    ("election-1-observer-lag", include_str!("../../scenarios/explore/election-1-observer-lag.toml")),
    ("mutex-3-cancel-break", include_str!("../../scenarios/explore/mutex-3-cancel-break.toml")),
    ("rwlock-2r1w-expiry", include_str!("../../scenarios/explore/rwlock-2r1w-expiry.toml")),
    ("mutex-relocked", include_str!("../../scenarios/explore/mutex-relocked.toml")),
    ("election-resumed", include_str!("../../scenarios/explore/election-resumed.toml")),
    ("rwlock-2r2w-crash", include_str!("../../scenarios/explore/rwlock-2r2w-crash.toml")),
    ("rwlock-2r2w-fifo-crash", include_str!("../../scenarios/explore/rwlock-2r2w-fifo-crash.toml")),
    ("mutex-3x2-crash", include_str!("../../scenarios/explore/mutex-3x2-crash.toml")),
    ("election-3-observer-crash", include_str!("../../scenarios/explore/election-3-observer-crash.toml")),
    ("barrier-again", include_str!("../../scenarios/explore/barrier-again.toml")),
    ("stm-2x2", include_str!("../../scenarios/explore/stm-2x2.toml")),
    ("stm-audit", include_str!("../../scenarios/explore/stm-audit.toml")),
    ("priority-queue-lost", include_str!("../../scenarios/explore/priority-queue-lost.toml")),
    ("stm-2-lost-late", include_str!("../../scenarios/explore/stm-2-lost-late.toml")),
    ("double-barrier-2-crash", include_str!("../../scenarios/explore/double-barrier-2-crash.toml")),
    ("counter-2-lost-late", include_str!("../../scenarios/explore/counter-2-lost-late.toml")),
    ("double-barrier-late", include_str!("../../scenarios/explore/double-barrier-late.toml")),
    ("queue-2-lost", include_str!("../../scenarios/explore/queue-2-lost.toml")),
    ("queue-2-crash", include_str!("../../scenarios/explore/queue-2-crash.toml")),
    ("queue-1-lost-late", include_str!("../../scenarios/explore/queue-1-lost-late.toml")),
    ("queue-2-given-back", include_str!("../../scenarios/explore/queue-2-given-back.toml")),
    ("barrier-released", include_str!("../../scenarios/explore/barrier-released.toml")),
];

/// Reads every built-in space.
///
/// # Errors
/// If one of them is wrong, which a test rules out.
pub fn load() -> Result<Vec<Space>, BadInput> {
    BUILT_IN.iter().map(|(name, text)| parse(&format!("scenarios/explore/{name}.toml"), name, text)).collect()
}

/// Finds a space by its built-in name, or reads it from the file of that path.
///
/// # Errors
/// One line if there is none, or if it is not a right one.
pub fn find(name_or_path: &str) -> Result<Space, BadInput> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
        return parse(&format!("scenarios/explore/{name}.toml"), name, text);
    }
    let path = Path::new(name_or_path);
    if !name_or_path.ends_with(".toml") && !path.exists() {
        let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        return Err(BadInput(format!(
            "no space to explore is called {name_or_path:?}; there are {}, or name a .toml file",
            names.join(", ")
        )));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput(format!("{name_or_path}: cannot be read: {error}")))?;
    let name = path.file_stem().map_or_else(|| name_or_path.into(), |stem| stem.to_string_lossy());
    parse(name_or_path, &name, &text)
}

fn parse(origin: &str, name: &str, text: &str) -> Result<Space, BadInput> {
    let mut space: Space = from_toml(origin, text)?;
    name.clone_into(&mut space.name);
    space.validate().map_err(|Problem { path, what }| wrong_at(origin, text, &path, &what))?;
    Ok(space)
}

/// What is wrong with which field: its dotted path, in which an item of a list goes by its number.
struct Problem {
    path: String,
    what: String,
}

fn wrong(path: &str, what: impl Into<String>) -> Result<(), Problem> {
    Err(Problem { path: path.to_owned(), what: what.into() })
}

impl Space {
    /// Every process's role, one for each.
    pub fn roles(&self) -> Vec<Role> {
        let alike = |role: &Role| std::iter::repeat_n(role.clone(), role.count as usize);
        self.processes.iter().flat_map(alike).collect()
    }

    fn validate(&self) -> Result<(), Problem> {
        for (number, name) in self.invariants.iter().enumerate() {
            if !check::names().contains(&name.as_str()) {
                let there = check::names().join(", ");
                return wrong(
                    &format!("invariants.{number}"),
                    format!("none is called {name:?}; there are {there}"),
                );
            }
        }
        let processes: u32 = self.processes.iter().map(|role| role.count.min(100)).sum();
        if !(1..=8).contains(&processes) {
            return wrong("process", format!("{processes} processes; 1 to 8 are allowed"));
        }
        for (number, role) in self.processes.iter().enumerate() {
            self.validate_role(number, role)?;
        }
        Ok(())
    }

    fn validate_role(&self, number: usize, role: &Role) -> Result<(), Problem> {
        let field = |name: &str| format!("process.{number}.{name}");
        if !(1..=9).contains(&role.rounds) {
            return wrong(&field("rounds"), format!("{}; 1 to 9 are allowed", role.rounds));
        }
        if role.proclaims > 0 && role.does.kind() != Some(crate::history::Kind::Leader) {
            return wrong(&field("proclaims"), "only for who campaigns or resumes");
        }
        if !(1..=8).contains(&role.members) {
            return wrong(&field("members"), format!("{}; 1 to 8 are allowed", role.members));
        }
        let from = match role.does {
            Does::Resume => Does::Campaign,
            Does::Relock => Does::Lock,
            _ => return Ok(()),
        };
        if self.processes[0].does != from {
            let what =
                format!("who does {:?} takes over from the first process, which must {from:?}", role.does);
            return wrong(&field("does"), what.to_lowercase());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_space_is_told_with_file_line_and_column() {
        let right = "about = \"x\"\ninvariants = [\"fifo\"]\n\n[[process]]\ndoes = \"lock\"\n\n\
                     [[process]]\ndoes = \"campaign\"\nrounds = 1\n\n[bounds]\ncrashes = 1\n";
        assert_eq!(parse("x.toml", "x", right).map(|_| ()), Ok(()));
        for (old, new, at) in [
            ("\"fifo\"", "\"luck\"", "2:15: invariants.0: none is called"),
            ("rounds = 1", "rounds = 0", "9:1: process.1.rounds: 0; 1 to 9 are allowed"),
            ("rounds = 1", "count = 9", "4:3: process: 10 processes"),
            ("rounds = 1", "members = 0", "9:1: process.1.members: 0; 1 to 8 are allowed"),
            ("\"lock\"", "\"lock\"\nproclaims = 1", "6:1: process.0.proclaims: only for"),
            ("\"campaign\"", "\"resume\"", "8:1: process.1.does: who does resume"),
            ("\"campaign\"", "\"sleep\"", "8:8: unknown variant"),
            ("crashes = 1", "crashs = 1", "12:1: bounds"),
            ("crashes = 1", "crashes = 1000", "12:11: bounds.crashes"),
            ("[bounds]", "[bounds", "11:"),
        ] {
            let BadInput(error) = parse("x.toml", "x", &right.replace(old, new)).expect_err(new);
            assert!(error.starts_with(&format!("x.toml:{at}")), "{new}: {error}");
        }
    }
}
