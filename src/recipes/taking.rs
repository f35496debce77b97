//! What both queues have in common: items are keys below a name, taken by one consumer each, either for good (at most once) or
//! by a claim that comes back if its consumer fails (at least once).

use std::collections::{BTreeSet, VecDeque};

use futures_util::future::BoxFuture;
use futures_util::lock::Mutex as AsyncMutex;
use futures_util::{FutureExt, StreamExt, select_biased};

use super::claim::Claim;
use super::finishing::Finishing;
use super::own_key::OwnKey;
use crate::kv::{
    Compare, CompareOp, DeleteRange, KeyValue, Op, Put, Range, SortOrder, SortTarget, Txn, WatchRequest,
};
use crate::line::{Doubt, Watching, keys};
use crate::name::Name;
use crate::session::Once;
use crate::{Error, Session, WatchMessage};

/// How many operations etcd takes in one transaction, by default (`--max-txn-ops`).
const MOST_OPS: usize = 128;

/// How many items are taken at once at most: each takes two conditions, and there are two more.
pub(crate) const MOST_TAKEN: usize = MOST_OPS / 2 - 1;

/// How many items are enqueued at once at most: there is a receipt, and a priority's bookkeeping key.
pub(crate) const MOST_ENQUEUED: usize = MOST_OPS - 2;

/// Which item is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The one that was written first; of one batch, by key.
    Arrival,
    /// The one whose key is the smallest.
    Key,
}

/// The items of a queue, as one handle and its clones see them.
pub(crate) struct Items {
    place: Place,
    /// Of a process's consumers one looks and waits; the others wait for that.
    turn: AsyncMutex<Turn>,
}

/// Where the items are.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) session: Session,
    pub(crate) name: Name,
    prefix: Vec<u8>,
    /// Where the claims of them are.
    claims: Vec<u8>,
    order: Order,
}

#[derive(Default)]
struct Turn {
    /// A taking whose consumer went away half-way: what it takes is for the next.
    taking: Option<BoxFuture<'static, Result<Vec<Vec<u8>>, Error>>>,
    /// What was taken and nobody has got yet.
    taken: VecDeque<Vec<u8>>,
}

/// The first items, and the revision as of which they are.
struct Look {
    items: Vec<KeyValue>,
    as_of: i64,
}

impl Items {
    pub(crate) fn new(session: &Session, name: Name, order: Order) -> Self {
        let (prefix, claims) = (name.prefix(), name.bookkeeping("claim"));
        let place = Place { session: session.clone(), name, prefix, claims, order };
        Self { place, turn: AsyncMutex::default() }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Takes in what the handle remembers; false while one looks, or what was begun to be taken is under way.
    pub(crate) fn hash_state(&self, into: &mut dyn std::hash::Hasher) -> bool {
        // Every field, so that a new one is thought of here.
        let Self { place: _, turn } = self;
        let Some(turn) = turn.try_lock() else { return false };
        let Turn { taking, taken } = &*turn;
        into.write_usize(taken.len());
        for item in taken {
            into.write_usize(item.len());
            into.write(item);
        }
        taking.is_none()
    }

    /// Takes up to `max` of the first items, for good. None only if it does not wait.
    pub(crate) async fn dequeue(&self, max: usize, waits: bool) -> Result<Vec<Vec<u8>>, Error> {
        let mut turn = self.turn.lock().await;
        let Turn { taking, taken } = &mut *turn;
        let mut is_anothers = taking.is_some();
        loop {
            if let Some(under_way) = taking {
                let got = under_way.await;
                *taking = None;
                match got {
                    // Nothing was taken, and what stood against it may be long over: this consumer asks for itself.
                    Err(Error::Refused(_)) if is_anothers => {}
                    got => taken.extend(got?),
                }
                is_anothers = false;
            }
            if !taken.is_empty() {
                let count = taken.len().min(max);
                return Ok(taken.drain(..count).collect());
            }
            let look = self.place.find(max.clamp(1, MOST_TAKEN), waits).await?;
            if look.items.is_empty() {
                return Ok(Vec::new());
            }
            *taking = Some(self.place.clone().take(look).boxed());
        }
    }

    /// Claims the first item that nobody has claimed. `None` only if it does not wait.
    pub(crate) async fn claim(&self, waits: bool) -> Result<Option<Claim>, Error> {
        let _turn = self.turn.lock().await;
        loop {
            let look = self.place.find(1, waits).await?;
            if look.items.is_empty() {
                return Ok(None);
            }
            let claiming = self.place.clone().claim(look);
            let claimed = Finishing::new(self.place.session.backend(), claiming).await?;
            if claimed.is_some() {
                return Ok(claimed);
            }
        }
    }

    /// How many items there are, claimed ones too.
    pub(crate) async fn count(&self) -> Result<u64, Error> {
        let range = Range { count_only: true, ..Range::prefix(&*self.place.prefix) };
        Ok(u64::try_from(self.place.session.range(range).await?.count).unwrap_or(0))
    }
}

impl Place {
    /// Deletes what was found, if all of it is there still: none if not.
    async fn take(self, look: Look) -> Result<Vec<Vec<u8>>, Error> {
        let delete = look.items.iter().map(|item| Op::Delete(DeleteRange::key(&*item.key)));
        let txn = Txn::new().when(self.are_first(&look)).and_then(delete);
        Ok(match self.session.once(&self.name, txn).await? {
            Once::Applied { .. } => look.items.into_iter().map(|item| item.value).collect(),
            Once::Not { .. } => Vec::new(),
        })
    }

