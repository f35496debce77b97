//! What Lock and Election share: the session that is none, joining the line, waiting until all before are gone
//! (`session.go`, `key.go` in `client/v3/concurrency`).

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tenure::kv::{Compare, CompareOp};
use tenure::kv::{
    DeleteRange, EventKind, Header, KeyValue, Op, OpResponse, Put, Range, Request, Response, SortOrder,
    SortTarget, Txn, TxnResponse, WatchRequest,
};
use tenure::wire::{Wire, WireWatch};

use super::super::Timed;

/// What the session of a caller without a lease lives.
const DEFAULT_TTL_S: i64 = 60;

/// Go's recipes over one member's wire. Clones are the same.
#[derive(Clone)]
pub(in super::super) struct Recipes {
    wire: Arc<dyn Wire>,
    pub(super) timed: Timed,
}

/// Where a contender is in line.
pub(super) struct Place {
    pub(super) key: Vec<u8>,
    /// The create revision of its key.
    pub(super) revision: i64,
    /// The value that was there before, if its key was there.
    pub(super) found: Option<Vec<u8>>,
    pub(super) header: Header,
}

pub(super) type Result<T> = std::result::Result<T, tonic::Status>;

/// An error that Go's recipe makes itself: gRPC has no code for it.
pub(super) fn unknown(message: &str) -> tonic::Status {
    tonic::Status::unknown(message)
}

/// The prefix of a name's keys.
pub(super) fn prefix_of(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

impl Recipes {
    pub(in super::super) fn new(wire: Arc<dyn Wire>, timed: Timed) -> Self {
        Self { wire, timed }
    }

    /// What etcd refuses reaches the caller without its code, as an error of the server's own client.
    async fn call(&self, request: Request) -> Result<Response> {
        self.wire.call(request).await.map_err(|status| unknown(&status.message))
    }

    /// The lease to use: the caller's, or one of the server's making.
    pub(super) async fn session(&self, lease: i64) -> Result<i64> {
        if lease != 0 {
            return Ok(lease);
        }
        match self.call(Request::LeaseGrant { id: 0, ttl_s: DEFAULT_TTL_S }).await? {
            Response::LeaseGrant { grant, .. } => Ok(grant.id),
            _ => Err(another()),
        }
    }

    pub(super) async fn range(&self, range: Range) -> Result<(Header, Vec<KeyValue>)> {
        match self.call(Request::Range(range)).await? {
            Response::Range(answer) => Ok((answer.header, answer.kvs)),
            _ => Err(another()),
        }
    }

    pub(super) async fn delete(&self, key: Vec<u8>) -> Result<Header> {
        match self.call(Request::Delete(DeleteRange::key(key))).await? {
            Response::Delete(answer) => Ok(answer.header),
            _ => Err(another()),
        }
    }

    pub(super) async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        match self.call(Request::Txn(txn)).await? {
            Response::Txn(answer) => Ok(answer),
            _ => Err(another()),
        }
    }

    /// Puts the key that stands for `lease` below `name`, unless it is there.
    pub(super) async fn join(&self, name: &[u8], lease: i64, value: &[u8]) -> Result<Place> {
        let key = [prefix_of(name), go_hex(lease).into_bytes()].concat();
        let put = Put::new(key.clone(), value).lease(lease);
        let txn = Txn::new()
            .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([Op::Put(put)])
            .or_else([Op::Range(Range::key(key.clone()))]);
        let answer = self.txn(txn).await?;
        let there = match answer.responses.into_iter().next() {
            Some(OpResponse::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        let revision = there.as_ref().map_or(answer.header.revision, |kv| kv.create_revision);
        Ok(Place { key, revision, found: there.map(|kv| kv.value), header: answer.header })
    }

    /// Waits until no key below `name` is older than `revision` (`waitDeletes`).
    pub(super) async fn wait_for_older(&self, name: &[u8], revision: i64) -> Result<Header> {
        loop {
            let mut last =
                Range::prefix(prefix_of(name)).sorted(SortTarget::Create, SortOrder::Descend).limit(1);
            last.max_create_revision = revision - 1;
            let (header, kvs) = self.range(last).await?;
            let Some(last) = kvs.into_iter().next() else { return Ok(header) };
            self.wait_for_deletion(last.key, header.revision).await?;
        }
    }

    /// Waits until a key is deleted, from a revision at which it was there. Where its watch breaks, as without a leader, it is
    /// opened again: the server's own client does not ask for a leader.
    async fn wait_for_deletion(&self, key: Vec<u8>, revision: i64) -> Result<()> {
        const AGAIN: Duration = Duration::from_millis(100);
        loop {
            let request = WatchRequest { start_revision: revision, ..WatchRequest::key(key.clone()) };
            let mut watch = self.wire.watch(request);
            while let Some(Ok(message)) = next(&mut *watch).await {
                if message.canceled {
                    // Compacted: what is there now is looked at anew.
                    return Ok(());
                }
                if message.events.iter().any(|event| event.kind == EventKind::Delete) {
                    return Ok(());
                }
            }
            let runtime = &self.timed.runtime;
            runtime.sleep_until(runtime.now() + AGAIN).await;
        }
    }

    /// Watches from a revision on.
    pub(super) fn watch(&self, request: WatchRequest) -> Box<dyn WireWatch> {
        self.wire.watch(request)
    }

    /// Takes the caller out of line if it goes away before it is granted.
    pub(super) fn withdrawing(&self, key: Vec<u8>) -> Withdrawal {
        Withdrawal { wire: Arc::clone(&self.wire), key: Some(key) }
    }
}

/// The next message of a watch.
pub(super) async fn next(
    watch: &mut dyn WireWatch,
) -> Option<std::result::Result<tenure::kv::WatchResponse, tenure::wire::Status>> {
    poll_fn(|cx| watch.poll_next(cx)).await
}

/// Deletes a key when it is dropped, unless that was called off.
pub(super) struct Withdrawal {
    wire: Arc<dyn Wire>,
    key: Option<Vec<u8>>,
}

impl Withdrawal {
    pub(super) fn call_off(mut self) {
        self.key = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let (Some(key), Ok(runtime)) = (self.key.take(), tokio::runtime::Handle::try_current()) {
            let call = self.wire.call(Request::Delete(DeleteRange::key(key)));
            // Whether it comes to be does not matter to anybody any more: the lease ends it otherwise.
            runtime.spawn(async move { call.await.map(drop) });
        }
    }
}

/// A lease as Go prints it with `%x`.
fn go_hex(lease: i64) -> String {
    if lease < 0 { format!("-{:x}", lease.unsigned_abs()) } else { format!("{lease:x}") }
}

fn another() -> tonic::Status {
    tonic::Status::internal("an answer to another request")
}
