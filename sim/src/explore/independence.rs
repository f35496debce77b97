//! Which steps have nothing to do with each other: taken in either order they lead to the same state, and neither decides
//! whether the other can be taken. It is told by the steps themselves, from the state before and after each: what of the world it
//! read and what it changed.

use super::bounds::Bounds;
use super::monitor::Broken;
use super::step::{Explored, Telling};
use super::world::{Choice, Life, Process, World};
use crate::history::What;
use crate::node::Node;
use tenure::kv::Request;

/// What a step read and changed, a bit for each part of the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touches {
    pub(super) reads: u64,
    pub(super) writes: u64,
}

/// The store's revision and keys: each answer tells the revision, so a write goes with no other step of the store.
pub(super) const STORE: u64 = 1;
/// Who keeps which lease.
const LEASES: u64 = 1 << 1;
/// What the invariants remember, and who believes.
const MONITOR: u64 = 1 << 2;
/// Requests that nobody waits for, in their order.
const LATE: u64 = 1 << 3;
/// Of processes that do alike and have not begun, the first comes first.
const FRESH: u64 = 1 << 4;
/// What may still go wrong, a bit for each kind.
const LEFT: u64 = 5;

/// What a process has been given.
fn inputs_of(process: usize) -> u64 {
    1 << (20 + process)
}

/// Which requests it waits for.
fn calls_of(process: usize) -> u64 {
    1 << (30 + process)
}

/// Its watches, and what they are to tell.
fn watches_of(process: usize) -> u64 {
    1 << (40 + process)
}

impl Touches {
    /// Whether a step is independent of another, both of them possible in the same state.
    pub(super) fn independent(self, other: Self) -> bool {
        self.writes & (other.reads | other.writes) == 0 && other.writes & self.reads == 0
    }
}

/// What a step tells of itself.
#[derive(Default)]
struct Notes {
    /// It did what the invariants judge.
    judged: bool,
    /// A request is waited for no more.
    gave_up: bool,
}

impl Telling for Notes {
    fn tell(&mut self, _: Node, what: What) {
        match what {
            What::Granted { .. }
            | What::Released { .. }
            | What::Did { .. }
            | What::Observes { .. }
            | What::Observed { .. } => self.judged = true,
            What::GaveUp { .. } => self.gave_up = true,
            _ => {}
        }
    }
}

impl World {
    /// Takes a step, and tells what it touched.
    pub(super) fn take_noting(
        &self,
        explored: &Explored,
        choice: Choice,
    ) -> (World, Result<(), Broken>, Touches) {
        let mut after = self.clone();
        let mut notes = Notes::default();
        let taken = after.take(explored, choice, &mut notes);
        let touches = self.touches(explored, choice, &after, &notes);
        (after, taken, touches)
    }

    fn touches(&self, explored: &Explored, choice: Choice, after: &Self, notes: &Notes) -> Touches {
        let mut touches = Touches::default();
        if self.overtakes(&choice, &explored.roles) || self.is_early(&choice) {
            // Whether it can be taken hangs on all others.
            return Touches { reads: u64::MAX, writes: u64::MAX };
        }
        if let Some(process) = choice.own() {
            self.touched_by_own(process as usize, choice, after, notes, &mut touches);
        }
        match choice {
            Choice::Apply { process, call } => self.touched_by_apply(process, call, &mut touches),
            Choice::ApplyLagging { process, .. } => {
                touches.reads |= STORE;
                touches.writes |= calls_of(process as usize);
            }
            Choice::ApplyLate { .. } | Choice::Compact => touches.writes |= STORE,
            Choice::Open { process, .. } => {
                touches.reads |= STORE;
                touches.writes |= watches_of(process as usize);
            }
            Choice::Expire { process } | Choice::Revoke { process } => {
                touches.writes |= STORE | LEASES;
                // Whether it may run out hangs on its keeper.
                touches.reads |= inputs_of(self.leases[process as usize].keeper as usize);
            }
            Choice::TakeOver { process } => {
                touches.reads |= LEASES;
                touches.writes |= inputs_of(process as usize) | inputs_of(0) | calls_of(process as usize);
            }
            _ => {}
        }
        self.touched_besides(after, &mut touches);
        touches
    }

