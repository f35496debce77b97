//! What the library tells of itself by the [`metrics`](https://docs.rs/metrics) crate, with the feature `metrics`: the program
//! installs a recorder (for Prometheus, say), and [`describe`] gives it each metric's unit and meaning.
//!
//! Without the feature nothing of it is compiled. All times are read from the backend's clock.

#[cfg(feature = "metrics")]
mod names {
    /// What a metric is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Kind {
        /// It only grows.
        Counter,
        /// It goes up and down.
        Gauge,
        /// A distribution.
        Histogram,
    }

    /// One metric.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Metric {
        /// Its name.
        pub name: &'static str,
        /// What it is.
        pub kind: Kind,
        /// The labels that it has.
        pub labels: &'static [&'static str],
        /// What it says.
        pub help: &'static str,
    }

    macro_rules! metrics {
        ($($constant:ident: $kind:ident $name:literal $labels:tt $help:literal)*) => {
            $(pub(super) const $constant: &str = $name;)*
            /// Every metric of the library.
            pub const ALL: &[Metric] = &[
                $(Metric { name: $name, kind: Kind::$kind, labels: &$labels, help: $help },)*
            ];
        };
    }
    metrics! {
        ACQUIRE_SECONDS: Histogram "tenure_acquire_duration_seconds" ["primitive"]
            "how long it took from asking to being granted"
        ACQUISITIONS: Counter "tenure_acquisitions_total" ["primitive", "outcome"]
            "attempts to acquire: granted, busy (a try that found it held), failed, given_up (dropped, or timed out)"
        WAITING: Gauge "tenure_waiting" ["primitive"] "attempts under way in this process"
        HELD: Gauge "tenure_held" [] "locks and leaderships whose guard is there and not released"
        HELD_SECONDS: Histogram "tenure_held_duration_seconds" [] "how long each was held, until its release or its guard's end"
        LOST: Counter "tenure_lost_total" [] "of those, the ones that had ended before: expired, or deleted by somebody else"
        SESSIONS: Gauge "tenure_sessions" [] "sessions that are open"
        SESSIONS_OPENED: Counter "tenure_sessions_opened_total" [] "sessions that were opened"
        SESSIONS_LOST: Counter "tenure_sessions_lost_total" [] "sessions that ended without being closed"
        RENEWALS: Counter "tenure_renewals_total" ["outcome"] "renewals of leases: ok, failed (repeated until the deadline)"
        RENEWAL_SECONDS: Histogram "tenure_renewal_duration_seconds" [] "how long etcd took to answer a renewal"
        ATTEMPTS_FAILED: Counter "tenure_etcd_attempts_failed_total" ["endpoint"]
            "requests that an endpoint did not answer, or not in time; most are repeated elsewhere"
        WATCHES_BROKEN: Counter "tenure_etcd_watches_broken_total" ["endpoint"] "watches that broke and were resumed"
    }
}
#[cfg(feature = "metrics")]
pub use names::{ALL, Kind, Metric};

/// Tells the recorder that is installed each metric's unit and meaning.
#[cfg(feature = "metrics")]
pub fn describe() {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, Unit::Seconds, metric.help),
        }
    }
}

#[cfg(feature = "metrics")]
mod told {
    use ::metrics::{counter, gauge, histogram};

    use super::names;
    use crate::session::Liveness;
    use crate::wire::Wire;
    use crate::{Backend, Error, Instant};

