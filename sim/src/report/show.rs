//! Requests, answers and events in a line each, as a timeline shows them.

use std::fmt::Write;

use tenure::kv::{
    Compare, CompareOp, CompareTarget, DeleteRange, Event, EventKind, KeyValue, Op, OpResponse, Put, Range,
    Request, Response, Shown, Txn, TxnResponse, WatchRequest, prefix_end,
};

/// How long a value may be before it is cut.
const LONGEST_VALUE: usize = 32;

pub(super) fn request(request: &Request) -> String {
    match request {
        Request::Range(one) => range(one),
        Request::Put(one) => put(one),
        Request::Delete(one) => delete(one),
        Request::Txn(one) => txn(one),
        Request::Compact { revision, .. } => format!("compact to {revision}"),
        Request::LeaseGrant { ttl_s, .. } => format!("grant a lease of {ttl_s} s"),
        Request::LeaseRevoke { id } => format!("revoke lease {}", hex(*id)),
        Request::LeaseKeepAlive { id } => format!("renew lease {}", hex(*id)),
        Request::LeaseTimeToLive { id, .. } => format!("time to live of lease {}", hex(*id)),
        Request::LeaseLeases => "list leases".into(),
        Request::Status => "status".into(),
    }
}

pub(super) fn response(response: &Response) -> String {
    match response {
        Response::Range(one) => format!("{} (revision {})", keys(&one.kvs), one.header.revision),
        Response::Put(one) => format!("put (revision {})", one.header.revision),
        Response::Delete(one) => format!("{} deleted (revision {})", one.deleted, one.header.revision),
        Response::Txn(one) => txn_response(one),
        Response::Compact { header } => format!("compacted (revision {})", header.revision),
        Response::LeaseGrant { grant, .. } => format!("lease {} of {} s", hex(grant.id), grant.ttl_s),
        Response::LeaseRevoke { header } => format!("revoked (revision {})", header.revision),
        Response::LeaseKeepAlive { ttl_s: 0, .. } => "no such lease".into(),
        Response::LeaseKeepAlive { ttl_s, .. } => format!("renewed for {ttl_s} s"),
        Response::LeaseTimeToLive { ttl_s, granted_ttl_s, .. } => {
            format!("{ttl_s} s left of {granted_ttl_s} s")
        }
        Response::LeaseLeases { ids, .. } => {
            format!("leases {}", ids.iter().map(|&id| hex(id)).collect::<Vec<_>>().join(", "))
        }
        Response::Status { version, header, .. } => {
            format!("etcd {version} at revision {}", header.revision)
        }
    }
}

pub(super) fn events(events: &[Event]) -> String {
    let shown = events.iter().map(|event| match event.kind {
        EventKind::Put => format!("put {}", key_value(&event.kv)),
        EventKind::Delete => format!("deleted {}", Shown(&event.kv.key)),
    });
    shown.collect::<Vec<_>>().join(", ")
}

pub(super) fn watch(request: &WatchRequest) -> String {
    let from = match request.start_revision {
        0 => "now".into(),
        revision => format!("revision {revision}"),
    };
    let mut text = format!("watch {} from {from}", span(&request.key, &request.range_end));
    let flags = [
        (request.prev_kv, " with former values"),
        (request.no_put, " but puts"),
        (request.no_delete, " but deletions"),
        (request.progress_notify, " with progress"),
    ];
    flags.iter().filter(|(on, _)| *on).for_each(|(_, words)| text += words);
    text
}

pub(super) fn hex(lease: i64) -> String {
    let sign = if lease < 0 { "-" } else { "" };
    format!("{sign}{:x}", lease.unsigned_abs())
}

fn txn(txn: &Txn) -> String {
    let mut text = String::new();
    if !txn.compares.is_empty() {
        let compares = txn.compares.iter().map(compare).collect::<Vec<_>>().join(" and ");
        let _ = write!(text, "if {compares} then ");
    }
    text += &ops(&txn.success);
    if !txn.failure.is_empty() {
        let _ = write!(text, " else {}", ops(&txn.failure));
    }
    text
}

fn ops(list: &[Op]) -> String {
    if list.is_empty() {
        return "nothing".into();
    }
    let shown = list.iter().map(|op| match op {
        Op::Range(one) => range(one),
        Op::Put(one) => put(one),
        Op::Delete(one) => delete(one),
        Op::Txn(one) => format!("({})", txn(one)),
    });
    shown.collect::<Vec<_>>().join("; ")
}

