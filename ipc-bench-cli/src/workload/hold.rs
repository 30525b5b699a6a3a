//! A delay that is put in on purpose: what a slower build would cost, in a known amount.

use std::hint::black_box;

use crate::clock::now_ns;

/// Loops that calibrate; the fastest counts, so that one that was interrupted does not.
const ATTEMPTS: usize = 9;
const ROUNDS: u64 = 100_000;

/// Occupies the calling thread for a fixed time per message, to a few nanoseconds: it counts rounds of a loop that was
/// calibrated before, since two clock reads alone take longer than some of the delays that are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    rounds: u64,
}

impl Hold {
    /// A delay of so many nanoseconds; 0 for none.
    pub(crate) fn new(ns: u64) -> Hold {
        if ns == 0 {
            return Hold { rounds: 0 };
        }
        let fastest = (0..ATTEMPTS).map(|_| {
            let start = now_ns();
            turn(ROUNDS);
            now_ns() - start
        });
        let fastest = fastest.min().unwrap_or(1).max(1);
        Hold { rounds: (ns * ROUNDS).div_ceil(fastest) }
    }

    /// Takes the time.
    #[inline]
    pub(crate) fn here(self) {
        if self.rounds > 0 {
            turn(self.rounds);
        }
    }
}

#[inline(never)]
fn turn(rounds: u64) {
    for round in 0..rounds {
        black_box(round);
    }
}
