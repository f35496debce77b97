//! Small draws that plans are made of.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::scenario::Span;

/// A number of the span.
pub(super) fn within(rng: &mut ChaCha8Rng, [from, to]: Span) -> u64 {
    rng.random_range(from..=to)
}

/// A drawn number that is known to be small.
pub(super) fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A number of the span, small ones as likely as large ones of ten times the size: half of all draws are at or below
/// the geometric middle.
pub(super) fn skewed(rng: &mut ChaCha8Rng, [from, to]: Span) -> u64 {
    let top = rng.random_range(from..=to);
    rng.random_range(from..=top)
}

/// True in `of` cases out of `all`.
pub(super) fn chance(rng: &mut ChaCha8Rng, of: u32, all: u32) -> bool {
    rng.random_range(0..all) < of
}

/// True with this chance, from 0 to 1. What is never so draws nothing.
pub(super) fn likely(rng: &mut ChaCha8Rng, chance: f64) -> bool {
    chance > 0.0 && rng.random_range(0.0..1.0) < chance
}

/// A clock's drift of at most so many millionths either way; in a third of all draws exactly so many.
pub(super) fn drift(rng: &mut ChaCha8Rng, most_ppm: u64) -> i64 {
    let most = i64::try_from(most_ppm).unwrap_or(i64::MAX);
    let (extreme, within) = (rng.random_range(0..6), rng.random_range(-most..=most));
    match extreme {
        0 => -most,
        1 => most,
        _ => within,
    }
}

/// One of these, by weight; `None` if every weight is 0.
pub(super) fn weighted<'a, T>(rng: &mut ChaCha8Rng, choices: &'a [(T, f64)]) -> Option<&'a T> {
    let sum: f64 = choices.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0.0..1.0) * sum;
    for (choice, weight) in choices {
        if left < *weight {
            return Some(choice);
        }
        left -= weight;
    }
    choices.iter().rev().find(|(_, weight)| *weight > 0.0).map(|(choice, _)| choice)
}

/// A scenario's weights as choices; those that are off are left out.
pub(super) fn choices(weights: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    weights
        .iter()
        .filter(|(_, weight)| **weight > 0.0)
        .map(|(name, &weight)| (name.as_str(), weight))
        .collect()
}
