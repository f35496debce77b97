//! etcd's messages as a server takes and gives them, to and from [`tenure::kv`].

use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbDeleteResponse, PbEvent, PbKeyValue, PbLeaderResponse, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbResponseHeader, PbResponseOp, PbTargetUnion,
    PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp, PbTxnResponse, PbWatchResponse,
};
use tenure::Code;
use tenure::kv::{
    Compare, CompareOp, CompareTarget, DeleteRange, DeleteResponse, Event, EventKind, Header, KeyValue, Op,
    OpResponse, Put, PutResponse, Range, RangeResponse, SortOrder, SortTarget, Txn, TxnResponse,
    WatchResponse,
};
use tenure::wire::Status;

use crate::store::refuse;

/// Marks a failure before the request left the client, for [`channel`](super::channel()); no real server says this.
pub(super) const NEVER_SENT: &str = "tenure-never-sent";

/// A refusal.
pub(super) fn status(status: Status) -> tonic::Status {
    let mut converted = tonic::Status::new(code(status.code), status.message);
    if !status.sent {
        converted.metadata_mut().insert(NEVER_SENT, tonic::metadata::MetadataValue::from_static("1"));
    }
    converted
}

fn code(code: Code) -> tonic::Code {
    // gRPC's numbers are the same on both sides.
    tonic::Code::from_i32(code as i32)
}

/// A read.
pub(super) fn range(request: PbRangeRequest) -> Result<Range, tonic::Status> {
    let bad_sort = || tonic::Status::invalid_argument("etcdserver: invalid sort option");
    let sort_order = match request.sort_order {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        _ => return Err(bad_sort()),
    };
    let sort_target = match request.sort_target {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        _ => return Err(bad_sort()),
    };
    Ok(Range {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order,
        sort_target,
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

/// A write.
pub(super) fn put(request: PbPutRequest) -> Put {
    Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A deletion.
pub(super) fn delete(request: PbDeleteRequest) -> DeleteRange {
    DeleteRange { key: request.key, range_end: request.range_end, prev_kv: request.prev_kv }
}

/// A transaction.
pub(super) fn txn(request: PbTxnRequest) -> Result<Txn, tonic::Status> {
    Ok(Txn {
        compares: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: request.success.into_iter().map(op).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().map(op).collect::<Result<_, _>>()?,
    })
}

fn op(op: PbTxnRequestOp) -> Result<Op, tonic::Status> {
    match op.request {
        Some(PbTxnOpRequest::RequestRange(request)) => range(request).map(Op::Range),
        Some(PbTxnOpRequest::RequestPut(request)) => Ok(Op::Put(put(request))),
        Some(PbTxnOpRequest::RequestDeleteRange(request)) => Ok(Op::Delete(delete(request))),
        Some(PbTxnOpRequest::RequestTxn(request)) => txn(request).map(Op::Txn),
        // What etcd says to an empty one (`checkRequestOp`).
        None => Err(status(refuse::key_not_found())),
    }
}

fn compare(compare: PbCompare) -> Result<Compare, tonic::Status> {
    let op = match compare.result {
        0 => CompareOp::Equal,
        1 => CompareOp::Greater,
        2 => CompareOp::Less,
        3 => CompareOp::NotEqual,
        other => return Err(tonic::Status::invalid_argument(format!("unknown comparison {other}"))),
    };
    // An operand of another kind than the target counts as zero, as in etcd (`compareKV`).
    let union = compare.target_union;
    let target = match compare.target {
        0 => CompareTarget::Version(match union {
            Some(PbTargetUnion::Version(version)) => version,
            _ => 0,
        }),
        1 => CompareTarget::Create(match union {
            Some(PbTargetUnion::CreateRevision(revision)) => revision,
            _ => 0,
        }),
        2 => CompareTarget::Mod(match union {
            Some(PbTargetUnion::ModRevision(revision)) => revision,
            _ => 0,
        }),
        3 => CompareTarget::Value(match union {
            Some(PbTargetUnion::Value(value)) => value,
            _ => Vec::new(),
        }),
        4 => CompareTarget::Lease(match union {
            Some(PbTargetUnion::Lease(lease)) => lease,
            _ => 0,
        }),
        other => return Err(tonic::Status::invalid_argument(format!("unknown compare target {other}"))),
    };
    Ok(Compare { key: compare.key, range_end: compare.range_end, op, target })
}

/// A reply's header.
pub(super) fn header(header: Header) -> Option<PbResponseHeader> {
    Some(PbResponseHeader {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        revision: header.revision,
        raft_term: header.raft_term,
    })
}

fn key_value(kv: KeyValue) -> PbKeyValue {
    PbKeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// The reply to a read.
pub(super) fn range_response(response: RangeResponse) -> PbRangeResponse {
    PbRangeResponse {
        header: header(response.header),
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

/// The reply to a write.
pub(super) fn put_response(response: PutResponse) -> PbPutResponse {
    PbPutResponse { header: header(response.header), prev_kv: response.prev_kv.map(key_value) }
}

/// The reply to a deletion.
pub(super) fn delete_response(response: DeleteResponse) -> PbDeleteResponse {
    PbDeleteResponse {
        header: header(response.header),
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// The reply to a transaction.
pub(super) fn txn_response(response: TxnResponse) -> PbTxnResponse {
    let op = |op: OpResponse| PbResponseOp {
        response: Some(match op {
            OpResponse::Range(range) => PbTxnOpResponse::ResponseRange(range_response(range)),
            OpResponse::Put(put) => PbTxnOpResponse::ResponsePut(put_response(put)),
            OpResponse::Delete(delete) => PbTxnOpResponse::ResponseDeleteRange(delete_response(delete)),
            OpResponse::Txn(nested) => PbTxnOpResponse::ResponseTxn(txn_response(nested)),
        }),
    };
    PbTxnResponse {
        header: header(response.header),
        succeeded: response.succeeded,
        responses: response.responses.into_iter().map(op).collect(),
    }
}

/// What an observer of an election is told.
pub(super) fn leader_response(of: Header, kv: KeyValue) -> PbLeaderResponse {
    PbLeaderResponse { header: header(of), kv: Some(key_value(kv)) }
}

/// A message of the watch `watch_id`.
pub(super) fn watch_response(watch_id: i64, response: WatchResponse) -> PbWatchResponse {
    PbWatchResponse {
        header: header(response.header),
        watch_id,
        created: response.created,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        cancel_reason: response.cancel_reason,
        fragment: false,
        events: response.events.into_iter().map(event).collect(),
    }
}

fn event(event: Event) -> PbEvent {
    PbEvent {
        r#type: match event.kind {
            EventKind::Put => 0,
            EventKind::Delete => 1,
        },
        kv: Some(key_value(event.kv)),
        prev_kv: event.prev_kv.map(key_value),
    }
}
