//! A state of the explored world, as plain data: the store, what is under way between it and the processes, what may still go
//! wrong, and where each process is in its automaton.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure::kv::{Request, Response, WatchRequest};
use tenure::{CallError, Refusal, WatchMessage};

use super::automaton::{At, Bytes, hash_answer, hash_message};
use super::bounds::{Bounds, Does, Role};
use super::machine::Info;
use super::monitor::Monitor;
use super::program::{DRIFT_BOUND_PPM, TTL, Written};
use crate::history::Kind;
use crate::store::{Store, is_read_only};

/// One step of the explored world. Processes, calls, watches and leases are numbered from 0 or as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Choice {
    /// A request reaches the store and is applied.
    Apply {
        /// Whose.
        process: u8,
        /// Which.
        call: u32,
    },
    /// The answer reaches its client, which goes on until it waits again.
    Answer {
        /// Whose.
        process: u8,
        /// Which.
        call: u32,
    },
    /// The answer is lost, and the client told that its request may have been applied.
    LoseAnswer {
        /// Whose.
        process: u8,
        /// Which.
        call: u32,
    },
    /// The request is not applied, and the client told so.
    NotApplied {
        /// Whose.
        process: u8,
        /// Which.
        call: u32,
    },
    /// The client is told that its request may have been applied, while that is still under way.
    GiveUp {
        /// Whose.
        process: u8,
        /// Which.
        call: u32,
    },
    /// A request is applied that nobody waits for any more.
    ApplyLate {
        /// Whose.
        process: u8,
        /// Which.
        call: u32,
    },
    /// A watch is opened, or resumed after a break.
    Open {
        /// Whose.
        process: u8,
        /// Which.
        watch: u32,
    },
    /// A watch tells its next message.
    Tell {
        /// Whose.
        process: u8,
        /// Which.
        watch: u32,
    },
    /// A watch breaks: what it had not told yet it tells when it has resumed.
    Break {
        /// Whose.
        process: u8,
        /// Which.
        watch: u32,
    },
    /// A timer of a process goes off.
    Timer {
        /// Whose.
        process: u8,
    },
    /// Time passes until a session is to be renewed.
    Renew {
        /// Whose.
        process: u8,
    },
    /// A holder goes on to release; an observer begins.
    Go {
        /// Which.
        process: u8,
    },
    /// A process drops what it waits for.
    Cancel {
        /// Which.
        process: u8,
    },
    /// A process dies.
    Crash {
        /// Which.
        process: u8,
    },
    /// A session's time runs out, by its own clock; only then may the store's lease.
    Lapse {
        /// Whose.
        process: u8,
    },
    /// A process takes over what another left behind.
    TakeOver {
        /// Which.
        process: u8,
    },
    /// A lease runs out at the store.
    Expire {
        /// The process that it was granted to.
        process: u8,
    },
    /// A serializable read is answered by a member that lags a write behind.
    ApplyLagging {
        /// Whose.
        process: u8,
        /// Which.
        call: u32,
    },
    /// Somebody revokes a lease.
    Revoke {
        /// The place of the lease among those that there are.
        process: u8,
    },
    /// The store forgets all but its newest revision.
    Compact,
}

/// How far a process has come in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    /// It begins when another has crashed.
    ToCome,
    /// It runs.
    Runs,
    /// It has crashed.
    Crashed,
}

/// A request that its client waits for.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: u32,
    /// Its number in the whole run, for who is shown it.
    pub(super) number: u64,
    pub(super) request: Arc<Request>,
    pub(super) sent_ns: u64,
    /// Once it is applied.
    pub(super) answer: Option<Arc<Result<Response, CallError>>>,
}

/// A request that nobody waits for, and that may be applied yet.
#[derive(Clone, Debug)]
pub(super) struct Late {
    pub(super) process: u8,
    /// Its number among those of its process that are late.
    pub(super) id: u32,
    /// As of the call that it was.
    pub(super) number: u64,
    pub(super) request: Arc<Request>,
    /// It was given up on purpose: that it is late is counted already.
    pub(super) counted: bool,
}

/// How a watch stands at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stands {
    /// It is asked for.
    Opening,
    /// It is open.
    Open,
    /// It broke, and resumes.
    Broken,
    /// It has ended.
    Over,
}

/// A watch of a process.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) id: u32,
    /// Its number in the whole run, for who is shown it.
    pub(super) number: u64,
    pub(super) request: Arc<WatchRequest>,
    pub(super) stands: Stands,
    /// Up to which revision it has told.
    pub(super) told: i64,
    /// What it is to tell.
    pub(super) queue: VecDeque<Arc<Result<WatchMessage, Refusal>>>,
}

