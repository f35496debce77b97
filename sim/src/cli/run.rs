//! `tenure run`: campaigns of seeds.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{all_cores, planted, seeds, unless_closed};
use crate::cluster::Transport;
use crate::report::json::{CampaignJson, Document};
use crate::report::{command, junit, summary};
use crate::run::{Campaign, CampaignOptions, Capsule, keep_panics_quiet};
use crate::scenario::{self, BadInput, Scenario};

/// Runs seeds of scenarios and checks their invariants.
///
/// Each seed runs on a fresh thread; one in twenty is run twice, and both histories must be equal. A seed that fails is
/// written into a capsule at once. The last line of a red run is the command that reproduces its first failure.
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
    #[arg(long, value_name = "WAY")]
    transport: Option<Transport>,
    /// Where capsules of failing seeds are written
    #[arg(long, value_name = "FOLDER", default_value = "capsules")]
    capsules: PathBuf,
    /// How many capsules are written at most for a scenario
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    most_capsules: u64,
    /// Prints one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Also writes a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
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
    if let Some(transport) = args.transport {
        scenarios.iter_mut().for_each(|scenario| scenario.cluster.transport = transport);
    }
    writable(args)?;
    keep_panics_quiet();
    let options = CampaignOptions {
        seeds: args.seeds.clone(),
        jobs: args.jobs.map_or_else(all_cores, usize::from),
        planted,
        capsules: args.capsules.clone(),
        most_capsules: args.most_capsules,
    };
    let mut campaigns = Vec::new();
    for (name, scenario) in names.into_iter().zip(&scenarios) {
        let campaign = campaign(scenario, &options)?;
        if !args.json {
            unless_closed(summary::write(&mut anstream::stdout().lock(), &campaign))?;
        }
        campaigns.push((name, campaign));
    }
    finish(args, &campaigns)
}

/// Whether what is to be written can be: before the first seed is run, not after the last.
fn writable(args: &Args) -> Result<(), BadInput> {
    if let Some(file) = &args.junit {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(BadInput(format!(
                "--junit {}: there is no folder {}",
                file.display(),
                folder.display()
            )));
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .map_err(|error| BadInput(format!("--junit {}: cannot be written: {error}", file.display())))?;
    }
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

fn progress_bar(scenario: &Scenario, options: &CampaignOptions) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(
        Some(options.seeds.end - options.seeds.start),
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

fn finish(args: &Args, campaigns: &[(String, Campaign)]) -> Result<u8, BadInput> {
    // Histories that differ make every other verdict doubtful, so 4 comes before 1.
    let exit_code = campaigns.iter().map(|(_, campaign)| campaign.exit_code()).max().unwrap_or(0);
    if let Some(file) = &args.junit {
        let text = junit::report(campaigns)
            .to_string()
            .map_err(|error| BadInput(format!("--junit {}: {error}", file.display())))?;
        std::fs::write(file, text)
            .map_err(|error| BadInput(format!("--junit {}: cannot be written: {error}", file.display())))?;
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        let document = Document {
            campaigns: campaigns.iter().map(|(named, campaign)| CampaignJson::of(campaign, named)).collect(),
            exit_code,
        };
        let text =
            serde_json::to_string_pretty(&document).map_err(|error| BadInput(format!("--json: {error}")))?;
        unless_closed(writeln!(out, "{text}"))?;
    } else if let Some(command) = reproduction(campaigns) {
        unless_closed(writeln!(out, "reproduce with:\n{command}"))?;
    }
    Ok(exit_code)
}

/// The command for the first campaign that is red.
fn reproduction(campaigns: &[(String, Campaign)]) -> Option<String> {
    let (named, campaign) = campaigns
        .iter()
        .max_by_key(|(_, campaign)| campaign.exit_code())
        .and_then(|worst| campaigns.iter().find(|(_, one)| one.exit_code() == worst.1.exit_code()))?;
    if campaign.exit_code() == 0 {
        return None;
    }
    let flags = command::Flags::of(campaign);
    let seed = match campaign.differences.first() {
        Some(difference) => {
            let seeds = difference.seed..difference.seed + 1;
            return Some(command::run(named, &seeds, flags));
        }
        None => campaign.failures.first().map(|failure| failure.seed),
    };
    Some(match seed {
        Some(seed) => command::replay(named, seed, flags),
        // It was to fail and did not, or a mark was never hit: no one seed shows that.
        None => command::run(named, &campaign.seeds, flags),
    })
}
