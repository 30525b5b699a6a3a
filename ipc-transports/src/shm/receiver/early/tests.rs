//! Long messages, which are copied out while they are being written.
#![allow(unsafe_code, reason = "plays a sender in the middle of a message, and a hostile one")]

use std::io::IoSlice;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use ipc_core::{Armed, PeekReceiver, Pollable, Receiver, Sender, WaitPolicy};

use super::*;
use crate::atomics::Ordering;
use crate::backing::Backing;
use crate::ring::Space;
use crate::shm::tests::{Ends, pair, soon};

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
                    7 => {
                        while let Err(error) = other.rx.try_recv(&mut received) {
                            assert!(matches!(error, RecvError::Empty), "{error}");
                        }
                    }
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
    other.rx.ring.say_copies_early(true);
    let message: Vec<u8> = (0..3 * PART).map(|at| (at * 3) as u8).collect();
    let ring = one.tx.ring();
    let space = ring.reserve(message.len()).unwrap();
    // SAFETY: reserved for just this length.
    unsafe { ring.write(space, 0, &message[..2 * PART]) };
    assert_eq!(other.rx.ring.shown().unwrap().bytes, 2 * PART);
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
        assert_eq!(other.rx.stats().would_block, 2, "as often as it was polled in vain");
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
fn what_was_copied_early_is_kept_and_the_rest_is_copied_when_it_is_committed() {
    let ((mut one, mut other), message, space) = half_written("");
    let mut copy = Vec::new();
    let seen = other.rx.not_yet(Shown::default(), soon()).unwrap();
    assert_eq!(other.rx.copy_what_shows(seen, &mut copy), seen);
    assert!(copy == message[..2 * PART]);
    // A copy that was made before is not made again.
    copy[0] ^= 1;
    // SAFETY: the rest of what was reserved.
    unsafe { one.tx.ring().write(space, 2 * PART, &message[2 * PART..]) };
    one.tx.ring().commit(space, message.len());
    let record = other.rx.ring.look().unwrap().unwrap();
    other.rx.take_rest(record, &mut copy);
    copy[0] ^= 1;
    assert!(copy == message);
    assert!(matches!(other.rx.try_recv(&mut copy), Err(RecvError::Empty)));
}

#[test]
fn a_very_long_message_is_copied_early_in_several_looks() {
    let (mut one, mut other) = pair("capacity=8M");
    other.rx.ring.say_copies_early(true);
    let message = vec![7; 3 * MOST_AT_ONCE + 1];
    let space = one.tx.ring().reserve(message.len()).unwrap();
    // SAFETY: reserved for just this length.
    unsafe { one.tx.ring().write(space, 0, &message) };
    let (mut copy, mut seen, mut looks) = (Vec::new(), Shown::default(), 0);
    while copy.len() < message.len() {
        assert!(other.rx.ring.has_changed(seen.word), "there is more to copy");
        let shown = other.rx.not_yet(seen, soon()).unwrap();
        seen = other.rx.copy_what_shows(shown, &mut copy);
        looks += 1;
    }
    assert!(!other.rx.ring.has_changed(seen.word));
    assert_eq!((looks, copy == message), (4, true));
}

