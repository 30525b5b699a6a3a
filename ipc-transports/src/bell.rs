//! Sleeping until the peer rings: an eventcount over two words, each written by one side only.
//!
//! The **state word** lies in the sleeper's memory: mode in the low two bits, a ticket above. It only announces. The
//! **bell** lies in the waker's memory and is what the sleeper's futex waits on.
//!
//! ```text
//! sleeper                                        waker
//! sample the bell                                publish
//! announce: state = {futex, next ticket}         ── store-load barrier ──
//! ── store-load barrier ──                       state asleep, ticket not rung yet?
//! look again                                         bell += 1, FUTEX_WAKE
//! FUTEX_WAIT while bell == sample
//! state = awake
//! ```
//!
//! Of the two loads behind the two barriers at least one sees the other's store, so either the sleeper finds what was
//! published or the waker finds it asleep; and a ring between sample and wait makes the wait return at once. Waiting on
//! the state word itself loses wake-ups, since the waker cannot change it (588 of 200,000 when tried).
//! The waker's barrier costs a store-buffer drain per message; where both processes are registered for it the sleeper
//! pays instead, with one `membarrier(GLOBAL_EXPEDITED)` per sleep ([`Barrier`]).

use std::os::fd::OwnedFd;
use std::sync::{Arc, Once};
use std::time::Duration;

use crate::atomics::{Ordering, compiler_fence, fence};
use crate::backing::{Backing, Word};
use crate::eventfd;
use crate::features::Features;

/// The modes of a state word.
const MODE: u32 = 3;
const AWAKE: u32 = 0;
const FUTEX: u32 = 1;
const EVENTFD: u32 = 2;
const GONE: u32 = 3;
/// One ticket, in the bits above the mode.
const TICKET: u32 = 4;

/// Who pays for the order of publish and look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// Sleeper and waker fence, the waker once per message.
    Both,
    /// The sleeper alone, with a system call that makes every registered process fence.
    Sleeper,
}

/// Registers this process for [`Barrier::Sleeper`]; false where the kernel cannot.
pub(crate) fn register(features: &Features) -> bool {
    use rustix::thread::{MembarrierCommand::RegisterGlobalExpedited, membarrier};
    static REGISTER: Once = Once::new();
    static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    REGISTER.call_once(|| {
        // Relaxed: ordered by the Once.
        DONE.store(features.membarrier && membarrier(RegisterGlobalExpedited).is_ok(), Ordering::Relaxed);
    });
    // Relaxed: ordered by the Once.
    DONE.load(Ordering::Relaxed)
}

/// What a sleeper is to be woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WokenBy {
    /// The bell.
    Futex,
    /// The sleeper's eventfd, in an event loop or in a wait that has been long.
    Eventfd,
}

/// The side of one half that sleeps.
#[derive(Debug)]
pub(crate) struct Sleeper {
    /// In our memory.
    state: Word,
    /// In the peer's memory.
    bell: Word,
    ticket: u32,
    barrier: Barrier,
    /// The barrier of the last announcement was one.
    ordered: bool,
}

impl Sleeper {
    pub(crate) fn new(state: Word, bell: Word, barrier: Barrier) -> Self {
        Sleeper { state, bell, ticket: 0, barrier, ordered: true }
    }

    /// Whether a ring after the last announcement cannot be missed, so that a sleep needs no bound.
    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// Reads the bell; before [`announce`](Sleeper::announce).
    pub(crate) fn sample<B: Backing>(&self, theirs: &B) -> u32 {
        // Acquire: what was published before the ring that we already see is seen by the look that follows.
        theirs.load(self.bell, Ordering::Acquire)
    }

    /// Tells the peer that we are about to sleep. Look once more after this.
    pub(crate) fn announce<B: Backing>(&mut self, ours: &B, by: WokenBy) {
        let mode = match by {
            WokenBy::Futex => FUTEX,
            WokenBy::Eventfd => EVENTFD,
        };
        self.ticket = self.ticket.wrapping_add(TICKET);
        // Release: pairs with the Acquire in Waker::ring.
        ours.store(self.state, self.ticket | mode, Ordering::Release);
        match self.barrier {
            // SeqCst: pairs with the fence in Waker::peer_sleeps.
            Barrier::Both => fence(Ordering::SeqCst),
            Barrier::Sleeper => {
                let expedited = rustix::thread::MembarrierCommand::GlobalExpedited;
                // Cannot fail once `register` has succeeded (membarrier(2)), unless a filter of system calls came since.
                self.ordered = rustix::thread::membarrier(expedited).is_ok();
            }
        }
    }

