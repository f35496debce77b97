//! How often seeds of a scenario hit each coverage mark, as it was measured once and is kept beside the scenario
//! (`rates/NAME.toml`, written by `tenure rates`): what makes a miss in a campaign of any size mean something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF, DiscreteCDF, Hypergeometric};

/// A campaign fails over a mark only if what it saw is less likely than this by luck.
const LUCK: f64 = 1e-6;

/// The rate is taken to be no higher than its estimate allows with all but this chance of being wrong: a rate that rests
/// on few hits is not trusted far.
const DOUBT: f64 = 1e-3;

/// So many seeds of one scenario, and how many of them hit each mark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// The first seed.
    pub from_seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How many of them hit each mark.
    pub hits: BTreeMap<String, u64>,
}

impl Rates {
    /// In how many seeds of all a mark was hit; `None` if it was not measured.
    pub fn of(&self, mark: &str) -> Option<Rate> {
        self.hits.get(mark).map(|&hits| Rate { hits: hits.min(self.seeds), seeds: self.seeds })
    }
}

/// A mark was hit in some of so many seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// In so many.
    pub hits: u64,
    /// Of so many.
    pub seeds: u64,
}

/// What two rates of one mark are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// They may be the same.
    Alike,
    /// This one is lower, beyond luck.
    Lower,
    /// This one is higher, beyond luck.
    Higher,
}

impl Rate {
    /// The share of seeds that hit it, at least: the one-sided bound of Clopper and Pearson.
    fn at_least(self) -> f64 {
        let (hits, misses) = (self.hits as f64, self.seeds.saturating_sub(self.hits) as f64);
        // None was hit: the bound is 0, and there is no such distribution.
        Beta::new(hits, misses + 1.0).map_or(0.0, |beta| beta.inverse_cdf(DOUBT))
    }

    /// From how many seeds on a campaign that never saw the mark has not missed it by luck; `None` if it never has.
    pub fn judged_from(self) -> Option<u64> {
        let share = self.at_least();
        if share <= 0.0 {
            return None;
        }
        // The share of seeds that miss it is never 0 by this bound; (1 - share)^n < LUCK.
        let seeds = LUCK.ln() / (-share).ln_1p();
        Some((seeds.floor() as u64).saturating_add(1))
    }

    /// Compares this rate with one that was measured before: how likely is it, if they are the same, that the hits of both
    /// fall so unevenly (Fisher's exact test)?
    pub fn compared_with(self, kept: Self) -> Compared {
        let (all, hits) = (self.seeds + kept.seeds, self.hits + kept.hits);
        let Ok(fair) = Hypergeometric::new(all, hits, self.seeds) else { return Compared::Alike };
        if fair.cdf(self.hits) < LUCK / 2.0 {
            Compared::Lower
        } else if self.hits > 0 && fair.sf(self.hits - 1) < LUCK / 2.0 {
            Compared::Higher
        } else {
            Compared::Alike
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(hits: u64, seeds: u64) -> Rate {
        Rate { hits, seeds }
    }

    #[test]
    fn a_rate_is_trusted_as_far_as_its_hits_allow() {
        // Clopper and Pearson's lower bound where all are hits is DOUBT^(1/n).
        assert!((rate(2_000, 2_000).at_least() - 1e-3_f64.powf(1.0 / 2_000.0)).abs() < 1e-9);
        // And where one is, 1 - (1 - DOUBT)^(1/n).
        let one = 1.0 - (1.0 - 1e-3_f64).powf(1.0 / 2_000.0);
        assert!((rate(1, 2_000).at_least() / one - 1.0).abs() < 1e-3, "{}", rate(1, 2_000).at_least());
        assert!(rate(200, 2_000).at_least() < 0.1 && rate(200, 2_000).at_least() > 0.075);
    }

    #[test]
    fn the_more_often_a_mark_is_hit_the_fewer_seeds_judge_it() {
        assert_eq!(rate(2_000, 2_000).judged_from(), Some(3));
        let from = |hits| rate(hits, 2_000).judged_from().expect("was hit");
        assert!((25..40).contains(&from(800)), "{}", from(800));
        assert!((130..200).contains(&from(200)), "{}", from(200));
        // A rate of 1 in 2,000 that rests on one hit is not a rate of 1 in 2,000.
        assert!(from(1) > 1_000_000, "{}", from(1));
        assert_eq!(rate(0, 2_000).judged_from(), None);
    }

    #[test]
    fn the_bound_is_the_least_number_of_seeds_that_rules_luck_out() {
        for hits in [50, 400, 1_500] {
            let (share, from) = (rate(hits, 2_000).at_least(), rate(hits, 2_000).judged_from().expect("hit"));
            assert!((1.0 - share).powf(from as f64) < LUCK);
            assert!((1.0 - share).powf(from as f64 - 1.0) >= LUCK);
        }
    }

    #[test]
    fn rates_that_cannot_be_the_same_are_told_apart_and_others_are_not() {
        let kept = rate(600, 2_000);
        assert_eq!(rate(60, 200).compared_with(kept), Compared::Alike);
        assert_eq!(rate(40, 200).compared_with(kept), Compared::Alike);
        assert_eq!(rate(15, 200).compared_with(kept), Compared::Lower);
        assert_eq!(rate(120, 200).compared_with(kept), Compared::Higher);
        assert_eq!(rate(0, 10).compared_with(kept), Compared::Alike);
        assert_eq!(rate(5, 5).compared_with(rate(0, 2_000)), Compared::Higher);
        assert_eq!(rate(0, 2_000).compared_with(rate(0, 2_000)), Compared::Alike);
    }
}
