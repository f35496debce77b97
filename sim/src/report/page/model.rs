//! What the page shows, read from a history: lanes, steps, arrows between them, bars of who owned, believed and led, and
//! what went wrong when. Plain data; the page draws it.

use std::collections::BTreeMap;

use serde::Serialize;
use tenure::kv::Shown;

use super::super::{show, timeline};
use crate::check::{Evidence, KeyLife, TenureLife, Violation};
use crate::history::{Holding, Kind, Step, What};
use crate::node::Node;

/// Everything that one page draws. Times are nanoseconds of true simulated time; steps, lanes and names are places in
/// their lists.
#[derive(Debug, Serialize)]
pub(super) struct Model {
    pub(super) end_ns: u64,
    pub(super) calm_ns: Option<u64>,
    pub(super) lanes: Vec<Lane>,
    pub(super) names: Vec<String>,
    pub(super) steps: Vec<StepRow>,
    pub(super) arrows: Vec<Arrow>,
    pub(super) bars: Vec<Bar>,
    pub(super) faults: Vec<Shade>,
    pub(super) violations: Vec<Mark>,
}

/// A row of the picture: the world, a member or a client.
#[derive(Debug, Serialize)]
pub(super) struct Lane {
    pub(super) id: String,
    pub(super) kind: &'static str,
}

/// One step of the history.
#[derive(Debug, Serialize)]
pub(super) struct StepRow {
    /// When.
    pub(super) at: u64,
    pub(super) lane: usize,
    /// What it is about: `fault`, `cluster`, `call`, `watch`, `lock`, `note`.
    pub(super) about: &'static str,
    pub(super) text: String,
    /// What belongs together: the call, watch, ask or operation that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<String>,
    /// It is bad news.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) bad: bool,
}

/// A message between a client and a member.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) sent: u64,
    pub(super) arrives: u64,
    /// `request`, `answer`, `refusal`, `watch`.
    pub(super) kind: &'static str,
    /// It never arrives.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) lost: bool,
    /// The step that tells of it.
    pub(super) step: usize,
}

/// Something that lasts, in a lane.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bar {
    pub(super) lane: usize,
    /// `owned` by the server's reckoning, `believed` by the client, `leads`, `down`, `paused`.
    pub(super) kind: &'static str,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) text: String,
    /// The lock or election.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<usize>,
    /// Several may hold it at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) shared: bool,
    /// The step that began it.
    pub(super) step: usize,
}

/// A fault while it is active.
#[derive(Debug, Serialize)]
pub(super) struct Shade {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) text: String,
    pub(super) step: usize,
}

/// Where an invariant broke.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    pub(super) step: usize,
    pub(super) invariant: String,
    pub(super) detail: String,
}

/// The lanes that a history needs: the world first, then members, then clients.
fn lanes(steps: &[Step]) -> BTreeMap<Node, usize> {
    let mut nodes: BTreeMap<Node, usize> = steps.iter().map(|step| (step.node, 0)).collect();
    nodes.insert(Node::World, 0);
    for step in steps {
        if let What::Sent { member, .. } | What::WatchSent { member, .. } = &step.what {
            nodes.insert(Node::Member(*member), 0);
        }
    }
    nodes.values_mut().enumerate().for_each(|(place, lane)| *lane = place);
    nodes
}

impl Model {
    pub(super) fn of(evidence: &Evidence<'_>, violations: &[Violation]) -> Self {
        let steps = &evidence.history.steps;
        let lanes = lanes(steps);
        let mut reader = Reader { evidence, lanes: &lanes, names: Vec::new(), bars: Vec::new() };
        reader.states(steps);
        evidence.tenures.iter().for_each(|tenure| reader.believed(tenure));
        reader.owned();
        let Reader { names, bars, .. } = reader;
        Self {
            end_ns: evidence.end_ns,
            calm_ns: evidence.calm.map(|calm| calm.at_ns),
            names,
            steps: steps.iter().map(|step| row(step, lanes[&step.node])).collect(),
            arrows: arrows(steps, &lanes),
            bars,
            faults: faults(steps, evidence.end_ns),
            violations: violations.iter().map(mark).collect(),
            lanes: lanes.into_keys().map(lane).collect(),
        }
    }
}

fn lane(node: Node) -> Lane {
    let kind = match node {
        Node::World => "world",
        Node::Member(_) => "member",
        Node::Client(_) => "client",
    };
    Lane { id: node.to_string(), kind }
}

fn mark(violation: &Violation) -> Mark {
    Mark { step: violation.step, invariant: violation.invariant.clone(), detail: violation.detail.clone() }
}

fn row(step: &Step, lane: usize) -> StepRow {
    let (about, part) = about(&step.what);
    StepRow { at: step.at_ns, lane, about, text: timeline::text(&step.what), part, bad: is_bad(&step.what) }
}

