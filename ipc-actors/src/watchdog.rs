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
        let turns = pool.turns();
        self.seen.resize(turns.len(), Seen::default());
        for (worker, (turn, seen)) in turns.into_iter().zip(&mut self.seen).enumerate() {
            if seen.turn != turn {
                *seen = Seen { turn, since: now, told: false };
            } else if !seen.told && now.saturating_sub(seen.since) >= LONG {
                if pool.is_worker_asleep(worker) {
                    // Its last turn is long over; the next is another.
                    seen.since = now;
                    continue;
                }
                seen.told = true;
                events.record(|| Event::of_system(What::WorkerStuck { worker, since: seen.since }));
            }
        }
    }
}
