//! Every way of searching finds the same ends and violations: on small spaces that are drawn, with whatever may go wrong, and on those that
//! come with the command.

use std::collections::BTreeSet;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use tenure_sim::explore::{
    After, Bounds, Does, Ending, Outcome, Policy, Reduction, Role, SearchOptions, Space, find, search,
};
use tenure_sim::planted::{self, Planted};
use tenure_sim::workload::recipes::program::Level;

/// Spaces that are drawn from these are small enough for a search that leaves out nothing.
const SMALL: [u64; 6] = [23, 29, 34, 39, 42, 52];

/// Those of these are small enough for one that tells states apart by all that processes were ever given.
const LARGER: [u64; 9] = [3, 5, 22, 24, 35, 48, 51, 54, 61];

/// What is judged: what is left out, and whether each step of the library is carried out anew, so that states are told apart by
/// all that processes were given.
const WAYS: [(Reduction, bool); 5] = [
    (Reduction::States, true),
    (Reduction::States, false),
    (Reduction::Sleep, false),
    (Reduction::Full, true),
    (Reduction::Full, false),
];

/// Planted bugs of what each kind of space is about.
const MUTEX: [&str; 7] = [
    "no-own-key-check",
    "first-key-wins-late",
    "is-owner-while-queued",
    "blind-to-own-expiry",
    "lost-wake-up",
    "zombie-after-compaction",
    "without-fence",
];
const READ_WRITE: [&str; 3] = ["writer-without-key", "reader-overtakes", "reader-beside-writer"];
const ELECTION: [&str; 5] = [
    "campaign-after-expiry",
    "resign-forgets",
    "stale-proclaim",
    "observe-stale-first",
    "observe-skips-last",
];

fn role(does: Does) -> Role {
    Role {
        count: 1,
        does,
        name: "l".to_owned(),
        rounds: 1,
        policy: Policy::WritersFirst,
        ending: Ending::Release,
        guarded_txn: false,
        proclaims: 0,
        ranked: false,
        members: 2,
        isolation: Level::SerializableSnapshot,
        after: After::Close,
        opens: false,
        may_crash: true,
        may_expire: true,
    }
}

fn one_of<T: Copy>(rng: &mut ChaCha8Rng, among: &[T]) -> T {
    among[rng.random_range(0..among.len())]
}

/// Two or three processes and one to three things that go wrong; and a bug that could be planted there.
fn drawn(seed: u64) -> (Space, &'static str) {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let (mut processes, invariants, bugs): (Vec<Role>, &[&str], &[&str]) = match rng.random_range(0..4) {
        0 | 1 => {
            let roles = [Does::Lock, one_of(rng, &[Does::Lock, Does::Lock, Does::TryLock])].map(role);
            (roles.into(), &["mutual-exclusion", "fencing", "fifo", "progress", "no-residue"], &MUTEX)
        }
        2 => {
            let policy = one_of(rng, &[Policy::WritersFirst, Policy::Fifo]);
            let roles = [Does::Write, one_of(rng, &[Does::Read, Does::Write])].map(role);
            let roles = roles.map(|role| Role { policy, ..role });
            (roles.into(), &["mutual-exclusion", "writer-priority", "progress", "no-residue"], &READ_WRITE)
        }
        _ => {
            let roles = [Does::Campaign, one_of(rng, &[Does::Campaign, Does::Observe])].map(role);
            (roles.into(), &["single-leader", "fifo", "observe-order", "progress", "no-residue"], &ELECTION)
        }
    };
    for role in &mut processes {
        if role.does == Does::Observe {
            continue;
        }
        role.after = one_of(rng, &[After::Close, After::Stay, After::Stay, After::Orphan]);
        role.ending = one_of(rng, &[Ending::Release, Ending::Drop]);
        role.guarded_txn = role.does == Does::Lock && rng.random_range(0..3) == 0;
        role.proclaims = u32::from(role.does == Does::Campaign && rng.random_range(0..2) == 0);
    }
    if rng.random_range(0..3) == 0 {
        processes[0].rounds = 2;
    } else if rng.random_range(0..4) == 0 {
        let again = processes[0].clone();
        processes.push(again);
    }
    let mut bounds = Bounds::default();
    for _ in 0..rng.random_range(1..=3) {
        *one_of_bounds(&mut bounds, rng.random_range(0..13)) += 1;
    }
    let space = Space {
        name: format!("drawn-{seed}"),
        about: String::new(),
        invariants: invariants.iter().map(|name| (*name).to_owned()).collect(),
        breaks: None,
        processes,
        bounds,
    };
    (space, one_of(rng, bugs))
}

