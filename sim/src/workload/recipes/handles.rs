//! A program's handles on recipes, by name: each is kept for as long as its session lasts.

use std::collections::BTreeMap;

use tenure::{Error, Session};

/// Handles of one kind, each with the lease of its session.
pub(super) struct Handles<T> {
    open: BTreeMap<String, (i64, T)>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<T: Clone> Handles<T> {
    /// The one of this name by the session that is open; what one of an earlier session knew is gone with it.
    pub(super) fn of(
        &mut self,
        session: &Session,
        name: &str,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some((lease, handle)) = self.open.get(name)
            && *lease == session.lease()
        {
            return Ok(handle.clone());
        }
        let handle = make()?;
        self.open.insert(name.to_owned(), (session.lease(), handle.clone()));
        Ok(handle)
    }

    /// Each of them, with its name and the lease of its session.
    pub(super) fn each(&self) -> impl Iterator<Item = (&str, i64, &T)> {
        self.open.iter().map(|(name, (lease, handle))| (name.as_str(), *lease, handle))
    }
}
