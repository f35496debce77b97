//! A lock and election recipe of etcd's own kind that is wrong in one place, chosen by its flaw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, select_biased};
use tenure::kv::{
    Compare, CompareOp, DeleteRange, EventKind, Op, OpResponse, Put, Range, SortOrder, SortTarget, Txn,
    TxnResponse, WatchRequest,
};
use tenure::{Backend, CallError, Error, Refusal, Session, WatchMessage, within};

use crate::workload::primitive::{Ask, Belief, Held, Primitive, Through, Wait};

/// In which place it is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Go's of 3.4 (`clientv3/concurrency/mutex.go`): nobody looks whether the own key is still there.
    NoOwnKeyCheck,
    /// Any release is taken for the own turn.
    FirstKeyWinsLate,
    /// Who is in line holds.
    OwnerWhileQueued,
    /// A compaction during the wait is an error, after which the key stays in line.
    ZombieAfterCompaction,
    /// Whether the own session lives is looked at only after those before are gone.
    BlindToOwnExpiry,
    /// The token is the lease.
    TokenIsTheLease,
    /// Keys follow the name without a slash.
    NamesOverlap,
    /// Those before are listed, and watched from a later revision on.
    WatchesTooLate,
    /// Who finds another in line leaves it and comes again.
    GivesWay,
    /// Who waits asks again and again who is before it.
    Polls,
    /// As `NoOwnKeyCheck`, of the write side of a read-write lock.
    WriterWithoutKey,
}

pub(super) fn wrong_lock(flaw: Flaw) -> Box<dyn Primitive> {
    Box::new(WrongLock { flaw })
}

struct WrongLock {
    flaw: Flaw,
}

impl Primitive for WrongLock {
    fn take(&self, through: Through, ask: &Ask) -> BoxFuture<'static, Result<Option<Box<dyn Held>>, Error>> {
        let (name, wait) = (&ask.name, ask.wait);
        let flaw = self.flaw;
        let prefix = if flaw == Flaw::NamesOverlap { name.to_string() } else { format!("{name}/") };
        let below = if flaw == Flaw::WriterWithoutKey { "write/" } else { "" };
        // A key of its own for each attempt, so that nothing is wrong here but the flaw.
        let attempt = through.backend.now().as_nanos();
        let contender = Contender {
            key: format!("{prefix}{below}{:x}-{attempt:x}", through.session.lease()).into_bytes(),
            prefix: prefix.into_bytes(),
            session: through.session,
            backend: through.backend,
            value: ask.value.clone(),
            over: Arc::new(AtomicBool::new(false)),
            revision: 0,
            flaw,
            is_zombie: false,
        };
        async move {
            let backend = Arc::clone(&contender.backend);
            let taking = contender.take(wait);
            match wait {
                Wait::Limit(limit) => {
                    let limit = backend.now() + limit;
                    within(&*backend, limit, taking).await.unwrap_or(Err(Error::Timeout))
                }
                Wait::Forever | Wait::Try => taking.await,
            }
        }
        .boxed()
    }
}

/// A place in line; dropping it deletes its key in the background.
struct Contender {
    session: Session,
    backend: Arc<dyn Backend>,
    prefix: Vec<u8>,
    key: Vec<u8>,
    value: String,
    revision: i64,
    over: Arc<AtomicBool>,
    flaw: Flaw,
    /// Nobody will delete its key.
    is_zombie: bool,
}

impl Contender {
    async fn take(mut self, wait: Wait) -> Result<Option<Box<dyn Held>>, Error> {
        while self.flaw == Flaw::GivesWay {
            if !self.join().await? {
                return Ok(Some(Box::new(self)));
            }
            self.txn(self.delete()).await?;
        }
        if self.join().await? {
            if wait == Wait::Try {
                return Ok(None);
            }
            self.wait_turn().await?;
        }
        Ok(Some(Box::new(self)))
    }

    /// Gets in line. Whether another is there: before it, or, for who gives way, at all.
    async fn join(&mut self) -> Result<bool, Error> {
        let first = Range::prefix(&*self.prefix).sorted(SortTarget::Create, SortOrder::Ascend).limit(1);
        let join = Txn::new()
            .when([Compare::create_revision(&*self.key, CompareOp::Equal, 0)])
            .and_then([
                Op::Put(Put::new(&*self.key, self.value.as_bytes()).lease(self.session.lease())),
                Op::Range(first.clone()),
            ])
            .or_else([Op::Range(Range::key(&*self.key)), Op::Range(first)]);
        let joined = self.txn(join).await?;
        self.revision = if joined.succeeded {
            joined.header.revision
        } else {
            created(&joined, 0).unwrap_or(joined.header.revision)
        };
        if self.flaw == Flaw::GivesWay {
            let all = self.txn(Txn::new().and_then([Op::Range(Range::prefix(&*self.prefix))])).await?;
            return Ok(
                matches!(all.responses.first(), Some(OpResponse::Range(range)) if range.kvs.len() > 1),
            );
        }
        Ok(created(&joined, 1).is_some_and(|first| first < self.revision))
    }

