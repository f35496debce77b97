//! The state of one world and its one loop: take the next event, let it happen. Everything here is synchronous; time
//! is a number.

use std::collections::BTreeMap;
use std::task::Waker;

use rand::RngExt;

use super::bound::Bound;
use super::call::Call;
use super::client::{ClientProcess, Effect, Timers};
use super::config::ClusterConfig;
use super::draws::Draws;
use super::event::{Agenda, Event, Local};
use super::faults::ActiveFaults;
use super::links::Links;
use super::member::Member;
use super::membership::Operator;
use super::outside::Space;
use super::peer::Committed;
use super::planned::Planner;
use super::watch::Watch;
use super::world::PumpState;
use crate::history::{Recorder, What};
use crate::node::Node;
use crate::streams::Streams;

/// The state of one world.
pub(crate) struct Core {
    pub(crate) now_ns: u64,
    pub(crate) config: ClusterConfig,
    pub(crate) recorder: Recorder,
    pub(crate) agenda: Agenda,
    pub(crate) bound: Bound,
    pub(crate) draws: Draws,
    pub(crate) links: Links,
    pub(crate) members: Vec<Member>,
    pub(crate) clients: Vec<ClientProcess>,
    pub(crate) timers: Timers,
    pub(crate) calls: BTreeMap<u64, Call>,
    pub(crate) watches: BTreeMap<u64, Watch>,
    /// Messages that wait for a cut link to heal, as TCP sends them again.
    pub(crate) held: Vec<Held>,
    /// Every entry that was ever committed: what each member must apply in turn.
    pub(crate) committed: Vec<Committed>,
    pub(crate) faults: ActiveFaults,
    pub(crate) operator: Operator,
    /// Where the faults of rounds come from, and how many there were.
    pub(crate) planner: Option<Planner>,
    pub(crate) planned: usize,
    pub(crate) space: Space,
    pub(crate) effects: Vec<Effect>,
    pub(crate) pump: PumpState,
    pub(crate) finished: bool,
    /// Who hears whom may have changed: look again before going on.
    pub(crate) shaken: bool,
    next_id: u64,
}

/// A message that waits for a link to heal.
pub(crate) struct Held {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) event: Event,
}

pub(crate) const MS: u64 = 1_000_000;

impl Core {
    pub(crate) fn new(seed: u64, config: ClusterConfig, recorder: Recorder, now_ns: u64) -> Self {
        let count = (config.members.max(1) + config.spares) as usize;
        let links = Links::new(count);
        let links = if config.clients_outside { links.outside_from(count) } else { links };
        let mut core = Self {
            now_ns,
            recorder,
            agenda: Agenda::default(),
            bound: Bound::default(),
            draws: Draws::new(Streams::new(seed), count),
            links,
            members: Vec::with_capacity(count),
            clients: Vec::new(),
            timers: Timers::default(),
            calls: BTreeMap::new(),
            watches: BTreeMap::new(),
            held: Vec::new(),
            committed: Vec::new(),
            faults: ActiveFaults::default(),
            operator: Operator::of(config.members.max(1) as usize),
            planner: None,
            planned: 0,
            space: Space::default(),
            effects: Vec::new(),
            pump: PumpState::default(),
            finished: false,
            shaken: true,
            next_id: 0,
            config,
        };
        core.found_cluster(count);
        core
    }

    /// Numbers calls, watches, proposals and whatever else needs a number of its own in this run.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Wakes a task, which is to run before time goes on.
    pub(crate) fn wake(&mut self, waker: Waker) {
        self.pump.woke = true;
        waker.wake();
    }

    pub(crate) fn record(&self, node: Node, what: What) {
        self.recorder.record(self.now_ns, node, what);
    }

    pub(crate) fn record_member(&self, member: usize, what: What) {
        self.record(Node::Member(member as u32), what);
    }

    pub(crate) fn schedule(&mut self, delay_ns: u64, event: Event) {
        self.schedule_at(self.now_ns.saturating_add(delay_ns), event);
    }

    pub(crate) fn schedule_at(&mut self, at_ns: u64, event: Event) {
        if !self.finished {
            self.agenda.push(at_ns.max(self.now_ns), event);
        }
    }

    pub(crate) fn schedule_local(&mut self, delay_ns: u64, member: usize, what: Local) {
        let boot = self.members[member].boot;
        self.schedule(delay_ns, Event::Local { member, boot, what });
    }

    /// The number of a client among all nodes.
    pub(crate) fn client_node(&self, client: usize) -> usize {
        self.members.len() + client
    }

    pub(crate) fn add_client(&mut self, process: ClientProcess) -> usize {
        self.links.add_node();
        self.clients.push(process);
        self.clients.len() - 1
    }