fn compare(compare: &Compare) -> String {
    let op = match compare.op {
        CompareOp::Equal => "=",
        CompareOp::NotEqual => "!=",
        CompareOp::Greater => ">",
        CompareOp::Less => "<",
    };
    let (target, operand) = match &compare.target {
        CompareTarget::Create(revision) => ("created", revision.to_string()),
        CompareTarget::Mod(revision) => ("modified", revision.to_string()),
        CompareTarget::Version(version) => ("version", version.to_string()),
        CompareTarget::Value(bytes) => ("value", value(bytes)),
        CompareTarget::Lease(lease) => ("lease", hex(*lease)),
    };
    format!("{target}({}) {op} {operand}", span(&compare.key, &compare.range_end))
}

fn range(range: &Range) -> String {
    let mut text = format!("get {}", span(&range.key, &range.range_end));
    if range.max_create_revision != 0 {
        let _ = write!(text, " created by {}", range.max_create_revision);
    }
    if range.limit != 0 {
        let _ = write!(text, " limit {}", range.limit);
    }
    if range.revision != 0 {
        let _ = write!(text, " at revision {}", range.revision);
    }
    if range.serializable {
        text += " (serializable)";
    }
    text
}

fn put(put: &Put) -> String {
    let mut text = format!("put {}", Shown(&put.key));
    if !put.value.is_empty() {
        let _ = write!(text, " = {}", value(&put.value));
    }
    if put.lease != 0 {
        let _ = write!(text, " with lease {}", hex(put.lease));
    }
    text
}

fn delete(delete: &DeleteRange) -> String {
    format!("delete {}", span(&delete.key, &delete.range_end))
}

fn txn_response(response: &TxnResponse) -> String {
    let parts = response.responses.iter().filter_map(|part| match part {
        OpResponse::Range(range) => Some(keys(&range.kvs)),
        OpResponse::Delete(delete) => Some(format!("{} deleted", delete.deleted)),
        OpResponse::Txn(txn) => Some(format!("({})", txn_response(txn))),
        OpResponse::Put(_) => None,
    });
    let mut all = vec![if response.succeeded { "then".to_owned() } else { "else".to_owned() }];
    all.extend(parts);
    format!("{} (revision {})", all.join(", "), response.header.revision)
}

fn keys(kvs: &[KeyValue]) -> String {
    match kvs {
        [] => "no key".into(),
        some => some.iter().map(key_value).collect::<Vec<_>>().join(", "),
    }
}

fn key_value(kv: &KeyValue) -> String {
    let mut text = format!("{} created {}", Shown(&kv.key), kv.create_revision);
    if kv.mod_revision != kv.create_revision {
        let _ = write!(text, " modified {}", kv.mod_revision);
    }
    if !kv.value.is_empty() {
        let _ = write!(text, " = {}", value(&kv.value));
    }
    text
}

fn span(key: &[u8], range_end: &[u8]) -> String {
    if range_end.is_empty() {
        Shown(key).to_string()
    } else if range_end == prefix_end(key) {
        format!("{}*", Shown(key))
    } else {
        format!("[{}, {})", Shown(key), Shown(range_end))
    }
}

fn value(bytes: &[u8]) -> String {
    match bytes.get(..LONGEST_VALUE) {
        Some(head) if bytes.len() > LONGEST_VALUE => format!("\"{}\"..", Shown(head)),
        _ => format!("\"{}\"", Shown(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transaction_that_joins_a_line_reads_as_it_is_meant() {
        let first = Range::prefix("jobs/a/").limit(1);
        let join = Txn::new()
            .when([Compare::create_revision("jobs/a/1f", CompareOp::Equal, 0)])
            .and_then([Op::Put(Put::new("jobs/a/1f", "").lease(0x1f)), Op::Range(first)])
            .or_else([Op::Range(Range::key("jobs/a/1f"))]);
        assert_eq!(
            request(&Request::Txn(join)),
            "if created(jobs/a/1f) = 0 then put jobs/a/1f with lease 1f; get jobs/a/* limit 1 else get jobs/a/1f"
        );
    }

    #[test]
    fn what_is_not_printable_is_escaped_and_what_is_long_is_cut() {
        let put = Put::new(b"a\0b".to_vec(), vec![b'x'; 100]);
        let text = request(&Request::Put(put));
        assert!(text.starts_with(r#"put a\x00b = "xxx"#) && text.ends_with(".."), "{text}");
        assert!(!text.contains('\0'));
    }
}