    /// Sleeps until the peer rings, at most `slice`, if after the announcement there is still `nothing_to_do`. May return
    /// early. True if it slept.
    pub(crate) fn park<B: Backing>(
        &mut self,
        ours: &B,
        theirs: &B,
        slice: Duration,
        nothing_to_do: impl FnOnce() -> bool,
    ) -> bool {
        let sample = self.sample(theirs);
        self.announce(ours, WokenBy::Futex);
        let sleeps = nothing_to_do();
        if sleeps {
            self.sleep(theirs, sample, slice);
        }
        self.awake(ours);
        sleeps
    }

    /// Sleeps until a ring after `sample`, at most `slice`. May return early.
    pub(crate) fn sleep<B: Backing>(&self, theirs: &B, sample: u32, slice: Duration) {
        theirs.sleep_on(self.bell, sample, slice);
    }

    /// Takes the announcement back.
    pub(crate) fn awake<B: Backing>(&self, ours: &B) {
        // Relaxed: the peer may ring once too often, which is harmless.
        ours.store(self.state, self.ticket | AWAKE, Ordering::Relaxed);
    }

    /// Says that this half is gone for good.
    pub(crate) fn leave<B: Backing>(&self, ours: &B) {
        // Release: pairs with the Acquire in Waker::peer_left; what this half did before is seen first.
        ours.store(self.state, GONE, Ordering::Release);
    }
}

/// The side of one half that wakes.
#[derive(Debug)]
pub(crate) struct Waker {
    /// In our memory.
    bell: Word,
    /// In the peer's memory.
    state: Word,
    /// State word of the last announcement that was rung for.
    rung: u32,
    barrier: Barrier,
    eventfd: Option<Arc<OwnedFd>>,
}

impl Waker {
    /// `eventfd` is the one the peer handed over for this direction.
    pub(crate) fn new(bell: Word, state: Word, barrier: Barrier, eventfd: Option<Arc<OwnedFd>>) -> Self {
        Waker { bell, state, rung: 0, barrier, eventfd }
    }

    /// Whether the peer's half is gone for good.
    #[inline]
    pub(crate) fn peer_left<B: Backing>(&self, theirs: &B) -> bool {
        // Acquire: pairs with the Release in Sleeper::leave.
        theirs.load(self.state, Ordering::Acquire) & MODE == GONE
    }

    /// Whether the peer may be asleep; call after publishing, then [`ring`](Waker::ring).
    #[inline]
    pub(crate) fn peer_sleeps<B: Backing>(&self, theirs: &B) -> bool {
        match self.barrier {
            // SeqCst: pairs with the fence in Sleeper::announce.
            Barrier::Both => fence(Ordering::SeqCst),
            // The peer's membarrier turns this into a full fence when one is needed.
            Barrier::Sleeper => compiler_fence(Ordering::SeqCst),
        }
        // Relaxed: the barrier above orders it; the announcement carries no data.
        theirs.load(self.state, Ordering::Relaxed) & MODE != AWAKE
    }

    /// Whether the peer may be waiting where no time slice makes it look again: in an event loop, or for long.
    #[inline]
    pub(crate) fn peer_polls<B: Backing>(&self, theirs: &B) -> bool {
        match self.barrier {
            // SeqCst: pairs with the fence in Sleeper::announce.
            Barrier::Both => fence(Ordering::SeqCst),
            Barrier::Sleeper => compiler_fence(Ordering::SeqCst),
        }
        // Relaxed: as in peer_sleeps.
        theirs.load(self.state, Ordering::Relaxed) & MODE == EVENTFD
    }

    /// Rings for the announcement that is there, unless it has been rung for. True if it rang.
    #[cold]
    pub(crate) fn ring<B: Backing>(&mut self, ours: &B, theirs: &B) -> bool {
        let Some(by) = self.take_due(theirs) else { return false };
        strike(ours, self.bell);
        if !(by == WokenBy::Eventfd && self.ring_eventfd()) {
            ours.wake(self.bell);
        }
        true
    }

