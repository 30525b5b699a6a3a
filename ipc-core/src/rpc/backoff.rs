use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How long to leave a server alone between attempts to connect to it: doubling from `first` to `max`, each delay cut
/// by a random half at most, so that clients of one dead server do not come back in step.
///
/// ```
/// use ipc_core::rpc::Backoff;
/// use std::time::Duration;
/// let backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(50) };
/// assert_eq!(backoff.delay(0), Duration::ZERO);
/// assert!(backoff.delay(9) >= Duration::from_millis(25) && backoff.delay(9) <= backoff.max);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure. Default 10 ms.
    pub first: Duration,
    /// Longest delay. Default 1 s.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(10), max: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// Delay before the next attempt after `failures` of them in a row; zero after none.
    pub fn delay(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = self.first.saturating_mul(1 << (failures - 1).min(30)).min(self.max);
        // The keys of a RandomState are as random as the standard library gets.
        let random = RandomState::new().hash_one(failures) as u32;
        doubled - doubled.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
    }
}

/// Sleeps until `moment`; a stray unpark only makes it look at the clock again.
pub(crate) fn sleep_until(moment: Instant) {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(100) };
        assert_eq!(backoff.delay(0), Duration::ZERO);
        for (failures, full_ms) in [(1, 10), (2, 20), (4, 80), (5, 100), (1000, 100)] {
            let delay = backoff.delay(failures);
            let full = Duration::from_millis(full_ms);
            assert!(delay <= full && delay >= full.mul_f64(0.499), "{failures}: {delay:?}");
        }
    }
}
