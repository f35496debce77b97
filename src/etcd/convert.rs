//! etcd's messages as [`etcd_client`] has them, to and from [`kv`](crate::kv). What is received is moved, not copied.

use etcd_client::proto::{
    PbDeleteResponse, PbEvent, PbKeyValue, PbPutResponse, PbRangeResponse, PbResponseHeader, PbTxnOpResponse,
    PbTxnResponse, PbWatchResponse,
};

use crate::kv::{
    Compare, CompareOp, CompareTarget, DeleteRange, DeleteResponse, Event, EventKind, Header, KeyValue, Op,
    OpResponse, Put, PutResponse, Range, RangeResponse, SortOrder, SortTarget, Txn, TxnResponse,
    WatchRequest, WatchResponse,
};

/// The options of a read; its key stays with the caller.
pub(super) fn get_options(range: Range) -> (Vec<u8>, etcd_client::GetOptions) {
    let mut options = etcd_client::GetOptions::new()
        .with_range(range.range_end)
        .with_limit(range.limit)
        .with_revision(range.revision)
        .with_min_mod_revision(range.min_mod_revision)
        .with_max_mod_revision(range.max_mod_revision)
        .with_min_create_revision(range.min_create_revision)
        .with_max_create_revision(range.max_create_revision);
    if (range.sort_target, range.sort_order) != (SortTarget::Key, SortOrder::None) {
        options = options.with_sort(sort_target(range.sort_target), sort_order(range.sort_order));
    }
    if range.serializable {
        options = options.with_serializable();
    }
    if range.keys_only {
        options = options.with_keys_only();
    }
    if range.count_only {
        options = options.with_count_only();
    }
    (range.key, options)
}

/// The options of a write; its key and value stay with the caller.
pub(super) fn put_options(put: Put) -> (Vec<u8>, Vec<u8>, etcd_client::PutOptions) {
    let mut options = etcd_client::PutOptions::new().with_lease(put.lease);
    if put.prev_kv {
        options = options.with_prev_key();
    }
    if put.ignore_value {
        options = options.with_ignore_value();
    }
    if put.ignore_lease {
        options = options.with_ignore_lease();
    }
    (put.key, put.value, options)
}

/// The options of a deletion; its key stays with the caller.
pub(super) fn delete_options(delete: DeleteRange) -> (Vec<u8>, etcd_client::DeleteOptions) {
    let mut options = etcd_client::DeleteOptions::new().with_range(delete.range_end);
    if delete.prev_kv {
        options = options.with_prev_key();
    }
    (delete.key, options)
}

/// The options of a watch; its key stays with the caller.
pub(super) fn watch_options(request: WatchRequest) -> (Vec<u8>, etcd_client::WatchOptions) {
    let mut filters = Vec::new();
    if request.no_put {
        filters.push(etcd_client::WatchFilterType::NoPut);
    }
    if request.no_delete {
        filters.push(etcd_client::WatchFilterType::NoDelete);
    }
    // etcd takes an empty key with an end for the first key, but refuses an empty key alone.
    let mut options = etcd_client::WatchOptions::new()
        .with_range(request.range_end)
        .with_start_revision(request.start_revision)
        .with_filters(filters);
    if request.progress_notify {
        options = options.with_progress_notify();
    }
    if request.prev_kv {
        options = options.with_prev_key();
    }
    (request.key, options)
}

/// A transaction.
pub(super) fn txn(txn: Txn) -> etcd_client::Txn {
    etcd_client::Txn::new()
        .when(txn.compares.into_iter().map(compare).collect::<Vec<_>>())
        .and_then(txn.success.into_iter().map(op).collect::<Vec<_>>())
        .or_else(txn.failure.into_iter().map(op).collect::<Vec<_>>())
}

fn op(op: Op) -> etcd_client::TxnOp {
    match op {
        Op::Range(range) => {
            let (key, options) = get_options(range);
            etcd_client::TxnOp::get(key, Some(options))
        }
        Op::Put(put) => {
            let (key, value, options) = put_options(put);
            etcd_client::TxnOp::put(key, value, Some(options))
        }
        Op::Delete(delete) => {
            let (key, options) = delete_options(delete);
            etcd_client::TxnOp::delete(key, Some(options))
        }
        Op::Txn(inner) => etcd_client::TxnOp::txn(txn(inner)),
    }
}

