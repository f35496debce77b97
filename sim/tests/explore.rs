//! `tenure explore`: small bounds are exhausted, every way of searching agrees, planted bugs are found, and what is found is shown.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tenure_sim::explore::{
    BUILT_IN, ExploreCapsule, FOUND_IN, Frontier, NOT_FOUND, Outcome, RandomOptions, Reduction,
    SearchOptions, Until, find, find_planted, judged_by_name, load, plain_size, random, resume, search, walk,
};
use tenure_sim::planted::{self, EXPLORED, PLANTED};
use tenure_sim::run::keep_panics_quiet;

fn explored(name: &str, reduction: Reduction, forgets: bool) -> Outcome {
    let space = find(name).expect(name);
    let options = SearchOptions { reduction, forgets, all: true, jobs: 2, ..SearchOptions::default() };
    search(&space, None, &options, |_| {})
}

#[test]
fn every_space_that_comes_with_the_command_is_right() {
    assert_eq!(load().expect("right").len(), BUILT_IN.len());
}

#[test]
fn small_bounds_are_exhausted_and_nothing_breaks() {
    for name in [
        "mutex-2x1",
        "mutex-2x1-crash",
        "mutex-2x2-drop",
        "mutex-2-renewal-expiry",
        "mutex-2-compaction",
        "mutex-2-compaction-stay",
        "mutex-3-cancel-break",
        "rwlock-1r1w-crash",
        "election-2-observer",
        "mutex-relocked",
        "election-resumed",
        "mutex-2-revoked",
        "mutex-2-late-stay",
        "mutex-kept-expiry",
        "mutex-names",
        "semaphore-3-crash",
        "session-opening",
        "election-1-observer-lost",
        "election-1-observer-lag",
        "barrier-again",
        "stm-2x2",
        "stm-audit",
        "priority-queue-lost",
        "stm-2-lost-late",
        "double-barrier-2-crash",
        "counter-2-lost-late",
        "double-barrier-late",
        "queue-2-lost",
    ] {
        let outcome = explored(name, Reduction::Full, false);
        assert!(outcome.exhausted, "{name}");
        assert_eq!(outcome.found, [], "{name}");
    }
}

#[test]
fn all_ways_of_searching_find_the_same_ends_and_violations() {
    for name in ["mutex-2x1", "rwlock-1r1w-crash"] {
        let plain = explored(name, Reduction::Plain, false);
        assert!(plain.exhausted && plain.executions > 10_000, "{name}: {}", plain.executions);
        for (reduction, forgets) in
            [(Reduction::States, false), (Reduction::Full, false), (Reduction::Full, true)]
        {
            let reduced = explored(name, reduction, forgets);
            assert!(reduced.exhausted && reduced.steps < plain.steps / 10, "{name} {reduction:?}");
            assert_eq!(reduced.ends, plain.ends, "{name} {reduction:?}");
            assert_eq!(reduced.found, plain.found, "{name} {reduction:?}");
        }
    }
    for name in ["mutex-2x1-crash", "mutex-2x2-drop", "mutex-2-compaction", "election-2-observer"] {
        let states = explored(name, Reduction::States, true);
        let full = explored(name, Reduction::Full, false);
        assert_eq!((full.ends, full.found), (states.ends, states.found), "{name}");
    }
}

#[test]
fn sleep_sets_find_the_same_ends() {
    for name in ["mutex-2x1", "mutex-names", "election-1-observer-lag"] {
        let sleep = explored(name, Reduction::Sleep, false);
        let full = explored(name, Reduction::Full, false);
        assert!(sleep.exhausted, "{name}");
        assert_eq!((&sleep.ends, &sleep.found), (&full.ends, &full.found), "{name}");
    }
}

#[test]
fn all_ways_of_searching_find_the_same_planted_bug() {
    let space = find("mutex-2x1").expect("built in");
    for (bug, invariant) in [("lost-wake-up", "progress"), ("is-owner-while-queued", "mutual-exclusion")] {
        let broken = |reduction| {
            let options = SearchOptions { reduction, all: true, jobs: 2, ..SearchOptions::default() };
            let outcome = search(&space, planted::find(bug), &options, |_| {});
            assert!(outcome.exhausted, "{bug} {reduction:?}");
            outcome.found.iter().map(|found| found.invariant).collect::<BTreeSet<_>>()
        };
        let plain = broken(Reduction::Plain);
        assert!(plain.contains(invariant), "{bug}: {plain:?}");
        for reduction in [Reduction::States, Reduction::Sleep, Reduction::Full] {
            assert_eq!(broken(reduction), plain, "{bug} {reduction:?}");
        }
    }
}

