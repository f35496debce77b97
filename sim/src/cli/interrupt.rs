//! Ctrl-C and SIGTERM: the first ends a campaign with what was found so far, a second one the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

use crate::run::Stopwatch;
use crate::scenario::BadInput;

/// What sends signals may send one twice: `timeout` to its child and then to their process group, a shell to all that is in a
/// pipeline. Within this time it is one wish.
const SAME_WISH: Duration = Duration::from_millis(300);

/// Listens from now on. Gives where the number of the signal will be; 0 until it comes.
pub(super) fn listen() -> Result<Arc<AtomicUsize>, BadInput> {
    let unable = |error: std::io::Error| BadInput(format!("cannot listen for signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(unable)?;
    let came = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&came);
    let hear = move || {
        let mut first = None;
        for signal in signals.forever() {
            match first {
                None => {
                    told.store(signal.unsigned_abs() as usize, Ordering::Relaxed);
                    first = Some(Stopwatch::start());
                }
                Some(first) if is_another(first.elapsed()) => exit(128 + signal),
                Some(_) => {}
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(hear).map_err(unable)?;
    Ok(came)
}

/// Whether a signal that comes so long after the first is asked for anew.
fn is_another(since_first: Duration) -> bool {
    since_first > SAME_WISH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_twice_at_once_is_one_and_a_later_one_is_another() {
        assert!(!is_another(Duration::ZERO) && !is_another(Duration::from_millis(100)));
        assert!(is_another(Duration::from_secs(1)));
    }
}
