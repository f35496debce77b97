//! The read-write lock: many readers or one writer, writers first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::kv::{Compare, CompareOp, EventKind, Range, WatchRequest, prefix_end};
use crate::line::{Doubt, Intent, Joined, Line, News, Place, Watching};
use crate::name::{Name, contender_key};
use crate::tenure::{Held, guard, with_limit};
use crate::{Error, Session, metrics};

/// In which order readers and writers are granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Once a writer is in line, no reader is granted before it. Readers may starve while writers keep coming; writers
    /// wait for each other in order of arrival, and for the readers that were there before them.
    #[default]
    WritersFirst,
    /// All in order of arrival, as etcd's own recipe does (`experimental/recipes/rwmutex.go`). Nobody starves; a writer
    /// waits for every reader that came before it.
    Fifo,
}

/// A read-write lock on etcd. By default writers go first; see [`Policy`].
///
/// What [`Policy::WritersFirst`] promises: no reader is granted after a writer got in line and before that writer has
/// released or given up. It is kept by etcd itself, not by the clients' good will: a reader's key is created by a
/// transaction that requires that no writer's key exists, and a waiting reader leaves no key.
///
/// Below the name lie `read/` and `write/`, as with Go's recipe, and the two can share a name: neither overlaps the
/// other's holders, and none waits for ever, since a writer waits only for what is older than itself. All
/// clients of a name should have one policy: readers that queue (Go's, or `Fifo`) are granted in order of arrival, also
/// beside writers that go first.
///
/// Two read locks of one session are two. Two write locks of one session would be one, so the second is refused with
/// [`Error::InUse`]. To upgrade a read lock, release it first: a writer waits for all readers, its own session's too.
#[derive(Clone)]
pub struct RwLock {
    session: Session,
    name: Name,
    policy: Policy,
    readers: Arc<Line>,
    writers: Arc<Line>,
    writers_prefix: Vec<u8>,
}

impl std::fmt::Debug for RwLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RwLock")
            .field("name", &self.name.as_str())
            .field("policy", &self.policy)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

guard! {
    /// The read lock is held, perhaps beside other readers; dropping it releases in the background.
    ///
    /// It derefs to its [`Tenure`](crate::Tenure). The token of a reader tells it from earlier writers: no writer
    /// with a lower token may write once it reads.
    ReadGuard, "read lock release"
}

guard! {
    /// The write lock is held, alone; dropping it releases in the background.
    ///
    /// It derefs to its [`Tenure`](crate::Tenure): `fencing_token`, `is_held`, `lost`, `txn`.
    WriteGuard, "write lock release"
}

