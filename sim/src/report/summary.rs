//! What a campaign prints: a few lines a person reads and a script can cut.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::kinds::{Example, Kind, kinds};
use super::style::{BAD, FAINT, GOOD, NAME, NOTICE, styled};
use super::timeline;
use crate::check::Judged;
use crate::planted::Planted;
use crate::run::{Campaign, Difference, Judgement, MarkVerdict, Seen, Verdict};
use crate::scenario::Expect;
use crate::shrink::Small;

/// Writes a campaign's summary, all but the command that reproduces a failure.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write(out: &mut impl Write, campaign: &Campaign) -> io::Result<()> {
    let planted =
        campaign.planted.map_or_else(String::new, |planted| format!(" with {} planted", planted.name));
    let shard = campaign.shard.map_or_else(String::new, |shard| {
        format!(" (shard {shard} of {}..{})", campaign.whole.start, campaign.whole.end)
    });
    writeln!(
        out,
        "{}{planted}: {} seeds, {}..{}{shard}",
        styled(NAME, &campaign.scenario.name),
        campaign.count(),
        campaign.seeds.start,
        campaign.seeds.end
    )?;
    if let Some(why) = campaign.stopped {
        let done = format!("{} of {} seeds: {why}", campaign.count(), campaign.asked());
        field(out, "stopped", &styled(NOTICE, done).to_string())?;
    }
    speed(out, campaign)?;
    // Clients take tenures, or use etcd itself.
    let (name, count) = match campaign.operations {
        0 => ("grants", campaign.grants),
        operations => ("operations", operations),
    };
    let per_seed = count as f64 / campaign.count().max(1) as f64;
    field(out, name, &format!("{count} ({per_seed:.1} a seed)"))?;
    field(out, "faults", &counts(&campaign.faults))?;
    marks(out, campaign)?;
    if campaign.registers.cut_short > 0 {
        let Judged { operations, judged, keys, cut_short } = campaign.registers;
        let said =
            format!("judged {judged} of {operations} operations; {cut_short} of {keys} keys were cut short");
        field(out, "registers", &styled(NOTICE, said).to_string())?;
    }
    let same = campaign.redone - campaign.differences.len() as u64;
    field(out, "redone", &format!("{} seeds, {same} with the same history", campaign.redone))?;
    field(out, "hash", &format!("{:016x}", campaign.hash()))?;
    for kind in kinds(campaign) {
        write_kind(out, &kind)?;
    }
    for difference in &campaign.differences {
        write_difference(out, difference)?;
    }
    write_verdict(out, campaign)
}

fn field(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "  {FAINT}{name:<10}{FAINT:#} {value}")
}

fn speed(out: &mut impl Write, campaign: &Campaign) -> io::Result<()> {
    let wall_s = campaign.wall.as_secs_f64().max(1e-9);
    let runs = campaign.count() + campaign.redone;
    field(
        out,
        "speed",
        &format!(
            "{:.1} seeds/s ({:.1} s with {} jobs, {runs} runs, {} steps)",
            campaign.count() as f64 / wall_s,
            wall_s,
            campaign.jobs,
            campaign.steps
        ),
    )?;
    let simulated_s = campaign.simulated_ms as f64 / 1e3;
    field(
        out,
        "simulated",
        &format!(
            "{:.1} h, {:.0} times as fast as the clock on the wall",
            simulated_s / 3600.0,
            simulated_s / wall_s
        ),
    )
}

