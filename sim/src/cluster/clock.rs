//! A process's own clock: it starts where it likes, runs a little fast or slow, and may jump ahead; it never goes back.

/// A clock that is piecewise linear in true simulated time. All times are in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    true_ns: u64,
    local_ns: u64,
    ppm: i64,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    /// A clock that shows `offset_ns` at true time 0 and gains `ppm` parts of a million.
    pub(crate) fn new(offset_ns: u64, ppm: i64) -> Self {
        Self { true_ns: 0, local_ns: offset_ns, ppm }
    }

    /// What it shows at true time `now_ns`, which must not be before its last change.
    pub(crate) fn local_ns(&self, now_ns: u64) -> u64 {
        if self.ppm == 0 {
            return self.local_ns.saturating_add(now_ns.saturating_sub(self.true_ns));
        }
        let (gone, rate) = (now_ns.saturating_sub(self.true_ns), self.rate());
        let shown = match gone.checked_mul(rate) {
            Some(product) => product / MILLION,
            None => {
                let shown = u128::from(gone) * u128::from(rate) / u128::from(MILLION);
                u64::try_from(shown).unwrap_or(u64::MAX)
            }
        };
        self.local_ns.saturating_add(shown)
    }

    /// The true time at which it first shows `local_ns`, if it goes on as it does; at the earliest its last change.
    pub(crate) fn true_ns(&self, local_ns: u64) -> u64 {
        if self.ppm == 0 {
            return self.true_ns.saturating_add(local_ns.saturating_sub(self.local_ns));
        }
        let (ahead, rate) = (local_ns.saturating_sub(self.local_ns), self.rate());
        let gone = match ahead.checked_mul(MILLION) {
            Some(product) => product.div_ceil(rate),
            None => {
                let gone = (u128::from(ahead) * u128::from(MILLION)).div_ceil(u128::from(rate));
                u64::try_from(gone).unwrap_or(u64::MAX)
            }
        };
        self.true_ns.saturating_add(gone)
    }

    /// How much it goes on in a million nanoseconds.
    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(self.ppm).max(1)
    }

    /// From `now_ns` on it gains `ppm`.
    pub(crate) fn set_drift(&mut self, now_ns: u64, ppm: i64) {
        self.jump(now_ns, 0);
        self.ppm = ppm;
    }

    /// At `now_ns` it leaps `ahead_ns` ahead.
    pub(crate) fn jump(&mut self, now_ns: u64, ahead_ns: u64) {
        self.local_ns = self.local_ns(now_ns).saturating_add(ahead_ns);
        self.true_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn drift_and_jumps_show_and_never_go_back() {
        let mut clock = Clock::new(5 * SECOND, 1_000);
        assert_eq!(clock.local_ns(SECOND), 6 * SECOND + 1_000_000);
        clock.set_drift(SECOND, -1_000);
        assert_eq!(clock.local_ns(2 * SECOND), 7 * SECOND);
        clock.jump(2 * SECOND, 3 * SECOND);
        assert_eq!(clock.local_ns(2 * SECOND), 10 * SECOND);
    }

    #[test]
    fn a_deadline_is_reached_at_its_true_time_and_not_a_nanosecond_before() {
        for ppm in [-500_000, -333, 0, 1, 777, 1_000_000] {
            let clock = Clock::new(7, ppm);
            for local in [8, 1_000_003, 59 * SECOND + 1] {
                let at = clock.true_ns(local);
                assert!(clock.local_ns(at) >= local, "{ppm} {local}");
                assert!(clock.local_ns(at - 1) < local, "{ppm} {local}");
            }
        }
    }
}
