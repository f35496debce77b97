//! The watches of one member: synced ones are told of each revision as it is applied, others catch up from history
//! (`mvcc/watchable_store.go`, `api/v3rpc/watch.go`).

use std::collections::BTreeMap;

use tenure::kv::{Event, EventKind, Header, WatchRequest, WatchResponse};

use super::span::Span;
use super::{Change, Store, Written, event, prev_in_revision, refuse};

/// A watch that catches up is told of this many revisions at a time (`watchBatchMaxRevs`).
const BATCH_REVISIONS: usize = 1000;

/// A watch on one member; ids are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

#[derive(Clone, Debug)]
struct Watch {
    request: WatchRequest,
    /// The least revision that is still to be told.
    from: i64,
    synced: bool,
}

/// All open watches of one member. Replies come with the revision in their header only.
#[derive(Clone, Debug, Default)]
pub struct WatchHub {
    next_id: u64,
    watches: BTreeMap<WatchId, Watch>,
    unsynced: usize,
}

/// The keys that a watch is for; an empty key is the least key there is.
pub(super) fn span_of(request: &WatchRequest) -> Span<'_> {
    Span::new(if request.key.is_empty() { &[0] } else { &request.key }, &request.range_end)
}

/// Whether a watch does not want to hear of this kind of event.
pub(super) fn filtered(request: &WatchRequest, kind: EventKind) -> bool {
    match kind {
        EventKind::Put => request.no_put,
        EventKind::Delete => request.no_delete,
    }
}

fn response(revision: i64) -> WatchResponse {
    WatchResponse { header: Header { revision, ..Header::default() }, ..WatchResponse::default() }
}

impl WatchHub {
    /// A member without watches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a watch. The messages say so, or why not: then the last one is `canceled`, and the id is of no more use.
    /// A watch from a past revision is told of it only by [`WatchHub::sync_unsynced`].
    pub fn create(&mut self, request: WatchRequest, store: &Store) -> (WatchId, Vec<WatchResponse>) {
        self.open(request, store, false)
    }

    /// As [`WatchHub::create`], and a write comes between the look at the store's revision, for a watch from now, and the
    /// watch's being taken in: to etcd it is one from the past then (`v3rpc/watch.go`, `recvLoop`, reads the revision without the lock
    /// under which `mvcc/watchable_store.go`, `watch`, compares it).
    pub fn create_overtaken(
        &mut self,
        request: WatchRequest,
        store: &Store,
    ) -> (WatchId, Vec<WatchResponse>) {
        self.open(request, store, true)
    }

    fn open(
        &mut self,
        request: WatchRequest,
        store: &Store,
        overtaken: bool,
    ) -> (WatchId, Vec<WatchResponse>) {
        let id = WatchId(self.next_id);
        self.next_id += 1;
        let opened = WatchResponse { created: true, ..response(store.revision()) };
        if let Some(reason) = refusal(&request) {
            return (id, vec![WatchResponse { canceled: true, cancel_reason: reason.to_owned(), ..opened }]);
        }
        let is_past = (1..=store.revision()).contains(&request.start_revision);
        let synced = !(is_past || overtaken && request.start_revision == 0);
        let from =
            if is_past { request.start_revision } else { request.start_revision.max(store.revision() + 1) };
        self.unsynced += usize::from(!synced);
        self.watches.insert(id, Watch { request, from, synced });
        (id, vec![opened])
    }

    /// Closes a watch, and says whether it was open.
    pub fn cancel(&mut self, id: WatchId) -> bool {
        let Some(watch) = self.watches.remove(&id) else { return false };
        self.unsynced -= usize::from(!watch.synced);
        true
    }

    /// Tells the synced watches of the events of one revision, which the store has just applied.
    pub fn on_applied(&mut self, store: &Store, events: &[Event]) -> Vec<(WatchId, WatchResponse)> {
        let Some(revision) = events.first().map(|event| event.kv.mod_revision) else { return Vec::new() };
        self.tell_synced(store, revision, |request, span| {
            let wanted = |event: &&Event| span.contains(&event.kv.key) && !filtered(request, event.kind);
            events.iter().filter(wanted).map(|event| with_prev(event, request.prev_kv)).collect()
        })
    }

    /// The same for a store that has just followed another. Events are made only for watches that want them.
    pub(crate) fn on_followed(&mut self, store: &Store, written: &Written) -> Vec<(WatchId, WatchResponse)> {
        let Written { revision, changes } = written;
        self.tell_synced(store, *revision, |request, span| {
            let wanted = |(_, change): &(usize, &Change)| {
                span.contains(&change.kv.key) && !filtered(request, change.kind)
            };
            let told = changes.iter().enumerate().filter(wanted).map(|(index, change)| {
                let prev = request.prev_kv.then(|| prev_in_revision(*revision, changes, index)).flatten();
                event(change, prev)
            });
            told.collect()
        })
    }

