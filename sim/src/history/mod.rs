//! What happened in a run, step by step, and its rolling hash. The history is what checkers judge, what a replay shows
//! and what determinism is measured by.

mod outcome;
mod own;
mod recipe;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};
use tenure::kv::{Event, Request, Response};
use tenure::wire::Status;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fault::Fault;
use crate::node::Node;

pub use outcome::{Deed, DeedEnd, Failure, GuardSays, Refused, SeenLeader, SessionEnd, Telling};
pub use own::OwnEvent;
pub use recipe::{Came, Departed, RecipeDeed, RecipeEnd, TransactionRead, TransactionRun};

/// One step: when (true simulated time since the start), where, what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Nanoseconds of true simulated time since the run's start.
    pub at_ns: u64,
    /// Who did it, or saw it.
    pub node: Node,
    /// What happened.
    pub what: What,
}

/// The kind of tenure that a grant gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A mutex.
    Mutex,
    /// The read side of a read-write lock.
    Read,
    /// The write side of a read-write lock.
    Write,
    /// A leadership.
    Leader,
    /// One of a semaphore's permits.
    Permit,
}

/// A tenure that a client holds, or believes it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The client process and which of its lives (crashes start a new one).
    pub client: u32,
    /// The name of the lock or election.
    pub name: Arc<str>,
    /// The kind.
    pub kind: Kind,
    /// The fencing token (create_revision of the holder's key).
    pub token: i64,
    /// The holder's lease.
    pub lease: i64,
}

