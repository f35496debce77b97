//! The marks of clients that use etcd itself.

use std::collections::{BTreeMap, BTreeSet};

use linkme::distributed_slice;
use tenure::kv::{Request, Response, WatchRequest};

use super::{MARKS, Mark};
use crate::check::{Evidence, Operation};
use crate::history::{CallEnd, Refused, WatchSays, What};
use crate::node::Node;

/// Whether an operation ended so.
fn any_operation(evidence: &Evidence<'_>, is: impl Fn(&Operation<'_>, usize, &CallEnd) -> bool) -> bool {
    let operations = evidence.plain.operations.values();
    operations
        .filter_map(|one| one.ended.map(|(at, end)| (one, at, end)))
        .any(|(one, at, end)| is(one, at.step, end))
}

#[distributed_slice(MARKS)]
static LOST_COMPARE_AND_SET: Mark = Mark {
    name: "a compare-and-set lost",
    seen: |evidence| {
        any_operation(evidence, |_, _, end| match end {
            CallEnd::Answered(response) => {
                matches!(&**response, Response::Txn(txn) if !txn.succeeded)
            }
            _ => false,
        })
    },
};

#[distributed_slice(MARKS)]
static COMPACTED_READ: Mark = Mark {
    name: "a read of the past was refused as compacted",
    seen: |evidence| any_operation(evidence, |_, _, end| matches!(end, CallEnd::Refused(Refused::Compacted))),
};

#[distributed_slice(MARKS)]
static LAGGING_READ: Mark =
    Mark { name: "a read was answered by a lagging member", seen: read_by_a_lagging_member };

fn read_by_a_lagging_member(evidence: &Evidence<'_>) -> bool {
    if evidence.plain.operations.is_empty() {
        return false;
    }
    let order = evidence.order();
    any_operation(evidence, |operation, _, end| match (&**operation.request, end) {
        (Request::Range(range), CallEnd::Answered(response)) if range.serializable => match &**response {
            Response::Range(read) => read.header.revision < order.newest_before(operation.called.step),
            _ => false,
        },
        _ => false,
    })
}

#[distributed_slice(MARKS)]
static APPLIED_UNKNOWN: Mark =
    Mark { name: "a write of unknown outcome was applied", seen: |evidence| unknown_write(evidence, true) };

#[distributed_slice(MARKS)]
static LOST_UNKNOWN: Mark = Mark {
    name: "a write of unknown outcome was never applied",
    seen: |evidence| unknown_write(evidence, false),
};

/// Whether there is a put of unknown outcome that was, or was not, applied.
fn unknown_write(evidence: &Evidence<'_>, applied: bool) -> bool {
    any_operation(evidence, |operation, _, end| {
        let (Request::Put(put), CallEnd::Maybe(_)) = (&**operation.request, end) else { return false };
        let mut changes = evidence.order().commits().iter().flat_map(|commit| commit.events);
        let was_applied = changes.any(|event| event.kv.key == put.key && event.kv.value == put.value);
        was_applied == applied
    })
}

#[distributed_slice(MARKS)]
static EXPIRED_LEASE: Mark = Mark {
    name: "a lease ran out and took keys with it",
    seen: |evidence| {
        evidence.history.steps.iter().any(|step| match &step.what {
            What::Committed { call: None, request, events, .. } => {
                matches!(**request, Request::LeaseRevoke { .. }) && !events.is_empty()
            }
            _ => false,
        })
    },
};

#[distributed_slice(MARKS)]
static COMPACTED_WATCH: Mark = Mark {
    name: "a watch met a compaction",
    seen: |evidence| {
        let mut said = evidence.plain.streams.values().flat_map(|stream| &stream.said);
        said.any(|(_, says)| matches!(says, WatchSays::Compacted { .. }))
    },
};

#[distributed_slice(MARKS)]
static RESUMED_WATCH: Mark =
    Mark { name: "a watch was resumed on another member", seen: resumed_on_another_member };

/// A raw watch that begins where no stream of its client was asked to begin, and that tells something: it goes on with
/// one of the same span that was at another member.
fn resumed_on_another_member(evidence: &Evidence<'_>) -> bool {
    let asked = |client: u32, request: &WatchRequest| {
        evidence.plain.streams.values().any(|stream| stream.client == client && stream.request == request)
    };
    let mut latest: BTreeMap<(u32, Apart<'_>), u32> = BTreeMap::new();
    let mut resumed = BTreeSet::new();
    for step in &evidence.history.steps {
        match (&step.what, step.node) {
            (What::WatchSent { watch, member, request }, Node::Client(client)) => {
                let before = latest.insert((client, span_of(request)), *member);
                let elsewhere = before.is_some_and(|before| before != *member);
                if elsewhere && request.start_revision > 0 && !asked(client, request) {
                    resumed.insert(*watch);
                }
            }
            (What::WatchTold { watch, events, .. }, _) if !events.is_empty() && resumed.contains(watch) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// All of a request but where it begins.
type Apart<'a> = (&'a [u8], &'a [u8], [bool; 4]);

fn span_of(request: &WatchRequest) -> Apart<'_> {
    let flags = [request.progress_notify, request.prev_kv, request.no_put, request.no_delete];
    (&request.key, &request.range_end, flags)
}
