//! A part of `true-errors`, the other way round: who is told, among those that it waits for, of a key that is no contender's must
//! say so at once. Nobody waits with such a key, and nobody can tell who gives it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::kv::{KeyValue, Op, OpResponse, Range, Request, Response, Txn, TxnResponse};

use super::evidence::Ask;
use super::{Breach, Evidence};
use crate::history::What;
use crate::node::Node;
use crate::workload::operator::FOREIGN;

/// What is done at once is done within this time.
const AT_ONCE_NS: u64 = 1_000_000;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    if evidence.foreign.is_empty() {
        return None;
    }
    let mut lists: BTreeMap<u64, &Arc<Request>> = BTreeMap::new();
    for (place, step) in evidence.history.steps.iter().enumerate() {
        match (&step.node, &step.what) {
            (_, What::Sent { call, request, .. }) if is_list(request) => {
                lists.insert(*call, request);
            }
            (Node::Client(client), What::Answered { call, outcome: Ok(response) }) => {
                let Some(key) = lists.remove(call).and_then(|request| told_of(request, response)) else {
                    continue;
                };
                let mut asks =
                    evidence.asks.iter().filter(|ask| concerns(ask, *client, key, place)).peekable();
                let ends_now =
                    |ask: &Ask| ask.ended.is_some_and(|(ended, _)| ended.at_ns <= step.at_ns + AT_ONCE_NS);
                if asks.peek().is_some() && !asks.any(ends_now) {
                    let key = tenure::kv::Shown(key);
                    let detail =
                        format!("c{client} was told of {key}, which is no contender's, and waits on");
                    return Some(Breach { step: place, detail });
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether it is an ask of this client's for a lock in whose line the key is, and is open.
fn concerns(ask: &Ask, client: u32, key: &[u8], place: usize) -> bool {
    let is_in_line = key.strip_prefix(ask.name.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
    let is_open = ask.asked.step < place && ask.ended.is_none_or(|(ended, _)| ended.step > place);
    ask.client == client && is_in_line && is_open
}

/// Whether its answer tells a contender whom it waits for: a join, a list of those before, or a reader's of the writers.
fn is_list(request: &Request) -> bool {
    match request {
        Request::Txn(txn) => lines_of(txn).next().is_some() && (is_join(txn) || is_read(txn)),
        Request::Range(range) => range.key.ends_with(b"/write/") && !range.range_end.is_empty(),
        _ => false,
    }
}

fn is_join(txn: &Txn) -> bool {
    matches!(&txn.success[..], [Op::Put(_), Op::Range(_)])
}

fn is_read(txn: &Txn) -> bool {
    txn.success.iter().all(|op| matches!(op, Op::Range(_))) && txn.failure.is_empty()
}

/// The places of the lists of many keys among its operations.
fn lines_of(txn: &Txn) -> impl Iterator<Item = usize> {
    let is_line = |(place, op): (usize, &Op)| match op {
        Op::Range(Range { range_end, .. }) if !range_end.is_empty() => Some(place),
        _ => None,
    };
    txn.success.iter().enumerate().filter_map(is_line)
}

fn told_of<'r>(request: &Request, response: &'r Response) -> Option<&'r [u8]> {
    let foreign = |kvs: &'r [KeyValue]| kvs.iter().map(|kv| &*kv.key).find(|key| key.ends_with(FOREIGN));
    match (request, response) {
        (Request::Txn(txn), Response::Txn(TxnResponse { succeeded: true, responses, .. })) => lines_of(txn)
            .find_map(|place| match responses.get(place) {
                Some(OpResponse::Range(range)) => foreign(&range.kvs),
                _ => None,
            }),
        (Request::Range(_), Response::Range(range)) => foreign(&range.kvs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::kv::{Header, KeyValue, Range, RangeResponse, Request, Response};

    use crate::check::script::Script;
    use crate::history::{Failure, What};
    use crate::node::Node;

    #[test]
    fn who_is_told_of_a_foreign_key_and_waits_on_is_found() {
        let told = |refused: bool| {
            let mut script = Script::new();
            script.granted_lease(0, 0x10, 2);
            script.session(0, 0x10, 2_000);
            let foreign = KeyValue { key: b"a/write/by-hand".to_vec(), ..KeyValue::default() };
            script.puts_by_hand("a/write/by-hand");
            let waits = script.queue(0, "a", 0x10);
            let request = Arc::new(Request::Range(Range::prefix("a/write/")));
            script.record(Node::Client(0), What::Sent { call: 70, member: 0, request });
            let told = RangeResponse { header: Header::default(), kvs: vec![foreign], more: false, count: 1 };
            let outcome = Ok(Arc::new(Response::Range(told)));
            script.record(Node::Client(0), What::Answered { call: 70, outcome });
            if refused {
                script.refuse(&waits, Failure::ForeignKey { key: "a/write/by-hand".to_owned() });
            }
            script.wait(1_000_000);
            script.breach("true-errors").map(|breach| breach.detail)
        };
        assert_eq!(told(true), None);
        assert!(told(false).expect("it waits on").contains("no contender's, and waits on"));
    }
}