    /// A step of a process: it has been given something.
    fn touched_by_own(
        &self,
        number: usize,
        choice: Choice,
        after: &Self,
        notes: &Notes,
        touches: &mut Touches,
    ) {
        let (process, then) = (&self.processes[number], &after.processes[number]);
        touches.writes |= inputs_of(number);
        if matches!(choice, Choice::Lapse { .. } | Choice::Renew { .. }) {
            touches.reads |= LEASES;
        }
        if notes.judged {
            touches.reads |= STORE;
            touches.writes |= MONITOR;
        }
        if process.at.info.believes != then.at.info.believes || then.life != Life::Runs {
            touches.writes |= MONITOR;
        }
        if notes.gave_up || matches!(choice, Choice::LoseAnswer { .. }) || then.life != Life::Runs {
            touches.writes |= calls_of(number);
            // Whether what is given up may come late.
            touches.reads |= 1 << (LEFT + Bounds::LATE);
        }
        let gone = |before: &Process, after: &Process| {
            before.watches.iter().any(|watch| !after.watches.iter().any(|it| it.id == watch.id))
        };
        if gone(process, then) || matches!(choice, Choice::Break { .. }) || then.life != Life::Runs {
            touches.writes |= watches_of(number);
        }
        if process.fresh {
            touches.writes |= FRESH;
        }
    }

    fn touched_by_apply(&self, process: u8, call: u32, touches: &mut Touches) {
        let of = &self.processes[process as usize];
        // Two requests of one process can be applied in either order, but not what gives one up.
        touches.reads |= calls_of(process as usize);
        if of.fresh {
            touches.writes |= FRESH;
        }
        let request = of.calls.iter().find(|it| it.id == call).map(|call| &*call.request);
        match request {
            Some(Request::LeaseKeepAlive { id }) => {
                touches.writes |= LEASES;
                if let Some(lease) = self.leases.iter().find(|lease| lease.id == *id) {
                    touches.reads |= inputs_of(lease.keeper as usize);
                }
            }
            Some(Request::LeaseGrant { .. } | Request::LeaseRevoke { .. }) => {
                touches.writes |= LEASES | STORE;
            }
            // Its answer tells the revision.
            _ => touches.reads |= STORE,
        }
    }