impl RwLock {
    /// Names a lock of a session, writers first. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        Self::with_policy(session, name, Policy::default())
    }

    /// As [`RwLock::new`], with a policy of one's choice.
    ///
    /// # Errors
    /// As [`RwLock::new`].
    pub fn with_policy(session: &Session, name: impl AsRef<str>, policy: Policy) -> Result<Self, Error> {
        let name = Name::new(name.as_ref())?;
        let writers_prefix = name.sub_prefix("write");
        let readers = Line::new(name.clone(), writers_prefix.clone(), name.prefix(), by_writer);
        let writers = Line::new(name.clone(), name.prefix(), name.prefix(), by_any);
        Ok(Self {
            session: session.clone(),
            name,
            policy,
            readers: Arc::new(readers),
            writers: Arc::new(writers),
            writers_prefix,
        })
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Waits until the lock is held for reading: one round trip when no writer is there.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::NotHeld`] if the reader's key is deleted while it waits, [`Error::ForeignKey`],
    /// [`Error::Refused`]. After an error nothing is left in line.
    ///
    /// # Cancel safety
    /// Dropping the future gives the wait up.
    pub async fn read(&self) -> Result<ReadGuard, Error> {
        let acquire = async {
            match self.policy {
                // Whatever it waits for, a watch that does not open included.
                Policy::WritersFirst => self.session.while_alive(self.read_after_writers()).await,
                Policy::Fifo => self.read_in_turn().await,
            }
        };
        self.told("rwlock_read", |_| true, acquire).instrument(self.span("read")).await
    }

    /// Takes the lock for reading if no writer holds it or waits for it.
    ///
    /// # Errors
    /// As [`RwLock::read`].
    ///
    /// # Cancel safety
    /// As [`RwLock::read`].
    pub async fn try_read(&self) -> Result<Option<ReadGuard>, Error> {
        let acquire =
            async { self.join_reader_if_free().await?.map(|place| self.grant_read(place)).transpose() };
        self.told("rwlock_read", Option::is_some, acquire).instrument(self.span("try_read")).await
    }

    /// As [`RwLock::read`], waiting for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`RwLock::read`].
    ///
    /// # Cancel safety
    /// As [`RwLock::read`].
    pub async fn read_timeout(&self, limit: Duration) -> Result<ReadGuard, Error> {
        with_limit(&**self.session.backend(), limit, self.read()).await
    }

    /// Waits until the lock is held for writing: one round trip when it is free.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::NotHeld`] if the writer's key is deleted while it waits, [`Error::InUse`],
    /// [`Error::ForeignKey`], [`Error::Refused`]. After an error nothing is left in line.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws from the line in the background; the place is lost.
    pub async fn write(&self) -> Result<WriteGuard, Error> {
        let acquire = async {
            let mut place = self.writer_place().await?;
            let joined = place.join(b"", Intent::Wait).await?;
            if !joined.is_first {
                place.wait_turn(joined.head_start).await?;
            }
            self.grant_write(place)
        };
        self.told("rwlock_write", |_| true, acquire).instrument(self.span("write")).await
    }

    /// Takes the lock for writing if it is free.
    ///
    /// For a moment it is in line, and holds up readers like any other writer.
    ///
    /// # Errors
    /// As [`RwLock::write`].
    ///
    /// # Cancel safety
    /// As [`RwLock::write`].
    pub async fn try_write(&self) -> Result<Option<WriteGuard>, Error> {
        let acquire = async {
            let mut place = self.writer_place().await?;
            if place.join(b"", Intent::Try).await?.is_first {
                return self.grant_write(place).map(Some);
            }
            place.withdraw().await?;
            Ok(None)
        };
        self.told("rwlock_write", Option::is_some, acquire).instrument(self.span("try_write")).await
    }

    /// As [`RwLock::write`], waiting for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`RwLock::write`].
    ///
    /// # Cancel safety
    /// As [`RwLock::write`].
    pub async fn write_timeout(&self, limit: Duration) -> Result<WriteGuard, Error> {
        with_limit(&**self.session.backend(), limit, self.write()).await
    }

    fn told<T>(
        &self,
        side: &'static str,
        is_granted: impl Fn(&T) -> bool,
        acquire: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        metrics::acquisition(side, &**self.session.backend(), is_granted, acquire)
    }

    /// Writers first: get in if there is no writer, else wait, without a key, until there is none and try again.
    async fn read_after_writers(&self) -> Result<ReadGuard, Error> {
        let mut writers: Option<Writers<'_>> = None;
        loop {
            if let Some(place) = self.join_reader_if_free().await? {
                return self.grant_read(place);
            }
            let following = match writers.take() {
                Some(following) => following.until_gone(true).await?,
                None => None,
            };
            writers = match following {
                Some(following) => Some(following),
                None => match self.follow_writers().await? {
                    Some(following) => following.until_gone(false).await?,
                    None => None,
                },
            };
        }
    }

    /// First come, first served: queue with a key, as Go's recipe does, behind the writers that are older.
    async fn read_in_turn(&self) -> Result<ReadGuard, Error> {
        loop {
            let Some((place, joined)) = self.join_reader(None, Intent::Wait).await? else { continue };
            if !joined.is_first {
                place.wait_turn(joined.head_start).await?;
            }
            return self.grant_read(place);
        }
    }

    /// Creates the reader's key if no writer's exists, in one transaction; `None` if there is one.
    async fn join_reader_if_free(&self) -> Result<Option<Place>, Error> {
        let no_writer = Compare::create_revision(&*self.writers_prefix, CompareOp::Equal, 0)
            .over(prefix_end(&self.writers_prefix));
        let joined = self.join_reader(Some(&no_writer), Intent::Try).await?;
        Ok(joined.map(|(place, _)| place))
    }

    /// Opens a watch on the writers, then lists them; `None` if the watch could not be opened.
    async fn follow_writers(&self) -> Result<Option<Writers<'_>>, Error> {
        let backend = self.session.backend();
        let mut watching = Watching::new(backend.watch(WatchRequest::prefix(&*self.writers_prefix)));
        if watching.opened().await?.is_none() {
            return Ok(None);
        }
        let (keys, as_of) = self.list_writers().await?;
        let doubt = Doubt::of(backend, &watching, as_of);
        Ok(Some(Writers { lock: self, watching, doubt, keys, as_of }))
    }

    /// The writers' keys, and the revision as of which they are there.
    async fn list_writers(&self) -> Result<(BTreeSet<Vec<u8>>, i64), Error> {
        let range = Range { keys_only: true, ..Range::prefix(&*self.writers_prefix) };
        let listed = self.session.range(range).await?;
        for kv in &listed.kvs {
            if !is_unique_part(&kv.key[self.writers_prefix.len()..]) {
                return Err(Error::foreign_key(&kv.key));
            }
        }
        Ok((listed.kvs.into_iter().map(|kv| kv.key).collect(), listed.header.revision))
    }

    async fn join_reader(
        &self,
        condition: Option<&Compare>,
        intent: Intent,
    ) -> Result<Option<(Place, Joined)>, Error> {
        let prefix = self.name.sub_prefix("read");
        Place::join_numbered(&self.session, &self.readers, &prefix, condition, intent).await
    }

    async fn writer_place(&self) -> Result<Place, Error> {
        let key = contender_key(&self.writers_prefix, self.session.lease());
        Place::take(&self.session, Arc::clone(&self.writers), key).await
    }

    fn grant_read(&self, place: Place) -> Result<ReadGuard, Error> {
        Ok(ReadGuard { held: Held::grant(place, self.name(), None)? })
    }

    fn grant_write(&self, place: Place) -> Result<WriteGuard, Error> {
        Ok(WriteGuard { held: Held::grant(place, self.name(), Some(self.name.prefix()))? })
    }

    /// As [`Session::hash_state`], of what the lock itself remembers.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let Self { session: _, name: _, policy: _, readers, writers, writers_prefix: _ } = self;
        readers.hash_state(into);
        writers.hash_state(into);
    }

    fn span(&self, how: &'static str) -> tracing::Span {
        tracing::debug_span!("rwlock", how, name = self.name(), lease = self.session.lease())
    }
}