    async fn claim(self, look: Look) -> Result<Option<Claim>, Error> {
        let conditions = self.are_first(&look);
        let Some(item) = look.items.into_iter().next() else { return Ok(None) };
        let key = self.claim_key(&item.key);
        let put = Put::new(&*key, "").lease(self.session.lease());
        let txn = Txn::new().when(conditions).and_then([Op::Put(put)]);
        Ok(match self.session.once(&self.name, txn).await? {
            Once::Applied { revision } => {
                Some(Claim::new(OwnKey::grant(&self.session, key, revision)?, self.name, item))
            }
            Once::Not { .. } => None,
        })
    }

    /// The conditions that what was found is there as it was, unclaimed, and that nothing has come before it.
    fn are_first(&self, look: &Look) -> Vec<Compare> {
        let there = look.items.iter().flat_map(|item| {
            [
                Compare::mod_revision(&*item.key, CompareOp::Equal, item.mod_revision),
                Compare::create_revision(self.claim_key(&item.key), CompareOp::Equal, 0),
            ]
        });
        let last = look.items.last().filter(|_| self.order == Order::Key);
        let none_before = last.map(|last| {
            Compare::create_revision(&*self.prefix, CompareOp::Less, look.as_of + 1).over(&*last.key)
        });
        there.chain(none_before).collect()
    }

    fn claim_key(&self, item: &[u8]) -> Vec<u8> {
        [&*self.claims, item.strip_prefix(&*self.prefix).unwrap_or(item)].concat()
    }

    /// The first items that nobody has claimed; if there are none and it `waits`, as soon as there are.
    async fn find(&self, max: usize, waits: bool) -> Result<Look, Error> {
        let look = self.look(max).await?;
        if !look.items.is_empty() || !waits {
            return Ok(look);
        }
        self.session.while_alive(self.watch_for(max)).await
    }

    async fn watch_for(&self, max: usize) -> Result<Look, Error> {
        let backend = self.session.backend();
        loop {
            let put = WatchRequest { no_delete: true, ..WatchRequest::prefix(&*self.prefix) };
            let given_back = WatchRequest { no_put: true, ..WatchRequest::prefix(&*self.claims) };
            let mut items = Watching::new(backend.watch(put));
            let mut claims = Watching::new(backend.watch(given_back));
            if items.opened().await?.is_none() || claims.opened().await?.is_none() {
                continue;
            }
            let mut look = self.look(max).await?;
            let mut doubts = [&items, &claims].map(|watching| Doubt::of(backend, watching, look.as_of));
            while look.items.is_empty() {
                let [of_items, of_claims] = &mut doubts;
                let told = select_biased! {
                    told = items.stream.next().fuse() => told,
                    told = claims.stream.next().fuse() => told,
                    () = of_items.due().fuse() => Some(Ok(WatchMessage::Events { events: Vec::new() })),
                    () = of_claims.due().fuse() => Some(Ok(WatchMessage::Events { events: Vec::new() })),
                };
                match told {
                    Some(Ok(WatchMessage::Events { .. } | WatchMessage::Created { .. })) => {}
                    Some(Ok(WatchMessage::Compacted { .. })) | None => break,
                    Some(Err(refusal)) => return Err(refusal.into()),
                }
                look = self.look(max).await?;
            }
            if !look.items.is_empty() {
                return Ok(look);
            }
        }
    }

