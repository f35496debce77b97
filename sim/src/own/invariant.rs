//! Invariants of a test's own.

use crate::check::Breach;

use super::RunView;

/// A promise that every run must keep.
pub trait Invariant: Send + Sync {
    /// Its name, as reports say it.
    fn name(&self) -> &str;

    /// Judges a run; it must be a pure function of it.
    ///
    /// # Errors
    /// The first step at which the promise was broken, and how: [`Told::breach`](super::Told::breach),
    /// [`RunView::at_end`].
    fn check(&self, run: &RunView<'_>) -> Result<(), Breach>;
}

/// A closure with a name.
pub(super) struct Named<F> {
    pub(super) name: String,
    pub(super) check: F,
}

impl<F: Fn(&RunView<'_>) -> Result<(), Breach> + Send + Sync> Invariant for Named<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, run: &RunView<'_>) -> Result<(), Breach> {
        (self.check)(run)
    }
}