/// One process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) at: At,
    pub(super) life: Life,
    pub(super) calls: Vec<Call>,
    pub(super) watches: Vec<Watch>,
    /// Its session's time has run out, by its own clock.
    pub(super) lapsed: bool,
    /// Nothing of it was applied yet since everybody had a session: those alike come in the order of their numbers.
    pub(super) fresh: bool,
    /// What it would have written down of the leadership that it was granted.
    pub(super) written: Option<Written>,
    /// How many leases it was granted.
    pub(super) grants: u8,
}

/// A lease at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) id: i64,
    /// Who renews it.
    pub(super) keeper: u8,
    /// When the last renewal that was applied was sent, by that process's clock.
    pub(super) sent_ns: u64,
}

impl Lease {
    /// By its keeper's clock, the earliest moment at which it can run out.
    pub(super) fn until_ns(&self) -> u64 {
        let ttl_ns = u64::try_from(TTL.as_nanos()).unwrap_or(u64::MAX);
        self.sent_ns + ttl_ns - ttl_ns / 1_000_000 * u64::from(DRIFT_BOUND_PPM)
    }
}

/// A state.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) store: Arc<Store>,
    pub(super) processes: Vec<Process>,
    pub(super) leases: Vec<Lease>,
    pub(super) late: Vec<Late>,
    pub(super) left: Bounds,
    pub(super) monitor: Monitor,
    /// How many calls and watches there were.
    pub(super) numbers: u64,
}

/// The id of a process's lease, after so many that were granted before.
pub(super) fn lease_of(process: u8, before: u8) -> i64 {
    0x10 + i64::from(process) + 0x100 * i64::from(before)
}

/// Whether a request can change the store.
pub(super) fn writes(request: &Request) -> bool {
    match request {
        Request::Txn(txn) => !is_read_only(txn),
        Request::LeaseRevoke { .. } | Request::Put(_) | Request::Delete(_) => true,
        _ => false,
    }
}

impl Choice {
    /// Whether it need not happen: a run is complete when nothing else can.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::LoseAnswer { .. }
                | Self::NotApplied { .. }
                | Self::GiveUp { .. }
                | Self::ApplyLate { .. }
                | Self::Break { .. }
                | Self::Renew { .. }
                | Self::Cancel { .. }
                | Self::Crash { .. }
                | Self::Lapse { .. }
                | Self::ApplyLagging { .. }
                | Self::Revoke { .. }
                | Self::Compact
        )
    }

    /// Whether it comes before any sleep ends, unless sleeps end early.
    pub(super) fn hurries(&self) -> bool {
        !self.is_fault() && !matches!(self, Self::Timer { .. } | Self::Expire { .. } | Self::Go { .. })
    }

    /// The process whose step it is, if it is one of a process and not of the store.
    pub(super) fn own(&self) -> Option<u8> {
        match *self {
            Self::Answer { process, .. }
            | Self::LoseAnswer { process, .. }
            | Self::NotApplied { process, .. }
            | Self::GiveUp { process, .. }
            | Self::Tell { process, .. }
            | Self::Break { process, .. }
            | Self::Timer { process }
            | Self::Renew { process }
            | Self::Go { process }
            | Self::Cancel { process }
            | Self::Crash { process }
            | Self::Lapse { process } => Some(process),
            Self::Apply { .. }
            | Self::ApplyLagging { .. }
            | Self::ApplyLate { .. }
            | Self::Open { .. }
            | Self::TakeOver { .. }
            | Self::Expire { .. }
            | Self::Revoke { .. }
            | Self::Compact => None,
        }
    }
}

impl World {
    /// A world without anything, to leave where another was taken.
    pub(super) fn empty() -> Self {
        thread_local! {
            static STORE: Arc<Store> = Arc::new(Store::new(crate::store::StoreConfig::default()));
        }
        Self {
            store: STORE.with(Arc::clone),
            processes: Vec::new(),
            leases: Vec::new(),
            late: Vec::new(),
            left: Bounds::default(),
            monitor: Monitor::default(),
            numbers: 0,
        }
    }

    /// Every step that can be taken, in an order that is always the same.
    pub(super) fn enabled(&self, roles: &[Role]) -> Vec<Choice> {
        let mut choices = Vec::with_capacity(16);
        for (index, process) in self.processes.iter().enumerate() {
            let number = index as u8;
            match process.life {
                Life::Runs => self.enabled_of(number, process, roles, &mut choices),
                Life::ToCome if self.processes[0].life == Life::Crashed || self.processes[0].at.info.done => {
                    choices.push(Choice::TakeOver { process: number });
                }
                Life::ToCome | Life::Crashed => {}
            }
        }
        for (index, lease) in self.leases.iter().enumerate() {
            if self.may_expire(lease) {
                choices.push(Choice::Expire { process: index as u8 });
            }
            if self.left.revocations > 0 && self.waits_behind(lease, roles) {
                choices.push(Choice::Revoke { process: index as u8 });
            }
        }
        for late in &self.late {
            if late.counted || self.left.late_requests > 0 {
                choices.push(Choice::ApplyLate { process: late.process, call: late.id });
            }
        }
        if self.left.compactions > 0 && self.store.revision() > self.store.compact_revision().max(1) {
            choices.push(Choice::Compact);
        }
        if self.left.early_timers == 0 && choices.iter().any(Choice::hurries) {
            choices.retain(|choice| !self.is_early(choice));
        }
        choices
    }

