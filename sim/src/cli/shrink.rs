//! `tenure shrink`: the smallest version of a failure.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

use super::gallery::Gallery;
use super::{all_cores, planted, unless_closed};
use crate::report::{command, planted_table};
use crate::run::{Capsule, keep_panics_quiet};
use crate::scenario::BadInput;
use crate::shrink::{self, Options, Shrunk};

/// Makes a capsule smaller: a shorter run, fewer faults, clients and operations, plainer numbers and an even network, as
/// long as the same invariant breaks in the same way.
///
/// What comes out depends on the capsule alone, unless the time limit stops it. Writes CAPSULE's name with `.min.json` at
/// its end if -o names no other. Exits with 2 and writes nothing if the capsule is green, or does not fail any more.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The capsule, as `tenure run` wrote it
    #[arg(value_name = "CAPSULE", required_unless_present = "all_planted")]
    capsule: Option<PathBuf>,
    /// Where the small one is written
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// When to stop with what it has, checked between tries: 60s or 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    limit: Duration,
    /// How many plans are tried at a time; all cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Shrinks the first failure of every planted bug, and prints the table of docs/planted-bugs.md
    #[arg(long, conflicts_with = "capsule")]
    all_planted: bool,
    /// With --all-planted: also writes a capsule and a page for each bug into this folder, and an index.html of them
    #[arg(long, value_name = "FOLDER", requires = "all_planted")]
    gallery: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    keep_panics_quiet();
    let jobs = args.jobs.map_or_else(all_cores, usize::from);
    let options = Options { limit: args.limit, jobs };
    let Some(path) = &args.capsule else { return all_planted(args, options) };
    let capsule = Capsule::read(path)?;
    let bug = planted(capsule.planted.as_deref())?;
    let output = args.output.clone().unwrap_or_else(|| shrink::beside(path));
    let bar = spinner();
    let shrunk = shrink::shrink(&capsule, bug, options, |size| bar.set_message(size.to_string()));
    bar.finish_and_clear();
    let shrunk = shrunk.map_err(|BadInput(why)| BadInput(format!("{}: {why}", path.display())))?;
    shrunk.capsule.write_as(&output).map_err(|error| unwritable(&output, &error))?;
    let mut out = anstream::stdout().lock();
    unless_closed(write(&mut out, &shrunk, &output))?;
    Ok(0)
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> BadInput {
    BadInput(format!("{}: cannot be written: {error}", path.display()))
}

fn write(out: &mut impl Write, shrunk: &Shrunk, output: &Path) -> std::io::Result<()> {
    let why = if shrunk.stopped { "stopped at the limit" } else { "nothing more can be left out" };
    writeln!(out, "from      {}", shrunk.before)?;
    writeln!(out, "to        {}", shrunk.after)?;
    writeln!(out, "{} plans tried in {:.1} s; {why}", shrunk.tried, shrunk.took.as_secs_f64())?;
    writeln!(out, "{}", command::replay_capsule(output))
}

pub(super) fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    bar.set_prefix("shrinking");
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn all_planted(args: &Args, options: Options) -> Result<u8, BadInput> {
    let gallery = args.gallery.clone().map(Gallery::open).transpose()?;
    let bar = spinner();
    let progress = |name: &str| bar.set_message(name.to_owned());
    let table = planted_table::make(options, progress, |planted, shrunk| match &gallery {
        Some(gallery) => gallery.add(planted, shrunk),
        None => Ok(()),
    })?;
    bar.finish_and_clear();
    if let Some(gallery) = gallery {
        gallery.close()?;
    }
    if let Some(path) = &args.output {
        std::fs::write(path, table).map_err(|error| unwritable(path, &error))?;
        return Ok(0);
    }
    unless_closed(anstream::stdout().lock().write_all(table.as_bytes()))?;
    Ok(0)
}
