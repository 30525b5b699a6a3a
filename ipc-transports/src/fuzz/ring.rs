//! F2: both ends of a ring, and who sleeps and wakes beside it, on memory that answers every load with something else.
#![allow(unsafe_code, reason = "implements Backing, calls what it checks")]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::Feed;
use crate::atomics::Ordering;
use crate::backing::{Backing, LINE, Word, room_for};
use crate::bell::{Barrier, Sleeper, Waker, WokenBy};
use crate::ring::{Batch, Consumer, Producer, longest_message};

const CAPACITY: usize = 4096;

/// Memory of a hostile peer. Every access outside of the ring is a panic.
#[derive(Clone)]
struct Hostile<'a> {
    feed: &'a Feed<'a>,
    /// Where the reader stands, so that half of the answers can be nearly right.
    position: Rc<Cell<u64>>,
    consumed: Rc<Cell<u64>>,
}

// SAFETY: nothing is stored, and `read` fills what it promises.
unsafe impl Backing for Hostile<'_> {
    fn load(&self, _: Word, _: Ordering) -> u32 {
        self.feed.number() as u32
    }

    fn store(&self, _: Word, _: u32, _: Ordering) {}

    fn consumed(&self) -> u64 {
        let consumed = match self.feed.byte() % 4 {
            0 => self.feed.number(),
            1 => self.consumed.get().wrapping_sub(LINE as u64),
            lines => self.consumed.get().wrapping_add((u64::from(lines) - 2) * LINE as u64),
        };
        self.consumed.set(consumed);
        consumed
    }

    fn store_consumed(&self, _: u64) {}

    fn copies_early(&self) -> bool {
        self.feed.byte().is_multiple_of(2)
    }

    fn store_copies_early(&self, _: bool) {}

    unsafe fn load_commit(&self, at: usize) -> u64 {
        assert!(at.is_multiple_of(LINE) && at < CAPACITY, "a commit word at {at}");
        let right = (self.position.get() / LINE as u64) << 32 | 1 << 31;
        match self.feed.byte() % 8 {
            0 => 0,
            1 => self.feed.number(),
            2 => right | 1 << 30,
            3 => right.wrapping_add(1 << 32),
            4 => right | self.feed.number() & 0x7FFF_FFFF,
            5 => right ^ (1 << 31 | 1 << 30) | u64::from(self.feed.byte()) << (self.feed.byte() % 8),
            _ => right | u64::from(self.feed.byte()),
        }
    }

    unsafe fn store_commit(&self, at: usize, _: u64, _: Ordering) {
        assert!(at.is_multiple_of(LINE) && at < CAPACITY, "a commit word at {at}");
    }

    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= CAPACITY, "{} bytes written at {at}", bytes.len());
    }

    unsafe fn read(&self, at: usize, len: usize, to: *mut u8) {
        assert!(at + room_for(len) <= CAPACITY, "{len} bytes read at {at}");
        // SAFETY: the caller has room for that many.
        unsafe { core::ptr::write_bytes(to, 0xEE, room_for(len)) };
    }

    unsafe fn write_part(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= CAPACITY, "{} bytes written at {at}", bytes.len());
    }

    unsafe fn read_part(&self, at: usize, len: usize, to: *mut u8) {
        assert!(at + len <= CAPACITY, "{len} bytes read at {at}");
        // SAFETY: the caller has room for that many.
        unsafe { core::ptr::write_bytes(to, 0xEE, len) };
    }

    fn sleep_on(&self, _: Word, _: u32, _: Duration) {}

    fn wake(&self, _: Word) {}
}

/// F2.
pub fn ring(data: &[u8]) {
    let feed = Feed::new(data);
    let memory = Hostile { feed: &feed, position: Rc::new(Cell::new(0)), consumed: Rc::new(Cell::new(0)) };
    let longest = longest_message(CAPACITY);
    let mut producer = Producer::new(memory.clone(), memory.clone(), CAPACITY).show_every(4 * LINE);
    let mut consumer = Consumer::new(memory.clone(), memory.clone(), CAPACITY, longest);
    let mut sleeper = Sleeper::new(Word::RxState, Word::TxBell, Barrier::Both);
    let mut waker = Waker::new(Word::TxBell, Word::RxState, Barrier::Both, None);
    let mut copy = vec![0; room_for(longest)];
    while !feed.is_over() {
        match feed.byte() % 8 {
            0..3 => {
                memory.position.set(consumer.position());
                match consumer.look() {
                    Ok(Some(record)) => {
                        assert!(record.len <= longest);
                        // SAFETY: there is room for the longest message, and `record` was just looked at.
                        unsafe { consumer.read(record, copy.as_mut_ptr()) };
                        consumer.advance(record);
                        consumer.release();
                    }
                    // Twice, as who waits for more does.
                    Ok(None) => {
                        let [some, more] = [(), ()].map(|()| consumer.shown().map_or(0, |shown| shown.bytes));
                        assert!(some.max(more) <= longest);
                        // SAFETY: there is room for the longest message, and that much shows.
                        unsafe { consumer.read_part(some.min(more), some.max(more), copy.as_mut_ptr()) };
                    }
                    // A half that has seen this is never used again.
                    Err(_) => return,
                }
            }
            3 => {
                let len = feed.below(longest + 1);
                let space = producer.reserve(len);
                if let Some(space) = space {
                    // SAFETY: reserved for just this length.
                    unsafe { producer.write(space, 0, &copy[..len]) };
                    producer.commit(space, feed.below(len + 1));
                    producer.prepare(len);
                }
            }
            4 => {
                let mut batch = Batch::default();
                for _ in 0..feed.byte() % 4 {
                    let len = feed.below(300);
                    let Some(space) = producer.reserve_behind(len) else { break };
                    producer.stage(&mut batch, space, len);
                }
                producer.publish(batch);
            }
            5 => {
                if producer.refresh().is_err() {
                    return;
                }
                producer.has_room(feed.below(longest + 1));
                assert!(producer.max_occupancy() <= CAPACITY as u64);
            }
            6 => {
                if waker.peer_sleeps(&memory) {
                    waker.ring(&memory, &memory);
                }
                waker.peer_left(&memory);
                producer.theirs_moved();
            }
            _ => {
                sleeper.announce(&memory, WokenBy::Futex);
                sleeper.park(&memory, &memory, Duration::ZERO, || !consumer.is_ready());
                sleeper.awake(&memory);
            }
        }
    }
}