fn one_of_bounds(bounds: &mut Bounds, which: u32) -> &mut u8 {
    match which {
        0 => &mut bounds.crashes,
        1 => &mut bounds.lost_answers,
        2 => &mut bounds.not_applied,
        3 => &mut bounds.late_requests,
        4 => &mut bounds.expiries,
        5 => &mut bounds.pauses,
        6 => &mut bounds.renewals,
        7 => &mut bounds.breaks,
        8 => &mut bounds.early_timers,
        9 => &mut bounds.cancels,
        10 => &mut bounds.compactions,
        11 => &mut bounds.lags,
        _ => &mut bounds.revocations,
    }
}

fn searched(
    space: &Space,
    planted: Option<&'static Planted>,
    reduction: Reduction,
    forgets: bool,
) -> Outcome {
    let options = SearchOptions { reduction, forgets, all: true, jobs: 2, ..SearchOptions::default() };
    search(space, planted, &options, |_| {})
}

fn violations(outcome: &Outcome) -> BTreeSet<&'static str> {
    outcome.found.iter().map(|found| found.invariant).collect()
}

/// What tells the ways of searching apart, if anything does; else how many ends there are, and which violations.
fn compare(
    space: &Space,
    planted: Option<&'static Planted>,
    judge: (Reduction, bool),
) -> Result<(usize, BTreeSet<&'static str>), String> {
    let judged = searched(space, planted, judge.0, judge.1);
    for (reduction, forgets) in WAYS {
        // Sleep sets alone are too slow for what is too large for the plain judge.
        if reduction == Reduction::Sleep && judge.0 != Reduction::Plain {
            continue;
        }
        let other = searched(space, planted, reduction, forgets);
        let told = |what: String| Err(format!("{reduction:?}, forgets {forgets}: {what}: {space:#?}"));
        if violations(&other) != violations(&judged) {
            return told(format!("{:?}, not {:?}", violations(&other), violations(&judged)));
        }
        // Where something breaks a run goes no further, in whatever order it broke.
        if judged.found.is_empty() && other.ends != judged.ends {
            return told(format!("{} ends, not {}", other.ends.len(), judged.ends.len()));
        }
    }
    Ok((judged.ends.len(), violations(&judged)))
}

/// Compares on drawn spaces, without a bug and with one; gives how many ends there were, and how many bugs showed.
fn compare_drawn(seeds: &[u64], judge: (Reduction, bool)) -> (usize, usize) {
    let (mut ends, mut shown) = (0, 0);
    for seed in seeds {
        let (space, bug) = drawn(*seed);
        let right = compare(&space, None, judge)
            .and_then(|right| Ok((right, compare(&space, planted::find(bug), judge)?)));
        let ((right, _), (_, broken)) = right.unwrap_or_else(|why| panic!("seed {seed}, {bug}: {why}"));
        ends += right;
        shown += usize::from(!broken.is_empty());
    }
    (ends, shown)
}

#[test]
fn on_small_drawn_spaces_all_agree_with_a_search_that_leaves_out_nothing() {
    let (ends, shown) = compare_drawn(&SMALL, (Reduction::Plain, false));
    assert!(ends >= 15 && shown >= 3, "{ends} ends, {shown} bugs");
}

#[test]
fn on_larger_drawn_spaces_all_agree_with_a_search_that_only_tells_states_apart() {
    let (ends, shown) = compare_drawn(&LARGER, (Reduction::States, true));
    assert!(ends > 60 && shown >= 5, "{ends} ends, {shown} bugs");
}

