//! Draws what clients do with recipes.

use rand_chacha::ChaCha8Rng;

use super::barriers;
use super::draw::{chance, choices, skewed, small, weighted, within};
use super::operations::{as_many_as_fit, few};
use super::transactions;
use crate::scenario::{Scenario, WorkloadSpec};
use crate::workload::program::Patience;
use crate::workload::recipes::program::{ClaimEnding, RecipeKind, RecipeOperation};

/// What one program does.
pub(super) fn operations(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Vec<RecipeOperation> {
    as_many_as_fit(scenario, || {
        let operation = operation(&scenario.workload, rng)?;
        Some((operation.think_ms, operation))
    })
}

fn operation(workload: &WorkloadSpec, rng: &mut ChaCha8Rng) -> Option<RecipeOperation> {
    let weights = choices(&workload.operations);
    let chosen = *weighted(rng, &weights)?;
    // Now and then there is no pause at all.
    let think_ms = if chance(rng, 1, 5) { 0 } else { within(rng, workload.think_ms) };
    let which = within(rng, [0, u64::from(workload.names) - 1]);
    let (name, what) = match workload.kind.as_str() {
        "barrier" => barriers::drawn(chosen, which, workload, rng)?,
        "stm" => transactions::drawn(chosen, which, workload, rng)?,
        _ => of_queue(chosen, which, workload, rng)?,
    };
    Some(RecipeOperation { think_ms, name, what })
}

/// What is done with a queue, and with which.
fn of_queue(
    chosen: &str,
    which: u64,
    workload: &WorkloadSpec,
    rng: &mut ChaCha8Rng,
) -> Option<(String, RecipeKind)> {
    let ranked = chance(rng, 1, 2);
    let patience = patience(chosen, rng);
    let what = match chosen {
        "enqueue" | "enqueue-batch" => RecipeKind::Enqueue {
            priority: ranked.then(|| u16::try_from(within(rng, [0, 2])).unwrap_or_default()),
            count: if chosen == "enqueue" { 1 } else { small(within(rng, [2, 5])) },
        },
        "dequeue" | "try-dequeue" | "dequeue-timeout" | "cancel-dequeue" => {
            RecipeKind::Dequeue { ranked, most: 1, patience }
        }
        "dequeue-batch" => RecipeKind::Dequeue { ranked, most: small(within(rng, [2, 6])), patience },
        "claim" | "try-claim" | "claim-timeout" | "cancel-claim" => {
            let (work_ms, ending) = (skewed(rng, workload.hold_ms), claim_ending(rng));
            RecipeKind::Claim { ranked, patience, work_ms, ending }
        }
        "close-session" => RecipeKind::CloseSession,
        _ => return None,
    };
    // Each kind of queue has its own names.
    let folder = if ranked { "ranks" } else { "lines" };
    Some((format!("{folder}/{which}"), what))
}

/// How long the client is willing to wait, by the operation's name.
pub(super) fn patience(chosen: &str, rng: &mut ChaCha8Rng) -> Patience {
    if chosen.starts_with("try-") {
        Patience::Try
    } else if chosen.ends_with("-timeout") {
        Patience::TimeoutMs(skewed(rng, [1, 5_000]))
    } else if chosen.starts_with("cancel-") && chance(rng, 1, 2) {
        Patience::CancelAfterPolls(few(rng))
    } else if chosen.starts_with("cancel-") || chosen.ends_with("-batch") {
        Patience::CancelAfterMs(skewed(rng, [0, 3_000]))
    } else {
        Patience::Forever
    }
}

fn claim_ending(rng: &mut ChaCha8Rng) -> ClaimEnding {
    match within(rng, [0, 11]) {
        0..=4 => ClaimEnding::Acknowledge,
        5..=7 => ClaimEnding::AcknowledgeWith,
        8 => ClaimEnding::CancelAcknowledge(few(rng)),
        9 | 10 => ClaimEnding::GiveBack,
        _ => ClaimEnding::Drop,
    }
}
