//! A green campaign's certificate for people: what the verdict stands on, in a few lines.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use super::style::FAINT;
use crate::run::{Certificate, Judgement};

/// Writes it.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write(out: &mut impl Write, certificate: &Certificate) -> io::Result<()> {
    let mut field = |name: &str, value: &dyn Display| writeln!(out, "  {FAINT}{name:<10}{FAINT:#} {value}");
    field(
        "checked",
        &listed(
            certificate.checks.iter().map(|(name, check)| format!("{name}: {} {}", check.judged, check.of)),
        ),
    )?;
    if let Some(judged) = certificate.linearizable {
        field(
            "",
            &format!(
                "linearizable judged {} of {} operations on {} keys; {} keys were cut short",
                judged.judged, judged.operations, judged.keys, judged.cut_short
            ),
        )?;
    }
    for (kind, ends) in &certificate.operations {
        field("did", &format!("{kind}: {}", counts(ends)))?;
    }
    let judged = certificate.marks.iter().filter(|one| one.judgement != Judgement::NotJudged).count();
    field("marks", &format!("{judged} of {} hit", certificate.marks.len()))?;
    field(
        "mutants",
        &match &certificate.planted_bugs {
            Some(hunted) => {
                let (killed, total, version) = (hunted.killed, hunted.total, &hunted.version);
                format!(
                    "{killed} of {total} planted bugs killed when they were last hunted (tenure {version})"
                )
            }
            None => "not known how many planted bugs are killed; `tenure mutants` finds out".to_owned(),
        },
    )?;
    let revision = certificate.versions.revision.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
    field("with", &format!("tenure {}{revision}", certificate.versions.tenure))?;
    field("redo", &certificate.redo)
}

fn counts(ends: &BTreeMap<impl Display + Ord, u64>) -> String {
    listed(ends.iter().map(|(end, count)| format!("{end} {count}")))
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
