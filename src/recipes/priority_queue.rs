//! The priority queue: the item of the lowest priority number first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claim::Claim;
use super::finishing::Finishing;
use super::taking::{Items, Order, consumer};
use crate::kv::{Compare, CompareOp, Op, Put, Range, SortOrder, SortTarget, Txn, TxnResponse};
use crate::line::keys;
use crate::name::Name;
use crate::session::Once;
use crate::sync::{Mutex, PoisonError};
use crate::{Error, Session};

/// A queue on etcd whose items have priorities: the lowest number first, those of one priority first in, first out.
///
/// The keys are those of Go's recipe (`client/v3/experimental/recipes/priority_queue.go`), `NAME/PRIORITY/NUMBER` with a bookkeeping
/// key `__NAME/PRIORITY` that each enqueueing writes, so Go programs use the same queue. Priorities are 16 bits wide: Go's
/// `EnqueueUint64` writes longer ones, which do not sort as numbers (`100000` comes before `99999`), and whose keys a shorter
/// priority takes for its own. The bookkeeping keys stay, one a priority.
///
/// What is first is decided by the transaction that takes it, so no item is overtaken by one of lower rank that was there, or
/// came while the consumer looked. See [`Queue`](crate::Queue) for what is promised when answers are lost or consumers crash.
#[derive(Clone)]
pub struct PriorityQueue {
    items: Arc<Items>,
    ends: Arc<Mutex<BTreeMap<u16, End>>>,
}

/// Where the items of a priority end, as this handle last knew.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The revision of the bookkeeping key: who has enqueued since has written it.
    as_of: i64,
    /// The next number.
    next: u64,
}

impl PriorityQueue {
    /// Names a queue. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        let name = Name::new(name.as_ref())?;
        Ok(Self { items: Arc::new(Items::new(session, name, Order::Key)), ends: Arc::default() })
    }

    /// Adds an item behind those of the same priority.
    ///
    /// # Errors
    /// [`Error::Refused`]: it was not added. [`Error::SessionLost`] and [`Error::Maybe`]: it is not known.
    /// [`Error::ForeignKey`] if the last key of that priority ends in no number.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the background: it is added once, or not at all.
    pub async fn enqueue(&self, priority: u16, item: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.enqueue_all(priority, [item]).await
    }

    /// Adds items of one priority, in this order and one transaction: all or none.
    ///
    /// # Errors
    /// As [`PriorityQueue::enqueue`]; [`Error::InvalidArgument`] if they are more than [`PriorityQueue::MOST_ENQUEUED`].
    ///
    /// # Cancel safety
    /// As [`PriorityQueue::enqueue`].
    pub async fn enqueue_all<I: Into<Vec<u8>>>(
        &self,
        priority: u16,
        items: impl IntoIterator<Item = I>,
    ) -> Result<(), Error> {
        let items: Vec<Vec<u8>> = items.into_iter().map(Into::into).collect();
        if items.len() > Self::MOST_ENQUEUED {
            return Err(Error::InvalidArgument { what: "batch", allowed: "126 items at most" });
        }
        if items.is_empty() {
            return Ok(());
        }
        let place = self.items.place();
        let shelf = Shelf::new(&place.name, priority);
        let (session, name, ends) = (place.session.clone(), place.name.clone(), Arc::clone(&self.ends));
        let adding = async move {
            let known = ends.lock().unwrap_or_else(PoisonError::into_inner).get(&priority).copied();
            let end = shelf.add(&session, &name, known, &items).await?;
            ends.lock().unwrap_or_else(PoisonError::into_inner).insert(priority, end);
            Ok(())
        };
        Finishing::new(place.session.backend(), adding).await
    }

    /// As [`Session::hash_state`], of what the queue itself remembers; false if that is not known, while something is under way.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) -> bool {
        // Every field, so that a new one is thought of here.
        let Self { items, ends } = self;
        for (priority, End { as_of, next }) in &*ends.lock().unwrap_or_else(PoisonError::into_inner) {
            into.write_u16(*priority);
            into.write_i64(*as_of);
            into.write_u64(*next);
        }
        items.hash_state(into)
    }
}

consumer!(PriorityQueue, "the item of the lowest priority number that nobody has claimed");

/// The keys of one priority.
struct Shelf {
    prefix: String,
    bookkeeping: String,
}

impl Shelf {
    fn new(name: &Name, priority: u16) -> Self {
        let shelf = format!("{}/{priority:05}", name.as_str());
        Self { prefix: format!("{shelf}/"), bookkeeping: format!("__{shelf}") }
    }

    /// Adds the items behind the last, and tells where the end is then.
    async fn add(
        &self,
        session: &Session,
        name: &Name,
        known: Option<End>,
        items: &[Vec<u8>],
    ) -> Result<End, Error> {
        let mut end = match known {
            Some(end) => end,
            None => self.end(&session.txn(Txn::new().and_then(self.look())).await?.value)?,
        };
        loop {
            let keys = (end.next..).map(|number| format!("{}{number:016}", self.prefix));
            let puts = keys.zip(items).map(|(key, item)| Op::Put(Put::new(key, &**item)));
            let txn = Txn::new()
                .when([Compare::mod_revision(&*self.bookkeeping, CompareOp::Equal, end.as_of)])
                .and_then([Op::Put(Put::new(&*self.bookkeeping, ""))])
                .and_then(puts)
                .or_else(self.look());
            match session.once(name, txn).await? {
                Once::Applied { revision } => {
                    return Ok(End { as_of: revision, next: end.next + items.len() as u64 });
                }
                Once::Not { response } => end = self.end(&response)?,
            }
        }
    }

    fn look(&self) -> [Op; 2] {
        let last = Range { keys_only: true, ..Range::prefix(&*self.prefix) }
            .sorted(SortTarget::Key, SortOrder::Descend)
            .limit(1);
        [Op::Range(Range::key(&*self.bookkeeping)), Op::Range(last)]
    }

    fn end(&self, looked: &TxnResponse) -> Result<End, Error> {
        let as_of = keys(looked, 0).first().map_or(0, |kv| kv.mod_revision);
        let Some(last) = keys(looked, 1).first() else { return Ok(End { as_of, next: 0 }) };
        let number =
            last.key.rsplit(|byte| *byte == b'/').next().and_then(|rest| std::str::from_utf8(rest).ok());
        let number =
            number.and_then(|number| number.parse::<u64>().ok()).and_then(|number| number.checked_add(1));
        Ok(End { as_of, next: number.ok_or_else(|| Error::foreign_key(&last.key))? })
    }
}
