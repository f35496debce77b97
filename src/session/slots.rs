//! Which keys of a session are in use in this process. On etcd two locks of one session and name are one lock, so the
//! second is refused here, and one that follows a release waits until that is through.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The keys in use.
#[derive(Default)]
pub(crate) struct Slots {
    inner: Mutex<BTreeMap<Vec<u8>, Use>>,
}

#[derive(Default)]
struct Use {
    leaving: bool,
    waiting: Vec<Waker>,
}

/// A key in use; dropping it frees the key.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    key: Vec<u8>,
}

/// The key is held or waited for.
#[derive(Debug)]
pub(crate) struct Taken;

impl Slots {
    /// Takes the key, after a release of it that is under way.
    ///
    /// Cancel safe.
    pub(crate) fn take(slots: &Arc<Self>, key: &[u8]) -> Take {
        Take { slots: Arc::clone(slots), key: key.to_vec(), leaving: false }
    }

    /// As [`Slots::take`], only to give it back: who wants it waits.
    pub(crate) fn take_leaving(slots: &Arc<Self>, key: &[u8]) -> Take {
        Take { slots: Arc::clone(slots), key: key.to_vec(), leaving: true }
    }

    /// Takes in which keys are in use, and how.
    pub(crate) fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        for (key, Use { leaving, waiting }) in &*self.lock() {
            into.write(key);
            into.write_u8((*leaving).into());
            into.write_usize(waiting.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Use>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// From here on the key is being given back: who wants it waits instead of being refused.
    pub(crate) fn leave(&self) {
        if let Some(used) = self.slots.lock().get_mut(&self.key) {
            used.leaving = true;
        }
    }

    /// The key is not given back after all: who waited for it is refused.
    pub(crate) fn stay(&self) {
        let waiting = self.slots.lock().get_mut(&self.key).map(|used| {
            used.leaving = false;
            std::mem::take(&mut used.waiting)
        });
        // Not under the lock: a waker may run other code.
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let freed = self.slots.lock().remove(&self.key);
        freed.into_iter().flat_map(|used| used.waiting).for_each(Waker::wake);
    }
}

/// The future of [`Slots::take`].
pub(crate) struct Take {
    slots: Arc<Slots>,
    key: Vec<u8>,
    leaving: bool,
}

impl Future for Take {
    type Output = Result<Slot, Taken>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.slots.lock();
        match slots.get_mut(&self.key) {
            None => {
                slots.insert(self.key.clone(), Use { leaving: self.leaving, waiting: Vec::new() });
                drop(slots);
                Poll::Ready(Ok(Slot { slots: Arc::clone(&self.slots), key: self.key.clone() }))
            }
            Some(used) if used.leaving => {
                used.waiting.push(cx.waker().clone());
                Poll::Pending
            }
            Some(_) => Poll::Ready(Err(Taken)),
        }
    }
}
