//! What is going to happen in a world: its events, ordered by time and then by the order in which they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use tenure::kv::Request;

use super::peer::PeerMessage;
use super::wire::Outcome;
use crate::fault::Fault;

/// Something that happens at one instant.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A client's timer, or the run's own, may be due.
    Timer { slot: usize, generation: u32 },
    /// A request reaches a member.
    Request(Arc<Incoming>),
    /// The answer to a call reaches the client.
    Answer { call: u64, outcome: Arc<Outcome>, double: bool },
    /// The request to open a watch reaches its member.
    WatchOpens { watch: u64, member: usize },
    /// The request for a watch's progress reaches its member.
    WatchProgress { watch: u64, member: usize },
    /// The next message of a watch reaches its client.
    WatchTold { watch: u64 },
    /// The client finds a watch's connection broken.
    WatchBreaks { watch: u64 },
    /// A message between members arrives.
    /// `servers`: which server it was at each of the two places when it was sent.
    Peer { from: usize, to: usize, servers: (u32, u32), message: PeerMessage },
    /// The operator who changes the membership looks again.
    Operator,
    /// Something within a member; void if the member was started anew since.
    Local { member: usize, boot: u32, what: Local },
    /// A flapping link changes its state.
    Flap { index: usize, generation: u32 },
    /// A fault of a round begins.
    FaultBegins { index: usize, fault: Arc<Fault> },
    /// A fault of a round ends.
    FaultEnds { index: usize, fault: Arc<Fault> },
    /// The next round of faults begins.
    NextRound { at_ns: u64 },
}

/// A request under way to a member, or at it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) call: u64,
    /// The network's double of a request; nobody waits for its answer.
    pub(crate) double: bool,
    pub(crate) client: usize,
    pub(crate) member: usize,
    pub(crate) request: Arc<Request>,
}

/// What happens within one member.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Local {
    /// A leader's own log is durable up to here.
    Synced { term: u64, index: usize },
    /// A follower's log is durable up to here, as its leader is now told.
    Acknowledge { to: usize, term: u64, matched: usize },
    /// It was removed, and ends now.
    Leave,
    /// Its power fails, if that is still to be.
    PowerFails,
    /// It has heard of no leader for too long.
    ElectionTimeout { generation: u32 },
    /// As a leader it has not heard of a majority for too long.
    QuorumTimeout { generation: u32 },
    /// As a leader it has been handing over for too long.
    TransferTimeout { generation: u32 },
    /// It has had no leader each of the three times that etcd looked.
    Leaderless { generation: u32 },
    /// As a leader it sends a follower what that one may lack.
    Resync { peer: usize },
    /// It looks for expired leases.
    Scan { generation: u32 },
    /// A goroutine of the lease scan proposes a revocation.
    Revoke { lease: i64 },
    /// It serves its unsynced watches.
    WatchSync,
    /// It looks for requests that have waited too long.
    RequestTimeouts,
    /// It asks once more for the confirmation that its reads wait for.
    ReadRetry,
    /// It sends a renewal once more to whom it takes for the leader.
    RenewRetry { forward: u64 },
}

impl Event {
    /// What it is and between whom, in words, to be counted.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Timer { .. } => "a timer".to_owned(),
            Self::Request(incoming) => format!("a request of c{} at m{}", incoming.client, incoming.member),
            Self::Answer { .. } => "an answer".to_owned(),
            Self::WatchOpens { member, .. } => format!("a watch opened at m{member}"),
            Self::WatchProgress { member, .. } => format!("progress asked for at m{member}"),
            Self::WatchTold { .. } => "a watch's message".to_owned(),
            Self::WatchBreaks { .. } => "a watch's end".to_owned(),
            Self::Peer { from, to, message, .. } => format!("{} from m{from} to m{to}", message.kind()),
            Self::Operator => "the operator's look".to_owned(),
            Self::Local { member, what, .. } => format!("{what:?} within m{member}"),
            Self::Flap { .. } => "a link's flapping".to_owned(),
            Self::FaultBegins { .. } | Self::FaultEnds { .. } => "a fault's time".to_owned(),
            Self::NextRound { .. } => "the next round of faults".to_owned(),
        }
    }

    /// The member that has to be up and running for it, if one has.
    pub(crate) fn member(&self) -> Option<usize> {
        match self {
            Self::Request(incoming) => Some(incoming.member),
            Self::WatchOpens { member, .. } | Self::WatchProgress { member, .. } => Some(*member),
            Self::Peer { to, .. } => Some(*to),
            Self::Local { member, .. } => Some(*member),
            Self::Timer { .. }
            | Self::Answer { .. }
            | Self::WatchTold { .. }
            | Self::WatchBreaks { .. }
            | Self::Operator
            | Self::Flap { .. }
            | Self::FaultBegins { .. }
            | Self::FaultEnds { .. }
            | Self::NextRound { .. } => None,
        }
    }
}

