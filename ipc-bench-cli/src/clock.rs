//! The one clock of the driver.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::os;

/// What [`now_ns`] reads in this process; `CLOCK_MONOTONIC` until somebody says otherwise.
static COUNTER: OnceLock<Counter> = OnceLock::new();

/// Nanoseconds on one clock for all processes of a machine, so that a stamp taken by one worker can be subtracted from a
/// stamp taken by another: `CLOCK_MONOTONIC`, or the counter that [`read_from`] chose.
#[inline]
pub(crate) fn now_ns() -> u64 {
    match COUNTER.get() {
        None => monotonic_ns(),
        Some(counter) => counter.at(os::ticks()),
    }
}

/// What one reading costs, as the mean of many.
pub(crate) fn reading_ns() -> f64 {
    const READINGS: u64 = 500;
    let start = now_ns();
    let mut last = start;
    for _ in 0..READINGS {
        last = now_ns();
    }
    (last - start) as f64 / READINGS as f64
}

/// Lets this process read the counter from now on; only the first call counts.
pub(crate) fn read_from(counter: Counter) {
    let _ = COUNTER.set(counter);
}

/// `CLOCK_MONOTONIC`, which the counters of [`Counter`] are held against.
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The clock starts near zero at boot: neither field is negative, and 2^64 ns are 584 years.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The time stamp counter of the processor, held against `CLOCK_MONOTONIC` once per run: every worker computes the same
/// nanoseconds from the same ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counter {
    base_ticks: u64,
    base_ns: u64,
    /// Nanoseconds per tick, times 2^32.
    scale: u64,
}

impl Counter {
    /// Holds the counter against the clock for 50 ms: two reads of some 30 ns each leave an error below one in a million.
    ///
    /// # Errors
    /// Why this machine has no such counter; `clocksource` is what its kernel keeps time by.
    pub(crate) fn calibrate(clocksource: Option<&str>) -> Result<Counter, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("only x86-64 has a time stamp counter that is read here".into());
        }
        // The kernel uses it only where it is constant, never stops and agrees between processors.
        if clocksource != Some("tsc") {
            return Err(format!(
                "the kernel keeps time by {}, because it does not trust the time stamp counter",
                clocksource.unwrap_or("an unknown source")
            ));
        }
        let (base_ns, base_ticks) = (monotonic_ns(), os::ticks());
        // Not a handshake: the longer, the smaller the error.
        thread::sleep(Duration::from_millis(50));
        let (ns, ticks) = (monotonic_ns() - base_ns, os::ticks() - base_ticks);
        let scale = (u128::from(ns) << 32) / u128::from(ticks.max(1));
        Ok(Counter { base_ticks, base_ns, scale: scale as u64 })
    }

    #[inline]
    fn at(self, ticks: u64) -> u64 {
        let since = u128::from(ticks.saturating_sub(self.base_ticks)) * u128::from(self.scale);
        self.base_ns + (since >> 32) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_of_three_ticks_a_nanosecond_is_counted_by_thirds() {
        let counter = Counter { base_ticks: 900, base_ns: 1_000, scale: (1 << 32) / 3 };
        assert_eq!([900, 903, 3_900].map(|ticks| counter.at(ticks)), [1_000, 1_000, 1_999]);
        // Hours later nothing overflows.
        assert_eq!(counter.at(900 + 3 * 86_400_000_000_000).div_ceil(1_000_000_000), 86_400);
    }

    #[test]
    fn a_counter_that_the_kernel_does_not_trust_is_not_read() {
        let why = Counter::calibrate(Some("hpet")).unwrap_err();
        assert!(why.contains("hpet") || why.contains("x86-64"), "{why}");
    }
}
