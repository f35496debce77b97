//! The random draws of a world. Each link, each member and each client has a stream of its own: what happens more or less
//! on one never shifts the draws of another, so that a plan from which a client was taken still meets the same network.

use rand_chacha::ChaCha8Rng;

use crate::node::Node;
use crate::streams::Streams;

/// All streams of one world, each begun when it is first drawn from.
pub(crate) struct Draws {
    streams: Streams,
    members: usize,
    /// By sender and receiver; members come before clients.
    links: Vec<Vec<Option<ChaCha8Rng>>>,
    disks: Vec<Option<ChaCha8Rng>>,
    decisions: Vec<Option<ChaCha8Rng>>,
    leases: Vec<Option<ChaCha8Rng>>,
    cluster: ChaCha8Rng,
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
    pub(crate) fn link(&mut self, from: usize, to: usize) -> &mut ChaCha8Rng {
        let (streams, members) = (self.streams, self.members);
        if self.links.len() <= from {
            self.links.resize_with(from + 1, Vec::new);
        }
        of(&mut self.links[from], to, || {
            streams.stream(&format!("network-{}-{}", node(members, from), node(members, to)))
        })
    }

    /// How long a member's disk takes.
    pub(crate) fn disk(&mut self, member: usize) -> &mut ChaCha8Rng {
        let streams = self.streams;
        of(&mut self.disks, member, || streams.stream(&format!("disk-{member}")))
    }

    /// What a member decides by chance: election timeouts, phases, the order of what waited.
    pub(crate) fn member(&mut self, member: usize) -> &mut ChaCha8Rng {
        let streams = self.streams;
        of(&mut self.decisions, member, || streams.stream(&format!("members-{member}")))
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

fn of(
    streams: &mut Vec<Option<ChaCha8Rng>>,
    index: usize,
    begin: impl FnOnce() -> ChaCha8Rng,
) -> &mut ChaCha8Rng {
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
    fn draws_on_one_link_do_not_shift_those_on_another() {
        let mut alone = Draws::new(Streams::new(7), 3);
        let mut busy = Draws::new(Streams::new(7), 3);
        for _ in 0..10 {
            busy.link(4, 0).next_u64();
            busy.disk(0).next_u64();
            busy.member(1).next_u64();
        }
        assert_eq!(alone.link(3, 0).next_u64(), busy.link(3, 0).next_u64());
        assert_eq!(alone.leases(0).next_u64(), busy.leases(0).next_u64());
        assert_ne!(alone.link(0, 3).next_u64(), alone.link(3, 0).next_u64(), "each direction has its own");
    }
}
