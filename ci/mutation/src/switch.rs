//! Which mutant is on. Put into the copy of the library that has them all; `TENURE_MUTANT` chooses one, and with
//! `TENURE_MUTANTS_REACHED` the switches that are come by are written to that file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};

static ACTIVE: LazyLock<u32> = LazyLock::new(|| {
    std::env::var("TENURE_MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
});

static REACHED: LazyLock<Option<Mutex<(BTreeSet<u32>, File)>>> = LazyLock::new(|| {
    let name = std::env::var_os("TENURE_MUTANTS_REACHED")?;
    let file = File::options().create(true).append(true).open(name).ok()?;
    Some(Mutex::new((BTreeSet::new(), file)))
});

/// Whether mutant `id` is on.
#[allow(dead_code, reason = "where there are only probes")]
pub(crate) fn on(id: u32) -> bool {
    reached(id);
    *ACTIVE == id
}

/// Notes that this place is come by.
pub(crate) fn reached(id: u32) {
    if let Some(reached) = &*REACHED {
        let (seen, file) = &mut *reached.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(id) {
            let _ = writeln!(file, "{id}");
        }
    }
}