#[test]
fn who_waits_for_long_messages_copies_them_early_until_it_looks_at_them_in_place_or_polls() {
    let (mut one, mut other) = pair("");
    std::thread::scope(|scope| {
        // Its end ends the sender, whatever happens here.
        let (go, gone) = channel::<()>();
        scope.spawn(move || {
            while gone.recv().is_ok() {
                one.tx.send(&[7; 2 * PART]).unwrap();
            }
        });
        let mut received = Vec::new();
        // Sooner or later one of them is waited for.
        let mut until = |early: bool, take: &mut dyn FnMut(&mut ShmReceiver)| {
            for _ in 0..10_000 {
                go.send(()).unwrap();
                take(&mut other.rx);
                if other.rx.copies_early == early {
                    return;
                }
            }
            panic!("none of 10,000 messages was waited for");
        };
        until(true, &mut |rx| _ = rx.recv_with(&mut received, soon()).unwrap());
        until(false, &mut |rx| drop(rx.recv_ref(soon()).unwrap()));
        until(true, &mut |rx| _ = rx.recv_with(&mut received, soon()).unwrap());
        until(false, &mut |rx| _ = rx.recv_each(1, soon(), |_| ()).unwrap());
        drop(go);
    });
    let ((_one, mut other), ..) = half_written("");
    other.rx.copies_early = true;
    assert!(matches!(other.rx.try_recv(&mut Vec::new()), Err(RecvError::Empty)));
    assert!(!other.rx.copies_early);
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
fn who_has_no_time_learns_of_a_sender_that_has_left_while_it_wrote() {
    let calls: [fn(&mut ShmReceiver) -> RecvError; 5] = [
        |rx| rx.recv_timeout(&mut Vec::new(), Duration::ZERO).unwrap_err(),
        |rx| rx.ready(Wait::within(Duration::ZERO)).unwrap_err(),
        |rx| rx.recv_each(1, Wait::within(Duration::ZERO), |_| ()).unwrap_err(),
        |rx| rx.try_recv(&mut Vec::new()).unwrap_err(),
        |rx| rx.ready(Wait::Never).unwrap_err(),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let ((one, mut other), ..) = half_written("");
        drop(one);
        // Who polls asks now and then.
        let until = std::time::Instant::now() + Duration::from_secs(10);
        let told = loop {
            match call(&mut other.rx) {
                RecvError::TimedOut if number < 3 => panic!("call {number} was not told"),
                RecvError::Empty if std::time::Instant::now() < until => {}
                error => break error,
            }
        };
        assert!(matches!(told, RecvError::Closed), "call {number}: {told:?}");
    }
}

#[test]
fn what_becomes_shorter_or_cannot_be_is_corrupt_and_nothing_of_it_is_left() {
    // Shorter; more than there may be.
    for worse in [PART, 1 << 29] {
        let ((mut one, mut other), ..) = half_written("wait=spin");
        std::thread::scope(|scope| {
            let (over, is_over) = channel::<()>();
            scope.spawn(move || {
                let ring = one.tx.ring();
                // SAFETY: the offset of the message that is being written.
                let none = unsafe { ring.ours().load_commit(0) } ^ (2 * PART) as u64;
                // Sooner or later the one is seen after the other.
                while matches!(is_over.try_recv(), Err(TryRecvError::Empty)) {
                    for bytes in [2 * PART, worse] {
                        // SAFETY: as above.
                        unsafe { ring.ours().store_commit(0, none | bytes as u64, Ordering::Release) };
                        std::thread::yield_now();
                    }
                }
            });
            let mut received = Vec::new();
            let told = other.rx.recv_with(&mut received, soon()).unwrap_err();
            drop(over);
            assert!(matches!(told, RecvError::Corrupt { .. }), "{told:?}");
            assert!(received.is_empty());
        });
    }
}

#[test]
fn what_changes_and_does_not_grow_is_corrupt() {
    let (_one, mut other) = pair("");
    let mut seen = Shown::default();
    for look in 0..4 {
        match other.rx.not_yet(seen, soon()) {
            Ok(shown) if look < 3 => seen = shown,
            Err(RecvError::Corrupt { .. }) if look == 3 => return,
            other => panic!("look {look}: {other:?}"),
        }
    }
    panic!("it may go on for ever");
}

#[test]
fn a_peer_that_shows_a_byte_at_a_time_does_not_hold_up_who_has_a_deadline() {
    for policy in WaitPolicy::ALL {
        let ((mut one, mut other), ..) = half_written(&format!("wait={policy}&capacity=8M"));
        let longest = one.tx.max_message();
        let shown = std::sync::atomic::AtomicUsize::new(2 * PART);
        std::thread::scope(|scope| {
            let (over, is_over) = channel::<()>();
            let shown = &shown;
            scope.spawn(move || {
                let ring = one.tx.ring();
                // SAFETY: the offset of the message that is being written.
                let none = unsafe { ring.ours().load_commit(0) } ^ (2 * PART) as u64;
                for bytes in 2 * PART..=longest {
                    // SAFETY: as above.
                    unsafe { ring.ours().store_commit(0, none | bytes as u64, Ordering::Release) };
                    shown.store(bytes, Ordering::Relaxed);
                    if !matches!(is_over.try_recv(), Err(TryRecvError::Empty)) {
                        return;
                    }
                }
            });
            let mut received = Vec::new();
            let told = other.rx.recv_timeout(&mut received, Duration::from_millis(1));
            assert!(matches!(told, Err(RecvError::TimedOut)), "{told:?}");
            assert!(received.is_empty());
            let told = other.rx.ready(Wait::within(Duration::from_millis(1)));
            assert!(matches!(told, Err(RecvError::TimedOut)), "{told:?}");
            drop(over);
        });
        let shown = shown.into_inner();
        assert!(shown < longest, "the call has waited for the end of the message");
    }
}
