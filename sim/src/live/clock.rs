//! The clocks of a round: one true time for all processes of the machine, and each client's own, which is ahead and runs
//! fast or slow by what the plan says.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tenure::{Instant, Runtime, TokioRuntime};

use crate::cluster::Clock;

/// Nanoseconds of the clock that all processes of the machine share.
pub(super) fn machine_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// True time since a round's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    pub(super) began_ns: u64,
}

impl Epoch {
    pub(super) fn now() -> Self {
        Self { began_ns: machine_ns() }
    }

    pub(super) fn elapsed_ns(self) -> u64 {
        machine_ns().saturating_sub(self.began_ns)
    }

    /// Stands still until so long after the start.
    #[allow(clippy::disallowed_methods, reason = "a real round takes real time")]
    pub(super) fn wait_until_ns(self, at_ns: u64) {
        let left = at_ns.saturating_sub(self.elapsed_ns());
        if left > 0 {
            std::thread::sleep(Duration::from_nanos(left));
        }
    }
}

/// tokio, on a clock of the process's own.
pub(super) struct OwnClock {
    tokio: TokioRuntime,
    epoch: Epoch,
    clock: Clock,
}

impl OwnClock {
    pub(super) fn new(tokio: TokioRuntime, epoch: Epoch, offset_ms: u64, drift_ppm: i64) -> Arc<Self> {
        Arc::new(Self { tokio, epoch, clock: Clock::new(offset_ms * 1_000_000, drift_ppm) })
    }
}

impl Runtime for OwnClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.clock.local_ns(self.epoch.elapsed_ns()))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        if deadline == Instant::FAR_FUTURE {
            return Box::pin(std::future::pending());
        }
        let true_ns = self.clock.true_ns(deadline.as_nanos());
        self.tokio.sleep_until(Instant::from_nanos(self.epoch.began_ns.saturating_add(true_ns)))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.tokio.spawn(task);
    }
}
