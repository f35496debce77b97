//! A part of `no-polling`: who is far back in a line is not told of each that leaves it. It watches the line only when no more than
//! a few are before it, and waits for one key until then (`src/line/wait.rs`).

use std::collections::BTreeMap;

use tenure::kv::{Event, EventKind, Op, Request, Response, WatchRequest};

use super::causes::{lives, own_line};
use super::{Breach, Evidence, KeyLife};
use crate::history::{Kind, What};
use crate::node::Node;

/// How many are before who watches the line, at most.
const NEAR: usize = 8;

/// A watch on a line of a mutex or an election.
struct LineWatch<'a> {
    name: &'a str,
    /// For whom, by the revision of its key.
    own: i64,
    /// How many of those before it that was told to have left.
    told: usize,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut watches: BTreeMap<u64, LineWatch<'_>> = BTreeMap::new();
    let mut lists: BTreeMap<u64, &str> = BTreeMap::new();
    // Up to which revision each client has read of each line: what a slow watch tells of before that is no news.
    let mut read: BTreeMap<(u32, &str), i64> = BTreeMap::new();
    for (place, step) in evidence.history.steps.iter().enumerate() {
        let Node::Client(client) = step.node else { continue };
        match &step.what {
            What::WatchSent { watch, request, .. } => {
                if let Some(name) = name_of(request) {
                    watches.insert(*watch, LineWatch { name, own: 0, told: 0 });
                }
            }
            What::Sent { call, request, .. } => {
                if let Some(name) = list_of(request) {
                    lists.insert(*call, name);
                }
            }
            What::Answered { call, outcome: Ok(response) } => {
                if let (Some(name), Response::Txn(answer)) = (lists.remove(call), &**response) {
                    read.insert((client, name), answer.header.revision);
                }
            }
            What::WatchTold { watch, events, .. } if !events.is_empty() => {
                let Some(watch) = watches.get_mut(watch) else { continue };
                let Some(own) = waits_by(evidence, client, watch.name, place) else { continue };
                if watch.own != own {
                    (watch.own, watch.told) = (own, 0);
                }
                let since = read.get(&(client, watch.name)).map_or(own, |&read| own.max(read));
                watch.told += left_before(evidence, watch, since, events);
                if watch.told > NEAR {
                    let detail = format!(
                        "c{client} waits for {:?} and was told of {} before it that have left: it is not near enough to watch all",
                        watch.name, watch.told
                    );
                    return Some(Breach { step: place, detail });
                }
            }
            _ => {}
        }
    }
    None
}

/// The name whose line is watched for who leaves it.
fn name_of(request: &WatchRequest) -> Option<&str> {
    let whole = request.no_put && !request.range_end.is_empty();
    std::str::from_utf8(&request.key).ok()?.strip_suffix('/').filter(|_| whole)
}

/// The name whose line a transaction reads.
fn list_of(request: &Request) -> Option<&str> {
    let Request::Txn(txn) = request else { return None };
    txn.success.iter().find_map(|op| match op {
        Op::Range(range) if !range.range_end.is_empty() => {
            std::str::from_utf8(&range.key).ok()?.strip_suffix('/')
        }
        _ => None,
    })
}

/// The revision of the one key with which a client waits in a line.
fn waits_by(evidence: &Evidence<'_>, client: u32, name: &str, place: usize) -> Option<i64> {
    let mut waits = evidence.asks.iter().filter(|ask| {
        let is_open = ask.asked.step < place && ask.ended.is_none_or(|(ended, _)| ended.step >= place);
        is_open
            && ask.client == client
            && *ask.name == *name
            && matches!(ask.kind, Kind::Mutex | Kind::Leader)
    });
    // Of two that wait it is not known whose a watch is.
    let (Some(ask), None) = (waits.next(), waits.next()) else { return None };
    let there =
        |life: &&KeyLife| life.created.step < place && life.deleted.is_none_or(|(_, gone)| gone.step > place);
    let own = lives(evidence, &own_line(name, Kind::Mutex)).iter().filter(there);
    own.filter(|life| life.lease == ask.lease).map(|life| life.create_revision).next()
}

/// How many of these are of keys that were before its own and left since a revision.
fn left_before(evidence: &Evidence<'_>, watch: &LineWatch<'_>, since: i64, events: &[Event]) -> usize {
    let line = lives(evidence, &own_line(watch.name, Kind::Mutex));
    let left = events.iter().filter(|event| {
        let was_before = |life: &KeyLife| {
            life.key == event.kv.key
                && life.create_revision < watch.own
                && life.deleted.is_some_and(|(revision, _)| revision == event.kv.mod_revision)
        };
        event.kind == EventKind::Delete && event.kv.mod_revision > since && line.iter().any(was_before)
    });
    left.count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::kv::{Event, EventKind, KeyValue, WatchRequest};

    use crate::check::script::Script;
    use crate::history::What;
    use crate::node::Node;

    /// A contender watches the line while so many before it leave.
    fn told_of(leave: u32) -> Option<String> {
        let mut script = Script::new();
        let before: Vec<_> =
            (1..=leave).map(|client| script.queue(client, "a", 0x10 + i64::from(client))).collect();
        script.queue(0, "a", 0x10);
        let request = Arc::new(WatchRequest { no_put: true, ..WatchRequest::prefix("a/") });
        script.record(Node::Client(0), What::WatchSent { watch: 7, member: 0, request });
        // The first revision is 1, and each key and each deletion makes one.
        for (revision, gone) in (i64::from(leave) + 3..).zip(&before) {
            script.delete(gone);
            let key = format!("a/{:x}", gone.lease).into_bytes();
            let kv = KeyValue { key, mod_revision: revision, ..KeyValue::default() };
            let events = vec![Event { kind: EventKind::Delete, kv, prev_kv: None }];
            script.record(Node::Client(0), What::WatchTold { watch: 7, kind: "events", revision, events });
        }
        script.breach("no-polling").map(|breach| breach.detail)
    }

    #[test]
    fn only_who_is_near_is_told_of_each_that_leaves() {
        assert_eq!(told_of(8), None);
        assert!(told_of(9).expect("far").contains("was told of 9 before it"));
    }
}