    /// The first items as of now that nobody has claimed, at most `max`.
    async fn look(&self, max: usize) -> Result<Look, Error> {
        let first = Range { limit: 1, ..self.in_order() };
        let mut claims_known = 0;
        if max == 1 {
            let (claimed, found, as_of) = self.list(first).await?;
            match found.first() {
                None => return Ok(Look { items: found, as_of }),
                Some(item) if !claimed.contains(&item.key) && !self.is_of_batch(&item.key) => {
                    return Ok(Look { items: found, as_of });
                }
                Some(_) => claims_known = claimed.len(),
            }
        }
        loop {
            // Those of one batch have one revision, and etcd sorts by that alone: enough that those which count are all there.
            let limit = max + claims_known + MOST_OPS;
            let all =
                Range { keys_only: true, ..self.in_order() }.limit(i64::try_from(limit).unwrap_or(i64::MAX));
            let (claimed, mut found, as_of) = self.list(all).await?;
            if claimed.len() > claims_known {
                claims_known = claimed.len();
                continue;
            }
            if self.order == Order::Arrival {
                found.sort_by(|a, b| (a.mod_revision, &a.key).cmp(&(b.mod_revision, &b.key)));
            }
            found.retain(|item| !claimed.contains(&item.key));
            found.truncate(max);
            if found.is_empty() {
                return Ok(Look { items: found, as_of });
            }
            let items = self.read(&found).await?;
            if !items.is_empty() {
                return Ok(Look { items, as_of });
            }
        }
    }

    fn in_order(&self) -> Range {
        let target = match self.order {
            Order::Arrival => SortTarget::Mod,
            Order::Key => SortTarget::Key,
        };
        Range::prefix(&*self.prefix).sorted(target, SortOrder::Ascend)
    }

    /// Whether the item may share its revision with others.
    fn is_of_batch(&self, item: &[u8]) -> bool {
        self.order == Order::Arrival
            && item.strip_prefix(&*self.prefix).is_some_and(|rest| rest.contains(&b'/'))
    }

    /// Which items are claimed and which there are, as of one revision.
    async fn list(&self, items: Range) -> Result<(BTreeSet<Vec<u8>>, Vec<KeyValue>, i64), Error> {
        let claims = Range { keys_only: true, ..Range::prefix(&*self.claims) };
        let txn = Txn::new().and_then([Op::Range(claims), Op::Range(items)]);
        let listed = self.session.txn(txn).await?.value;
        let item = |claim: &KeyValue| Some([&*self.prefix, claim.key.strip_prefix(&*self.claims)?].concat());
        let claimed = keys(&listed, 0).iter().filter_map(item).collect();
        Ok((claimed, keys(&listed, 1).to_vec(), listed.header.revision))
    }

