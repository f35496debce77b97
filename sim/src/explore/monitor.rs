//! The invariants, watched while the world moves: what `check/` finds in a whole history, found at the step that breaks it. Only
//! what the future depends on is kept.

use std::hash::{Hash, Hasher};

use tenure::kv::{Event, EventKind, KeyValue, Shown};

use super::bounds::{CONTENDED, Does, Role};
use super::record::Record;
use super::search::LONGEST;
use super::step::Explored;
use super::world::{Lease, Life, Process, World};
use crate::history::{DeedEnd, Holding, Kind, RecipeDeed, SeenLeader, What};
use crate::node::Node;
use crate::store::Store;
use crate::workload::program::PERMITS;

/// What is known of an observer.
#[derive(Clone, Debug, Hash)]
struct Seen {
    process: u8,
    /// The place among the reigns from which it may see.
    from: usize,
    /// Whether it has seen anything.
    any: bool,
    /// What it saw last.
    last: Option<(i64, i64)>,
    said: Option<(u64, u64)>,
}

/// What is remembered of the past.
#[derive(Clone, Debug, Default)]
pub(super) struct Monitor {
    /// Whether anybody observes.
    observed: bool,
    /// Who led, in order: create and mod revision of the first key. Filled only if anybody observes.
    reigns: Vec<Option<(i64, i64)>>,
    seen: Vec<Seen>,
    /// The revisions of readers' keys that got in line while a writer was in it.
    overtook: Vec<i64>,
    /// Processes whose guarded transaction committed though they did not hold, and why.
    strayed: Vec<(u8, String)>,
    /// What was done with recipes, if anybody uses one.
    record: Option<Record>,
}

/// What broke, and how.
pub(super) struct Broken {
    pub(super) invariant: &'static str,
    pub(super) detail: String,
}

impl Broken {
    /// The run goes on and on: of those of the library none needs so many steps, however unfair it is.
    pub(super) fn goes_round() -> Self {
        let detail = format!("the run has not come to an end after {LONGEST} steps");
        Self { invariant: "progress", detail }
    }
}

fn broken(invariant: &'static str, detail: String) -> Option<Broken> {
    Some(Broken { invariant, detail })
}

fn excludes(one: Kind, other: Kind) -> bool {
    !(one == Kind::Read && other == Kind::Read)
}

/// The keys in line of a lock or election, oldest first.
fn line<'s>(store: &'s Store, name: &str) -> Vec<(i64, &'s [u8])> {
    let prefix = format!("{name}/");
    let keys = store.keys().filter(|kv| kv.key.starts_with(prefix.as_bytes()));
    let mut line: Vec<_> = keys.map(|kv| (kv.create_revision, kv.key.as_slice())).collect();
    line.sort_unstable();
    line
}

/// Whether nothing is there for who waits at a recipe.
fn is_in_vain(store: &Store, name: &str, what: &RecipeDeed) -> bool {
    let below = |prefix: &str| {
        let prefix = format!("{name}{prefix}").into_bytes();
        store.keys().filter(move |kv| kv.key.starts_with(&prefix))
    };
    match what {
        RecipeDeed::Dequeue { .. } | RecipeDeed::Claim { .. } => below("/").all(|item| {
            let claim = [b"__", name.as_bytes(), b"\0claim", &item.key[name.len()..]].concat();
            store.keys().any(|kv| kv.key == claim)
        }),
        RecipeDeed::Pass { .. } => store.keys().any(|kv| kv.key == name.as_bytes()),
        RecipeDeed::Enter { count, .. } => below("/waiters/").count() < *count as usize,
        RecipeDeed::Leave { round, .. } => below("/waiters/").any(|kv| kv.create_revision < *round),
        _ => false,
    }
}

impl Monitor {
    pub(super) fn new(roles: &[Role]) -> Self {
        Self {
            observed: roles.iter().any(|role| role.does == Does::Observe),
            reigns: vec![None],
            record: roles.iter().any(|role| role.does.is_of_recipe()).then(Record::default),
            ..Self::default()
        }
    }