/// What a step is about, and which others it belongs to.
fn about(what: &What) -> (&'static str, Option<String>) {
    match what {
        What::FaultBegins { index, .. } | What::FaultEnds { index } => {
            ("fault", Some(format!("fault {index}")))
        }
        What::Calm | What::Started | What::Crashed | What::Paused | What::Resumed => ("fault", None),
        What::Sent { call, .. }
        | What::Network { call, .. }
        | What::Answered { call, .. }
        | What::GaveUp { call } => ("call", Some(format!("call {call}"))),
        What::WatchSent { watch, .. } | What::WatchTold { watch, .. } | What::WatchBroke { watch, .. } => {
            ("watch", Some(format!("watch {watch}")))
        }
        What::Committed { call, .. } => ("cluster", call.map(|call| format!("call {call}"))),
        What::Leads { .. } | What::SteppedDown { .. } | What::LeaseExpired { .. } => ("cluster", None),
        What::Asks { ticket, .. } | What::Granted { ticket, .. } | What::NotGranted { ticket, .. } => {
            ("lock", Some(format!("ticket {ticket}")))
        }
        What::Calls { op, .. } | What::Returned { op, .. } => ("lock", Some(format!("operation {op}"))),
        What::Own(_) => ("lock", None),
        What::Note(_) => ("note", None),
        _ => ("lock", None),
    }
}

fn is_bad(what: &What) -> bool {
    match what {
        What::Granted { believers, .. } => !believers.is_empty(),
        What::Crashed | What::WatchBroke { .. } | What::Network { .. } | What::ToldLost { .. } => true,
        What::Answered { outcome, .. } => outcome.is_err(),
        What::ResourceWrite { accepted, .. } => !accepted,
        _ => false,
    }
}

/// The messages: a request takes half of the time until its answer, since a history knows a call's ends only; an event
/// starts when its revision was committed.
fn arrows(steps: &[Step], lanes: &BTreeMap<Node, usize>) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    let mut calls: BTreeMap<u64, (usize, usize, u64, usize)> = BTreeMap::new();
    let mut watches: BTreeMap<u64, usize> = BTreeMap::new();
    let mut committed: BTreeMap<i64, u64> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        let (lane, at) = (lanes[&step.node], step.at_ns);
        let mut arrow = |from, to, sent, arrives, kind, lost| {
            arrows.push(Arrow { from, to, sent, arrives, kind, lost, step: index });
        };
        match &step.what {
            What::Committed { revision, .. } => {
                committed.insert(*revision, at);
            }
            What::Sent { call, member, .. } => {
                calls.insert(*call, (lane, lanes[&Node::Member(*member)], at, index));
            }
            What::Answered { call, outcome } => {
                if let Some((client, member, sent, _)) = calls.remove(call) {
                    let half = sent.midpoint(at);
                    let kind = if outcome.is_ok() { "answer" } else { "refusal" };
                    arrow(client, member, sent, half, "request", false);
                    arrow(member, client, half, at, kind, false);
                }
            }
            What::Network { call, did } => {
                if let Some(&(client, member, sent, _)) = calls.get(call) {
                    match *did {
                        "request lost" => arrow(client, member, sent, at, "request", true),
                        "answer lost" => {
                            arrow(client, member, sent, sent.midpoint(at), "request", false);
                            arrow(member, client, sent.midpoint(at), at, "answer", true);
                        }
                        _ => {}
                    }
                }
            }
            What::WatchSent { watch, member, .. } => {
                let member = lanes[&Node::Member(*member)];
                watches.insert(*watch, member);
                arrow(lane, member, at, at, "watch", false);
            }
            What::WatchTold { watch, events, .. } => {
                if let Some(&member) = watches.get(watch) {
                    let newest = events.iter().map(|event| event.kv.mod_revision).max();
                    let sent = newest.and_then(|revision| committed.get(&revision)).copied().unwrap_or(at);
                    arrow(member, lane, sent, at, "watch", false);
                }
            }
            _ => {}
        }
    }
    // Whose answer never came, and of which nothing is known.
    for (client, member, sent, index) in calls.into_values() {
        if !arrows.iter().any(|arrow| arrow.sent == sent && arrow.from == client && arrow.lost) {
            arrows.push(Arrow {
                from: client,
                to: member,
                sent,
                arrives: sent,
                kind: "request",
                lost: true,
                step: index,
            });
        }
    }
    arrows.sort_by_key(|arrow| (arrow.sent, arrow.step));
    arrows
}

