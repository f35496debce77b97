//! How late a message may still arrive that was sent before its sender's end: what delays and doubles messages may hold
//! one for longer than the calm waits.

use std::collections::BTreeMap;

use crate::fault::Fault;
use crate::history::What;

const MS: u64 = 1_000_000;

/// Delays and doublings, with when they were active.
#[derive(Clone, Debug, Default)]
pub(super) struct Lateness {
    active: BTreeMap<usize, usize>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from_ns: u64,
    to_ns: u64,
    /// On the way to a member, and on to the leader.
    delay_ns: u64,
    /// Behind its double.
    double_ns: u64,
}

impl Lateness {
    /// Takes in a step of the world.
    pub(super) fn step(&mut self, at_ns: u64, what: &What) {
        match what {
            What::FaultBegins { index, fault } => {
                let (delay_ns, double_ns) = match fault {
                    Fault::Delay { max_ms, .. } => (2 * max_ms * MS, 0),
                    Fault::Duplicate { max_ms, .. } => (0, max_ms * MS),
                    _ => return,
                };
                self.active.insert(*index, self.spans.len());
                self.spans.push(Span { from_ns: at_ns, to_ns: u64::MAX, delay_ns, double_ns });
            }
            What::FaultEnds { index } => {
                if let Some(place) = self.active.remove(index) {
                    self.spans[place].to_ns = at_ns;
                }
            }
            _ => {}
        }
    }

    /// How much later than usual what was sent before this moment may arrive: the delays and doublings add up whose
    /// messages may be under way then.
    pub(super) fn at_ns(&self, sent_ns: u64) -> u64 {
        let may_hold = |span: &&Span| {
            span.from_ns <= sent_ns && span.to_ns.saturating_add(span.delay_ns + span.double_ns) >= sent_ns
        };
        self.spans.iter().filter(may_hold).map(|span| span.delay_ns + span.double_ns).sum()
    }
}