fn counts(counts: &BTreeMap<Cow<'static, str>, u64>) -> String {
    if counts.is_empty() {
        return "none".into();
    }
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn marks(out: &mut impl Write, campaign: &Campaign) -> io::Result<()> {
    let judged = campaign.judged_marks();
    let hit = judged.iter().filter(|one| one.seeds > 0).count();
    field(out, "coverage", &format!("{hit} of {} marks hit", judged.len()))?;
    for one in &judged {
        let mark = format!("{:>7} seeds: {}", one.seeds, one.mark);
        match judged_from(campaign, one) {
            None => field(out, "", &mark)?,
            Some(from) => field(out, "", &format!("{mark} {FAINT}({from}){FAINT:#}"))?,
        }
    }
    Ok(())
}

/// Why a miss of this mark does not fail this campaign, and which one it would fail.
fn judged_from(campaign: &Campaign, one: &MarkVerdict) -> Option<String> {
    if !campaign.owes_marks() {
        return None;
    }
    match one.judged_from {
        Some(from) if campaign.count() >= from => None,
        Some(from) => Some(format!("a miss is judged from {from} seeds on")),
        None => Some("never judged: no seed hit it when rates were measured".to_owned()),
    }
}

/// What is wrong, or out of date, with how often marks are hit.
fn write_coverage(out: &mut impl Write, campaign: &Campaign) -> io::Result<()> {
    let count = campaign.count();
    for one in campaign.judged_marks() {
        let rates = one.kept.map_or_else(String::new, |kept| {
            let (seeds, hits, of) = (one.seeds, kept.hits, kept.seeds);
            format!("in {seeds} of {count} seeds, where {hits} of {of} did when rates were measured")
        });
        let mark = &one.mark;
        match one.judgement {
            Judgement::Missed => writeln!(out, "  {BAD}never seen{BAD:#} in {count} seeds: {mark}")?,
            Judgement::Rarer => writeln!(out, "  {BAD}hardly seen{BAD:#} any more, {rates}: {mark}")?,
            Judgement::MoreOften => {
                writeln!(out, "  {NOTICE}measure anew{NOTICE:#} (`tenure rates`): {rates}: {mark}")?;
            }
            Judgement::Hit | Judgement::NotJudged => {}
        }
    }
    Ok(())
}

/// The same breach is told once, with some of the seeds that show it.
fn write_kind(out: &mut impl Write, kind: &Kind<'_>) -> io::Result<()> {
    if kind.count > 1 {
        writeln!(out, "  {BAD}{}{BAD:#} in {} seeds of one kind:", kind.what, kind.count)?;
    }
    for Example { failure, detail, step } in &kind.examples {
        let step = step.map_or_else(String::new, |step| format!(" (step {step})"));
        writeln!(out, "  {BAD}seed {}{BAD:#} {}: {detail}{step}", failure.seed, kind.what)?;
        match &failure.capsule {
            Some(Ok(path)) => writeln!(out, "    {FAINT}capsule {}{FAINT:#}", path.display())?,
            Some(Err(error)) => writeln!(out, "    {NOTICE}no capsule{NOTICE:#}: {error}")?,
            None => {}
        }
        match &failure.shrunk {
            Some(Ok(Small { path, before, after, stopped })) => {
                let stopped = if *stopped { " (stopped at the limit)" } else { "" };
                writeln!(
                    out,
                    "    {FAINT}shrunk  {}{FAINT:#}: {before} -> {after}{stopped}",
                    path.display()
                )?;
            }
            Some(Err(why)) => writeln!(out, "    {NOTICE}not shrunk{NOTICE:#}: {why}")?,
            None => {}
        }
    }
    if kind.count > kind.examples.len() {
        writeln!(
            out,
            "  .. and {} seeds more of this kind (--json tells all)",
            kind.count - kind.examples.len()
        )?;
    }
    Ok(())
}

fn write_difference(out: &mut impl Write, difference: &Difference) -> io::Result<()> {
    let Difference { seed, step, first, second } = difference;
    writeln!(out, "  {BAD}seed {seed} is not deterministic{BAD:#}: its runs differ first at step {step}")?;
    for (which, at) in [("first", first), ("second", second)] {
        match at {
            Some(Seen::Step(at)) => writeln!(out, "    {which:<6} {}", timeline::line(*step, at))?,
            Some(Seen::Line(line)) => writeln!(out, "    {which:<6} {line}")?,
            None => writeln!(out, "    {which:<6} had ended before")?,
        }
    }
    Ok(())
}

fn write_verdict(out: &mut impl Write, campaign: &Campaign) -> io::Result<()> {
    let mut invariants: BTreeMap<&str, u64> = BTreeMap::new();
    for failure in &campaign.failures {
        match &failure.verdict {
            Verdict::Broken { violations } => {
                for violation in violations {
                    *invariants.entry(&violation.invariant).or_default() += 1;
                }
            }
            Verdict::Panic { .. } => *invariants.entry("panic").or_default() += 1,
            Verdict::RanAway { .. } => *invariants.entry("ran away").or_default() += 1,
            Verdict::Green => {}
        }
    }
    write_coverage(out, campaign)?;
    if let Some(planted) = campaign.planted
        && !invariants.contains_key(planted.invariant)
    {
        let Planted { name, scenario, invariant, .. } = planted;
        writeln!(
            out,
            "  {NOTICE}not caught{NOTICE:#} {name}: {invariant} is to break in the scenario {scenario}, given seeds enough"
        )?;
    }
    let broke = invariants.iter().map(|(name, count)| format!("{name} in {count}"));
    let broke = broke.collect::<Vec<_>>().join(", ");
    let failed = campaign.failures.len();
    let (style, verdict) = match (campaign.exit_code(), campaign.scenario.expect) {
        (130.., _) if failed > 0 => (BAD, format!("red so far: {failed} seeds ({broke})")),
        (130.., _) => (NOTICE, "green so far, and not at its end".to_owned()),
        (0, Expect::Pass) => (GOOD, "green".to_owned()),
        (0, Expect::Fail) => (GOOD, format!("failed as expected: {failed} seeds ({broke})")),
        (4, _) => (BAD, format!("not deterministic: {} seeds", campaign.differences.len())),
        (_, Expect::Fail) if campaign.broken().next().is_none() && failed == 0 => {
            (BAD, "red: it was expected to fail, and did not".to_owned())
        }
        (_, _) if failed > 0 => (BAD, format!("red: {failed} seeds ({broke})")),
        (_, _) => (BAD, "red: coverage marks were not hit, or hardly any more".to_owned()),
    };
    field(out, "verdict", &styled(style, verdict).to_string())
}
