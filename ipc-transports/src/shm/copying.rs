//! Whether long messages are copied in whole or in pieces, found by trying both.
//!
//! Which is faster depends on where the two CPUs are to each other, on the processor, and on whether messages go one way or
//! there and back, by up to two times either way (docs/performance.md, "shm"). Nothing tells a process where its peer runs, and
//! a scheduler or a hypervisor may move either. So a sender looks at the clock now and then: what a stretch of messages took, copied
//! whole, and what the next one took in pieces.

use std::time::Instant;

use crate::ring::LONGEST_IN_PIECES;

/// Messages that each of the two is tried with.
const TRIAL: u32 = 64;

/// Messages before the first trial: every line of a ring should have been used once.
const FIRST: u32 = 512;

/// Messages between two trials.
const STAY: u32 = 16 * 1024;

/// Share of the time of whole copies that pieces may take if they are to be chosen.
const BETTER: f64 = 0.9;

/// What is tried now.
#[derive(Debug)]
enum Stage {
    Chosen,
    Whole,
    Pieces {
        /// Seconds per byte that whole copies took.
        whole: f64,
    },
}

#[derive(Debug)]
pub(super) struct Copying {
    stage: Stage,
    /// Messages to the end of this stage.
    left: u32,
    /// Bytes of this stage.
    bytes: usize,
    since: Instant,
}

impl Copying {
    pub(super) fn new() -> Copying {
        Copying { stage: Stage::Chosen, left: FIRST, bytes: 0, since: Instant::now() }
    }

    /// Counts a message of `len` bytes, more than [`PIECE`](crate::ring::PIECE). True: it was the last of a stage.
    pub(super) fn ends_with(&mut self, len: usize) -> bool {
        if len > LONGEST_IN_PIECES {
            return false;
        }
        self.bytes += len;
        self.left -= 1;
        self.left == 0
    }

    /// Ends a stage; whether the messages of the next are copied in pieces.
    #[cold]
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        let cost = (now - self.since).as_secs_f64() / self.bytes as f64;
        let (stage, left, pieces) = match self.stage {
            Stage::Chosen => (Stage::Whole, TRIAL, false),
            Stage::Whole => (Stage::Pieces { whole: cost }, TRIAL, true),
            Stage::Pieces { whole } => (Stage::Chosen, STAY, cost < BETTER * whole),
        };
        *self = Copying { stage, left, bytes: 0, since: now };
        pieces
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Sends until a choice is made, with a clock that whole messages and those in pieces move on by so much; what is chosen,
    /// and after how many messages.
    fn choice(copying: &mut Copying, lens: [usize; 2], whole: Duration, pieces: Duration) -> (bool, u32) {
        let (mut now, mut in_pieces, mut sent) = (copying.since, false, 0);
        loop {
            now += if in_pieces { pieces } else { whole };
            sent += 1;
            if copying.ends_with(lens[sent as usize % 2]) {
                in_pieces = copying.turn(now);
                if matches!(copying.stage, Stage::Chosen) {
                    return (in_pieces, sent);
                }
            }
        }
    }

    const NS: Duration = Duration::from_nanos(1);

    #[test]
    fn what_took_less_is_chosen_and_whole_copies_where_it_is_about_the_same() {
        for (pieces, chosen) in [(120, true), (179, true), (181, false), (200, false), (500, false)] {
            let mut copying = Copying::new();
            assert_eq!(choice(&mut copying, [4096; 2], 200 * NS, pieces * NS), (chosen, FIRST + 2 * TRIAL));
        }
    }

    #[test]
    fn a_choice_is_made_again_and_may_change() {
        let mut copying = Copying::new();
        assert!(choice(&mut copying, [3000, 5000], 200 * NS, 100 * NS).0);
        assert_eq!(choice(&mut copying, [3000, 5000], 200 * NS, 300 * NS), (false, STAY + 2 * TRIAL));
        assert_eq!(choice(&mut copying, [3000, 5000], 200 * NS, 100 * NS), (true, STAY + 2 * TRIAL));
    }

    #[test]
    fn longer_messages_do_not_count() {
        let mut copying = Copying::new();
        assert!((0..10 * FIRST).all(|_| !copying.ends_with(LONGEST_IN_PIECES + 1)));
        assert!((1..FIRST).all(|_| !copying.ends_with(LONGEST_IN_PIECES)));
        assert!(copying.ends_with(LONGEST_IN_PIECES));
    }
}
