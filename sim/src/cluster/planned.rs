//! Faults in rounds without an end: a world that goes on for as long as somebody uses it is given the faults of one round
//! after another, each at its exact simulated time.

use std::sync::Arc;

use super::core::{Core, MS};
use super::event::Event;
use crate::fault::TimedFault;

/// The faults of one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// How long the round is; the next begins then.
    pub lasts_ms: u64,
    /// The faults, with times since the round's beginning.
    pub faults: Vec<TimedFault>,
}

/// Gives one round after another; the world asks it when the one before is over.
pub type Planner = Box<dyn FnMut() -> Round + Send>;

impl Core {
    /// From now on faults come in rounds; the first began with the world.
    pub(crate) fn plan_faults(&mut self, planner: Planner) {
        self.planner = Some(planner);
        self.plan_round(0);
    }

    /// A round begins.
    pub(crate) fn plan_round(&mut self, began_ns: u64) {
        let Some(planner) = &mut self.planner else { return };
        let round = planner();
        for timed in round.faults {
            let index = self.planned;
            self.planned += 1;
            let fault = Arc::new(timed.fault);
            let begins_ns = began_ns + timed.at_ms * MS;
            self.schedule_at(begins_ns, Event::FaultBegins { index, fault: Arc::clone(&fault) });
            // A fault of no length would end before it begins.
            self.schedule_at(begins_ns + timed.for_ms.max(1) * MS, Event::FaultEnds { index, fault });
        }
        let next_ns = began_ns + round.lasts_ms.max(1) * MS;
        self.schedule_at(next_ns, Event::NextRound { at_ns: next_ns });
    }
}
