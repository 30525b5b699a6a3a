//! What arrives: every message once, whole, in order.

use std::io::IoSlice;
use std::thread;

use ipc_transports::{Receiver, SendError, Sender, Transport, Wait};

use crate::end::{End, Random, Side, check, expect, message, patiently, send};

/// Messages arrive once each and in the order in which they were sent.
pub fn messages_arrive_in_order<T: Transport>(mut end: End<T>) {
    for number in 0..1000 {
        match end.side {
            Side::Far => end.send(number, 64.min(end.tx.max_message())),
            Side::Near => end.expect(number, 64.min(end.tx.max_message())),
        }
    }
}

/// Each message keeps its own length: nothing is merged, split or padded.
pub fn boundaries_are_kept<T: Transport>(mut end: End<T>) {
    for len in (0..300).chain([1023, 1024, 1025, 4095, 4096, 4097]) {
        let len = usize::min(len, end.tx.max_message());
        match end.side {
            Side::Far => end.send(len as u64, len),
            Side::Near => end.expect(len as u64, len),
        }
    }
}

/// A message of no bytes is a message like any other.
pub fn the_empty_message_is_a_message<T: Transport>(mut end: End<T>) {
    for (number, len) in [(1, 1), (2, 0), (3, 0), (4, 1), (5, 0)] {
        match end.side {
            Side::Far => end.send(number, len),
            Side::Near => end.expect(number, len),
        }
    }
}

/// A message of exactly `max_message` bytes arrives whole, more than once.
pub fn the_largest_message_arrives_whole<T: Transport>(mut end: End<T>) {
    let max = end.tx.max_message();
    for number in 0..3 {
        match end.side {
            Side::Far => end.send(number, max),
            Side::Near => end.expect(number, max),
        }
    }
}

/// One byte more than `max_message` is `TooLong { len, max }` at once, whatever the wait and however full the link,
/// in one part or in several; it takes nothing and harms nothing.
pub fn one_byte_too_many_is_too_long_at_once<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        let sent = end.cue.hear_number();
        (0..sent).for_each(|number| end.expect(number, fill_len(&end.tx)));
        end.cue.tell("drained");
        return end.expect(sent, 1);
    }
    let max = end.tx.max_message();
    let bytes = vec![7; max + 1];
    let refuse = |tx: &mut T::Tx| {
        for wait in [Wait::Never, patiently(), Wait::Forever] {
            for cut in [0, 1, max] {
                let (left, right) = bytes.split_at(cut);
                match tx.send_with(&[IoSlice::new(left), IoSlice::new(right)], wait) {
                    Err(SendError::TooLong { len, max: limit }) => assert_eq!((len, limit), (max + 1, max)),
                    other => panic!("{} bytes over {max} with {wait:?}: {other:?}", max + 1),
                }
            }
        }
    };
    refuse(&mut end.tx);
    let sent = fill(&mut end.tx, 0);
    refuse(&mut end.tx);
    end.cue.tell(sent);
    end.tx.flush(patiently()).expect("the far side drains the link");
    end.cue.wait_for("drained");
    end.send(sent, 1);
}

/// The parts of a gathered send arrive as one message, their concatenation: none, empty ones, and more of them than
/// one system call takes (`IOV_MAX` is 1024).
pub fn gathered_parts_arrive_as_their_concatenation<T: Transport>(mut end: End<T>) {
    let max = end.tx.max_message();
    let shapes: [&[usize]; 6] =
        [&[], &[0], &[3, 0, 5], &[1, 1, 1, 1, 1, 1, 1, 1, 1], &[1; 2500], &[0, 100, 0, 0, 1000, 1]];
    for (number, shape) in shapes.into_iter().enumerate() {
        let shape = if shape.iter().sum::<usize>() <= max { shape } else { &shape[..1] };
        let bytes = message(number as u64, shape.iter().sum());
        if end.side == Side::Near {
            end.expect(number as u64, bytes.len());
            continue;
        }
        let mut rest = &bytes[..];
        let parts: Vec<IoSlice<'_>> = shape
            .iter()
            .map(|len| {
                let (part, after) = rest.split_at(*len);
                rest = after;
                IoSlice::new(part)
            })
            .collect();
        end.tx
            .send_with(&parts, patiently())
            .unwrap_or_else(|error| panic!("{} parts: {error}", parts.len()));
    }
}

