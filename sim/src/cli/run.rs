//! `tenure run`: campaigns of seeds.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;
use super::pictures::beside;
use super::{all_cores, interrupt, planted, seeds, shrink};
use crate::cluster::Transport;
use crate::run::{Campaign, CampaignOptions, Capsule, Limits, Shard, Stopped, Stopwatch, keep_panics_quiet};
use crate::scenario::{self, BadInput, Scenario};
use crate::shrink::Options;

/// Runs seeds of scenarios and checks their invariants.
///
/// Each seed runs on a fresh thread; one in twenty is run twice, and both histories must be equal. A seed that fails is
/// written into a capsule at once, and one of each kind is then made smaller, into a capsule beside it (.min.json). The
/// last line of a red run is the command that reproduces its first failure.
///
/// Ctrl-C and SIGTERM end it with all that was found so far, reports included; a second one ends it at once.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Built-in scenarios by name (see `tenure list`), or .toml files; all built-in ones if none is named
    #[arg(value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// The seeds: a range, or how many from 0 on
    #[arg(long, value_name = "A..B|N", default_value = "200", allow_negative_numbers = true, value_parser = seeds::parse)]
    seeds: Range<u64>,
    /// How many seeds at a time; all cores if not given
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Plants a bug, to see it caught
    #[arg(long, value_name = "BUG")]
    planted: Option<String>,
    /// How clients talk to members, instead of what the scenario says: grpc runs etcd-client and etcd's gRPC services too
    /// (and leaves out `true-errors`, which goes by the library's own renewals; etcd-client sends each twice)
    #[arg(long, value_name = "WAY")]
    transport: Option<Transport>,
    /// Where capsules of failing seeds are written
    #[arg(long, value_name = "FOLDER", default_value = "capsules")]
    capsules: PathBuf,
    /// How many capsules are written at most for a scenario
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    most_capsules: u64,
    /// Does not shrink a failure of each kind
    #[arg(long)]
    no_shrink: bool,
    /// When to stop shrinking, as 20s or 2m, for all failures of a scenario together
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    shrink_limit: Duration,
    /// Runs one shard only, counted from 0: its row of the seeds, the same on every machine (see `tenure merge`)
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Begins no seed after this time, as 90s, 10m or 1h30m; each scenario has an equal share of what is left
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    budget: Option<Duration>,
    /// Begins no seed after one that failed
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let planted = planted(args.planted.as_deref())?;
    let names = if args.scenarios.is_empty() {
        scenario::BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect()
    } else {
        args.scenarios.clone()
    };
    // All are read before the first is run.
    let mut scenarios: Vec<Scenario> =
        names.iter().map(|name| scenario::find(name)).collect::<Result<_, _>>()?;
    let mut rates =
        names.iter().map(|name| scenario::rates(name)).collect::<Result<Vec<_>, _>>()?.into_iter();
    if let Some(transport) = args.transport {
        scenarios.iter_mut().for_each(|scenario| scenario.talk_by(transport));
    }
    if let Some(shard) = args.shard
        && shard.part(&args.seeds).is_empty()
    {
        let Range { start, end } = args.seeds;
        return Err(BadInput(format!("--shard {shard}: {start}..{end} holds fewer seeds than shards")));
    }
    writable(args)?;
    keep_panics_quiet();
    let mut options = CampaignOptions {
        seeds: args.seeds.clone(),
        shard: args.shard,
        jobs: args.jobs.map_or_else(all_cores, usize::from),
        planted,
        capsules: args.capsules.clone(),
        most_capsules: args.most_capsules,
        limits: Limits { budget: None, fail_fast: args.fail_fast, signal: interrupt::listen()? },
    };
    let started = Stopwatch::start();
    let mut campaigns = Vec::new();
    for (index, (name, scenario)) in names.into_iter().zip(&scenarios).enumerate() {
        let scenarios_left = u32::try_from(scenarios.len() - index).unwrap_or(1);
        let left = |budget: Duration| budget.saturating_sub(started.elapsed()) / scenarios_left;
        options.limits.budget = args.budget.map(left);
        let mut campaign = campaign(scenario, &options)?;
        campaign.rates = rates.next().flatten();
        // What fails as it should, and what differs from run to run, is not made smaller.
        if campaign.exit_code() == 1 && !args.no_shrink {
            let bar = shrink::spinner();
            let limits = Options { limit: args.shrink_limit, jobs: options.jobs };
            campaign.shrink_failures(limits, |seed, size| bar.set_message(format!("seed {seed} to {size}")));
            bar.finish_and_clear();
        }
        draw(&campaign);
        args.output.summary(&name, &campaign)?;
        let is_last = matches!(campaign.stopped, Some(Stopped::FailFast | Stopped::Signal(_)));
        campaigns.push((name, campaign));
        if is_last {
            break;
        }
    }
    args.output.finish(&campaigns)
}

/// Whether what is to be written can be: before the first seed is run, not after the last.
fn writable(args: &Args) -> Result<(), BadInput> {
    args.output.writable()?;
    if args.most_capsules > 0 {
        Capsule::try_folder(&args.capsules).map_err(|error| {
            BadInput(format!("--capsules {}: cannot be written to: {error}", args.capsules.display()))
        })?;
    }
    Ok(())
}

fn campaign(scenario: &Scenario, options: &CampaignOptions) -> Result<Campaign, BadInput> {
    let bar = progress_bar(scenario, options);
    let campaign = Campaign::run(scenario, options, |failed| {
        bar.inc(1);
        if failed > 0 {
            bar.set_message(format!("{failed} failed"));
        }
    });
    bar.finish_and_clear();
    campaign
}

/// A page beside each capsule. What was found is safe already: a page that fails is told, and no more.
fn draw(campaign: &Campaign) {
    for failure in &campaign.failures {
        let whole = failure.capsule.as_ref().and_then(|written| written.as_ref().ok());
        let small = failure.shrunk.as_ref().and_then(|small| small.as_ref().ok()).map(|small| &small.path);
        for capsule in whole.into_iter().chain(small) {
            if let Err(error) = beside(capsule) {
                anstream::eprintln!("tenure: no page for {}: {error}", capsule.display());
            }
        }
    }
}

fn progress_bar(scenario: &Scenario, options: &CampaignOptions) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(
        Some(options.own_seeds().end - options.own_seeds().start),
        ProgressDrawTarget::stderr_with_hz(5),
    );
    if let Ok(style) =
        ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} seeds, {per_sec}, {eta} {msg:.red}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(scenario.name.clone());
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
