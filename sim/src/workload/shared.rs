//! What the clients of one run share, outside of their processes: beliefs, the resource, the registers, and how far each
//! program is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tenure::wire::Wire;
use tenure::{Backend, EtcdOptions};

use super::beliefs::Beliefs;
use super::library::Library;
use super::plain::Registers;
use super::primitive::Primitive;
use super::program::PrimitiveKind;
use super::stage::Resource;
use crate::history::Holding;
use crate::plan::Plan;
use crate::planted::{Bug, Planted, idle, refusing};

/// What a process leaves behind for its next life, as if it had written it to its disk: what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Legacy {
    /// By which operation of its program.
    pub(super) operation: usize,
    pub(super) lease: i64,
    pub(super) token: i64,
}

/// What the clients of one run share.
pub struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) beliefs: Beliefs,
    pub(super) resource: Box<dyn Resource>,
    pub(super) registers: Registers,
    /// The newest revision that any client was told of.
    newest_revision: AtomicI64,
    planted: Option<&'static Planted>,
    tickets: AtomicU64,
    observers: AtomicU64,
    deeds: AtomicU64,
    items: AtomicU64,
    /// For each lane of each client, the next operation: a restarted client goes on behind the one it died in.
    next: Vec<Vec<AtomicUsize>>,
    /// By client and lane.
    legacies: Mutex<BTreeMap<(u32, usize), Legacy>>,
    panic: Mutex<Option<String>>,
}

impl Shared {
    /// For one run, of whose clients all write to this resource.
    pub fn new(plan: Arc<Plan>, planted: Option<&'static Planted>, resource: Box<dyn Resource>) -> Self {
        let lanes = |count: usize| (0..count).map(|_| AtomicUsize::new(0)).collect();
        let next = plan.clients.iter().map(|client| lanes(client.lanes.len())).collect();
        Self {
            plan,
            beliefs: Beliefs::default(),
            resource,
            registers: Registers::default(),
            newest_revision: AtomicI64::new(1),
            planted,
            tickets: AtomicU64::new(0),
            observers: AtomicU64::new(0),
            deeds: AtomicU64::new(0),
            items: AtomicU64::new(0),
            next,
            legacies: Mutex::default(),
            panic: Mutex::new(None),
        }
    }

    /// As seen from one process of a real round: it goes on behind so many operations of each of its programs, and what it
    /// numbers begins after `numbered_from`.
    #[must_use]
    pub fn resumed(mut self, client: usize, done: &[usize], numbered_from: u64) -> Self {
        self.next[client] = done.iter().map(|&done| AtomicUsize::new(done)).collect();
        for number in [&mut self.tickets, &mut self.observers, &mut self.deeds, &mut self.items] {
            *number = AtomicU64::new(numbered_from);
        }
        self
    }

    /// What is held at this moment by whoever believes so.
    pub fn believed(&self) -> Vec<Holding> {
        self.beliefs.believed()
    }

    /// The panic of a client's program, if one panicked.
    pub fn take_panic(&self) -> Option<String> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn panicked(&self, message: String) {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }

    pub(super) fn next_ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An item to put into a queue, unlike any other of the run.
    pub(super) fn next_item(&self) -> String {
        self.items.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// A client was told of this revision.
    pub(super) fn saw_revision(&self, revision: i64) {
        self.newest_revision.fetch_max(revision, Ordering::Relaxed);
    }

    /// The revision so many before the newest that any client was told of, or the first.
    pub(super) fn some_revisions_ago(&self, back: u32) -> i64 {
        (self.newest_revision.load(Ordering::Relaxed) - i64::from(back)).max(1)
    }

    pub(super) fn next_observer(&self) -> u64 {
        self.observers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn next_deed(&self) -> u64 {
        self.deeds.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn next_operation(&self, client: usize, lane: usize) -> usize {
        self.next[client][lane].fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn leave_legacy(&self, client: u32, lane: usize, legacy: Legacy) {
        let mut legacies = self.legacies.lock().unwrap_or_else(PoisonError::into_inner);
        legacies.insert((client, lane), legacy);
    }

    /// What an earlier life left, if it left something; it is gone then.
    pub(super) fn take_legacy(&self, client: u32, lane: usize) -> Option<Legacy> {
        let mut legacies = self.legacies.lock().unwrap_or_else(PoisonError::into_inner);
        legacies.remove(&(client, lane))
    }

    pub(super) fn drain_at_ns(&self) -> u64 {
        self.plan.drain_at_ms * 1_000_000
    }

    /// The backend as the planted bug has it.
    pub(super) fn decorate(&self, backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
        match self.planted.map(|planted| planted.bug) {
            Some(Bug::Backend(decorate)) => decorate(backend),
            _ => backend,
        }
    }

    /// The connections as the planted bug has them.
    pub(super) fn wires(&self, wires: &[Arc<dyn Wire>]) -> Vec<Arc<dyn Wire>> {
        match self.planted.map(|planted| planted.bug) {
            Some(Bug::Wire(decorate)) => wires.iter().cloned().map(decorate).collect(),
            // Where there is no primitive to be idle.
            Some(Bug::DoesNothing) if self.plan.is_without_tenures() => wires.iter().map(refusing).collect(),
            _ => wires.to_vec(),
        }
    }

    /// The library's own backend as the planted bug sets it up.
    pub(super) fn options(&self, options: EtcdOptions) -> EtcdOptions {
        match self.planted.map(|planted| planted.bug) {
            Some(Bug::Options(change)) => change(options),
            _ => options,
        }
    }

    /// The primitive as the planted bug has it.
    pub(super) fn primitive(&self, kind: PrimitiveKind) -> Arc<dyn Primitive> {
        let wrong = match self.planted.map(|planted| planted.bug) {
            Some(Bug::Primitive(wrong)) => wrong(kind),
            Some(Bug::DoesNothing) => Some(idle()),
            _ => None,
        };
        wrong.map_or_else(|| Arc::new(Library::from(kind)) as Arc<dyn Primitive>, Arc::from)
    }
}
