//! The queue: items in order of arrival.

use std::sync::Arc;

use super::claim::Claim;
use super::finishing::Finishing;
use super::taking::{Items, Order, consumer};
use crate::kv::{Compare, CompareOp, Op, Put, Txn, prefix_end};
use crate::name::Name;
use crate::session::Once;
use crate::{Error, Session};

/// A queue on etcd, of any number of producers and consumers: first in, first out.
///
/// Items are keys below `NAME/`, in order of the revision that wrote them, as in Go's recipe
/// (`client/v3/experimental/recipes/queue.go`), so Go programs enqueue to and dequeue from the same queue. What differs:
/// To Go every key that *begins* with the name is an item: it would take the items of `jobs2` from `jobs`; here the name ends
/// with a slash; and Go asks etcd for the lowest revision alone, so of one batch it may take the items in any order. And Go names a key by the producer's clock, here it is the session's id and a number, so no two ever meet.
///
/// **What is enqueued is enqueued once, what is dequeued is dequeued once,** whatever answers are lost: each transaction also
/// rewrites a key of the session's (`__NAME\0receipt/..`), by which its retries are told from the first. Consumers choose by the
/// method what a crash does: [`dequeue`](Self::dequeue) is at most once, [`claim`](Self::claim) at least once.
///
/// Clones are one handle. Of a handle's consumers one at a time looks and waits, by one watch, however many wait.
#[derive(Clone)]
pub struct Queue {
    items: Arc<Items>,
}

impl Queue {
    /// Names a queue. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        let name = Name::new(name.as_ref())?;
        Ok(Self { items: Arc::new(Items::new(session, name, Order::Arrival)) })
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// [`Error::Refused`]: it was not added. [`Error::SessionLost`] and [`Error::Maybe`]: it is not known.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the background: it is added once, or not at all.
    pub async fn enqueue(&self, item: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.enqueue_all([item]).await
    }

    /// Adds items at the end, in this order and one transaction: all or none.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; [`Error::InvalidArgument`] if they are more than [`Queue::MOST_ENQUEUED`].
    ///
    /// # Cancel safety
    /// As [`Queue::enqueue`].
    pub async fn enqueue_all<I: Into<Vec<u8>>>(
        &self,
        items: impl IntoIterator<Item = I>,
    ) -> Result<(), Error> {
        let items: Vec<Vec<u8>> = items.into_iter().map(Into::into).collect();
        if items.len() > Self::MOST_ENQUEUED {
            return Err(Error::InvalidArgument { what: "batch", allowed: "126 items at most" });
        }
        let place = self.items.place();
        let (session, name) = (place.session.clone(), place.name.clone());
        Finishing::new(place.session.backend(), async move { add(&session, &name, &items).await }).await
    }

    /// As [`Session::hash_state`], of what the queue itself remembers; false if that is not known, while something is under way.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) -> bool {
        let Self { items } = self;
        items.hash_state(into)
    }
}

consumer!(Queue, "the oldest item that nobody has claimed");

async fn add(session: &Session, name: &Name, items: &[Vec<u8>]) -> Result<(), Error> {
    loop {
        let key = format!("{}/{:x}.{}", name.as_str(), session.lease(), session.next_number());
        let (free, puts): (_, Vec<Put>) = match items {
            [] => return Ok(()),
            [item] => {
                let free = Compare::create_revision(&*key, CompareOp::Equal, 0);
                (free, vec![Put::new(key, &**item)])
            }
            items => {
                let below = format!("{key}/").into_bytes();
                let free = Compare::create_revision(&*below, CompareOp::Equal, 0).over(prefix_end(&below));
                let keys = (0..).map(|index| format!("{key}/{index:03}"));
                (free, keys.zip(items).map(|(key, item)| Put::new(key, &**item)).collect())
            }
        };
        let txn = Txn::new().when([free]).and_then(puts.into_iter().map(Op::Put));
        match session.once(name, txn).await? {
            Once::Applied { .. } => return Ok(()),
            // An earlier process of this lease has an item of that key there.
            Once::Not { .. } => {}
        }
    }
}
