//! Runs as files to look at: an HTML page, a Chrome trace. For a replay where they are asked for, for a campaign beside
//! each capsule.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::planted as planted_bug;
use crate::check::{Evidence, Violation};
use crate::plan::Plan;
use crate::planted;
use crate::report::page::{Heading, Sentence, page};
use crate::report::story;
use crate::report::trace::trace;
use crate::run::{Capsule, Run, SeedReport, evidence, execute, judge};
use crate::scenario::BadInput;

/// A run that was made, and what is known of it.
pub(super) struct Shown<'a> {
    /// The scenario's name.
    pub(super) scenario: &'a str,
    /// The planted bug's.
    pub(super) planted: Option<&'a str>,
    pub(super) plan: &'a Plan,
    pub(super) run: &'a Run,
    pub(super) report: &'a SeedReport,
    /// The command that shows it again.
    pub(super) replay: Option<String>,
}

/// Writes the page of a run.
pub(super) fn write_page(file: &Path, shown: &Shown<'_>) -> Result<(), BadInput> {
    let evidence = evidence(shown.plan, shown.run);
    let heading = Heading {
        title: title(shown),
        facts: facts(shown),
        verdict: &shown.report.verdict,
        story: story(shown, &evidence),
        replay: shown.replay.clone(),
    };
    draw_page(file, &heading, &evidence)
}

/// Draws a page, whatever its run was made by.
pub(super) fn draw_page(file: &Path, heading: &Heading<'_>, evidence: &Evidence<'_>) -> Result<(), BadInput> {
    let text = page(heading, evidence).map_err(|error| BadInput(format!("{}: {error}", file.display())))?;
    write(file, text)
}

/// Writes the Chrome trace of a run.
pub(super) fn write_trace(file: &Path, shown: &Shown<'_>) -> Result<(), BadInput> {
    draw_trace(file, &evidence(shown.plan, shown.run), shown.report.verdict.violations())
}

/// Draws a Chrome trace, whatever its run was made by.
pub(super) fn draw_trace(
    file: &Path,
    evidence: &Evidence<'_>,
    violations: &[Violation],
) -> Result<(), BadInput> {
    write(file, trace(evidence, violations).to_string())
}

/// Writes the page of a capsule beside it, by running it once more. Gives the page's file.
pub(super) fn beside(capsule: &Path) -> Result<PathBuf, BadInput> {
    let file = capsule.with_extension("html");
    let Capsule { scenario, planted: bug, plan, .. } = Capsule::read(capsule)?;
    let plan = Arc::new(plan);
    let run = execute(&plan, planted_bug(bug.as_deref())?)?;
    let report = judge(&plan, &run, &scenario.invariants);
    let replay = Some(format!("tenure replay {}", capsule.display()));
    let (scenario, planted) = (scenario.name.as_str(), bug.as_deref());
    write_page(&file, &Shown { scenario, planted, plan: &plan, run: &run, report: &report, replay })?;
    Ok(file)
}

fn write(file: &Path, text: String) -> Result<(), BadInput> {
    std::fs::write(file, text).map_err(|error| super::shrink::unwritable(file, &error))
}

fn title(shown: &Shown<'_>) -> String {
    let planted = shown.planted.map_or_else(String::new, |bug| format!(", with the planted bug {bug}"));
    format!("{}, seed {}{planted}", shown.scenario, shown.plan.seed)
}

fn facts(shown: &Shown<'_>) -> Vec<String> {
    let plan = shown.plan;
    vec![
        format!("etcd {}, {} members", plan.cluster.version, plan.cluster.members),
        format!("{} clients", plan.clients.len()),
        format!("{} faults planned", plan.faults.len()),
        format!("{} steps", shown.report.steps),
        format!("{} grants", shown.report.grants),
        format!("history {:016x}", shown.report.hash),
    ]
}

/// What happened, in words.
fn story(shown: &Shown<'_>, evidence: &Evidence<'_>) -> Vec<Sentence> {
    let wanted = shown.planted.and_then(planted::find).map(|planted| planted.invariant);
    sentences(story::of_verdict(evidence, &shown.report.verdict, wanted))
}

/// A story as the page has it.
pub(super) fn sentences(told: Vec<story::Sentence>) -> Vec<Sentence> {
    told.into_iter().map(|one| Sentence { text: one.to_string(), steps: one.steps }).collect()
}
