//! Steps and replies as text, short enough to stand side by side. Revisions are shown relative to the script's start.

use tenure::kv::{
    Compare, CompareOp, CompareTarget, DeleteRange, Event, EventKind, KeyValue, Op, OpResponse, Put, Range,
    Request, Response, Shown, SortOrder, SortTarget, Txn, TxnResponse, WatchRequest, WatchResponse,
};
use tenure::wire::Status;

use super::script::{PICKED_LEASE, Step};

/// A script as it was made, its revisions still relative to their marks.
pub(super) fn steps(script: &[Step]) -> String {
    let show = Show { start: 0 };
    let lines = script.iter().enumerate().map(|(index, step)| {
        let step = match step {
            Step::Call(request) => show.request(request),
            Step::Watch(watch) => show.watch(watch),
            Step::Expire { key } => format!("put {} with a lease of one second, and wait", bytes(key)),
        };
        format!("{:2}. {step}\n", index + 1)
    });
    lines.collect()
}

/// Shows what belongs to a script that began at this revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Show {
    pub(super) start: i64,
}

/// Values longer than this are shown by their length.
const LONG: usize = 40;

fn bytes(bytes: &[u8]) -> String {
    if bytes.len() > LONG {
        format!("<{} bytes>", bytes.len())
    } else {
        format!("{:?}", Shown(bytes).to_string())
    }
}

fn span(key: &[u8], range_end: &[u8]) -> String {
    match range_end {
        [] => bytes(key),
        [0] => format!("[{}, ..)", bytes(key)),
        end => format!("[{}, {})", bytes(key), bytes(end)),
    }
}

fn flags(list: &[(&str, bool)]) -> String {
    list.iter().filter(|(_, on)| *on).map(|(name, _)| format!(" {name}")).collect()
}

fn lease(id: i64) -> String {
    if id >= PICKED_LEASE { format!("lease picked#{}", id - PICKED_LEASE) } else { format!("lease {id:#x}") }
}

impl Show {
    fn revision(self, revision: i64) -> String {
        let after = revision - self.start;
        if revision > 0 && (-8..1000).contains(&after) {
            format!("@{after:+}")
        } else {
            format!("@={revision}")
        }
    }

    pub(super) fn request(self, request: &Request) -> String {
        match request {
            Request::Range(range) => self.range(range),
            Request::Put(request) => put(request),
            Request::Delete(request) => delete(request),
            Request::Txn(request) => self.txn(request),
            Request::Compact { revision, physical } => {
                format!("compact {}{}", self.revision(*revision), flags(&[("physical", *physical)]))
            }
            Request::LeaseGrant { id, ttl_s } => format!("grant {} ttl {ttl_s}", lease(*id)),
            Request::LeaseRevoke { id } => format!("revoke {}", lease(*id)),
            Request::LeaseKeepAlive { id } => format!("keep alive {}", lease(*id)),
            Request::LeaseTimeToLive { id, keys } => {
                format!("time to live of {}{}", lease(*id), flags(&[("keys", *keys)]))
            }
            Request::LeaseLeases => "list leases".to_owned(),
            Request::Status => "status".to_owned(),
        }
    }

    pub(super) fn watch(self, watch: &WatchRequest) -> String {
        let start =
            if watch.start_revision == 0 { "now".to_owned() } else { self.revision(watch.start_revision) };
        let flags =
            flags(&[("prev_kv", watch.prev_kv), ("no_put", watch.no_put), ("no_delete", watch.no_delete)]);
        format!("watch {} from {start}{flags}", span(&watch.key, &watch.range_end))
    }

    fn range(self, range: &Range) -> String {
        let mut text = format!("get {}", span(&range.key, &range.range_end));
        if range.revision != 0 {
            text += &format!(" {}", self.revision(range.revision));
        }
        if range.limit != 0 {
            text += &format!(" limit {}", range.limit);
        }
        if (range.sort_target, range.sort_order) != (SortTarget::Key, SortOrder::None) {
            text += &format!(" sort {:?} {:?}", range.sort_target, range.sort_order);
        }
        for (name, revision) in [
            ("mod>=", range.min_mod_revision),
            ("mod<=", range.max_mod_revision),
            ("create>=", range.min_create_revision),
            ("create<=", range.max_create_revision),
        ] {
            if revision != 0 {
                text += &format!(" {name}{}", self.revision(revision));
            }
        }
        let list = [
            ("serializable", range.serializable),
            ("keys_only", range.keys_only),
            ("count_only", range.count_only),
        ];
        text + &flags(&list)
    }

