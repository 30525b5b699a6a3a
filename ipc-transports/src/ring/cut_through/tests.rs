#![allow(unsafe_code, reason = "plays the shm halves, and the hostile peer")]

use super::*;
use crate::backing::DATA;
use crate::memory::Memory;

const CAPACITY: usize = 4096;

/// Bytes after which messages show here.
const EVERY: usize = 2 * LINE;

fn ring(early: bool) -> (Producer<Memory>, Consumer<Memory>) {
    let (one, other) = (Memory::heap(DATA + CAPACITY), Memory::heap(DATA + CAPACITY));
    let producer = Producer::new(one.clone(), other.clone(), CAPACITY).show_every(EVERY);
    let consumer = Consumer::new(other, one, CAPACITY, longest_message(CAPACITY));
    consumer.say_copies_early(early);
    (producer, consumer)
}

fn message(len: usize, number: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + number) as u8).collect()
}

fn reserve(producer: &mut Producer<Memory>, len: usize) -> Space {
    producer.refresh().unwrap();
    producer.reserve(len).expect("an empty ring has room")
}

/// Copies what shows behind `copy`.
fn copy_early(consumer: &mut Consumer<Memory>, copy: &mut Vec<u8>) {
    assert!(consumer.look().unwrap().is_none(), "it is not committed");
    assert!(!consumer.is_ready(), "it is not committed");
    let (copied, shown) = (copy.len(), consumer.shown().unwrap());
    assert!(shown.bytes >= copied && !consumer.has_changed(shown.word));
    copy.resize(shown.bytes, 0);
    // SAFETY: there is room for what shows.
    unsafe { consumer.read_part(copied, shown.bytes, copy.as_mut_ptr()) };
}

fn copy_rest(consumer: &mut Consumer<Memory>, copy: &mut Vec<u8>) {
    let record = consumer.look().unwrap().expect("it is committed");
    let copied = copy.len();
    assert_eq!(consumer.shown(), None, "all of it is there");
    copy.resize(record.len, 0);
    // SAFETY: there is room for all of it, and `record` was just looked at.
    unsafe { consumer.read_part(copied, record.len, copy.as_mut_ptr()) };
    consumer.advance(record);
    consumer.release();
}

#[test]
fn what_shows_of_a_message_is_its_beginning_wherever_it_lies() {
    let (mut producer, mut consumer) = ring(true);
    let mut padded = 0;
    for number in 0..if cfg!(miri) { 20 } else { 2000 } {
        let len = EVERY + 1 + number * 97 % (longest_message(CAPACITY) - EVERY);
        let (message, half) = (message(len, number), len / 2);
        let space = reserve(&mut producer, len);
        padded += usize::from(space.start != producer.head);
        let mut copy = Vec::new();
        // SAFETY: reserved for just this length, here and below.
        unsafe { producer.write(space, 0, &message[..half]) };
        copy_early(&mut consumer, &mut copy);
        assert_eq!(copy, message[..if half > EVERY { half } else { 0 }], "message {number}");
        // SAFETY: as above.
        unsafe { producer.write(space, half, &message[half..]) };
        copy_early(&mut consumer, &mut copy);
        assert_eq!(copy, message[..if len - half > EVERY { len } else { copy.len() }], "message {number}");
        producer.commit(space, len);
        copy_rest(&mut consumer, &mut copy);
        assert_eq!(copy, message, "message {number}");
        assert!(consumer.look().unwrap().is_none() && !consumer.has_changed(0), "nothing more was sent");
    }
    assert!(padded > 0, "some lay behind padding");
}

#[test]
fn messages_of_a_batch_show_in_their_turn() {
    let (mut producer, mut consumer) = ring(true);
    for number in 0..if cfg!(miri) { 10 } else { 500 } {
        let messages = [200 + number % 700, 8, 900].map(|len| message(len, number));
        let mut batch = Batch::default();
        for (at, message) in messages.iter().enumerate() {
            let space = match at {
                0 => reserve(&mut producer, message.len()),
                _ => producer.reserve_behind(message.len()).unwrap(),
            };
            // SAFETY: reserved for just this length.
            unsafe { producer.write(space, 0, message) };
            assert!(consumer.look().unwrap().is_none(), "nothing is committed before the batch is published");
            assert_eq!(consumer.shown().unwrap().bytes, messages[0].len());
            producer.stage(&mut batch, space, message.len());
        }
        producer.publish(batch);
        for message in &messages {
            let mut copy = Vec::new();
            copy_rest(&mut consumer, &mut copy);
            assert_eq!(copy, *message);
        }
    }
}

#[test]
fn nothing_shows_to_who_has_not_asked_or_of_what_is_short() {
    for (early, len) in [(false, 1000), (true, EVERY)] {
        let (mut producer, mut consumer) = ring(early);
        let space = reserve(&mut producer, len);
        // SAFETY: reserved for just this length.
        unsafe { producer.write(space, 0, &message(len, 1)) };
        assert!(!consumer.has_changed(0));
        producer.commit(space, len);
        let mut copy = Vec::new();
        copy_rest(&mut consumer, &mut copy);
        assert_eq!(copy, message(len, 1));
    }
}

#[test]
fn what_cannot_show_is_corrupt() {
    let (mut producer, mut consumer) = ring(true);
    // One line before the end of the ring.
    for _ in 0..CAPACITY / LINE - 1 {
        let space = reserve(&mut producer, 0);
        producer.commit(space, 0);
        copy_rest(&mut consumer, &mut Vec::new());
    }
    let here = unfinished_word(consumer.tail);
    for (word, right) in [
        (here, true),
        (here | 56, true),
        (here | 57, false),
        (here | (longest_message(CAPACITY) as u64 + 1), false),
        (unfinished_word(consumer.tail + LINE as u64) | 8, false),
        (here ^ PADDING | 8, false),
    ] {
        // SAFETY: the last line of the ring.
        unsafe { consumer.theirs.store_commit(CAPACITY - LINE, word, Ordering::Release) };
        let bytes = if right { word as usize & 63 } else { 0 };
        assert_eq!(consumer.shown().map_or(0, |shown| shown.bytes), bytes, "{word:#x}");
        assert_eq!(consumer.look().is_ok(), right, "{word:#x}");
    }
}
