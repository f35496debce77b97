//! How long things take on the wall's clock: for people, never for anything that is simulated.

use std::time::Duration;

/// Runs from its making on.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::disallowed_types, reason = "how fast a campaign is, nothing else")]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts one.
    #[allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "how fast a campaign is, nothing else"
    )]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// How long it has run.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// How long it has run; it starts again.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Self::start();
        let gone = now.0.duration_since(self.0);
        *self = now;
        gone
    }
}
