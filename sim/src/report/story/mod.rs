//! What happened, in plain words: from a violation back to the holders, sessions, calls and faults that it is about, told in
//! order of time. Each sentence names the steps that it stands on.

mod cast;
mod words;

use std::fmt;

use crate::check::{Evidence, Violation};
use crate::run::Verdict;
use cast::Cast;

/// No reader takes in more.
const MOST_SENTENCES: usize = 12;

/// One sentence of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// When, in nanoseconds of true simulated time.
    pub at_ns: u64,
    /// What, without the time; no full stop at its end.
    pub text: String,
    /// The steps of the history that show it.
    pub steps: Vec<usize>,
    /// What matters most is told even if there is much: 0 is the violation itself.
    rank: u8,
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} {}", seconds(self.at_ns), self.text)
    }
}

/// Tells how it came to a violation.
pub fn tell(evidence: &Evidence<'_>, violation: &Violation) -> Vec<Sentence> {
    let cast = Cast::of(evidence, violation);
    let last = violation.step.min(evidence.history.steps.len().saturating_sub(1));
    let mut sentences: Vec<Sentence> = (0..=last)
        .filter_map(|step| {
            let (rank, text) = words::of_step(evidence, &cast, step, last)?;
            if step < cast.since && rank > words::FAULT {
                return None;
            }
            let at_ns = evidence.history.steps[step].at_ns;
            Some(Sentence { at_ns, text, steps: vec![step], rank })
        })
        .collect();
    join_repeats(&mut sentences);
    shorten(&mut sentences);
    sentences.push(Sentence {
        at_ns: evidence.history.steps.get(last).map_or(0, |step| step.at_ns),
        text: format!("{} broke: {}", violation.invariant, violation.detail),
        steps: vec![last],
        rank: 0,
    });
    sentences
}

/// The story of a verdict: of the breach of this invariant, if it is among those, or of the first; none of a panic.
pub fn of_verdict(evidence: &Evidence<'_>, verdict: &Verdict, invariant: Option<&str>) -> Vec<Sentence> {
    let Verdict::Broken { violations } = verdict else { return Vec::new() };
    let named = violations.iter().find(|violation| Some(violation.invariant.as_str()) == invariant);
    named.or(violations.first()).map_or_else(Vec::new, |violation| tell(evidence, violation))
}

/// The same said again and again is said once.
fn join_repeats(sentences: &mut Vec<Sentence>) {
    sentences.dedup_by(|next, first| {
        let same = next.text == first.text;
        if same {
            first.steps.append(&mut next.steps);
        }
        same
    });
}

/// Leaves out what matters least, the oldest of it first.
fn shorten(sentences: &mut Vec<Sentence>) {
    while sentences.len() > MOST_SENTENCES {
        let Some(rank) = sentences.iter().map(|sentence| sentence.rank).max() else { return };
        let Some(place) = sentences.iter().position(|sentence| sentence.rank == rank) else { return };
        sentences.remove(place);
    }
}

/// A time, or how long something took.
#[allow(clippy::cast_precision_loss, reason = "for showing")]
fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(rank: u8, text: &str, step: usize) -> Sentence {
        Sentence { at_ns: 0, text: text.into(), steps: vec![step], rank }
    }

    #[test]
    fn what_is_said_twice_is_said_once_with_all_its_steps() {
        let mut all = vec![sentence(1, "a", 1), sentence(1, "a", 4), sentence(1, "b", 5)];
        join_repeats(&mut all);
        assert_eq!(all, [Sentence { steps: vec![1, 4], ..sentence(1, "a", 1) }, sentence(1, "b", 5)]);
    }

    #[test]
    fn a_long_story_keeps_what_matters_and_what_came_last() {
        let mut all: Vec<_> = (0..40).map(|step| sentence(u8::from(step != 3) + 1, "x", step)).collect();
        shorten(&mut all);
        let steps: Vec<_> = all.iter().map(|one| one.steps[0]).collect();
        assert_eq!(steps, [vec![3], (29..40).collect()].concat());
    }
}
