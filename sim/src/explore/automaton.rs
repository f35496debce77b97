//! A process as an automaton: its state is what it has been given so far, and each step from there is carried out by the
//! library's code once and remembered. A process does nothing but by its inputs, so the same inputs bring it to the same
//! state in whatever order the rest of the world moved; that is what makes it cheap to go back.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tenure::CallError;
use tenure::kv::Response;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::machine::{Effect, Info, Input, Machine};

/// How many live processes are kept to go on from.
const KEPT: usize = 4;

/// The hash of a process that has come to its end: whatever it went through, it does nothing any more.
const DONE: u128 = 0xd09e;

/// A state of a process.
#[derive(Clone, Debug)]
pub(super) struct At {
    /// Its place among the automaton's states.
    pub(super) id: u32,
    /// What it has been given, hashed.
    pub(super) hash: u128,
    /// What can be seen of it.
    pub(super) info: Arc<Info>,
}

/// One step of a process.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    /// Where it leads.
    pub(super) to: At,
    /// What the process did.
    pub(super) effects: Arc<[Effect]>,
}

struct State {
    at: At,
    before: Option<(u32, Input)>,
    edges: BTreeMap<u128, Edge>,
}

/// Every state of one process that was seen so far.
pub(super) struct Automaton {
    states: Vec<State>,
    live: Vec<(u32, Machine)>,
    /// The states in which the process settled, by what it remembers there: however it came there, it is the same.
    settled: BTreeMap<u128, u32>,
    merges: bool,
    /// Whether steps are carried out anew each time, to check that nothing hangs on it.
    forgets: bool,
    /// How many inputs live processes were given.
    pub(super) fed: u64,
}

impl Automaton {
    /// A process that has not begun.
    pub(super) fn new(forgets: bool) -> Self {
        let at = At { id: 0, hash: 0, info: Arc::default() };
        let root = State { at, before: None, edges: BTreeMap::new() };
        Self {
            states: vec![root],
            live: Vec::new(),
            settled: BTreeMap::new(),
            merges: !forgets,
            forgets,
            fed: 0,
        }
    }

    /// Before its first input.
    pub(super) fn root(&self) -> At {
        self.states[0].at.clone()
    }

    /// How many states were seen.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// What the process does when it is given `input` in state `from`.
    pub(super) fn step(&mut self, from: u32, input: &Input) -> Edge {
        let label = label(input);
        let known = self.states[from as usize].edges.get(&label);
        if let Some(edge) = known
            && !self.forgets
        {
            return edge.clone();
        }
        let known = known.cloned();
        let mut machine = self.machine(from);
        let effects: Arc<[Effect]> = machine.feed(input).into();
        self.fed += 1;
        let info = Arc::new(machine.info());
        let edge = match known {
            // The same state has the same place, whatever way is taken to it.
            Some(edge) => Edge { effects, to: At { info, ..edge.to } },
            None => {
                let id = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
                let before = self.states[from as usize].at.hash;
                let mut bytes = Bytes::default();
                before.hash(&mut bytes);
                label.hash(&mut bytes);
                let settled = machine.settled().filter(|_| self.merges);
                let hash = match settled {
                    _ if info.done => DONE,
                    Some((state, _)) => state,
                    None => bytes.digest(),
                };
                let same = settled.and_then(|(state, _)| self.settled.get(&state).copied());
                let to = match same {
                    Some(id) => self.states[id as usize].at.clone(),
                    None => {
                        let to = At { id, hash, info };
                        let before = Some((from, input.clone()));
                        self.states.push(State { at: to.clone(), before, edges: BTreeMap::new() });
                        if let Some((state, _)) = settled {
                            self.settled.insert(state, id);
                        }
                        to
                    }
                };
                let edge = Edge { to, effects };
                self.states[from as usize].edges.insert(label, edge.clone());
                edge
            }
        };
        self.live.insert(0, (edge.to.id, machine));
        self.live.truncate(KEPT);
        edge
    }

    /// A live process in this state: one that is kept there, or one that is given all its inputs anew.
    fn machine(&mut self, at: u32) -> Machine {
        if let Some(kept) = self.live.iter().position(|(id, _)| *id == at) {
            return self.live.remove(kept).1;
        }
        let mut inputs = Vec::new();
        let mut state = at;
        while let Some((before, input)) = &self.states[state as usize].before {
            inputs.push(input.clone());
            state = *before;
        }
        let mut machine = Machine::new();
        for input in inputs.iter().rev() {
            machine.feed(input);
        }
        self.fed += inputs.len() as u64;
        machine
    }
}

fn label(input: &Input) -> u128 {
    let mut bytes = Bytes::default();
    match input {
        Input::Start(start) => {
            0u8.hash(&mut bytes);
            start.client.hash(&mut bytes);
            let written = start.written.as_ref().map(|written| (written.lease, written.rev));
            written.hash(&mut bytes);
        }
        Input::Answer { call, result } => {
            (1u8, call).hash(&mut bytes);
            hash_answer(result, &mut bytes);
        }
        Input::Told { watch, message } => {
            (2u8, watch).hash(&mut bytes);
            hash_message(message, &mut bytes);
        }
        Input::Timer => 3u8.hash(&mut bytes),
        Input::LongTimer => 4u8.hash(&mut bytes),
        Input::Go => 5u8.hash(&mut bytes),
        Input::Cancel => 6u8.hash(&mut bytes),
        Input::Clock { at_ns } => (7u8, at_ns).hash(&mut bytes),
    }
    bytes.digest()
}

/// Takes in what a process is told by an answer: of those about leases the library sees no revision (`tenure::Backend`).
pub(super) fn hash_answer(answer: &Result<Response, CallError>, into: &mut impl Hasher) {
    match answer {
        Ok(Response::LeaseKeepAlive { header: _, ttl_s }) => (1u8, ttl_s).hash(into),
        Ok(Response::LeaseGrant { header: _, grant }) => (2u8, grant).hash(into),
        Ok(Response::LeaseRevoke { header: _ }) => 3u8.hash(into),
        Ok(response) => (4u8, response).hash(into),
        Err(error) => (5u8, format!("{error:?}")).hash(into),
    }
}

/// Takes in a message of a watch.
pub(super) fn hash_message(message: &Result<tenure::WatchMessage, tenure::Refusal>, into: &mut impl Hasher) {
    match message {
        Ok(tenure::WatchMessage::Created { revision }) => (0u8, revision).hash(into),
        Ok(tenure::WatchMessage::Events { events }) => (1u8, events).hash(into),
        Ok(tenure::WatchMessage::Compacted { compact_revision }) => (2u8, compact_revision).hash(into),
        Err(refusal) => format!("{refusal:?}").hash(into),
    }
}

/// Takes bytes together and hashes them at once.
#[derive(Default)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    /// The hash of what was taken in.
    pub(super) fn digest(&self) -> u128 {
        xxh3_128_with_seed(&self.0, 0)
    }

    /// Forgets what was taken in.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}
