//! When messages are sent: waiting for a moment, and the timetable of an open loop.

use std::time::Duration;

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec};
use serde::{Deserialize, Serialize};

use crate::clock::now_ns;

/// The kernel wakes a sleeper late by its timer slack (50 µs) and by what it takes to be scheduled: the last part of a
/// wait is spent awake.
const AWAKE_NS: u64 = 150_000;

/// So near the moment, a look at the clock is all that fits.
const CLOSE_NS: u64 = 2_000;

/// Waits until `at_ns` on the driver's clock, and returns the first reading that is not before it.
///
/// Sleeps through most of a long wait and stays awake for the rest. That part spins, unless a peer shares the CPU and has
/// to run in it: a yield gives the CPU to anybody, for as long as the kernel thinks fit.
#[inline]
pub(crate) fn wait_until(at_ns: u64, shares_cpu: bool) -> u64 {
    loop {
        let now = now_ns();
        let left = at_ns.saturating_sub(now);
        match left {
            0 => return now,
            1..CLOSE_NS => std::hint::spin_loop(),
            CLOSE_NS..=AWAKE_NS if shares_cpu => std::thread::yield_now(),
            CLOSE_NS..=AWAKE_NS => std::hint::spin_loop(),
            // Pacing, not a handshake: the moment itself is what is waited for. A sleep cut short by a signal ends in
            // another look at the clock.
            _ => drop(clock_nanosleep_absolute(ClockId::Monotonic, &timespec(at_ns - AWAKE_NS))),
        }
    }
}

fn timespec(at_ns: u64) -> Timespec {
    Timespec { tv_sec: (at_ns / 1_000_000_000) as i64, tv_nsec: (at_ns % 1_000_000_000) as _ }
}

/// How the intended send times of an open loop lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Arrivals {
    /// At equal distances.
    Constant,
    /// At exponentially distributed distances: many independent senders.
    Poisson,
}

impl Arrivals {
    pub(crate) const ALL: [Arrivals; 2] = [Arrivals::Constant, Arrivals::Poisson];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
        }
    }
}

/// What an open loop is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenLoop {
    /// Messages per second; 0 asks for as many as there can be, every one of them being due at the start.
    pub(crate) per_s: f64,
    pub(crate) arrivals: Arrivals,
}

impl OpenLoop {
    /// Between two messages, on average.
    pub(crate) fn mean_gap(&self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.per_s).unwrap_or_default()
    }
}

/// The intended send times of an open loop, fixed before the first message: both sides compute the same from the seed.
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    asked: OpenLoop,
    random: fastrand::Rng,
    number: u64,
    at_ns: f64,
}

impl Timetable {
    pub(crate) fn new(asked: OpenLoop, seed: u64) -> Timetable {
        Timetable { asked, random: fastrand::Rng::with_seed(seed), number: 0, at_ns: 0.0 }
    }

    /// When the next message is due, in nanoseconds since the start; the first at 0.
    #[inline]
    pub(crate) fn next_ns(&mut self) -> u64 {
        if self.asked.per_s <= 0.0 {
            return 0;
        }
        let mean = 1e9 / self.asked.per_s;
        let due = match self.asked.arrivals {
            // From the number, so that no error adds up.
            Arrivals::Constant => self.number as f64 * mean,
            Arrivals::Poisson => self.at_ns,
        };
        if self.asked.arrivals == Arrivals::Poisson {
            // `f64` is below 1, so the logarithm is finite.
            self.at_ns -= mean * (1.0 - self.random.f64()).ln();
        }
        self.number += 1;
        due as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_moment_or_later_and_never_before() {
        for (ahead, shares) in [(0, false), (500, true), (20_000, true), (20_000, false), (2_000_000, false)]
        {
            let at = now_ns() + ahead;
            let ended = wait_until(at, shares);
            assert!(ended >= at && now_ns() >= ended);
        }
    }

    #[test]
    fn constant_arrivals_are_equally_far_apart_for_ever() {
        let mut timetable = Timetable::new(OpenLoop { per_s: 3e6, arrivals: Arrivals::Constant }, 0);
        let times: Vec<u64> = (0..3_000_001).map(|_| timetable.next_ns()).collect();
        assert_eq!(times[..4], [0, 333, 666, 1000]);
        assert_eq!(times[3_000_000], 1_000_000_000, "no error adds up");
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_that_were_asked_for_and_depend_on_the_seed_alone() {
        let asked = OpenLoop { per_s: 1e6, arrivals: Arrivals::Poisson };
        let times = |seed| {
            let mut timetable = Timetable::new(asked, seed);
            (0..100_001).map(|_| timetable.next_ns()).collect::<Vec<u64>>()
        };
        let gaps: Vec<f64> = times(7).windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Of an exponential distribution the deviation is the mean. Five standard errors of either, the seed being fixed.
        assert!((mean - 1000.0).abs() < 16.0, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{variance}");
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }

    #[test]
    fn as_many_as_there_can_be_are_all_due_at_once() {
        let mut timetable = Timetable::new(OpenLoop { per_s: 0.0, arrivals: Arrivals::Constant }, 0);
        assert_eq!([timetable.next_ns(), timetable.next_ns()], [0, 0]);
    }
}