    /// Lets every event happen that is due.
    pub(crate) fn run_due(&mut self) {
        while let Some(event) = self.agenda.pop_due(self.now_ns) {
            if self.is_beyond_bound() && self.note_beyond_bound(&event) {
                return self.run_away();
            }
            self.happen(event);
            self.settle();
        }
    }

    /// When the next event is that still means something.
    pub(crate) fn next_event_ns(&mut self) -> Option<u64> {
        while let Some(Event::Timer { slot, generation }) = self.agenda.peek() {
            if !self.timers.is_void(*slot, *generation) {
                break;
            }
            self.agenda.discard();
        }
        self.agenda.next_at_ns()
    }

    /// After a change of who is up, leads or can be reached: what follows from it.
    #[inline]
    pub(crate) fn settle(&mut self) {
        while self.shaken {
            self.shaken = false;
            if !self.finished {
                self.look_around();
            }
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(member) = event.member() {
            let from_client = matches!(event, Event::Request(_) | Event::WatchOpens { .. });
            if !self.members[member].is_up() || from_client && !self.members[member].listens {
                return self.miss(event);
            }
            if self.members[member].is_paused() {
                return self.members[member].inbox.push(event);
            }
        }
        match event {
            Event::Timer { slot, generation } => {
                if !self.timers.is_void(slot, generation)
                    && let Some(waker) = self.timers.take_waker(slot)
                {
                    self.wake(waker);
                }
            }
            Event::Request(incoming) => self.serve(&incoming),
            Event::Answer { call, outcome, double } => self.deliver_answer(call, outcome, double),
            Event::WatchOpens { watch, .. } => self.create_watch(watch),
            Event::WatchProgress { watch, .. } => self.tell_progress(watch),
            Event::WatchTold { watch } => self.deliver_watch(watch),
            Event::WatchBreaks { watch } => self.deliver_break(watch),
            Event::Peer { from, to, servers, message } => {
                if servers == (self.members[from].server, self.members[to].server) {
                    self.members[to].remotes.insert(from, servers.0);
                    if !self.is_of_removed(to, from, servers.0) && self.counts(to, from, &message) {
                        self.hear(to, from, message);
                    }
                }
            }
            Event::Operator => self.operate(),
            Event::Local { member, boot, what } => {
                if self.members[member].boot == boot {
                    self.happen_within(member, what);
                }
            }
            Event::Flap { index, generation } => self.flap(index, generation),
            Event::FaultBegins { index, fault } => self.inject(index, &fault),
            Event::FaultEnds { index, fault } => self.heal(index, &fault),
            Event::NextRound { at_ns } => self.plan_round(at_ns),
        }
    }

    fn happen_within(&mut self, member: usize, what: Local) {
        match what {
            Local::Synced { term, index } => self.synced(member, term, index),
            Local::Acknowledge { to, term, matched } => self.acknowledge(member, to, term, matched),
            Local::Leave => self.leave(member),
            Local::PowerFails => self.power_fails(member),
            Local::ElectionTimeout { generation } => self.election_timeout(member, generation),
            Local::QuorumTimeout { generation } => self.quorum_timeout(member, generation),
            Local::TransferTimeout { generation } => self.transfer_timeout(member, generation),
            Local::Leaderless { generation } => self.leaderless(member, generation),
            Local::Resync { peer } => self.resync(member, peer),
            Local::Scan { generation } => self.scan_leases(member, generation),
            Local::Revoke { lease } => self.propose_revocation(member, lease),
            Local::WatchSync => self.sync_watches(member),
            Local::RequestTimeouts => self.time_requests_out(member),
            Local::ReadRetry => self.retry_reads(member),
            Local::RenewRetry { forward } => self.retry_forward(member, forward),
        }
    }

    /// A member that goes on takes in what came while it stood still, in no certain order.
    pub(crate) fn take_inbox(&mut self, member: usize) {
        for event in std::mem::take(&mut self.members[member].inbox) {
            let delay_ns = self.draws.member(self.now_ns, member).random_range(0..=MS);
            self.schedule(delay_ns, event);
        }
    }

    /// What reaches a member that is down, or does not listen yet.
    pub(crate) fn miss(&mut self, event: Event) {
        match event {
            Event::Request(incoming) => self.reset_call(&incoming),
            Event::WatchOpens { watch, .. } => self.reset_watch(watch),
            _ => {}
        }
    }

    /// Ends the world: nothing more happens, and every client's node is killed.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        self.agenda.clear();
        self.held.clear();
        for client in 0..self.clients.len() {
            let process = &mut self.clients[client];
            process.alive = false;
            let node = process.node;
            self.effects.extend(node.map(Effect::Kill));
        }
        self.calls.clear();
        self.watches.clear();
    }
}
