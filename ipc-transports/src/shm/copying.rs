//! Whether a sender copies long messages into the ring whole or in pieces, found by trying both.
//!
//! Which is faster depends on where the two CPUs are to each other, on the processor, and on whether messages go one way or
//! there and back, by up to two times either way (docs/performance.md, "shm"). Nothing tells a process where its peer runs, and
//! a scheduler or a hypervisor may move either. So a sender looks at the clock now and then: what a stretch of messages took, copied
//! whole, and what the next one took in pieces.

use std::time::Instant;

use crate::ring::LONGEST_IN_PIECES;

/// Calls that each of the two is tried with, twice.
const TRIAL: u32 = 64;

/// Calls before the first trial: every line of a ring should have been used once.
const FIRST: u32 = 512;

/// Calls between two trials.
const STAY: u32 = 16 * 1024;

/// Share of the time of whole copies that pieces may take if they are to be chosen.
const BETTER: f64 = 0.9;

#[derive(Debug)]
pub(super) struct Copying {
    /// Seconds per byte of the trials so far: whole, in pieces, and both again, since a lost time slice outweighs a trial.
    /// All four: a choice has been made.
    costs: [f64; 4],
    tried: usize,
    /// Calls to the end of this trial, or of the time between trials.
    left: u32,
    /// Bytes of this trial.
    bytes: usize,
    since: Instant,
}

impl Copying {
    pub(super) fn new() -> Copying {
        Copying { costs: [0.0; 4], tried: 4, left: FIRST, bytes: 0, since: Instant::now() }
    }

    /// Counts a call that has copied `bytes`, in messages the first of which has `len`, more than
    /// [`PIECE`](crate::backing::PIECE). True: it is time for the next [`turn`](Copying::turn).
    pub(super) fn ends_with(&mut self, len: usize, bytes: usize) -> bool {
        if len > LONGEST_IN_PIECES {
            return false;
        }
        self.bytes += bytes;
        self.left -= 1;
        self.left == 0
    }

    /// Ends a trial, or the time between trials; whether the next messages are copied in pieces.
    #[cold]
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        match self.costs.get_mut(self.tried) {
            Some(cost) => {
                *cost = (now - self.since).as_secs_f64() / self.bytes as f64;
                self.tried += 1;
            }
            None => self.tried = 0,
        }
        (self.bytes, self.since) = (0, now);
        if self.tried < self.costs.len() {
            self.left = TRIAL;
            return self.tried % 2 == 1;
        }
        self.left = STAY;
        let [whole, pieces, whole_again, pieces_again] = self.costs;
        pieces < BETTER * whole && pieces_again < BETTER * whole_again
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NS: Duration = Duration::from_nanos(1);

    /// Sends until a choice is made, with a clock that whole messages and those in pieces move on by so much, and one of them,
    /// the `lost`-th, by ten milliseconds more; what is chosen, and after how many messages.
    fn choice(copying: &mut Copying, lens: [usize; 2], [whole, pieces]: [u32; 2], lost: u32) -> (bool, u32) {
        let (mut now, mut in_pieces, mut sent) = (copying.since, false, 0);
        loop {
            now += NS * if in_pieces { pieces } else { whole };
            sent += 1;
            if sent == lost {
                now += Duration::from_millis(10);
            }
            let len = lens[sent as usize % 2];
            if copying.ends_with(len, len) {
                in_pieces = copying.turn(now);
                if copying.tried == 4 {
                    return (in_pieces, sent);
                }
            }
        }
    }

    #[test]
    fn what_took_less_is_chosen_and_whole_copies_where_it_is_about_the_same() {
        for (pieces, chosen) in [(120, true), (179, true), (181, false), (200, false), (500, false)] {
            let mut copying = Copying::new();
            let found = choice(&mut copying, [4096; 2], [200, pieces], 0);
            assert_eq!(found, (chosen, FIRST + 4 * TRIAL));
        }
    }

    #[test]
    fn one_lost_time_slice_does_not_choose_pieces() {
        for lost in [10, FIRST + 10, FIRST + TRIAL + 10, FIRST + 2 * TRIAL + 10, FIRST + 3 * TRIAL + 10] {
            assert!(!choice(&mut Copying::new(), [4096; 2], [200, 300], lost).0, "message {lost}");
        }
    }

    #[test]
    fn a_choice_is_made_again_and_may_change() {
        let mut copying = Copying::new();
        assert!(choice(&mut copying, [3000, 5000], [200, 100], 0).0);
        assert_eq!(choice(&mut copying, [3000, 5000], [200, 300], 0), (false, STAY + 4 * TRIAL));
        assert_eq!(choice(&mut copying, [3000, 5000], [200, 100], 0), (true, STAY + 4 * TRIAL));
    }

    #[test]
    fn longer_messages_do_not_count() {
        let mut copying = Copying::new();
        assert!((0..10 * FIRST).all(|_| !copying.ends_with(LONGEST_IN_PIECES + 1, LONGEST_IN_PIECES + 1)));
        assert!((1..FIRST).all(|_| !copying.ends_with(LONGEST_IN_PIECES, LONGEST_IN_PIECES)));
        assert!(copying.ends_with(LONGEST_IN_PIECES, LONGEST_IN_PIECES));
    }
}
