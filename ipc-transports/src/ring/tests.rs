#![allow(unsafe_code, reason = "plays the shm halves, and the hostile peer")]

use super::*;
use crate::backing::{DATA, room_for};
use crate::memory::Memory;

const CAPACITY: usize = 4096;

/// How often a test does what it does: under Miri, which takes a thousand times as long, a few times.
const fn rounds(many: u64) -> u64 {
    if cfg!(miri) { 5 + many / 500 } else { many }
}

fn ring(capacity: usize) -> (Producer<Memory>, Consumer<Memory>, Memory) {
    let (one, other) = (Memory::heap(DATA + capacity), Memory::heap(DATA + capacity));
    let longest = longest_message(capacity);
    let producer = Producer::new(one.clone(), other.clone(), capacity);
    (producer, Consumer::new(other, one.clone(), capacity, longest), one)
}

fn send(producer: &mut Producer<Memory>, message: &[u8]) -> bool {
    let space = match producer.reserve(message.len()) {
        Some(space) => space,
        None => {
            producer.refresh().unwrap();
            let Some(space) = producer.reserve(message.len()) else { return false };
            space
        }
    };
    producer.ask_for(space, message.len());
    // SAFETY: reserved for just this length.
    unsafe { producer.write(space, 0, message) };
    producer.commit(space, message.len());
    producer.prepare(message.len());
    producer.ask_for_next(message.len());
    true
}

fn copied(consumer: &Consumer<Memory>, record: Record) -> Vec<u8> {
    let mut message = Vec::with_capacity(room_for(record.len));
    // SAFETY: there is room, and `record` was just looked at.
    unsafe { consumer.read(record, message.as_mut_ptr()) };
    // SAFETY: `read` wrote `len` bytes.
    unsafe { message.set_len(record.len) };
    message
}

fn recv(consumer: &mut Consumer<Memory>) -> Option<Vec<u8>> {
    let record = consumer.look().unwrap()?;
    let message = copied(consumer, record);
    consumer.advance(record);
    consumer.release();
    Some(message)
}

/// A small generator, so that a failure repeats (Steele, Lea, Flood: SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[test]
fn every_length_at_every_offset_arrives_whole() {
    let (mut producer, mut consumer, _) = ring(CAPACITY);
    for round in 0..3 {
        for len in (0..=longest_message(CAPACITY)).step_by(if cfg!(miri) { 397 } else { 1 }) {
            let message: Vec<u8> = (0..len).map(|at| (at + len + round) as u8).collect();
            assert!(send(&mut producer, &message), "an empty ring has room for {len} bytes");
            assert_eq!(recv(&mut consumer).unwrap(), message);
            assert_eq!(recv(&mut consumer), None);
        }
    }
}

#[test]
fn messages_copied_in_pieces_arrive_whole_and_nothing_beside_them() {
    let (mut producer, mut consumer, _) = ring(8 * CAPACITY);
    producer.copy_in_pieces(true);
    let around = [PIECE, 2 * PIECE, LONGEST_IN_PIECES].map(|len| len - 70..len + 70);
    for len in around.into_iter().flatten().step_by(if cfg!(miri) { 23 } else { 1 }) {
        let message: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        assert!(send(&mut producer, &message), "an empty ring has room for {len} bytes");
        assert!(send(&mut producer, b"behind it"));
        assert_eq!(recv(&mut consumer).unwrap(), message);
        assert_eq!(recv(&mut consumer).unwrap(), b"behind it");
        assert_eq!(recv(&mut consumer), None);
    }
}

#[test]
fn a_full_ring_takes_nothing_and_one_message_less_makes_room_for_one() {
    let (mut producer, mut consumer, _) = ring(CAPACITY);
    let mut sent = 0u64;
    while send(&mut producer, &sent.to_le_bytes()) {
        sent += 1;
    }
    assert_eq!(sent as usize, CAPACITY / LINE - 1, "one line stays free");
    for lap in 0..rounds(1000) {
        assert_eq!(recv(&mut consumer).unwrap(), lap.to_le_bytes());
        assert!(send(&mut producer, &(sent + lap).to_le_bytes()));
        assert!(!send(&mut producer, b"no room"));
    }
}

#[test]
fn an_old_payload_is_never_taken_for_a_commit_word() {
    let (mut producer, mut consumer, _) = ring(CAPACITY);
    let mut random = Random(1);
    for _ in 0..rounds(20_000) {
        // Words that would be valid commit words wherever a later lap of the ring brings them.
        let len = random.next() as usize % (longest_message(CAPACITY) + 1);
        let lap = producer.head - producer.offset(producer.head) + producer.capacity;
        let start = producer.offset(producer.head) as usize + RECORD_HEADER;
        let message: Vec<u8> = (0..len)
            .map(|at| {
                let line = (start + at) / LINE * LINE % CAPACITY;
                let word = commit_word(lap + line as u64) | 8;
                word.to_le_bytes()[(start + at) % 8]
            })
            .collect();
        assert!(send(&mut producer, &message));
        assert_eq!(recv(&mut consumer).unwrap(), message);
        assert_eq!(recv(&mut consumer), None, "nothing was sent");
    }
}

