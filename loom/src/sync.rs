//! The library's `sync` over loom.

use std::ops::Deref;

pub(crate) use loom::future::block_on;
use loom::sync::atomic::AtomicUsize;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use loom::sync::{Mutex, MutexGuard};
pub(crate) use std::sync::PoisonError;

/// std's `Arc`, of which loom is told by a counter: loom's own has no weak handles. Who drops the last handle, and what a
/// weak one finds, is explored.
pub(crate) struct Arc<T: ?Sized> {
    inner: std::sync::Arc<T>,
    handles: std::sync::Arc<AtomicUsize>,
}

impl<T> Arc<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { inner: std::sync::Arc::new(value), handles: std::sync::Arc::new(AtomicUsize::new(1)) }
    }

    pub(crate) fn downgrade(this: &Self) -> Weak<T> {
        Weak { inner: std::sync::Arc::downgrade(&this.inner), handles: std::sync::Arc::clone(&this.handles) }
    }
}

impl<T: ?Sized> Clone for Arc<T> {
    fn clone(&self) -> Self {
        self.handles.fetch_add(1, Ordering::Relaxed);
        Self { inner: std::sync::Arc::clone(&self.inner), handles: std::sync::Arc::clone(&self.handles) }
    }
}

impl<T: ?Sized> Drop for Arc<T> {
    fn drop(&mut self) {
        self.handles.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T: ?Sized> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

/// The weak handle of [`Arc`].
pub(crate) struct Weak<T: ?Sized> {
    inner: std::sync::Weak<T>,
    handles: std::sync::Arc<AtomicUsize>,
}

impl<T: ?Sized> Weak<T> {
    pub(crate) fn upgrade(&self) -> Option<Arc<T>> {
        // Up first, at one step with the upgrade.
        self.handles.fetch_add(1, Ordering::Acquire);
        let handles = std::sync::Arc::clone(&self.handles);
        match self.inner.upgrade() {
            Some(inner) => Some(Arc { inner, handles }),
            None => {
                handles.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }

    pub(crate) fn strong_count(&self) -> usize {
        self.handles.load(Ordering::Acquire);
        self.inner.strong_count()
    }
}

impl<T: ?Sized> Clone for Weak<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), handles: std::sync::Arc::clone(&self.handles) }
    }
}
