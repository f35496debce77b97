//! Who a violation is about: found from its step and from what its detail names.

use std::collections::BTreeSet;

use tenure::kv::Shown;

use crate::check::{Ask, Evidence, Violation};
use crate::history::{Deed, Holding, What};
use crate::node::Node;

/// The clients, leases, names and keys that a violation is about.
#[derive(Debug, Default)]
pub(super) struct Cast {
    pub(super) clients: BTreeSet<u32>,
    pub(super) leases: BTreeSet<i64>,
    pub(super) names: BTreeSet<String>,
    /// The tenures that it is about, by their tokens.
    pub(super) tokens: BTreeSet<i64>,
    pub(super) keys: BTreeSet<Vec<u8>>,
    /// Operations of clients that use etcd itself.
    pub(super) operations: BTreeSet<u64>,
    pub(super) streams: BTreeSet<u64>,
    pub(super) observers: BTreeSet<u64>,
    /// Before this step nothing but faults matters.
    pub(super) since: usize,
}

impl Cast {
    pub(super) fn of(evidence: &Evidence<'_>, violation: &Violation) -> Self {
        let mut cast = Self::default();
        if let Some(step) = evidence.history.steps.get(violation.step) {
            cast.heed_step(evidence, &step.what);
        }
        cast.heed_detail(evidence, &violation.detail);
        cast.heed_own_events(evidence);
        cast.complete(evidence);
        if !cast.uses_etcd_itself() {
            cast.begin(evidence);
        }
        cast
    }

    fn holding(&mut self, holding: &Holding) {
        self.clients.insert(holding.client);
        self.leases.insert(holding.lease);
        self.names.insert(holding.name.to_string());
        self.tokens.insert(holding.token);
    }

    fn heed_step(&mut self, evidence: &Evidence<'_>, what: &What) {
        match what {
            What::Granted { holding, believers, .. } => {
                self.holding(holding);
                believers.iter().filter(|other| other.name == holding.name).for_each(|one| self.holding(one));
            }
            What::ResourceWrite { holding, .. }
            | What::Releases { holding, .. }
            | What::Released { holding, .. }
            | What::ToldLost { holding, .. } => self.holding(holding),
            What::Did { deed, .. } | What::Does { deed, .. } => {
                if let Some(deed) = evidence.deed(*deed) {
                    self.clients.insert(deed.client);
                    if let Some(holding) = deed.what.tenure() {
                        self.holding(holding);
                    } else if let Deed::Leader { name, .. } = deed.what {
                        self.names.insert(name.to_string());
                    }
                }
            }
            What::NotGranted { ticket, .. } => {
                if let Some(ask) = evidence.asks.iter().find(|ask| ask.ticket == *ticket) {
                    self.clients.insert(ask.client);
                    self.leases.insert(ask.lease);
                    self.names.insert(ask.name.to_string());
                }
            }
            What::Returned { op, .. } => {
                self.operations.insert(*op);
            }
            What::StreamSaid { stream, .. } => {
                self.streams.insert(*stream);
            }
            What::Observed { name, observer, .. } => {
                self.names.insert(name.to_string());
                self.observers.insert(*observer);
            }
            What::LeaseExpired { lease } | What::SessionEnded { lease, .. } => {
                self.leases.insert(*lease);
            }
            _ => {}
        }
    }

    /// Which of a test's own clients matter, only the test knows: all that tell of events.
    fn heed_own_events(&mut self, evidence: &Evidence<'_>) {
        for step in &evidence.history.steps {
            if let (Node::Client(client), What::Own(_)) = (step.node, &step.what) {
                self.clients.insert(client);
            }
        }
    }

