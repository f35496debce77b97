//! Panics inside runs are outcomes, to be reported in one line, not printed with a backtrace each: a hook that keeps the
//! message of a run's thread and leaves all other threads to the usual hook.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a panic says.
pub(crate) fn words(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

/// Installs the hook, once for the process.
pub fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_RUN.get() {
                return usual(info);
            }
            let message = words(info.payload());
            let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
            LAST.with_borrow_mut(|last| {
                last.get_or_insert_with(|| format!("{message}{place}"));
            });
        }));
    });
}

/// This thread is a run's from here until the token is dropped.
pub(super) fn on_this_thread() -> InRun {
    IN_RUN.set(true);
    InRun
}

/// The first panic of this thread since it became a run's.
pub(super) fn last_panic() -> Option<String> {
    LAST.take()
}

pub(super) struct InRun;

impl Drop for InRun {
    fn drop(&mut self) {
        IN_RUN.set(false);
    }
}