/// What a step can be. Those that a client's process of a real round tells can be written down; the others cannot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    // ---- the world ----
    /// A fault of the plan begins; `index` is its place in the plan.
    #[serde(skip)]
    FaultBegins {
        /// Its place in the plan.
        index: usize,
        /// The fault.
        fault: Fault,
    },
    /// It is undone.
    #[serde(skip)]
    FaultEnds {
        /// Its place in the plan.
        index: usize,
    },
    /// No fault is active any more but on nodes that stay broken, and none will come: from here on `progress` counts.
    Calm,
    /// As the calm begins this node stays as it is to the end: crashed, cut off or standing still. What follows is not
    /// held against it.
    StaysBroken,
    /// The process was started (again).
    Started,
    /// The process died.
    Crashed,
    /// The process stands still.
    Paused,
    /// It goes on.
    Resumed,

    // ---- between client and member; `call` numbers calls of the whole run ----
    /// A client sent a request to a member.
    #[serde(skip)]
    Sent {
        /// The call.
        call: u64,
        /// To which member.
        member: u32,
        /// What it asks.
        request: Arc<Request>,
    },
    /// The network lost one leg of a call, or doubled it.
    #[serde(skip)]
    Network {
        /// The call.
        call: u64,
        /// What the network did: `request lost`, `answer lost`, `request doubled`.
        did: Word,
    },
    /// The client has the answer.
    #[serde(skip)]
    Answered {
        /// The call.
        call: u64,
        /// The answer.
        outcome: Result<Arc<Response>, Status>,
    },
    /// The client stopped waiting for the answer.
    #[serde(skip)]
    GaveUp {
        /// The call.
        call: u64,
    },
    /// A watch was opened at a member; `watch` numbers raw watches of the whole run.
    #[serde(skip)]
    WatchSent {
        /// The watch.
        watch: u64,
        /// At which member.
        member: u32,
        /// From and to, and from when.
        request: Arc<tenure::kv::WatchRequest>,
    },
    /// The client received a message of a watch.
    #[serde(skip)]
    WatchTold {
        /// The watch.
        watch: u64,
        /// `created`, `events`, `progress`, `compacted`, `canceled`.
        kind: Word,
        /// The store's revision as the message says it.
        revision: i64,
        /// The events.
        events: Vec<Event>,
    },
    /// The stream of a watch broke.
    #[serde(skip)]
    WatchBroke {
        /// The watch.
        watch: u64,
        /// How.
        status: Status,
    },

    // ---- in the cluster ----
    /// This member began to lead.
    Leads {
        /// The term.
        term: u64,
    },
    /// This member ceased to lead.
    SteppedDown {
        /// The term that ended.
        term: u64,
    },
    /// The leader found a lease's time run out, and proposes its revocation.
    LeaseExpired {
        /// The lease.
        lease: i64,
    },
    /// This member lost power, and with it what it had appended to its log and not made durable.
    LostTail {
        /// So many entries.
        entries: usize,
    },
    /// This member was so far behind that the leader had compacted its log: it took over the leader's state.
    Restored {
        /// Its revision.
        revision: i64,
    },
    /// A server was started that is a member now, with nothing on its disk.
    Joined {
        /// It only takes over the log until it is promoted.
        learner: bool,
    },
    /// A learner votes from here on.
    Promoted,
    /// A member that was removed has ended.
    Left,
    /// A write was committed: this is the one order of all writes. Recorded once, by the member that committed first.
    #[serde(skip)]
    Committed {
        /// The store's revision after it.
        revision: i64,
        /// Of which call, if a client asked for it.
        call: Option<u64>,
        /// The write.
        request: Arc<Request>,
        /// What it changed; empty if it was refused or changed nothing.
        events: Vec<Event>,
    },

    // ---- the workload: what a client does and believes ----
    /// A session was opened.
    SessionOpened {
        /// Its lease.
        lease: i64,
        /// Its time to live.
        ttl_ms: u64,
    },
    /// A session is over on its owner's side.
    SessionEnded {
        /// Its lease.
        lease: i64,
        /// How.
        how: SessionEnd,
    },
    /// A client asks for a tenure; `ticket` numbers the asks of the whole run.
    Asks {
        /// The ask.
        ticket: u64,
        /// The name.
        name: Arc<str>,
        /// The kind.
        kind: Kind,
        /// The session's lease.
        lease: i64,
        /// How: `lock`, `try_lock`, `lock_timeout`, `campaign`, ...
        #[serde(deserialize_with = "known_word")]
        how: Word,
        /// The time limit that the primitive is given; 0 for a try.
        limit_ms: Option<u64>,
        /// Which of its client's programs asks.
        lane: u32,
        /// Of a read-write lock: whether readers and writers are granted in order of arrival.
        in_turn: bool,
    },
    /// A program leaves an operation out: another of its session's stands in that election.
    PassesOver {
        /// The election.
        name: Arc<str>,
        /// Which of its client's programs.
        lane: u32,
    },
    /// It was granted. `believers` are the others that, at this very instant, each by its own clock, still believe they
    /// hold something of the same name.
    Granted {
        /// The ask.
        ticket: u64,
        /// What is held from now on.
        holding: Holding,
        /// Who else believes.
        believers: Vec<Holding>,
        /// What the guard says of itself.
        says: GuardSays,
    },
    /// It was not granted: cancelled, timed out, held by another, or an error.
    NotGranted {
        /// The ask.
        ticket: u64,
        /// Why.
        why: Failure,
    },
    /// The holder begins to give it back (its belief ends here).
    Releases {
        /// What it held.
        holding: Holding,
        /// Whether it waits until that is confirmed: then it is told what came of it.
        awaited: bool,
    },
    /// The release is confirmed, or failed.
    Released {
        /// What it held.
        holding: Holding,
        /// The error.
        error: Option<Failure>,
    },
    /// The guard told its holder that it is lost; once for each way of telling.
    ToldLost {
        /// What it held.
        holding: Holding,
        /// How it was told.
        by: Telling,
    },
    /// A holder wrote to the shared resource with its token, or (unfenced clients) without.
    ResourceWrite {
        /// Who.
        holding: Holding,
        /// The token that was sent along; `None` for a client that does not fence.
        token: Option<i64>,
        /// Whether the resource took it.
        accepted: bool,
    },
    /// A client begins something; `deed` numbers these in the whole run.
    Does {
        /// The deed.
        deed: u64,
        /// What.
        what: Deed,
    },
    /// It came to an end; never, if its process died.
    Did {
        /// The deed.
        deed: u64,
        /// How it ended.
        end: DeedEnd,
    },
    /// An observer of an election begins, and knows nothing yet.
    Observes {
        /// The election.
        name: Arc<str>,
        /// Which observer, counted over the whole run.
        observer: u64,
    },
    /// An observer of an election saw a leader, or that there is none.
    Observed {
        /// The election.
        name: Arc<str>,
        /// Which observer, counted over the whole run.
        observer: u64,
        /// The leader.
        leader: Option<SeenLeader>,
    },
    /// An observer was told of an error; it goes on.
    ObserverFailed {
        /// Which observer.
        observer: u64,
        /// The error.
        error: Failure,
    },
    /// A client of kind `etcd` asks something of etcd through the library's backend; `op` numbers what is asked so in the
    /// whole run.
    #[serde(skip)]
    Calls {
        /// The operation.
        op: u64,
        /// What is asked.
        request: Arc<Request>,
    },
    /// The backend has come to an end with it.
    #[serde(skip)]
    Returned {
        /// The operation.
        op: u64,
        /// Which end.
        end: CallEnd,
    },
    /// A client of kind `etcd` opens a watch that resumes by itself; `stream` numbers these in the whole run.
    #[serde(skip)]
    StreamOpened {
        /// The stream.
        stream: u64,
        /// From and to, and from when.
        request: Arc<tenure::kv::WatchRequest>,
    },
    /// It tells its client something.
    #[serde(skip)]
    StreamSaid {
        /// The stream.
        stream: u64,
        /// What.
        says: WatchSays,
    },
    /// It ended, or its client closed it.
    #[serde(skip)]
    StreamClosed {
        /// The stream.
        stream: u64,
    },
    /// A test's own client, or what it models outside of etcd, tells of an event of its own.
    #[serde(skip)]
    Own(OwnEvent),
    /// Something worth reading in a replay, of no meaning to a checker.
    Note(String),
}

