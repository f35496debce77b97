//! Which planted bug is found within which bounds, and how soon.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::{Space, find};
use super::search::{Found, LONGEST, SearchOptions, search};
use super::shorten::shorten;
use crate::plan::Plan;
use crate::planted::{self, PLANTED, Planted};
use crate::run::{Verdict, execute, judge};
use crate::scenario::{self, BadInput};

/// Each planted bug that exploration finds, and the space in which it does.
pub const FOUND_IN: &[(&str, &str)] = &[
    ("no-own-key-check", "mutex-2-expiry-lost-late"),
    ("unlock-by-name", "mutex-2x2-late"),
    ("deaf-to-expiry", "mutex-2-renewal-expiry"),
    ("first-key-wins-late", "mutex-3-cancel-break"),
    ("is-owner-while-queued", "mutex-2x1-crash"),
    ("blind-to-own-expiry", "mutex-kept-expiry"),
    ("zombie-after-compaction", "mutex-2-compaction-stay"),
    ("token-is-the-lease", "mutex-2x1-crash"),
    ("names-overlap", "mutex-names"),
    ("opening-hangs", "session-opening"),
    ("campaign-after-expiry", "election-2-expiry-lost"),
    ("resign-forgets", "election-2-expiry-lost"),
    ("stale-proclaim", "election-1-observer-lost"),
    ("observe-stale-first", "election-1-observer-lag"),
    ("observe-skips-last", "election-2-observer"),
    ("observe-never-no-leader", "election-2-observer"),
    ("writer-without-key", "rwlock-2r1w-expiry"),
    ("reader-overtakes", "rwlock-2r2w-crash"),
    ("reader-beside-writer", "rwlock-1r1w-crash"),
    ("one-permit-too-many", "semaphore-3-crash"),
    ("without-receipts", "queue-1-lost-late"),
    ("taken-by-name", "queue-2-lost"),
    ("newest-first", "queue-1-lost-late"),
    ("by-existence", "stm-2x2"),
    ("made-again", "stm-2-lost-late"),
    ("stale-look", "barrier-again"),
    ("late-client", "double-barrier-late"),
    ("without-fence", "mutex-2-late-stay"),
    ("without-own-key", "mutex-2-revoked"),
    ("lost-wake-up", "mutex-2x1"),
    ("gives-way", "mutex-2x1"),
];

/// Those that it cannot find, and why.
pub const NOT_FOUND: &[(&str, &str)] = &[
    ("asks-again-and-again", "how often a waiter asks is no part of the model; the seeds judge it"),
    ("hangs-on-silent-member", "it is in the settings of the backend `Etcd`, which is not explored"),
    ("sends-writes-again", "it is below the backend `Etcd`, which is not explored"),
    ("stale-reads", "it is in the cluster; the explored store is one"),
    ("watch-skips-at-resume", "it is in the cluster; the explored store is one"),
    ("lease-dies-early", "it is in the cluster; the explored store is one"),
];

/// For so long a shorter run is looked for.
const SHORTENING: Duration = Duration::from_secs(60);

/// Seeds enough for each planted bug: the tests hold it to that.
const SEEDS: u64 = 2_000;

const HEAD: &str = "\
# Planted bugs, found by exploration

In which space `tenure explore SPACE --planted BUG` finds each planted bug of the library, by which invariant, after how many states
and seconds (one thread), and in how many steps the shortest run shows it, counted from where everybody has a session. Beside
it what seeds need: which is the first that shows it, and the seconds up to there. A livelock is a run that does not end in 500 steps.

| planted bug | space | invariant | steps | states | seconds | first seed | seconds |
|---|---|---|---|---|---|---|---|
";

/// The space with a bug planted: judged by the invariant that names the bug, if the space judges that.
pub fn judged_by_name(space: &Space, planted: &Planted) -> Space {
    let mut space = space.clone();
    if space.invariants.iter().any(|name| name == planted.invariant) {
        space.invariants = vec![planted.invariant.to_owned()];
    }
    space
}

/// Finds a planted bug where it is to be found: the states that were visited, the seconds, and the run, as short as it can be
/// made.
///
/// # Errors
/// If there is no such space.
pub fn find_planted(planted: &'static Planted, space: &str) -> Result<Option<(u64, f64, Found)>, BadInput> {
    let space = judged_by_name(&find(space)?, planted);
    let outcome = search(&space, Some(planted), &SearchOptions::default(), |_| {});
    let Some(found) = outcome.found.into_iter().next() else { return Ok(None) };
    let shorter = (found.path.len() < LONGEST as usize)
        .then(|| shorten(&space, Some(planted), &found, SHORTENING))
        .flatten();
    Ok(Some((outcome.states, outcome.took.as_secs_f64(), shorter.unwrap_or(found))))
}

/// Makes the table. `progress` is told of each bug.
///
/// # Errors
/// If a scenario cannot be run.
pub fn table(mut progress: impl FnMut(&str)) -> Result<String, BadInput> {
    let mut table = HEAD.to_owned();
    for (bug, space) in FOUND_IN {
        progress(bug);
        let Some(planted) = planted::find(bug) else { continue };
        let explored = match find_planted(planted, space)? {
            Some((states, seconds, found)) => {
                format!("{} | {} | {states} | {seconds:.1}", found.invariant, found.path.len())
            }
            None => "not found | | |".to_owned(),
        };
        let seeds = if PLANTED.iter().any(|it| it.name == planted.name) {
            first_seed(planted)?
        } else {
            "not for seeds | ".to_owned()
        };
        let _ = writeln!(table, "| `{bug}` | `{space}` | {explored} | {seeds} |");
    }
    table += "\nMade by `tenure explore --all-planted`. Not found by exploration:\n\n";
    for (bug, why) in NOT_FOUND {
        let _ = writeln!(table, "- `{bug}`: {why}.");
    }
    Ok(table)
}

#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "how long seeds take; no simulation sees it"
)]
fn first_seed(planted: &'static Planted) -> Result<String, BadInput> {
    let began = std::time::Instant::now();
    let scenario = scenario::find(planted.scenario)?;
    for seed in 0..SEEDS {
        let plan = Arc::new(Plan::draw(&scenario, seed));
        let run = execute(&plan, Some(planted))?;
        let Verdict::Broken { violations } = judge(&plan, &run, &scenario.invariants).verdict else {
            continue;
        };
        if violations.iter().any(|violation| violation.invariant == planted.invariant) {
            return Ok(format!("{}, {seed} | {:.1}", planted.scenario, began.elapsed().as_secs_f64()));
        }
    }
    Ok(format!("none of {SEEDS} | {:.1}", began.elapsed().as_secs_f64()))
}
