//! What a scenario must be beyond its types: counts that make sense, names that exist, times that fit.

use std::collections::BTreeMap;

use super::{BadInput, ENDINGS, HABITS, KINDS, Scenario, Span};
use crate::store::EtcdVersion;
use crate::{check, coverage, fault};

/// What is wrong with which field.
pub(super) struct Problem {
    /// The dotted path.
    pub(super) field: String,
    /// Which item of it, if it is a list.
    pub(super) item: Option<usize>,
    /// What is wrong, and what is allowed.
    pub(super) what: String,
}

type Verdict = Result<(), Problem>;

/// Finds the first thing that is wrong.
pub(super) fn validate(scenario: &Scenario) -> Verdict {
    times(scenario)?;
    cluster(scenario)?;
    clients(scenario)?;
    workload(scenario)?;
    faults(scenario)?;
    names("invariants", &scenario.invariants, &check::names())?;
    if scenario.invariants.is_empty() {
        return wrong("invariants", format!("none is checked; there are {}", check::names().join(", ")));
    }
    names("coverage", &scenario.coverage, &coverage::names())
}

/// The same for what code of a test's own is run with: it has no workload, and its clients are its own.
pub(crate) fn validate_own(scenario: &Scenario) -> Result<(), BadInput> {
    let checks = [times, cluster, faults].map(|check| check(scenario));
    let first = checks.into_iter().collect::<Result<(), Problem>>();
    first.map_err(|Problem { field, what, .. }| BadInput(format!("{field}: {what}")))?;
    let version = scenario.cluster.version.parse::<EtcdVersion>();
    version.map(drop).map_err(|error| BadInput(format!("version: {error}")))
}

fn wrong(field: &str, what: impl Into<String>) -> Verdict {
    Err(Problem { field: field.to_owned(), item: None, what: what.into() })
}

fn times(scenario: &Scenario) -> Verdict {
    let Scenario { duration_s, calm_s, drain_s, progress_s, .. } = *scenario;
    if !(1..=3600).contains(&duration_s) {
        return wrong("duration_s", format!("{duration_s} is not allowed; 1 to 3600 are"));
    }
    if calm_s > duration_s {
        return wrong("calm_s", format!("{calm_s} is not allowed; at most duration_s = {duration_s} is"));
    }
    if drain_s > calm_s {
        return wrong("drain_s", format!("{drain_s} is not allowed; at most calm_s = {calm_s} is"));
    }
    if progress_s == 0 || progress_s > calm_s {
        return wrong(
            "progress_s",
            format!("{progress_s} is not allowed; 1 to calm_s = {calm_s} are, or no wait is ever judged"),
        );
    }
    Ok(())
}

fn cluster(scenario: &Scenario) -> Verdict {
    let cluster = &scenario.cluster;
    if ![1, 3, 5].contains(&cluster.members) {
        return wrong("cluster.members", format!("{} is not allowed; 1, 3 or 5 are", cluster.members));
    }
    if let Err(error) = cluster.version.parse::<EtcdVersion>() {
        return wrong("cluster.version", error.to_string());
    }
    if cluster.spares > 4 {
        return wrong("cluster.spares", format!("{} is not allowed; 0 to 4 are", cluster.spares));
    }
    if !(1..=10_000).contains(&cluster.heartbeat_ms) {
        return wrong(
            "cluster.heartbeat_ms",
            format!("{} is not allowed; 1 to 10000 are", cluster.heartbeat_ms),
        );
    }
    let least = cluster.heartbeat_ms * 5;
    if !(least..=50_000).contains(&cluster.election_timeout_ms) {
        return wrong(
            "cluster.election_timeout_ms",
            format!(
                "{} is not allowed; {least} (five heartbeats) to 50000 are, as in etcd",
                cluster.election_timeout_ms
            ),
        );
    }
    for (field, delay_us) in [
        ("cluster.peer_delay_us", cluster.peer_delay_us),
        ("cluster.client_delay_us", cluster.client_delay_us),
        ("cluster.disk_us", cluster.disk_us),
    ] {
        span(field, delay_us, 1, 1_000_000)?;
    }
    if !(1..=1_000_000).contains(&cluster.catch_up_entries) {
        return wrong(
            "cluster.catch_up_entries",
            format!("{} is not allowed; 1 to 1000000 are", cluster.catch_up_entries),
        );
    }
    Ok(())
}