    /// Whether there is an announcement that has not been rung for. The barrier before it is the caller's: it may have
    /// many sleepers to look after.
    #[inline]
    pub(crate) fn is_due<B: Backing>(&self, theirs: &B) -> bool {
        // Relaxed: the caller's barrier orders it; the announcement carries no data.
        let state = theirs.load(self.state, Ordering::Relaxed);
        state != self.rung && matches!(state & MODE, FUTEX | EVENTFD)
    }

    /// What the announcement that has not been rung for asks for; the caller rings.
    pub(crate) fn take_due<B: Backing>(&mut self, theirs: &B) -> Option<WokenBy> {
        // Acquire: pairs with the Release in Sleeper::announce.
        let state = theirs.load(self.state, Ordering::Acquire);
        if state == self.rung {
            return None;
        }
        let by = match state & MODE {
            FUTEX => WokenBy::Futex,
            EVENTFD => WokenBy::Eventfd,
            _ => return None,
        };
        self.rung = state;
        Some(by)
    }

    /// Writes to the peer's eventfd; false if it has none.
    pub(crate) fn ring_eventfd(&self) -> bool {
        let Some(theirs) = &self.eventfd else { return false };
        eventfd::ring(theirs);
        true
    }
}

/// Moves our `bell`, so that nobody goes to sleep on what it said before. Who sleeps already has to be woken yet.
pub(crate) fn strike<B: Backing>(ours: &B, bell: Word) {
    // Relaxed load: only we write it. Release: pairs with the Acquire in Sleeper::sample.
    let now = ours.load(bell, Ordering::Relaxed);
    ours.store(bell, now.wrapping_add(1), Ordering::Release);
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backing::DATA;
    use crate::memory::Memory;

    fn ping_pong(barrier: Barrier) {
        const ROUNDS: u64 = 20_000;
        let (one, other) = (Memory::heap(DATA), Memory::heap(DATA));
        let side = move |ours: Memory, theirs: Memory, first: bool| {
            let mut sleeper = Sleeper::new(Word::RxState, Word::TxBell, barrier);
            let mut waker = Waker::new(Word::TxBell, Word::RxState, barrier, None);
            for round in 1..=ROUNDS {
                // `consumed` serves as the thing published.
                let publish = |waker: &mut Waker| {
                    ours.store_consumed(round);
                    if waker.peer_sleeps(&theirs) {
                        waker.ring(&ours, &theirs);
                    }
                };
                if first {
                    publish(&mut waker);
                }
                while theirs.consumed() < round {
                    let sample = sleeper.sample(&theirs);
                    sleeper.announce(&ours, WokenBy::Futex);
                    if theirs.consumed() < round {
                        let start = std::time::Instant::now();
                        sleeper.sleep(&theirs, sample, Duration::from_secs(20));
                        assert!(
                            start.elapsed() < Duration::from_secs(10),
                            "a ring was lost in round {round}"
                        );
                    }
                    sleeper.awake(&ours);
                }
                if !first {
                    publish(&mut waker);
                }
            }
        };
        let (ours, theirs) = (one.clone(), other.clone());
        let peer = std::thread::spawn(move || side(other, one, false));
        side(ours, theirs, true);
        peer.join().unwrap();
    }

    #[test]
    fn no_ring_is_lost_when_both_fence() {
        ping_pong(Barrier::Both);
    }

    #[test]
    fn no_ring_is_lost_when_the_sleeper_pays() {
        if register(crate::features::features("test").unwrap()) {
            ping_pong(Barrier::Sleeper);
        }
    }

    #[test]
    fn each_sleep_is_rung_once_and_leaving_is_seen() {
        let (one, other) = (Memory::heap(DATA), Memory::heap(DATA));
        let mut sleeper = Sleeper::new(Word::RxState, Word::TxBell, Barrier::Both);
        let mut waker = Waker::new(Word::TxBell, Word::RxState, Barrier::Both, None);
        assert!(!waker.peer_sleeps(&one));
        for _ in 0..3 {
            sleeper.announce(&one, WokenBy::Futex);
            assert!(waker.peer_sleeps(&one));
            assert!(waker.ring(&other, &one));
            assert!(!waker.ring(&other, &one), "once is enough");
            sleeper.awake(&one);
            assert!(!waker.peer_sleeps(&one));
        }
        assert!(!waker.peer_left(&one));
        sleeper.leave(&one);
        assert!(waker.peer_left(&one));
        assert!(!waker.ring(&other, &one), "nobody is there to be woken");
    }
}
