//! The random draws of a world. What becomes of a message depends on the seed, its link and the millisecond in which it is
//! sent, what a member decides on the member and the millisecond: whatever else happens more or less, before or elsewhere,
//! shifts no draw. So a plan from which a client, or an operation, was taken still meets the same network.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::core::MS;
use crate::node::Node;
use crate::streams::Streams;

/// Draws of one millisecond. It is begun anew in each, which takes no time with this generator.
pub(crate) type Generator = Xoshiro256PlusPlus;

/// All streams of one world, each begun when it is first drawn from.
pub(crate) struct Draws {
    streams: Streams,
    members: usize,
    /// By sender and receiver; members come before clients.
    links: Vec<Vec<Option<Timed>>>,
    disks: Vec<Option<Timed>>,
    decisions: Vec<Option<Timed>>,
    leases: Vec<Option<ChaCha8Rng>>,
    cluster: ChaCha8Rng,
}

/// One stream, and the draws of the millisecond that it was drawn from last.
#[derive(Clone)]
struct Timed {
    key: u64,
    at_ms: u64,
    generator: Generator,
}

impl Timed {
    fn new(streams: Streams, name: &str) -> Self {
        let key = streams.stream(name).next_u64();
        Self { key, at_ms: u64::MAX, generator: Generator::seed_from_u64(key) }
    }

    fn at(&mut self, now_ns: u64) -> &mut Generator {
        let now_ms = now_ns / MS;
        if self.at_ms != now_ms {
            self.at_ms = now_ms;
            self.generator = Generator::seed_from_u64(xxh3_64_with_seed(&now_ms.to_le_bytes(), self.key));
        }
        &mut self.generator
    }
}

impl Draws {
    pub(crate) fn new(streams: Streams, members: usize) -> Self {
        Self {
            streams,
            members,
            links: Vec::new(),
            disks: Vec::new(),
            decisions: Vec::new(),
            leases: Vec::new(),
            cluster: streams.stream("members"),
        }
    }

    /// What becomes of messages from one node to another.
    pub(crate) fn link(&mut self, now_ns: u64, from: usize, to: usize) -> &mut Generator {
        let (streams, members) = (self.streams, self.members);
        if self.links.len() <= from {
            self.links.resize_with(from + 1, Vec::new);
        }
        let name = || format!("network-{}-{}", node(members, from), node(members, to));
        of(&mut self.links[from], to, || Timed::new(streams, &name())).at(now_ns)
    }

    /// How long a member's disk takes.
    pub(crate) fn disk(&mut self, now_ns: u64, member: usize) -> &mut Generator {
        let streams = self.streams;
        of(&mut self.disks, member, || Timed::new(streams, &format!("disk-{member}"))).at(now_ns)
    }

    /// What a member decides by chance: election timeouts, phases, the order of what waited.
    pub(crate) fn member(&mut self, now_ns: u64, member: usize) -> &mut Generator {
        let streams = self.streams;
        of(&mut self.decisions, member, || Timed::new(streams, &format!("members-{member}"))).at(now_ns)
    }

    /// The numbers of leases that are granted to a client.
    pub(crate) fn leases(&mut self, client: usize) -> &mut ChaCha8Rng {
        let streams = self.streams;
        of(&mut self.leases, client, || streams.stream(&format!("leases-{client}")))
    }

    /// What is decided for the cluster as a whole: who leads first, who is led to next.
    pub(crate) fn cluster(&mut self) -> &mut ChaCha8Rng {
        &mut self.cluster
    }
}

fn of<T: Clone>(streams: &mut Vec<Option<T>>, index: usize, begin: impl FnOnce() -> T) -> &mut T {
    if streams.len() <= index {
        streams.resize(index + 1, None);
    }
    streams[index].get_or_insert_with(begin)
}

fn node(members: usize, number: usize) -> Node {
    let index = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    match number.checked_sub(members) {
        Some(client) => Node::Client(index(client)),
        None => Node::Member(index(number)),
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn draws_elsewhere_or_before_do_not_shift_those_on_a_link() {
        let mut alone = Draws::new(Streams::new(7), 3);
        let mut busy = Draws::new(Streams::new(7), 3);
        for now_ns in [0, MS, 2 * MS] {
            busy.link(now_ns, 4, 0).next_u64();
            busy.link(now_ns, 3, 0).next_u64();
            busy.disk(now_ns, 0).next_u64();
            busy.member(now_ns, 1).next_u64();
        }
        let now_ns = 3 * MS;
        assert_eq!(alone.link(now_ns, 3, 0).next_u64(), busy.link(now_ns, 3, 0).next_u64());
        assert_eq!(alone.leases(0).next_u64(), busy.leases(0).next_u64());
        assert_ne!(alone.link(now_ns, 0, 3).next_u64(), alone.link(0, 3, 0).next_u64());
    }

    #[test]
    fn one_millisecond_has_as_many_draws_as_it_takes() {
        let mut draws = Draws::new(Streams::new(7), 3);
        let first = draws.link(5 * MS, 3, 0).next_u64();
        assert_ne!(draws.link(5 * MS + 1, 3, 0).next_u64(), first);
        assert_ne!(draws.link(6 * MS, 3, 0).next_u64(), first);
        assert_eq!(draws.link(5 * MS, 3, 0).next_u64(), first, "time alone decides");
    }
}
