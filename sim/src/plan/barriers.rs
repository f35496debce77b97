//! Draws what clients do with barriers.

use rand_chacha::ChaCha8Rng;

use super::draw::{chance, skewed, within};
use super::operations::few;
use super::recipes::patience;
use crate::scenario::WorkloadSpec;
use crate::workload::program::Patience;
use crate::workload::recipes::program::{HoldEnding, RecipeKind};

/// What is done, and with which barrier.
pub(super) fn drawn(
    chosen: &str,
    which: u64,
    workload: &WorkloadSpec,
    rng: &mut ChaCha8Rng,
) -> Option<(String, RecipeKind)> {
    let patience = patience(chosen, rng);
    let what = match chosen {
        "hold" | "cancel-hold" => {
            let (hold_ms, ending) = (skewed(rng, workload.hold_ms), hold_ending(rng));
            RecipeKind::Hold { patience, hold_ms, ending }
        }
        "hold-for-good" => RecipeKind::HoldForGood,
        "release-barrier" => RecipeKind::ReleaseBarrier,
        "pass" | "pass-timeout" | "cancel-pass" => RecipeKind::Pass { patience },
        "enter" | "enter-timeout" | "cancel-enter" => {
            let (inside_ms, leaving) = (skewed(rng, workload.hold_ms), leaving(rng));
            // All members of a barrier have one number of them.
            let (folder, count) = if chance(rng, 1, 2) { ("pairs", 2) } else { ("trios", 3) };
            let what = RecipeKind::Enter { count, patience, inside_ms, leaving };
            return Some((format!("{folder}/{which}"), what));
        }
        "close-session" => RecipeKind::CloseSession,
        _ => return None,
    };
    Some((format!("gates/{which}"), what))
}

fn hold_ending(rng: &mut ChaCha8Rng) -> HoldEnding {
    match within(rng, [0, 9]) {
        0..=5 => HoldEnding::Release,
        6 | 7 => HoldEnding::CancelRelease(few(rng)),
        _ => HoldEnding::Drop,
    }
}

fn leaving(rng: &mut ChaCha8Rng) -> Option<Patience> {
    match within(rng, [0, 9]) {
        0..=5 => Some(Patience::Forever),
        6 | 7 => Some(Patience::TimeoutMs(skewed(rng, [1, 3_000]))),
        8 => Some(Patience::CancelAfterPolls(few(rng))),
        _ => None,
    }
}
