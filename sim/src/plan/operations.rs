//! Draws the clients of a plan: their clocks, sessions and programs.

use rand_chacha::ChaCha8Rng;

use super::draw::{chance, choices, drift, likely, skewed, weighted, within};
use super::{ClientPlan, LanePlan, ObservingPlan};
use super::{plain, recipes};
use crate::history::Kind;
use crate::scenario::{OPERATIONS, OperationKind, Scenario, Waits, WorkloadSpec};
use crate::streams::Streams;
use crate::workload::program::{
    Deed, DeedKind, Ending, Hold, Operation, OperatorAct, Patience, PrimitiveKind,
};

/// More operations than any client gets through.
const MOST_OPERATIONS: usize = 2_000;

pub(super) fn draw(scenario: &Scenario, streams: &Streams) -> Vec<ClientPlan> {
    let mut rng = streams.stream("plan");
    let spec = &scenario.clients;
    (0..spec.count + spec.observers)
        .map(|index| {
            let mut program = streams.stream(&format!("workload-{index}"));
            let clock_offset_ms = within(&mut rng, [0, spec.clock_offset_ms]);
            let drift_ppm = drift(&mut rng, spec.drift_ppm);
            let observes = index >= spec.count;
            let lanes = if observes { 0 } else { spec.sessions };
            ClientPlan {
                clock_offset_ms,
                drift_ppm,
                drift_bound_ppm: u32::try_from(spec.drift_bound_ppm).unwrap_or(u32::MAX),
                lanes: all_lanes(scenario, lanes, &mut program),
                observing: observes.then(|| observing(scenario, &mut program)),
                watchers: plain::watchers(scenario, &mut streams.stream(&format!("watches-{index}"))),
                own: None,
            }
        })
        .collect()
}

fn all_lanes(scenario: &Scenario, count: u32, rng: &mut ChaCha8Rng) -> Vec<LanePlan> {
    let mut lanes: Vec<_> = (0..count).map(|_| lane(scenario, rng)).collect();
    if !lanes.is_empty() && likely(rng, scenario.workload.habit("share-session")) {
        lanes.push(LanePlan { shares: Some(0), ..lane(scenario, rng) });
    }
    lanes
}

/// One session, and what is done with it.
fn lane(scenario: &Scenario, rng: &mut ChaCha8Rng) -> LanePlan {
    let ttl_s = within(rng, scenario.clients.ttl_s);
    let idle = LanePlan { ttl_s, ..LanePlan::default() };
    if scenario.uses_etcd_itself() {
        return LanePlan { plain: plain::operations(scenario, rng), ..idle };
    }
    if scenario.uses_recipes() {
        return LanePlan { recipes: recipes::operations(scenario, rng), ..idle };
    }
    let operations = as_many_as_fit(scenario, || {
        let operation = operation(&scenario.workload, rng)?;
        Some((operation.think_ms + operation.hold.for_ms, operation))
    });
    LanePlan { operations, ..idle }
}

/// As many operations as fit into the time, were there no waiting; each is drawn with the time that it takes, in milliseconds.
pub(super) fn as_many_as_fit<T>(scenario: &Scenario, mut draw: impl FnMut() -> Option<(u64, T)>) -> Vec<T> {
    let mut operations = Vec::new();
    let mut at_ms = 0;
    while at_ms < scenario.drain_at_ms() && operations.len() < MOST_OPERATIONS {
        let Some((takes_ms, operation)) = draw() else { break };
        at_ms += takes_ms + 1;
        operations.push(operation);
    }
    operations
}

fn observing(scenario: &Scenario, rng: &mut ChaCha8Rng) -> ObservingPlan {
    let mut for_ms = Vec::new();
    while for_ms.iter().sum::<u64>() < scenario.drain_at_ms() {
        for_ms.push(within(rng, [500, 15_000]));
    }
    ObservingPlan { name: name(PrimitiveKind::Election, scenario.workload.names, rng), for_ms }
}

/// Each primitive has its own names.
fn name(primitive: PrimitiveKind, names: u32, rng: &mut ChaCha8Rng) -> String {
    let folder = match primitive {
        PrimitiveKind::Mutex => "jobs",
        PrimitiveKind::Election => "posts",
        PrimitiveKind::Read | PrimitiveKind::Write => "files",
        // All clients of a name have one policy.
        PrimitiveKind::ReadInTurn | PrimitiveKind::WriteInTurn => "queues",
        PrimitiveKind::Semaphore => "pools",
    };
    let which = within(rng, [0, u64::from(names) - 1]);
    let letter = u8::try_from(which % 26).unwrap_or_default() + b'a';
    let more = if which < 26 { String::new() } else { (which / 26).to_string() };
    format!("{folder}/{}{more}", char::from(letter))
}