/// Every slice of a batch is one message; as many are taken as fit, at least one, and the rest can be sent again.
pub fn a_batch_arrives_as_its_messages<T: Transport>(mut end: End<T>) {
    let len = |number: usize| (number * 37 % 2000).min(end.tx.max_message());
    let messages: Vec<Vec<u8>> = (0..500).map(|number| message(number as u64, len(number))).collect();
    if end.side == Side::Near {
        for (number, message) in messages.iter().enumerate() {
            end.expect(number as u64, message.len());
        }
        return;
    }
    assert_eq!(end.tx.send_batch(&[], Wait::Never).expect("an empty batch"), 0);
    let mut rest: &mut [IoSlice<'_>] =
        &mut messages.iter().map(|bytes| IoSlice::new(bytes)).collect::<Vec<_>>();
    while !rest.is_empty() {
        let taken = end.tx.send_batch(rest, patiently()).expect("a batch is taken");
        assert!((1..=rest.len()).contains(&taken), "a batch of {} took {taken}", rest.len());
        rest = &mut rest[taken..];
    }
    end.tx.flush(patiently()).expect("the near side receives");
}

/// A message that is too long does not keep those before it in the batch from being taken; it fails as the first.
pub fn a_batch_stops_before_a_message_that_is_too_long<T: Transport>(mut end: End<T>) {
    if end.side == Side::Near {
        end.expect(1, 10);
        return end.expect(2, 20);
    }
    let (one, two) = (message(1, 10), message(2, 20));
    let long = vec![0; end.tx.max_message() + 1];
    let taken =
        end.tx.send_batch(&[IoSlice::new(&one), IoSlice::new(&long), IoSlice::new(&two)], patiently());
    assert_eq!(taken.expect("the first message fits"), 1);
    let refused = end.tx.send_batch(&[IoSlice::new(&long), IoSlice::new(&two)], patiently());
    assert!(matches!(refused, Err(SendError::TooLong { .. })), "{refused:?}");
    end.send(2, 20);
}

/// `recv_each` lends at least one message and at most `limit`, whole and in order, waiting for the first alone.
pub fn recv_each_lends_what_is_there_up_to_its_limit<T: Transport>(mut end: End<T>) {
    let len = |number: u64| (number as usize * 13 % 500).min(1000);
    if end.side == Side::Far {
        (0..300).for_each(|number| end.send(number, len(number)));
        return end.tx.flush(patiently()).expect("the near side receives");
    }
    assert_eq!(end.rx.recv_each(0, Wait::Never, |_| panic!("limit is 0")).expect("a limit of zero"), 0);
    let mut next = 0;
    while next < 300 {
        let limit = 1 + (next as usize * 7) % 40;
        let limit = limit.min(300 - next as usize);
        let before = next;
        let lent = end.rx.recv_each(limit, patiently(), |bytes| {
            check(bytes, next, len(next));
            next += 1;
        });
        let lent = lent.expect("messages are on their way");
        assert_eq!(lent as u64, next - before, "recv_each returns how often it called back");
        assert!((1..=limit).contains(&lent), "recv_each with limit {limit} lent {lent}");
    }
}

/// A receive replaces what was in the buffer, and leaves it empty when it fails.
pub fn a_receive_replaces_the_buffer<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        end.cue.wait_for("go");
        end.send(1, 5);
        return end.cue.wait_for_the_end();
    }
    let mut buf = vec![1; 100];
    end.rx.try_recv(&mut buf).expect_err("nothing was sent");
    assert!(buf.is_empty(), "a failed receive leaves the buffer empty");
    buf.extend([1; 100]);
    end.cue.tell("go");
    end.rx.recv(&mut buf).expect("a message");
    check(&buf, 1, 5);
}

