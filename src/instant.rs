//! Time as one process sees it: a monotonic reading of the clock behind a [`Backend`](crate::Backend).

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A reading of one process's monotonic clock, in nanoseconds since an origin of that process's own.
///
/// Readings of two processes cannot be compared. It is not [`std::time::Instant`] so that a simulated process can
/// have a clock that drifts, and because on Linux that type stands still while the machine is suspended and a
/// lease does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    nanos: u64,
}

impl Instant {
    /// The origin of the process's clock.
    pub const ORIGIN: Self = Self { nanos: 0 };
    /// Later than any reading: a deadline that never comes.
    pub const FAR_FUTURE: Self = Self { nanos: u64::MAX };

    /// The reading `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, span: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::ORIGIN`].
    fn sub(self, span: Duration) -> Self {
        Self { nanos: self.nanos.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", Duration::from_nanos(self.nanos).as_secs_f64())
    }
}
