//! `tenure explore`: every order of the library's steps within written bounds.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{all_cores, explored, interrupt, planted, unless_closed};
use crate::explore::{
    self, ExploreCapsule, Frontier, Outcome, Progress, RandomOptions, Reduction, SearchOptions, Space, Until,
};
use crate::planted::Planted;
use crate::report::style::{BAD, GOOD, NAME, NOTICE};
use crate::run::keep_panics_quiet;
use crate::scenario::BadInput;

/// The exit code of a search that found nothing and did not come to its end.
const NOT_EXHAUSTED: u8 = 6;

/// So many walks estimate the size of a search that leaves out nothing.
const SIZING_WALKS: u64 = 2_000;

/// How long a shorter run of a violation is looked for.
const SHORTENING: Duration = Duration::from_secs(60);

/// Explores every run of the library's primitives, unchanged, within bounds: every order of their steps, with crashes, lost
/// answers, late requests and whatever else the bounds allow.
///
/// A space says which processes there are, what they do and what may go wrong how often (scenarios/explore/*.toml).
/// Exits with 1 if an invariant broke: the run is written down, and `tenure replay` shows it; with 6 if nothing broke and
/// the search ended before all was searched: what is left is written down, and `--resume` goes on with it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Spaces by name, or .toml files; `tenure explore --list` names them
    #[arg(value_name = "NAME|FILE", required_unless_present_any = ["all", "list", "resume", "all_planted"])]
    spaces: Vec<String>,
    /// Explores every built-in space. Of more spaces than one it says at the end how large each was
    #[arg(long, conflicts_with = "spaces")]
    all: bool,
    /// Lists the built-in spaces
    #[arg(long, conflicts_with_all = ["spaces", "all"])]
    list: bool,
    /// Plants a bug, which must then be found
    #[arg(long, value_name = "BUG")]
    planted: Option<String>,
    /// Finds every planted bug where it is to be found, and prints how soon, beside what seeds need
    #[arg(long, conflicts_with_all = ["spaces", "all", "list", "planted", "random", "resume"])]
    all_planted: bool,
    /// Takes N random walks, by priorities as PCT draws them, instead of a search
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    random: Option<u64>,
    /// What the walks are drawn from
    #[arg(long, value_name = "N", default_value_t = 0, requires = "random")]
    seed: u64,
    /// Goes on with a search that ended early
    #[arg(long, value_name = "FILE", conflicts_with_all = ["spaces", "all", "list", "planted", "random", "reduction"])]
    resume: Option<PathBuf>,
    /// What is left out of the search
    #[arg(long, value_enum, default_value_t = Reduction::Full)]
    reduction: Reduction,
    /// Threads; all cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Ends each space's search after this time, as `90s`, `5m` or `1h`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    budget: Option<Duration>,
    /// Where runs that break an invariant are written, and searches that end early
    #[arg(long, value_name = "FOLDER", default_value = "capsules")]
    capsules: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    if args.list {
        return list();
    }
    keep_panics_quiet();
    if args.all_planted {
        return all_planted();
    }
    let until = Until { budget: args.budget, signal: Some(interrupt::listen()?) };
    if let Some(file) = &args.resume {
        return resume(args, file, until);
    }
    let planted = planted(args.planted.as_deref())?;
    let spaces: Vec<Space> = if args.all {
        explore::load()?
    } else {
        args.spaces.iter().map(|name| explore::find(name)).collect::<Result<_, _>>()?
    };
    let mut worst = 0;
    let mut sizes = Vec::new();
    for space in &spaces {
        let judged = planted.map(|planted| explore::judged_by_name(space, planted));
        let space = judged.as_ref().unwrap_or(space);
        let code = if let Some(walks) = args.random {
            let options = RandomOptions { walks, seed: args.seed, jobs: jobs(args), until: until.clone() };
            walk(args, space, planted, &options)?
        } else {
            let outcome = explore(args, space, planted, &until);
            let code = tell(args, space, planted, &outcome)?;
            sizes.push((space.clone(), outcome));
            code
        };
        // A violation outweighs a search that did not come to its end.
        worst = if code == 1 || worst == 1 { 1 } else { worst.max(code) };
        if until.signal.as_ref().is_some_and(|signal| signal.load(Ordering::Relaxed) != 0) {
            break;
        }
    }
    if sizes.len() > 1 {
        unless_closed(table(&mut anstream::stdout().lock(), &sizes))?;
    }
    Ok(worst)
}

fn jobs(args: &Args) -> usize {
    args.jobs.map_or_else(all_cores, usize::from)
}

fn all_planted() -> Result<u8, BadInput> {
    let table = explore::table(|bug| anstream::eprintln!("{bug}"))?;
    unless_closed(anstream::stdout().lock().write_all(table.as_bytes()))?;
    Ok(0)
}

fn resume(args: &Args, file: &Path, until: Until) -> Result<u8, BadInput> {
    let frontier = Frontier::read(file)?;
    let (space, bug) = (frontier.head.space.clone(), planted(frontier.head.planted.as_deref())?);
    let options = SearchOptions { jobs: jobs(args), until, keeps_frontier: true, ..SearchOptions::default() };
    let bar = progress_bar(&space.name);
    let outcome = explore::resume(frontier, bug, &options, |progress| show(&bar, progress))
        .map_err(|BadInput(why)| BadInput(format!("{}: {why}", file.display())))?;
    bar.finish_and_clear();
    tell(args, &space, bug, &outcome)
}

fn list() -> Result<u8, BadInput> {
    let mut out = anstream::stdout().lock();
    for space in explore::load()? {
        unless_closed(writeln!(out, "  {NAME}{:<28}{NAME:#} {}", space.name, space.about))?;
    }
    Ok(0)
}

