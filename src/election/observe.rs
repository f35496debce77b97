//! Observing an election: who leads now, then every change, that nobody leads included.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::Stream;

use super::Leader;
use crate::kv::{Event, EventKind, KeyValue, Range, WatchRequest};
use crate::line::Watching;
use crate::name::Name;
use crate::{Backend, CallError, Error, WatchMessage, WatchStream};

/// What an observer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// This one leads, or says a new value.
    Leader(Leader),
    /// Nobody leads.
    NoLeader,
}

/// Observes an election: the present state first, then every change of leader or value, in order, none twice.
///
/// It lists the contenders once and then follows the watch, so it reads nothing stale (etcd 18163) and misses no short
/// reign. It goes on across the loss of members, their restart and compactions (etcd 7815): after a compaction it goes on
/// from the state that then is. It never ends; an error is told, and the next call tries again.
pub struct Observer {
    backend: Arc<dyn Backend>,
    prefix: Vec<u8>,
    following: Option<Following>,
    /// What was observed last, by the leader's `rev` and the revision of its value.
    last: Option<Option<(i64, i64)>>,
    ready: VecDeque<Result<Observation, Error>>,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("prefix", &crate::kv::Shown(&self.prefix).to_string())
            .finish_non_exhaustive()
    }
}

/// An open watch and the contenders as of the last event that it told.
struct Following {
    watch: WatchStream,
    contenders: BTreeMap<Vec<u8>, KeyValue>,
    as_of: i64,
}

impl Observer {
    pub(super) fn over(backend: Arc<dyn Backend>, name: &Name) -> Self {
        Self { backend, prefix: name.prefix(), following: None, last: None, ready: VecDeque::new() }
    }

    /// Waits for the next observation.
    ///
    /// # Errors
    /// [`Error::ForeignKey`] if something that is no contender is first, [`Error::Refused`]. Call again to go on.
    ///
    /// Cancel safe: no observation is lost.
    pub async fn next(&mut self) -> Result<Observation, Error> {
        loop {
            if let Some(observation) = self.ready.pop_front() {
                return observation;
            }
            let Some(following) = &mut self.following else {
                self.follow().await?;
                continue;
            };
            match following.watch.next().await {
                Some(Ok(WatchMessage::Events { events })) => self.take(&events),
                Some(Ok(WatchMessage::Created { .. })) => {}
                Some(Ok(WatchMessage::Compacted { .. })) | None => self.following = None,
                Some(Err(refusal)) => {
                    self.following = None;
                    return Err(refusal.into());
                }
            }
        }
    }

    /// The same as an endless stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Observation, Error>> + Send {
        futures_util::stream::unfold(self, |mut observer| async move {
            let next = observer.next().await;
            Some((next, observer))
        })
    }

    /// Opens the watch at "now", then lists.
    async fn follow(&mut self) -> Result<(), Error> {
        let mut watching = Watching::new(self.backend.watch(WatchRequest::prefix(&*self.prefix)));
        if watching.opened().await?.is_none() {
            return Ok(());
        }
        let deadline = self.backend.now() + Duration::from_secs(5);
        let listed = match self.backend.range(Range::prefix(&*self.prefix), deadline).await {
            Ok(listed) => listed,
            Err(CallError::Refused(refusal)) => return Err(refusal.into()),
            Err(failure) => {
                tracing::debug!(%failure, "the contenders could not be listed; trying again");
                return Ok(());
            }
        };
        let contenders = listed.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        self.following =
            Some(Following { watch: watching.stream, contenders, as_of: listed.header.revision });
        self.look();
        Ok(())
    }

    fn take(&mut self, events: &[Event]) {
        for same_revision in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
            let Some(following) = &mut self.following else { return };
            for event in same_revision.iter().filter(|event| event.kv.mod_revision > following.as_of) {
                match event.kind {
                    EventKind::Put => following.contenders.insert(event.kv.key.clone(), event.kv.clone()),
                    EventKind::Delete => following.contenders.remove(&event.kv.key),
                };
            }
            self.look();
        }
    }

    /// Notes who leads if that is news.
    fn look(&mut self) {
        let Some(following) = &self.following else { return };
        let first = following.contenders.values().min_by_key(|kv| kv.create_revision);
        let seen = first.map(|kv| (kv.create_revision, kv.mod_revision));
        if self.last == Some(seen) {
            return;
        }
        let observation = match first {
            Some(kv) => Leader::from_first(&self.prefix, kv).map(Observation::Leader),
            None => Ok(Observation::NoLeader),
        };
        self.last = Some(seen);
        self.ready.push_back(observation);
    }
}
