//! What is silent where it should speak: a session that is never opened, a watch that nobody doubts, observers that are not told
//! that nobody leads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tenure::kv::{Event, EventKind, LeaseGrant, WatchRequest};
use tenure::{Backend, CallError, EtcdOptions, Instant, WatchMessage, WatchStream};

use crate::workload::decorate::Decoration;

/// How long one attempt of [`OpeningHangs`] has.
const ATTEMPT: Duration = Duration::from_secs(1);

pub(super) struct OpeningHangs;

impl Decoration for OpeningHangs {
    fn lease_grant(
        inner: &Arc<dyn Backend>,
        ttl: Duration,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<LeaseGrant, CallError>> {
        // As a client without deadlines on its calls: one attempt, and a wait for its answer.
        let granted = inner.lease_grant(ttl, deadline.min(inner.now() + ATTEMPT));
        async move {
            match granted.await {
                Err(CallError::Maybe(_) | CallError::NotApplied(_)) => std::future::pending().await,
                answer => answer,
            }
        }
        .boxed()
    }
}

/// Nobody is asked for a sign of life.
pub(super) fn never_asks(options: EtcdOptions) -> EtcdOptions {
    EtcdOptions { progress_interval: Duration::from_secs(24 * 3600), ..options }
}

pub(super) struct ObserveNeverNoLeader;

/// What the watch has told of, and what is held back.
struct HeldBack {
    watch: WatchStream,
    contenders: BTreeSet<Vec<u8>>,
    deletions: Vec<Event>,
}

impl HeldBack {
    /// The deletion of the last contender that the watch has told of is told together with the next contender.
    fn tell(&mut self, events: Vec<Event>) -> Vec<Event> {
        let mut told = Vec::new();
        for event in events {
            match event.kind {
                EventKind::Put => {
                    let held_back = std::mem::take(&mut self.deletions);
                    // Of one revision, so that nobody looks between them.
                    told.extend(held_back.into_iter().map(|mut deletion| {
                        deletion.kv.mod_revision = event.kv.mod_revision;
                        deletion
                    }));
                    self.contenders.insert(event.kv.key.clone());
                    told.push(event);
                }
                EventKind::Delete => {
                    self.contenders.remove(&event.kv.key);
                    if self.contenders.is_empty() {
                        self.deletions.push(event);
                    } else {
                        told.push(event);
                    }
                }
            }
        }
        told
    }
}

impl Decoration for ObserveNeverNoLeader {
    /// Only of observers: contenders leave out puts.
    fn watch(inner: &Arc<dyn Backend>, request: WatchRequest) -> WatchStream {
        let is_observers = !request.no_put;
        let watch = inner.watch(request);
        if !is_observers {
            return watch;
        }
        let held_back = HeldBack { watch, contenders: BTreeSet::new(), deletions: Vec::new() };
        let told = stream::unfold(held_back, |mut held_back| async move {
            loop {
                match held_back.watch.next().await? {
                    Ok(WatchMessage::Events { events }) => {
                        let events = held_back.tell(events);
                        if !events.is_empty() {
                            return Some((Ok(WatchMessage::Events { events }), held_back));
                        }
                    }
                    message => return Some((message, held_back)),
                }
            }
        });
        Box::pin(told)
    }
}
