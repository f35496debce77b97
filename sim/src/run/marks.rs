//! Judges a campaign's coverage marks: which were missed, which are hit less or more often than they were, and which a
//! campaign of its size cannot judge.

use serde::{Deserialize, Serialize};

use super::Campaign;
use crate::cluster::Transport;
use crate::coverage::rates::{Compared, Rate};
use crate::planted::Planted;

/// Where the rate of a mark is not known, a campaign of so many seeds must have hit it.
const UNKNOWN_FROM_SEEDS: u64 = 500;

/// What is to be said of one mark that the scenario lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkVerdict {
    /// The mark.
    pub mark: String,
    /// How many seeds hit it.
    pub seeds: u64,
    /// Its rate as it is kept beside the scenario; `None` if it is not known.
    pub kept: Option<Rate>,
    /// From how many seeds on a miss fails a campaign; `None`: never, since the mark was not hit when rates were measured.
    pub judged_from: Option<u64>,
    /// What this campaign says.
    pub judgement: Judgement,
}

/// What a campaign says of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It was hit, as often as is to be expected.
    Hit,
    /// It was never hit, and that is no luck: the campaign fails.
    Missed,
    /// It was hit, but so much less often than it was that this is no luck: the campaign fails.
    Rarer,
    /// It was hit so much more often than it was that this is no luck: its rate is to be measured anew.
    MoreOften,
    /// It was not hit, and the campaign is too small to say anything, or owes none.
    NotJudged,
}

impl Judgement {
    /// Whether a campaign fails over it.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Missed | Self::Rarer)
    }
}

impl Campaign {
    /// What is to be said of each mark that the scenario lists, in its order.
    pub fn judged_marks(&self) -> Vec<MarkVerdict> {
        let owes = self.owes_marks();
        let wanted = self.scenario.coverage.iter();
        wanted.map(|mark| self.judged_mark(mark, owes)).collect()
    }

    /// Bugs planted in the library owe none, and a shard's are judged when all are merged.
    pub fn owes_marks(&self) -> bool {
        self.planted.is_none_or(Planted::is_in_harness) && self.shard.is_none()
    }

    fn judged_mark(&self, mark: &str, owes: bool) -> MarkVerdict {
        let hits = self.marks.get(mark).copied().unwrap_or(0);
        let seen = Rate { hits, seeds: self.count() };
        // Rates are measured with clients that talk to members directly.
        let known = self.rates.as_ref().filter(|_| self.scenario.cluster.transport == Transport::Direct);
        let kept = known.and_then(|rates| rates.of(mark));
        let judged_from = kept.map_or(Some(UNKNOWN_FROM_SEEDS), Rate::judged_from);
        let is_judged = owes && judged_from.is_some_and(|from| seen.seeds >= from);
        let compared = kept.filter(|_| owes).map(|kept| seen.compared_with(kept));
        let judgement = match (hits, compared) {
            (0, _) if is_judged => Judgement::Missed,
            (0, _) => Judgement::NotJudged,
            (_, Some(Compared::Lower)) => Judgement::Rarer,
            (_, Some(Compared::Higher)) => Judgement::MoreOften,
            (_, Some(Compared::Alike) | None) => Judgement::Hit,
        };
        MarkVerdict { mark: mark.to_owned(), seeds: hits, kept, judged_from, judgement }
    }

    /// The marks that should have been hit and were not.
    pub fn missed_marks(&self) -> Vec<String> {
        self.marks_judged(Judgement::Missed)
    }

    /// The marks of which a judgement is this one.
    pub fn marks_judged(&self, as_this: Judgement) -> Vec<String> {
        let judged = self.judged_marks().into_iter();
        judged.filter(|one| one.judgement == as_this).map(|one| one.mark).collect()
    }

    /// Whether coverage is less than this campaign owes.
    pub fn lacks_coverage(&self) -> bool {
        self.judged_marks().iter().any(|one| one.judgement.is_failure())
    }
}
