//! Ctrl-C and SIGTERM: the first ends a campaign with what was found so far, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::scenario::BadInput;

/// Listens from now on. Gives where the number of the signal will be; 0 until it comes.
pub(super) fn listen() -> Result<Arc<AtomicUsize>, BadInput> {
    let came = Arc::new(AtomicUsize::new(0));
    let asked_before = Arc::new(AtomicBool::new(false));
    let register = |signal: i32| {
        // In this order: the first signal finds the flag down, and raises it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked_before))?;
        flag::register(signal, Arc::clone(&asked_before))?;
        flag::register_usize(signal, Arc::clone(&came), signal.unsigned_abs() as usize)
    };
    for signal in [SIGINT, SIGTERM] {
        register(signal).map_err(|error| BadInput(format!("cannot listen for signals: {error}")))?;
    }
    Ok(came)
}
