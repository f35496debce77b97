//! Seeds as the command line names them.

use std::ops::Range;

/// Reads `A..B`, or `N` for `0..N`.
pub(super) fn parse(text: &str) -> Result<Range<u64>, String> {
    let number = |part: &str| {
        let digits = part.replace('_', "");
        digits
            .parse::<u64>()
            .map_err(|_| format!("{part:?} is not a whole number below 2^64; use A..B, or N for 0..N"))
    };
    let seeds = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => 0..number(text)?,
    };
    if seeds.is_empty() {
        return Err(format!("{text} holds no seed; A..B needs A below B, and N must be above 0"));
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_or_a_count() {
        assert_eq!(parse("5..9"), Ok(5..9));
        assert_eq!(parse("2_000"), Ok(0..2000));
    }

    #[test]
    fn no_seed_is_refused() {
        for empty in ["0", "5..5", "9..5", "", "..", "a..b", "-3"] {
            assert!(parse(empty).is_err(), "{empty:?}");
        }
    }
}
