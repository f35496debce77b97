//! Who believes what: the tenures that clients hold at this moment, each with its holder's own view of whether it still
//! does. Asked at each grant; nobody else could know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::primitive::Belief;
use crate::history::Holding;

/// The live holdings of a run.
#[derive(Clone, Default)]
pub(crate) struct Beliefs {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    live: BTreeMap<u64, (Holding, Belief)>,
}

/// A holding that is registered; dropping it, as the holder's death does, takes it out.
pub(crate) struct Registered {
    beliefs: Beliefs,
    id: u64,
}

impl Beliefs {
    /// Registers a grant. Gives the others of the same name that still believe.
    pub(crate) fn granted(&self, holding: &Holding, belief: Belief) -> (Registered, Vec<Holding>) {
        let same_name: Vec<_> = {
            let inner = self.lock();
            inner.live.values().filter(|(other, _)| other.name == holding.name).cloned().collect()
        };
        // Asked without the lock: an answer may run code of the library's.
        let believers =
            same_name.into_iter().filter_map(|(other, believes)| believes().then_some(other)).collect();
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.live.insert(id, (holding.clone(), belief));
        drop(inner);
        (Registered { beliefs: self.clone(), id }, believers)
    }

    /// The holdings that are believed in at this moment.
    pub(super) fn believed(&self) -> Vec<Holding> {
        let live: Vec<_> = self.lock().live.values().cloned().collect();
        live.into_iter().filter_map(|(holding, believes)| believes().then_some(holding)).collect()
    }

    /// The holdings of a client that crashed are nobody's belief any more.
    pub(crate) fn forget(&self, client: u32) {
        let mut inner = self.lock();
        let (dead, live) = std::mem::take(&mut inner.live)
            .into_iter()
            .partition(|(_, (holding, _))| holding.client == client);
        inner.live = live;
        drop(inner);
        let _: BTreeMap<u64, (Holding, Belief)> = dead;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let gone = self.beliefs.lock().live.remove(&self.id);
        drop(gone);
    }
}
