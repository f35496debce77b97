//! The machine's clock, as a lease sees it: it goes on while the machine is suspended. And a timer on it.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use linux::{Alarm, now_ns};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub use other::{Alarm, now_ns};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
        timerfd_create, timerfd_settime,
    };

    /// CLOCK_BOOTTIME in nanoseconds; the same for every process of the machine.
    pub fn now_ns() -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) =
            (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }

    /// A descriptor that becomes readable at a point in time, also if the machine was suspended then.
    pub struct Alarm(OwnedFd);

    impl Alarm {
        pub fn new() -> std::io::Result<Self> {
            Ok(Self(timerfd_create(
                TimerfdClockId::Boottime,
                TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
            )?))
        }

        pub fn set(&self, at_ns: u64) -> std::io::Result<()> {
            let at = Timespec {
                tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
                // All zero would disarm it.
                tv_nsec: i64::try_from(at_ns % 1_000_000_000).unwrap_or(0).max(1),
            };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
            timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
            Ok(())
        }

        /// The descriptor to poll, and how long to poll at most.
        pub fn wait(&self) -> (Option<BorrowedFd<'_>>, Option<Duration>) {
            (Some(self.0.as_fd()), None)
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other {
    use std::cell::Cell;
    use std::os::fd::BorrowedFd;
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    /// The monotonic clock in nanoseconds.
    pub fn now_ns() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let (seconds, nanos) =
            (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }

    /// A point in time that is looked at often.
    pub struct Alarm(Cell<u64>);

    impl Alarm {
        pub fn new() -> std::io::Result<Self> {
            Ok(Self(Cell::new(u64::MAX)))
        }

        pub fn set(&self, at_ns: u64) -> std::io::Result<()> {
            self.0.set(at_ns);
            Ok(())
        }

        /// The descriptor to poll, and how long to poll at most.
        pub fn wait(&self) -> (Option<BorrowedFd<'_>>, Option<Duration>) {
            let left = Duration::from_nanos(self.0.get().saturating_sub(now_ns()));
            (None, Some(left.min(Duration::from_millis(100))))
        }
    }
}
