//! A run as a Chrome trace (JSON, "Trace Event Format"), which Perfetto and chrome://tracing open: a process each for
//! the cluster and for the clients, a track a node, a slice for each call, belief, term and fault.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::timeline;
use crate::check::{Evidence, Violation};
use crate::history::What;
use crate::node::Node;

/// One event of the format: times are microseconds.
#[derive(Clone, Serialize)]
struct TraceEvent {
    name: String,
    /// `i` is an instant, `b` and `e` begin and end what may overlap on its track, `M` names a track.
    ph: &'static str,
    ts: f64,
    pid: u32,
    tid: u32,
    cat: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Of an instant: whether it is its track's (`t`) or everybody's (`g`).
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    args: Map<String, Value>,
}

impl TraceEvent {
    fn new(ph: &'static str, (pid, tid): (u32, u32), at_ns: u64, name: String, cat: &'static str) -> Self {
        Self { name, ph, ts: micros(at_ns), pid, tid, cat, id: None, s: None, args: Map::new() }
    }
}

const WORLD: u32 = 1;
const MEMBERS: u32 = 2;
const CLIENTS: u32 = 3;

fn track(node: Node) -> (u32, u32) {
    match node {
        Node::World => (WORLD, 0),
        Node::Member(index) => (MEMBERS, index),
        Node::Client(index) => (CLIENTS, index),
    }
}

#[allow(clippy::cast_precision_loss, reason = "the format's times are fractions of microseconds")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Makes the trace: one JSON document.
pub fn trace(evidence: &Evidence<'_>, violations: &[Violation]) -> Value {
    let mut tracer = Tracer { evidence, events: Vec::new(), open: BTreeMap::new() };
    tracer.names();
    tracer.steps();
    tracer.beliefs();
    for violation in violations {
        let step = &evidence.history.steps[violation.step];
        let text = format!("VIOLATION of {}: {}", violation.invariant, violation.detail);
        tracer.instant(step.node, step.at_ns, text, "violation", "g");
    }
    json!({ "traceEvents": tracer.events, "displayTimeUnit": "ms" })
}

/// A slice that has begun: where it is in the list of events.
type Key = (Node, &'static str, u64);

struct Tracer<'a, 'h> {
    evidence: &'a Evidence<'h>,
    events: Vec<TraceEvent>,
    open: BTreeMap<Key, usize>,
}

impl Tracer<'_, '_> {
    fn names(&mut self) {
        let nodes: std::collections::BTreeSet<Node> =
            self.evidence.history.steps.iter().map(|step| step.node).collect();
        for (pid, name) in [(WORLD, "faults"), (MEMBERS, "members"), (CLIENTS, "clients")] {
            self.named("process_name", (pid, 0), name.to_owned());
        }
        for node in nodes {
            self.named("thread_name", track(node), node.to_string());
        }
    }

    fn named(&mut self, what: &str, track: (u32, u32), name: String) {
        let mut event = TraceEvent::new("M", track, 0, what.to_owned(), "");
        event.args.insert("name".to_owned(), name.into());
        self.events.push(event);
    }

    fn instant(&mut self, node: Node, at_ns: u64, name: String, cat: &'static str, scope: &'static str) {
        let event = TraceEvent::new("i", track(node), at_ns, name, cat);
        self.events.push(TraceEvent { s: Some(scope), ..event });
    }

    /// Begins what may overlap with others of its track.
    fn begin(&mut self, key: Key, at_ns: u64, name: String) {
        let (node, cat, number) = key;
        self.open.insert(key, self.events.len());
        let event = TraceEvent::new("b", track(node), at_ns, name, cat);
        self.events.push(TraceEvent { id: Some(format!("{cat} {node} {number}")), ..event });
    }

    fn end(&mut self, key: Key, at_ns: u64, how: Option<String>) {
        let Some(begun) = self.open.remove(&key) else { return };
        let begun = &mut self.events[begun];
        let event = TraceEvent { ph: "e", ts: micros(at_ns), ..begun.clone() };
        if let Some(how) = how {
            begun.args.insert("end".to_owned(), how.into());
        }
        self.events.push(event);
    }

    fn steps(&mut self) {
        let evidence = self.evidence;
        for step in &evidence.history.steps {
            let (node, at_ns, text) = (step.node, step.at_ns, timeline::text(&step.what));
            match &step.what {
                What::Sent { call, .. } => self.begin((node, "call", *call), at_ns, text),
                What::Answered { call, .. } | What::GaveUp { call } => {
                    self.end((node, "call", *call), at_ns, Some(text));
                }
                What::FaultBegins { index, .. } => {
                    self.begin((Node::World, "fault", *index as u64), at_ns, text);
                }
                What::FaultEnds { index } => self.end((Node::World, "fault", *index as u64), at_ns, None),
                What::Leads { .. } => self.begin((node, "term", 0), at_ns, text),
                What::SteppedDown { .. } => self.end((node, "term", 0), at_ns, None),
                What::Crashed => {
                    self.end((node, "term", 0), at_ns, Some(text.clone()));
                    self.begin((node, "down", 0), at_ns, text);
                }
                What::Started => self.end((node, "down", 0), at_ns, None),
                What::Paused => self.begin((node, "paused", 0), at_ns, text),
                What::Resumed => self.end((node, "paused", 0), at_ns, None),
                _ => self.instant(node, at_ns, text, "step", "t"),
            }
        }
        let rest: Vec<Key> = self.open.keys().copied().collect();
        for key in rest {
            self.end(key, evidence.end_ns, Some("the run ended".to_owned()));
        }
    }

    fn beliefs(&mut self) {
        let evidence = self.evidence;
        for (index, tenure) in evidence.tenures.iter().enumerate() {
            let node = Node::Client(tenure.holding.client);
            let ends = [tenure.releases, tenure.told_lost, tenure.crashed];
            let to = ends.into_iter().flatten().map(|end| end.at_ns).min().unwrap_or(evidence.end_ns);
            let holding = &tenure.holding;
            let name = format!("believes: {} {} (token {})", holding.kind, holding.name, holding.token);
            let key = (node, "belief", index as u64);
            self.begin(key, tenure.granted.at_ns, name);
            self.end(key, to, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Plan;
    use crate::run::{evidence, execute};
    use crate::scenario;

    #[test]
    fn every_slice_that_begins_ends_and_beliefs_are_slices() {
        let plan = Arc::new(Plan::draw(&scenario::find("mutex").expect("built in"), 3));
        let run = execute(&plan, None).expect("runs");
        let trace = trace(&evidence(&plan, &run), &[]);
        let events = trace["traceEvents"].as_array().expect("a list");
        let count = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
        assert!(count("b") > 0);
        assert_eq!(count("b"), count("e"));
        let belief = events.iter().find(|event| event["cat"] == "belief").expect("a belief");
        assert!(belief["name"].as_str().expect("text").starts_with("believes: mutex jobs/"));
    }
}
