//! The faults of a server: a profile and a seed give one round after another. The same ones give the same faults at the same
//! simulated times, whoever connects and whatever is asked.

use rand::Rng;
use serde::Serialize;

use super::options::{ChaosFlags, ServeOptions};
use crate::cluster::Round;
use crate::fault::Fault;
use crate::node::Node;
use crate::plan::Plan;
use crate::scenario::{self, BadInput, Profile, Scenario};
use crate::streams::Streams;

/// The profiles that are no scenarios.
const PROFILES: &[(&str, &str)] =
    &[("default", include_str!("profiles/default.toml")), ("swarm", include_str!("profiles/swarm.toml"))];

/// How many clients are told apart where no profile says so.
const CLIENTS: u32 = 4;

/// Draws the faults of one round after another.
#[derive(Clone, Debug)]
pub(super) struct FaultSource {
    scenario: Option<Scenario>,
    seed: u64,
    round: u64,
}

/// One fault of a plan, as it is printed.
#[derive(Serialize)]
struct Printed<'a> {
    at_ms: u64,
    for_ms: u64,
    fault: &'a Fault,
}

impl FaultSource {
    /// Faults of the profile, about these members.
    pub(super) fn of(options: &ServeOptions) -> Result<Self, BadInput> {
        let ChaosFlags { faults, seed, clients, .. } = &options.chaos;
        let scenario = match faults.as_str() {
            "none" => None,
            name => Some(Self::profile(name)?),
        };
        let scenario = scenario.map(|mut scenario| {
            scenario.profile = Profile::Fixed;
            scenario.cluster.members = options.members;
            scenario.cluster.spares = options.spares;
            scenario.cluster.election_timeout_ms = options.etcd.election_timeout;
            scenario.cluster.heartbeat_ms = options.etcd.heartbeat_interval;
            if let Some(clients) = clients {
                scenario.clients.count = *clients;
                scenario.clients.observers = 0;
            }
            scenario
        });
        Ok(Self { scenario, seed: *seed, round: 0 })
    }

    fn profile(name: &str) -> Result<Scenario, BadInput> {
        match PROFILES.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => scenario::read(&format!("{name}.toml"), name, text),
            None => scenario::find(name).map_err(|error| {
                let known = "of profiles there are none, default and swarm";
                BadInput(format!("--faults: {error}; {known}"))
            }),
        }
    }

    /// How many clients are told apart.
    pub(super) fn clients(&self) -> u32 {
        self.scenario.as_ref().map_or(CLIENTS, |scenario| scenario.clients.count + scenario.clients.observers)
    }

    /// Whether anything is ever to go wrong.
    pub(super) fn is_none(&self) -> bool {
        self.scenario.is_none()
    }

    /// The next round. What is about a client's own process or clock is left out: clients are real here.
    pub(super) fn next(&mut self) -> Round {
        let Some(scenario) = &self.scenario else { return Round::default() };
        let seed = match self.round {
            0 => self.seed,
            round => Streams::new(self.seed).stream(&format!("round-{round}")).next_u64(),
        };
        self.round += 1;
        let mut faults = Plan::draw(scenario, seed).faults;
        faults.retain(|timed| !is_of_client(&timed.fault));
        Round { lasts_ms: scenario.duration_s * 1000, faults }
    }

    /// The faults of so many rounds as lines of JSON.
    pub(super) fn printed(mut self, rounds: u32) -> Vec<String> {
        let mut began_ms = 0;
        let mut lines = Vec::new();
        for _ in 0..rounds {
            let round = self.next();
            for timed in &round.faults {
                let printed =
                    Printed { at_ms: began_ms + timed.at_ms, for_ms: timed.for_ms, fault: &timed.fault };
                lines.extend(serde_json::to_string(&printed));
            }
            began_ms += round.lasts_ms;
        }
        lines
    }
}

/// Whether a fault is about a client's own process or clock: those are real, and not the simulation's.
pub(super) fn is_of_client(fault: &Fault) -> bool {
    match fault {
        Fault::Crash { node }
        | Fault::Pause { node }
        | Fault::ClockDrift { node, .. }
        | Fault::ClockJump { node, .. } => matches!(node, Node::Client(_)),
        _ => false,
    }
}
