//! One round: a real cluster, a plan's clients and faults, and the history that comes of it, judged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::clients::Clients;
use super::clock::Epoch;
use super::commits::Commits;
use super::faults::{self, Faults, LONGEST_MEMBER_PAUSE_OF_TTL};
use super::merge::{Item, merge};
use super::resource::RealResource;
use crate::fault::{Fault, Outage};
use crate::history::What;
use crate::node::Node;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::real::{Cluster, ClusterOptions, RealError, ServerOptions};
use crate::report::timeline::{self, Selection};
use crate::run::{Run, SeedReport, changes, judge};
use crate::scenario::{BadInput, Profile, Scenario};

const MS: u64 = 1_000_000;

/// The invariants that a real round can be judged by: the others ask for what nobody can see of a real cluster (when a
/// request was applied, when a leader found a lease run out).
pub const JUDGED: &[&str] = &[
    "mutual-exclusion",
    "single-leader",
    "fencing",
    "fifo",
    "writer-priority",
    "observe-order",
    "floor",
    "no-residue",
];

/// How a round is made.
#[derive(Clone, Debug)]
pub struct RoundOptions {
    /// One of the vendored etcd releases.
    pub version: String,
    /// How many members: 1, 3 or 5.
    pub members: u32,
    /// The planted bug.
    pub planted: Option<&'static Planted>,
}

/// A round that was made.
#[derive(Debug)]
pub struct Round {
    /// What was done.
    pub plan: Arc<Plan>,
    /// What came of it.
    pub run: Run,
    /// How it is judged.
    pub report: SeedReport,
    /// The longest time, before the calm, in which somebody waited and nobody was granted anything.
    pub longest_without_grant: Duration,
}

impl Round {
    /// Draws the plan of a seed, of what can be done to a real cluster.
    ///
    /// # Errors
    /// If the scenario is one that cannot be played on a real cluster.
    pub fn plan(scenario: &Scenario, seed: u64, options: &RoundOptions) -> Result<Plan, BadInput> {
        if scenario.uses_recipes() {
            return Err(BadInput(format!(
                "{}: its clients use recipes, which are judged by the order of all writes, and a real cluster does not tell that; name a scenario of locks",
                scenario.name
            )));
        }
        if scenario.uses_etcd_itself() {
            return Err(BadInput(format!(
                "{}: its clients use etcd itself, and what etcd promises is judged by `tenure conform`; name a scenario of locks",
                scenario.name
            )));
        }
        let mut scenario = scenario.clone();
        scenario.profile = Profile::Fixed;
        scenario.faults.weights.retain(|name, _| faults::CAN.contains(&name.as_str()));
        // A watch tells that a key is gone, not by whose hand.
        scenario.workload.habits.remove("operator");
        let cluster = &mut scenario.cluster;
        cluster.members = options.members;
        cluster.spares = 0;
        cluster.version.clone_from(&options.version);
        // Those of `ServerOptions::fast`.
        (cluster.heartbeat_ms, cluster.election_timeout_ms) = (20, 200);
        let mut plan = Plan::draw(&scenario, seed);
        let shortest_ttl_ms =
            plan.clients.iter().flat_map(|client| &client.lanes).map(|lane| lane.ttl_s * 1000).min();
        let longest_ms = shortest_ttl_ms.unwrap_or(1000) * LONGEST_MEMBER_PAUSE_OF_TTL / 100;
        for timed in &mut plan.faults {
            match &mut timed.fault {
                Fault::Pause { node: Node::Member(_) } => timed.for_ms = timed.for_ms.min(longest_ms),
                // Members that stand still for so long are the subject of `LONGEST_MEMBER_PAUSE_OF_TTL`.
                Fault::MajorityLoss { outage, .. } => *outage = Outage::Crash,
                _ => {}
            }
        }
        Ok(plan)
    }

    /// Makes a round and judges it. Takes as long as its plan says, in real time.
    ///
    /// # Errors
    /// If servers or processes cannot be started.
    pub fn run(
        plan: Arc<Plan>,
        invariants: &[String],
        options: &RoundOptions,
        progress: impl FnMut(u64),
    ) -> Result<Self, RealError> {
        let server = ServerOptions::version(&options.version);
        let mut cluster = Cluster::start(&ClusterOptions { members: options.members as usize, server })?;
        let epoch = Epoch::now();
        let (sender, items) = channel();
        let resource = RealResource::start(epoch, &sender)?;
        let commits = Commits::watch(cluster.endpoints(), epoch)?;
        let ways = (0..plan.clients.len())
            .map(|client| cluster.ways_for_client(options.members as usize + client))
            .collect::<Result<_, _>>()?;
        let planted = options.planted.map(|planted| planted.name);
        let mut clients = Clients::new(&plan, planted, epoch, resource.address, ways, &sender);
        clients.start_all()?;
        play(&plan, &mut cluster, &mut clients, epoch, &sender, progress)?;
        // With the processes the pipes end, and with these all that holds the sender.
        drop(clients);
        let revisions = commits.end(Duration::from_secs(10))?;
        drop(resource);
        drop(sender);
        let merged = merge(all(&items), revisions);
        let run = Run { history: merged.history, panic: merged.panic, ran_away: None, events: 0 };
        let judged: Vec<String> =
            invariants.iter().filter(|name| JUDGED.contains(&name.as_str())).cloned().collect();
        let report = judge(&plan, &run, &judged);
        let longest_without_grant = longest_without_grant(&run);
        Ok(Self { plan, run, report, longest_without_grant })
    }