fn faults(steps: &[Step], end_ns: u64) -> Vec<Shade> {
    let mut shades: Vec<Shade> = Vec::new();
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    for (step, Step { at_ns, what, .. }) in steps.iter().enumerate() {
        match what {
            What::FaultBegins { index, .. } => {
                open.insert(*index, shades.len());
                let text = timeline::text(what).replacen(" begins: ", ": ", 1);
                shades.push(Shade { from: *at_ns, to: end_ns, text, step });
            }
            What::FaultEnds { index } => {
                if let Some(place) = open.remove(index) {
                    shades[place].to = *at_ns;
                }
            }
            _ => {}
        }
    }
    shades
}

/// Reads what lasts.
struct Reader<'a, 'h> {
    evidence: &'a Evidence<'h>,
    lanes: &'a BTreeMap<Node, usize>,
    names: Vec<String>,
    bars: Vec<Bar>,
}

impl Reader<'_, '_> {
    fn name(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// Who leads, is down or stands still, from when to when.
    fn states(&mut self, steps: &[Step]) {
        let mut open: BTreeMap<(usize, &'static str), usize> = BTreeMap::new();
        for (step, Step { at_ns, node, what }) in steps.iter().enumerate() {
            let lane = self.lanes[node];
            let mut end = |kind| {
                if let Some(place) = open.remove(&(lane, kind)) {
                    self.bars[place].to = *at_ns;
                }
            };
            let begins = match what {
                What::Leads { term } => Some(("leads", format!("leads in term {term}"))),
                What::Crashed => {
                    ["leads", "paused"].into_iter().for_each(&mut end);
                    Some(("down", "crashed".to_owned()))
                }
                What::Paused => Some(("paused", "stands still".to_owned())),
                What::SteppedDown { .. } => {
                    end("leads");
                    None
                }
                What::Started => {
                    end("down");
                    None
                }
                What::Resumed => {
                    end("paused");
                    None
                }
                _ => None,
            };
            if let Some((kind, text)) = begins {
                end(kind);
                open.insert((lane, kind), self.bars.len());
                let to = self.evidence.end_ns;
                self.bars.push(Bar { lane, kind, from: *at_ns, to, text, name: None, shared: false, step });
            }
        }
    }

    fn believed(&mut self, tenure: &TenureLife) {
        let Holding { client, name, kind, token, .. } = &tenure.holding;
        let ends = [tenure.releases, tenure.told_lost, tenure.crashed];
        let to = ends.into_iter().flatten().map(|end| end.at_ns).min().unwrap_or(self.evidence.end_ns);
        let Some(&lane) = self.lanes.get(&Node::Client(*client)) else { return };
        let name_at = self.name(name);
        self.bars.push(Bar {
            lane,
            kind: "believed",
            from: tenure.granted.at_ns,
            to,
            text: format!("believes that it holds the {kind} {name}, token {token}"),
            name: Some(name_at),
            shared: *kind == Kind::Read,
            step: tenure.granted.step,
        });
    }

    /// By the server's reckoning a lock is its first key's, from when that key is first until it is gone.
    fn owned(&mut self) {
        let evidence = self.evidence;
        let names: Vec<String> = self.names.clone();
        for name in names {
            let of =
                |side: &str| evidence.keys.get(format!("{name}{side}").as_bytes()).map_or(&[][..], |v| v);
            let (plain, readers, writers) = (of(""), of("/read"), of("/write"));
            self.first_of(&name, plain, &[]);
            self.first_of(&name, writers, readers);
            for reader in readers {
                self.owns(&name, reader, reader.created.at_ns, true);
            }
        }
    }

    fn first_of(&mut self, name: &str, line: &[KeyLife], others: &[KeyLife]) {
        for life in line {
            let before = line.iter().chain(others).filter(|one| one.create_revision < life.create_revision);
            let free_ns = before.map(|one| one.deleted.map_or(u64::MAX, |(_, at)| at.at_ns)).max();
            self.owns(name, life, life.created.at_ns.max(free_ns.unwrap_or(0)), false);
        }
    }

    fn owns(&mut self, name: &str, life: &KeyLife, from: u64, shared: bool) {
        let to = life.deleted.map_or(self.evidence.end_ns, |(_, at)| at.at_ns);
        let session = self.evidence.sessions.get(&life.lease);
        let lane = session.and_then(|session| self.lanes.get(&Node::Client(session.client)));
        let (Some(&lane), true) = (lane, from < to) else { return };
        let name_at = self.name(name);
        self.bars.push(Bar {
            lane,
            kind: "owned",
            from,
            to,
            text: format!(
                "owns {name} in etcd: {} created {} with lease {}",
                Shown(&life.key),
                life.create_revision,
                show::hex(life.lease)
            ),
            name: Some(name_at),
            shared,
            step: life.created.step,
        });
    }
}
