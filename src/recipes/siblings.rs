//! Contenders of one process that wait in one line: only the first few of them watch it, the others wait for these.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// How many of them watch the line. More than one, so that the next has its list when its turn comes.
const WATCHING: usize = 4;

/// Those that wait, by the revision that created their keys.
#[derive(Default)]
pub(super) struct Siblings {
    waiting: Mutex<BTreeMap<i64, Option<Waker>>>,
}

/// One that waits; dropping it lets the next one watch.
pub(super) struct Sibling {
    siblings: Arc<Siblings>,
    revision: i64,
}

impl Siblings {
    /// Takes in one whose key was created at `revision`.
    pub(super) fn wait(siblings: &Arc<Self>, revision: i64) -> Sibling {
        siblings.lock().insert(revision, None);
        Sibling { siblings: Arc::clone(siblings), revision }
    }

    /// Whether one that comes now has to wait for others.
    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= WATCHING
    }

    /// Takes in who waits.
    pub(super) fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        self.lock().keys().for_each(|revision| into.write_i64(*revision));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Option<Waker>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sibling {
    /// Waits until it is among the first few. In a line that is first come, first served no other can be granted before.
    ///
    /// Cancel safe.
    pub(super) async fn may_watch(&mut self) {
        MayWatch(self).await;
    }
}

struct MayWatch<'a>(&'a Sibling);

impl Future for MayWatch<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        // A waker's destructor may run other code, so none is dropped under the lock.
        let (may, _replaced) = {
            let mut waiting = self.0.siblings.lock();
            let may = waiting.range(..self.0.revision).count() < WATCHING;
            (may, waiting.insert(self.0.revision, Some(waker)))
        };
        if may { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let (_gone, next) = {
            let mut waiting = self.siblings.lock();
            let gone = waiting.remove(&self.revision);
            let next = waiting.values_mut().nth(WATCHING - 1).and_then(Option::take);
            (gone, next)
        };
        // Not under the lock: a waker may run other code.
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_the_first_few_watch_and_each_that_goes_lets_one_in() {
        let siblings = Arc::new(Siblings::default());
        let mut all: Vec<_> = (1..=7).map(|revision| Siblings::wait(&siblings, revision)).collect();
        let may = |all: &mut Vec<Sibling>| {
            all.iter_mut().map(|sibling| sibling.may_watch().now_or_never().is_some()).collect::<Vec<_>>()
        };
        assert_eq!(may(&mut all), [true, true, true, true, false, false, false]);
        // One further back that gives up moves nobody.
        drop(all.remove(5));
        assert_eq!(may(&mut all), [true, true, true, true, false, false]);
        drop(all.remove(0));
        assert_eq!(may(&mut all), [true, true, true, true, false]);
        assert!(siblings.is_full());
        all.truncate(3);
        assert!(!siblings.is_full());
    }
}
