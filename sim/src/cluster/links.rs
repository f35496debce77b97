//! The directional links between nodes: which are cut, lossy, slow or doubling at the moment, and what that does to a
//! message.

use rand::RngExt;

use super::config::Span;
use super::draws::Generator;

/// The present state of one link. Faults add to it and take away exactly what they added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    /// How many cuts are in force.
    pub(crate) cuts: u32,
    /// Lost messages of a thousand.
    pub(crate) loss_per_mille: u32,
    /// At most this much extra delay.
    pub(crate) delay_max_ns: u64,
    /// Doubled requests of a thousand.
    pub(crate) duplicate_per_mille: u32,
    /// The double comes at most this much later.
    pub(crate) duplicate_max_ns: u64,
    /// How many faults want any request doubled, and not only what is as good twice.
    pub(crate) duplicate_writes: u32,
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It arrives after this many nanoseconds.
    Arrives(u64),
    /// The network lost it.
    Lost,
    /// The link is cut.
    Cut,
}

/// All links; nodes are numbered members first, then clients.
#[derive(Debug)]
pub(crate) struct Links {
    from_to: Vec<Vec<Link>>,
    /// From this number on nodes are behind sockets, which do to their bytes what these links say.
    outside_from: usize,
}

/// From this loss on no row of heartbeats gets through within an election timeout.
const DEAF_PER_MILLE: u32 = 800;

impl Links {
    /// Links among `nodes` nodes, all in order.
    pub(crate) fn new(nodes: usize) -> Self {
        Self { from_to: vec![vec![Link::default(); nodes]; nodes], outside_from: usize::MAX }
    }

    /// Those numbered from `first` on are behind sockets.
    pub(crate) fn outside_from(mut self, first: usize) -> Self {
        self.outside_from = first;
        self
    }

    /// Makes room for one node more.
    pub(crate) fn add_node(&mut self) {
        for row in &mut self.from_to {
            row.push(Link::default());
        }
        let nodes = self.from_to.len() + 1;
        self.from_to.push(vec![Link::default(); nodes]);
    }

    /// One link to change; `None` if there is no such node.
    pub(crate) fn link(&mut self, from: usize, to: usize) -> Option<&mut Link> {
        self.from_to.get_mut(from)?.get_mut(to)
    }

    /// The present state of one link, both of whose ends there are.
    pub(crate) fn state(&self, from: usize, to: usize) -> &Link {
        &self.from_to[from][to]
    }

    /// Whether anything passes.
    pub(crate) fn is_open(&self, from: usize, to: usize) -> bool {
        self.from_to[from][to].cuts == 0
    }

    /// Whether heartbeats pass often enough.
    pub(crate) fn carries_heartbeats(&self, from: usize, to: usize) -> bool {
        let link = &self.from_to[from][to];
        link.cuts == 0 && link.loss_per_mille < DEAF_PER_MILLE
    }

    /// Draws what becomes of one message.
    pub(crate) fn pass(&self, from: usize, to: usize, delay_us: Span, rng: &mut Generator) -> Passage {
        if from.max(to) >= self.outside_from {
            return Passage::Arrives(0);
        }
        let link = &self.from_to[from][to];
        if link.cuts > 0 {
            return Passage::Cut;
        }
        if happens(rng, link.loss_per_mille) {
            return Passage::Lost;
        }
        let mut delay_ns = draw_us(rng, delay_us);
        if link.delay_max_ns > 0 {
            delay_ns += rng.random_range(0..=link.delay_max_ns);
        }
        Passage::Arrives(delay_ns)
    }

    /// Draws whether a request is doubled, and then how much later the double comes.
    pub(crate) fn doubles(
        &self,
        from: usize,
        to: usize,
        repeatable: bool,
        rng: &mut Generator,
    ) -> Option<u64> {
        let link = &self.from_to[from][to];
        if !repeatable && link.duplicate_writes == 0 {
            return None;
        }
        happens(rng, link.duplicate_per_mille).then(|| rng.random_range(0..=link.duplicate_max_ns))
    }
}

/// Draws a span of microseconds, in nanoseconds; one in 64 takes up to eight times longer, as real networks and disks do.
/// In an even span nothing is drawn: each takes the same time.
pub(crate) fn draw_us(rng: &mut Generator, span: Span) -> u64 {
    if span.is_even() {
        return span.min * 1_000;
    }
    let longest = span.max;
    let drawn_ns = rng.random_range(span.min * 1_000..=longest * 1_000);
    if rng.random_range(0..64_u32) == 0 { drawn_ns * rng.random_range(2..=8) } else { drawn_ns }
}

/// Draws whether something of this probability, in thousandths, happens. Draws nothing for 0.
pub(crate) fn happens(rng: &mut Generator, per_mille: u32) -> bool {
    per_mille > 0 && rng.random_range(0..1_000) < per_mille
}
