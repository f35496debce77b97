//! What etcd serves over HTTP beside gRPC, on the same port: `/health`, `/version` and `/metrics`, those of its metrics that tests
//! read.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::place::Place;

/// The paths.
pub(super) fn routes(place: Place) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .with_state(place)
}

fn json(code: StatusCode, body: &serde_json::Value) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// As `/health` of etcd (`api/etcdhttp/health.go`).
async fn health(State(place): State<Place>) -> Response {
    let (leader, no_space) = place.world.with(|core| {
        let member = &core.members[place.member];
        (member.leader.is_some(), member.store.no_space())
    });
    let reason = if no_space {
        "ALARM NOSPACE"
    } else if !leader {
        "RAFT NO LEADER"
    } else {
        return json(StatusCode::OK, &json!({"health": "true", "reason": ""}));
    };
    json(StatusCode::SERVICE_UNAVAILABLE, &json!({"health": "false", "reason": reason}))
}

async fn version(State(place): State<Place>) -> Response {
    let server = place.version.to_string();
    let mut said = json!({"etcdserver": server, "etcdcluster": format!("{}.0", place.version.line())});
    if !matches!(place.version.line(), "3.4" | "3.5") {
        said["storage"] = json!(format!("{}.0", place.version.line()));
    }
    json(StatusCode::OK, &said)
}

/// A metric, its type, what it says, and its value.
struct Metric(&'static str, &'static str, &'static str, f64);

async fn metrics(State(place): State<Place>) -> Response {
    let mut text = String::new();
    for Metric(name, kind, help, value) in all(&place) {
        // A string takes all that is written to it.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    let version = place.version;
    let name = "etcd_server_version";
    let _ = write!(text, "# HELP {name} Which version is running.\n# TYPE {name} gauge\n");
    let _ = writeln!(text, "{name}{{server_version=\"{version}\"}} 1");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn all(place: &Place) -> Vec<Metric> {
    let log = &place.log;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let flag = |on: bool| f64::from(u8::from(on));
    place.world.with(|core| {
        let member = &core.members[place.member];
        let store = &member.store;
        vec![
            Metric(
                "etcd_server_has_leader",
                "gauge",
                "Whether or not a leader exists.",
                flag(member.leader.is_some()),
            ),
            Metric(
                "etcd_server_is_leader",
                "gauge",
                "Whether or not this member is a leader.",
                flag(member.leads()),
            ),
            Metric(
                "etcd_server_is_learner",
                "gauge",
                "Whether or not this member is a learner.",
                flag(member.is_learner()),
            ),
            Metric(
                "etcd_server_leader_changes_seen_total",
                "counter",
                "The number of leader changes seen.",
                count(&log.leader_changes),
            ),
            Metric(
                "etcd_server_proposals_committed_total",
                "gauge",
                "The total number of consensus proposals committed.",
                member.commit as f64,
            ),
            Metric(
                "etcd_server_proposals_applied_total",
                "gauge",
                "The total number of consensus proposals applied.",
                member.applied as f64,
            ),
            Metric(
                "etcd_server_proposals_pending",
                "gauge",
                "The current number of pending proposals to commit.",
                member.proposals.len() as f64,
            ),
            Metric(
                "etcd_mvcc_db_total_size_in_bytes",
                "gauge",
                "Total size of the underlying database physically allocated in bytes.",
                core.space.file_bytes as f64,
            ),
            Metric(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "gauge",
                "Total size of the underlying database logically in use in bytes.",
                core.space.in_use_bytes as f64,
            ),
            Metric(
                "etcd_server_quota_backend_bytes",
                "gauge",
                "Current backend storage quota size in bytes.",
                core.config.quota_bytes as f64,
            ),
            Metric(
                "etcd_mvcc_put_total",
                "counter",
                "Total number of puts seen by this member.",
                count(&log.puts),
            ),
            Metric(
                "etcd_mvcc_delete_total",
                "counter",
                "Total number of deletes seen by this member.",
                count(&log.deletes),
            ),
            Metric(
                "etcd_debugging_mvcc_keys_total",
                "gauge",
                "Total number of keys.",
                store.keys().count() as f64,
            ),
            Metric(
                "etcd_debugging_mvcc_current_revision",
                "gauge",
                "The current revision of store.",
                store.revision() as f64,
            ),
            Metric(
                "etcd_debugging_mvcc_compact_revision",
                "gauge",
                "The revision of the last compaction in store.",
                store.compact_revision() as f64,
            ),
            Metric(
                "etcd_debugging_mvcc_watcher_total",
                "gauge",
                "Total number of watchers.",
                member.hub.ids().count() as f64,
            ),
            Metric(
                "etcd_debugging_lease_granted_total",
                "counter",
                "The total number of granted leases.",
                count(&log.leases_granted),
            ),
            Metric(
                "etcd_debugging_lease_revoked_total",
                "counter",
                "The total number of revoked leases.",
                count(&log.leases_revoked),
            ),
            Metric(
                "etcd_debugging_server_lease_expired_total",
                "counter",
                "The total number of expired leases.",
                count(&log.leases_expired),
            ),
        ]
    })
}
