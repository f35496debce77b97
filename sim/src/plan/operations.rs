//! Draws the clients of a plan: their clocks, sessions and programs.

use rand_chacha::ChaCha8Rng;

use super::ClientPlan;
use super::draw::{chance, choices, drift, skewed, weighted, within};
use crate::scenario::{Scenario, WorkloadSpec};
use crate::streams::Streams;
use crate::workload::program::{Action, Ending, Hold, Operation, Patience, PrimitiveKind, Take, Write};

/// More operations than any client gets through.
const MOST_OPERATIONS: usize = 2_000;

pub(super) fn draw(scenario: &Scenario, streams: &Streams) -> Vec<ClientPlan> {
    let mut rng = streams.stream("plan");
    let spec = &scenario.clients;
    (0..spec.count)
        .map(|index| ClientPlan {
            clock_offset_ms: within(&mut rng, [0, spec.clock_offset_ms]),
            drift_ppm: drift(&mut rng, spec.drift_ppm),
            drift_bound_ppm: u32::try_from(spec.drift_bound_ppm).unwrap_or(u32::MAX),
            ttl_s: (0..spec.sessions).map(|_| within(&mut rng, spec.ttl_s)).collect(),
            operations: program(scenario, &mut streams.stream(&format!("workload-{index}"))),
        })
        .collect()
}

/// As many operations as fit into the time, were there no waiting.
fn program(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut at_ms = 0;
    while at_ms < scenario.drain_at_ms() && operations.len() < MOST_OPERATIONS {
        let operation = operation(scenario, rng);
        let Action::Take(take) = &operation.action;
        at_ms += operation.think_ms + take.hold.for_ms + 1;
        operations.push(operation);
    }
    operations
}

fn operation(scenario: &Scenario, rng: &mut ChaCha8Rng) -> Operation {
    let workload = &scenario.workload;
    Operation {
        // Now and then there is no pause at all between a release and the next ask.
        think_ms: if chance(rng, 1, 5) { 0 } else { within(rng, workload.think_ms) },
        session: u32::try_from(within(rng, [0, u64::from(scenario.clients.sessions) - 1]))
            .unwrap_or_default(),
        action: Action::Take(take(workload, rng)),
    }
}

fn take(workload: &WorkloadSpec, rng: &mut ChaCha8Rng) -> Take {
    let operations = choices(&workload.operations);
    let patience = match weighted(rng, &operations).copied() {
        Some("try-lock") => Patience::Try,
        Some("lock-timeout") => Patience::TimeoutMs(skewed(rng, [1, 5_000])),
        Some("cancel") => Patience::CancelAfterMs(skewed(rng, [0, 3_000])),
        _ => Patience::Forever,
    };
    let endings = choices(&workload.endings);
    let ending = match weighted(rng, &endings).copied() {
        Some("drop") => Ending::Drop,
        Some("close-session") => Ending::CloseSession,
        _ => Ending::Release,
    };
    Take {
        primitive: PrimitiveKind::Mutex,
        name: format!(
            "jobs/{}",
            char::from(b'a' + (within(rng, [0, u64::from(workload.names.min(26)) - 1]) as u8))
        ),
        patience,
        hold: hold(workload, rng),
        ending,
    }
}

fn hold(workload: &WorkloadSpec, rng: &mut ChaCha8Rng) -> Hold {
    let for_ms = skewed(rng, workload.hold_ms);
    let mut writes: Vec<_> = (0..within(rng, [0, 2])).map(|_| write(workload, for_ms, rng)).collect();
    // Some packets take long ways; not two of one hold, or waiters wait too long.
    if let Some(write) = writes.first_mut().filter(|_| chance(rng, 1, 20)) {
        write.under_way_ms *= 5;
    }
    writes.sort_by_key(|write| write.at_ms);
    let mut txns_at_ms: Vec<_> = (0..within(rng, [0, 1])).map(|_| within(rng, [0, for_ms])).collect();
    txns_at_ms.sort_unstable();
    Hold { for_ms, writes, txns_at_ms, heeds_loss: chance(rng, 3, 4) }
}

fn write(workload: &WorkloadSpec, for_ms: u64, rng: &mut ChaCha8Rng) -> Write {
    Write {
        at_ms: within(rng, [0, for_ms]),
        prepare_ms: if chance(rng, 1, 4) { within(rng, [0, 100]) } else { 0 },
        under_way_ms: within(rng, workload.write_ms),
        fenced: workload.fenced,
    }
}
