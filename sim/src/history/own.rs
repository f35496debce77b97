//! Events of a test's own: any type that can be shown with `Debug`. What is shown counts for the history's hash, so an
//! event that shows an address, or a hash map, is found out as not deterministic.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An event of a test's own, as it is shown and as the value that it is.
#[derive(Clone)]
pub struct OwnEvent {
    text: Arc<str>,
    value: Arc<dyn Any + Send + Sync>,
}

impl OwnEvent {
    /// Of any value.
    pub fn new<T: fmt::Debug + Send + Sync + 'static>(value: T) -> Self {
        Self { text: format!("{value:?}").into(), value: Arc::new(value) }
    }

    /// The value, if it is of this type.
    pub fn value<T: 'static>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }
}

impl fmt::Display for OwnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for OwnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for OwnEvent {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for OwnEvent {}

impl Hash for OwnEvent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