/// Those whose history says less than the monitor knows: a livelock is no end, an opening that hangs asks for nothing yet, and what
/// the checkers make of a session that is over, or of a key that is put after its contender has left, is told by seeds.
const BY_MONITOR_ALONE: [&str; 4] = ["gives-way", "blind-to-own-expiry", "opening-hangs", "without-fence"];

/// What is wrong with how a planted bug is found, if anything is.
fn wrong_with(bug: &str, name: &str) -> Option<String> {
    let planted = planted::find(bug)?;
    let Some((_, _, found)) = find_planted(planted, name).expect(name) else {
        return Some(format!("is not found in {name}"));
    };
    if found.path.len() > 25 && bug != "gives-way" {
        return Some(format!("{} steps", found.path.len()));
    }
    let space = judged_by_name(&find(name).expect(name), planted);
    let walked = walk(&space, Some(planted), &found.path).expect("the steps can be taken");
    if walked.verdict().violations().iter().all(|violation| violation.invariant != found.invariant) {
        return Some(format!("{}, but the same steps show it no more", found.invariant));
    }
    if BY_MONITOR_ALONE.contains(&bug) {
        return None;
    }
    let told = walked.violations.iter().any(|violation| violation.invariant == found.invariant);
    let same = walked.broken.as_ref().is_some_and(|(invariant, _)| *invariant == found.invariant);
    (!told || !same).then(|| {
        format!(
            "{}, but the checkers say {:?} and the walk {:?}",
            found.invariant, walked.violations, walked.broken
        )
    })
}

#[test]
fn planted_bugs_of_the_library_are_found_and_their_runs_shown_by_the_checkers() {
    keep_panics_quiet();
    let wrong = FOUND_IN.iter().filter_map(|(bug, name)| Some((*bug, wrong_with(bug, name)?)));
    assert_eq!(wrong.collect::<Vec<_>>(), []);
}

#[test]
fn each_way_in_which_a_run_may_end_badly_is_seen() {
    for (bug, name, invariant, says) in [
        ("lost-wake-up", "mutex-2x1", "progress", "waits for ever"),
        ("gives-way", "mutex-2x1", "progress", "has not come to an end"),
        ("without-fence", "mutex-2-late-stay", "no-residue", "is left at the end"),
        ("observe-skips-last", "election-2-observer", "observe-order", "has not seen the last state"),
    ] {
        let mut space = find(name).expect(name);
        space.invariants = vec![invariant.to_owned()];
        let outcome = search(&space, planted::find(bug), &SearchOptions::default(), |_| {});
        let found = outcome.found.first().unwrap_or_else(|| panic!("{bug} is not found"));
        assert!(found.detail.contains(says), "{bug}: {}", found.detail);
        assert_eq!(search(&space, None, &SearchOptions::default(), |_| {}).found, [], "{name}");
    }
}

#[test]
fn every_planted_bug_is_found_by_exploration_or_has_a_reason_why_not() {
    let told: BTreeSet<&str> = FOUND_IN.iter().chain(NOT_FOUND).map(|(bug, _)| *bug).collect();
    let planted: BTreeSet<&str> = PLANTED.iter().chain(EXPLORED).map(|planted| planted.name).collect();
    assert_eq!(told, planted);
}

#[test]
fn random_walks_find_a_planted_bug_and_are_the_same_again() {
    let space = find("mutex-2x1").expect("built in");
    let options = RandomOptions { walks: 500, seed: 1, jobs: 2, until: Until::default() };
    let planted = planted::find("lost-wake-up");
    let first = random(&space, planted, &options, |_| {});
    let again = random(&space, planted, &RandomOptions { jobs: 1, ..options.clone() }, |_| {});
    assert_eq!(first.found.as_ref().map(|found| found.invariant), Some("progress"));
    assert_eq!(first.found, again.found);
    let good = random(&space, None, &options, |_| {});
    assert_eq!((good.found, good.walks), (None, 500));
}

