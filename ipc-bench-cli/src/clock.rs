//! The one clock of the driver.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on `CLOCK_MONOTONIC`: one clock for all processes of a machine, so that a stamp taken by one worker can
/// be subtracted from a stamp taken by another.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The clock starts near zero at boot: neither field is negative, and 2^64 ns are 584 years.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