    /// An attempt to acquire, which tells how it ended; dropped before, that it was given up.
    struct Attempt(Option<&'static str>);

    impl Attempt {
        fn begin(primitive: &'static str) -> Self {
            gauge!(names::WAITING, "primitive" => primitive).increment(1.0);
            Self(Some(primitive))
        }

        fn end(&mut self, outcome: &'static str) {
            if let Some(primitive) = self.0.take() {
                gauge!(names::WAITING, "primitive" => primitive).decrement(1.0);
                counter!(names::ACQUISITIONS, "primitive" => primitive, "outcome" => outcome).increment(1);
            }
        }
    }

    impl Drop for Attempt {
        fn drop(&mut self) {
            self.end("given_up");
        }
    }

    /// Runs an attempt to acquire and tells of it; `is_granted` tells a grant from a try that found it held.
    pub(crate) async fn acquisition<T>(
        primitive: &'static str,
        backend: &dyn Backend,
        is_granted: impl Fn(&T) -> bool,
        acquire: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut attempt = Attempt::begin(primitive);
        let began = backend.now();
        let acquired = acquire.await;
        match &acquired {
            Ok(granted) if is_granted(granted) => {
                attempt.end("granted");
                let took = backend.now().saturating_since(began);
                histogram!(names::ACQUIRE_SECONDS, "primitive" => primitive).record(took);
            }
            Ok(_) => attempt.end("busy"),
            Err(_) => attempt.end("failed"),
        }
        acquired
    }

    /// Something is held from here on.
    pub(crate) struct Hold {
        since: Instant,
    }

    impl Hold {
        pub(crate) fn begin(backend: &dyn Backend) -> Self {
            gauge!(names::HELD).increment(1.0);
            Self { since: backend.now() }
        }

        /// It is over, for this process. It was lost if its session had ended before, or it was `gone` from etcd.
        pub(crate) fn end(&self, backend: &dyn Backend, session: &Liveness, gone: bool) {
            let now = backend.now();
            gauge!(names::HELD).decrement(1.0);
            histogram!(names::HELD_SECONDS).record(now.saturating_since(self.since));
            if gone || session.deadline_ns().is_none_or(|deadline| now.as_nanos() >= deadline) {
                counter!(names::LOST).increment(1);
            }
        }
    }

    pub(crate) fn session_opened() {
        counter!(names::SESSIONS_OPENED).increment(1);
        gauge!(names::SESSIONS).increment(1.0);
    }

    pub(crate) fn session_dropped() {
        gauge!(names::SESSIONS).decrement(1.0);
    }

    pub(crate) fn session_lost() {
        counter!(names::SESSIONS_LOST).increment(1);
    }

    /// A renewal that was sent at `sent` was answered, or was not.
    pub(crate) fn renewed(backend: &dyn Backend, sent: Instant, ok: bool) {
        counter!(names::RENEWALS, "outcome" => if ok { "ok" } else { "failed" }).increment(1);
        if ok {
            histogram!(names::RENEWAL_SECONDS).record(backend.now().saturating_since(sent));
        }
    }

    pub(crate) fn attempt_failed(wire: &dyn Wire) {
        counter!(names::ATTEMPTS_FAILED, "endpoint" => wire.endpoint()).increment(1);
    }

    pub(crate) fn watch_broken(wire: &dyn Wire) {
        counter!(names::WATCHES_BROKEN, "endpoint" => wire.endpoint()).increment(1);
    }
}

/// Where nothing is told.
#[cfg(not(feature = "metrics"))]
mod told {
    use crate::session::Liveness;
    use crate::wire::Wire;
    use crate::{Backend, Error, Instant};

    pub(crate) fn acquisition<T, F: Future<Output = Result<T, Error>>>(
        _: &'static str,
        _: &dyn Backend,
        _: impl Fn(&T) -> bool,
        acquire: F,
    ) -> F {
        acquire
    }

    pub(crate) struct Hold;

    impl Hold {
        pub(crate) fn begin(_: &dyn Backend) -> Self {
            Self
        }

        #[allow(clippy::unused_self, reason = "as with the feature")]
        pub(crate) fn end(&self, _: &dyn Backend, _: &Liveness, _: bool) {}
    }

    pub(crate) fn session_opened() {}
    pub(crate) fn session_dropped() {}
    pub(crate) fn session_lost() {}
    pub(crate) fn renewed(_: &dyn Backend, _: Instant, _: bool) {}
    pub(crate) fn attempt_failed(_: &dyn Wire) {}
    pub(crate) fn watch_broken(_: &dyn Wire) {}
}
pub(crate) use told::{
    Hold, acquisition, attempt_failed, renewed, session_dropped, session_lost, session_opened, watch_broken,
};