    /// A step happened that may be kept.
    pub(super) fn note(&mut self, node: Node, what: &What) {
        if let Some(record) = &mut self.record {
            record.note(node, what);
        }
    }

    /// What was done with recipes, hashed.
    pub(super) fn recorded(&self) -> u128 {
        self.record.as_ref().map_or(0, Record::digest)
    }

    /// What is broken by what was done with recipes.
    pub(super) fn judge(&self, explored: &Explored) -> Option<Broken> {
        self.record.as_ref()?.judge(&explored.judged_by_record)
    }

    pub(super) fn hash(&self, into: &mut impl Hasher) {
        if self.observed {
            // What came before everybody's last observation is over.
            let from = self.seen.iter().map(|seen| seen.from).min().unwrap_or(self.reigns.len());
            self.reigns[from.saturating_sub(1).min(self.reigns.len())..].hash(into);
            for seen in &self.seen {
                (seen.process, seen.from - from.saturating_sub(1), seen.any, seen.last, seen.said).hash(into);
            }
        }
        self.overtook.hash(into);
        self.strayed.hash(into);
        self.recorded().hash(into);
    }

    /// A write was applied; `holder` is whose request it was.
    pub(super) fn wrote(&mut self, store: &Store, events: &[Event], holder: Option<(u8, Kind)>) {
        let writer_prefix = format!("{CONTENDED}/write/");
        let reader_prefix = format!("{CONTENDED}/read/");
        let mut contended = false;
        for event in events {
            let kv = &event.kv;
            contended |= kv.key.starts_with(format!("{CONTENDED}/").as_bytes());
            if event.kind == EventKind::Put
                && kv.create_revision == kv.mod_revision
                && kv.key.starts_with(reader_prefix.as_bytes())
                && store.keys().any(|kv| kv.key.starts_with(writer_prefix.as_bytes()))
            {
                self.overtook.push(kv.create_revision);
            }
            if event.kind == EventKind::Put
                && let Some(name) = kv.key.strip_prefix(b"data/")
                && let Some((process, kind)) = holder
                && let Some(why) = strays(store, &String::from_utf8_lossy(name), kind, &kv.value)
            {
                self.strayed.push((process, why));
            }
        }
        self.overtook.retain(|revision| store.keys().any(|kv| kv.create_revision == *revision));
        if self.observed && contended {
            let first = store.keys().filter(|kv| kv.key.starts_with(format!("{CONTENDED}/").as_bytes()));
            let first = first.map(|kv| (kv.create_revision, kv.mod_revision)).min();
            if self.reigns.last() != Some(&first) {
                self.reigns.push(first);
            }
        }
    }

    fn observed(&mut self, process: u8, leader: Option<&SeenLeader>) -> Option<Broken> {
        let seen = self.seen.iter_mut().find(|seen| seen.process == process)?;
        let state = leader.map(|leader| (leader.rev, leader.mod_revision));
        let shown = state.map_or("nobody leading".to_owned(), |(created, modified)| {
            format!("the leader of revision {created} as of {modified}")
        });
        let Some(ahead) = self.reigns[seen.from..].iter().position(|reign| *reign == state) else {
            let after = if seen.any { "after something newer" } else { "which was over when it began" };
            return broken("observe-order", format!("c{process} saw {shown}, {after}"));
        };
        seen.from += ahead + 1;
        seen.any = true;
        seen.last = state;
        let said = leader.and_then(|leader| {
            let (ticket, number) = std::str::from_utf8(&leader.value).ok()?.split_once('/')?;
            Some((ticket.parse().ok()?, number.parse().ok()?))
        });
        if let (Some((before, earlier)), Some((now, later))) = (seen.said, said)
            && before == now
            && later < earlier
        {
            return broken(
                "observe-order",
                format!("c{process} saw {shown} say its proclamation {later} after {earlier}"),
            );
        }
        seen.said = said;
        None
    }
}

