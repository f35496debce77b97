//! Taking a step: the store applies a request, a process is given an input, something goes wrong.

use std::sync::{Arc, Mutex, PoisonError};

use tenure::kv::{Range, Request, Response};
use tenure::wire::Status;
use tenure::{CallError, Code, Refusal, WatchMessage};

use super::automaton::{At, Automaton};
use super::bounds::{Does, Role, Space};
use super::machine::{Effect, Input};
use super::monitor::{Broken, Monitor};
use super::program::{Start, Written};
use super::record;
use super::world::{Call, Choice, Late, Lease, Life, Process, Stands, Watch, World, lease_of, writes};
use crate::history::{Kind, What};
use crate::node::Node;
use crate::planted::Planted;
use crate::store::{Store, StoreConfig};

/// What all runs of a space share: what each process does, and what it was seen to do so far.
pub(super) struct Explored {
    pub(super) roles: Vec<Role>,
    pub(super) planted: Option<&'static Planted>,
    invariants: Vec<String>,
    /// Those of them that are judged by what was done with recipes.
    pub(super) judged_by_record: Vec<String>,
    automata: Vec<Mutex<Automaton>>,
}

/// Where the steps of a run go that is to be shown.
pub(super) trait Telling {
    /// Something happened.
    fn tell(&mut self, node: Node, what: What);
}

/// Where they go in a search: nowhere.
pub(super) struct Silent;

impl Telling for Silent {
    fn tell(&mut self, _: Node, _: What) {}
}

impl Explored {
    pub(super) fn new(space: &Space, planted: Option<&'static Planted>, forgets: bool) -> Self {
        let roles = space.roles();
        let automata = roles.iter().map(|_| Mutex::new(Automaton::new(forgets))).collect();
        let invariants = space.invariants.clone();
        Self { roles, planted, judged_by_record: record::judged(&invariants), invariants, automata }
    }

    /// How many states processes were seen in, and how many inputs live ones were given.
    pub(super) fn seen(&self) -> (usize, u64) {
        let lock = |automaton: &Mutex<Automaton>| {
            let automaton = automaton.lock().unwrap_or_else(PoisonError::into_inner);
            (automaton.len(), automaton.fed)
        };
        self.automata.iter().map(lock).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Whether the space wants this invariant to hold.
    pub(super) fn judges(&self, invariant: &str) -> bool {
        self.invariants.iter().any(|name| name == invariant)
    }

    fn root(&self, process: usize) -> At {
        self.automata[process].lock().unwrap_or_else(PoisonError::into_inner).root()
    }

    /// The world at the beginning: everybody has opened a session and asked for what it wants. Sessions are opened one after
    /// the other and without trouble: that has nothing to do with other processes, and without a session nothing is at stake.
    pub(super) fn begin(&self, space: &Space, to: &mut impl Telling) -> Result<World, Broken> {
        let store = Store::new(StoreConfig::default());
        let process = |index: usize| Process {
            at: self.root(index),
            life: if self.roles[index].does.takes_over() { Life::ToCome } else { Life::Runs },
            calls: Vec::new(),
            watches: Vec::new(),
            lapsed: false,
            fresh: true,
            written: None,
            grants: 0,
        };
        let mut world = World {
            store: Arc::new(store),
            processes: (0..self.roles.len()).map(process).collect(),
            leases: Vec::new(),
            late: Vec::new(),
            left: space.bounds,
            monitor: Monitor::new(&self.roles),
            numbers: 0,
        };
        for index in 0..self.roles.len() as u8 {
            if world.processes[index as usize].life == Life::ToCome {
                continue;
            }
            to.tell(Node::Client(index.into()), What::Started);
            world.start(self, index, None, to)?;
            if self.roles[index as usize].opens {
                continue;
            }
            while let Some(call) = world.processes[index as usize].calls.first() {
                if !matches!(*call.request, Request::LeaseGrant { .. }) {
                    break;
                }
                let call = call.id;
                world.take(self, Choice::Apply { process: index, call }, to)?;
                world.take(self, Choice::Answer { process: index, call }, to)?;
            }
        }
        for process in &mut world.processes {
            process.fresh = true;
        }
        Ok(world)
    }
}

impl World {
    fn start(
        &mut self,
        explored: &Explored,
        process: u8,
        written: Option<Written>,
        to: &mut impl Telling,
    ) -> Result<(), Broken> {
        let start = Start {
            client: process.into(),
            role: explored.roles[process as usize].clone(),
            planted: explored.planted,
            written,
        };
        self.give(explored, process, &Input::Start(Arc::new(start)), to)
    }