    fn txn(self, txn: &Txn) -> String {
        let compares: Vec<String> = txn.compares.iter().map(|compare| self.compare(compare)).collect();
        let ops = |ops: &[Op]| {
            // The limits' tests have more than anyone would read.
            let shown: Vec<String> = ops.iter().take(8).map(|op| self.op(op)).collect();
            let more = if ops.len() > 8 { format!("; .. {} in all", ops.len()) } else { String::new() };
            format!("{}{more}", shown.join("; "))
        };
        format!(
            "txn if ({}) then {{{}}} else {{{}}}",
            compares.join(" and "),
            ops(&txn.success),
            ops(&txn.failure)
        )
    }

    fn op(self, op: &Op) -> String {
        match op {
            Op::Range(range) => self.range(range),
            Op::Put(request) => put(request),
            Op::Delete(request) => delete(request),
            Op::Txn(nested) => self.txn(nested),
        }
    }

    fn compare(self, compare: &Compare) -> String {
        let op = match compare.op {
            CompareOp::Equal => "=",
            CompareOp::NotEqual => "!=",
            CompareOp::Greater => ">",
            CompareOp::Less => "<",
        };
        let (name, operand) = match &compare.target {
            CompareTarget::Create(0) => ("create", "0".to_owned()),
            CompareTarget::Mod(0) => ("mod", "0".to_owned()),
            CompareTarget::Create(revision) => ("create", self.revision(*revision)),
            CompareTarget::Mod(revision) => ("mod", self.revision(*revision)),
            CompareTarget::Version(version) => ("version", version.to_string()),
            CompareTarget::Value(value) => ("value", bytes(value)),
            CompareTarget::Lease(id) => ("lease", format!("{id:#x}")),
        };
        format!("{name}({}) {op} {operand}", span(&compare.key, &compare.range_end))
    }

    /// A reply, the first line its gist, the others what it holds.
    pub(super) fn reply(self, reply: &Result<Response, Status>) -> Vec<String> {
        match reply {
            Err(status) => vec![format!("{}: {}", status.code, status.message)],
            Ok(response) => self.response(response),
        }
    }

    fn response(self, response: &Response) -> Vec<String> {
        let header = |header: &tenure::kv::Header| {
            format!("{} of {:x}/{:x}", self.revision(header.revision), header.cluster_id, header.member_id)
        };
        match response {
            Response::Range(range) => self.range_reply(range, &header(&range.header)),
            Response::Put(put) => self.put_reply(put, &header(&put.header)),
            Response::Delete(delete) => self.delete_reply(delete, &header(&delete.header)),
            Response::Txn(txn) => self.txn_reply(txn, &header(&txn.header)),
            Response::Compact { header: of } => vec![format!("compacted {}", header(of))],
            Response::LeaseGrant { header: of, grant } => {
                vec![format!("granted {} ttl {} {}", lease(grant.id), grant.ttl_s, header(of))]
            }
            Response::LeaseRevoke { header: of } => vec![format!("revoked {}", header(of))],
            Response::LeaseKeepAlive { header: of, ttl_s } => vec![format!("ttl {ttl_s} {}", header(of))],
            Response::LeaseTimeToLive { header: of, ttl_s, granted_ttl_s, keys } => {
                let mut lines = vec![format!("ttl {ttl_s} of {granted_ttl_s} {}", header(of))];
                lines.extend(keys.iter().map(|key| format!("  {}", bytes(key))));
                lines
            }
            Response::LeaseLeases { header: of, ids } => {
                let mut lines = vec![format!("{} leases {}", ids.len(), header(of))];
                lines.extend(ids.iter().map(|id| format!("  {}", lease(*id))));
                lines
            }
            Response::Status { header: of, version, leader } => {
                vec![format!("{version}, leader {leader:x} {}", header(of))]
            }
        }
    }

