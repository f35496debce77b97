//! A run that `tenure explore` found, from its capsule: as a timeline, a page or a Chrome trace, like a seed's.

use std::io::Write;
use std::path::Path;

use super::pictures::{draw_page, draw_trace, sentences};
use super::replay::write_story;
use super::{planted, unless_closed};
use crate::check::Evidence;
use crate::explore::{self, ExploreCapsule, Walk};
use crate::report::page::Heading;
use crate::report::story::{self, Sentence};
use crate::report::style::{BAD, GOOD};
use crate::report::timeline::{self, Selection};
use crate::run::{Verdict, keep_panics_quiet};
use crate::scenario::BadInput;

/// A capsule whose steps were taken again.
pub(super) struct Explored {
    capsule: ExploreCapsule,
    walk: Walk,
    verdict: Verdict,
    /// The command that shows it.
    replay: String,
}

impl Explored {
    /// Takes the steps of a capsule; `None` if the file is something else.
    pub(super) fn read(file: &Path) -> Result<Option<Self>, BadInput> {
        let Some(capsule) = ExploreCapsule::read(file)? else { return Ok(None) };
        keep_panics_quiet();
        let walk = explore::walk(&capsule.space, planted(capsule.planted.as_deref())?, &capsule.path)?;
        let verdict = walk.verdict();
        Ok(Some(Self { capsule, walk, verdict, replay: format!("tenure replay {}", file.display()) }))
    }

    /// Shows it, or writes the pictures that are asked for; gives the exit code.
    pub(super) fn replay(
        &self,
        html: Option<&Path>,
        trace: Option<&Path>,
        selection: &Selection,
    ) -> Result<u8, BadInput> {
        let evidence = self.walk.evidence();
        if let Some(file) = html {
            self.draw(file, &evidence)?;
        }
        if let Some(file) = trace {
            draw_trace(file, &evidence, self.verdict.violations())?;
        }
        let selection = (html.is_none() && trace.is_none()).then_some(selection);
        let mut out = anstream::stdout().lock();
        unless_closed(self.write(&mut out, &self.story(&evidence), selection))?;
        Ok(u8::from(self.verdict != Verdict::Green))
    }

    fn draw(&self, file: &Path, evidence: &Evidence<'_>) -> Result<(), BadInput> {
        let ExploreCapsule { space, planted, path, .. } = &self.capsule;
        let bug = planted.as_ref().map_or_else(String::new, |bug| format!(", with the planted bug {bug}"));
        let heading = Heading {
            title: format!("{}, explored{bug}", space.name),
            facts: vec![
                space.about.clone(),
                format!("{} steps of the search", path.len()),
                "a millisecond is a step: only the order is meant".to_owned(),
            ],
            verdict: &self.verdict,
            story: sentences(self.story(evidence)),
            replay: Some(self.replay.clone()),
        };
        draw_page(file, &heading, evidence)
    }

    fn story(&self, evidence: &Evidence<'_>) -> Vec<Sentence> {
        story::of_verdict(evidence, &self.verdict, Some(&self.capsule.invariant))
    }

    fn write(
        &self,
        out: &mut impl Write,
        story: &[Sentence],
        selection: Option<&Selection>,
    ) -> std::io::Result<()> {
        write_story(out, story)?;
        if let Some(selection) = selection {
            timeline::write(out, &self.walk.history, self.verdict.violations(), selection)?;
        }
        let (steps, space) = (self.capsule.path.len(), &self.capsule.space.name);
        if self.verdict == Verdict::Green {
            return writeln!(out, "{GOOD}green{GOOD:#}: {steps} steps of {space}");
        }
        self.verdict.violations().iter().try_for_each(|one| {
            writeln!(
                out,
                "{BAD}{} broke{BAD:#} after {steps} steps of {space}: {}",
                one.invariant, one.detail
            )
        })
    }
}

/// Writes the page of a capsule beside it.
pub(super) fn beside(capsule: &Path) -> Result<(), BadInput> {
    let Some(explored) = Explored::read(capsule)? else { return Ok(()) };
    explored.draw(&capsule.with_extension("html"), &explored.walk.evidence())
}