    /// Takes a step that is enabled.
    ///
    /// # Errors
    /// What it breaks.
    pub(super) fn take(
        &mut self,
        explored: &Explored,
        choice: Choice,
        to: &mut impl Telling,
    ) -> Result<(), Broken> {
        match choice {
            Choice::Apply { process, call } => self.apply(explored, process, call, to),
            Choice::ApplyLagging { process, call } => {
                self.left.lags -= 1;
                self.apply_lagging(process, call, to);
                Ok(())
            }
            Choice::Answer { process, call } => {
                let Some(call) = self.take_call(process, call) else { return Ok(()) };
                let Some(result) = call.answer else { return Ok(()) };
                to.tell(Node::Client(process.into()), answered(call.number, &result));
                self.give(explored, process, &Input::Answer { call: call.id, result }, to)
            }
            Choice::LoseAnswer { process, call } => {
                self.left.lost_answers -= 1;
                let Some(call) = self.take_call(process, call) else { return Ok(()) };
                to.tell(Node::World, What::Network { call: call.number, did: "answer lost" });
                self.fail(explored, process, &call, CallError::Maybe("the answer was lost".to_owned()), to)
            }
            Choice::NotApplied { process, call } => {
                self.left.not_applied -= 1;
                let Some(call) = self.take_call(process, call) else { return Ok(()) };
                to.tell(Node::World, What::Network { call: call.number, did: "request lost" });
                self.fail(explored, process, &call, CallError::NotApplied("no member took it".to_owned()), to)
            }
            Choice::GiveUp { process, call } => {
                self.left.late_requests -= 1;
                let Some(call) = self.take_call(process, call) else { return Ok(()) };
                self.is_late(process, &call, true);
                self.fail(explored, process, &call, CallError::Maybe("no answer came".to_owned()), to)
            }
            Choice::ApplyLate { process, call } => self.apply_late(process, call, to),
            Choice::Open { process, watch } => {
                self.open(process, watch, to);
                Ok(())
            }
            Choice::Tell { process, watch } => self.tell_watch(explored, process, watch, to),
            Choice::Break { process, watch } => {
                self.left.breaks -= 1;
                self.break_watch(process, watch, to);
                Ok(())
            }
            Choice::Timer { process } => {
                if self.overtakes(&choice, &explored.roles) {
                    self.left.early_timers -= 1;
                }
                self.give(explored, process, &Input::Timer, to)
            }
            Choice::Renew { process } => {
                self.left.renewals -= 1;
                to.tell(
                    Node::Client(process.into()),
                    What::Note("time passes: the session is to be renewed".into()),
                );
                self.give(explored, process, &Input::LongTimer, to)
            }
            Choice::Go { process } => self.give(explored, process, &Input::Go, to),
            Choice::Cancel { process } => {
                self.left.cancels -= 1;
                to.tell(Node::Client(process.into()), What::Note("drops what it waits for".into()));
                self.give(explored, process, &Input::Cancel, to)
            }
            Choice::Crash { process } => {
                self.left.crashes -= 1;
                self.crash(process, to);
                Ok(())
            }
            Choice::Lapse { process } => self.lapse(explored, process, to),
            Choice::TakeOver { process } => {
                self.processes[process as usize].life = Life::Runs;
                let of_lease = Written { lease: lease_of(0, 0), rev: 0 };
                let relocks = explored.roles[process as usize].does == Does::Relock;
                let written = self.processes[0].written.take().or(relocks.then_some(of_lease));
                to.tell(Node::Client(process.into()), What::Started);
                self.start(explored, process, written, to)
            }
            Choice::Expire { process } => {
                self.expire(process, to);
                Ok(())
            }
            Choice::Revoke { process } => {
                self.left.revocations -= 1;
                let lease = self.leases[process as usize].id;
                to.tell(Node::World, What::Note(format!("somebody revokes lease {lease:x}")));
                let request = Arc::new(Request::LeaseRevoke { id: lease });
                self.commit(&request, None, None, to).map(drop).unwrap_or_default();
                Ok(())
            }
            Choice::Compact => {
                self.left.compactions -= 1;
                let request = Arc::new(Request::Compact { revision: self.store.revision(), physical: false });
                self.commit(&request, None, None, to).map(drop).unwrap_or_default();
                Ok(())
            }
        }
    }

    fn take_call(&mut self, process: u8, call: u32) -> Option<Call> {
        let calls = &mut self.processes[process as usize].calls;
        let at = calls.iter().position(|it| it.id == call)?;
        Some(calls.remove(at))
    }