    async fn wait_turn(&mut self) -> Result<(), Error> {
        match self.flaw {
            Flaw::NoOwnKeyCheck | Flaw::WriterWithoutKey | Flaw::WatchesTooLate => {
                while !self.wait_for_those_before().await? {}
            }
            Flaw::ZombieAfterCompaction => {
                if !self.wait_for_those_before().await? {
                    self.is_zombie = true;
                    return Err(Error::Refused(Refusal::Compacted));
                }
                self.look_for_own_key().await?;
            }
            Flaw::FirstKeyWinsLate => {
                self.wait_for_deletion(WatchRequest::prefix(&*self.prefix)).await;
            }
            Flaw::OwnerWhileQueued | Flaw::GivesWay => {}
            Flaw::BlindToOwnExpiry => {
                while !self.wait_for_those_before().await? {}
                self.look_for_own_key().await?;
            }
            Flaw::TokenIsTheLease | Flaw::NamesOverlap | Flaw::Polls => self.wait_well().await?,
        }
        Ok(())
    }

    /// Without a flaw: the wait ends with the session.
    async fn wait_well(&self) -> Result<(), Error> {
        let mut lost = self.session.lost().boxed().fuse();
        let waited = async {
            while !self.wait_for_those_before().await? {}
            self.look_for_own_key().await
        };
        select_biased! {
            () = lost => Err(Error::SessionLost),
            waited = waited.boxed().fuse() => waited,
        }
    }

    /// As Go does since 3.5.
    async fn look_for_own_key(&self) -> Result<(), Error> {
        let read = self.txn(Txn::new().and_then([Op::Range(Range::key(&*self.key))])).await?;
        if created(&read, 0) == Some(self.revision) && self.session.is_alive() {
            Ok(())
        } else {
            Err(Error::SessionLost)
        }
    }

    /// Go's `waitDeletes`. False if a compaction got in the way.
    async fn wait_for_those_before(&self) -> Result<bool, Error> {
        loop {
            let mut before =
                Range::prefix(&*self.prefix).sorted(SortTarget::Create, SortOrder::Descend).limit(1);
            before.max_create_revision = self.revision - 1;
            let read = self.txn(Txn::new().and_then([Op::Range(before)])).await?;
            let Some(OpResponse::Range(range)) = read.responses.first() else { return Ok(true) };
            let Some(nearest) = range.kvs.first() else { return Ok(true) };
            if self.flaw == Flaw::Polls {
                continue;
            }
            let from = if self.flaw == Flaw::WatchesTooLate { 0 } else { read.header.revision + 1 };
            let request = WatchRequest { start_revision: from, ..WatchRequest::key(nearest.key.clone()) };
            if !self.wait_for_deletion(request).await {
                return Ok(false);
            }
        }
    }

    /// False if a compaction got in the way.
    async fn wait_for_deletion(&self, request: WatchRequest) -> bool {
        let mut watch = self.backend.watch(request);
        while let Some(Ok(message)) = watch.next().await {
            match message {
                WatchMessage::Events { events }
                    if events.iter().any(|event| event.kind == EventKind::Delete) =>
                {
                    return true;
                }
                WatchMessage::Compacted { .. } => return false,
                WatchMessage::Events { .. } | WatchMessage::Created { .. } => {}
            }
        }
        true
    }

    /// Tries until etcd answers.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        loop {
            let deadline = self.backend.now() + Duration::from_secs(2);
            match self.backend.txn(txn.clone(), deadline).await {
                Ok(response) => return Ok(response),
                Err(CallError::Refused(refusal)) => return Err(refusal.into()),
                Err(CallError::Maybe(_) | CallError::NotApplied(_)) => {
                    self.backend.sleep_until(self.backend.now() + Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn delete(&self) -> Txn {
        Txn::new()
            .when([Compare::lease(&*self.key, CompareOp::Equal, self.session.lease())])
            .and_then([Op::Delete(DeleteRange::key(&*self.key))])
    }
}

fn created(response: &TxnResponse, index: usize) -> Option<i64> {
    match response.responses.get(index) {
        Some(OpResponse::Range(range)) => range.kvs.first().map(|kv| kv.create_revision),
        _ => None,
    }
}

impl Held for Contender {
    fn token(&self) -> i64 {
        if self.flaw == Flaw::TokenIsTheLease { self.session.lease() } else { self.revision }
    }

    fn belief(&self) -> Belief {
        let (session, over) = (self.session.clone(), Arc::clone(&self.over));
        Arc::new(move || !over.load(Ordering::Acquire) && session.is_alive())
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        self.session.lost().boxed()
    }

    fn txn(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<TxnResponse, Error>> {
        let own = Compare::create_revision(&*self.key, CompareOp::Equal, self.revision);
        let backend = Arc::clone(&self.backend);
        async move {
            let deadline = backend.now() + Duration::from_secs(2);
            match backend.txn(Txn::new().when([own]).and_then(ops), deadline).await {
                Ok(response) if response.succeeded => Ok(response),
                Ok(_) => Err(Error::NotHeld),
                Err(CallError::Refused(refusal)) => Err(refusal.into()),
                Err(error) => Err(Error::Maybe(error.to_string())),
            }
        }
        .boxed()
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        self.over.store(true, Ordering::Release);
        async move { self.txn(self.delete()).await.map(|_| ()) }.boxed()
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if self.is_zombie {
            return;
        }
        let (backend, delete) = (Arc::clone(&self.backend), self.delete());
        self.backend.spawn(
            async move {
                for _ in 0..20 {
                    let deadline = backend.now() + Duration::from_secs(2);
                    if backend.txn(delete.clone(), deadline).await.is_ok() {
                        return;
                    }
                    backend.sleep_until(backend.now() + Duration::from_millis(100)).await;
                }
            }
            .boxed(),
        );
    }
}
