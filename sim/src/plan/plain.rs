//! Draws what clients do that use etcd itself.

use rand_chacha::ChaCha8Rng;

use super::draw::{chance, choices, skewed, weighted, within};
use super::operations::as_many_as_fit;
use crate::scenario::{Scenario, WorkloadSpec};
use crate::workload::plain::program::{PlainKind, PlainOperation, PlainWatch, WatchedSpan};

/// A read of the past, or a watch from it, goes at most so many revisions back: beyond the reach of compactions, too.
const FARTHEST_BACK: u64 = 120;

/// What one program does.
pub(super) fn operations(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Vec<PlainOperation> {
    let workload = &scenario.workload;
    as_many_as_fit(scenario, || {
        let what = kind(workload, rng)?;
        // Now and then there is no pause at all.
        let think_ms = if chance(rng, 1, 5) { 0 } else { within(rng, workload.think_ms) };
        let patience_ms = within(rng, workload.patience_ms);
        Some((think_ms, PlainOperation { think_ms, patience_ms, what }))
    })
}

fn kind(workload: &WorkloadSpec, rng: &mut ChaCha8Rng) -> Option<PlainKind> {
    let weights = choices(&workload.operations);
    let chosen = *weighted(rng, &weights)?;
    let register = register(workload, rng);
    Some(match chosen {
        "get" => PlainKind::Get { register },
        "get-both" => PlainKind::GetBoth { first: register, second: other_than(register, workload) },
        "get-all" => PlainKind::GetAll { serializable: chance(rng, 1, 2) },
        "get-serializable" => PlainKind::GetSerializable { register },
        "get-past" => PlainKind::GetPast { register, back: back(rng) },
        "put" => PlainKind::Put { register },
        "delete" => PlainKind::Delete { register },
        "compare-and-set" => {
            PlainKind::CompareAndSet { register, by_value: chance(rng, 1, 3), deletes: chance(rng, 1, 6) }
        }
        "put-both" => PlainKind::PutBoth { first: register, second: other_than(register, workload) },
        "lease" => PlainKind::Lease,
        "renew" => PlainKind::Renew,
        "revoke" => PlainKind::Revoke,
        "put-leased" => PlainKind::PutLeased { register },
        _ => return None,
    })
}

fn register(workload: &WorkloadSpec, rng: &mut ChaCha8Rng) -> u32 {
    u32::try_from(within(rng, [0, u64::from(workload.names) - 1])).unwrap_or(0)
}

/// Another register; one transaction cannot write a key twice.
fn other_than(register: u32, workload: &WorkloadSpec) -> u32 {
    if workload.names == 1 { register + 1 } else { (register + 1) % workload.names }
}

fn back(rng: &mut ChaCha8Rng) -> u32 {
    u32::try_from(skewed(rng, [0, FARTHEST_BACK])).unwrap_or(0)
}

/// The watches of one client.
pub(super) fn watchers(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Vec<Vec<PlainWatch>> {
    (0..scenario.clients.watches).map(|_| watches(scenario, rng)).collect()
}

/// Watches enough to listen until clients are drained.
fn watches(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Vec<PlainWatch> {
    let mut watches: Vec<PlainWatch> = Vec::new();
    while watches.iter().map(|watch| watch.for_ms).sum::<u64>() < scenario.drain_at_ms() {
        let register = register(&scenario.workload, rng);
        let filter = within(rng, [0, 9]);
        watches.push(PlainWatch {
            for_ms: within(rng, [1_000, 20_000]),
            over: match within(rng, [0, 9]) {
                0..=1 => WatchedSpan::Key(register),
                2..=4 => WatchedSpan::Register(register),
                5..=6 => WatchedSpan::Leased,
                _ => WatchedSpan::Everything,
            },
            back: chance(rng, 1, 2).then(|| back(rng)),
            prev_kv: chance(rng, 1, 3),
            no_put: filter == 0,
            no_delete: filter == 1,
            progress_notify: chance(rng, 1, 3),
        });
    }
    watches
}