    fn fail(
        &mut self,
        explored: &Explored,
        process: u8,
        call: &Call,
        error: CallError,
        to: &mut impl Telling,
    ) -> Result<(), Broken> {
        to.tell(Node::Client(process.into()), What::GaveUp { call: call.number });
        self.give(explored, process, &Input::Answer { call: call.id, result: Arc::new(Err(error)) }, to)
    }

    fn is_late(&mut self, process: u8, call: &Call, counted: bool) {
        let others = self.late.iter().filter(|late| late.process == process);
        let id = others.map(|late| late.id + 1).max().unwrap_or(0);
        self.late.push(Late {
            process,
            id,
            number: call.number,
            request: Arc::clone(&call.request),
            counted,
        });
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Gives a process an input, and takes in what it does.
    fn give(
        &mut self,
        explored: &Explored,
        process: u8,
        input: &Input,
        to: &mut impl Telling,
    ) -> Result<(), Broken> {
        let index = process as usize;
        let edge = {
            let mut automaton = explored.automata[index].lock().unwrap_or_else(PoisonError::into_inner);
            automaton.step(self.processes[index].at.id, input)
        };
        self.processes[index].at = edge.to;
        let node = Node::Client(process.into());
        let mut first = Ok(());
        for effect in &*edge.effects {
            match effect {
                Effect::Call { call, request, sent_ns } => {
                    let number = self.next_number();
                    let sent = What::Sent { call: number, member: 0, request: Arc::clone(request) };
                    self.monitor.note(node, &sent);
                    to.tell(node, sent);
                    let request = Arc::clone(request);
                    let call = Call { id: *call, number, request, sent_ns: *sent_ns, answer: None };
                    self.processes[index].calls.push(call);
                }
                Effect::CallDropped { call } => self.drop_call(process, *call, to),
                Effect::Watch { watch, request } => {
                    let (number, request) = (self.next_number(), Arc::clone(request));
                    to.tell(
                        node,
                        What::WatchSent { watch: number, member: 0, request: Arc::clone(&request) },
                    );
                    let stands = Stands::Opening;
                    let watch =
                        Watch { id: *watch, number, request, stands, told: 0, queue: Default::default() };
                    self.processes[index].watches.push(watch);
                }
                Effect::WatchDropped { watch } => self.processes[index].watches.retain(|it| it.id != *watch),
                Effect::Record(what) => {
                    let mut what = What::clone(what);
                    let mut broken = self.watch(process, &mut what);
                    self.monitor.note(node, &what);
                    if matches!(what, What::Did { .. }) {
                        broken = broken.or_else(|| self.monitor.judge(explored));
                    }
                    if let What::Granted { holding, .. } = &what
                        && process == 0
                        && self.processes.iter().any(|other| other.life == Life::ToCome)
                    {
                        let written = Written { lease: holding.lease, rev: holding.token };
                        self.processes[index].written = Some(written);
                    }
                    to.tell(node, what);
                    let judged = broken.filter(|broken| explored.judges(broken.invariant));
                    first = first.and(judged.map_or(Ok(()), Err));
                }
                Effect::Panicked(words) => {
                    first =
                        first.and(Err(Broken { invariant: "panic", detail: format!("c{process}: {words}") }));
                }
            }
        }
        first
    }

    /// Nobody waits for a request any more. If it has not been applied it may be yet.
    fn drop_call(&mut self, process: u8, call: u32, to: &mut impl Telling) {
        let Some(call) = self.take_call(process, call) else { return };
        to.tell(Node::Client(process.into()), What::GaveUp { call: call.number });
        if call.answer.is_none() && writes(&call.request) && self.left.late_requests > 0 {
            self.is_late(process, &call, false);
        }
    }

    fn crash(&mut self, process: u8, to: &mut impl Telling) {
        to.tell(Node::Client(process.into()), What::Crashed);
        let calls: Vec<u32> = self.processes[process as usize].calls.iter().map(|call| call.id).collect();
        for call in calls {
            self.drop_call(process, call, to);
        }
        let it = &mut self.processes[process as usize];
        it.life = Life::Crashed;
        it.watches.clear();
    }

    fn lapse(&mut self, explored: &Explored, process: u8, to: &mut impl Telling) -> Result<(), Broken> {
        self.left.expiries -= 1;
        let Some(at_ns) = self.lease_kept_by(process).map(Lease::until_ns) else { return Ok(()) };
        self.processes[process as usize].lapsed = true;
        to.tell(
            Node::Client(process.into()),
            What::Note("its session's time is over, by its own clock".into()),
        );
        self.give(explored, process, &Input::Clock { at_ns }, to)
    }

    fn apply(
        &mut self,
        explored: &Explored,
        process: u8,
        call: u32,
        to: &mut impl Telling,
    ) -> Result<(), Broken> {
        let index = process as usize;
        self.processes[index].fresh = false;
        let Some(at) = self.processes[index].calls.iter().position(|it| it.id == call) else { return Ok(()) };
        let (request, sent_ns, number) = {
            let call = &self.processes[index].calls[at];
            (Arc::clone(&call.request), call.sent_ns, call.number)
        };
        let kind = explored.roles[index].does.kind();
        let result = match *request {
            Request::LeaseGrant { ttl_s, .. } => {
                let id = lease_of(process, self.processes[index].grants);
                self.processes[index].grants += 1;
                self.leases.push(Lease { id, keeper: process, sent_ns });
                let grant = Arc::new(Request::LeaseGrant { id, ttl_s });
                self.commit(&grant, Some(number), None, to)
            }
            Request::LeaseKeepAlive { id } => Ok(self.renew(process, id, sent_ns)),
            Request::Range(_) => self.store.read(&request),
            _ if !writes(&request) => self.store.read(&request),
            _ => self.commit(&request, Some(number), kind.map(|kind| (process, kind)), to),
        };
        let answer = Arc::new(result.map_err(|status| refused(&status)));
        self.processes[index].calls[at].answer = Some(answer);
        Ok(())
    }

    /// A read is answered as of the revision before.
    fn apply_lagging(&mut self, process: u8, call: u32, to: &mut impl Telling) {
        let store = Arc::clone(&self.store);
        let calls = &mut self.processes[process as usize].calls;
        let Some(call) = calls.iter_mut().find(|it| it.id == call) else { return };
        let Request::Range(range) = &*call.request else { return };
        let revision = store.revision() - 1;
        let past = Request::Range(Range { revision, ..range.clone() });
        let answer = store.read(&past).map(|response| match response {
            Response::Range(mut range) => {
                range.header.revision = revision;
                Response::Range(range)
            }
            other => other,
        });
        call.answer = Some(Arc::new(answer.map_err(|status| refused(&status))));
        to.tell(Node::World, What::Note(format!("call {} is answered by a member that lags", call.number)));
    }

    fn renew(&mut self, process: u8, id: i64, sent_ns: u64) -> Response {
        let header = self.store.header();
        let ttl_s = self.store.lease(id).map_or(0, |lease| lease.ttl_s);
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.id == id) {
            // A takeover has a clock of its own.
            lease.sent_ns = if lease.keeper == process { lease.sent_ns.max(sent_ns) } else { sent_ns };
            lease.keeper = process;
        }
        Response::LeaseKeepAlive { header, ttl_s }
    }

