//! Draws what clients do with transactions and counters.

use rand_chacha::ChaCha8Rng;

use super::draw::{chance, skewed, small, within};
use super::recipes::patience;
use crate::scenario::WorkloadSpec;
use crate::workload::recipes::program::{ACCOUNTS, HowRun, Level, RecipeKind};

/// A pause between two reads that lets a transaction commit in the end.
const SHORT_PAUSE_MS: [u64; 2] = [0, 5];

/// What is done, and with which bank or counter.
pub(super) fn drawn(
    chosen: &str,
    which: u64,
    workload: &WorkloadSpec,
    rng: &mut ChaCha8Rng,
) -> Option<(String, RecipeKind)> {
    Some(match chosen {
        "transfer" | "cancel-transfer" => {
            let how = how(chosen, workload, rng);
            let from = small(within(rng, [0, u64::from(ACCOUNTS) - 1]));
            let other = small(within(rng, [1, u64::from(ACCOUNTS) - 1]));
            let amount = i64::try_from(within(rng, [1, 20])).unwrap_or(1);
            let (to, blind) = ((from + other) % ACCOUNTS, chance(rng, 1, 4));
            // Where updates may be lost no sum is kept.
            let folder = if how.level == Level::ReadCommitted { "loose" } else { "banks" };
            (format!("{folder}/{which}"), RecipeKind::Transfer { from, to, amount, blind, how })
        }
        "audit" => {
            let folder = if chance(rng, 1, 3) { "loose" } else { "banks" };
            (format!("{folder}/{which}"), RecipeKind::Audit { how: how(chosen, workload, rng) })
        }
        "add" | "cancel-add" => {
            (format!("counts/{which}"), RecipeKind::Add { patience: patience(chosen, rng) })
        }
        "close-session" => (String::new(), RecipeKind::CloseSession),
        _ => return None,
    })
}

fn how(chosen: &str, workload: &WorkloadSpec, rng: &mut ChaCha8Rng) -> HowRun {
    let level = match within(rng, [0, 3]) {
        0 => Level::SerializableSnapshot,
        1 => Level::Serializable,
        2 => Level::RepeatableReads,
        _ => Level::ReadCommitted,
    };
    // The library's own number of runs, or few; with long pauses a transaction that others are always in the way of would never commit.
    let is_few = chance(rng, 1, 2);
    let pause_ms = skewed(rng, if is_few { workload.hold_ms } else { SHORT_PAUSE_MS });
    HowRun {
        level,
        attempts: if is_few { small(within(rng, [1, 3])) } else { 100 },
        ahead: chance(rng, 1, 3),
        pause_ms: if chance(rng, 1, 2) { 0 } else { pause_ms },
        patience: patience(chosen, rng),
    }
}
