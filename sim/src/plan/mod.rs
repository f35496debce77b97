//! The plan of one run: everything that is decided beforehand. A seed makes it from a scenario; the run then executes the
//! plan and nothing but the plan, so that a plan that was written down, or made smaller, runs without the scenario.

mod barriers;
mod core;
mod draw;
mod faults;
mod operations;
mod own;
mod plain;
mod recipes;
mod swarm;
mod transactions;

use serde::{Deserialize, Serialize};

pub use own::{OwnClient, OwnRole, OwnSpec};

use crate::fault::{Fault, Lasting, TimedFault};
use crate::scenario::{ClusterSpec, Scenario};
use crate::streams::Streams;
use crate::workload::plain::program::{PlainOperation, PlainWatch};
use crate::workload::program::Operation;
use crate::workload::recipes::program::RecipeOperation;

/// What happens in one run, apart from what its network draws by the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed that the plan was made from; the network draws from it too.
    pub seed: u64,
    /// How long the run is.
    pub duration_ms: u64,
    /// When all faults are healed but those that last longer.
    pub calm_at_ms: u64,
    /// When clients stop asking for more.
    pub drain_at_ms: u64,
    /// Once calm, every ask is answered within this time.
    pub progress_ms: u64,
    /// The cluster.
    pub cluster: ClusterSpec,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// The faults, in order of their beginnings.
    pub faults: Vec<TimedFault>,
}

/// One client of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// How far its clock is ahead when the run starts.
    pub clock_offset_ms: u64,
    /// How fast (above 0) or slow (below 0) its clock runs, in millionths.
    pub drift_ppm: i64,
    /// The clock drift that its sessions allow for, in millionths.
    pub drift_bound_ppm: u32,
    /// Its sessions, side by side.
    pub lanes: Vec<LanePlan>,
    /// The election that it observes, if it is an observer.
    pub observing: Option<ObservingPlan>,
    /// Its watches: each list one after another, the lists side by side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watchers: Vec<Vec<PlainWatch>>,
    /// Code of a test's own that it runs, if it is a process of a [`crate::Simulation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnClient>,
}

/// One session of a client and its program, or a program that uses etcd itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanePlan {
    /// The session's time to live.
    pub ttl_s: u64,
    /// The program of its client, one before it, whose session it uses instead of one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<u32>,
    /// What is done with it, in order.
    pub operations: Vec<Operation>,
    /// What is done without a session, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plain: Vec<PlainOperation>,
    /// What is done with recipes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipes: Vec<RecipeOperation>,
}

/// What an observer does: it observes, begins anew, and so on; the last time to the run's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservingPlan {
    /// The election.
    pub name: String,
    /// How long each time but the last.
    pub for_ms: Vec<u64>,
}

impl Plan {
    /// Makes the plan of a seed.
    pub fn draw(scenario: &Scenario, seed: u64) -> Self {
        let streams = Streams::new(seed);
        let scenario = &*swarm::draw(scenario, &streams);
        let mut faults = faults::draw(scenario, &mut streams.stream("fault"));
        let lasting = core::draw(scenario, &mut streams.stream("core"));
        // Who is outside for good must not be needed for a majority, nor stand in the way of a change of membership.
        faults.retain(|timed| {
            let changes = matches!(timed.fault, Fault::MemberAdd { .. } | Fault::MemberRemove { .. });
            !changes || lasting.is_empty() && is_possible(&timed.fault, &scenario.cluster)
        });
        faults.extend(lasting);
        faults.sort_by_key(|timed| timed.at_ms);
        Self::of(scenario, seed, operations::draw(scenario, &streams), faults)
    }

    /// The plan of these clients and faults, with the scenario's cluster and times.
    fn of(scenario: &Scenario, seed: u64, clients: Vec<ClientPlan>, faults: Vec<TimedFault>) -> Self {
        Self {
            seed,
            duration_ms: scenario.duration_s * 1000,
            calm_at_ms: scenario.calm_at_ms(),
            drain_at_ms: scenario.drain_at_ms(),
            progress_ms: scenario.progress_s * 1000,
            cluster: scenario.cluster.clone(),
            clients,
            faults,
        }
    }

    /// What does not heal when the calm begins: the faults that last longer, each about one node.
    pub fn lasting(&self) -> Lasting {
        let mut lasting = Lasting::default();
        for (index, timed) in self.faults.iter().enumerate() {
            if timed.at_ms <= self.calm_at_ms && timed.at_ms + timed.for_ms > self.calm_at_ms {
                lasting.nodes.extend(timed.fault.subject());
                lasting.faults.insert(index);
            }
        }
        lasting
    }

    /// Whether its clients take no tenures: they use etcd itself, or recipes.
    pub fn is_without_tenures(&self) -> bool {
        let mut lanes = self.clients.iter().flat_map(|client| &client.lanes);
        lanes.any(|lane| !lane.plain.is_empty() || !lane.recipes.is_empty())
    }
}

