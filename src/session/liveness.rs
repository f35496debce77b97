//! The cell that says until when something lives: alive until a deadline that can be moved on, and once over, over for
//! ever and for everyone.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicU64, Mutex, Ordering, PoisonError};

/// The deadline that says "over".
const OVER: u64 = 0;

/// Alive until a deadline in nanoseconds of the process's clock, or until ended.
///
/// Its one promise: after any caller has been told `false` by [`Liveness::is_alive`], no caller is ever told `true`.
/// So whoever sees the deadline pass ends it, and a renewal that comes later finds it over (a lost session is never
/// revived).
pub(crate) struct Liveness {
    deadline_ns: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Liveness {
    pub(crate) fn new(deadline_ns: u64) -> Self {
        Self { deadline_ns: AtomicU64::new(deadline_ns.max(1)), waiting: Mutex::new(Waiting::default()) }
    }

    /// The deadline in nanoseconds, or `None` if it is over.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        Some(self.deadline_ns.load(Ordering::Acquire)).filter(|&deadline| deadline != OVER)
    }

    /// Whether it is alive at `now_ns`. If the deadline has passed it is over from here on.
    pub(crate) fn is_alive(&self, now_ns: u64) -> bool {
        self.update(|deadline| if now_ns < deadline { deadline } else { OVER }) != OVER
    }

    /// Moves the deadline on to `deadline_ns`, never back. False if it is over, or was due at `now_ns`.
    pub(crate) fn extend(&self, now_ns: u64, deadline_ns: u64) -> bool {
        self.update(|deadline| if now_ns < deadline { deadline.max(deadline_ns) } else { OVER }) != OVER
    }

    /// Ends it. True if it was not over before.
    pub(crate) fn end(&self) -> bool {
        let before = self.deadline_ns.swap(OVER, Ordering::AcqRel);
        if before != OVER {
            self.wake_all();
        }
        before != OVER
    }

    /// Changes the deadline by `change` unless it is over; gives what it is then.
    fn update(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut deadline = self.deadline_ns.load(Ordering::Acquire);
        loop {
            if deadline == OVER {
                return OVER;
            }
            let changed = change(deadline);
            if changed == deadline {
                return deadline;
            }
            match self.deadline_ns.compare_exchange(deadline, changed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if changed == OVER => {
                    self.wake_all();
                    return OVER;
                }
                Ok(_) => return changed,
                Err(newer) => deadline = newer,
            }
        }
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).wakers);
        for waker in wakers.into_values() {
            waker.wake();
        }
    }
}

/// Resolves when a [`Liveness`] is over. It does not watch the clock: who waits for a deadline sleeps until it and asks
/// [`Liveness::is_alive`].
///
/// Cancel safe.
pub(crate) struct Ended {
    liveness: Arc<Liveness>,
    place: Option<u64>,
}

impl Ended {
    pub(crate) fn of(liveness: &Arc<Liveness>) -> Self {
        Self { liveness: Arc::clone(liveness), place: None }
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waker = cx.waker().clone();
        // A waker's destructor may run other code, so none is dropped under the lock.
        let replaced = {
            let mut waiting = this.liveness.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let place = *this.place.get_or_insert_with(|| {
                waiting.next += 1;
                waiting.next
            });
            waiting.wakers.insert(place, waker)
        };
        drop(replaced);
        // Looked at only now: an end between the look and the registration would wake nobody.
        if this.liveness.deadline_ns().is_none() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut waiting = self.liveness.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let waker = waiting.wakers.remove(&place);
            drop(waiting);
            drop(waker);
        }
    }
}