/// The writers in line, followed by a watch.
struct Writers<'a> {
    lock: &'a RwLock,
    watching: Watching,
    doubt: Doubt,
    keys: BTreeSet<Vec<u8>>,
    as_of: i64,
}

impl Writers<'_> {
    /// Waits until no writer is in line; with `news`, only after the watch has told something, for when a transaction has
    /// just seen a writer that the watch has yet to tell of. `None` if the watch ended.
    async fn until_gone(mut self, mut news: bool) -> Result<Option<Self>, Error> {
        while news || !self.keys.is_empty() {
            match self.watching.hear(&mut self.doubt).await? {
                News::Events(events) => {
                    self.doubt.dispel();
                    for event in events.iter().filter(|event| event.kv.mod_revision > self.as_of) {
                        news = false;
                        match event.kind {
                            EventKind::Put => self.keys.insert(event.kv.key.clone()),
                            EventKind::Delete => self.keys.remove(&event.kv.key),
                        };
                    }
                }
                News::Doubted => {
                    (self.keys, self.as_of) = self.lock.list_writers().await?;
                    news = false;
                }
                News::Over => return Ok(None),
            }
        }
        Ok(Some(self))
    }
}

/// Behind `read/` or `write/`: a lease, with or without a counter, or the nanoseconds of Go's recipe.
fn is_unique_part(rest: &[u8]) -> bool {
    !rest.is_empty() && rest.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

/// What the lines of readers and of writers grant by a contender's key: one at a time. Readers wait for writers alone.
fn by_writer(rest: &[u8]) -> Option<u32> {
    is_unique_part(rest).then_some(1)
}

fn by_any(rest: &[u8]) -> Option<u32> {
    rest.strip_prefix(b"read/").or_else(|| rest.strip_prefix(b"write/")).and_then(by_writer)
}