#[test]
fn a_batch_is_published_at_once_and_in_order() {
    let (mut producer, mut consumer, _) = ring(CAPACITY);
    let mut random = Random(2);
    for _ in 0..rounds(5000) {
        let mut batch = Batch::default();
        let mut lens = Vec::new();
        for _ in 0..1 + random.next() % 8 {
            let len = random.next() as usize % 300;
            let reserved = if lens.is_empty() { producer.reserve(len) } else { producer.reserve_behind(len) };
            let Some(space) = reserved else { break };
            // SAFETY: reserved for just this length.
            unsafe { producer.write(space, 0, &vec![len as u8; len]) };
            producer.stage(&mut batch, space, len);
            lens.push(len);
            assert!(!consumer.is_ready(), "nothing shows before the batch is published");
        }
        producer.publish(batch);
        for len in lens {
            assert_eq!(recv(&mut consumer).unwrap(), vec![len as u8; len]);
        }
        assert_eq!(recv(&mut consumer), None);
        producer.refresh().unwrap();
    }
}

#[test]
fn a_space_that_is_not_committed_publishes_nothing_and_may_be_committed_shorter() {
    let (mut producer, mut consumer, _) = ring(CAPACITY);
    let mut random = Random(3);
    for round in 0..rounds(20_000) {
        producer.refresh().unwrap();
        let len = random.next() as usize % (longest_message(CAPACITY) + 1);
        let space = producer.reserve(len).unwrap();
        // SAFETY: reserved for just this length.
        unsafe { producer.write(space, 0, &vec![0xFF; len]) };
        assert!(!consumer.is_ready());
        if round % 2 == 0 {
            let shorter = random.next() as usize % (len + 1);
            producer.commit(space, shorter);
            assert_eq!(recv(&mut consumer).unwrap(), vec![0xFF; shorter]);
        }
        assert_eq!(recv(&mut consumer), None);
    }
}

#[test]
fn two_threads_pass_messages_of_random_lengths() {
    let (mut producer, mut consumer, _) = ring(CAPACITY);
    const MESSAGES: u64 = rounds(100_000);
    let writer = std::thread::spawn(move || {
        let mut random = Random(4);
        for number in 0..MESSAGES {
            let len = random.next() as usize % 700;
            let message = vec![number as u8; len];
            while !send(&mut producer, &message) {
                std::thread::yield_now();
            }
        }
    });
    let mut random = Random(4);
    for number in 0..MESSAGES {
        let len = random.next() as usize % 700;
        let message = loop {
            match recv(&mut consumer) {
                Some(message) => break message,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(message, vec![number as u8; len]);
    }
    writer.join().unwrap();
}

#[test]
fn impossible_commit_words_are_corrupt() {
    let max = longest_message(CAPACITY) as u64;
    let right = commit_word(0);
    for word in [
        1,
        right | (max + 1),
        right | 0x3FFF_FFFF,
        right | PADDING,
        right | PADDING | 1,
        (right & !COMMITTED) | 8,
        commit_word(64),
        commit_word(CAPACITY as u64),
        u64::MAX,
    ] {
        let (_, mut consumer, memory) = ring(CAPACITY);
        // SAFETY: offset 0 of the ring.
        unsafe { memory.store_commit(0, word, Ordering::Release) };
        assert!(consumer.look().is_err(), "{word:#x}");
    }
}

#[test]
fn a_record_over_the_end_of_the_ring_is_corrupt() {
    let (mut producer, mut consumer, memory) = ring(CAPACITY);
    for _ in 0..CAPACITY / LINE - 1 {
        assert!(send(&mut producer, b""));
        recv(&mut consumer).unwrap();
    }
    let last = (CAPACITY - LINE) as u64;
    // SAFETY: the last line of the ring.
    unsafe { memory.store_commit(last as usize, commit_word(last) | 57, Ordering::Release) };
    assert_eq!(consumer.look().unwrap_err(), Corrupt("a record runs over the end of the ring"));
}

#[test]
fn a_hostile_writer_is_never_followed_out_of_the_ring() {
    let mut random = Random(5);
    for _ in 0..rounds(200) {
        let (_, mut consumer, memory) = ring(CAPACITY);
        for _ in 0..200 {
            let at = (random.next() as usize % (CAPACITY / LINE)) * LINE;
            let word = match random.next() % 4 {
                0 => random.next(),
                1 => commit_word(at as u64) | (random.next() & 0xFFFF),
                2 => commit_word(consumer.tail) | (random.next() & 0xFFF),
                _ => commit_word(consumer.tail) | PADDING,
            };
            let at = if random.next().is_multiple_of(2) { consumer.offset() } else { at };
            // SAFETY: a line of the ring.
            unsafe { memory.store_commit(at, word, Ordering::Release) };
            // Every access outside the ring is a failed debug assertion in `Memory`.
            match consumer.look() {
                Ok(Some(record)) => {
                    assert_eq!(copied(&consumer, record).len(), record.len);
                    consumer.advance(record);
                }
                Ok(None) => {}
                Err(Corrupt(_)) => break,
            }
        }
    }
}

#[test]
fn a_reader_that_claims_what_cannot_be_is_corrupt() {
    for (sent, claims) in [(0, 64), (1, 128), (3, u64::MAX), (3, 1 << 63)] {
        let (mut producer, ..) = ring(CAPACITY);
        let theirs = producer.theirs().clone();
        for _ in 0..sent {
            assert!(send(&mut producer, b"x"));
        }
        theirs.store_consumed(claims);
        assert!(producer.refresh().is_err(), "{sent} lines sent, {claims} claimed");
    }
    let (mut producer, ..) = ring(CAPACITY);
    assert!(send(&mut producer, b"x") && send(&mut producer, b"y"));
    producer.theirs().store_consumed(128);
    assert_eq!(producer.refresh(), Ok(true));
    producer.theirs().store_consumed(64);
    assert!(producer.refresh().is_err(), "backwards");
}