    /// Those of the items that are there still, with their values.
    async fn read(&self, items: &[KeyValue]) -> Result<Vec<KeyValue>, Error> {
        let ranges = items.iter().map(|item| Op::Range(Range::key(&*item.key)));
        let read = self.session.txn(Txn::new().and_then(ranges)).await?.value;
        Ok((0..items.len()).flat_map(|index| keys(&read, index)).cloned().collect())
    }
}

/// Defines what both kinds of queue give to consumers.
macro_rules! consumer {
    ($queue:ident, $first:literal) => {
        impl $queue {
            /// How many items are taken or claimed in one transaction at most; see
            #[doc = concat!("[`", stringify!($queue), "::dequeue_batch`].")]
            pub const MOST_TAKEN: usize = $crate::recipes::taking::MOST_TAKEN;
            /// How many items are enqueued in one transaction at most: etcd takes 128 operations (`--max-txn-ops`).
            pub const MOST_ENQUEUED: usize = $crate::recipes::taking::MOST_ENQUEUED;

            /// The queue's name.
            pub fn name(&self) -> &str {
                self.items.place().name.as_str()
            }

            #[doc = concat!("Takes ", $first, ", **at most once**: it is deleted, and given to nobody else. Waits until there is one.")]
            ///
            /// Each item is given once: a deletion whose answer was lost is found out about. What is given to a process that
            /// then dies is lost with it; [`claim`](Self::claim) is for what must not be.
            ///
            /// # Errors
            /// [`Error::SessionLost`](crate::Error::SessionLost) and [`Error::Maybe`](crate::Error::Maybe): an item may have been
            /// taken and lost. [`Error::Refused`](crate::Error::Refused): nothing was taken; etcd out of space refuses this,
            /// since it writes a receipt.
            ///
            /// # Cancel safety
            /// Cancel safe: what was taken when the future is dropped is given to the next that dequeues by this handle or a clone
            /// of it. It is lost if nobody does.
            pub async fn dequeue(&self) -> Result<Vec<u8>, $crate::Error> {
                loop {
                    if let Some(item) = self.items.dequeue(1, true).await?.into_iter().next() {
                        return Ok(item);
                    }
                }
            }

            /// As [`dequeue`](Self::dequeue), without waiting: `None` if there is no item that nobody has claimed.
            ///
            /// # Errors
            /// As [`dequeue`](Self::dequeue).
            ///
            /// # Cancel safety
            /// As [`dequeue`](Self::dequeue).
            pub async fn try_dequeue(&self) -> Result<Option<Vec<u8>>, $crate::Error> {
                Ok(self.items.dequeue(1, false).await?.into_iter().next())
            }

            /// As [`dequeue`](Self::dequeue), waiting for `limit` at most.
            ///
            /// # Errors
            /// [`Error::Timeout`](crate::Error::Timeout), and those of [`dequeue`](Self::dequeue).
            ///
            /// # Cancel safety
            /// As [`dequeue`](Self::dequeue).
            pub async fn dequeue_timeout(&self, limit: std::time::Duration) -> Result<Vec<u8>, $crate::Error> {
                let backend = self.items.place().session.backend();
                $crate::tenure::with_limit(&**backend, limit, self.dequeue()).await
            }

            /// As [`dequeue`](Self::dequeue), as many as there are, `max` and [`MOST_TAKEN`](Self::MOST_TAKEN) at most, in one
            /// transaction: all are taken or none. Waits until there is one at least.
            ///
            /// # Errors
            /// As [`dequeue`](Self::dequeue).
            ///
            /// # Cancel safety
            /// As [`dequeue`](Self::dequeue).
            pub async fn dequeue_batch(&self, max: usize) -> Result<Vec<Vec<u8>>, $crate::Error> {
                self.items.dequeue(max.max(1), true).await
            }

            #[doc = concat!("Claims ", $first, ", **at least once**: it stays in the queue until it is [acknowledged](Claim::ack), for nobody else to see.")]
            /// Waits until there is one. If the claim is dropped, or its session ends, as when the process dies, the item is there again, in its old place.
            ///
            /// # Errors
            /// [`Error::SessionLost`](crate::Error::SessionLost), [`Error::Refused`](crate::Error::Refused),
            /// [`Error::Maybe`](crate::Error::Maybe) (then an item may be claimed until the session ends).
            ///
            /// # Cancel safety
            /// Dropping the future leaves it to the background to give back what was claimed.
            pub async fn claim(&self) -> Result<Claim, $crate::Error> {
                loop {
                    if let Some(claim) = self.items.claim(true).await? {
                        return Ok(claim);
                    }
                }
            }

            /// As [`claim`](Self::claim), without waiting: `None` if there is no item that nobody has claimed.
            ///
            /// # Errors
            /// As [`claim`](Self::claim).
            ///
            /// # Cancel safety
            /// As [`claim`](Self::claim).
            pub async fn try_claim(&self) -> Result<Option<Claim>, $crate::Error> {
                self.items.claim(false).await
            }

            /// As [`claim`](Self::claim), waiting for `limit` at most.
            ///
            /// # Errors
            /// [`Error::Timeout`](crate::Error::Timeout), and those of [`claim`](Self::claim).
            ///
            /// # Cancel safety
            /// As [`claim`](Self::claim).
            pub async fn claim_timeout(&self, limit: std::time::Duration) -> Result<Claim, $crate::Error> {
                let backend = self.items.place().session.backend();
                $crate::tenure::with_limit(&**backend, limit, self.claim()).await
            }

            /// How many items there are, claimed ones too. The answer is old when it arrives.
            ///
            /// # Errors
            /// [`Error::SessionLost`](crate::Error::SessionLost), [`Error::Refused`](crate::Error::Refused).
            ///
            /// Cancel safe.
            pub async fn count(&self) -> Result<u64, $crate::Error> {
                self.items.count().await
            }
        }

        impl std::fmt::Debug for $queue {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($queue)).field("name", &self.name()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use consumer;