fn explore(args: &Args, space: &Space, planted: Option<&'static Planted>, until: &Until) -> Outcome {
    let options = SearchOptions {
        reduction: args.reduction,
        jobs: jobs(args),
        until: until.clone(),
        keeps_frontier: true,
        ..SearchOptions::default()
    };
    let bar = progress_bar(&space.name);
    let outcome = explore::search(space, planted, &options, |progress| show(&bar, progress));
    bar.finish_and_clear();
    outcome
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_position((progress.done * 1000.0) as u64);
    bar.set_message(format!("{} states, {} steps", progress.states, progress.steps));
}

/// Says what a search came to, and writes down what is to be written down; gives the exit code.
fn tell(
    args: &Args,
    space: &Space,
    planted: Option<&'static Planted>,
    outcome: &Outcome,
) -> Result<u8, BadInput> {
    let mut out = anstream::stdout().lock();
    unless_closed(report(&mut out, space, outcome))?;
    if let Some(found) = outcome.found.first() {
        return broke(args, space, planted, found);
    }
    if let Some(known) = &space.breaks
        && planted.is_none()
    {
        unless_closed(writeln!(out, "  {BAD}{known} did not break{BAD:#}, as the space says that it does"))?;
        return Ok(1);
    }
    if let Some(frontier) = &outcome.frontier {
        let file = frontier.write(&args.capsules).map_err(|error| unwritten(args, &error))?;
        unless_closed(writeln!(out, "go on with:\ntenure explore --resume {}", file.display()))?;
    }
    Ok(if outcome.exhausted { 0 } else { NOT_EXHAUSTED })
}

/// An invariant broke: the run is written down, and then a shorter one is looked for.
fn broke(
    args: &Args,
    space: &Space,
    planted: Option<&'static Planted>,
    found: &explore::Found,
) -> Result<u8, BadInput> {
    // Written down before anything else happens; the shorter one takes its place.
    let file = write_down(args, space, planted, found)?;
    let shorter = explore::shorten(space, planted, found, SHORTENING);
    let found = shorter.as_ref().unwrap_or(found);
    write_down(args, space, planted, found)?;
    explored::beside(&file)?;
    let mut out = anstream::stdout().lock();
    unless_closed(writeln!(
        out,
        "  {BAD}{} broke{BAD:#} after {} steps: {}",
        found.invariant,
        found.path.len(),
        found.detail
    ))?;
    unless_closed(writeln!(out, "reproduce with:\ntenure replay {}", file.display()))?;
    let known = planted.is_none() && space.breaks.as_deref() == Some(found.invariant);
    if known {
        unless_closed(writeln!(out, "  {NOTICE}as is known{NOTICE:#} of these bounds"))?;
    }
    Ok(u8::from(!known))
}

/// Takes random walks.
fn walk(
    args: &Args,
    space: &Space,
    planted: Option<&'static Planted>,
    options: &RandomOptions,
) -> Result<u8, BadInput> {
    let bar = progress_bar(&space.name);
    bar.set_length(options.walks);
    let walked = explore::random(space, planted, options, |walks| bar.set_position(walks));
    bar.finish_and_clear();
    let mut out = anstream::stdout().lock();
    let seconds = walked.took.as_secs_f64();
    unless_closed(writeln!(
        out,
        "{NAME}{}{NAME:#}: {} random walks of seed {}, {} steps, {} different ends, {seconds:.1} s, {:.0} steps/s",
        space.name,
        walked.walks,
        options.seed,
        walked.steps,
        walked.ends,
        walked.steps as f64 / seconds.max(1e-6),
    ))?;
    drop(out);
    match &walked.found {
        Some(found) => broke(args, space, planted, found),
        None => {
            let words = "nothing broke on these walks; what else the space has was not looked at";
            unless_closed(writeln!(anstream::stdout().lock(), "  {NOTICE}not exhausted{NOTICE:#}: {words}"))?;
            Ok(NOT_EXHAUSTED)
        }
    }
}

/// How large the spaces were, beside a search that leaves out nothing.
fn table(out: &mut impl Write, sizes: &[(Space, Outcome)]) -> std::io::Result<()> {
    writeln!(
        out,
        "\n| space | searched | complete runs | steps | states | seconds | steps/s | steps of a plain search (estimated) | ratio |\n\
         |---|---|---|---|---|---|---|---|---|"
    )?;
    for (space, outcome) in sizes {
        let seconds = outcome.took.as_secs_f64();
        let searched =
            if outcome.exhausted { "all".to_owned() } else { format!("{:.1} %", outcome.done * 100.0) };
        let (plain, _) = explore::plain_size(space, SIZING_WALKS);
        writeln!(
            out,
            "| `{}` | {searched} | {} | {} | {} | {seconds:.1} | {:.0} | {plain:.1e} | {:.1e} |",
            space.name,
            outcome.executions,
            outcome.steps,
            outcome.states,
            outcome.steps as f64 / seconds.max(1e-6),
            plain / outcome.steps as f64,
        )?;
    }
    Ok(())
}

fn unwritten(args: &Args, error: &std::io::Error) -> BadInput {
    BadInput(format!("--capsules {}: cannot be written to: {error}", args.capsules.display()))
}

fn write_down(
    args: &Args,
    space: &Space,
    planted: Option<&'static Planted>,
    found: &explore::Found,
) -> Result<PathBuf, BadInput> {
    ExploreCapsule::new(space, planted, found).write(&args.capsules).map_err(|error| unwritten(args, &error))
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
    if !outcome.found.is_empty() {
        return Ok(());
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