    /// Writes the history as text, a step a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_timeline(&self, file: &Path) -> std::io::Result<()> {
        let violations = self.report.verdict.violations();
        // Colour is for terminals.
        let mut text = anstream::StripStream::new(Vec::new());
        timeline::write(&mut text, &self.run.history, violations, &Selection::default())?;
        std::fs::write(file, text.into_inner())
    }
}

/// Everything that was told: processes are dead, so their pipes end.
fn all(items: &Receiver<Item>) -> Vec<Item> {
    // Readers of pipes hold senders until they have read to the end.
    items.iter().collect()
}

/// The plan's faults at their times, then the calm, to the end.
fn play(
    plan: &Plan,
    cluster: &mut Cluster,
    clients: &mut Clients,
    epoch: Epoch,
    items: &Sender<Item>,
    mut progress: impl FnMut(u64),
) -> Result<(), RealError> {
    let members = plan.cluster.members as usize;
    let mut leaders = Leaders::default();
    let mut faults = Faults::new(cluster, clients, members, epoch, items)?;
    let mut open: BTreeMap<usize, &Fault> = BTreeMap::new();
    let mut wait = |faults: &mut Faults<'_>, until_ns: u64| {
        while epoch.elapsed_ns() < until_ns {
            let flap_ns = faults.flap().unwrap_or(u64::MAX);
            leaders.look(faults.cluster, epoch, items);
            progress(epoch.elapsed_ns() / MS);
            epoch.wait_until_ns(until_ns.min(flap_ns).min(epoch.elapsed_ns() + LOOK_EVERY_NS));
        }
    };
    for change in changes(plan) {
        wait(&mut faults, change.at_ms * MS);
        let fault = &plan.faults[change.index].fault;
        if change.begins {
            open.insert(change.index, fault);
            faults.begin(change.index, fault)?;
        } else if open.remove(&change.index).is_some() {
            faults.end(change.index, fault)?;
        }
    }
    wait(&mut faults, plan.calm_at_ms * MS);
    for (index, fault) in std::mem::take(&mut open) {
        faults.end(index, fault)?;
    }
    faults.calm()?;
    let _ = items.send(Item::of_round(epoch.elapsed_ns(), Node::World, What::Calm));
    wait(&mut faults, plan.duration_ms * MS);
    let end = What::Note("the run ends".into());
    let _ = items.send(Item::of_round(epoch.elapsed_ns(), Node::World, end));
    Ok(())
}

/// How often it is looked who leads.
const LOOK_EVERY_NS: u64 = 100 * MS;

/// Who was last seen to lead.
#[derive(Default)]
struct Leaders {
    last: Option<usize>,
    terms: u64,
}

impl Leaders {
    fn look(&mut self, cluster: &Cluster, epoch: Epoch, items: &Sender<Item>) {
        let now = cluster.leader();
        if now == self.last {
            return;
        }
        let told = |member: usize, what| {
            let node = Node::Member(u32::try_from(member).unwrap_or(u32::MAX));
            let _ = items.send(Item::of_round(epoch.elapsed_ns(), node, what));
        };
        if let Some(old) = self.last {
            told(old, What::SteppedDown { term: self.terms });
        }
        if let Some(new) = now {
            self.terms += 1;
            told(new, What::Leads { term: self.terms });
        }
        self.last = now;
    }
}

/// The longest time before the calm in which an ask was open and none was granted.
fn longest_without_grant(run: &Run) -> Duration {
    let (mut open, mut since_ns, mut longest_ns) = (0_u64, 0, 0);
    for step in &run.history.steps {
        match &step.what {
            What::Calm => break,
            What::Asks { .. } => {
                if open == 0 {
                    since_ns = step.at_ns;
                }
                open += 1;
            }
            What::Granted { .. } | What::NotGranted { .. } => {
                open = open.saturating_sub(1);
                if matches!(step.what, What::Granted { .. }) {
                    longest_ns = longest_ns.max(step.at_ns - since_ns);
                    since_ns = step.at_ns;
                }
            }
            _ => {}
        }
    }
    Duration::from_nanos(longest_ns)
}
