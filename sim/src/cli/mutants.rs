//! `tenure mutants`: how soon every planted bug is killed, and by what.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{all_cores, planted, unless_closed};
use crate::planted::{PLANTED, Planted};
use crate::report::style::{BAD, FAINT, GOOD, NAME, NOTICE, styled};
use crate::run::{Canary, Hunt, HuntOptions, Kill, hunt, keep_panics_quiet};
use crate::scenario::{self, BadInput, Expect, Scenario};

/// Hunts every planted bug: killed of all, how many seeds that takes, by which invariant.
///
/// Each bug is hunted in its own scenario over disjoint ranges of seeds until the invariant that names it breaks, and in every
/// other scenario in which it changes anything. A panic or a seed that hangs is no kill. Two canaries keep the hunt honest: one
/// that changes nothing must not be killed, and a library that does nothing must be, everywhere.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Planted bugs by name (see `tenure list`); all if none is named
    #[arg(value_name = "BUG")]
    bugs: Vec<String>,
    /// How many ranges of seeds each bug is hunted over
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    ranges: u64,
    /// How many seeds a range has at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// How many seeds of each other scenario are tried
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    elsewhere: u64,
    /// How many seeds at a time; all cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Prints one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Where the same document is written
    #[arg(long, value_name = "FILE", default_value = "target/tenure/mutants.json")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let bugs = bugs(args)?;
    let mut scenarios = scenario::load()?;
    scenarios.retain(|scenario| scenario.expect == Expect::Pass);
    let cannot =
        |error: std::io::Error| BadInput(format!("--out {}: cannot be written: {error}", args.out.display()));
    if let Some(folder) = args.out.parent() {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    keep_panics_quiet();
    let options = HuntOptions {
        ranges: args.ranges,
        seeds: args.seeds,
        elsewhere: args.elsewhere,
        jobs: args.jobs.map_or_else(all_cores, usize::from),
    };
    let hunted = hunted(&bugs, &scenarios, &options)?;
    let text =
        serde_json::to_string_pretty(&hunted).map_err(|error| BadInput(format!("--json: {error}")))? + "\n";
    std::fs::write(&args.out, &text).map_err(cannot)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        unless_closed(out.write_all(text.as_bytes()))?;
    } else {
        unless_closed(write(&mut out, &hunted, &options))?;
    }
    Ok(u8::from(!hunted.is_good()))
}

fn bugs(args: &Args) -> Result<Vec<&'static Planted>, BadInput> {
    if args.bugs.is_empty() {
        return Ok(PLANTED.iter().collect());
    }
    let named = args.bugs.iter().map(|name| planted(Some(name)));
    Ok(named.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn hunted(
    bugs: &[&'static Planted],
    scenarios: &[Scenario],
    options: &HuntOptions,
) -> Result<Hunt, BadInput> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5))
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} ranges of seeds, {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    let hunt = hunt(bugs, scenarios, options, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    hunt
}

fn write(out: &mut impl Write, hunt: &Hunt, options: &HuntOptions) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<28}{:<10}{:<20}{:>8}{:>8}{:>6}  elsewhere, and by what else",
        "planted bug", "in", "killed by", "ranges", "median", "most"
    )?;
    for kill in &hunt.bugs {
        bug(out, kill)?;
    }
    for canary in &hunt.canaries {
        one_canary(out, canary)?;
    }
    let verdict = if hunt.killed == hunt.total { GOOD } else { BAD };
    writeln!(
        out,
        "{} of {} planted bugs killed {FAINT}(median and most: seeds to the first kill, over {} ranges of {} seeds){FAINT:#}",
        styled(verdict, hunt.killed),
        hunt.total,
        options.ranges,
        options.seeds,
    )
}

fn bug(out: &mut impl Write, kill: &Kill) -> std::io::Result<()> {
    let count = |seeds: Option<u64>, none: &str| seeds.map_or_else(|| none.to_owned(), |n| n.to_string());
    let ranges = format!("{}/{}", kill.ranges_killed, kill.ranges);
    let pad = " ".repeat(8_usize.saturating_sub(ranges.len()));
    write!(
        out,
        "{NAME}{:<28}{NAME:#}{:<10}{:<20}{pad}{}{:>8}{:>6}",
        kill.bug,
        kill.scenario,
        kill.invariant,
        styled(if kill.killed { GOOD } else { BAD }, ranges),
        count(kill.median_seeds, "-"),
        count(kill.most_seeds, "-"),
    )?;
    let mut more: Vec<String> = kill
        .elsewhere
        .iter()
        .map(|(scenario, by)| {
            let by = if by.is_empty() { "unseen".to_owned() } else { by.join(", ") };
            format!("{scenario}: {by}")
        })
        .collect();
    if !kill.by_others.is_empty() {
        let others: Vec<String> = kill.by_others.iter().map(|(name, n)| format!("{name} {n}")).collect();
        more.push(format!("also by {}", others.join(", ")));
    }
    write!(out, "  {FAINT}{}{FAINT:#}", more.join("; "))?;
    if kill.panics > 0 {
        write!(out, " {}", styled(NOTICE, format!("{} seeds panicked", kill.panics)))?;
    }
    if kill.hung {
        write!(out, " {}", styled(NOTICE, "a seed hung"))?;
    }
    writeln!(out)
}

fn one_canary(out: &mut impl Write, canary: &Canary) -> std::io::Result<()> {
    let (must, wrong) = if canary.must_die {
        ("killed everywhere", &canary.survived_in)
    } else {
        ("killed nowhere", &canary.killed_in)
    };
    let said = if canary.is_good() {
        styled(GOOD, must.to_owned()).to_string()
    } else {
        styled(BAD, format!("not {must}: {}", wrong.join(", "))).to_string()
    };
    writeln!(out, "canary {NAME}{:<21}{NAME:#}{said}", canary.canary)
}