/// Whether there is a server to add, or more than one member to remove one of.
fn is_possible(change: &Fault, cluster: &ClusterSpec) -> bool {
    match change {
        Fault::MemberAdd { .. } => cluster.spares > 0,
        _ => cluster.members > 1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::node::Node;
    use crate::scenario::{self, Profile};

    fn mutex() -> Scenario {
        scenario::find("mutex").expect("built in")
    }

    #[test]
    fn a_seed_makes_the_same_plan_each_time_and_another_seed_another() {
        assert_eq!(Plan::draw(&mutex(), 7), Plan::draw(&mutex(), 7));
        assert_ne!(Plan::draw(&mutex(), 7).faults, Plan::draw(&mutex(), 8).faults);
    }

    #[test]
    fn a_plan_survives_being_written_down() {
        let plan = Plan::draw(&mutex(), 3);
        let json = serde_json::to_string(&plan).expect("serialises");
        assert_eq!(serde_json::from_str::<Plan>(&json).expect("reads"), plan);
    }

    #[test]
    fn every_fault_is_healed_before_the_calm_under_the_fixed_profile() {
        let fixed = Scenario { profile: Profile::Fixed, ..mutex() };
        for seed in 0..200 {
            let plan = Plan::draw(&fixed, seed);
            for fault in &plan.faults {
                assert!(fault.at_ms + fault.for_ms <= plan.calm_at_ms, "seed {seed}: {fault:?}");
            }
            assert_eq!(plan.cluster, fixed.cluster);
            assert_eq!(plan.clients.len(), fixed.clients.count as usize);
        }
    }

    #[test]
    fn what_lasts_leaves_a_majority_of_the_members_and_a_client_that_works() {
        let scenario = scenario::find("election").expect("built in");
        let mut cores = 0;
        for seed in 0..300 {
            let plan = Plan::draw(&scenario, seed);
            let lasting = plan.lasting();
            cores += usize::from(!lasting.faults.is_empty());
            let members = lasting.nodes.iter().filter(|node| matches!(node, Node::Member(_))).count();
            assert!(members * 2 < plan.cluster.members as usize, "seed {seed}: {lasting:?}");
            let works = plan.clients.iter().enumerate().any(|(index, client)| {
                !client.lanes.is_empty() && !lasting.nodes.contains(&Node::Client(index as u32))
            });
            assert!(works, "seed {seed}: {lasting:?}");
        }
        assert!((90..=160).contains(&cores), "{cores} of 300");
    }

    #[test]
    fn the_swarm_draws_every_size_and_stays_within_its_bounds() {
        let (mut members, mut clients, mut lines) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut at_the_bound = 0;
        for seed in 0..600 {
            let plan = Plan::draw(&mutex(), seed);
            members.insert(plan.cluster.members);
            clients.insert(plan.clients.len());
            lines.insert(plan.cluster.version[..3].to_owned());
            assert!(plan.cluster.election_timeout_ms >= 5 * plan.cluster.heartbeat_ms);
            assert!(
                plan.progress_ms <= plan.duration_ms - plan.calm_at_ms && plan.drain_at_ms >= plan.calm_at_ms
            );
            for client in &plan.clients {
                let most = i64::from(client.drift_bound_ppm) / 2;
                assert!(client.drift_ppm.abs() <= most, "seed {seed}");
                at_the_bound += usize::from(client.drift_ppm.abs() == most);
            }
        }
        assert_eq!(members, [1, 3, 5].into());
        assert_eq!(clients, (1..=12).collect());
        assert_eq!(lines.len(), 4);
        assert!(at_the_bound > 100, "{at_the_bound}");
    }

    #[test]
    fn a_draw_more_of_one_thing_shifts_no_other() {
        let more_names = {
            let mut scenario = mutex();
            scenario.workload.names = 7;
            scenario
        };
        for seed in 0..50 {
            let (one, other) = (Plan::draw(&mutex(), seed), Plan::draw(&more_names, seed));
            assert_eq!((&one.cluster, one.clients.len()), (&other.cluster, other.clients.len()));
        }
    }

    #[test]
    fn every_weighed_fault_comes_up_and_none_that_is_off() {
        let scenario = mutex();
        let drawn: BTreeSet<_> = (0..300)
            .flat_map(|seed| Plan::draw(&scenario, seed).faults)
            .map(|timed| timed.fault.name())
            .collect();
        let weighed = scenario.faults.weights.iter().filter(|(_, weight)| **weight > 0.0);
        assert_eq!(drawn, weighed.map(|(name, _)| name.as_str()).collect());
    }

    #[test]
    fn seeds_draw_different_subsets_of_faults() {
        let scenario = mutex();
        let subsets: BTreeSet<BTreeSet<_>> = (0..50)
            .map(|seed| Plan::draw(&scenario, seed).faults.iter().map(|timed| timed.fault.name()).collect())
            .collect();
        assert!(subsets.len() > 30, "{}", subsets.len());
    }

    #[test]
    fn clocks_stay_within_the_scenarios_drift() {
        let scenario = Scenario { profile: Profile::Fixed, ..mutex() };
        let most = i64::try_from(scenario.clients.drift_ppm).expect("small");
        for seed in 0..100 {
            let plan = Plan::draw(&scenario, seed);
            assert!(plan.clients.iter().all(|client| client.drift_ppm.abs() <= most));
            for timed in &plan.faults {
                if let crate::fault::Fault::ClockDrift { ppm, node } = timed.fault {
                    assert!(ppm.abs() <= most && node != Node::World);
                }
            }
        }
    }
}
