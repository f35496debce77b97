//! The control service: a test asks over HTTP, in JSON, what the cluster is like, and breaks it and mends it as it likes. docs/serve.md is
//! its reference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::door::serve_http;
use super::faults::is_of_client;
use super::log::CONTROL;
use super::options::ServeOptions;
use super::place::Addresses;
use crate::cluster::{Refusal, World};
use crate::fault::Fault;
use crate::node::Node;

/// The service. Clones are the same.
#[derive(Clone)]
pub(super) struct Control {
    world: World,
    speed: f64,
    seed: u64,
    faults: String,
    addresses: Arc<Addresses>,
    begun: Arc<Mutex<Begun>>,
}

/// The faults that were begun here and have not been healed.
#[derive(Debug, Default)]
struct Begun {
    faults: BTreeMap<usize, Fault>,
    next: usize,
}

/// What is answered, or which code and words refuse it.
type Outcome = Result<Value, (StatusCode, String)>;

/// Links to cut: one, in both directions unless that is false, or as many as are listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    from: Option<Node>,
    to: Option<Node>,
    both: Option<bool>,
    links: Option<Vec<(Node, Node)>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Heal {
    fault: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Compact {
    keep: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Leader {
    to: Option<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    ms: u64,
}

/// All that is due in a step happens at once, while nobody is served.
const LONGEST_STEP_MS: u64 = 30 * 24 * 3600 * 1000;

impl Control {
    pub(super) fn new(world: World, options: &ServeOptions, addresses: Arc<Addresses>) -> Self {
        let chaos = &options.chaos;
        let (speed, seed, faults) = (chaos.speed, chaos.seed, chaos.faults.clone());
        Self { world, speed, seed, faults, addresses, begun: Arc::default() }
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        let router = Router::new()
            .route("/state", get(Self::state))
            .route("/members/{member}/{action}", post(Self::member))
            .route("/links/cut", post(Self::cut))
            .route("/faults", post(Self::fault))
            .route("/heal", post(Self::heal))
            .route("/leases/{lease}/expire", post(Self::expire))
            .route("/compact", post(Self::compact))
            .route("/leader", post(Self::leader))
            .route("/time/step", post(Self::step))
            .fallback(|| async { reply(Err((StatusCode::NOT_FOUND, "there is no such path".to_owned()))) })
            .method_not_allowed_fallback(|| async {
                let said = "GET reads the state, POST does all else".to_owned();
                reply(Err((StatusCode::METHOD_NOT_ALLOWED, said)))
            })
            .with_state(self);
        let mut connections = JoinSet::new();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve_http(stream, router.clone()));
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn state(State(this): State<Self>) -> Response {
        reply(Ok(this.seen()))
    }

    async fn member(State(this): State<Self>, Path((member, action)): Path<(String, String)>) -> Response {
        reply(this.act_on(&member, &action))
    }

    async fn cut(State(this): State<Self>, body: Bytes) -> Response {
        reply(read::<Cut>(&body).and_then(|cut| this.begin(Fault::Cut { links: links(cut)? })))
    }

    async fn fault(State(this): State<Self>, body: Bytes) -> Response {
        reply(read(&body).and_then(|fault| {
            if is_of_client(&fault) {
                return Err(
                    bad("a client's process and clock are real: stop or kill it yourself".to_owned()),
                );
            }
            this.begin(fault)
        }))
    }

    async fn heal(State(this): State<Self>, body: Bytes) -> Response {
        reply(read_or_default::<Heal>(&body).and_then(|heal| this.end(heal.fault)))
    }

    async fn expire(State(this): State<Self>, Path(lease): Path<String>) -> Response {
        reply(this.expire_lease(&lease))
    }

    async fn compact(State(this): State<Self>, body: Bytes) -> Response {
        reply(read_or_default::<Compact>(&body).map(|compact| {
            this.once(&Fault::Compact { keep: compact.keep });
            json!({})
        }))
    }

    async fn leader(State(this): State<Self>, body: Bytes) -> Response {
        reply(read_or_default::<Leader>(&body).and_then(|leader| this.move_leader(leader.to)))
    }

    async fn step(State(this): State<Self>, body: Bytes) -> Response {
        reply(read::<Step>(&body).and_then(|step| {
            if step.ms > LONGEST_STEP_MS {
                return Err(bad(format!("ms: at most {LONGEST_STEP_MS}, 30 days")));
            }
            this.world.step_ns(step.ms * 1_000_000);
            Ok(json!({"now_ms": this.world.now_ns() / 1_000_000}))
        }))
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> Value {
        let begun: Vec<Value> =
            self.begun().faults.iter().map(|(number, fault)| json!({"fault": number, "is": fault})).collect();
        let now_ms = self.world.now_ns() / 1_000_000;
        self.world.with(|core| {
            let member = |(place, member): (usize, &crate::cluster::Member)| {
                let status = member.status();
                json!({
                    "name": format!("m{place}"),
                    "id": format!("{:x}", member.id()),
                    "endpoints": self.addresses.client_urls[place],
                    "up": status.up,
                    "paused": status.paused,
                    "leads": status.leads,
                    "leader": status.leader.map(|leader| format!("m{leader}")),
                    "learner": member.is_learner(),
                    "term": status.term,
                    "applied": status.applied,
                    "revision": status.revision,
                })
            };
            let store = core.newest_store();
            let leases = store.leases().map(|(id, lease)| {
                let keys: Vec<_> = lease.keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
                json!({"id": format!("{id:x}"), "ttl_s": lease.ttl_s, "keys": keys})
            });
            json!({
                "now_ms": now_ms,
                "speed": self.speed,
                "seed": self.seed,
                "faults": self.faults,
                "leader": core.newest_leader().map(|leader| format!("m{leader}")),
                "members": core.members.iter().enumerate().map(member).collect::<Vec<_>>(),
                "clients": core.clients.len(),
                "revision": store.revision(),
                "compact_revision": store.compact_revision(),
                "no_space": store.no_space(),
                "leases": leases.collect::<Vec<_>>(),
                "begun": begun,
            })
        })
    }

    fn act_on(&self, member: &str, action: &str) -> Outcome {
        let node = Node::try_from(member.to_owned()).map_err(bad)?;
        let node = self.member_node(node)?;
        let (fault, begins) = match action {
            "pause" => (Fault::Pause { node }, true),
            "resume" => (Fault::Pause { node }, false),
            "kill" => (Fault::Crash { node }, true),
            "start" => (Fault::Crash { node }, false),
            other => {
                let said = format!("{other:?} cannot be done to a member; pause, resume, kill and start can");
                return Err((StatusCode::NOT_FOUND, said));
            }
        };
        let number =
            self.begun().faults.iter().find(|(_, known)| **known == fault).map(|(number, _)| *number);
        match (begins, number) {
            (true, None) => self.begin(fault),
            (false, Some(number)) => self.end(Some(number)),
            // It is so already, as far as this service has a hand in it.
            (true, Some(number)) => Ok(json!({"fault": number})),
            (false, None) => Ok(json!({"healed": []})),
        }
    }

    fn member_node(&self, node: Node) -> Result<Node, (StatusCode, String)> {
        let members = self.world.members().len();
        match node {
            Node::Member(member) if (member as usize) < members => Ok(node),
            _ => Err((
                StatusCode::NOT_FOUND,
                format!("there is no member {node}; there are m0 to m{}", members - 1),
            )),
        }
    }

    /// Begins a fault that lasts until it is healed.
    fn begin(&self, fault: Fault) -> Outcome {
        let mut begun = self.begun();
        let number = begun.next;
        begun.next += 1;
        self.world.inject(CONTROL + number, &fault);
        if matches!(fault, Fault::LeaderChange | Fault::Compact { .. } | Fault::ClockJump { .. }) {
            return Ok(json!({}));
        }
        begun.faults.insert(number, fault);
        Ok(json!({"fault": number}))
    }

    /// Does what has no end.
    fn once(&self, fault: &Fault) {
        let mut begun = self.begun();
        let number = begun.next;
        begun.next += 1;
        self.world.inject(CONTROL + number, fault);
    }

    /// Heals one fault that was begun here, or all.
    fn end(&self, number: Option<usize>) -> Outcome {
        let mut begun = self.begun();
        let healed = match number {
            None => std::mem::take(&mut begun.faults),
            Some(number) => match begun.faults.remove_entry(&number) {
                Some(one) => BTreeMap::from([one]),
                None => return Err((StatusCode::NOT_FOUND, format!("there is no fault {number} to heal"))),
            },
        };
        for (number, fault) in &healed {
            self.world.heal(CONTROL + number, fault);
        }
        Ok(json!({"healed": healed.into_keys().collect::<Vec<_>>()}))
    }

    fn expire_lease(&self, lease: &str) -> Outcome {
        let id = i64::from_str_radix(lease, 16).map_err(|_| {
            bad(format!("{lease:?} is no lease; leases are hexadecimal, as etcdctl prints them"))
        })?;
        match self.world.with(|core| core.expire_lease(id)) {
            Ok(true) => Ok(json!({})),
            Ok(false) => Err((StatusCode::NOT_FOUND, format!("there is no lease {lease}"))),
            Err(refusal) => Err(conflict(refusal)),
        }
    }

    fn move_leader(&self, to: Option<Node>) -> Outcome {
        let Some(to) = to else {
            self.once(&Fault::LeaderChange);
            return Ok(json!({}));
        };
        let Node::Member(to) = self.member_node(to)? else { return Ok(json!({})) };
        let handed = self.world.with(|core| {
            let leader = core.newest_leader().filter(|&leader| core.members[leader].runs());
            let leader = leader.ok_or(Refusal::NoLeader)?;
            if leader != to as usize {
                core.hand_over(leader, to as usize);
            }
            Ok(())
        });
        handed.map(|()| json!({})).map_err(conflict)
    }
}

fn links(cut: Cut) -> Result<Vec<(Node, Node)>, (StatusCode, String)> {
    match cut {
        Cut { from: Some(from), to: Some(to), both, links: None } => {
            let mut links = vec![(from, to)];
            if both.unwrap_or(true) {
                links.push((to, from));
            }
            Ok(links)
        }
        Cut { from: None, to: None, both: None, links: Some(links) } => Ok(links),
        _ => Err(bad(
            "give \"from\" and \"to\", with \"both\": false for one direction, or \"links\"".to_owned()
        )),
    }
}

fn bad(said: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, said)
}

fn conflict(_: Refusal) -> (StatusCode, String) {
    (StatusCode::CONFLICT, "there is no leader".to_owned())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body: {error}")))
}

/// No body is one that says nothing.
fn read_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    if body.is_empty() { Ok(T::default()) } else { read(body) }
}

fn reply(outcome: Outcome) -> Response {
    let (code, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err((code, said)) => (code, json!({ "error": said })),
    };
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}
