//! Long messages, which are copied out while they are being written.
#![allow(unsafe_code, reason = "plays a sender in the middle of a message, and a hostile one")]

use std::sync::mpsc::{TryRecvError, channel};

use super::*;
use crate::atomics::Ordering;
use crate::backing::Backing;
use crate::ring::{PART, Space};

#[test]
fn messages_copied_out_while_they_are_written_arrive_whole_however_they_are_sent() {
    const LENS: [usize; 6] = [PART - 1, PART + 1, 2 * PART, 2 * PART + 57, 100_000, 300_000];
    let message = |number: usize| -> Vec<u8> {
        (0..LENS[number % LENS.len()]).map(|at| (at * 3 + number) as u8).collect()
    };
    for policy in WaitPolicy::ALL {
        let (mut one, mut other) = pair(&format!("wait={policy}"));
        let echo = std::thread::spawn(move || {
            let mut received = Vec::new();
            for number in 0..90 {
                // Some are polled for, and some looked at in place.
                match number % 10 {
                    7 => while other.rx.try_recv(&mut received).is_err() {},
                    8 => received = other.rx.recv_ref(soon()).unwrap().to_vec(),
                    _ => drop(other.rx.recv_with(&mut received, soon()).unwrap()),
                }
                assert!(received == message(number), "message {number} has changed on its way");
                other.tx.send(&received).unwrap();
            }
        });
        let mut received = Vec::new();
        for number in (0..90).step_by(3) {
            let messages = [0, 1, 2].map(|more| message(number + more));
            let [first, second, third] = &messages;
            if number % 2 == 0 {
                one.tx.send(first).unwrap();
            } else {
                let (head, tail) = first.split_at(first.len().min(PART + number));
                one.tx.send_with(&[IoSlice::new(head), IoSlice::new(tail)], soon()).unwrap();
            }
            let mut batch = &[IoSlice::new(second), IoSlice::new(third)][..];
            while !batch.is_empty() {
                batch = &batch[one.tx.send_batch(batch, soon()).unwrap()..];
            }
            for message in &messages {
                one.rx.recv_with(&mut received, soon()).unwrap();
                assert!(
                    received == *message,
                    "message {number} or one of the next two has changed on its way back"
                );
            }
        }
        echo.join().unwrap();
    }
}

/// A pair whose one end has written the first `2 * PART` bytes of a longer message, all of which the other end can see; the message, and
/// its space.
fn half_written(query: &str) -> (Ends, Vec<u8>, Space) {
    let (mut one, other) = pair(query);
    other.rx.ring().say_copies_early(true);
    let message: Vec<u8> = (0..3 * PART).map(|at| (at * 3) as u8).collect();
    let ring = one.tx.ring();
    let space = ring.reserve(message.len()).unwrap();
    // SAFETY: reserved for just this length.
    unsafe { ring.write(space, 0, &message[..2 * PART]) };
    assert_eq!(other.rx.ring().shown().bytes, 2 * PART);
    ((one, other), message, space)
}

#[test]
fn a_message_that_is_being_written_is_received_only_when_it_is_committed() {
    for policy in WaitPolicy::ALL {
        let ((mut one, mut other), message, space) = half_written(&format!("wait={policy}"));
        let mut received = vec![1];
        assert!(matches!(other.rx.try_recv(&mut received), Err(RecvError::Empty)));
        assert!(received.is_empty());
        let short = Duration::from_millis(20);
        assert!(matches!(other.rx.recv_timeout(&mut received, short), Err(RecvError::TimedOut)));
        assert!(received.is_empty());
        assert!(matches!(other.rx.ready(Wait::within(short)), Err(RecvError::TimedOut)));
        assert!(other.rx.take().is_none());
        assert!(matches!(other.rx.recv_each(1, Wait::Never, |_| ()), Err(RecvError::Empty)));
        assert_eq!(other.rx.arm().unwrap(), Armed::MaySleep);
        other.rx.disarm();
        // SAFETY: the rest of what was reserved.
        unsafe { one.tx.ring().write(space, 2 * PART, &message[2 * PART..]) };
        one.tx.ring().commit(space, message.len());
        other.rx.try_recv(&mut received).unwrap();
        assert!(received == message);
    }
}

#[test]
fn a_sender_that_leaves_while_it_writes_has_sent_nothing() {
    for policy in WaitPolicy::ALL {
        let ((one, mut other), ..) = half_written(&format!("wait={policy}"));
        let waits = std::thread::spawn(move || {
            let mut received = Vec::new();
            (other.rx.recv_with(&mut received, soon()), received)
        });
        drop(one.tx);
        let (result, received) = waits.join().unwrap();
        assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");
        assert!(received.is_empty());
    }
}

#[test]
fn a_peer_that_shows_without_end_does_not_hold_up_who_has_a_deadline() {
    for policy in WaitPolicy::ALL {
        let ((mut one, mut other), ..) = half_written(&format!("wait={policy}"));
        let (over, is_over) = channel::<()>();
        let hostile = std::thread::spawn(move || {
            let ring = one.tx.ring();
            // SAFETY: the offset of the message that is being written.
            let [more, less] = [3, 1]
                .map(|parts| unsafe { ring.ours().load_commit(0) } ^ ((2 * PART) ^ (parts * PART)) as u64);
            while matches!(is_over.try_recv(), Err(TryRecvError::Empty)) {
                for word in [more, less] {
                    // SAFETY: as above.
                    unsafe { ring.ours().store_commit(0, word, Ordering::Release) };
                }
            }
        });
        let mut received = Vec::new();
        let result = other.rx.recv_timeout(&mut received, Duration::from_millis(20));
        assert!(matches!(result, Err(RecvError::TimedOut)), "{result:?}");
        assert!(received.is_empty());
        let result = other.rx.ready(Wait::within(Duration::from_millis(20)));
        assert!(matches!(result, Err(RecvError::TimedOut)), "{result:?}");
        drop(over);
        hostile.join().unwrap();
    }
}
