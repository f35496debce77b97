//! `tenure explore`: every order of the library's steps within written bounds.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{all_cores, planted, unless_closed};
use crate::explore::{self, ExploreCapsule, Outcome, Reduction, SearchOptions, Space};
use crate::planted::Planted;
use crate::report::style::{BAD, GOOD, NAME, NOTICE};
use crate::report::timeline::{self, Selection};
use crate::run::keep_panics_quiet;
use crate::scenario::BadInput;

/// The exit code of a search that found nothing and did not come to its end.
const NOT_EXHAUSTED: u8 = 6;

/// How long a shorter run of a violation is looked for.
const SHORTENING: Duration = Duration::from_secs(60);

/// Explores every run of the library's primitives, unchanged, within bounds: every order of their steps, with crashes, lost
/// answers, late requests and whatever else the bounds allow.
///
/// A space says which processes there are, what they do and what may go wrong how often (scenarios/explore/*.toml).
/// Exits with 1 if an invariant broke: the run is written down, and `tenure replay` shows it; with 6 if nothing broke and
/// the search ended before all was searched.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Spaces by name, or .toml files; `tenure explore --list` names them
    #[arg(value_name = "NAME|FILE", required_unless_present_any = ["all", "list"])]
    spaces: Vec<String>,
    /// Explores every built-in space
    #[arg(long, conflicts_with = "spaces")]
    all: bool,
    /// Lists the built-in spaces
    #[arg(long, conflicts_with_all = ["spaces", "all"])]
    list: bool,
    /// Plants a bug, which must then be found
    #[arg(long, value_name = "BUG")]
    planted: Option<String>,
    /// What is left out of the search
    #[arg(long, value_enum, default_value_t = Reduction::Full)]
    reduction: Reduction,
    /// Threads; all cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Ends each space's search after this time, as `90s`, `5m` or `1h`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    budget: Option<Duration>,
    /// Where runs that break an invariant are written
    #[arg(long, value_name = "FOLDER", default_value = "capsules")]
    capsules: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 90s, 5m or 1h");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?))
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    if args.list {
        return list();
    }
    let planted = planted(args.planted.as_deref())?;
    let spaces: Vec<Space> = if args.all {
        explore::load()?
    } else {
        args.spaces.iter().map(|name| explore::find(name)).collect::<Result<_, _>>()?
    };
    keep_panics_quiet();
    let mut worst = 0;
    for space in &spaces {
        let code = explore(args, space, planted)?;
        // A violation outweighs a search that did not come to its end.
        worst = if code == 1 || worst == 1 { 1 } else { worst.max(code) };
    }
    Ok(worst)
}

fn list() -> Result<u8, BadInput> {
    let mut out = anstream::stdout().lock();
    for space in explore::load()? {
        unless_closed(writeln!(out, "  {NAME}{:<28}{NAME:#} {}", space.name, space.about))?;
    }
    Ok(0)
}

fn explore(args: &Args, space: &Space, planted: Option<&'static Planted>) -> Result<u8, BadInput> {
    let options = SearchOptions {
        reduction: args.reduction,
        jobs: args.jobs.map_or_else(all_cores, usize::from),
        budget: args.budget,
        ..SearchOptions::default()
    };
    let bar = progress_bar(&space.name);
    let mut outcome = explore::search(space, planted, &options, |progress| {
        bar.set_position((progress.done * 1000.0) as u64);
        bar.set_message(format!("{} states, {} steps", progress.states, progress.steps));
    });
    bar.finish_and_clear();
    if let Some(found) = outcome.found.first_mut() {
        // Written down before anything else happens; the shorter one takes its place.
        write_down(args, space, planted, found)?;
        if let Some(shorter) = explore::shorten(space, planted, found, SHORTENING) {
            *found = shorter;
        }
    }
    let mut out = anstream::stdout().lock();
    unless_closed(report(&mut out, space, &outcome))?;
    let Some(found) = outcome.found.first() else {
        if let Some(known) = &space.breaks
            && planted.is_none()
        {
            unless_closed(writeln!(
                out,
                "  {BAD}{known} did not break{BAD:#}, as the space says that it does"
            ))?;
            return Ok(1);
        }
        return Ok(if outcome.exhausted { 0 } else { NOT_EXHAUSTED });
    };
    let file = write_down(args, space, planted, found)?;
    unless_closed(writeln!(out, "reproduce with:\ntenure replay {}", file.display()))?;
    let known = planted.is_none() && space.breaks.as_deref() == Some(found.invariant);
    if known {
        unless_closed(writeln!(out, "  {NOTICE}as is known{NOTICE:#} of these bounds"))?;
    }
    Ok(u8::from(!known))
}

fn write_down(
    args: &Args,
    space: &Space,
    planted: Option<&'static Planted>,
    found: &explore::Found,
) -> Result<PathBuf, BadInput> {
    ExploreCapsule::new(space, planted, found).write(&args.capsules).map_err(|error| {
        BadInput(format!("--capsules {}: cannot be written to: {error}", args.capsules.display()))
    })
}

fn report(out: &mut impl Write, space: &Space, outcome: &Outcome) -> std::io::Result<()> {
    let seconds = outcome.took.as_secs_f64();
    writeln!(
        out,
        "{NAME}{}{NAME:#}: {} steps, {} distinct states, {} complete runs ({} ends), longest {}, {seconds:.1} s, {:.0} steps/s",
        space.name,
        outcome.steps,
        outcome.states,
        outcome.executions,
        outcome.ends.len(),
        outcome.longest,
        outcome.steps as f64 / seconds.max(1e-6),
    )?;
    if let Some(found) = outcome.found.first() {
        return writeln!(
            out,
            "  {BAD}{} broke{BAD:#} after {} steps: {}",
            found.invariant,
            found.path.len(),
            found.detail
        );
    }
    if outcome.exhausted {
        return writeln!(out, "  {GOOD}exhausted{GOOD:#}: no run within these bounds breaks an invariant");
    }
    writeln!(
        out,
        "  {NOTICE}not exhausted{NOTICE:#}: about {:.1} % was searched (an estimate); {} states have steps that were not tried, \
         the first of them after {}",
        outcome.done * 100.0,
        outcome.unexplored,
        outcome.first_unexplored.iter().map(|choice| format!("{choice:?}")).collect::<Vec<_>>().join(", ")
    )
}

fn progress_bar(name: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) =
        ProgressStyle::with_template("{prefix} {wide_bar} {percent}% (estimated) {msg} {elapsed}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

/// Shows an explorer's capsule, if the file is one.
pub(super) fn replay(file: &Path, selection: &Selection) -> Result<Option<u8>, BadInput> {
    let Some(capsule) = ExploreCapsule::read(file)? else { return Ok(None) };
    keep_panics_quiet();
    let walk = explore::walk(&capsule.space, planted(capsule.planted.as_deref())?, &capsule.path)?;
    let code = u8::from(walk.broken.is_some() || !walk.violations.is_empty());
    let mut out = anstream::stdout().lock();
    unless_closed(timeline::write(&mut out, &walk.history, &walk.violations, selection))?;
    let steps = capsule.path.len();
    unless_closed(match walk.broken {
        Some((invariant, detail)) => {
            writeln!(
                out,
                "{BAD}{invariant} broke{BAD:#} after {steps} steps of {}: {detail}",
                capsule.space.name
            )
        }
        None => writeln!(out, "{GOOD}green{GOOD:#}: {steps} steps of {}", capsule.space.name),
    })?;
    Ok(Some(code))
}
