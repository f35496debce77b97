//! `tenure real`: the same scenarios on a real cluster under real faults.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::pictures::{Shown, write_page};
use super::{interrupt, planted, seeds, unless_closed};
use crate::live::{JUDGED, Round, RoundOptions, serve_errand};
use crate::real::{DEFAULT_VERSION, VERSIONS};
use crate::run::{Stopwatch, Verdict};
use crate::scenario::{self, BadInput, Expect, Scenario};

/// Plays scenarios on a real etcd cluster, with real processes and real faults.
///
/// Each seed is one round: a cluster of vendored servers on loopback, a process for each client, and the seed's plan of
/// faults: processes killed (SIGKILL) and stopped (SIGSTOP), members and clients cut off (one way, too), leaders moved,
/// histories compacted, the alarm for want of space. A round takes as long as its plan says, about a minute. What the
/// processes tell, and what a watch on every key tells, is one history for the same checkers; what of it is uncertain by
/// its nature (when exactly a write was committed, who believed while he was stopped) is never held against anyone.
///
/// Not judged here: true-errors, lease-life and progress, which ask for what nobody can see of a real cluster. Faults that a plan cannot do here (lost messages, slow disks, changes of membership) are not drawn. Members
/// stand still for at most six tenths of a lease: longer, and etcd itself may revoke live leases (see the docs).
#[derive(clap::Args)]
pub(super) struct Args {
    /// Built-in scenarios by name (see `tenure list`), or .toml files; mutex, election, rwlock and mixed if none is named
    #[arg(value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// The seeds: a range, or how many from 0 on; each is a round
    #[arg(long, value_name = "A..B|N", default_value = "1", allow_negative_numbers = true, value_parser = seeds::parse)]
    seeds: Range<u64>,
    /// Instead of so many seeds: seeds from the first on until this time is up, as 10m or 8h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    budget: Option<Duration>,
    /// Which etcd: one of the vendored releases
    #[arg(long, value_name = "VERSION", default_value = DEFAULT_VERSION)]
    etcd_version: String,
    /// How many members
    #[arg(long, value_name = "1|3|5", default_value = "3", value_parser = ["1", "3", "5"])]
    members: String,
    /// Plants a bug, to see it caught
    #[arg(long, value_name = "BUG")]
    planted: Option<String>,
    /// Where the page and the steps of failing rounds are written
    #[arg(long, value_name = "FOLDER", default_value = "capsules")]
    capsules: PathBuf,
    /// Prints one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// What is counted over all rounds.
#[derive(Default, Serialize)]
struct Total {
    scenario: String,
    version: String,
    planted: Option<String>,
    rounds: u64,
    seeds: Vec<u64>,
    grants: u64,
    steps: u64,
    faults: BTreeMap<&'static str, u64>,
    longest_without_grant_ms: u64,
    judged: Vec<String>,
    failed_seeds: Vec<u64>,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let names = if args.scenarios.is_empty() {
        ["mutex", "election", "rwlock", "mixed"].map(str::to_owned).to_vec()
    } else {
        args.scenarios.clone()
    };
    let scenarios: Vec<Scenario> = names.iter().map(|name| scenario::find(name)).collect::<Result<_, _>>()?;
    if !VERSIONS.contains(&args.etcd_version.as_str()) {
        let list = VERSIONS.join(", ");
        return Err(BadInput(format!(
            "--etcd-version {}: it is not vendored; there are {list}",
            args.etcd_version
        )));
    }
    let options = RoundOptions {
        version: args.etcd_version.clone(),
        members: args.members.parse().unwrap_or(3),
        planted: planted(args.planted.as_deref())?,
    };
    // All plans are possible before the first is played.
    for scenario in &scenarios {
        Round::plan(scenario, args.seeds.start, &options)?;
    }
    std::fs::create_dir_all(&args.capsules).map_err(|error| {
        BadInput(format!("--capsules {}: cannot be written to: {error}", args.capsules.display()))
    })?;
    let signal = interrupt::listen()?;
    let mut totals = Vec::new();
    let mut code = 0;
    for scenario in &scenarios {
        let share = args.budget.map(|budget| budget / u32::try_from(scenarios.len()).unwrap_or(1));
        let total = rounds(args, scenario, &options, share, &|| signal.load(Ordering::Relaxed) > 0)?;
        let is_red = !total.failed_seeds.is_empty();
        let as_expected = is_red == (scenario.expect == Expect::Fail);
        code = code.max(u8::from(!as_expected));
        totals.push(total);
        let came = signal.load(Ordering::Relaxed);
        if came > 0 {
            code = u8::try_from(128 + came).unwrap_or(u8::MAX);
            break;
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&totals).map_err(|error| BadInput(error.to_string()))?;
        unless_closed(writeln!(std::io::stdout(), "{text}"))?;
    }
    Ok(code)
}

/// The rounds of one scenario.
fn rounds(
    args: &Args,
    scenario: &Scenario,
    options: &RoundOptions,
    budget: Option<Duration>,
    is_over: &dyn Fn() -> bool,
) -> Result<Total, BadInput> {
    let started = Stopwatch::start();
    let invariants = scenario.invariants.iter().filter(|name| JUDGED.contains(&name.as_str()));
    let mut total = Total {
        scenario: scenario.name.clone(),
        version: options.version.clone(),
        planted: options.planted.map(|planted| planted.name.to_owned()),
        judged: invariants.cloned().collect(),
        ..Total::default()
    };
    let mut seed = args.seeds.start;
    loop {
        let begins = match budget {
            Some(budget) => total.rounds == 0 || started.elapsed() < budget,
            None => seed < args.seeds.end,
        };
        if !begins || is_over() {
            break;
        }
        let plan = Arc::new(Round::plan(scenario, seed, options)?);
        let bar = bar(scenario, seed, plan.duration_ms);
        let made = Round::run(plan, &scenario.invariants, options, |at_ms| bar.set_position(at_ms / 1000));
        bar.finish_and_clear();
        let round = made.map_err(|error| BadInput(format!("{}, seed {seed}: {error}", scenario.name)))?;
        take_in(args, scenario, options, &round, &mut total)?;
        seed += 1;
    }
    if !args.json {
        summary(scenario, &total)?;
    }
    Ok(total)
}

fn bar(scenario: &Scenario, seed: u64, duration_ms: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(duration_ms / 1000);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} s") {
        bar.set_style(style);
    }
    bar.set_prefix(format!("{} seed {seed}", scenario.name));
    bar
}