fn compare(compare: Compare) -> etcd_client::Compare {
    use etcd_client::Compare as To;
    let op = match compare.op {
        CompareOp::Equal => etcd_client::CompareOp::Equal,
        CompareOp::NotEqual => etcd_client::CompareOp::NotEqual,
        CompareOp::Greater => etcd_client::CompareOp::Greater,
        CompareOp::Less => etcd_client::CompareOp::Less,
    };
    let key = compare.key;
    let to = match compare.target {
        CompareTarget::Create(revision) => To::create_revision(key, op, revision),
        CompareTarget::Mod(revision) => To::mod_revision(key, op, revision),
        CompareTarget::Version(version) => To::version(key, op, version),
        CompareTarget::Value(value) => To::value(key, op, value),
        CompareTarget::Lease(lease) => To::lease(key, op, lease),
    };
    to.with_range(compare.range_end)
}

fn sort_target(target: SortTarget) -> etcd_client::SortTarget {
    match target {
        SortTarget::Key => etcd_client::SortTarget::Key,
        SortTarget::Version => etcd_client::SortTarget::Version,
        SortTarget::Create => etcd_client::SortTarget::Create,
        SortTarget::Mod => etcd_client::SortTarget::Mod,
        SortTarget::Value => etcd_client::SortTarget::Value,
    }
}

fn sort_order(order: SortOrder) -> etcd_client::SortOrder {
    match order {
        SortOrder::None => etcd_client::SortOrder::None,
        SortOrder::Ascend => etcd_client::SortOrder::Ascend,
        SortOrder::Descend => etcd_client::SortOrder::Descend,
    }
}

/// A response's header; zeros where there is none, as inside a transaction's replies.
pub(super) fn header(header: Option<PbResponseHeader>) -> Header {
    header.map_or_else(Header::default, |header| Header {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        revision: header.revision,
        raft_term: header.raft_term,
    })
}

/// The reply to a read.
pub(super) fn range_response(response: PbRangeResponse) -> RangeResponse {
    RangeResponse {
        header: header(response.header),
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

/// The reply to a write.
pub(super) fn put_response(response: PbPutResponse) -> PutResponse {
    PutResponse { header: header(response.header), prev_kv: response.prev_kv.map(key_value) }
}

/// The reply to a deletion.
pub(super) fn delete_response(response: PbDeleteResponse) -> DeleteResponse {
    DeleteResponse {
        header: header(response.header),
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// The reply to a transaction.
pub(super) fn txn_response(response: PbTxnResponse) -> TxnResponse {
    let responses = response.responses.into_iter().filter_map(|op| {
        Some(match op.response? {
            PbTxnOpResponse::ResponseRange(range) => OpResponse::Range(range_response(range)),
            PbTxnOpResponse::ResponsePut(put) => OpResponse::Put(put_response(put)),
            PbTxnOpResponse::ResponseDeleteRange(delete) => OpResponse::Delete(delete_response(delete)),
            PbTxnOpResponse::ResponseTxn(inner) => OpResponse::Txn(txn_response(inner)),
        })
    });
    TxnResponse {
        responses: responses.collect(),
        header: header(response.header),
        succeeded: response.succeeded,
    }
}

/// A watch's message.
pub(super) fn watch_response(response: PbWatchResponse) -> WatchResponse {
    WatchResponse {
        header: header(response.header),
        created: response.created,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        cancel_reason: response.cancel_reason,
        events: response.events.into_iter().map(event).collect(),
    }
}

fn event(event: PbEvent) -> Event {
    const DELETE: i32 = 1;
    Event {
        kind: if event.r#type == DELETE { EventKind::Delete } else { EventKind::Put },
        kv: event.kv.map_or_else(KeyValue::default, key_value),
        prev_kv: event.prev_kv.map(key_value),
    }
}

fn key_value(kv: PbKeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}