    fn tell_synced(
        &mut self,
        store: &Store,
        revision: i64,
        events: impl Fn(&WatchRequest, Span<'_>) -> Vec<Event>,
    ) -> Vec<(WatchId, WatchResponse)> {
        let mut told = Vec::new();
        for (id, watch) in self.watches.iter_mut().filter(|(_, watch)| watch.synced && watch.from <= revision)
        {
            let found = events(&watch.request, span_of(&watch.request));
            watch.from = store.revision() + 1;
            if !found.is_empty() {
                told.push((*id, WatchResponse { events: found, ..response(revision) }));
            }
        }
        told
    }

    /// Whether a watch waits for [`WatchHub::sync_unsynced`], which etcd's loop calls every 100 ms.
    pub fn has_unsynced(&self) -> bool {
        self.unsynced > 0
    }

    /// Whether a watch is told of each revision as it is applied.
    pub fn is_synced(&self, id: WatchId) -> bool {
        self.watches.get(&id).is_some_and(|watch| watch.synced)
    }

    /// Tells the watches that lag what is in history, at most 1000 revisions each, and closes those for which that is
    /// compacted.
    pub fn sync_unsynced(&mut self, store: &Store) -> Vec<(WatchId, WatchResponse)> {
        let mut told = Vec::new();
        let mut compacted = Vec::new();
        for (id, watch) in self.watches.iter_mut().filter(|(_, watch)| !watch.synced) {
            match store.events_until(&watch.request, watch.from, BATCH_REVISIONS) {
                Ok((events, next)) => {
                    watch.from = next.max(watch.from);
                    watch.synced = next > store.revision();
                    self.unsynced -= usize::from(watch.synced);
                    if !events.is_empty() {
                        told.push((*id, WatchResponse { events, ..response(store.revision()) }));
                    }
                }
                Err(gone) => {
                    compacted.push(*id);
                    let compact_revision = gone.compact_revision;
                    // etcd says this without its revision.
                    told.push((*id, WatchResponse { canceled: true, compact_revision, ..response(0) }));
                }
            }
        }
        for id in compacted {
            self.cancel(id);
        }
        told
    }

    /// The member's store was replaced by a newer one: every watch has to catch up
    /// (`Restore` in `mvcc/watchable_store.go`).
    pub fn restore(&mut self) {
        for watch in self.watches.values_mut() {
            watch.synced = false;
        }
        self.unsynced = self.watches.len();
    }

    /// The answer to a request for progress: none while the watch lags or its first revision is yet to come, as etcd then
    /// gives none either (`progressIfSync`).
    pub fn progress(&self, id: WatchId, store: &Store) -> Option<WatchResponse> {
        let watch = self.watches.get(&id)?;
        let begun = watch.request.start_revision <= store.revision();
        (watch.synced && begun).then(|| response(store.revision()))
    }

    /// Forgets all watches: the member's process has died.
    pub fn clear(&mut self) {
        self.watches.clear();
        self.unsynced = 0;
    }

    /// The open watches.
    pub fn ids(&self) -> impl Iterator<Item = WatchId> {
        self.watches.keys().copied()
    }
}

/// Why etcd does not open this watch.
fn refusal(request: &WatchRequest) -> Option<&'static str> {
    if request.start_revision < 0 {
        Some(refuse::COMPACTED)
    } else if span_of(request).is_empty() {
        Some("mvcc: watcher range is empty")
    } else {
        None
    }
}

fn with_prev(event: &Event, prev_kv: bool) -> Event {
    Event {
        kind: event.kind,
        kv: event.kv.clone(),
        prev_kv: if prev_kv { event.prev_kv.clone() } else { None },
    }
}

#[cfg(test)]
mod tests {
    use tenure::kv::{DeleteRange, Put, Request};

    use super::*;
    use crate::store::StoreConfig;

    fn put(store: &mut Store, hub: &mut WatchHub, key: &str) -> Vec<(WatchId, WatchResponse)> {
        let applied = store.apply(&Request::Put(Put::new(key, "")));
        hub.on_applied(store, &applied.events)
    }

    fn revisions(messages: &[(WatchId, WatchResponse)]) -> Vec<i64> {
        messages.iter().flat_map(|(_, message)| &message.events).map(|event| event.kv.mod_revision).collect()
    }