/// Both sides send and receive at the same time, more than any buffer holds.
pub fn both_directions_at_once<T: Transport>(end: End<T>) {
    let End { mut tx, mut rx, .. } = end;
    let len = tx.max_message().min(48 << 10);
    let count = (8 << 20) / len.max(16 << 10) as u64;
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..count).for_each(|number| send(&mut tx, number, len));
            tx.flush(patiently()).expect("the other side receives");
        });
        (0..count).for_each(|number| expect(&mut rx, number, len));
    });
}

/// Both directions are full at once, and both drain: neither holds up the other.
pub fn both_directions_can_be_full_at_once<T: Transport>(end: End<T>) {
    let End { mut tx, mut rx, mut cue, .. } = end;
    let len = fill_len(&tx);
    let sent = fill(&mut tx, 0);
    assert!(sent >= 1, "one direction is full and the other takes nothing");
    cue.tell(sent);
    let coming = cue.hear_number();
    thread::scope(|scope| {
        scope.spawn(|| {
            tx.flush(patiently()).expect("the other side receives");
            send(&mut tx, sent, len);
        });
        (0..=coming).for_each(|number| expect(&mut rx, number, len));
    });
}

/// A thousand messages of random size and content arrive with their checksums right, there and back. The far side
/// sends its own checksum along, because the same fault on both ways could undo itself.
pub fn a_thousand_random_sizes_keep_their_checksums<T: Transport>(mut end: End<T>) {
    let mut buf = Vec::new();
    if end.side == Side::Far {
        for _ in 0..1000 {
            end.rx.recv_with(&mut buf, patiently()).expect("a message to echo");
            let sum = checksum(&buf).to_le_bytes();
            end.tx
                .send_with(&[IoSlice::new(&sum), IoSlice::new(&buf)], patiently())
                .expect("an echo is taken");
        }
        return;
    }
    let seed = Random::seed();
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for _ in 0..1000 {
        // Most are small, some reach 64 KiB: sizes are drawn evenly over powers of two.
        let bound = 1 << random.below(17);
        let len = random.below(bound).min(end.tx.max_message() - 4);
        let bytes = message(random.next(), len);
        let sum = checksum(&bytes).to_le_bytes();
        end.tx.send_with(&[IoSlice::new(&bytes)], patiently()).expect("a message is taken");
        end.rx.recv_with(&mut buf, patiently()).expect("the echo");
        assert_eq!(buf.len(), len + 4, "seed {seed:#x}");
        assert_eq!(buf[..4], sum, "{len} bytes on their way there, seed {seed:#x}");
        assert_eq!(checksum(&buf[4..]).to_le_bytes(), sum, "{len} bytes on their way back, seed {seed:#x}");
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = ipc_transports::Crc32c::new();
    crc.update(bytes);
    crc.value()
}

/// Size in bytes of the messages that [`fill`] uses.
pub fn fill_len(tx: &impl Sender) -> usize {
    tx.max_message().min(4096)
}

/// Sends messages numbered from `first` until the link is full and returns how many were taken.
pub fn fill(tx: &mut impl Sender, first: u64) -> u64 {
    let mut next = first;
    let answer = send_until_refused(tx, &mut next, fill_len(tx), || Wait::Never);
    assert!(matches!(answer, SendError::Full), "filling the link: message {next}: {answer:?}");
    next - first
}

/// Sends messages of `len` bytes, counting in `next`, until one is refused, and returns why. A link that was full a
/// moment ago may have room again without anybody receiving: tcp moves what it holds to the peer's buffer by and by.
pub fn send_until_refused(
    tx: &mut impl Sender,
    next: &mut u64,
    len: usize,
    wait: impl Fn() -> Wait,
) -> SendError {
    for _ in 0..1_000_000 {
        match tx.send_with(&[IoSlice::new(&message(*next, len))], wait()) {
            Ok(()) => *next += 1,
            Err(error) => return error,
        }
    }
    panic!("a million messages of {len} bytes were taken and the link is not full");
}
