//! Which of the steps that can be taken have to be tried: a persistent set (Godefroid, "Partial-Order Methods for the
//! Verification of Concurrent Systems", chapter 4), found from the state alone, so that it goes together with forgetting what
//! was visited.
//!
//! All steps of one process are such a set when nothing that others do can add to them, take from them or see them. That is
//! when the process waits for no answer that the store has yet to give (each of its calls is applied), none of its watches is
//! silent (what is told to a watch that has something to tell comes later in any case), none of its earlier requests may still
//! be applied, and none of the steps ends a belief: the moment at which a belief ends is seen by the next grant. That a grant is taken to
//! be earlier than in another order hides nothing: the belief lasts as long as before, and more.
//!
//! With recipes, others see nothing of when an answer comes, but those who judge do. That what was asked for is told earlier than in
//! another order hides nothing from them either: whatever is told must have been so by then, which is the harder the earlier that is.
//! That something is asked for early would hide something, so that a process which has yet to begin is never alone.

use super::bounds::{Does, Role};
use super::world::{Choice, Life, Stands, World};

impl World {
    /// A set of enabled steps that is enough, in their order.
    pub(super) fn persistent(&self, roles: &[Role], enabled: Vec<Choice>) -> Vec<Choice> {
        let alone = (0..self.processes.len() as u8).find(|&process| {
            self.is_alone(process, roles)
                && enabled.iter().any(|choice| choice.own() == Some(process) && choice.hurries())
        });
        match alone {
            Some(process) => enabled.into_iter().filter(|choice| choice.own() == Some(process)).collect(),
            None => enabled,
        }
    }

    /// Whether nothing that others do has to do with the steps of this process.
    pub(super) fn is_alone(&self, number: u8, roles: &[Role]) -> bool {
        let process = &self.processes[number as usize];
        let does = roles[number as usize].does;
        let begins = (does == Does::Observe || does.is_of_recipe()) && process.at.info.waits_to_go;
        process.life == Life::Runs
            && !process.lapsed
            && !begins
            && process.at.info.believes.is_empty()
            && process.calls.iter().all(|call| call.answer.is_some())
            && process.watches.iter().all(|watch| {
                !watch.queue.is_empty()
                    || watch.stands == Stands::Over
                    || !process.at.info.asks.contains(&watch.id)
            })
            && self.late.iter().all(|late| late.process != number)
    }
}