/// Why the store says that the holder of this token did not hold.
fn strays(store: &Store, name: &str, kind: Kind, token: &[u8]) -> Option<String> {
    let token: i64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    let line = line(store, name);
    match kind {
        Kind::Read | Kind::Write | Kind::Permit => {
            line.iter().all(|(created, _)| *created != token).then(|| "its key was not there".to_owned())
        }
        Kind::Mutex | Kind::Leader => match line.first() {
            Some((created, _)) if *created == token => None,
            Some((created, _)) if *created < token => {
                Some(format!("an older key (revision {created}) was still in line"))
            }
            _ => Some("its key was gone".to_owned()),
        },
    }
}

impl World {
    /// Takes in a step of a process's program; gives what it breaks, and fills in who else believes.
    pub(super) fn watch(&mut self, process: u8, what: &mut What) -> Option<Broken> {
        match what {
            What::Granted { holding, believers, .. } => {
                let others = self.processes.iter().enumerate();
                let others = others.filter(|(other, it)| *other != process as usize && it.life == Life::Runs);
                *believers = others
                    .flat_map(|(_, it)| it.at.info.believes.iter())
                    .filter(|other| other.name == holding.name)
                    .cloned()
                    .collect();
                self.granted(holding, believers)
            }
            What::Released { holding, error: None } => {
                let left = self.store.keys().find(|kv| kv.create_revision == holding.token)?;
                let detail = format!(
                    "c{process} was told that its {} {:?} is released, but the key {} is still there",
                    holding.kind,
                    holding.name,
                    Shown(&left.key)
                );
                broken("no-residue", detail)
            }
            What::Did { end: DeedEnd::Committed { revision }, .. } => {
                let at = self.monitor.strayed.iter().position(|(strayed, _)| *strayed == process)?;
                let (_, why) = self.monitor.strayed.swap_remove(at);
                broken(
                    "fencing",
                    format!(
                        "a guarded transaction of c{process} committed at revision {revision}, but {why}"
                    ),
                )
            }
            What::Observes { .. } => {
                let from = self.monitor.reigns.len() - 1;
                self.monitor.seen.push(Seen { process, from, any: false, last: None, said: None });
                None
            }
            What::Observed { leader, .. } => self.monitor.observed(process, leader.as_ref()),
            _ => None,
        }
    }

    fn granted(&self, holding: &Holding, believers: &[Holding]) -> Option<Broken> {
        let who = format!("c{} was granted the {} (token {})", holding.client, holding.kind, holding.token);
        if holding.kind == Kind::Permit {
            return self
                .permitted(holding, believers.len())
                .and_then(|why| broken("at-most-k", format!("{who}, but {why}")));
        }
        if let Some(other) = believers.iter().find(|other| excludes(holding.kind, other.kind)) {
            let invariant = if holding.kind == Kind::Leader { "single-leader" } else { "mutual-exclusion" };
            let detail = format!(
                "{who} while c{} still believes that it holds it (token {})",
                other.client, other.token
            );
            return broken(invariant, detail);
        }
        match holding.kind {
            Kind::Mutex | Kind::Leader => {
                let line = line(&self.store, &holding.name);
                let own = line.iter().any(|(created, _)| *created == holding.token);
                let why = match line.first() {
                    Some((created, key)) if *created < holding.token => {
                        format!("the key {} (revision {created}) is before it in line", Shown(key))
                    }
                    _ if !own => "its own key is gone".to_owned(),
                    _ => return None,
                };
                broken("fifo", format!("{who}, but {why}"))
            }
            Kind::Read if self.monitor.overtook.contains(&holding.token) => {
                broken("writer-priority", format!("{who}, but a writer had been in line when it came"))
            }
            Kind::Read | Kind::Permit => None,
            Kind::Write => {
                let line = line(&self.store, &holding.name);
                let (created, key) = line.first().filter(|(created, _)| *created < holding.token)?;
                let key = Shown(key);
                broken("writer-priority", format!("{who}, but {key} (revision {created}) was still there"))
            }
        }
    }