    fn range_reply(self, range: &tenure::kv::RangeResponse, header: &str) -> Vec<String> {
        let more = if range.more { ", more" } else { "" };
        let mut lines = vec![format!("{} of {}{more} {header}", range.kvs.len(), range.count)];
        lines.extend(range.kvs.iter().map(|kv| format!("  {}", self.kv(kv))));
        lines
    }

    fn put_reply(self, put: &tenure::kv::PutResponse, header: &str) -> Vec<String> {
        let mut lines = vec![format!("put {header}")];
        lines.extend(put.prev_kv.iter().map(|kv| format!("  was {}", self.kv(kv))));
        lines
    }

    fn delete_reply(self, delete: &tenure::kv::DeleteResponse, header: &str) -> Vec<String> {
        let mut lines = vec![format!("deleted {} {header}", delete.deleted)];
        lines.extend(delete.prev_kvs.iter().map(|kv| format!("  was {}", self.kv(kv))));
        lines
    }

    fn txn_reply(self, txn: &TxnResponse, header: &str) -> Vec<String> {
        let mut lines = vec![format!("{} {header}", if txn.succeeded { "then" } else { "else" })];
        for op in &txn.responses {
            let (of, nested) = match op {
                OpResponse::Range(range) => (range.header, self.range_reply(range, "")),
                OpResponse::Put(put) => (put.header, self.put_reply(put, "")),
                OpResponse::Delete(delete) => (delete.header, self.delete_reply(delete, "")),
                OpResponse::Txn(txn) => (txn.header, self.txn_reply(txn, "")),
            };
            let mut nested = nested.into_iter();
            lines.extend(nested.next().map(|gist| format!("  {gist}{}", self.revision(of.revision))));
            lines.extend(nested.map(|line| format!("  {line}")));
        }
        lines
    }

    fn kv(self, kv: &KeyValue) -> String {
        let living = if kv.lease == 0 { String::new() } else { format!(" {}", lease(kv.lease)) };
        format!(
            "{}={} created {} changed {} version {}{living}",
            bytes(&kv.key),
            bytes(&kv.value),
            self.revision(kv.create_revision),
            self.revision(kv.mod_revision),
            kv.version
        )
    }

    /// One message of a watch.
    pub(super) fn message(self, message: &WatchResponse) -> Vec<String> {
        let mut gist = format!("tells {}", self.revision(message.header.revision));
        gist += &flags(&[("created", message.created), ("canceled", message.canceled)]);
        if message.compact_revision != 0 {
            gist += &format!(" compacted {}", self.revision(message.compact_revision));
        }
        if !message.cancel_reason.is_empty() {
            gist += &format!(" because {:?}", message.cancel_reason);
        }
        let mut lines = vec![gist];
        lines.extend(message.events.iter().map(|event| format!("  {}", self.event(event))));
        lines
    }

    fn event(self, event: &Event) -> String {
        let kind = match event.kind {
            EventKind::Put => "PUT",
            EventKind::Delete => "DELETE",
        };
        let was = event.prev_kv.as_ref().map(|kv| format!(", was {}", self.kv(kv))).unwrap_or_default();
        format!("{kind} {}{was}", self.kv(&event.kv))
    }
}

fn put(put: &Put) -> String {
    let living = if put.lease == 0 { String::new() } else { format!(" {}", lease(put.lease)) };
    let list =
        [("prev_kv", put.prev_kv), ("ignore_value", put.ignore_value), ("ignore_lease", put.ignore_lease)];
    format!("put {}={}{living}{}", bytes(&put.key), bytes(&put.value), flags(&list))
}

fn delete(delete: &DeleteRange) -> String {
    format!("delete {}{}", span(&delete.key, &delete.range_end), flags(&[("prev_kv", delete.prev_kv)]))
}

/// Two columns under their names; a line that differs is marked.
pub(super) fn side_by_side(ours: &[String], theirs: &[String]) -> String {
    let width = ours.iter().map(|line| line.chars().count()).max().unwrap_or(0).clamp(9, 70);
    let mut text = format!("    {:width$} | real etcd\n", "simulated");
    for index in 0..ours.len().max(theirs.len()) {
        let line = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
        let (ours, theirs) = (line(ours), line(theirs));
        let mark = if ours == theirs { " " } else { "!" };
        text += &format!("  {mark} {ours:width$} | {theirs}\n");
    }
    text
}
