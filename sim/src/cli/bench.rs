//! `tenure bench`: how fast seeds run, what their parts cost, and whether memory stays flat.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::unless_closed;
use crate::report::style::FAINT;
use crate::run::{Campaign, CampaignOptions, Limits, Phases, Stopwatch, keep_panics_quiet};
use crate::scenario::{self, BadInput, Scenario};

/// Measures what seeds cost on this machine.
///
/// Prints seeds a second on one core and on all, and their ratio; the share of each part of a seed, each check by itself;
/// beside it as many events through a bare binary heap, as this machine's yardstick; and memory after a quarter of the
/// seeds and after all, which should be the same.
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

/// So many seeds are taken apart at most.
const MOST_PHASED: u64 = 200;

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let scenario = scenario::find(&args.scenario)?;
    keep_panics_quiet();
    let mut out = anstream::stdout().lock();
    unless_closed(speeds(&mut out, &scenario, args.speed_seeds)?)?;
    unless_closed(parts(&mut out, &scenario, args.speed_seeds.min(MOST_PHASED))?)?;
    if args.memory_seeds > 0 {
        unless_closed(memory(&mut out, &scenario, args.memory_seeds)?)?;
    }
    Ok(0)
}

fn speeds(out: &mut impl Write, scenario: &Scenario, seeds: u64) -> Result<std::io::Result<()>, BadInput> {
    let all = super::all_cores();
    let mut rates = Vec::new();
    let mut written = Ok(());
    for jobs in if all > 1 { vec![1, all] } else { vec![1] } {
        let campaign = Campaign::run(scenario, &options(seeds, jobs), |_| {})?;
        let wall_s = campaign.wall.as_secs_f64().max(1e-9);
        let rate = (campaign.count() + campaign.redone) as f64 / wall_s;
        rates.push(rate);
        written = written.and_then(|()| {
            writeln!(
                out,
                "{jobs} {}: {rate:.1} runs/s, {:.0} simulated seconds a second, {:.1} grants and {:.0} steps a seed",
                if jobs == 1 { "core " } else { "cores" },
                campaign.simulated_ms as f64 / 1e3 / wall_s,
                campaign.grants as f64 / campaign.count().max(1) as f64,
                campaign.steps as f64 / campaign.count().max(1) as f64,
            )
        });
    }
    if let [one, many] = rates[..] {
        written =
            written.and_then(|()| writeln!(out, "{all} cores do {:.2} times the work of one", many / one));
    }
    Ok(written)
}

/// What the parts of a seed cost, on one core, and the yardstick.
fn parts(out: &mut impl Write, scenario: &Scenario, seeds: u64) -> Result<std::io::Result<()>, BadInput> {
    let mut phases = Phases::default();
    for seed in 0..seeds {
        phases.add(Phases::of(scenario, seed)?);
    }
    Ok(write_parts(out, &phases, bare_heap(phases.events)))
}

fn write_parts(out: &mut impl Write, phases: &Phases, bare: Duration) -> std::io::Result<()> {
    let whole_s = phases.whole().as_secs_f64().max(1e-9);
    let seeds = phases.seeds.max(1) as f64;
    writeln!(out, "a seed takes {:.2} ms on one core:", whole_s / seeds * 1e3)?;
    for (name, took) in phases.parts() {
        let took_s = took.as_secs_f64();
        writeln!(out, "  {name:28} {:5.1} %  {:9.1} us", took_s / whole_s * 100.0, took_s / seeds * 1e6)?;
    }
    writeln!(
        out,
        "its {:.0} events through a bare binary heap: {:.1} us; the seed takes {:.0} times as long",
        phases.events as f64 / seeds,
        bare.as_secs_f64() / seeds * 1e6,
        whole_s / bare.as_secs_f64().max(1e-9),
    )
}

/// So many events through nothing but a binary heap of usual size: each is taken out, and puts another in.
fn bare_heap(events: u64) -> Duration {
    const PENDING: u64 = 128;
    let mut heap: BinaryHeap<Reverse<(u64, u64)>> =
        (0..PENDING).map(|number| Reverse((number, number))).collect();
    let mut draw = 0x9e37_79b9_7f4a_7c15_u64;
    let watch = Stopwatch::start();
    for number in 0..events {
        let Some(Reverse((at_ns, _))) = heap.pop() else { break };
        // xorshift: some delay or other.
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        heap.push(Reverse((black_box(at_ns + draw % 1_000_000), number)));
    }
    black_box(heap.len());
    watch.elapsed()
}

fn memory(out: &mut impl Write, scenario: &Scenario, seeds: u64) -> Result<std::io::Result<()>, BadInput> {
    let mut done = 0;
    let mut samples = Vec::new();
    let campaign = Campaign::run(scenario, &options(seeds, super::all_cores()), |_| {
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
        shard: None,
        jobs,
        planted: None,
        capsules: PathBuf::from("capsules"),
        most_capsules: 0,
        limits: Limits::default(),
    }
}

/// Resident memory of this process, as Linux tells it.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
