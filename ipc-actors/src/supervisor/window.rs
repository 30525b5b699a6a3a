//! When a restart is one too many, and how long to pause before it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::random::Random;

/// The last restarts of a supervisor.
#[derive(Debug)]
pub(super) struct Window {
    intensity: u32,
    period: Duration,
    restarts: VecDeque<Duration>,
}

impl Window {
    pub(super) fn new(intensity: u32, period: Duration) -> Self {
        Window { intensity, period, restarts: VecDeque::new() }
    }

    /// Counts a restart at `now`; false: it is one more than `intensity` within `period`. A restart exactly one period
    /// ago still counts.
    pub(super) fn record(&mut self, now: Duration) -> bool {
        self.expire(now);
        if self.restarts.len() >= self.intensity as usize {
            return false;
        }
        self.restarts.push_back(now);
        true
    }

    /// Restarts that the window still allows.
    pub(super) fn left(&mut self, now: Duration) -> u32 {
        self.expire(now);
        self.intensity.saturating_sub(self.restarts.len() as u32)
    }

    fn expire(&mut self, now: Duration) {
        while self.restarts.front().is_some_and(|at| now.saturating_sub(*at) > self.period) {
            self.restarts.pop_front();
        }
    }
}

/// Pauses before restarts: none before the first, then `base`, and `factor` times as long each time up to `max`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Backoff {
    /// The second pause, at least 1 ms. The first is none.
    pub base: Duration,
    /// The longest pause, before jitter.
    pub max: Duration,
    /// How much longer each pause is than the one before, at least 1.
    pub factor: f64,
    /// Part of a pause, in `0.0..=1.0`, by which it is drawn shorter or longer, so that children that fail together
    /// do not come back together.
    pub jitter: f64,
    /// After running this long a child is taken as recovered: its next pause is the first again.
    pub reset_after: Duration,
}

impl Default for Backoff {
    /// 0, 1 ms, 2 ms, 4 ms and so on up to 30 s, ±20 %, from the start again after 60 s.
    fn default() -> Self {
        Backoff {
            base: Duration::from_millis(1),
            max: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.2,
            reset_after: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// No pauses: the intensity alone bounds how often a child is restarted.
    pub fn none() -> Self {
        Backoff { max: Duration::ZERO, ..Backoff::default() }
    }

    /// The pause before restart number `attempt`; the first is 0 and has none.
    pub(super) fn pause(&self, attempt: u32, random: &mut Random) -> Duration {
        let Some(doublings) = attempt.checked_sub(1) else { return Duration::ZERO };
        let longest = self.max.as_secs_f64();
        let exponent = i32::try_from(doublings).unwrap_or(i32::MAX);
        // An overflow is infinity, which `min` brings down.
        let pause = (self.base.max(Duration::from_millis(1)).as_secs_f64()
            * self.factor.max(1.0).powi(exponent))
        .min(longest);
        let unit = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let drawn = pause * (1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * unit - 1.0));
        Duration::try_from_secs_f64(drawn).unwrap_or(self.max)
    }
}

/// How often something was restarted without recovering in between.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Attempts {
    count: u32,
    running_since: Option<Duration>,
}

impl Attempts {
    pub(super) fn runs(&mut self, now: Duration) {
        self.running_since = Some(now);
    }

    /// The pause before the restart that is due now.
    pub(super) fn next(&mut self, backoff: &Backoff, now: Duration, random: &mut Random) -> Duration {
        let ran = self.running_since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if ran >= backoff.reset_after {
            self.count = 0;
        }
        let pause = backoff.pause(self.count, random);
        self.count = self.count.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_window_allows_so_many_restarts_and_the_edge_still_counts() {
        let mut window = Window::new(2, ms(1000));
        assert!(window.record(ms(0)) && window.record(ms(500)));
        assert!(!window.record(ms(1000)), "the one at 0 is exactly one period ago");
        assert_eq!(window.left(ms(1000)), 0);
        assert!(window.record(ms(1001)));
        assert!(!window.record(ms(1500)));
        assert!(!Window::new(0, ms(1)).record(ms(5)));
    }

    #[test]
    fn pauses_double_from_nothing_to_the_longest_within_their_jitter() {
        let backoff = Backoff::default();
        let plain = Backoff { jitter: 0.0, ..backoff };
        let mut random = Random::new(1);
        let pauses: Vec<_> = (0..6).map(|attempt| plain.pause(attempt, &mut random)).collect();
        assert_eq!(pauses, [ms(0), ms(1), ms(2), ms(4), ms(8), ms(16)]);
        assert_eq!(plain.pause(u32::MAX, &mut random), backoff.max);
        let drawn: Vec<_> = (0..1000).map(|_| backoff.pause(4, &mut random).as_secs_f64() * 1e3).collect();
        assert!(drawn.iter().all(|ms| (6.4..=9.6).contains(ms)));
        assert!(drawn.iter().any(|ms| *ms < 6.6) && drawn.iter().any(|ms| *ms > 9.4));
    }

    #[test]
    fn a_child_that_ran_long_enough_begins_with_no_pause_again() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let (mut attempts, mut random) = (Attempts::default(), Random::new(1));
        let mut next = |attempts: &mut Attempts, now| attempts.next(&backoff, ms(now), &mut random);
        assert_eq!(next(&mut attempts, 0), ms(0));
        attempts.runs(ms(0));
        assert_eq!(next(&mut attempts, 59_999), ms(1));
        attempts.runs(ms(60_000));
        assert_eq!(next(&mut attempts, 120_000), ms(0));
    }
}
