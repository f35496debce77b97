//! `tenure list`: what can be run, checked and planted.

use std::io::Write;

use super::unless_closed;
use crate::check::INVARIANTS;
use crate::planted::{Answer, CANARIES, HARNESS, MET, PLANTED};
use crate::report::style::{FAINT, NAME};
use crate::scenario::{self, BadInput, Expect};
use crate::{coverage, fault};

/// Lists the scenarios, invariants, faults, coverage marks and planted bugs.
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<u8, BadInput> {
    let scenarios = scenario::load()?;
    let mut out = anstream::stdout().lock();
    unless_closed(write(&mut out, &scenarios))?;
    Ok(0)
}

fn write(out: &mut impl Write, scenarios: &[scenario::Scenario]) -> std::io::Result<()> {
    writeln!(out, "scenarios")?;
    for scenario in scenarios {
        let expect = if scenario.expect == Expect::Fail { " [expected to fail]" } else { "" };
        entry(out, &scenario.name, &format!("{}{expect}", scenario.about))?;
    }
    writeln!(out, "invariants")?;
    for invariant in INVARIANTS {
        entry(out, invariant.name, invariant.about)?;
    }
    writeln!(out, "planted bugs")?;
    for planted in PLANTED {
        entry(out, planted.name, &format!("{} [caught by {}]", planted.about, planted.invariant))?;
    }
    for planted in HARNESS {
        entry(
            out,
            planted.name,
            &format!("{} [in the harness; noticed by {}]", planted.about, planted.invariant),
        )?;
    }
    for canary in CANARIES {
        entry(out, canary.bug.name, canary.bug.about)?;
    }
    writeln!(out, "what users of etcd's recipes met, and the planted bug for it")?;
    for met in MET {
        let answer = match met.answer {
            Answer::Planted(bugs) => bugs.join(", "),
            Answer::Reason(reason) => format!("none: {reason}"),
        };
        entry(out, met.issues, &format!("{} [{answer}]", met.about))?;
    }
    writeln!(out, "faults")?;
    writeln!(out, "  {}", fault::NAMES.join(", "))?;
    writeln!(out, "coverage marks")?;
    for mark in coverage::names() {
        writeln!(out, "  {mark}")?;
    }
    Ok(())
}

fn entry(out: &mut impl Write, name: &str, about: &str) -> std::io::Result<()> {
    writeln!(out, "  {NAME}{name:<20}{NAME:#} {FAINT}{about}{FAINT:#}")
}
