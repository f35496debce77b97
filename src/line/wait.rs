//! Waiting until one is among the first in line, with nothing to read between a release and the grant.
//!
//! A contender *near* the head (at most [`FAR`] before it) watches the whole line and takes those who leave off its
//! list. The watch is opened at "now" (one that starts in the past is served by etcd only every 100 ms), and the list that
//! counts is no older than the watch, so nothing is missed. One watch tells of those before *and* of the contender's own key,
//! in order of revision, so being granted and still being in line are decided at one revision (etcd 11456, 16221).
//! A contender *far* back watches the one key that is [`NEAR`] places nearer, so a release wakes a handful, however long
//! the line.
//!
//! Of a semaphore the first few are granted, so *near* is counted from the last of them. No single key tells who is far when
//! to look again, since one nearer may be granted and stay while others go: who is far watches the line, too, and lists anew
//! whenever one of the nearest before has left. One of these must leave before it is near.

use std::collections::BTreeSet;

use futures_util::future::try_join;

use super::watching::{Doubt, News, Watching};
use super::{HeadStart, Line, keys};
use crate::kv::{Event, KeyValue, Op, Range, SortOrder, SortTarget, Txn, TxnResponse, WatchRequest};
use crate::{Error, Session};

/// From how many places back a contender does not watch the whole line: each of the others is told of every release.
const FAR: usize = 8;

/// How many places from the head a contender that was far begins to watch the whole line: far enough that its list is
/// read before its turn comes.
const NEAR: usize = 4;

/// How many of those before are listed: enough to know who is far, and whom he waits for.
pub(super) fn most_listed(line: &Line) -> i64 {
    i64::from(line.permits) + FAR as i64
}

/// Whether these, of whom [`most_listed`] are listed at most, are all that are before.
pub(super) fn is_near(line: &Line, nearest: &[KeyValue]) -> bool {
    nearest.len() < line.permits as usize + FAR
}