    /// What is wrong with the grant of a permit.
    fn permitted(&self, holding: &Holding, others: usize) -> Option<String> {
        let line = line(&self.store, &holding.name);
        let older = line.iter().filter(|(created, _)| *created < holding.token).count();
        if others >= PERMITS as usize {
            Some(format!("{others} others still believe that they hold one of {PERMITS}"))
        } else if line.iter().all(|(created, _)| *created != holding.token) {
            Some("its own key is not there".to_owned())
        } else {
            (older >= PERMITS as usize).then(|| format!("{older} keys are before it in line"))
        }
    }

    /// Whether somebody holds to the end what this process waits for: then it waits so long as its session lives.
    fn waits_behind_who_keeps(&self, process: &Process, role: &Role) -> bool {
        let kept = |other: &Process| {
            other.at.info.idle && other.at.info.believes.iter().any(|it| *it.name == *role.name)
        };
        !process.lapsed && self.processes.iter().any(kept)
    }

    /// Whether a process waits for what others would have to do with a recipe, and do not, so long as its session lives.
    fn waits_for_others(&self, process: &Process, number: u32) -> bool {
        let under_way = self.monitor.record.as_ref().and_then(|record| record.under_way(number));
        !process.lapsed && under_way.is_some_and(|(name, what)| is_in_vain(&self.store, name, what))
    }

    /// What is wrong with a run that is complete: somebody waits for ever, a key is left, or an observer has not seen the end.
    pub(super) fn at_the_end(&self, explored: &Explored) -> Option<Broken> {
        let wrong = [
            self.waits_for_ever(&explored.roles),
            self.left_over(),
            self.is_behind(),
            self.monitor.judge(explored),
        ];
        wrong.into_iter().flatten().find(|broken| explored.judges(broken.invariant))
    }

    fn waits_for_ever(&self, roles: &[Role]) -> Option<Broken> {
        let (number, _) = self.processes.iter().enumerate().find(|(number, process)| {
            let info = &process.at.info;
            let observes = self.monitor.seen.iter().any(|seen| usize::from(seen.process) == *number);
            let finished = info.done
                || info.idle
                || observes
                || self.waits_behind_who_keeps(process, &roles[*number])
                || self.waits_for_others(process, *number as u32);
            process.life == Life::Runs && !finished
        })?;
        broken("progress", format!("c{number} waits for ever: nothing is under way any more"))
    }

    /// A key that nobody holds by or waits with, and that is of a lease. A fence is no residue while its session stays open.
    fn left_over(&self) -> Option<Broken> {
        let running = self.processes.iter().filter(|process| process.life == Life::Runs);
        let kept: Vec<i64> =
            running.flat_map(|process| &process.at.info.believes).map(|holding| holding.token).collect();
        let waits = |lease: &Lease| {
            let keeper = &self.processes[usize::from(lease.keeper)];
            keeper.life == Life::Runs && self.waits_for_others(keeper, lease.keeper.into())
        };
        let is_lasting = |kv: &KeyValue| {
            let lease = self.leases.iter().find(|lease| lease.id == kv.lease);
            kv.lease == 0 || kv.key.contains(&0) || lease.is_some_and(waits)
        };
        let left = self.store.keys().find(|kv| !is_lasting(kv) && !kept.contains(&kv.create_revision))?;
        broken("no-residue", format!("the key {} is left at the end", Shown(&left.key)))
    }

    fn is_behind(&self) -> Option<Broken> {
        let last = self.monitor.reigns.last()?;
        let behind = self.monitor.seen.iter().find(|seen| !seen.any || seen.last != *last)?;
        broken("observe-order", format!("c{} has not seen the last state", behind.process))
    }
}
