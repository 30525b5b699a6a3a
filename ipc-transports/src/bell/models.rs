//! Loom models of the bell: L3 a consumer parks, L4 a producer parks, L5 close against parking, L6 early returns, L10
//! an event loop. A lost wake-up is a deadlock, which loom reports.
#![allow(unsafe_code, reason = "plays the shm halves")]

use loom::thread;

use super::*;
use crate::backing::LINE;
use crate::model::{ModelMemory, explore};

const SLICE: Duration = Duration::ZERO;

/// The half of each side that matters here: who sleeps, who wakes.
struct Half {
    ours: ModelMemory,
    theirs: ModelMemory,
    sleeper: Sleeper,
    waker: Waker,
}

/// The receiver of `one` and the sender of `other`.
fn halves(one: &ModelMemory, other: &ModelMemory) -> (Half, Half) {
    let half = |ours: &ModelMemory, theirs: &ModelMemory, state, their_state, bell, their_bell| Half {
        ours: ours.clone(),
        theirs: theirs.clone(),
        sleeper: Sleeper::new(state, their_bell, Barrier::Both),
        waker: Waker::new(bell, their_state, Barrier::Both, None),
    };
    (
        half(one, other, Word::RxState, Word::TxState, Word::RxBell, Word::TxBell),
        half(other, one, Word::TxState, Word::RxState, Word::TxBell, Word::RxBell),
    )
}

impl Half {
    /// As the halves of `shm` do after they have changed something.
    fn wake(&mut self) {
        if self.waker.peer_sleeps(&self.theirs) {
            self.waker.ring(&self.ours, &self.theirs);
        }
    }

    /// As the halves of `shm` end.
    fn leave(&mut self) {
        self.sleeper.leave(&self.ours);
        self.wake();
    }

    /// Parks until `is_ready` of the peer's memory, or until the peer has left.
    fn park_until(&mut self, is_ready: impl Fn(&ModelMemory) -> bool) {
        while !is_ready(&self.theirs) && !self.waker.peer_left(&self.theirs) {
            let theirs = &self.theirs;
            let nothing_to_do = || !is_ready(theirs) && !self.waker.peer_left(theirs);
            self.sleeper.park(&self.ours, theirs, SLICE, nothing_to_do);
        }
    }
}

fn published(memory: &ModelMemory) -> u64 {
    // Stands for a commit word. Relaxed on purpose: the bell's own order has to suffice.
    memory.load_relaxed()
}

impl ModelMemory {
    fn load_relaxed(&self) -> u64 {
        // SAFETY: the first line of the ring.
        unsafe { self.load_commit(0) }
    }

    fn publish(&self, value: u64) {
        // SAFETY: as above. Relaxed: what follows is about waking alone.
        unsafe { self.store_commit(0, value, Ordering::Relaxed) };
    }
}

#[test]
fn l3_a_parked_consumer_is_woken_for_every_message() {
    explore(3, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut rx, mut tx) = halves(&one, &other);
        let writer = thread::spawn(move || {
            for message in 1..=2 {
                tx.ours.publish(message);
                tx.wake();
            }
        });
        for message in 1..=2 {
            rx.park_until(|theirs| published(theirs) >= message);
        }
        writer.join().unwrap();
    });
}

#[test]
fn l3_each_turn_of_a_ping_pong_wakes_the_other() {
    explore(2, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut near, mut far) = halves(&one, &other);
        let peer = thread::spawn(move || {
            for turn in 1..=2 {
                far.park_until(|theirs| published(theirs) >= turn);
                far.ours.publish(turn);
                far.wake();
            }
        });
        for turn in 1..=2 {
            near.ours.publish(turn);
            near.wake();
            near.park_until(|theirs| published(theirs) >= turn);
        }
        peer.join().unwrap();
    });
}

#[test]
fn l4_a_producer_parked_on_a_full_ring_is_woken() {
    explore(3, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut rx, mut tx) = halves(&one, &other);
        let reader = thread::spawn(move || {
            for consumed in 1..=2 {
                rx.ours.store_consumed(consumed);
                rx.wake();
            }
        });
        for needed in 1..=2 {
            tx.park_until(|theirs| theirs.consumed() >= needed);
        }
        reader.join().unwrap();
    });
}

#[test]
fn l5_a_close_is_seen_after_the_last_message_by_who_parks() {
    explore(3, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut rx, mut tx) = halves(&one, &other);
        let writer = thread::spawn(move || {
            tx.ours.publish(1);
            tx.leave();
        });
        rx.park_until(|_| false);
        assert_eq!(published(&rx.theirs), 1, "the end was seen before what came before it");
        writer.join().unwrap();
    });
}

#[test]
fn l5_a_reader_that_leaves_ends_the_wait_for_space() {
    explore(3, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut rx, mut tx) = halves(&one, &other);
        let reader = thread::spawn(move || {
            rx.ours.store_consumed(1);
            rx.leave();
        });
        tx.park_until(|_| false);
        assert_eq!(tx.theirs.consumed(), 1, "the end was seen before what came before it");
        reader.join().unwrap();
    });
}

#[test]
fn l6_returning_early_loses_no_later_ring() {
    explore(2, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut rx, mut tx) = halves(&one, &other);
        let bell = other.clone();
        // A signal, or the end of a slice: it wakes the sleeper and rings no bell.
        let signal = thread::spawn(move || bell.futex(Word::TxBell).wake());
        let writer = thread::spawn(move || {
            for message in 1..=2 {
                tx.ours.publish(message);
                tx.wake();
            }
        });
        rx.park_until(|theirs| published(theirs) >= 2);
        signal.join().unwrap();
        writer.join().unwrap();
    });
}

impl Half {
    /// As an event loop that arms and disarms, or a half that dozes.
    fn doze(&mut self, message: u64) {
        self.sleeper.announce(&self.ours, WokenBy::Eventfd);
        if published(&self.theirs) < message {
            self.theirs.futex(Word::TxBell).drain();
        }
        self.sleeper.awake(&self.ours);
        self.theirs.futex(Word::TxBell).silence();
    }
}

#[test]
fn l10_an_event_loop_that_arms_drains_and_arms_again_misses_nothing() {
    explore(2, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut rx, mut tx) = halves(&one, &other);
        let writer = thread::spawn(move || {
            for message in 1..=2 {
                tx.ours.publish(message);
                tx.wake();
            }
        });
        for message in 1..=2 {
            while published(&rx.theirs) < message {
                rx.doze(message);
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn l10_who_sleeps_a_slice_on_the_bell_and_then_on_descriptors_misses_nothing() {
    explore(2, || {
        let (one, other) = (ModelMemory::new(LINE), ModelMemory::new(LINE));
        let (mut rx, mut tx) = halves(&one, &other);
        let bell = other.clone();
        let slice = thread::spawn(move || bell.futex(Word::TxBell).wake());
        let writer = thread::spawn(move || {
            tx.ours.publish(1);
            tx.wake();
        });
        if published(&rx.theirs) < 1 {
            let theirs = &rx.theirs;
            rx.sleeper.park(&rx.ours, theirs, SLICE, || published(theirs) < 1);
        }
        // The end of the slice may ring in the model's one bell, but once.
        slice.join().unwrap();
        rx.theirs.futex(Word::TxBell).silence();
        while published(&rx.theirs) < 1 {
            rx.doze(1);
        }
        writer.join().unwrap();
    });
}
