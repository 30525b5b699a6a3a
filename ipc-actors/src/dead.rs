//! Dead letters: messages that no handler saw, counted by reason, the latest kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::id::ActorId;

/// Records kept; older ones go.
const KEPT: usize = 256;

/// Why no handler saw a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
#[non_exhaustive]
pub enum DeadReason {
    /// Its actor ended with the message still queued.
    ActorEnded,
    /// The mailbox was full and its policy gives messages up.
    Overflow,
    /// Its time to live was over before it was handled.
    Expired,
    /// The actor was handling it when it failed, so the next incarnation does not see it.
    Poison,
    /// An answer to a question that nobody waits for any more.
    LateReply,
    /// It was queued when its actor was restarted, and the actor does not keep messages across restarts.
    Restarted,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [DeadReason; 6] = [
        DeadReason::ActorEnded,
        DeadReason::Overflow,
        DeadReason::Expired,
        DeadReason::Poison,
        DeadReason::LateReply,
        DeadReason::Restarted,
    ];
}

/// One message that no handler saw.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeadLetter {
    /// For whom it was.
    pub to: ActorId,
    /// From whom, when an actor sent it.
    pub sender: Option<ActorId>,
    /// `MESSAGE_TYPE` of its type.
    pub message_type: &'static str,
    /// Why.
    pub reason: DeadReason,
}

#[derive(Default)]
pub(crate) struct DeadLetters {
    counts: [AtomicU64; DeadReason::ALL.len()],
    latest: Mutex<VecDeque<DeadLetter>>,
}

impl DeadLetters {
    pub(crate) fn record(&self, letter: DeadLetter) {
        // Relaxed: a statistic.
        self.counts[letter.reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut latest = self.latest.lock();
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back(letter);
    }

    pub(crate) fn count(&self, reason: DeadReason) -> u64 {
        // Relaxed: a statistic.
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn latest(&self) -> Vec<DeadLetter> {
        self.latest.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_counted_and_the_latest_are_kept() {
        let letters = DeadLetters::default();
        for slot in 0..KEPT as u32 + 3 {
            let to = ActorId::new(slot, 1);
            letters.record(DeadLetter { to, sender: None, message_type: "x/1", reason: DeadReason::Expired });
        }
        assert_eq!(letters.count(DeadReason::Expired), KEPT as u64 + 3);
        assert_eq!(letters.count(DeadReason::Poison), 0);
        assert_eq!((letters.latest().len(), letters.latest()[0].to.slot()), (KEPT, 3));
        assert!(DeadReason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
    }
}
