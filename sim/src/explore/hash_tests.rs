//! The hash of a state is right when states of the same hash have the same futures: each state that a search comes to again is
//! compared with what it was the first time, a step on.

use std::collections::BTreeMap;

use super::automaton::Bytes;
use super::bounds::{Ending, Space, find};
use super::step::{Explored, Silent};
use super::world::{Choice, Stands, World};
use crate::planted;

/// Where each step leads: a state, or what breaks.
fn futures(
    world: &World,
    explored: &Explored,
    bytes: &mut Bytes,
) -> Vec<(World, Result<u128, &'static str>)> {
    let lead = |choice| {
        let mut next = world.clone();
        let taken = next.take(explored, choice, &mut Silent);
        let to = taken.map(|()| next.hash(bytes)).map_err(|broken| broken.invariant);
        (next, to)
    };
    world.enabled(&explored.roles).into_iter().map(lead).collect()
}

/// Searches until so many states were visited; how often it came to one again, and what was different then, if anything was.
fn come_to_again(space: &Space, most: usize) -> Result<usize, String> {
    let explored = Explored::new(space, None, false);
    let mut bytes = Bytes::default();
    let begin = explored.begin(space, &mut Silent).map_err(|broken| broken.detail)?;
    let mut visited: BTreeMap<u128, Vec<Result<u128, &str>>> = BTreeMap::new();
    let (mut open, mut again) = (vec![begin], 0);
    while let Some(world) = open.pop().filter(|_| visited.len() < most) {
        let hash = world.hash(&mut bytes);
        let (worlds, mut leads): (Vec<_>, Vec<_>) =
            futures(&world, &explored, &mut bytes).into_iter().unzip();
        let next =
            worlds.into_iter().zip(leads.clone()).filter_map(|(world, to)| to.is_ok().then_some(world));
        let next: Vec<World> = next.collect();
        leads.sort_unstable();
        match visited.insert(hash, leads.clone()) {
            None => open.extend(next),
            Some(first) if first == leads => again += 1,
            Some(first) => return Err(format!("{leads:x?}, not {first:x?} as before, from {world:#?}")),
        }
    }
    Ok(again)
}

/// Who takes over finds what the last of two rounds has left.
fn resumed_after_two_rounds() -> Space {
    let mut space = find("election-resumed").expect("built in");
    space.processes[0].rounds = 2;
    space.processes[0].ending = Ending::Drop;
    space.bounds.late_requests = 0;
    space
}

#[test]
fn states_of_the_same_hash_have_the_same_futures() {
    let built_in = |name| find(name).expect(name);
    for space in [
        built_in("mutex-2-compaction"),
        built_in("mutex-2-renewal-expiry"),
        built_in("mutex-3-cancel-break"),
        built_in("rwlock-2r1w-expiry"),
        built_in("election-1-observer-lag"),
        built_in("election-2-expiry-lost"),
        built_in("queue-1-lost-late"),
        built_in("priority-queue-lost"),
        built_in("barrier-again"),
        built_in("double-barrier-2-crash"),
        built_in("stm-2-lost-late"),
        built_in("counter-2-lost-late"),
        resumed_after_two_rounds(),
    ] {
        let again = come_to_again(&space, 3_000);
        assert!(again.as_ref().is_ok_and(|again| *again > 100), "{}: {again:?}", space.name);
    }
}

/// A watch that opens from a revision that was listed at is told in which order the keys of two that crashed went since.
#[test]
fn what_a_watch_from_the_past_will_be_told_tells_states_apart() {
    let mut space = find("mutex-2x1").expect("built in");
    space.processes[0].count = 3;
    space.bounds.crashes = 2;
    let explored = Explored::new(&space, planted::find("zombie-after-compaction"), false);
    let mut world = explored.begin(&space, &mut Silent).ok().expect("nothing breaks so early");
    let take = |world: &mut World, choice| {
        assert!(world.enabled(&explored.roles).contains(&choice), "{choice:?}");
        assert!(world.take(&explored, choice, &mut Silent).is_ok(), "{choice:?}");
    };
    for process in 0..3 {
        // Until it holds, or has asked for its watch.
        while let Some(call) = world.processes[process].calls.first() {
            let (process, call) = (process as u8, call.id);
            take(&mut world, Choice::Apply { process, call });
            take(&mut world, Choice::Answer { process, call });
        }
    }
    let last = &world.processes[2].watches[0];
    assert!(last.stands == Stands::Opening && last.request.start_revision > 0, "{last:?}");
    take(&mut world, Choice::Crash { process: 0 });
    take(&mut world, Choice::Crash { process: 1 });
    // Leases go by their places among those that are left.
    let hash = |order: [u8; 2]| {
        let mut world = world.clone();
        for process in order {
            take(&mut world, Choice::Expire { process });
        }
        world.hash(&mut Bytes::default())
    };
    assert_ne!(hash([0, 0]), hash([1, 0]));
}
