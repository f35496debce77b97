//! What ends a campaign before its last seed: a budget of time, the first failure, a signal.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What may end a campaign before its last seed. A seed that was begun is always finished.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// No seed but the first is begun after this time.
    pub budget: Option<Duration>,
    /// No seed is begun after one that failed and should not have.
    pub fail_fast: bool,
    /// The number of the signal that asked this process to end; 0 while none did.
    pub signal: Arc<AtomicUsize>,
}

/// Why a campaign ended before its last seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// Its time was up.
    Budget,
    /// A seed failed.
    FailFast,
    /// The process was asked to end, by this signal.
    Signal(u8),
}

impl Limits {
    /// The signal that came.
    pub fn signalled(&self) -> Option<Stopped> {
        let number = self.signal.load(Ordering::Relaxed);
        (number > 0).then(|| Stopped::Signal(u8::try_from(number).unwrap_or(0)))
    }

    /// Why no further seed is to be begun, if so; `begun`: one was already.
    pub(super) fn reached(&self, elapsed: Duration, begun: bool, failed: bool) -> Option<Stopped> {
        let time_is_up = begun && self.budget.is_some_and(|budget| elapsed >= budget);
        self.signalled()
            .or_else(|| (self.fail_fast && failed).then_some(Stopped::FailFast))
            .or_else(|| time_is_up.then_some(Stopped::Budget))
    }
}

impl Stopped {
    /// The exit code that goes with it, whatever was found: as a shell has it for a signal.
    pub fn exit_code(self) -> Option<u8> {
        match self {
            Self::Budget | Self::FailFast => None,
            Self::Signal(number) => Some(number.saturating_add(128)),
        }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget => f.write_str("its time was up"),
            Self::FailFast => f.write_str("a seed failed"),
            Self::Signal(2) => f.write_str("interrupted by SIGINT"),
            Self::Signal(15) => f.write_str("ended by SIGTERM"),
            Self::Signal(number) => write!(f, "ended by signal {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_always_begun_and_a_signal_comes_before_all_else() {
        let limits = Limits { budget: Some(Duration::ZERO), fail_fast: true, ..Limits::default() };
        assert_eq!(limits.reached(Duration::ZERO, false, false), None);
        assert_eq!(limits.reached(Duration::ZERO, true, false), Some(Stopped::Budget));
        assert_eq!(limits.reached(Duration::ZERO, true, true), Some(Stopped::FailFast));
        limits.signal.store(15, Ordering::Relaxed);
        let stopped = limits.reached(Duration::ZERO, false, true);
        assert_eq!(stopped.and_then(Stopped::exit_code), Some(143));
    }
}
