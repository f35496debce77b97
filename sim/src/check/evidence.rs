//! A history read once, so that checkers and coverage marks need not: who asked, held and died when, and which keys
//! lived in the store from when to when.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::kv::{Event, EventKind, Request};

use super::causes::Causes;
use super::items::Items;
use super::lateness::Lateness;
use super::order::Order;
use super::plain::Plain;
use super::registers::Registers;
use super::reigns::{Reigns, reigns};
use super::robbed::{Robbed, robbed};
use super::silent::Silent;
use crate::fault::Fault;
use crate::history::{Deed, DeedEnd, History, Holding, Kind, What};
use crate::node::Node;
use crate::workload::operator;

/// The times within which `progress` and `no-residue` expect things to happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Once calm, an ask is answered within this time.
    pub progress_ns: u64,
    /// The cluster's election timeout.
    pub election_timeout_ns: u64,
    /// The drift between two clocks that clients allow for, in millionths.
    pub drift_ppm: u32,
    /// Whether this release of etcd is known to let an old leader revoke a lease now and then; see `robbed`.
    pub robs: bool,
}

/// A moment of a history: a step and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The step's place in the history.
    pub step: usize,
    /// Nanoseconds of true simulated time.
    pub at_ns: u64,
}

/// How an ask ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a grant.
    Granted,
    /// Without.
    NotGranted,
    /// Its client crashed.
    Crashed,
}

/// An ask for a tenure.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its number.
    pub ticket: u64,
    /// Who asked.
    pub client: u32,
    /// For what.
    pub name: Arc<str>,
    /// Of which kind.
    pub kind: Kind,
    /// With which session's lease.
    pub lease: i64,
    /// When.
    pub asked: Moment,
    /// The time limit that the primitive was given; 0 for a try.
    pub limit_ms: Option<u64>,
    /// Which of its client's programs asked.
    pub lane: u32,
    /// How.
    pub how: &'static str,
    /// Of a read-write lock: whether readers and writers are granted in order of arrival.
    pub in_turn: bool,
    /// When and how it ended, if it did.
    pub ended: Option<(Moment, Outcome)>,
}

/// A tenure from its grant to its end.
#[derive(Clone, Debug)]
pub struct TenureLife {
    /// What was held.
    pub holding: Holding,
    /// Since when.
    pub granted: Moment,
    /// When the release began.
    pub releases: Option<Moment>,
    /// Whether its holder waits for what comes of the release.
    pub awaited: bool,
    /// When the release was confirmed or failed.
    pub released: Option<Moment>,
    /// When the guard told of the loss.
    pub told_lost: Option<Moment>,
    /// When its client crashed while it was held.
    pub crashed: Option<Moment>,
}

/// A session from its opening to its end.
#[derive(Clone, Copy, Debug)]
pub struct SessionLife {
    /// Whose.
    pub client: u32,
    /// Its time to live.
    pub ttl_ns: u64,
    /// When it was opened.
    pub opened: Moment,
    /// When it was closed, found lost, or died with its client.
    pub ended: Option<Moment>,
}

/// One incarnation of a key, from its creation to its deletion.
#[derive(Clone, Debug)]
pub struct KeyLife {
    /// The key.
    pub key: Vec<u8>,
    /// The lease it lived by when it was created.
    pub lease: i64,
    /// Its `create_revision`.
    pub create_revision: i64,
    /// When its creation was committed.
    pub created: Moment,
    /// At which revision, and when, its deletion was committed.
    pub deleted: Option<(i64, Moment)>,
}

/// A deed from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub struct DeedLife<'a> {
    /// Who did it.
    pub client: u32,
    /// What.
    pub what: &'a Deed,
    /// When it was begun.
    pub began: Moment,
    /// When and how it ended, if it did.
    pub ended: Option<(Moment, &'a DeedEnd)>,
}

