//! `tenure bench`: how fast seeds run, and whether memory stays flat.

use std::io::Write;
use std::path::PathBuf;

use super::unless_closed;
use crate::report::style::FAINT;
use crate::run::{Campaign, CampaignOptions, keep_panics_quiet};
use crate::scenario::{self, BadInput, Scenario};

/// Measures seeds a second on one core and on two, simulated against wall time, and memory after a quarter of the seeds and
/// after all.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The scenario
    #[arg(value_name = "NAME|FILE", default_value = "mutex")]
    scenario: String,
    /// How many seeds the speeds are measured with
    #[arg(long, value_name = "N", default_value_t = 500, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    speed_seeds: u64,
    /// How many seeds memory is measured over; 0 leaves that out
    #[arg(long, value_name = "N", default_value_t = 20_000, allow_negative_numbers = true)]
    memory_seeds: u64,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let scenario = scenario::find(&args.scenario)?;
    keep_panics_quiet();
    let mut out = anstream::stdout().lock();
    for jobs in [1, 2] {
        let campaign = Campaign::run(&scenario, &options(args.speed_seeds, jobs), |_| {})?;
        let wall_s = campaign.wall.as_secs_f64().max(1e-9);
        let line = format!(
            "{jobs} {}: {:.1} runs/s, {:.0} simulated seconds a second, {:.1} grants and {:.0} steps a seed",
            if jobs == 1 { "core " } else { "cores" },
            (campaign.count() + campaign.redone) as f64 / wall_s,
            campaign.simulated_ms as f64 / 1e3 / wall_s,
            campaign.grants as f64 / campaign.count().max(1) as f64,
            campaign.steps as f64 / campaign.count().max(1) as f64,
        );
        unless_closed(writeln!(out, "{line}"))?;
    }
    if args.memory_seeds > 0 {
        unless_closed(memory(&mut out, &scenario, args.memory_seeds)?)?;
    }
    Ok(0)
}

fn memory(out: &mut impl Write, scenario: &Scenario, seeds: u64) -> Result<std::io::Result<()>, BadInput> {
    let mut done = 0;
    let mut samples = Vec::new();
    let campaign = Campaign::run(scenario, &options(seeds, 2), |_| {
        done += 1;
        if done == (seeds / 4).max(1) || done == seeds {
            samples.push((done, resident_mib()));
        }
    })?;
    let written = samples.into_iter().try_for_each(|(done, resident)| match resident {
        Some(mib) => writeln!(out, "memory after {done} seeds: {mib:.1} MiB"),
        None => writeln!(out, "memory after {done} seeds: unknown on this system"),
    });
    let wall_s = campaign.wall.as_secs_f64();
    Ok(written.and_then(|()| writeln!(out, "{FAINT}{seeds} seeds in {wall_s:.1} s{FAINT:#}")))
}

fn options(seeds: u64, jobs: usize) -> CampaignOptions {
    CampaignOptions {
        seeds: 0..seeds,
        jobs,
        planted: None,
        capsules: PathBuf::from("capsules"),
        most_capsules: 0,
    }
}

/// Resident memory of this process, as Linux tells it.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