/// Counts a round, tells it, and writes down what failed.
fn take_in(
    args: &Args,
    scenario: &Scenario,
    options: &RoundOptions,
    round: &Round,
    total: &mut Total,
) -> Result<(), BadInput> {
    let report = &round.report;
    let seed = report.seed;
    let mut written = None;
    if report.verdict != Verdict::Green {
        total.failed_seeds.push(seed);
        written = Some(write_down(args, scenario, options, round)?);
    }
    total.rounds += 1;
    total.seeds.push(seed);
    total.grants += report.grants;
    total.steps += report.steps;
    for (name, count) in &report.faults {
        *total.faults.entry(name).or_default() += count;
    }
    let longest_ms = u64::try_from(round.longest_without_grant.as_millis()).unwrap_or(u64::MAX);
    total.longest_without_grant_ms = total.longest_without_grant_ms.max(longest_ms);
    if args.json {
        return Ok(());
    }
    let faults: u64 = report.faults.values().sum();
    let outcome = match &report.verdict {
        Verdict::Green => "green".to_owned(),
        Verdict::Panic { message } | Verdict::RanAway { message } => format!("PANIC: {message}"),
        Verdict::Broken { violations } => {
            let words = violations.iter().map(|one| format!("{}: {}", one.invariant, one.detail));
            format!("BROKEN: {}", words.collect::<Vec<_>>().join("; "))
        }
    };
    let out = &mut anstream::stdout();
    unless_closed(writeln!(
        out,
        "{} seed {seed} on etcd {}: {} grants, {faults} faults, {} steps: {outcome}",
        scenario.name, options.version, report.grants, report.steps
    ))?;
    match written {
        Some(page) => unless_closed(writeln!(out, "  the picture: {}", page.display())),
        None => Ok(()),
    }
}

/// The page and the steps of a failing round.
fn write_down(
    args: &Args,
    scenario: &Scenario,
    options: &RoundOptions,
    round: &Round,
) -> Result<PathBuf, BadInput> {
    let seed = round.report.seed;
    let planted = options.planted.map(|planted| planted.name);
    let bug = planted.map_or_else(String::new, |name| format!("-{name}"));
    let page = args.capsules.join(format!("real-{}{bug}-{seed}.html", scenario.name));
    let steps = page.with_extension("txt");
    round
        .write_timeline(&steps)
        .map_err(|error| BadInput(format!("{}: cannot be written: {error}", steps.display())))?;
    let again = format!(
        "tenure real {} --seeds {seed}..{} --etcd-version {} --members {}",
        scenario.name,
        seed + 1,
        options.version,
        options.members
    );
    let replay = Some(again + &planted.map_or_else(String::new, |name| format!(" --planted {name}")));
    let (plan, run, report) = (&round.plan, &round.run, &round.report);
    write_page(&page, &Shown { scenario: &scenario.name, planted, plan, run, report, replay })?;
    Ok(page)
}

fn summary(scenario: &Scenario, total: &Total) -> Result<(), BadInput> {
    let faults = total.faults.iter().map(|(name, count)| format!("{name} {count}"));
    let faults = faults.collect::<Vec<_>>().join(", ");
    let all: u64 = total.faults.values().sum();
    let outcome = match (total.failed_seeds.is_empty(), scenario.expect) {
        (true, Expect::Pass) => "green".to_owned(),
        (true, Expect::Fail) => "green, though it is expected to fail".to_owned(),
        (false, Expect::Fail) => format!("{} of them failed, as expected", total.failed_seeds.len()),
        (false, Expect::Pass) => {
            format!("{} of them failed: {:?}", total.failed_seeds.len(), total.failed_seeds)
        }
    };
    unless_closed(writeln!(
        anstream::stdout(),
        "{}: {} rounds on a real cluster, {outcome}\n  {} grants, {all} faults ({faults})\n  longest time without a grant while \
         somebody waited, before the calm: {:.1} s\n  judged: {}",
        total.scenario,
        total.rounds,
        total.grants,
        total.longest_without_grant_ms as f64 / 1000.0,
        total.judged.join(", ")
    ))
}

/// The process of one client; what it is to do comes on standard input.
#[derive(clap::Args)]
pub(super) struct ClientArgs {}

pub(super) fn run_client(_: &ClientArgs) -> Result<u8, BadInput> {
    serve_errand()
}
