//! Loom models of the ring: L1 publish and consume, L2 laps and the wrap of tags, L9 a producer that dies,
//! L14 a message that is copied out while it is being written.
#![allow(unsafe_code, reason = "plays the shm halves")]

use loom::thread;

use super::*;
use crate::backing::{LINE_PAYLOAD, room_for};
use crate::model::{Life, ModelMemory, explore};

type Ends = (Producer<ModelMemory>, Consumer<ModelMemory>);

/// Both ends of a ring whose first record lies at position `start`.
fn ring(capacity: usize, start: u64, life: Life) -> Ends {
    let (one, other) = (ModelMemory::new(capacity), ModelMemory::new(0));
    other.store_consumed(start);
    let mut producer = Producer::new(one.mortal(life), other.clone(), capacity);
    (producer.head, producer.consumed, producer.cleared) = (start, start, start);
    let mut consumer = Consumer::new(other, one, capacity, longest_message(capacity));
    consumer.tail = start;
    (producer, consumer)
}

/// The payload of message `number`.
fn payload(number: usize, len: usize) -> Vec<u8> {
    vec![number as u8 + 1; len]
}

fn send(producer: &mut Producer<ModelMemory>, message: &[u8]) {
    let space = loop {
        match producer.reserve(message.len()) {
            Some(space) => break space,
            None if producer.refresh().unwrap() => {}
            None => thread::yield_now(),
        }
    };
    // SAFETY: reserved for just this length.
    unsafe { producer.write(space, 0, message) };
    producer.commit(space, message.len());
    producer.prepare(message.len());
}

/// As [`next`], copying what shows of the message while it is being written; `None` once its writer is dead.
fn next_early(consumer: &mut Consumer<ModelMemory>) -> Option<Vec<u8>> {
    let (mut copy, mut seen) = (Vec::new(), Shown::default());
    loop {
        let is_buried = consumer.theirs.is_buried();
        let (copied, record) = (copy.len(), consumer.look().unwrap());
        if record.is_none() && consumer.has_changed(seen.word) {
            // An honest writer is never accused.
            seen = consumer.shown_beyond(seen).unwrap();
        }
        let end = record.map_or(seen.bytes, |record| record.len);
        if end > copied {
            copy.resize(end, 0);
            // SAFETY: there is room for what shows, or for the record that was just looked at.
            unsafe { consumer.read_part(copied, end, copy.as_mut_ptr()) };
        }
        if let Some(record) = record {
            consumer.advance(record);
            consumer.release();
            return Some(copy);
        }
        if is_buried {
            return None;
        }
        thread::yield_now();
    }
}

/// Bytes after which messages show in L14.
const EVERY: usize = LINE;

/// Messages of these lengths, some of more than [`EVERY`], cross from a producer with so many stores to live, who then is buried.
fn all_show(preemptions: usize, capacity: usize, lens: &'static [usize], stores: Option<usize>) {
    explore(preemptions, move || {
        let life = stores.map_or_else(Life::default, Life::of);
        let (producer, mut consumer) = ring(capacity, 0, life.clone());
        let mut producer = producer.show_every(EVERY);
        consumer.say_copies_early(true);
        let grave = consumer.theirs.clone();
        let writer = thread::spawn(move || {
            let mut committed = 0;
            for (number, len) in lens.iter().enumerate() {
                while !life.is_over() && producer.reserve(*len).is_none() {
                    if !producer.refresh().unwrap() {
                        thread::yield_now();
                    }
                }
                let Some(space) = producer.reserve(*len) else { break };
                // SAFETY: reserved for just this length.
                unsafe { producer.write(space, 0, &payload(number, *len)) };
                let was_alive = !life.is_over();
                producer.commit(space, *len);
                committed += usize::from(was_alive && !life.is_over());
            }
            grave.bury();
            committed
        });
        let mut received = 0;
        while received < lens.len() {
            let Some(message) = next_early(&mut consumer) else { break };
            assert_eq!(message, payload(received, lens[received]));
            received += 1;
        }
        let committed = writer.join().unwrap();
        let least = if stores.is_none() { lens.len() } else { committed };
        assert!(received >= least, "{received} received, {committed} committed");
    });
}

#[test]
fn l14_a_message_is_copied_while_it_is_written() {
    all_show(3, 8 * LINE, &[2 * LINE + 8], None);
}

#[test]
fn l14_a_message_behind_padding_is_copied_while_it_is_written() {
    all_show(2, 4 * LINE, &[LINE + 8, 8, LINE + 8], None);
}

#[test]
fn l14_a_producer_that_dies_while_it_writes_leaves_a_prefix() {
    for stores in 0..20 {
        all_show(1, 4 * LINE, &[LINE + 8, 8, LINE + 8], Some(stores));
    }
}

fn take(consumer: &mut Consumer<ModelMemory>) -> Option<Vec<u8>> {
    let record = consumer.look().unwrap()?;
    let mut message = Vec::with_capacity(room_for(record.len));
    // SAFETY: there is room, and `record` was just looked at.
    unsafe { consumer.read(record, message.as_mut_ptr()) };
    // SAFETY: `read` wrote `len` bytes.
    unsafe { message.set_len(record.len) };
    consumer.advance(record);
    consumer.release();
    Some(message)
}

