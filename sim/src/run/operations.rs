//! What clients did in a run, by kind and outcome: what a green verdict stands on, counted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tenure::kv::Request;

use crate::check::Evidence;
use crate::history::{CallEnd, Came, Deed, DeedEnd, Departed, Failure, RecipeEnd, What};

/// For each kind of operation how often it came to which end.
pub type Operations = BTreeMap<Cow<'static, str>, BTreeMap<Cow<'static, str>, u64>>;

/// Of what has not come to an end.
const OPEN: &str = "open at the end";

/// What clients asked for, did and called in a history.
pub(super) fn operations(evidence: &Evidence<'_>) -> Operations {
    let mut operations = Operations::new();
    let mut add = |kind: &'static str, end: &'static str| {
        *operations.entry(kind.into()).or_default().entry(end.into()).or_default() += 1;
    };
    let mut asked: BTreeMap<u64, &'static str> = BTreeMap::new();
    for step in &evidence.history.steps {
        match &step.what {
            What::Asks { ticket, how, .. } => {
                asked.insert(*ticket, how);
            }
            What::Granted { ticket, .. } => add(asked.remove(ticket).unwrap_or("ask"), "granted"),
            What::NotGranted { ticket, why } => {
                add(asked.remove(ticket).unwrap_or("ask"), failure(why));
            }
            What::Released { error, .. } => add("release", error.as_ref().map_or("done", failure)),
            _ => {}
        }
    }
    asked.into_values().for_each(|how| add(how, OPEN));
    for deed in &evidence.deeds {
        add(deed_kind(deed.what), deed.ended.map_or(OPEN, |(_, end)| deed_end(end)));
    }
    for operation in evidence.plain.operations.values() {
        add(request(operation.request), operation.ended.map_or(OPEN, |(_, end)| call_end(end)));
    }
    for stream in evidence.plain.streams.values() {
        add("watch", if stream.closed.is_some() { "closed" } else { OPEN });
    }
    operations
}

/// Adds another seed's.
pub(super) fn add_up(sum: &mut Operations, other: Operations) {
    for (kind, ends) in other {
        let known = sum.entry(kind).or_default();
        for (end, count) in ends {
            *known.entry(end).or_default() += count;
        }
    }
}

fn failure(failure: &Failure) -> &'static str {
    match failure {
        Failure::Cancelled => "cancelled",
        Failure::HeldByAnother => "held by another",
        Failure::Invalid(_) => "invalid",
        Failure::SessionLost => "session lost",
        Failure::NotOpened(_) => "not opened",
        Failure::NotHeld => "not held",
        Failure::Timeout => "timed out",
        Failure::InUse => "in use",
        Failure::ForeignKey { .. } => "foreign key",
        Failure::NotLocked => "not locked",
        Failure::Refused(_) => "refused",
        Failure::Unavailable(_) => "unavailable",
        Failure::Maybe(_) => "outcome unknown",
        Failure::Unknown(_) => "failed",
        Failure::BarrierHeld => "held already",
        Failure::BarrierFull => "full",
        Failure::BarrierBroken => "broken",
    }
}

fn deed_kind(deed: &Deed) -> &'static str {
    match deed {
        Deed::Txn { .. } => "guarded transaction",
        Deed::Proclaim { .. } => "proclamation",
        Deed::Confirm { .. } => "confirmation",
        Deed::Resign { .. } => "resignation, given up",
        Deed::Leader { .. } => "question for the leader",
        Deed::OpenSession { .. } => "opening of a session",
        Deed::CloseSession { .. } => "closing of a session",
        Deed::Operator { .. } => "interference by hand",
        Deed::Recipe { what, .. } => what.kind(),
    }
}

fn deed_end(end: &DeedEnd) -> &'static str {
    match end {
        DeedEnd::Committed { .. } => "committed",
        DeedEnd::Done => "done",
        DeedEnd::Confirmed(true) => "held",
        DeedEnd::Confirmed(false) => "not held",
        DeedEnd::Leads(Some(_)) => "somebody leads",
        DeedEnd::Leads(None) => "nobody leads",
        DeedEnd::Failed(why) => failure(why),
        DeedEnd::Recipe(RecipeEnd::Items(items)) if items.is_empty() => "nothing there",
        DeedEnd::Recipe(RecipeEnd::Items(_)) => "given",
        DeedEnd::Recipe(RecipeEnd::Claimed { .. }) => "claimed",
        DeedEnd::Recipe(RecipeEnd::Transacted { came, .. }) => match came {
            Came::Committed { .. } => "committed",
            Came::Conflict => "conflict",
            Came::Aborted => "given up",
        },
        DeedEnd::Recipe(RecipeEnd::Counted(_)) => "counted",
        DeedEnd::Recipe(RecipeEnd::Held { .. }) => "held",
        DeedEnd::Recipe(RecipeEnd::Entered { .. }) => "entered",
        DeedEnd::Recipe(RecipeEnd::Left(how)) => match how {
            Departed::Everyone => "all left",
            Departed::Crashed(_) => "some gone without leaving",
            Departed::Unknown => "all out",
        },
    }
}

fn request(request: &Request) -> &'static str {
    match request {
        Request::Range(range) if range.serializable => "serializable read",
        Request::Range(range) if range.revision > 0 => "read of the past",
        Request::Range(_) => "read",
        Request::Put(_) => "put",
        Request::Delete(_) => "delete",
        Request::Txn(_) => "transaction",
        Request::Compact { .. } => "compaction",
        Request::LeaseGrant { .. } => "lease grant",
        Request::LeaseRevoke { .. } => "lease revocation",
        Request::LeaseKeepAlive { .. } => "lease renewal",
        Request::LeaseTimeToLive { .. } | Request::LeaseLeases => "question about leases",
        Request::Status => "status",
    }
}

fn call_end(end: &CallEnd) -> &'static str {
    match end {
        CallEnd::Answered(_) => "answered",
        CallEnd::NotApplied(_) => "not applied",
        CallEnd::Maybe(_) => "outcome unknown",
        CallEnd::Refused(_) => "refused",
    }
}