    /// Whether it is a timer whose time has not come.
    pub(super) fn is_early(&self, choice: &Choice) -> bool {
        matches!(*choice, Choice::Timer { process } if !self.processes[process as usize].at.info.timer_due)
    }

    /// Whether a timer that goes off now does so while other things are under way.
    pub(super) fn overtakes(&self, choice: &Choice, roles: &[Role]) -> bool {
        self.is_early(choice) && self.enabled(roles).iter().any(Choice::hurries)
    }

    fn enabled_of(&self, number: u8, process: &Process, roles: &[Role], choices: &mut Vec<Choice>) {
        let (left, info, role) = (&self.left, &process.at.info, &roles[number as usize]);
        for call in &process.calls {
            let (process, call_id) = (number, call.id);
            if call.answer.is_some() {
                choices.push(Choice::Answer { process, call: call_id });
                if left.lost_answers > 0 {
                    choices.push(Choice::LoseAnswer { process, call: call_id });
                }
                continue;
            }
            if self.may_apply(number, call, roles) {
                choices.push(Choice::Apply { process, call: call_id });
            }
            let lags = matches!(&*call.request, Request::Range(range) if range.serializable);
            if lags && left.lags > 0 && self.store.revision() > self.store.compact_revision().max(1) {
                choices.push(Choice::ApplyLagging { process, call: call_id });
            }
            if left.not_applied > 0 {
                choices.push(Choice::NotApplied { process, call: call_id });
            }
            if left.late_requests > 0 && writes(&call.request) {
                choices.push(Choice::GiveUp { process, call: call_id });
            }
        }
        for watch in &process.watches {
            let (process, watch_id) = (number, watch.id);
            if matches!(watch.stands, Stands::Opening | Stands::Broken) && watch.queue.is_empty() {
                choices.push(Choice::Open { process, watch: watch_id });
            }
            if !watch.queue.is_empty() && info.asks.contains(&watch_id) {
                choices.push(Choice::Tell { process, watch: watch_id });
            }
            if left.breaks > 0 && watch.stands == Stands::Open {
                choices.push(Choice::Break { process, watch: watch_id });
            }
        }
        let process_number = number;
        let process = process_number;
        if info.timer {
            choices.push(Choice::Timer { process });
        }
        if info.waits_to_go {
            choices.push(Choice::Go { process });
        }
        if left.cancels > 0 && info.may_cancel {
            choices.push(Choice::Cancel { process });
        }
        if left.crashes > 0 && role.may_crash && !info.done && role.does != Does::Observe {
            choices.push(Choice::Crash { process });
        }
        let lapsed = self.processes[number as usize].lapsed;
        if let Some(lease) = self.lease_kept_by(number)
            && !lapsed
            && !info.done
        {
            if left.expiries > 0 && role.may_expire {
                choices.push(Choice::Lapse { process });
            }
            if left.renewals > 0 && info.long_timer_ns.is_some_and(|at_ns| at_ns < lease.until_ns()) {
                choices.push(Choice::Renew { process });
            }
        }
    }

    /// A renewal of a lease whose time is over waits until the store has ended it; and of those who do alike, the first comes
    /// first: which of them it is makes no difference.
    fn may_apply(&self, number: u8, call: &Call, roles: &[Role]) -> bool {
        if let Request::LeaseKeepAlive { id } = *call.request {
            let lease = self.leases.iter().find(|lease| lease.id == id);
            return !lease.is_some_and(|lease| self.processes[lease.keeper as usize].lapsed);
        }
        let own = &self.processes[number as usize];
        !own.fresh
            || !(0..number).any(|other| {
                let before = &self.processes[other as usize];
                before.fresh
                    && before.life == Life::Runs
                    && roles[other as usize] == roles[number as usize]
                    && before.calls.iter().any(|call| call.answer.is_none())
            })
    }

    /// Whether a lease may run out: nobody keeps it any more, or its keeper's clock says that its time is over and the keeper
    /// has noticed, unless it stands still.
    fn may_expire(&self, lease: &Lease) -> bool {
        let keeper = &self.processes[lease.keeper as usize];
        match keeper.life {
            Life::Crashed => true,
            Life::Runs | Life::ToCome => {
                // A grant whose answer was lost is nobody's.
                let abandoned = self.lease_kept_by(lease.keeper).is_some_and(|kept| kept.id != lease.id);
                abandoned
                    || keeper.at.info.done
                    || keeper.lapsed && (!keeper.at.info.timer_due || self.left.pauses > 0)
            }
        }
    }

