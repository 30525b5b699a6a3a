//! How a connection ends in an orderly way.

use std::io::IoSlice;

use ipc_transports::{Receiver, RecvError, SendError, Sender, Transport, Wait};

use super::messages::{fill, fill_len};
use crate::end::{End, Side, message, patiently};

/// Sends until it fails and returns why. Panics if the peer's end is never noticed.
pub fn send_until_it_fails(tx: &mut impl Sender) -> SendError {
    for number in 0..100_000 {
        if let Err(error) = tx.send_with(&[IoSlice::new(&message(number, 100))], patiently()) {
            return error;
        }
    }
    panic!("100000 messages were taken by a connection that has ended");
}

/// Every message sent before the close is received first; then every receive answers `Closed`, again and again.
pub fn close_is_seen_after_the_last_message<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        // As many as surely fit without anyone receiving.
        let sent = (0..10).take_while(|number| end.tx.try_send(&message(*number, 100)).is_ok()).count();
        drop((end.tx, end.rx));
        return end.cue.tell(sent);
    }
    let sent = end.cue.hear_number();
    assert!(sent >= 1, "an empty link takes at least one message");
    (0..sent).for_each(|number| end.expect(number, 100));
    let mut buf = Vec::new();
    for wait in [patiently(), Wait::Forever, Wait::Never, patiently()] {
        let answer = end.rx.recv_with(&mut buf, wait);
        assert!(matches!(answer, Err(RecvError::Closed)), "with {wait:?}: {answer:?}");
        let answer = end.rx.recv_each(5, wait, |_| panic!("nothing more was sent"));
        assert!(matches!(answer, Err(RecvError::Closed)), "with {wait:?}: {answer:?}");
    }
}

/// A close wakes a receiver that waits for ever, with `Closed`.
pub fn close_ends_the_wait_for_a_message<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return end.cue.wait_for("about to wait");
    }
    end.cue.tell("about to wait");
    let answer = end.rx.recv(&mut Vec::new());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
}

/// A sender learns that its peer closed, as `Closed` and not as a death, and is told so again.
pub fn the_sender_sees_the_close<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        end.expect(0, 100);
        drop((end.tx, end.rx));
        return end.cue.tell("closed");
    }
    end.send(0, 100);
    end.cue.wait_for("closed");
    let answer = send_until_it_fails(&mut end.tx);
    assert!(matches!(answer, SendError::Closed), "{answer:?}");
    for wait in [Wait::Never, Wait::Forever] {
        let answer = end.tx.send_with(&[IoSlice::new(b"x")], wait);
        assert!(matches!(answer, Err(SendError::Closed)), "with {wait:?}: {answer:?}");
    }
}

/// A close wakes a sender that waits for ever for space, with `Closed`.
pub fn close_ends_the_wait_for_space<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return end.cue.wait_for("about to wait");
    }
    fill(&mut end.tx, 0);
    end.cue.tell("about to wait");
    let bytes = message(1, fill_len(&end.tx));
    let answer = (0..100_000).find_map(|_| end.tx.send(&bytes).err()).expect("the end is noticed");
    assert!(matches!(answer, SendError::Closed), "{answer:?}");
}

/// A peer that closes with messages unread has closed, not died: both halves say `Closed`.
pub fn a_close_with_messages_unread_is_a_close<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        end.cue.wait_for("sent");
        end.send(7, 50);
        drop((end.tx, end.rx));
        return end.cue.tell("closed");
    }
    fill(&mut end.tx, 0);
    end.cue.tell("sent");
    end.cue.wait_for("closed");
    end.expect(7, 50);
    let answer = end.rx.recv(&mut Vec::new());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
    let answer = send_until_it_fails(&mut end.tx);
    assert!(matches!(answer, SendError::Closed), "{answer:?}");
}

/// A peer that sends, closes and exits has closed, not died, for a sender whose receiving half has read nothing yet; what
/// it sent is still received.
pub fn a_peer_that_closed_and_exited_has_closed<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        // As many as surely fit without anyone receiving.
        let sent = (0..3).take_while(|number| end.tx.try_send(&message(*number, 50)).is_ok()).count();
        return end.cue.tell(sent);
    }
    let sent = end.cue.hear_number();
    end.cue.wait_for_the_end();
    let answer = send_until_it_fails(&mut end.tx);
    assert!(matches!(answer, SendError::Closed), "{answer:?}");
    (0..sent).for_each(|number| end.expect(number, 50));
    let answer = end.rx.recv(&mut Vec::new());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
}

/// A dropped sending half closes its own direction; the other one still carries messages.
pub fn a_dropped_sender_closes_its_direction_alone<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        end.send(1, 10);
        let End { tx, mut rx, .. } = end;
        drop(tx);
        return (0..20).for_each(|number| crate::end::expect(&mut rx, number, 30));
    }
    end.expect(1, 10);
    let answer = end.rx.recv(&mut Vec::new());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
    (0..20).for_each(|number| end.send(number, 30));
    end.tx.flush(patiently()).expect("the far side receives");
    end.cue.wait_for_the_end();
}

/// A dropped receiving half is `Closed` to the peer's sender; what its owner sends still arrives.
pub fn a_dropped_receiver_is_closed_to_the_sender<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        let End { mut tx, rx, mut cue, .. } = end;
        drop(rx);
        cue.tell("dropped");
        cue.wait_for("noticed");
        return crate::end::send(&mut tx, 5, 40);
    }
    end.cue.wait_for("dropped");
    let answer = send_until_it_fails(&mut end.tx);
    assert!(matches!(answer, SendError::Closed), "{answer:?}");
    end.cue.tell("noticed");
    end.expect(5, 40);
}