    fn apply_late(&mut self, process: u8, call: u32, to: &mut impl Telling) -> Result<(), Broken> {
        let Some(at) = self.late.iter().position(|late| (late.process, late.id) == (process, call)) else {
            return Ok(());
        };
        let late = self.late.remove(at);
        if !late.counted {
            self.left.late_requests -= 1;
            if self.left.late_requests == 0 {
                self.late.retain(|late| late.counted);
            }
        }
        let _refused = self.commit(&late.request, Some(late.number), None, to);
        Ok(())
    }

    fn expire(&mut self, lease: u8, to: &mut impl Telling) {
        let lease = self.leases[lease as usize];
        let keeper = &self.processes[lease.keeper as usize];
        if keeper.life == Life::Runs && !keeper.at.info.done && keeper.at.info.timer_due {
            self.left.pauses -= 1;
            to.tell(Node::Client(lease.keeper.into()), What::Note("stands still meanwhile".into()));
        }
        to.tell(Node::Member(0), What::LeaseExpired { lease: lease.id });
        let request = Arc::new(Request::LeaseRevoke { id: lease.id });
        let _refused = self.commit(&request, None, None, to);
    }

    /// The store applies a write, and watches hear of it.
    fn commit(
        &mut self,
        request: &Arc<Request>,
        call: Option<u64>,
        holder: Option<(u8, Kind)>,
        to: &mut impl Telling,
    ) -> Result<Response, Status> {
        let store = Arc::make_mut(&mut self.store);
        store.check(request)?;
        let before = store.revision();
        let applied = store.apply(request);
        if let Request::LeaseRevoke { id } = **request {
            self.leases.retain(|lease| lease.id != id);
        }
        let revision = self.store.revision();
        if !applied.events.is_empty() {
            self.monitor.wrote(&self.store, &applied.events, holder);
        }
        if revision > before {
            for watch in self.processes.iter_mut().flat_map(|process| &mut process.watches) {
                if watch.stands != Stands::Open {
                    continue;
                }
                if let Ok(events) = self.store.events(&watch.request, revision)
                    && !events.is_empty()
                {
                    watch.queue.push_back(Arc::new(Ok(WatchMessage::Events { events })));
                }
            }
        }
        let request = Arc::clone(request);
        let committed = What::Committed { revision, call, request, events: applied.events };
        self.monitor.note(Node::Member(0), &committed);
        to.tell(Node::Member(0), committed);
        applied.result
    }

