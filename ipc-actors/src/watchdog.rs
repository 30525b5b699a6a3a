//! Workers whose turn takes long: somebody's handler blocks, and everybody whose turn it would have been waits.
//!
//! What lies in such a worker's queue and slot is run by others ([`Pool::watch`]); here it is said that it happened.

use std::time::Duration;

use crate::event::{Event, Events, What};
use crate::sched::Pool;

/// A turn is 64 messages at most; one that takes longer than this is not at work, it waits.
const LONG: Duration = Duration::from_millis(100);

/// What was seen of each worker.
#[derive(Default)]
pub(crate) struct Watchdog {
    seen: Vec<Seen>,
    looked: Duration,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    turn: u64,
    since: Duration,
    told: bool,
}

impl Watchdog {
    /// Looks at every worker, and says once of each turn that it takes long.
    pub(crate) fn look(&mut self, now: Duration, pool: &Pool, events: &Events) {
        for (worker, since) in self.stuck(now, &pool.turns(), |worker| pool.is_worker_asleep(worker)) {
            events.record(|| Event::of_system(What::WorkerStuck { worker, since }));
        }
    }

    /// Workers whose turn takes long and was not told of, and since when.
    fn stuck(
        &mut self,
        now: Duration,
        turns: &[u64],
        asleep: impl Fn(usize) -> bool,
    ) -> Vec<(usize, Duration)> {
        // While all slept nobody looked, and a worker that is woken now has not begun its turn yet.
        let looked_away = self.seen.is_empty() || now.saturating_sub(self.looked) >= LONG;
        self.looked = now;
        self.seen.resize(turns.len(), Seen::default());
        let mut stuck = Vec::new();
        for (worker, (turn, seen)) in turns.iter().copied().zip(&mut self.seen).enumerate() {
            if seen.turn != turn || looked_away {
                *seen = Seen { turn, since: now, told: false };
            } else if asleep(worker) {
                // Its last turn is long over; the next is another.
                seen.since = now;
            } else if !seen.told && now.saturating_sub(seen.since) >= LONG {
                seen.told = true;
                stuck.push((worker, seen.since));
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_turn_that_takes_long_is_told_once() {
        let mut dog = Watchdog::default();
        let told: Vec<_> = (0..40).flat_map(|tick| dog.stuck(ms(tick * 10), &[7, tick], |_| false)).collect();
        assert_eq!(told, [(0, ms(0))]);
    }

    #[test]
    fn who_slept_or_was_not_looked_at_is_not_stuck() {
        let mut dog = Watchdog::default();
        for tick in 0..40 {
            assert!(dog.stuck(ms(tick * 10), &[7], |_| true).is_empty());
        }
        // Woken, and nobody looked for a second: its turn is about to begin.
        assert!(dog.stuck(ms(1_400), &[7], |_| false).is_empty());
        assert!(dog.stuck(ms(1_410), &[7], |_| false).is_empty());
        assert!(dog.stuck(ms(1_420), &[8], |_| false).is_empty());
    }
}
