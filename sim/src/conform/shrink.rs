//! Makes a script that shows a difference smaller: fewer steps first, then simpler ones.

use tenure::kv::{DeleteRange, Op, Put, Range, Request, SortOrder, SortTarget, Txn, WatchRequest};

use super::script::Step;

/// Scripts that are a little smaller than this one, the boldest cuts first.
pub(super) fn smaller(script: &[Step]) -> Vec<Vec<Step>> {
    let mut candidates = Vec::new();
    let mut chunk = script.len() / 2;
    while chunk > 0 {
        for at in (0..script.len()).step_by(chunk).rev() {
            let mut shorter = script.to_vec();
            shorter.drain(at..(at + chunk).min(script.len()));
            candidates.push(shorter);
        }
        chunk /= 2;
    }
    for (index, step) in script.iter().enumerate() {
        for simpler in simpler_steps(step) {
            let mut candidate = script.to_vec();
            candidate[index] = simpler;
            candidates.push(candidate);
        }
    }
    candidates
}

fn simpler_steps(step: &Step) -> Vec<Step> {
    let call = |request| Step::Call(request);
    match step {
        Step::Call(Request::Txn(txn)) => {
            let mut steps: Vec<Step> =
                txn.success.iter().chain(&txn.failure).cloned().map(op_alone).collect();
            steps.extend(simpler_txns(txn).into_iter().map(|txn| call(Request::Txn(txn))));
            steps
        }
        Step::Call(Request::Range(range)) => {
            simpler_ranges(range).into_iter().map(|range| call(Request::Range(range))).collect()
        }
        Step::Call(Request::Put(put)) => {
            simpler_puts(put).into_iter().map(|put| call(Request::Put(put))).collect()
        }
        Step::Call(Request::Delete(delete)) => {
            simpler_deletes(delete).into_iter().map(|delete| call(Request::Delete(delete))).collect()
        }
        Step::Watch(watch) => simpler_watches(watch).into_iter().map(Step::Watch).collect(),
        Step::Call(_) | Step::Expire { .. } => Vec::new(),
    }
}

fn op_alone(op: Op) -> Step {
    Step::Call(match op {
        Op::Range(range) => Request::Range(range),
        Op::Put(put) => Request::Put(put),
        Op::Delete(delete) => Request::Delete(delete),
        Op::Txn(txn) => Request::Txn(txn),
    })
}

/// The variants of `value` that are not `value` itself.
fn changed<T: Clone + PartialEq>(value: &T, simplify: &[fn(&mut T)]) -> Vec<T> {
    let mut variants = Vec::new();
    for change in simplify {
        let mut variant = value.clone();
        change(&mut variant);
        if variant != *value {
            variants.push(variant);
        }
    }
    variants
}

/// Every list that lacks one of `list`.
fn without_one<T: Clone>(list: &[T]) -> impl Iterator<Item = Vec<T>> + '_ {
    (0..list.len()).map(|index| {
        let mut shorter = list.to_vec();
        shorter.remove(index);
        shorter
    })
}

fn simpler_txns(txn: &Txn) -> Vec<Txn> {
    let mut txns = Vec::new();
    txns.extend(without_one(&txn.compares).map(|compares| Txn { compares, ..txn.clone() }));
    txns.extend(simpler_lists(&txn.success).into_iter().map(|success| Txn { success, ..txn.clone() }));
    txns.extend(simpler_lists(&txn.failure).into_iter().map(|failure| Txn { failure, ..txn.clone() }));
    for (index, compare) in txn.compares.iter().enumerate() {
        if !compare.range_end.is_empty() {
            let mut simpler = txn.clone();
            simpler.compares[index].range_end = Vec::new();
            txns.push(simpler);
        }
    }
    txns
}

fn simpler_lists(ops: &[Op]) -> Vec<Vec<Op>> {
    let mut lists: Vec<Vec<Op>> = Vec::new();
    if ops.len() > 4 {
        lists.push(ops[..ops.len() / 2].to_vec());
    }
    lists.extend(without_one(ops));
    for (index, op) in ops.iter().enumerate() {
        for simpler in simpler_ops(op) {
            let mut list = ops.to_vec();
            list[index] = simpler;
            lists.push(list);
        }
    }
    lists
}

fn simpler_ops(op: &Op) -> Vec<Op> {
    match op {
        Op::Range(range) => simpler_ranges(range).into_iter().map(Op::Range).collect(),
        Op::Put(put) => simpler_puts(put).into_iter().map(Op::Put).collect(),
        Op::Delete(delete) => simpler_deletes(delete).into_iter().map(Op::Delete).collect(),
        Op::Txn(nested) => {
            let mut ops: Vec<Op> = nested.success.iter().chain(&nested.failure).cloned().collect();
            ops.extend(simpler_txns(nested).into_iter().map(Op::Txn));
            ops
        }
    }
}

fn simpler_ranges(range: &Range) -> Vec<Range> {
    changed(
        range,
        &[
            |range| *range = Range { range_end: range.range_end.clone(), ..Range::key(range.key.clone()) },
            |range| range.range_end.clear(),
            |range| range.limit = 0,
            |range| range.revision = 0,
            |range| (range.sort_target, range.sort_order) = (SortTarget::Key, SortOrder::None),
            |range| range.sort_order = SortOrder::None,
            |range| range.serializable = false,
            |range| range.keys_only = false,
            |range| range.count_only = false,
            |range| range.min_mod_revision = 0,
            |range| range.max_mod_revision = 0,
            |range| range.min_create_revision = 0,
            |range| range.max_create_revision = 0,
        ],
    )
}

fn simpler_puts(put: &Put) -> Vec<Put> {
    changed(
        put,
        &[
            |put| *put = Put { lease: put.lease, ..Put::new(put.key.clone(), "") },
            |put| put.value.clear(),
            |put| put.lease = 0,
            |put| put.prev_kv = false,
            |put| put.ignore_value = false,
            |put| put.ignore_lease = false,
        ],
    )
}

fn simpler_deletes(delete: &DeleteRange) -> Vec<DeleteRange> {
    changed(delete, &[|delete| delete.range_end.clear(), |delete| delete.prev_kv = false])
}

fn simpler_watches(watch: &WatchRequest) -> Vec<WatchRequest> {
    changed(
        watch,
        &[
            |watch| watch.start_revision = 0,
            |watch| watch.range_end.clear(),
            |watch| watch.prev_kv = false,
            |watch| watch.no_put = false,
            |watch| watch.no_delete = false,
        ],
    )
}