fn clients(scenario: &Scenario) -> Verdict {
    let clients = &scenario.clients;
    if !(1..=200).contains(&clients.count) {
        return wrong("clients.count", format!("{} is not allowed; 1 to 200 are", clients.count));
    }
    if !(1..=16).contains(&clients.sessions) {
        return wrong("clients.sessions", format!("{} is not allowed; 1 to 16 are", clients.sessions));
    }
    if clients.observers > 50 {
        return wrong("clients.observers", format!("{} is not allowed; 0 to 50 are", clients.observers));
    }
    if clients.watches > 16 {
        return wrong("clients.watches", format!("{} is not allowed; 0 to 16 are", clients.watches));
    }
    span("clients.ttl_s", clients.ttl_s, 1, 3600)?;
    if clients.drift_ppm > 100_000 {
        return wrong("clients.drift_ppm", format!("{} is not allowed; 0 to 100000 are", clients.drift_ppm));
    }
    if clients.drift_bound_ppm > 500_000 {
        return wrong(
            "clients.drift_bound_ppm",
            format!("{} is not allowed; 0 to 500000 are", clients.drift_bound_ppm),
        );
    }
    Ok(())
}

fn workload(scenario: &Scenario) -> Verdict {
    let workload = &scenario.workload;
    let Some(kind) = KINDS.iter().find(|kind| kind.name == workload.kind) else {
        let kinds: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        return wrong("workload.kind", format!("{:?} is not one of {}", workload.kind, kinds.join(", ")));
    };
    if !(1..=100).contains(&workload.names) {
        return wrong("workload.names", format!("{} is not allowed; 1 to 100 are", workload.names));
    }
    span("workload.think_ms", workload.think_ms, 0, 3_600_000)?;
    span("workload.patience_ms", workload.patience_ms, 1, 3_600_000)?;
    span("workload.hold_ms", workload.hold_ms, 0, 3_600_000)?;
    span("workload.write_ms", workload.write_ms, 0, 3_600_000)?;
    weights("workload.operations", &workload.operations, &kind.operations())?;
    weights("workload.endings", &workload.endings, ENDINGS)?;
    let habits: Vec<_> = HABITS.iter().map(|(name, _)| *name).collect();
    weights("workload.habits", &workload.habits, &habits)?;
    if let Some((habit, chance)) = workload.habits.iter().find(|(_, chance)| **chance > 1.0) {
        let field = format!("workload.habits.{habit}");
        return wrong(&field, format!("{chance} is not allowed; 0 to 1 are, it is a chance"));
    }
    for (field, map) in
        [("workload.operations", &workload.operations), ("workload.endings", &workload.endings)]
    {
        if !map.values().any(|&weight| weight > 0.0) {
            return wrong(field, "all weights are 0; at least one must be above");
        }
    }
    Ok(())
}

fn faults(scenario: &Scenario) -> Verdict {
    span("faults.gap_ms", scenario.faults.gap_ms, 1, 3_600_000)?;
    span("faults.lasting_ms", scenario.faults.lasting_ms, 1, 3_600_000)?;
    weights("faults.weights", &scenario.faults.weights, fault::NAMES)
}

fn span(field: &str, [from, to]: Span, least: u64, most: u64) -> Verdict {
    if from > to || from < least || to > most {
        return wrong(
            field,
            format!("[{from}, {to}] is not allowed; [from, to] with {least} <= from <= to <= {most} is"),
        );
    }
    Ok(())
}

fn weights(field: &str, weights: &BTreeMap<String, f64>, known: &[&str]) -> Verdict {
    for (name, &weight) in weights {
        let field = format!("{field}.{name}");
        if !known.contains(&name.as_str()) {
            return wrong(&field, format!("there is no such name; there are {}", known.join(", ")));
        }
        if !weight.is_finite() || weight < 0.0 {
            return wrong(&field, format!("a weight of {weight} is not allowed; 0 (off) and above are"));
        }
    }
    Ok(())
}

fn names(field: &str, wanted: &[String], known: &[&str]) -> Verdict {
    match wanted.iter().position(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(item) => Err(Problem {
            field: field.to_owned(),
            item: Some(item),
            what: format!("there is no {:?}; there are {}", wanted[item], known.join(", ")),
        }),
    }
}
