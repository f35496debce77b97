//! Shards: which part of a range of seeds one machine of several runs.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of several shards, counted from 0 as a Kubernetes Indexed Job counts its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// Its part of a range: a row of seeds without a gap, the same on every machine. All parts are as long, give or take one
    /// seed, and together they are the range.
    pub fn part(self, whole: &Range<u64>) -> Range<u64> {
        let count = u128::from(whole.end - whole.start);
        let bound = |index: u64| {
            let offset = count * u128::from(index) / u128::from(self.of.max(1));
            whole.start + u64::try_from(offset).unwrap_or(u64::MAX)
        };
        bound(self.index)..bound(self.index + 1)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no shard; use I/N with I from 0 to N - 1, as 0/4, 1/4, 2/4 and 3/4");
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let (index, of) = (index.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if index < of { Ok(Self { index, of }) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_the_range_without_gap_or_overlap() {
        for (whole, of) in [(0..2_000, 4), (7..30, 5), (0..3, 3), (u64::MAX - 10..u64::MAX, 3)] {
            let mut next = whole.start;
            for index in 0..of {
                let part = Shard { index, of }.part(&whole);
                assert_eq!(part.start, next, "{index}/{of} of {whole:?}");
                assert!(!part.is_empty());
                next = part.end;
            }
            assert_eq!(next, whole.end, "{of} of {whole:?}");
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        assert_eq!("3/4".parse(), Ok(Shard { index: 3, of: 4 }));
        for wrong in ["4/4", "1", "0/0", "a/b", "-1/4", "1/", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong:?}");
        }
    }
}