fn next(consumer: &mut Consumer<ModelMemory>) -> Vec<u8> {
    loop {
        match take(consumer) {
            Some(message) => return message,
            None => thread::yield_now(),
        }
    }
}

/// Messages of these lengths cross a ring of `capacity` bytes whole and in order.
fn all_cross(capacity: usize, start: u64, lens: &'static [usize]) {
    explore(3, move || {
        let (mut producer, mut consumer) = ring(capacity, start, Life::default());
        let writer = thread::spawn(move || {
            for (number, len) in lens.iter().enumerate() {
                send(&mut producer, &payload(number, *len));
            }
        });
        for (number, len) in lens.iter().enumerate() {
            assert_eq!(next(&mut consumer), payload(number, *len));
        }
        assert_eq!(take(&mut consumer), None, "nothing more was sent");
        writer.join().unwrap();
    });
}

#[test]
fn l1_messages_cross_a_ring_with_room_for_one() {
    all_cross(2 * LINE, 0, &[8, 0, 56]);
}

#[test]
fn l1_messages_cross_a_ring_with_room_for_three() {
    all_cross(4 * LINE, 0, &[8, 8, 8]);
}

#[test]
fn l1_a_batch_is_seen_from_its_first_message_on() {
    explore(3, || {
        let (mut producer, mut consumer) = ring(4 * LINE, 0, Life::default());
        let writer = thread::spawn(move || {
            let mut batch = Batch::default();
            for number in 0..2 {
                let reserved = if number == 0 { producer.reserve(8) } else { producer.reserve_behind(8) };
                let space = reserved.unwrap();
                // SAFETY: reserved for just this length.
                unsafe { producer.write(space, 0, &payload(number, 8)) };
                producer.stage(&mut batch, space, 8);
            }
            producer.publish(batch);
        });
        assert_eq!(next(&mut consumer), payload(0, 8));
        // Published together: the second one is there without waiting.
        assert_eq!(take(&mut consumer), Some(payload(1, 8)));
        writer.join().unwrap();
    });
}

#[test]
fn l2_padding_sends_the_reader_to_the_beginning() {
    // The second record has two lines and one is left before the end of the ring.
    all_cross(4 * LINE, 0, &[120, 8, 120]);
}

#[test]
fn l2_the_tag_of_a_record_wraps() {
    let last = (1 << 32) * LINE as u64 - 2 * LINE as u64;
    all_cross(4 * LINE, last, &[8, 8, 8, 8]);
}

#[test]
fn l2_an_old_payload_is_no_commit_word() {
    // The second line of the long record begins with what would be the commit word of a record there one lap later.
    explore(3, || {
        let (mut producer, mut consumer) = ring(4 * LINE, 0, Life::default());
        let mut long = [7u8; 120];
        let forged = commit_word(5 * LINE as u64) | 8;
        long[LINE_PAYLOAD..LINE_PAYLOAD + 8].copy_from_slice(&forged.to_le_bytes());
        let writer = thread::spawn(move || {
            send(&mut producer, &long);
            send(&mut producer, &payload(1, 8));
            send(&mut producer, &payload(2, 8));
            // At position 4 · LINE; behind it lies the forged word.
            send(&mut producer, &payload(3, 8));
        });
        assert_eq!(next(&mut consumer), long);
        for number in 1..4 {
            assert_eq!(next(&mut consumer), payload(number, 8));
        }
        assert_eq!(take(&mut consumer), None, "nothing more was sent");
        writer.join().unwrap();
    });
}

#[test]
fn l9_a_producer_that_dies_leaves_a_prefix() {
    const LENS: [usize; 3] = [8, 120, 8];
    for stores in 0..16 {
        explore(2, move || {
            let life = Life::of(stores);
            let (mut producer, mut consumer) = ring(4 * LINE, 0, life.clone());
            let grave = consumer.theirs.clone();
            let writer = thread::spawn(move || {
                let mut committed = 0;
                for (number, len) in LENS.into_iter().enumerate() {
                    while !life.is_over() && producer.reserve(len).is_none() {
                        if !producer.refresh().unwrap() {
                            thread::yield_now();
                        }
                    }
                    let Some(space) = producer.reserve(len) else { break };
                    // SAFETY: reserved for just this length.
                    unsafe { producer.write(space, 0, &payload(number, len)) };
                    let was_alive = !life.is_over();
                    producer.commit(space, len);
                    committed += usize::from(was_alive && !life.is_over());
                    producer.prepare(len);
                }
                grave.bury();
                committed
            });
            let mut received = 0;
            while received < LENS.len() {
                match take(&mut consumer) {
                    Some(message) => {
                        assert_eq!(message, payload(received, LENS[received]));
                        received += 1;
                    }
                    None if consumer.theirs.is_buried() => break,
                    None => thread::yield_now(),
                }
            }
            // What was published before the death came before we knew of it.
            while let Some(message) = take(&mut consumer) {
                assert_eq!(message, payload(received, LENS[received]));
                received += 1;
            }
            let committed = writer.join().unwrap();
            assert!(received >= committed, "{received} received, {committed} committed");
        });
    }
}