/// What happened to one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    /// The step that sent it.
    pub sent: Option<usize>,
    /// Its client no longer waits for the answer.
    pub given_up: bool,
    /// The network lost its answer.
    pub answer_lost: bool,
    /// The network doubled its request.
    pub doubled: bool,
    /// When its write was committed.
    pub committed: Option<usize>,
    /// It was committed when its client no longer waited.
    pub committed_late: bool,
}

/// What a plan has its clients do, as far as `floor` asks for it.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The programs of clients.
    pub lanes: Vec<PlannedLane>,
}

/// The program of one session, or of one that uses etcd itself.
#[derive(Clone, Copy, Debug)]
pub struct PlannedLane {
    /// Whose.
    pub client: u32,
    /// Which of its client's.
    pub lane: u32,
    /// How many asks it has.
    pub asks: usize,
    /// How many operations on etcd itself.
    pub operations: usize,
    /// How many operations of recipes.
    pub recipes: usize,
}

/// What a history says, indexed.
pub struct Evidence<'a> {
    /// The history.
    pub history: &'a History,
    /// The times that checkers go by.
    pub bounds: Bounds,
    /// What was planned; nothing if that is not known.
    pub planned: Planned,
    /// Every ask, in order.
    pub asks: Vec<Ask>,
    /// When which program of which client left an operation out.
    pub passed_over: Vec<(u32, u32, Moment)>,
    /// Every tenure, in order of its grant.
    pub tenures: Vec<TenureLife>,
    /// The place of each tenure by its name and token, the last one if a planted bug gives one twice.
    by_token: BTreeMap<(Arc<str>, i64), usize>,
    /// Every session by its lease.
    pub sessions: BTreeMap<i64, SessionLife>,
    /// Every deed, in order of its number.
    pub deeds: Vec<DeedLife<'a>>,
    /// Every key's incarnations by line, oldest first.
    pub keys: BTreeMap<Vec<u8>, Vec<KeyLife>>,
    /// What an operator put into lines by hand: these stand for nobody.
    pub foreign: BTreeMap<Vec<u8>, Vec<KeyLife>>,
    /// Every call by its number.
    pub calls: BTreeMap<u64, Call>,
    /// What clients asked of etcd itself, and what their watches told.
    pub plain: Plain<'a>,
    /// When each client stood still: client, from, to (the end of the run if it never went on).
    pub pauses: Vec<(u32, u64, u64)>,
    /// When each member began to lead.
    pub leads: Vec<u64>,
    /// By when each of them had its first entry committed, with which it gives every lease more time.
    promoted: Vec<u64>,
    /// How slow a disk was at worst.
    slowest_disk_ns: u64,
    /// The leases that etcd took from their owners.
    pub robbed: BTreeMap<i64, Robbed>,
    /// When the calm began.
    pub calm: Option<Moment>,
    /// The clients that stayed broken when it did: what they miss is not held against anyone.
    pub outside: BTreeSet<u32>,
    /// The last step's time.
    pub end_ns: u64,
    /// Read when it is first asked for.
    order: OnceCell<Order<'a>>,
    causes: OnceCell<Causes<'a>>,
    reigns: OnceCell<BTreeMap<Vec<u8>, Reigns>>,
    registers: OnceCell<Registers>,
    items: OnceCell<Items<'a>>,
    lateness: Lateness,
    pub(super) silent: Silent,
}

/// The line a contender's key stands in: the key without its last part, so the name of a mutex or an election.
pub(super) fn line_of(key: &[u8]) -> &[u8] {
    key.iter().rposition(|&byte| byte == b'/').map_or(&[][..], |slash| &key[..slash])
}