    /// What every step may touch, seen by what it left.
    fn touched_besides(&self, after: &Self, touches: &mut Touches) {
        if self.store.revision() != after.store.revision() {
            touches.writes |= STORE | MONITOR;
        }
        if self.monitor.recorded() != after.monitor.recorded() {
            touches.writes |= MONITOR;
        }
        if self.leases != after.leases {
            touches.writes |= LEASES;
        }
        if self.late.len() != after.late.len() {
            touches.writes |= LATE;
        }
        for (kind, (before, then)) in self.left.each().into_iter().zip(after.left.each()).enumerate() {
            if before != then {
                touches.writes |= 1 << (LEFT + kind as u64);
            }
        }
        for (number, (before, then)) in self.processes.iter().zip(&after.processes).enumerate() {
            // What is told to a watch comes behind what it has yet to tell: only who ends it minds.
            let told = then.watches.iter().any(|watch| {
                let earlier = before.watches.iter().find(|it| it.id == watch.id);
                earlier.is_some_and(|earlier| watch.queue.len() > earlier.queue.len())
            });
            if told {
                touches.writes |= watches_of(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

    use super::super::automaton::Bytes;
    use super::super::bounds::find;
    use super::super::step::Silent;
    use super::*;

    /// Spaces in which everything happens that can; those of recipes are the last.
    const SPACES: [&str; 13] = [
        "mutex-2x1-crash",
        "mutex-2-compaction",
        "mutex-3-cancel-break",
        "mutex-2-expiry-lost-late",
        "mutex-2-renewal-expiry",
        "mutex-relocked",
        "rwlock-2r1w-expiry",
        "election-2-expiry-lost",
        "election-3-observer-crash",
        "queue-2-crash",
        "barrier-released",
        "double-barrier-late",
        "stm-2-lost-late",
    ];

    /// In so many of them a state does not tell what was asked or told before what was written.
    const WITHOUT_RECIPES: usize = 9;

    /// A relation between two steps, by what each touched.
    type Relation = fn(Touches, Touches) -> bool;

    fn ways(spaces: usize) -> impl Strategy<Value = (usize, Vec<u16>)> {
        (0..spaces, proptest::collection::vec(any::<u16>(), 0..40))
    }

    fn runner(cases: u32) -> TestRunner {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]))
    }

    /// The state that a walk leads to; each number picks a step.
    fn walked(explored: &Explored, name: &str, way: &[u16]) -> World {
        let mut world =
            explored.begin(&find(name).expect(name), &mut Silent).ok().expect("nothing breaks so early");
        for pick in way {
            let enabled = world.enabled(&explored.roles);
            if enabled.is_empty() {
                break;
            }
            let choice = enabled[usize::from(*pick) % enabled.len()];
            if world.take(explored, choice, &mut Silent).is_err() {
                break;
            }
        }
        world
    }

    fn explored(name: &str) -> Explored {
        Explored::new(&find(name).expect(name), None, false)
    }

    fn swapped(
        relation: Relation,
        pairs: &mut u64,
        (space, way): (usize, Vec<u16>),
    ) -> Result<(), TestCaseError> {
        let name = SPACES[space];
        let explored = explored(name);
        let world = walked(&explored, name, &way);
        let enabled = world.enabled(&explored.roles);
        let taken: Vec<_> = enabled.iter().map(|choice| world.take_noting(&explored, *choice)).collect();
        for (a, (after_a, ok_a, touches_a)) in taken.iter().enumerate() {
            for (b, (after_b, ok_b, touches_b)) in taken.iter().enumerate().skip(a + 1) {
                if ok_a.is_err() || ok_b.is_err() || !relation(*touches_a, *touches_b) {
                    continue;
                }
                *pairs += 1;
                let (one, other) = (enabled[a], enabled[b]);
                let told = |what: &str| TestCaseError::fail(format!("{name}: {what}: {one:?}, {other:?}"));
                if !after_a.enabled(&explored.roles).contains(&other)
                    || !after_b.enabled(&explored.roles).contains(&one)
                {
                    return Err(told("one cannot be taken after the other"));
                }
                let (mut ab, mut ba) = (after_a.clone(), after_b.clone());
                let ends = [ab.take(&explored, other, &mut Silent), ba.take(&explored, one, &mut Silent)];
                let ends = ends.map(|end| end.err().map(|broken| broken.invariant));
                let mut bytes = Bytes::default();
                // Equal hashes are equal stores, answers, watches and histories of processes.
                if ends[0] != ends[1] || ab.hash(&mut bytes) != ba.hash(&mut bytes) {
                    return Err(told("the order makes a difference"));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn steps_called_independent_can_be_swapped() {
        let pairs = std::cell::Cell::new(0);
        let checked = runner(1_500).run(&ways(SPACES.len()), |way| {
            let mut count = pairs.get();
            let outcome = swapped(Touches::independent, &mut count, way);
            pairs.set(count);
            outcome
        });
        assert_eq!(checked.map_err(|error| error.to_string()), Ok(()));
        assert!(pairs.get() > 500, "only {} pairs were independent", pairs.get());
    }

    #[test]
    fn a_relation_that_is_too_generous_is_found() {
        let generous: [(&str, Relation); 4] = [
            ("the store", |a, b| without_part(a, STORE).independent(without_part(b, STORE))),
            ("what a process is given", |a, b| {
                let inputs = (0..8).map(inputs_of).sum::<u64>();
                without_part(a, inputs).independent(without_part(b, inputs))
            }),
            ("what may still go wrong", |a, b| {
                let left = 0xfff << LEFT;
                without_part(a, left).independent(without_part(b, left))
            }),
            ("watches", |a, b| {
                let watches = (0..8).map(watches_of).sum::<u64>();
                without_part(a, watches).independent(without_part(b, watches))
            }),
        ];
        for (what, relation) in generous {
            let found = runner(1_500).run(&ways(SPACES.len()), |way| swapped(relation, &mut 0, way));
            assert!(found.is_err(), "nothing speaks against leaving out {what}");
        }
    }

    fn without_part(touches: Touches, part: u64) -> Touches {
        Touches { reads: touches.reads & !part, writes: touches.writes & !part }
    }

    /// Walks on with steps of others from where the steps of one process are called enough; each of these must stay possible, none
    /// may be added, and each can be swapped with each step of the walk.
    fn persists(
        alone: fn(&World, u8, &Explored) -> bool,
        seen: &mut BTreeMap<String, u64>,
        (space, way): (usize, Vec<u16>),
    ) -> Result<(), TestCaseError> {
        let name = SPACES[space];
        let explored = explored(name);
        let (to, on) = way.split_at(way.len() / 2);
        let world = walked(&explored, name, to);
        let enabled = world.enabled(&explored.roles);
        for process in 0..world.processes.len() as u8 {
            let own = |choice: &&Choice| choice.own() == Some(process);
            let hurried = enabled.iter().any(|choice| choice.own() == Some(process) && choice.hurries());
            if !hurried || !alone(&world, process, &explored) {
                continue;
            }
            *seen.entry(name.to_owned()).or_default() += 1;
            let set: Vec<Choice> = enabled.iter().filter(own).copied().collect();
            let mut at = world.clone();
            for pick in on {
                let others: Vec<Choice> =
                    at.enabled(&explored.roles).into_iter().filter(|choice| !own(&choice)).collect();
                if others.is_empty() {
                    break;
                }
                let other = others[usize::from(*pick) % others.len()];
                let mut next = at.clone();
                if next.take(&explored, other, &mut Silent).is_err() {
                    break;
                }
                let then: Vec<Choice> = next.enabled(&explored.roles).iter().filter(own).copied().collect();
                let told = |what: &str| TestCaseError::fail(format!("{name}: {what}: c{process}, {other:?}"));
                // What may go wrong is used up by others, too: then a run has it there instead.
                let needs_leave =
                    |choice: &Choice| choice.is_fault() || matches!(choice, Choice::Timer { .. });
                if set.iter().any(|choice| !needs_leave(choice) && !then.contains(choice))
                    || then.iter().any(|choice| !set.contains(choice))
                {
                    return Err(told("its steps are others after another's step"));
                }
                for choice in set.iter().filter(|choice| then.contains(choice)) {
                    let (mut first, mut last) = (at.clone(), next.clone());
                    let ends = [
                        first.take(&explored, *choice, &mut Silent).err(),
                        last.take(&explored, *choice, &mut Silent).err(),
                    ];
                    if ends.iter().any(Option::is_some) || !first.enabled(&explored.roles).contains(&other) {
                        continue;
                    }
                    let _ = first.take(&explored, other, &mut Silent);
                    let mut bytes = Bytes::default();
                    if first.hash(&mut bytes) != last.hash(&mut bytes) {
                        return Err(told("the order makes a difference"));
                    }
                }
                at = next;
            }
        }
        Ok(())
    }

    #[test]
    fn steps_of_a_process_alone_have_nothing_to_do_with_what_others_do() {
        let seen = std::cell::RefCell::new(BTreeMap::new());
        let alone =
            |world: &World, process: u8, explored: &Explored| world.is_alone(process, &explored.roles);
        let checked =
            runner(1_500).run(&ways(WITHOUT_RECIPES), |way| persists(alone, &mut seen.borrow_mut(), way));
        assert_eq!(checked.map_err(|error| error.to_string()), Ok(()));
        assert!(seen.borrow().len() >= 8, "{:?}", seen.borrow());
    }

    #[test]
    fn calling_a_process_alone_that_waits_for_a_watch_is_found() {
        let running =
            |world: &World, process: u8, _: &Explored| world.processes[process as usize].life == Life::Runs;
        let found =
            runner(1_500).run(&ways(WITHOUT_RECIPES), |way| persists(running, &mut BTreeMap::new(), way));
        assert!(found.is_err(), "nothing speaks against it");
    }
}