    /// Whether a key of this lease is in line, but not first. A reader may hold then.
    fn waits_behind(&self, lease: &Lease, roles: &[Role]) -> bool {
        let role = &roles[lease.keeper as usize];
        if !matches!(role.does.kind(), Some(Kind::Mutex | Kind::Leader)) {
            return false;
        }
        let prefix = format!("{}/", role.name);
        let in_line = || self.store.keys().filter(|kv| kv.key.starts_with(prefix.as_bytes()));
        let first = in_line().min_by_key(|kv| kv.create_revision);
        first.is_some_and(|first| first.lease != lease.id) && in_line().any(|kv| kv.lease == lease.id)
    }

    /// The lease that a process renews.
    pub(super) fn lease_kept_by(&self, process: u8) -> Option<&Lease> {
        self.leases.iter().rfind(|lease| lease.keeper == process)
    }

    /// Its hash: equal for worlds that have the same future and the same monitor.
    pub(super) fn hash(&self, bytes: &mut Bytes) -> u128 {
        bytes.clear();
        self.hash_live(bytes);
        self.hash_past(bytes);
        let catches_up = self.catches_up();
        for process in &self.processes {
            process.hash(catches_up, bytes);
        }
        self.leases.hash(bytes);
        bytes.write_u8(self.late.len() as u8);
        for late in &self.late {
            (late.process, &late.request, late.counted).hash(bytes);
        }
        bytes.write(&self.left.each());
        self.monitor.hash(bytes);
        bytes.digest()
    }

    /// What can be seen of it, hashed, for the end of a run: not what each process went through, which a search may forget.
    pub(super) fn seen(&self, bytes: &mut Bytes) -> u128 {
        bytes.clear();
        self.hash_live(bytes);
        for Process { at, life, lapsed, .. } in &self.processes {
            life.hash(bytes);
            let Info { done, idle, believes, .. } = &*at.info;
            if *life != Life::Crashed {
                (lapsed, done, idle, believes).hash(bytes);
            }
        }
        self.leases.hash(bytes);
        bytes.write(&self.left.each());
        bytes.digest()
    }

    /// Whether a watch may be told of the past.
    fn catches_up(&self) -> bool {
        let mut watches = self.processes.iter().flat_map(|process| &process.watches);
        self.left.breaks > 0 || watches.any(|watch| watch.stands == Stands::Broken)
    }

    fn hash_live(&self, bytes: &mut Bytes) {
        (self.store.revision(), self.store.compact_revision()).hash(bytes);
        for kv in self.store.keys() {
            kv.hash(bytes);
        }
        bytes.write_u8(255);
    }

    /// What is live decides all, but for reads that lag and watches that catch up or open from the past: they are told of it.
    fn hash_past(&self, bytes: &mut Bytes) {
        let compacted = self.store.compact_revision();
        let watches = self.processes.iter().flat_map(|process| &process.watches);
        let oldest = if self.left.lags > 0 {
            Some(compacted + 1)
        } else if self.catches_up() {
            watches.filter_map(Watch::goes_on_from).min()
        } else {
            watches.filter(|watch| watch.stands == Stands::Opening).filter_map(Watch::goes_on_from).min()
        };
        let Some(oldest) = oldest else { return };
        let all = WatchRequest { range_end: vec![0], ..WatchRequest::key([0]) };
        if let Ok(events) = self.store.events(&all, oldest.max(compacted)) {
            events.hash(bytes);
        }
    }
}

impl Watch {
    /// From which revision it is told of the past, should it open or resume.
    fn goes_on_from(&self) -> Option<i64> {
        if self.told > 0 {
            return Some(self.told + 1);
        }
        (self.request.start_revision > 0).then_some(self.request.start_revision)
    }
}

impl Process {
    fn hash(&self, catches_up: bool, bytes: &mut Bytes) {
        self.written.hash(bytes);
        if self.life == Life::Crashed {
            // Only what it left behind matters.
            bytes.write_u8(250);
            return;
        }
        (self.at.hash, self.life, self.lapsed, self.fresh, self.grants).hash(bytes);
        bytes.write_u8(self.calls.len() as u8);
        for call in &self.calls {
            call.id.hash(bytes);
            match call.answer.as_deref() {
                None => bytes.write_u8(0),
                Some(answer) => hash_answer(answer, bytes),
            }
        }
        bytes.write_u8(self.watches.len() as u8);
        for watch in &self.watches {
            (watch.id, watch.stands, if catches_up { watch.told } else { 0 }).hash(bytes);
            bytes.write_u8(watch.queue.len() as u8);
            for message in &watch.queue {
                hash_message(message, bytes);
            }
        }
    }
}