impl<'a> Evidence<'a> {
    /// Reads a history.
    pub fn of(history: &'a History, bounds: Bounds) -> Self {
        let mut evidence = Self {
            history,
            bounds,
            planned: Planned::default(),
            asks: Vec::new(),
            passed_over: Vec::new(),
            tenures: Vec::new(),
            by_token: BTreeMap::new(),
            sessions: BTreeMap::new(),
            deeds: Vec::new(),
            keys: BTreeMap::new(),
            foreign: BTreeMap::new(),
            calls: BTreeMap::new(),
            plain: Plain::default(),
            pauses: Vec::new(),
            leads: Vec::new(),
            promoted: Vec::new(),
            slowest_disk_ns: 0,
            robbed: BTreeMap::new(),
            calm: None,
            outside: BTreeSet::new(),
            end_ns: history.steps.last().map_or(0, |step| step.at_ns),
            order: OnceCell::new(),
            causes: OnceCell::new(),
            reigns: OnceCell::new(),
            registers: OnceCell::new(),
            items: OnceCell::new(),
            lateness: Lateness::default(),
            silent: Silent::default(),
        };
        for (index, step) in history.steps.iter().enumerate() {
            let now = Moment { step: index, at_ns: step.at_ns };
            match step.node {
                Node::Client(client) => evidence.client_step(client, now, &step.what),
                Node::Member(_) | Node::World => {
                    evidence.silent.step(index, step.node, &step.what);
                    evidence.world_step(now, &step.what);
                }
            }
        }
        if bounds.robs {
            evidence.robbed = robbed(&evidence);
        }
        evidence
    }

    fn world_step(&mut self, now: Moment, what: &What) {
        self.lateness.step(now.at_ns, what);
        match what {
            What::Calm => self.calm = Some(now),
            What::FaultBegins { fault: Fault::SlowCommit { max_ms, .. }, .. } => {
                self.slowest_disk_ns = self.slowest_disk_ns.max(max_ms * 1_000_000);
            }
            What::Leads { .. } => {
                self.leads.push(now.at_ns);
                // Its own disk, and then that of who confirms.
                self.promoted.push(now.at_ns + 2 * self.slowest_disk_ns);
            }
            What::Committed { call, request, events, .. } => {
                self.committed(now, *call, request, events);
            }
            // The network may speak for itself, or for the client.
            What::Network { call, did } => self.network(*call, did),
            _ => {}
        }
    }

    fn client_step(&mut self, client: u32, now: Moment, what: &'a What) {
        self.plain.step(client, now, what);
        match what {
            What::Sent { call, .. } => self.calls.entry(*call).or_default().sent = Some(now.step),
            What::GaveUp { call } => self.calls.entry(*call).or_default().given_up = true,
            What::Network { call, did } => self.network(*call, did),
            What::Paused => self.pauses.push((client, now.at_ns, self.end_ns)),
            What::Resumed => {
                if let Some(pause) = self.pauses.iter_mut().rev().find(|pause| pause.0 == client) {
                    pause.2 = now.at_ns;
                }
            }
            What::Crashed => self.crashed(client, now),
            What::StaysBroken => {
                self.outside.insert(client);
            }
            What::SessionOpened { lease, ttl_ms } => {
                let session = SessionLife { client, ttl_ns: ttl_ms * 1_000_000, opened: now, ended: None };
                self.sessions.insert(*lease, session);
            }
            What::SessionEnded { lease, .. } => {
                if let Some(session) = self.sessions.get_mut(lease) {
                    session.ended.get_or_insert(now);
                }
            }
            What::Does { what, .. } => {
                self.deeds.push(DeedLife { client, what, began: now, ended: None });
            }
            What::Did { deed, end } => {
                if let Some(life) = place_of(*deed).and_then(|place| self.deeds.get_mut(place)) {
                    life.ended = Some((now, end));
                }
            }
            _ => self.tenure_step(client, now, what),
        }
    }

