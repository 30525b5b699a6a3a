//! What the survivor is told when its peer is killed. These need a second process.

use ipc_transports::{Receiver, RecvError, SendError, Sender, Transport, Wait};

use super::ending::send_until_it_fails;
use super::messages::{fill, fill_len};
use crate::end::{End, Side, message, patiently};

/// The far side of most sentences here: waits, cue by cue, to be killed.
fn await_the_blow<T: Transport>(end: &mut End<T>) {
    end.cue.tell("ready");
    end.cue.wait_for_the_end();
}

fn kill_during<R, T: Transport>(end: &mut End<T>, wait: impl FnOnce(&mut End<T>) -> R) -> R {
    end.cue.wait_for("ready");
    let killer = end.killer.clone().expect("the far side is a process");
    killer.kill_during(|| wait(end))
}

/// A receiver that waits for ever is told `PeerDied` when its peer is killed, and told so again.
pub fn a_waiting_receiver_is_told_of_a_killed_peer<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return await_the_blow(&mut end);
    }
    let mut buf = Vec::new();
    let answer = kill_during(&mut end, |end| end.rx.recv(&mut buf));
    assert!(matches!(answer, Err(RecvError::PeerDied { partial_bytes: 0 })), "{answer:?}");
    for wait in [Wait::Never, Wait::Forever, patiently()] {
        let answer = end.rx.recv_with(&mut buf, wait);
        assert!(matches!(answer, Err(RecvError::PeerDied { .. })), "with {wait:?}: {answer:?}");
    }
}

/// The same with a deadline: `PeerDied` long before it, not `TimedOut`.
pub fn a_receiver_with_a_deadline_is_told_of_a_killed_peer<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return await_the_blow(&mut end);
    }
    let answer = kill_during(&mut end, |end| end.rx.recv_with(&mut Vec::new(), patiently()));
    assert!(matches!(answer, Err(RecvError::PeerDied { .. })), "{answer:?}");
}

/// A sender that waits for ever for space is told `PeerDied` when its peer is killed, and told so again.
pub fn a_waiting_sender_is_told_of_a_killed_peer<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return await_the_blow(&mut end);
    }
    fill(&mut end.tx, 0);
    let bytes = message(1, fill_len(&end.tx));
    let answer =
        kill_during(&mut end, |end| (0..100_000).find_map(|_| end.tx.send(&bytes).err()).expect("an end"));
    assert!(matches!(answer, SendError::PeerDied), "{answer:?}");
    let answer = end.tx.try_send(b"x");
    assert!(matches!(answer, Err(SendError::PeerDied)), "{answer:?}");
}

/// The same with a deadline: `PeerDied` long before it, not `TimedOut`.
pub fn a_sender_with_a_deadline_is_told_of_a_killed_peer<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return await_the_blow(&mut end);
    }
    fill(&mut end.tx, 0);
    let bytes = message(1, fill_len(&end.tx));
    let answer = kill_during(&mut end, |end| {
        (0..100_000).find_map(|_| end.tx.send_timeout(&bytes, crate::end::PATIENCE).err()).expect("an end")
    });
    assert!(matches!(answer, SendError::PeerDied), "{answer:?}");
}

/// A sender that was not waiting learns of the death at its next sends, without a signal.
pub fn a_sender_that_did_not_wait_is_told_of_a_killed_peer<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return await_the_blow(&mut end);
    }
    kill_during(&mut end, |_| ());
    let answer = send_until_it_fails(&mut end.tx);
    assert!(matches!(answer, SendError::PeerDied), "{answer:?}");
}

/// Everything a peer had finished sending before it was killed is received before its death is told.
pub fn what_a_killed_peer_had_sent_arrives_first<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        // As many as surely fit without anyone receiving.
        let mut sent = 0;
        while sent < 5 && end.tx.try_send(&message(sent, 500)).is_ok() {
            sent += 1;
        }
        end.cue.tell(sent);
        return await_the_blow(&mut end);
    }
    let sent = end.cue.hear_number();
    assert!(sent >= 1, "an empty link takes at least one message");
    kill_during(&mut end, |_| ());
    (0..sent).for_each(|number| end.expect(number, 500));
    let answer = end.rx.recv(&mut Vec::new());
    assert!(matches!(answer, Err(RecvError::PeerDied { partial_bytes: 0 })), "{answer:?}");
}

/// A message that was only half in the link when its sender was killed is never delivered; the bytes of it that came
/// are counted in `PeerDied`.
pub fn half_a_message_is_never_delivered<T: Transport>(mut end: End<T>) {
    let len = end.tx.max_message();
    if end.side == Side::Far {
        let mut taken = 0;
        while end.tx.try_send(&message(taken, len)).is_ok() {
            taken += 1;
        }
        end.cue.tell(taken);
        return await_the_blow(&mut end);
    }
    let taken = end.cue.hear_number();
    kill_during(&mut end, |_| ());
    let mut buf = Vec::new();
    for number in 0..=taken {
        match end.rx.recv(&mut buf) {
            Ok(_) => {
                assert!(number < taken, "more messages than were taken");
                crate::end::check(&buf, number, len);
            }
            Err(RecvError::PeerDied { partial_bytes }) => {
                assert!(number == taken || partial_bytes > 0, "message {number} is lost without a trace");
                assert!(number < taken || partial_bytes == 0, "bytes of a message that was not taken");
                return;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the death is not told");
}
