//! Waiting until nobody is before in line, with nothing to read between a release and the grant.
//!
//! A contender *near* the head (at most [`NEAR`] before it) watches the whole line and takes those who leave off its
//! list. The watch is opened at "now" (one that starts in the past is served by etcd only every 100 ms), and the list that
//! counts is no older than the watch, so nothing is missed. One watch tells of those before *and* of the contender's own key,
//! in order of revision, so being granted and still being in line are decided at one revision (etcd 11456, 16221).
//! A contender *far* back watches the one key that is [`NEAR`] places nearer, so a release wakes a handful, however long
//! the line.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures_util::future::join;
use futures_util::{FutureExt, StreamExt, select_biased};

use super::{Line, keys};
use crate::kv::{Event, Op, Range, SortOrder, SortTarget, Txn, TxnResponse, WatchRequest};
use crate::{Error, Session, WatchMessage, WatchStream};

/// How many places from the head a contender begins to watch the whole line: far enough that its list is read before
/// its turn comes, few enough that a release is told to few.
const NEAR: usize = 4;

/// Waits until no contender of `line` is older than `key`, which was created at `revision`.
///
/// Cancel safe.
pub(super) async fn wait_turn(
    session: &Session,
    line: &Line,
    key: &[u8],
    revision: i64,
) -> Result<(), Error> {
    let waiter = Waiter { session, line, key, revision };
    // Own expiry is noticed whatever the watch does (etcd 19597).
    let mut lost = std::pin::pin!(session.lost().fuse());
    let turn = async {
        loop {
            match waiter.near().await? {
                Near::Granted => return Ok(()),
                Near::Again => {}
                Near::Far { target, created } => waiter.far(&target, created).await?,
            }
        }
    };
    let mut turn = std::pin::pin!(turn.fuse());
    select_biased! {
        () = lost => Err(Error::SessionLost),
        turn = turn => turn,
    }
}

struct Waiter<'a> {
    session: &'a Session,
    line: &'a Line,
    key: &'a [u8],
    revision: i64,
}

enum Near {
    Granted,
    /// The watch could not tell all: list and watch anew (etcd 21128, 9715).
    Again,
    /// Too far back; wait first for this one, which is `NEAR` places nearer.
    Far {
        target: Vec<u8>,
        created: i64,
    },
}

/// The contenders before, and the revision up to which their list is true.
struct Before {
    keys: BTreeSet<Vec<u8>>,
    as_of: i64,
}

impl Waiter<'_> {
    async fn near(&self) -> Result<Near, Error> {
        let request = WatchRequest { no_put: true, ..WatchRequest::prefix(&*self.line.scope) };
        let mut watch = self.session.backend().watch(request);
        // Both at once, to save a round trip. The list is good if it is no older than the watch; else it is read again.
        let (opened, listed) = join(opened(&mut watch), self.list()).await;
        let (Some(open_since), mut listed) = (opened?, listed?) else { return Ok(Near::Again) };
        if listed.header.revision < open_since {
            listed = self.list().await?;
        }
        if keys(&listed, 0).first().is_none_or(|own| own.create_revision != self.revision) {
            return Err(Error::NotHeld);
        }
        let nearest = keys(&listed, 1);
        for kv in nearest {
            self.line.check(&kv.key)?;
        }
        if let Some(target) = nearest.get(NEAR) {
            return Ok(Near::Far { target: target.key.clone(), created: target.create_revision });
        }
        let mut before =
            Before { keys: nearest.iter().map(|kv| kv.key.clone()).collect(), as_of: listed.header.revision };
        while !before.keys.is_empty() {
            match watch.next().await {
                Some(Ok(WatchMessage::Events { events })) => self.take_off(&mut before, &events)?,
                Some(Ok(WatchMessage::Created { .. })) => {}
                Some(Ok(WatchMessage::Compacted { .. })) | None => return Ok(Near::Again),
                Some(Err(refusal)) => return Err(refusal.into()),
            }
        }
        Ok(Near::Granted)
    }

    /// Takes off who left. A revision counts as a whole: who leaves together with the contender itself grants nothing.
    fn take_off(&self, before: &mut Before, events: &[Event]) -> Result<(), Error> {
        for same_revision in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
            if same_revision.iter().all(|event| event.kv.mod_revision <= before.as_of) {
                continue;
            }
            if same_revision.iter().any(|event| event.kv.key == self.key) {
                return Err(Error::NotHeld);
            }
            for event in same_revision {
                before.keys.remove(&event.kv.key);
            }
            if before.keys.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One consistent read of the contender's own key and of the nearest before it, nearest first.
    async fn list(&self) -> Result<TxnResponse, Error> {
        let mut before = Range::prefix(&*self.line.before)
            .sorted(SortTarget::Create, SortOrder::Descend)
            .limit(NEAR as i64 + 1);
        before.max_create_revision = self.revision - 1;
        before.keys_only = true;
        let txn = Txn::new().and_then([Op::Range(Range::key(self.key)), Op::Range(before)]);
        let backend = self.session.backend();
        Ok(self.session.step(|deadline| backend.txn(txn.clone(), deadline)).await?.value)
    }

    /// Waits until one key is gone.
    async fn far(&self, target: &[u8], created: i64) -> Result<(), Error> {
        let request = WatchRequest { no_put: true, ..WatchRequest::key(target) };
        let mut watch = self.session.backend().watch(request);
        if opened(&mut watch).await?.is_none() {
            return Ok(());
        }
        let backend = self.session.backend();
        let read = self.session.step(|deadline| backend.range(Range::key(target), deadline)).await?.value;
        // The same session may have queued again behind us under the same key.
        if read.kvs.first().is_none_or(|kv| kv.create_revision != created) {
            return Ok(());
        }
        loop {
            match watch.next().await {
                Some(Ok(WatchMessage::Events { events })) => {
                    if events.iter().any(|event| event.kv.mod_revision > read.header.revision) {
                        return Ok(());
                    }
                }
                Some(Ok(WatchMessage::Created { .. })) => {}
                Some(Ok(WatchMessage::Compacted { .. })) | None => return Ok(()),
                Some(Err(refusal)) => return Err(refusal.into()),
            }
        }
    }
}

/// Waits until the watch is open, and gives the revision since which it is; `None` if it ended instead.
pub(crate) async fn opened(watch: &mut WatchStream) -> Result<Option<i64>, Error> {
    match Pin::as_mut(watch).next().await {
        Some(Ok(WatchMessage::Created { revision })) => Ok(Some(revision)),
        Some(Ok(WatchMessage::Events { .. } | WatchMessage::Compacted { .. })) | None => Ok(None),
        Some(Err(refusal)) => Err(refusal.into()),
    }
}