    /// A deed by its number.
    pub fn deed(&self, deed: u64) -> Option<&DeedLife<'a>> {
        self.deeds.get(place_of(deed)?)
    }

    fn tenure_step(&mut self, client: u32, now: Moment, what: &What) {
        match what {
            What::Asks { ticket, name, kind, lease, limit_ms, lane, how, in_turn } => self.asks.push(Ask {
                ticket: *ticket,
                client,
                name: Arc::clone(name),
                kind: *kind,
                lease: *lease,
                asked: now,
                limit_ms: *limit_ms,
                lane: *lane,
                how,
                in_turn: *in_turn,
                ended: None,
            }),
            What::PassesOver { lane, .. } => self.passed_over.push((client, *lane, now)),
            What::Granted { ticket, holding, .. } => {
                self.answered(*ticket, now, Outcome::Granted);
                self.by_token.insert((Arc::clone(&holding.name), holding.token), self.tenures.len());
                self.tenures.push(TenureLife {
                    holding: holding.clone(),
                    granted: now,
                    releases: None,
                    awaited: false,
                    released: None,
                    told_lost: None,
                    crashed: None,
                });
            }
            What::NotGranted { ticket, .. } => self.answered(*ticket, now, Outcome::NotGranted),
            What::Releases { holding, awaited } => self.of_tenure(holding, |tenure| {
                tenure.releases = Some(now);
                tenure.awaited = *awaited;
            }),
            What::Released { holding, .. } => self.of_tenure(holding, |tenure| tenure.released = Some(now)),
            What::ToldLost { holding, .. } => self.of_tenure(holding, |tenure| {
                tenure.told_lost.get_or_insert(now);
            }),
            _ => {}
        }
    }

    fn network(&mut self, call: u64, did: &str) {
        match did {
            "answer lost" => self.calls.entry(call).or_default().answer_lost = true,
            "request doubled" => self.calls.entry(call).or_default().doubled = true,
            _ => {}
        }
    }

    fn crashed(&mut self, client: u32, now: Moment) {
        for ask in self.asks.iter_mut().rev().filter(|ask| ask.client == client && ask.ended.is_none()) {
            ask.ended = Some((now, Outcome::Crashed));
        }
        for tenure in self.tenures.iter_mut().filter(|tenure| {
            tenure.holding.client == client && tenure.releases.is_none() && tenure.told_lost.is_none()
        }) {
            tenure.crashed.get_or_insert(now);
        }
        for session in self.sessions.values_mut().filter(|session| session.client == client) {
            session.ended.get_or_insert(now);
        }
    }

    fn answered(&mut self, ticket: u64, now: Moment, outcome: Outcome) {
        let place = place_of(ticket).filter(|place| *place < self.asks.len());
        if let Some(ask) = place.map(|place| &mut self.asks[place]) {
            ask.ended.get_or_insert((now, outcome));
        }
    }

    fn of_tenure(&mut self, holding: &Holding, change: impl FnOnce(&mut TenureLife)) {
        let place = self.by_token.get(&(Arc::clone(&holding.name), holding.token)).copied();
        if let Some(tenure) = place.and_then(|place| self.tenures.get_mut(place))
            && tenure.holding == *holding
        {
            change(tenure);
        }
    }

    fn committed(&mut self, now: Moment, call: Option<u64>, request: &Request, events: &[Event]) {
        if let Some(call) = call {
            let call = self.calls.entry(call).or_default();
            if call.committed.is_none() {
                call.committed = Some(now.step);
                call.committed_late = call.given_up && changes_keys(request) && !events.is_empty();
            }
        }
        for Event { kind, kv, .. } in events {
            let is_foreign = kv.key.ends_with(operator::FOREIGN);
            let lines = if is_foreign { &mut self.foreign } else { &mut self.keys };
            let lives = lines.entry(line_of(&kv.key).to_vec()).or_default();
            match kind {
                EventKind::Put if kv.create_revision == kv.mod_revision => lives.push(KeyLife {
                    key: kv.key.clone(),
                    lease: kv.lease,
                    create_revision: kv.create_revision,
                    created: now,
                    deleted: None,
                }),
                EventKind::Put => {}
                EventKind::Delete => {
                    if let Some(life) =
                        lives.iter_mut().rev().find(|life| life.key == kv.key && life.deleted.is_none())
                    {
                        life.deleted = Some((kv.mod_revision, now));
                    }
                }
            }
        }
    }

    /// The one order of all writes.
    pub(crate) fn order(&self) -> &Order<'a> {
        self.order.get_or_init(|| Order::of(self.history))
    }

    /// What can have brought sessions and tenures to their end.
    pub(super) fn causes(&self) -> &Causes<'a> {
        self.causes.get_or_init(|| Causes::of(self))
    }

    /// What clients did to each register.
    pub(super) fn registers(&self) -> &Registers {
        self.registers.get_or_init(|| Registers::of(self))
    }

    /// The items of queues.
    pub(crate) fn items(&self) -> &Items<'a> {
        self.items.get_or_init(|| Items::of(self))
    }

    /// Who led when, by line.
    pub(super) fn reigns(&self) -> &BTreeMap<Vec<u8>, Reigns> {
        self.reigns.get_or_init(|| reigns(self.history))
    }

    /// An ask by its number: they are numbered from 1 in the order in which they are made.
    pub(super) fn ask(&self, ticket: u64) -> Option<&Ask> {
        self.asks.get(place_of(ticket)?).filter(|ask| ask.ticket == ticket)
    }

    /// Whether the readers and writers of this name are granted in order of arrival.
    pub(super) fn is_in_turn(&self, name: &str) -> bool {
        self.asks.iter().find(|ask| &*ask.name == name).is_some_and(|ask| ask.in_turn)
    }

    /// The life of a tenure.
    pub(super) fn tenure(&self, holding: &Holding) -> Option<&TenureLife> {
        let place = *self.by_token.get(&(Arc::clone(&holding.name), holding.token))?;
        self.tenures.get(place).filter(|tenure| tenure.holding == *holding)
    }

    /// How long a session's keys may outlive what they were for: its TTL, the election timeout and a second.
    pub(super) fn grace_ns(&self, session: &SessionLife) -> u64 {
        session.ttl_ns + self.bounds.election_timeout_ns + 1_000_000_000
    }

    /// When the keys of a session that ended must be gone: its TTL, the election timeout and a second after its
    /// end, the calm, the arrival of a renewal that it had sent, or the last change of leader, whichever is latest (a new
    /// leader gives every lease more time).
    pub fn gone_by_ns(&self, session: &SessionLife) -> Option<u64> {
        let ended_ns = session.ended?.at_ns;
        let base = self.calm?.at_ns.max(ended_ns + self.lateness.at_ns(ended_ns));
        let within = self.grace_ns(session);
        // Each change of leader before the deadline moves it, from when that gives leases more time: that is known within bounds.
        let changes = self.leads.iter().zip(&self.promoted);
        Some(changes.fold(base + within, |by, (&leads, &promoted)| {
            if promoted >= base && leads <= by { by.max(promoted + within) } else { by }
        }))
    }

    /// Whether a client stood still at some time between two.
    pub(super) fn stood_still(&self, client: u32, from_ns: u64, to_ns: u64) -> bool {
        let mut pauses = self.pauses.iter();
        pauses
            .any(|&(paused, since_ns, until_ns)| paused == client && since_ns <= to_ns && until_ns >= from_ns)
    }

    /// The first step at or after a time; the last one if there is none.
    pub fn step_at(&self, at_ns: u64) -> usize {
        let steps = &self.history.steps;
        steps.partition_point(|step| step.at_ns < at_ns).min(steps.len().saturating_sub(1))
    }

    /// Whether the line of this name is one that the run's clients contend in.
    pub fn is_contended(&self, line: &[u8]) -> bool {
        self.asks.iter().any(|ask| is_line_of(&ask.name, line))
    }
}

/// Whether this is a line of the lock of this name: the name's own, one of the two sides of a read-write lock, or a semaphore's.
pub(super) fn is_line_of(name: &str, line: &[u8]) -> bool {
    line.strip_prefix(name.as_bytes())
        .is_some_and(|rest| matches!(rest, b"" | b"/read" | b"/write") || rest.starts_with(b"/sem/"))
}

/// The place of a deed or an ask among all: they are numbered from 1 in the order in which they are begun.
fn place_of(deed: u64) -> Option<usize> {
    usize::try_from(deed).ok()?.checked_sub(1)
}

fn changes_keys(request: &Request) -> bool {
    matches!(request, Request::Put(_) | Request::Delete(_) | Request::Txn(_))
}