    /// Opens a watch at the store's present revision, or has one that broke go on from what it told last.
    fn open(&mut self, process: u8, watch: u32, to: &mut impl Telling) {
        let store = Arc::clone(&self.store);
        let node = Node::Client(process.into());
        let watches = &mut self.processes[process as usize].watches;
        let Some(it) = watches.iter_mut().find(|it| it.id == watch) else { return };
        let from = if it.stands == Stands::Broken {
            to.tell(node, What::Note(format!("watch {} resumes", it.number)));
            it.told + 1
        } else {
            let revision = store.revision();
            it.queue.push_back(Arc::new(Ok(WatchMessage::Created { revision })));
            if it.request.start_revision > 0 { it.request.start_revision } else { revision + 1 }
        };
        it.stands = Stands::Open;
        match store.events(&it.request, from) {
            Ok(events) if events.is_empty() => {}
            Ok(events) => it.queue.push_back(Arc::new(Ok(WatchMessage::Events { events }))),
            Err(gone) => {
                it.stands = Stands::Over;
                let compact_revision = gone.compact_revision;
                it.queue.push_back(Arc::new(Ok(WatchMessage::Compacted { compact_revision })));
            }
        }
    }

    fn tell_watch(
        &mut self,
        explored: &Explored,
        process: u8,
        watch: u32,
        to: &mut impl Telling,
    ) -> Result<(), Broken> {
        let watches = &mut self.processes[process as usize].watches;
        let Some(it) = watches.iter_mut().find(|it| it.id == watch) else { return Ok(()) };
        let Some(message) = it.queue.pop_front() else { return Ok(()) };
        let (kind, revision, events) = match &*message {
            Ok(WatchMessage::Created { revision }) => ("created", *revision, Vec::new()),
            Ok(WatchMessage::Events { events }) => {
                ("events", events.last().map_or(0, |event| event.kv.mod_revision), events.clone())
            }
            Ok(WatchMessage::Compacted { compact_revision }) => ("compacted", *compact_revision, Vec::new()),
            Err(_) => ("canceled", 0, Vec::new()),
        };
        // A watch from the past is open at a revision that it has yet to come to.
        let from_past = kind == "created" && it.request.start_revision > 0;
        it.told = it.told.max(if from_past { it.request.start_revision - 1 } else { revision });
        let told = What::WatchTold { watch: it.number, kind, revision, events };
        to.tell(Node::Client(process.into()), told);
        self.give(explored, process, &Input::Told { watch, message }, to)
    }

    /// What was under way is told again after the break; a watch that was not said to be open is opened anew.
    fn break_watch(&mut self, process: u8, watch: u32, to: &mut impl Telling) {
        let watches = &mut self.processes[process as usize].watches;
        let Some(it) = watches.iter_mut().find(|it| it.id == watch) else { return };
        let told_that_open =
            it.queue.iter().all(|message| !matches!(**message, Ok(WatchMessage::Created { .. })));
        it.queue.clear();
        it.stands = if told_that_open { Stands::Broken } else { Stands::Opening };
        let status = Status { code: Code::Unavailable, message: "the stream broke".to_owned(), sent: true };
        to.tell(Node::Client(process.into()), What::WatchBroke { watch: it.number, status });
    }
}

fn answered(call: u64, result: &Result<Response, CallError>) -> What {
    let outcome = match result {
        Ok(response) => Ok(Arc::new(response.clone())),
        Err(error) => Err(Status { code: Code::FailedPrecondition, message: error.to_string(), sent: true }),
    };
    What::Answered { call, outcome }
}

/// What the library's backend makes of a refusal.
fn refused(status: &Status) -> CallError {
    CallError::Refused(match status.code {
        Code::NotFound if status.message.contains("lease not found") => Refusal::LeaseNotFound,
        Code::OutOfRange if status.message.contains("compacted") => Refusal::Compacted,
        code => Refusal::Other { code, message: status.message.clone() },
    })
}
