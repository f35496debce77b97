//! `tenure explore`: small bounds are exhausted, every way of searching agrees, planted bugs are found, and what is found is shown.

use std::time::Duration;

use tenure_sim::explore::{
    BUILT_IN, ExploreCapsule, Outcome, Reduction, SearchOptions, find, load, search, shorten, walk,
};
use tenure_sim::planted;
use tenure_sim::run::keep_panics_quiet;

/// Where exploration finds which planted bug.
const PLANTED_IN: &[(&str, &str)] = &[
    ("no-own-key-check", "mutex-2-expiry-lost-late"),
    ("unlock-by-name", "mutex-2-expiry-lost-late"),
    ("first-key-wins-late", "mutex-3-cancel-break"),
    ("is-owner-while-queued", "mutex-2x1-crash"),
    ("deaf-to-expiry", "mutex-2-renewal-expiry"),
    ("campaign-after-expiry", "election-2-expiry-lost"),
    ("resign-forgets", "election-2-expiry-lost"),
    ("observe-skips-last", "election-2-observer"),
    ("reader-overtakes", "rwlock-2r2w-crash"),
    ("reader-beside-writer", "rwlock-1r1w-crash"),
];

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
        "mutex-3-cancel-break",
        "rwlock-1r1w-crash",
        "election-2-observer",
        "mutex-relocked",
        "election-resumed",
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
fn planted_bugs_of_the_library_are_found_and_their_runs_shown_by_the_checkers() {
    keep_panics_quiet();
    for &(bug, name) in PLANTED_IN {
        let space = find(name).expect(name);
        let planted = planted::find(bug);
        assert!(planted.is_some(), "{bug}");
        let options = SearchOptions { jobs: 2, ..SearchOptions::default() };
        let outcome = search(&space, planted, &options, |_| {});
        let first = outcome.found.first().unwrap_or_else(|| panic!("{bug} is not found in {name}"));
        let found = shorten(&space, planted, first, Duration::from_secs(60)).unwrap_or_else(|| first.clone());
        assert!(found.path.len() <= 25, "{bug}: {} steps", found.path.len());
        let walked = walk(&space, planted, &found.path).expect("the steps can be taken");
        assert_eq!(walked.broken.map(|(invariant, _)| invariant), Some(found.invariant), "{bug}");
        assert!(
            walked.violations.iter().any(|violation| violation.invariant == found.invariant),
            "{bug}: the checkers say {:?}, the monitor {}",
            walked.violations,
            found.invariant
        );
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
    let found = page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 3);
    for row in found {
        let named: Vec<&str> = names(row).collect();
        assert!(PLANTED_IN.contains(&(named[0], named[1])), "{named:?} is not what the test finds");
    }
}