#[test]
fn a_search_that_ends_early_is_written_down_and_goes_on_to_the_same_end() {
    // A signal that has come already: it ends at the first look, after some milliseconds.
    let until = Until { signal: Some(Arc::new(AtomicUsize::new(2))), ..Until::default() };
    let options = SearchOptions { until, keeps_frontier: true, ..SearchOptions::default() };
    let mut outcome = search(&find("mutex-3-cancel-break").expect("built in"), None, &options, |_| {});
    assert!(!outcome.exhausted);
    let folder = tempfile::tempdir().expect("a folder");
    let frontier = outcome.frontier.take().expect("something is left");
    let file = frontier.write(folder.path()).expect("written");
    let read = Frontier::read(&file).expect("read");
    let ways = |frontier: &Frontier| {
        let open = frontier.head.open.iter().map(|open| (open.path.clone(), open.state));
        open.collect::<Vec<_>>()
    };
    assert_eq!((ways(&read), &read.visited), (ways(&frontier), &frontier.visited));
    let options = SearchOptions { jobs: 2, ..SearchOptions::default() };
    let resumed = resume(frontier, None, &options, |_| {}).expect("the same build");
    let at_once = explored("mutex-3-cancel-break", Reduction::Full, false);
    assert!(resumed.exhausted);
    assert_eq!((resumed.states, &resumed.ends), (at_once.states, &at_once.ends));
    let cut = std::fs::read(&file).expect("read");
    std::fs::write(&file, &cut[..cut.len() - 1]).expect("written");
    assert!(Frontier::read(&file).is_err(), "its end is missing");
}

#[test]
fn a_plain_search_is_estimated_within_a_factor_of_two() {
    let space = find("mutex-2x1").expect("built in");
    let plain = explored("mutex-2x1", Reduction::Plain, false);
    let (steps, executions) = plain_size(&space, 5_000);
    for (estimate, exact) in [(steps, plain.steps), (executions, plain.executions)] {
        assert!((0.5..2.0).contains(&(estimate / exact as f64)), "{estimate} for {exact}");
    }
}

#[test]
fn a_capsule_is_read_back() {
    let space = find("mutex-2x1-crash").expect("built in");
    let planted = planted::find("is-owner-while-queued");
    let outcome = search(&space, planted, &SearchOptions::default(), |_| {});
    let found = outcome.found.first().expect("it breaks");
    let capsule = ExploreCapsule::new(&space, planted, found);
    let folder = tempfile::tempdir().expect("a folder");
    let file = capsule.write(folder.path()).expect("written");
    assert_eq!(ExploreCapsule::read(&file).expect("read"), Some(capsule));
}

/// The names between backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_page_of_what_is_checked_names_what_is_there_and_every_space() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect(file);
    let (page, conformance) = (read("docs/what-is-checked.md"), read("CONFORMANCE.md"));
    let models: String = ["liveness", "guards", "slots", "session", "blocking"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(root.join(format!("loom/src/models/{file}.rs"))).ok())
        .collect();
    let spaces: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 7);
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split('|').map(str::trim).collect()).collect();
    assert!(rows.len() > 10, "{}", rows.len());
    for row in &rows[1..] {
        for model in names(row[2]) {
            assert!(models.contains(&format!("fn {model}()")), "loom has no model {model}");
        }
        for space in names(row[3]) {
            assert!(spaces.contains(&space), "no space {space}");
        }
        for invariant in names(row[4]) {
            assert!(tenure_sim::check::names().contains(&invariant), "no invariant {invariant}");
        }
        for promise in names(row[5]) {
            assert!(conformance.contains(&format!("| {promise} |")), "no promise {promise}");
        }
        for file in names(row[6]) {
            assert!(root.join(file).exists(), "no file {file}");
        }
    }
    for space in &spaces {
        assert!(
            rows.iter().any(|row| names(row[3]).any(|name| name == *space)),
            "{space} is not on the page"
        );
    }
    let named = |columns: usize| {
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let rows = rows.filter(|line| line.matches('|').count() == columns + 1);
        rows.map(|row| names(row).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let found: Vec<(&str, &str)> = named(8).iter().map(|names| (names[0], names[1])).collect();
    assert_eq!(found, FOUND_IN, "the page's table of planted bugs");
    let sizes: Vec<&str> = named(9).iter().map(|names| names[0]).collect();
    assert_eq!(sizes, spaces, "the page's table of how large the spaces are");
    for model in models.lines().filter_map(|line| line.strip_prefix("pub(crate) fn ")?.strip_suffix("() {")) {
        assert!(page.contains(&format!("| `{model}` | ")), "the model {model} is not on the page");
    }
    let (_, not_found) = page.split_once("Not found by exploration:").expect("those that are not found");
    for (bug, why) in NOT_FOUND {
        assert!(not_found.contains(&format!("- `{bug}`: {why}.")), "{bug} is not on the page");
    }
}