    /// Clients are named `c1`, locks are quoted, and behind a word there is a number.
    fn heed_detail(&mut self, evidence: &Evidence<'_>, detail: &str) {
        for (index, part) in detail.split('"').enumerate() {
            if index % 2 == 1 {
                self.names.insert(part.to_owned());
                continue;
            }
            let words: Vec<&str> = part
                .split_whitespace()
                .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
                .map(|word| word.strip_suffix("'s").unwrap_or(word))
                .collect();
            for (place, word) in words.iter().enumerate() {
                if let Ok(Node::Client(client)) = Node::try_from((*word).to_owned()) {
                    self.clients.insert(client);
                }
                let before = place.checked_sub(1).and_then(|before| words.get(before)).copied().unwrap_or("");
                self.numbered(evidence, before, word);
                let shown = |key: &[u8]| Shown(key).to_string() == *word;
                let keys = evidence.keys.values().flatten().filter(|life| shown(&life.key));
                self.keys.extend(keys.map(|life| life.key.clone()));
            }
        }
    }

    fn numbered(&mut self, evidence: &Evidence<'_>, what: &str, number: &str) {
        if what == "lease" {
            self.leases.extend(i64::from_str_radix(number, 16));
        }
        let Ok(number) = number.parse::<u64>() else { return };
        match what {
            "operation" => {
                self.operations.insert(number);
            }
            "stream" => {
                self.streams.insert(number);
            }
            "observer" => {
                self.observers.insert(number);
            }
            "token" | "tenure" | "revision" | "created" => {
                let lives = evidence.keys.values().flatten();
                let created = lives.filter(|life| life.create_revision.cast_unsigned() == number);
                for life in created {
                    self.keys.insert(life.key.clone());
                    self.leases.insert(life.lease);
                    self.tokens.insert(life.create_revision);
                }
                let held = evidence.tenures.iter().map(|tenure| &tenure.holding);
                held.filter(|one| one.token.cast_unsigned() == number).for_each(|one| self.holding(one));
            }
            _ => {}
        }
    }

    /// Whose the keys and leases are, and which of a client's leases were about this name.
    fn complete(&mut self, evidence: &Evidence<'_>) {
        self.leases.remove(&0);
        for life in evidence.keys.values().flatten() {
            if self.keys.contains(&life.key) && life.lease != 0 {
                self.leases.insert(life.lease);
            }
        }
        for ask in &evidence.asks {
            if self.clients.contains(&ask.client) && self.names.contains(&*ask.name) {
                self.leases.insert(ask.lease);
            }
        }
        for lease in &self.leases {
            if let Some(session) = evidence.sessions.get(lease) {
                self.clients.insert(session.client);
            }
        }
        for operation in &self.operations {
            if let Some(operation) = evidence.plain.operations.get(operation) {
                self.clients.insert(operation.client);
            }
        }
        for stream in &self.streams {
            if let Some(stream) = evidence.plain.streams.get(stream) {
                self.clients.insert(stream.client);
            }
        }
    }

    /// Where it begins: where the first of its tenures was asked for.
    fn begin(&mut self, evidence: &Evidence<'_>) {
        let granted = |ask: &&Ask| {
            let at = ask.ended.map(|(moment, _)| moment);
            evidence.tenures.iter().any(|tenure| {
                Some(tenure.granted) == at
                    && self.tokens.contains(&tenure.holding.token)
                    && tenure.holding.name == ask.name
            })
        };
        let asked = evidence.asks.iter().filter(granted).map(|ask| ask.asked.step);
        let in_line = evidence.keys.values().flatten().filter(|life| self.keys.contains(&life.key));
        let created = in_line.map(|life| life.created.step);
        self.since = asked.chain(created).min().unwrap_or(0);
    }

    /// Whether a key is of the cast: itself, its lease, or one in a line of its names.
    pub(super) fn has_key(&self, key: &[u8], lease: i64) -> bool {
        let in_line =
            |name: &String| key.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'));
        self.keys.contains(key) || self.leases.contains(&lease) || self.names.iter().any(in_line)
    }

    /// Whether it is only about clients that use etcd itself.
    pub(super) fn uses_etcd_itself(&self) -> bool {
        self.names.is_empty()
    }
}