/// Processes that keep their sessions to the end stand there with all that they went through, which a search may forget: it is no
/// part of the end.
#[test]
fn ends_are_the_same_whatever_is_forgotten_of_the_way_there() {
    for name in ["mutex-2-compaction", "mutex-kept-expiry", "mutex-2x1-crash"] {
        let mut space = find(name).expect(name);
        for role in &mut space.processes {
            role.after = After::Stay;
        }
        let (ends, _) = compare(&space, None, (Reduction::States, true)).expect("all agree");
        assert!(ends > 1, "{name}: {ends}");
    }
}

/// A space of these roles, with what goes wrong in it.
fn of_recipes(name: &str, invariants: &[&str], processes: Vec<Role>, bounds: Bounds) -> Space {
    let invariants = invariants.iter().chain(&["progress", "no-residue"]);
    Space {
        name: name.to_owned(),
        about: String::new(),
        invariants: invariants.map(|name| (*name).to_owned()).collect(),
        breaks: None,
        processes,
        bounds,
    }
}

/// Without a bug, and with one that shows.
fn compare_recipes(space: &Space, bug: &str, judge: (Reduction, bool)) {
    let (ends, broken) = compare(space, None, judge).unwrap_or_else(|why| panic!("{why}"));
    assert!(ends > 0 && broken.is_empty(), "{}: {ends} ends, {broken:?}", space.name);
    let (_, broken) = compare(space, planted::find(bug), judge).unwrap_or_else(|why| panic!("{bug}: {why}"));
    assert!(!broken.is_empty(), "{bug} does not show in {}", space.name);
}

#[test]
fn with_recipes_all_agree_with_a_search_that_leaves_out_nothing() {
    let waits = of_recipes(
        "barrier",
        &["barrier"],
        [Does::Hold, Does::Pass].map(role).into(),
        Bounds { lags: 1, ..Bounds::default() },
    );
    compare_recipes(&waits, "stale-look", (Reduction::Plain, false));
    let stays = Role { after: After::Stay, ..role(Does::Transfer) };
    let transfers =
        of_recipes("stm", &["isolation", "applied"], vec![stays.clone(), stays], Bounds::default());
    let (ends, broken) = compare(&transfers, None, (Reduction::Plain, false)).expect("all agree");
    assert!(ends == 4 && broken.is_empty(), "{ends} ends, {broken:?}");
}

/// Some remember things from one round to the next, or what they have begun goes on when they do not wait for it any more.
#[test]
fn with_recipes_all_agree_with_a_search_that_only_tells_states_apart() {
    let twice = |does| Role { rounds: 2, ..role(does) };
    let lost = Bounds { lost_answers: 1, ..Bounds::default() };
    let spaces = [
        (
            of_recipes(
                "queue, given up",
                &["exactly-once"],
                vec![role(Does::Enqueue), twice(Does::Dequeue)],
                Bounds { cancels: 1, lost_answers: 1, ..Bounds::default() },
            ),
            "without-receipts",
        ),
        (
            of_recipes(
                "queue, in order",
                &["exactly-once"],
                vec![twice(Does::Enqueue), role(Does::Claim)],
                Bounds { crashes: 1, ..Bounds::default() },
            ),
            "newest-first",
        ),
        (of_recipes("counter", &["applied"], vec![twice(Does::Add), role(Does::Add)], lost), "made-again"),
        (of_recipes("stm", &["applied"], vec![role(Does::Transfer); 2], lost), "made-again"),
        (
            of_recipes(
                "double barrier",
                &["double-barrier"],
                [Ending::Release, Ending::Drop]
                    .map(|ending| Role { members: 1, ending, after: After::Stay, ..role(Does::Enter) })
                    .into(),
                lost,
            ),
            "late-client",
        ),
    ];
    for (space, bug) in spaces {
        compare_recipes(&space, bug, (Reduction::States, true));
    }
}
