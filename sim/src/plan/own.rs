//! Draws the plan of a test's own clients: the cluster and the faults as for any scenario, clients that run the test's
//! code. At the end everything heals, so that a test may ask what has come of all its clients.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::draw::{drift, within};
use super::{ClientPlan, Plan, faults, is_possible, swarm};
use crate::fault::Fault;
use crate::scenario::{Profile, Scenario, Span};
use crate::streams::Streams;

/// A process of a plan that runs a test's own code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnClient {
    /// The role whose code it runs.
    pub role: String,
    /// Its name, `worker-2`. What it draws at random depends on it, not on its place in the plan.
    pub name: String,
}

/// A role that a test's processes can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRole {
    /// Its name.
    pub name: String,
    /// How many processes have it; each seed draws from this range.
    pub count: [u32; 2],
}

/// What plans of a test's own clients are drawn from.
#[derive(Clone, Debug)]
pub struct OwnSpec {
    /// Times, the cluster, clocks and faults. Its clients and their workload are not used.
    pub scenario: Scenario,
    /// Every seed has as many members as the scenario says.
    pub fixed_members: bool,
    /// Every seed has the scenario's release of etcd.
    pub fixed_version: bool,
    /// Who takes part.
    pub roles: Vec<OwnRole>,
}

impl Plan {
    /// Makes the plan of a seed for a test's own clients.
    pub fn draw_own(spec: &OwnSpec, seed: u64) -> Self {
        let streams = Streams::new(seed);
        let clients = clients(spec, &mut streams.stream("plan"));
        let scenario = drawn(spec, u32::try_from(clients.len()).unwrap_or(u32::MAX), &streams);
        let mut faults = faults::draw(&scenario, &mut streams.stream("fault"));
        faults.retain(|timed| {
            let changes = matches!(timed.fault, Fault::MemberAdd { .. } | Fault::MemberRemove { .. });
            !changes || is_possible(&timed.fault, &scenario.cluster)
        });
        Self::of(&scenario, seed, clients, faults)
    }
}

fn drawn(spec: &OwnSpec, clients: u32, streams: &Streams) -> Scenario {
    let mut drawn = spec.scenario.clone();
    if drawn.profile == Profile::Swarm {
        swarm::cluster(&mut drawn, streams);
        swarm::give_time(&mut drawn, &spec.scenario);
        if spec.fixed_members {
            drawn.cluster.members = spec.scenario.cluster.members;
        }
        if spec.fixed_version {
            drawn.cluster.version.clone_from(&spec.scenario.cluster.version);
        }
    }
    drawn.clients.count = clients;
    drawn.clients.observers = 0;
    drawn
}

fn clients(spec: &OwnSpec, rng: &mut ChaCha8Rng) -> Vec<ClientPlan> {
    let of = &spec.scenario.clients;
    let mut clients = Vec::new();
    for role in &spec.roles {
        let count: Span = role.count.map(u64::from);
        for number in 1..=within(rng, count) {
            clients.push(ClientPlan {
                clock_offset_ms: within(rng, [0, of.clock_offset_ms]),
                drift_ppm: drift(rng, of.drift_ppm),
                drift_bound_ppm: u32::try_from(of.drift_bound_ppm).unwrap_or(u32::MAX),
                lanes: Vec::new(),
                observing: None,
                watchers: Vec::new(),
                own: Some(OwnClient { role: role.name.clone(), name: format!("{}-{number}", role.name) }),
            });
        }
    }
    clients
}