/// Waits until `key`, which was created at `revision`, is among the first of `line`.
///
/// Cancel safe.
pub(super) async fn wait_turn(
    session: &Session,
    line: &Line,
    key: &[u8],
    revision: i64,
    mut head_start: Option<HeadStart>,
) -> Result<(), Error> {
    let waiter = Waiter { session, line, key, revision };
    // Own expiry is noticed whatever the watch does (etcd 19597).
    session
        .while_alive(async {
            loop {
                match waiter.near(head_start.take()).await? {
                    Near::Granted => return Ok(()),
                    Near::Again => {}
                    // Gone or not, the list tells.
                    Near::Far { target, created } => {
                        is_gone(session, &target, created).await?;
                    }
                }
            }
        })
        .await
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

/// A watch on the line that is open, and a list of the nearest before that is no older.
struct Started {
    watching: Watching,
    nearest: Vec<KeyValue>,
    as_of: i64,
}

/// The contenders before, and the revision up to which their list is true.
struct Before {
    keys: BTreeSet<Vec<u8>>,
    /// There are none but these.
    is_whole: bool,
    as_of: i64,
}

impl Before {
    fn new(line: &Line, nearest: &[KeyValue], as_of: i64) -> Self {
        let keys = nearest.iter().map(|kv| kv.key.clone()).collect();
        Self { keys, is_whole: is_near(line, nearest), as_of }
    }
}

impl Waiter<'_> {
    async fn near(&self, head_start: Option<HeadStart>) -> Result<Near, Error> {
        if let Some(far) = head_start.as_ref().and_then(|known| self.far(&known.nearest)) {
            return Ok(far);
        }
        let Some(Started { mut watching, nearest, as_of }) = self.started(head_start).await? else {
            return Ok(Near::Again);
        };
        if let Some(far) = self.far(&nearest) {
            return Ok(far);
        }
        let mut before = Before::new(self.line, &nearest, as_of);
        let mut doubt = Doubt::of(self.session.backend(), &watching, as_of);
        while !self.line.grants(before.keys.len()) {
            match watching.hear(&mut doubt).await? {
                News::Events(events) => {
                    doubt.dispel();
                    if self.take_off(&mut before, &events)? && !before.is_whole {
                        before = self.before().await?;
                    }
                }
                News::Doubted => before = self.before().await?,
                News::Over => return Ok(Near::Again),
            }
        }
        Ok(Near::Granted)
    }

    /// Whom to wait for first, for who is too far back to watch the line. The list may be old: once that one is gone, another is read.
    fn far(&self, nearest: &[KeyValue]) -> Option<Near> {
        let target = nearest.get(NEAR).filter(|_| !is_near(self.line, nearest) && self.line.permits == 1)?;
        Some(Near::Far { target: target.key.clone(), created: target.create_revision })
    }

    async fn before(&self) -> Result<Before, Error> {
        let (nearest, as_of) = self.known().await?;
        Ok(Before::new(self.line, &nearest, as_of))
    }

    /// A watch that is open, and a list that is no older; `None` if the watch ended.
    async fn started(&self, head_start: Option<HeadStart>) -> Result<Option<Started>, Error> {
        let (mut watching, known) = match head_start {
            Some(HeadStart { watching: Some(mut watching), nearest, as_of }) => {
                watching.opened().await?;
                (watching, (nearest, as_of))
            }
            // Who is near needs a list that is no older than its watch.
            Some(HeadStart { watching: None, .. }) | None => {
                let mut watching = Watching::line(self.session, self.line);
                // Both at once, to save a round trip; what is wrong with the line is told whether the watch opens or not.
                let (_, known) = try_join(watching.opened(), self.known()).await?;
                (watching, known)
            }
        };
        let Some(since) = watching.opened().await? else { return Ok(None) };
        let (nearest, as_of) = if known.1 >= since { known } else { self.known().await? };
        Ok(Some(Started { watching, nearest, as_of }))
    }

    /// Those before, nearest first, and as of when.
    async fn known(&self) -> Result<(Vec<KeyValue>, i64), Error> {
        let listed = self.list().await?;
        Ok((self.nearest(&listed)?.to_vec(), listed.header.revision))
    }

    /// Those before, nearest first, if the contender itself is in line.
    fn nearest<'l>(&self, listed: &'l TxnResponse) -> Result<&'l [KeyValue], Error> {
        if keys(listed, 0).first().is_none_or(|own| own.create_revision != self.revision) {
            return Err(Error::NotHeld);
        }
        let nearest = keys(listed, 1);
        for kv in nearest {
            self.line.check(&kv.key)?;
        }
        Ok(nearest)
    }

    /// Takes off who left, and says whether anyone did. A revision counts as a whole: who leaves together with the
    /// contender itself grants nothing.
    fn take_off(&self, before: &mut Before, events: &[Event]) -> Result<bool, Error> {
        let mut is_shorter = false;
        for same_revision in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
            if same_revision.iter().all(|event| event.kv.mod_revision <= before.as_of) {
                continue;
            }
            if same_revision.iter().any(|event| event.kv.key == self.key) {
                return Err(Error::NotHeld);
            }
            for event in same_revision {
                is_shorter |= before.keys.remove(&event.kv.key);
            }
            if self.line.grants(before.keys.len()) {
                break;
            }
        }
        Ok(is_shorter)
    }

    /// One consistent read of the contender's own key and of the nearest before it, nearest first.
    async fn list(&self) -> Result<TxnResponse, Error> {
        let mut before = Range::prefix(&*self.line.before)
            .sorted(SortTarget::Create, SortOrder::Descend)
            .limit(most_listed(self.line));
        before.max_create_revision = self.revision - 1;
        before.keys_only = true;
        let txn = Txn::new().and_then([Op::Range(Range::key(self.key)), Op::Range(before)]);
        Ok(self.session.txn(txn).await?.value)
    }
}

/// Waits until the incarnation of key `target` that was created at `created` is gone; false if that could not be watched to
/// the end: look again.
///
/// Cancel safe.
pub(crate) async fn is_gone(session: &Session, target: &[u8], created: i64) -> Result<bool, Error> {
    let backend = session.backend();
    let request = WatchRequest { no_put: true, ..WatchRequest::key(target) };
    let mut watching = Watching::new(backend.watch(request));
    if watching.opened().await?.is_none() {
        return Ok(false);
    }
    let Some(as_of) = still_there(session, target, created).await? else { return Ok(true) };
    let mut doubt = Doubt::of(backend, &watching, as_of);
    loop {
        let gone = match watching.hear(&mut doubt).await? {
            News::Events(events) => events.iter().any(|event| event.kv.mod_revision > as_of),
            News::Doubted => still_there(session, target, created).await?.is_none(),
            News::Over => return Ok(false),
        };
        if gone {
            return Ok(true);
        }
    }
}

/// Whether that incarnation of the key is there, and as of which revision. The same session may have queued again
/// behind us under the same key.
async fn still_there(session: &Session, target: &[u8], created: i64) -> Result<Option<i64>, Error> {
    let read = session.range(Range::key(target)).await?;
    Ok(read.kvs.first().filter(|kv| kv.create_revision == created).map(|_| read.header.revision))
}
