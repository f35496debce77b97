//! The process's real clock, timers and tasks: tokio, and a clock that goes on while the machine is suspended.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::Instant;
use crate::backend::Runtime;

/// tokio as the [`Runtime`] of a process.
///
/// The clock is CLOCK_BOOTTIME on Linux: a lease runs on while a machine is suspended, and so must the clock that a
/// session's deadline is measured by. Elsewhere it is what [`std::time::Instant`] reads, which on macOS stands still
/// during sleep.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
}

impl TokioRuntime {
    /// The runtime that the caller runs on, if it runs on one; it must have timers (and, for gRPC, I/O) enabled.
    pub fn current() -> Result<Self, tokio::runtime::TryCurrentError> {
        Handle::try_current().map(Self::new)
    }

    /// The runtime behind `handle`; it must have timers (and, for gRPC, I/O) enabled.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

/// tokio's timers stand still while the machine is suspended, so the clock is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Runtime for TokioRuntime {
    fn now(&self) -> Instant {
        clock()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        if deadline == Instant::FAR_FUTURE {
            return Box::pin(std::future::pending());
        }
        let handle = self.handle.clone();
        Box::pin(async move {
            loop {
                let left = deadline.saturating_since(clock());
                if left.is_zero() {
                    return;
                }
                timer(&handle, left.min(LONGEST_SLEEP)).await;
            }
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }
}

#[allow(clippy::disallowed_methods, reason = "this is where real timers come from")]
fn timer(handle: &Handle, span: Duration) -> tokio::time::Sleep {
    // A timer is bound to the runtime it is made in; the caller may be on any thread.
    let _within = handle.enter();
    tokio::time::sleep(span)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn clock() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is where real time comes from")]
fn clock() -> Instant {
    static ORIGIN: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    Instant::ORIGIN + ORIGIN.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_made_off_the_runtime_fires_and_never_early() {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("tokio");
        let runtime = TokioRuntime::new(tokio.handle().clone());
        let deadline = runtime.now() + Duration::from_millis(20);
        let (told, hears) = tokio::sync::oneshot::channel();
        let sleep = runtime.sleep_until(deadline);
        let late = runtime.clone();
        runtime.spawn(Box::pin(async move {
            sleep.await;
            let _ = told.send(late.now());
        }));
        assert!(hears.blocking_recv().expect("the task ends") >= deadline);
    }

    #[test]
    fn off_a_runtime_there_is_none() {
        assert!(TokioRuntime::current().is_err());
    }
}
