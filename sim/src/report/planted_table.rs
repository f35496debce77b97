//! The table of planted bugs and how small their failures become: docs/planted-bugs.md.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::Plan;
use crate::planted::{PLANTED, Planted};
use crate::run::{Capsule, Verdict, evidence, execute, judge};
use crate::scenario::{self, BadInput};
use crate::shrink::{self, Options, Shrunk};

use super::story;

/// Seeds enough for each planted bug: the tests hold it to that.
const SEEDS: u64 = 2_000;

/// Of so many failing seeds the one that fails after the fewest steps is shrunk, as `tenure run` does.
const FAILURES: usize = 5;

const HEAD: &str = "\
# Planted bugs

What is wrong on purpose, and how small a failure it leaves: of the first five seeds in which the invariant that names the bug
breaks, the one that does so after the fewest steps, after `tenure shrink`. A client counts if it does something; leases,
elections and the bounds of `progress` take their own time, which is why some runs stay several seconds long.

| planted bug | scenario, seed | invariant | clients | faults | operations | simulated | wall |
|---|---|---|---|---|---|---|---|
";

/// What the last column depends on.
fn measured(options: Options) -> String {
    format!(
        "\nMade by `tenure shrink --all-planted`; the last column is what shrinking took, {} plans at a time, without the search \
         for the seeds.\n",
        options.jobs
    )
}

/// Makes it. `progress` is told of each bug, and `keep` of its smallest failure.
///
/// # Errors
/// If a scenario cannot be run, and those of `keep`.
pub fn make(
    options: Options,
    mut progress: impl FnMut(&str),
    mut keep: impl FnMut(&'static Planted, &Shrunk) -> Result<(), BadInput>,
) -> Result<String, BadInput> {
    let (mut rows, mut stories) = (String::new(), String::new());
    for planted in PLANTED {
        progress(planted.name);
        let Some((seed, shrunk)) = smallest(planted, options)? else {
            let _ = writeln!(
                rows,
                "| `{}` | {} | {} | not caught in {SEEDS} seeds |||||",
                planted.name, planted.scenario, planted.invariant
            );
            continue;
        };
        keep(planted, &shrunk)?;
        let _ = writeln!(rows, "{}", row(planted, seed, &shrunk));
        let _ = writeln!(stories, "\n## `{}`\n\n{}.\n", planted.name, planted.about);
        for sentence in told(&shrunk, planted)? {
            let _ = writeln!(stories, "- {sentence}");
        }
    }
    Ok(format!("{HEAD}{rows}{}{stories}", measured(options)))
}

fn smallest(planted: &'static Planted, options: Options) -> Result<Option<(u64, Shrunk)>, BadInput> {
    let scenario = scenario::find(planted.scenario)?;
    let mut failures: Vec<(usize, Capsule)> = Vec::new();
    for seed in 0..SEEDS {
        let plan = Arc::new(Plan::draw(&scenario, seed));
        let run = execute(&plan, Some(planted))?;
        let report = judge(&plan, &run, &scenario.invariants);
        let Verdict::Broken { violations } = &report.verdict else { continue };
        let Some(named) = violations.iter().find(|one| one.invariant == planted.invariant) else { continue };
        let name = Some(planted.name);
        let capsule = Capsule::new(&scenario, name, &plan, &report.verdict, &run.history);
        failures.push((named.step, capsule));
        if failures.len() == FAILURES {
            break;
        }
    }
    let Some((_, capsule)) = failures.into_iter().min_by_key(|(step, _)| *step) else { return Ok(None) };
    Ok(Some((capsule.plan.seed, shrink::shrink(&capsule, Some(planted), options, |_| {})?)))
}

fn row(planted: &Planted, seed: u64, shrunk: &Shrunk) -> String {
    let (from, to) = (&shrunk.before, &shrunk.after);
    let stopped = if shrunk.stopped { " (stopped)" } else { "" };
    format!(
        "| `{}` | {}, {seed} | {} | {} of {} | {} of {} | {} of {} | {:.1} of {:.0} s | {:.1} s{stopped} |",
        planted.name,
        planted.scenario,
        planted.invariant,
        to.clients,
        from.clients,
        to.faults,
        from.faults,
        to.operations,
        from.operations,
        seconds(to.duration_ms),
        seconds(from.duration_ms),
        shrunk.took.as_secs_f64(),
    )
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn told(shrunk: &Shrunk, planted: &'static Planted) -> Result<Vec<String>, BadInput> {
    let plan = Arc::new(shrunk.capsule.plan.clone());
    let run = execute(&plan, Some(planted))?;
    let subject = shrunk.capsule.subject(Some(planted));
    Ok(story::of_verdict(&evidence(&plan, &run), &shrunk.capsule.verdict, subject)
        .iter()
        .map(ToString::to_string)
        .collect())
}