/// The events to come. Heaps order small keys (time, number, place); the events themselves stay where they are put.
///
/// Messages are a few at a time and soon there, timers are many and far away, most of them void when their time comes: two heaps,
/// so that no message is sifted through the timers.
#[derive(Default)]
pub(crate) struct Agenda {
    near: BinaryHeap<Reverse<Key>>,
    far: BinaryHeap<Reverse<Key>>,
    /// When the last event was that was taken out.
    taken_ns: u64,
    /// Events by their place; a freed place is used again.
    places: Vec<Option<Event>>,
    free: Vec<u32>,
    sequence: u64,
    /// How many events have happened.
    pub(crate) happened: u64,
}

/// When an event is, its number among all, and its place, in one number that is quickly compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

impl Key {
    const PLACE_BITS: u32 = 24;

    /// After this time an event is far away.
    const FAR_NS: u64 = 20_000_000;

    fn new(at_ns: u64, sequence: u64, place: u32) -> Self {
        Self(u128::from(at_ns) << 64 | u128::from(sequence << Self::PLACE_BITS | u64::from(place)))
    }

    fn at_ns(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn place(self) -> usize {
        self.0 as usize & ((1 << Self::PLACE_BITS) - 1)
    }
}

impl Agenda {
    /// Adds an event.
    pub(crate) fn push(&mut self, at_ns: u64, event: Event) {
        self.sequence += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = Some(event);
                place
            }
            None => {
                self.places.push(Some(event));
                self.places.len() as u32 - 1
            }
        };
        debug_assert!(place < 1 << Key::PLACE_BITS && self.sequence < 1 << (64 - Key::PLACE_BITS));
        let heap =
            if at_ns < self.taken_ns.saturating_add(Key::FAR_NS) { &mut self.near } else { &mut self.far };
        heap.push(Reverse(Key::new(at_ns, self.sequence, place)));
    }

    /// When the next event is.
    pub(crate) fn next_at_ns(&self) -> Option<u64> {
        self.next().map(Key::at_ns)
    }

    /// The next event without its time.
    pub(crate) fn peek(&self) -> Option<&Event> {
        self.next().and_then(|next| self.places[next.place()].as_ref())
    }

    fn next(&self) -> Option<Key> {
        match (self.near.peek(), self.far.peek()) {
            (Some(Reverse(near)), Some(Reverse(far))) => Some(*near.min(far)),
            (near, far) => near.or(far).map(|Reverse(only)| *only),
        }
    }

    /// Takes the next event out, if it is due.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<Event> {
        if self.next_at_ns()? > now_ns {
            return None;
        }
        self.happened += 1;
        self.take()
    }

    /// Throws the next event away, without counting it.
    pub(crate) fn discard(&mut self) {
        self.take();
    }

    fn take(&mut self) -> Option<Event> {
        let next = self.next()?;
        let is_near = self.near.peek() == Some(&Reverse(next));
        let heap = if is_near { &mut self.near } else { &mut self.far };
        heap.pop();
        self.taken_ns = next.at_ns();
        self.free.push(next.place() as u32);
        self.places[next.place()].take()
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        self.near.clear();
        self.far.clear();
        self.places.clear();
        self.free.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_time_as_they_were_put_in() {
        let mut agenda = Agenda::default();
        let mut waiting: Vec<(u64, u64)> = Vec::new();
        let (mut draw, mut now_ns) = (1_u64, 0);
        for number in 0..5_000 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Some at once, some soon, some far away; more of them than are taken out.
            let delay_ns = [0, 1_000, 19_999_999, 20_000_000, 3_000_000_000][(draw >> 33) as usize % 5];
            agenda.push(now_ns + delay_ns, Event::WatchTold { watch: number });
            waiting.push((now_ns + delay_ns, number));
            if (draw >> 40).is_multiple_of(3) {
                let (at_ns, first) = *waiting.iter().min().expect("one was put in");
                waiting.retain(|one| one.1 != first);
                assert_eq!(agenda.next_at_ns(), Some(at_ns));
                now_ns = now_ns.max(at_ns);
                let event = agenda.pop_due(now_ns).expect("it is due");
                assert!(
                    matches!(event, Event::WatchTold { watch } if watch == first),
                    "{event:?}, not {first}"
                );
            }
        }
        assert!(waiting.len() > 1_000);
    }
}