fn operation(workload: &WorkloadSpec, rng: &mut ChaCha8Rng) -> Option<Operation> {
    let operations = choices(&workload.operations);
    let chosen = *weighted(rng, &operations)?;
    let OperationKind { primitive, waits, .. } = *OPERATIONS.iter().find(|one| one.name == chosen)?;
    let patience = match waits {
        Waits::Forever => Patience::Forever,
        Waits::Not => Patience::Try,
        Waits::Timeout => Patience::TimeoutMs(skewed(rng, [1, 5_000])),
        Waits::Cancelled if chance(rng, 1, 2) => Patience::CancelAfterMs(skewed(rng, [0, 3_000])),
        Waits::Cancelled => Patience::CancelAfterPolls(few(rng)),
    };
    let endings = choices(&workload.endings);
    let ending = match weighted(rng, &endings).copied() {
        Some("drop") => Ending::Drop,
        Some("close-session") => Ending::CloseSession,
        Some("cancel-release") => Ending::CancelRelease { polls: few(rng) },
        Some("cancel-close") => Ending::CancelClose { polls: few(rng) },
        Some("drop-session") => Ending::DropSession,
        Some("hand-over") => Ending::HandOver,
        _ => Ending::Release,
    };
    Some(Operation {
        // Now and then there is no pause at all between a release and the next ask.
        think_ms: if chance(rng, 1, 5) { 0 } else { within(rng, workload.think_ms) },
        primitive,
        name: name(primitive, workload.names, rng),
        patience,
        hold: hold(workload, primitive, rng),
        ending,
        locker: patience == Patience::Forever
            && primitive.kind() != Kind::Leader
            && likely(rng, workload.habit("locker")),
        asks_leader: primitive.kind() == Kind::Leader && likely(rng, workload.habit("ask-leader")),
        lasts: likely(rng, workload.habit("last")),
    })
}

/// How often something waits before it is given up.
pub(super) fn few(rng: &mut ChaCha8Rng) -> u32 {
    u32::try_from(skewed(rng, [0, 12])).unwrap_or_default()
}

fn hold(workload: &WorkloadSpec, primitive: PrimitiveKind, rng: &mut ChaCha8Rng) -> Hold {
    let for_ms = skewed(rng, workload.hold_ms);
    let mut deeds = Vec::new();
    // Readers have nothing to write, and a resource that takes only the newest token is no semaphore's.
    if !matches!(primitive.kind(), Kind::Read | Kind::Permit) {
        for _ in 0..within(rng, [0, 2]) {
            // Some packets take long ways; not two of one hold, or waiters wait too long.
            let slow = deeds.is_empty() && chance(rng, 1, 20);
            deeds.push(write(workload, slow, rng));
        }
    }
    if chance(rng, 1, 2) {
        deeds.push(DeedKind::Txn);
    }
    if chance(rng, 1, 3) {
        deeds.push(DeedKind::Confirm);
    }
    if primitive == PrimitiveKind::Election {
        deeds.extend((0..within(rng, [0, 3])).map(|_| DeedKind::Proclaim));
        if likely(rng, workload.habit("stand-again")) {
            deeds.push(DeedKind::StandAgain);
        }
    }
    if likely(rng, workload.habit("operator")) {
        deeds.push(DeedKind::Operator {
            act: match within(rng, [0, 7]) {
                0 | 1 => OperatorAct::DeleteHolder,
                2 => OperatorAct::RevokeHolder,
                3 | 4 => OperatorAct::DeleteNext,
                5 => OperatorAct::RevokeNext,
                _ => OperatorAct::PutForeign,
            },
        });
    }
    let mut deeds: Vec<_> =
        deeds.into_iter().map(|what| Deed { at_ms: within(rng, [0, for_ms]), what }).collect();
    deeds.sort_by_key(|deed| deed.at_ms);
    Hold { for_ms, deeds, heeds_loss: chance(rng, 3, 4) }
}

fn write(workload: &WorkloadSpec, slow: bool, rng: &mut ChaCha8Rng) -> DeedKind {
    let under_way_ms = within(rng, workload.write_ms);
    DeedKind::Write {
        prepare_ms: if chance(rng, 1, 4) { within(rng, [0, 100]) } else { 0 },
        under_way_ms: if slow { under_way_ms * 5 } else { under_way_ms },
        fenced: workload.fenced,
    }
}
