//! What etcd serves over HTTP beside gRPC, on the same port: `/health`, `/version` and `/metrics`, those of its metrics that tests
//! read.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::log::Log;
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

/// A metric: its type, its name, what it says, and its value.
type Metric = (&'static str, &'static str, &'static str, f64);

async fn metrics(State(place): State<Place>) -> Response {
    let mut text = String::new();
    for (kind, name, help, value) in of_member(&place).into_iter().chain(of_log(&place.log)) {
        // A string takes all that is written to it.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    let version = place.version;
    let name = "etcd_server_version";
    let _ = write!(text, "# HELP {name} Which version is running.\n# TYPE {name} gauge\n");
    let _ = writeln!(text, "{name}{{server_version=\"{version}\"}} 1");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// What the member is like now.
#[rustfmt::skip]
fn of_member(place: &Place) -> Vec<Metric> {
    let flag = |on: bool| f64::from(u8::from(on));
    place.world.with(|core| {
        let member = &core.members[place.member];
        let (store, space) = (&member.store, &core.space);
        vec![
            ("gauge", "etcd_server_has_leader", "Whether or not a leader exists.", flag(member.leader.is_some())),
            ("gauge", "etcd_server_is_leader", "Whether or not this member is a leader.", flag(member.leads())),
            ("gauge", "etcd_server_is_learner", "Whether or not this member is a learner.", flag(member.is_learner())),
            ("gauge", "etcd_server_proposals_committed_total", "Consensus proposals committed.", member.commit as f64),
            ("gauge", "etcd_server_proposals_applied_total", "Consensus proposals applied.", member.applied as f64),
            ("gauge", "etcd_server_proposals_pending", "Pending proposals to commit.", member.proposals.len() as f64),
            ("gauge", "etcd_server_quota_backend_bytes", "Backend storage quota.", core.config.quota_bytes as f64),
            ("gauge", "etcd_mvcc_db_total_size_in_bytes", "Database size, allocated.", space.file_bytes as f64),
            ("gauge", "etcd_mvcc_db_total_size_in_use_in_bytes", "Database size, in use.", space.in_use_bytes as f64),
            ("gauge", "etcd_debugging_mvcc_keys_total", "Total number of keys.", store.keys().count() as f64),
            ("gauge", "etcd_debugging_mvcc_current_revision", "The current revision.", store.revision() as f64),
            ("gauge", "etcd_debugging_mvcc_compact_revision", "The last compaction.", store.compact_revision() as f64),
            ("gauge", "etcd_debugging_mvcc_watcher_total", "Total number of watchers.", member.hub.ids().count() as f64),
        ]
    })
}

/// What has happened so far.
#[rustfmt::skip]
fn of_log(log: &Log) -> Vec<Metric> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    vec![
        ("counter", "etcd_server_leader_changes_seen_total", "Leader changes seen.", count(&log.leader_changes)),
        ("counter", "etcd_mvcc_put_total", "Total number of puts seen.", count(&log.puts)),
        ("counter", "etcd_mvcc_delete_total", "Total number of deletes seen.", count(&log.deletes)),
        ("counter", "etcd_debugging_lease_granted_total", "Granted leases.", count(&log.leases_granted)),
        ("counter", "etcd_debugging_lease_revoked_total", "Revoked leases.", count(&log.leases_revoked)),
        ("counter", "etcd_debugging_server_lease_expired_total", "Expired leases.", count(&log.leases_expired)),
    ]
}