    #[test]
    fn a_watch_from_now_or_from_the_future_is_told_at_once() {
        let (mut store, mut hub) = (Store::new(StoreConfig::default()), WatchHub::new());
        let (now, opened) = hub.create(WatchRequest::key("a"), &store);
        assert!(opened[0].created && opened[0].header.revision == 1);
        let (later, _) = hub.create(WatchRequest { start_revision: 3, ..WatchRequest::key("a") }, &store);
        assert!(!hub.has_unsynced());
        assert_eq!(hub.progress(later, &store), None, "its first revision is yet to come");
        let told = put(&mut store, &mut hub, "a");
        assert_eq!(told.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [now]);
        assert_eq!(put(&mut store, &mut hub, "a").len(), 2);
        assert!(put(&mut store, &mut hub, "b").is_empty());
        assert!(hub.progress(later, &store).is_some_and(|message| message.header.revision == 4));
        assert!(hub.cancel(now) && !hub.cancel(now));
        assert_eq!(put(&mut store, &mut hub, "a").len(), 1);
    }

    #[test]
    fn a_watch_from_now_that_a_write_overtakes_waits_for_the_loop_and_misses_nothing() {
        let (mut store, mut hub) = (Store::new(StoreConfig::default()), WatchHub::new());
        put(&mut store, &mut hub, "a");
        let (_, opened) = hub.create_overtaken(WatchRequest::key("a"), &store);
        assert!(opened[0].created && opened[0].header.revision == 2);
        assert!(put(&mut store, &mut hub, "a").is_empty() && hub.has_unsynced());
        assert_eq!(revisions(&hub.sync_unsynced(&store)), [3]);
        assert_eq!(revisions(&put(&mut store, &mut hub, "a")), [4]);
    }

    #[test]
    fn a_watch_from_the_past_is_told_once_by_the_loop_and_then_as_others_are() {
        let (mut store, mut hub) = (Store::new(StoreConfig::default()), WatchHub::new());
        put(&mut store, &mut hub, "a");
        put(&mut store, &mut hub, "a");
        let (id, _) = hub.create(WatchRequest { start_revision: 3, ..WatchRequest::key("a") }, &store);
        assert!(hub.has_unsynced() && hub.progress(id, &store).is_none());
        assert!(put(&mut store, &mut hub, "a").is_empty(), "it waits for the loop");
        assert_eq!(revisions(&hub.sync_unsynced(&store)), [3, 4]);
        assert!(!hub.has_unsynced());
        assert!(hub.sync_unsynced(&store).is_empty());
        assert_eq!(revisions(&put(&mut store, &mut hub, "a")), [5]);
    }

    #[test]
    fn a_long_past_is_told_a_thousand_revisions_at_a_time() {
        let (mut store, mut hub) = (Store::new(StoreConfig::default()), WatchHub::new());
        for _ in 0..2500 {
            put(&mut store, &mut hub, "a");
        }
        hub.create(WatchRequest { start_revision: 2, ..WatchRequest::key("a") }, &store);
        let lengths: Vec<usize> = (0..3).map(|_| revisions(&hub.sync_unsynced(&store)).len()).collect();
        assert_eq!(lengths, [1000, 1000, 500]);
        assert!(!hub.has_unsynced());
    }

    #[test]
    fn a_watch_whose_past_is_compacted_is_closed_with_the_compact_revision() {
        let (mut store, mut hub) = (Store::new(StoreConfig::default()), WatchHub::new());
        put(&mut store, &mut hub, "a");
        put(&mut store, &mut hub, "a");
        let (id, opened) = hub.create(WatchRequest { start_revision: 2, ..WatchRequest::key("a") }, &store);
        assert!(opened[0].created && !opened[0].canceled);
        store.apply(&Request::Compact { revision: 3, physical: false }).result.expect("compacted");
        let told = hub.sync_unsynced(&store);
        let [(of, message)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((*of, message.canceled, message.compact_revision), (id, true, 3));
        assert_eq!((message.cancel_reason.as_str(), message.header.revision), ("", 0));
        assert!(!hub.has_unsynced() && hub.ids().next().is_none());
    }

    #[test]
    fn filters_and_impossible_watches_are_as_in_etcd() {
        let (mut store, mut hub) = (Store::new(StoreConfig::default()), WatchHub::new());
        hub.create(WatchRequest { no_put: true, ..WatchRequest::key("a") }, &store);
        assert!(put(&mut store, &mut hub, "a").is_empty());
        let applied = store.apply(&Request::Delete(DeleteRange::key("a")));
        assert_eq!(hub.on_applied(&store, &applied.events).len(), 1);
        let empty = WatchRequest { range_end: b"a".to_vec(), ..WatchRequest::key("b") };
        let (_, refused) = hub.create(empty, &store);
        assert!(refused[0].created && refused[0].canceled);
        assert_eq!(refused[0].cancel_reason, "mvcc: watcher range is empty");
    }
}
