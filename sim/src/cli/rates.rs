//! `tenure rates`: how often each coverage mark is hit, measured and kept beside the scenario.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{all_cores, seeds, unless_closed};
use crate::coverage::rates::Rates;
use crate::report::style::{FAINT, NAME};
use crate::report::summary;
use crate::run::{Campaign, CampaignOptions, Limits, keep_panics_quiet};
use crate::scenario::{self, BadInput};

/// Measures how often seeds hit each coverage mark of a scenario, and keeps that beside it, as rates/NAME.toml.
///
/// By these rates a campaign of any size tells a mark that was missed from one that few seeds hit, and a mark that is hit
/// less often than it was from chance. Measure anew when a scenario, or what clients do in it, has changed. The seeds are
/// others than those of a usual campaign. A campaign that is red leaves the file as it was.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Scenario files, as scenarios/mutex.toml
    #[arg(value_name = "FILE", required = true)]
    scenarios: Vec<PathBuf>,
    /// The seeds: a range, or how many from 0 on
    #[arg(long, value_name = "A..B|N", default_value = "1_000_000..1_002_000", value_parser = seeds::parse)]
    seeds: Range<u64>,
    /// How many seeds at a time; all cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let named: Vec<_> = args.scenarios.iter().map(|file| file.display().to_string()).collect();
    // Built-in scenarios have no file to write beside: the path is asked for, and a name is not looked up.
    if let Some(name) = named.iter().find(|name| !name.ends_with(".toml")) {
        return Err(BadInput(format!("{name:?} is no .toml file; rates are kept beside one")));
    }
    let scenarios = named.iter().map(|file| scenario::find(file)).collect::<Result<Vec<_>, _>>()?;
    keep_panics_quiet();
    let options = CampaignOptions {
        seeds: args.seeds.clone(),
        shard: None,
        jobs: args.jobs.map_or_else(all_cores, usize::from),
        planted: None,
        capsules: PathBuf::new(),
        most_capsules: 0,
        limits: Limits::default(),
    };
    let mut out = anstream::stdout().lock();
    for (file, scenario) in args.scenarios.iter().zip(&scenarios) {
        let campaign = Campaign::run(scenario, &options, |_| {})?;
        if !matches!(campaign.exit_code(), 0 | 3) {
            unless_closed(summary::write(&mut out, &campaign))?;
            return Ok(campaign.exit_code());
        }
        let rates = measured(&campaign);
        let kept = scenario::rates_file(file);
        write(&kept, &rates)
            .map_err(|error| BadInput(format!("{}: cannot be written: {error}", kept.display())))?;
        unless_closed(tell(&mut out, &scenario.name, &kept, &rates))?;
    }
    Ok(0)
}

fn measured(campaign: &Campaign) -> Rates {
    let hits = |mark: &String| (mark.clone(), campaign.marks.get(mark.as_str()).copied().unwrap_or(0));
    Rates {
        from_seed: campaign.seeds.start,
        seeds: campaign.count(),
        hits: campaign.scenario.coverage.iter().map(hits).collect(),
    }
}

fn write(file: &Path, rates: &Rates) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = toml::to_string(rates).map_err(std::io::Error::other)?;
    std::fs::write(
        file,
        format!("# Written by `tenure rates`: in how many of these seeds each mark was hit.\n{text}"),
    )
}

fn tell(out: &mut impl Write, name: &str, file: &Path, rates: &Rates) -> std::io::Result<()> {
    writeln!(out, "{NAME}{name}{NAME:#}: {} seeds, kept in {}", rates.seeds, file.display())?;
    for mark in rates.hits.keys() {
        let Some(rate) = rates.of(mark) else { continue };
        let judged = rate.judged_from().map_or_else(
            || "never judged".to_owned(),
            |from| format!("a miss is judged from {from} seeds on"),
        );
        writeln!(out, "  {:>7} {mark} {FAINT}({judged}){FAINT:#}", rate.hits)?;
    }
    Ok(())
}
