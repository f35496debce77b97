//! What of a simulation the environment decides: `TENURE_SEED` replays one seed, `TENURE_SEEDS` takes other ones.

use std::ops::Range;

use crate::scenario::BadInput;

/// The seeds to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seeds {
    pub(super) range: Range<u64>,
    /// Only this one was asked for: nothing else is replayed.
    pub(super) single: bool,
}

/// The seeds, by the environment or else as the test says.
pub(super) fn seeds(of_test: &Range<u64>) -> Result<Seeds, BadInput> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    chosen(variable("TENURE_SEED").as_deref(), variable("TENURE_SEEDS").as_deref(), of_test)
}

fn chosen(seed: Option<&str>, seeds: Option<&str>, of_test: &Range<u64>) -> Result<Seeds, BadInput> {
    if let Some(text) = seed {
        let seed: u64 = text.trim().parse().ok().filter(|&seed| seed < u64::MAX).ok_or_else(|| {
            BadInput(format!("TENURE_SEED={text}: not a seed; a number is, as in TENURE_SEED=17"))
        })?;
        return Ok(Seeds { range: seed..seed + 1, single: true });
    }
    let range = match seeds {
        Some(text) => range(text.trim()).ok_or_else(|| {
            BadInput(format!(
                "TENURE_SEEDS={text}: not a range of seeds; 1000 (the first so many) and 500..1000 are"
            ))
        })?,
        None => of_test.clone(),
    };
    if range.is_empty() {
        return Err(BadInput(format!("seeds {}..{}: there is none", range.start, range.end)));
    }
    Ok(Seeds { range, single: false })
}

fn range(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => Some(0..text.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: Option<&str>, seeds: Option<&str>) -> Result<Seeds, BadInput> {
        chosen(seed, seeds, &(3..5))
    }

    #[test]
    fn the_environment_comes_before_the_test_and_one_seed_before_many() {
        let many = |range| Ok(Seeds { range, single: false });
        assert_eq!(of(None, None), many(3..5));
        assert_eq!(of(None, Some("20")), many(0..20));
        assert_eq!(of(None, Some("7..9")), many(7..9));
        assert_eq!(of(Some("17"), Some("7..9")), Ok(Seeds { range: 17..18, single: true }));
    }

    #[test]
    fn what_is_no_seed_is_refused_with_what_is_one() {
        for wrong in
            [of(Some("x"), None), of(None, Some("9..7")), of(None, Some("0")), of(None, Some("a..b"))]
        {
            let BadInput(words) = wrong.expect_err("refused");
            assert!(!words.contains('\n') && words.to_lowercase().contains("seed"), "{words}");
        }
    }
}