/// A word of the program's own. (Serde takes a reference that it sees for one into what is read.)
pub type Word = &'static str;

/// A word of the program's own that was written down by another process of it. There are few, and each is kept once.
fn known_word<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let word = String::deserialize(from)?;
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = words.get(word.as_str()).copied();
    Ok(known.unwrap_or_else(|| {
        let word: &'static str = word.leak();
        words.insert(word);
        word
    }))
}

/// How an operation through the library's backend ended: as `tenure::CallError` has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallEnd {
    /// With an answer.
    Answered(Arc<Response>),
    /// It was not applied, and will not be.
    NotApplied(String),
    /// It may have been applied, or may be yet.
    Maybe(String),
    /// etcd refused it.
    Refused(Refused),
}

/// What a watch that resumes by itself tells: as `tenure::WatchMessage` has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WatchSays {
    /// It is open.
    Created {
        /// The store's revision.
        revision: i64,
    },
    /// What happened.
    Events(Vec<Event>),
    /// Changes were forgotten before they could be told. The end.
    Compacted {
        /// The oldest revision that is still there.
        compact_revision: i64,
    },
    /// etcd refused it, in words. The end.
    Refused(String),
}

/// Records steps; cheap to clone, one for each run.
#[derive(Clone, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
    /// Who is told of each step, which is then not kept.
    listener: Option<Listener>,
}

/// Hears of steps as they happen.
pub type Listener = Arc<dyn Fn(&Step) + Send + Sync>;

struct Inner {
    steps: Vec<Step>,
    hashes: Vec<u64>,
    /// The bytes of the step that is being recorded.
    bytes: StepBytes,
}

impl Default for Inner {
    fn default() -> Self {
        // Most histories are about so long; growing would copy them again and again.
        const EXPECTED_STEPS: usize = 8_192;
        Self {
            steps: Vec::with_capacity(EXPECTED_STEPS),
            hashes: Vec::with_capacity(EXPECTED_STEPS),
            bytes: StepBytes::default(),
        }
    }
}

/// Takes a step's bytes together: hashing them at once is several times quicker than in the small pieces of `Hash`.
#[derive(Default)]
struct StepBytes(Vec<u8>);

impl Hasher for StepBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        xxh3_64_with_seed(&self.0, 0)
    }
}

impl Recorder {
    /// One that keeps nothing and tells `listener`, which must not come back to the world: for a world without an end.
    pub fn telling(listener: Listener) -> Self {
        Self { inner: Arc::default(), listener: Some(listener) }
    }

    /// Adds a step.
    pub fn record(&self, at_ns: u64, node: Node, what: What) {
        let step = Step { at_ns, node, what };
        if let Some(listener) = &self.listener {
            return listener(&step);
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bytes.0.clear();
        step.hash(&mut inner.bytes);
        // Rolling: each step's hash is seeded with the one before.
        let hash = xxh3_64_with_seed(&inner.bytes.0, inner.hashes.last().copied().unwrap_or_default());
        inner.hashes.push(hash);
        inner.steps.push(step);
    }

    /// Takes out what was recorded.
    pub fn finish(&self) -> History {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        History { steps: std::mem::take(&mut inner.steps), hashes: std::mem::take(&mut inner.hashes) }
    }
}

/// A run's steps, each with the hash of all steps up to and with it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The steps, in the order in which they happened.
    pub steps: Vec<Step>,
    /// As many rolling hashes.
    pub hashes: Vec<u64>,
}

impl History {
    /// The hash of the whole history: equal for equal runs.
    pub fn hash(&self) -> u64 {
        self.hashes.last().copied().unwrap_or_default()
    }

    /// The first step in which two histories differ, if they do.
    pub fn first_difference(&self, other: &Self) -> Option<usize> {
        let shared = self.hashes.iter().zip(&other.hashes).position(|(mine, theirs)| mine != theirs);
        shared.or_else(|| {
            (self.hashes.len() != other.hashes.len()).then(|| self.hashes.len().min(other.hashes.len()))
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mutex => "mutex",
            Self::Read => "read lock",
            Self::Write => "write lock",
            Self::Leader => "leadership",
            Self::Permit => "permit",
        })
    }
}
