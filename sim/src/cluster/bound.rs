//! A bound on how much may happen in a run: without one, a loop in the library, in a planted bug or in the cluster itself
//! would hold a campaign up for ever. It counts events and calls, never time on the wall, so that the same seed ends at
//! the same step on every machine.

use std::collections::BTreeMap;

use super::core::Core;
use super::event::Event;
use crate::history::What;
use crate::node::Node;

/// So much may happen at once. The busiest seeds of the built-in scenarios do a tenth of it in all.
const MOST_AT_ONCE: u64 = 400_000;

/// And so much more in each second of simulated time for each node.
const MOST_PER_SECOND: u64 = 5_000;

/// From the bound on so many events more are counted by kind, to tell what it is that goes round.
const LOOKED_AT: u64 = 1_000;

/// What has happened, and what was seen of it beyond the bound.
#[derive(Default)]
pub(crate) struct Bound {
    /// Calls of tasks into the world, which may be a loop without any event.
    pub(crate) calls: u64,
    kinds: BTreeMap<String, u64>,
    looked_at: u64,
    /// Why the run was ended, in words.
    pub(crate) ran_away: Option<String>,
}

impl Core {
    fn most(&self) -> u64 {
        let nodes = (self.members.len() + self.clients.len()) as u64;
        MOST_AT_ONCE + self.now_ns / 1_000_000_000 * nodes * MOST_PER_SECOND
    }

    /// Whether more has happened than any run needs.
    pub(crate) fn is_beyond_bound(&self) -> bool {
        self.agenda.happened.max(self.bound.calls) > self.most() && !self.finished
    }

    /// Whether it is tasks, without events, that go round: calls alone are beyond it by as much as events may be.
    pub(crate) fn is_beyond_bound_by_calls(&self) -> bool {
        self.bound.calls > self.most() + LOOKED_AT && !self.finished
    }

    /// Takes note of an event beyond the bound. Gives whether enough were seen.
    pub(crate) fn note_beyond_bound(&mut self, event: &Event) -> bool {
        *self.bound.kinds.entry(event.kind()).or_default() += 1;
        self.bound.looked_at += 1;
        self.bound.looked_at >= LOOKED_AT
    }

    /// Ends the run: nothing more happens in it.
    pub(crate) fn run_away(&mut self) {
        let mut kinds: Vec<_> = std::mem::take(&mut self.bound.kinds).into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let last: Vec<_> =
            kinds.iter().take(3).map(|(kind, count)| format!("{kind} {count} times")).collect();
        let last = if last.is_empty() {
            "no event, but calls of clients".to_owned()
        } else {
            format!("of the last {} events: {}", self.bound.looked_at, last.join(", "))
        };
        let words = format!(
            "ran away: {} events and {} calls by {:.3} s of simulated time; {last}",
            self.agenda.happened,
            self.bound.calls,
            self.now_ns as f64 / 1e9,
        );
        self.record(Node::World, What::Note(words.clone()));
        self.bound.ran_away = Some(words);
        self.finish();
        for waker in self.timers.take_wakers_of_the_world() {
            self.wake(waker);
        }
    }
}
