//! How long a call waits, and what it has done when it gives up.

use std::cell::Cell;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use ipc_transports::{Receiver, RecvError, SendError, Sender, Transport, Wait};

use super::messages::{fill, fill_len, send_until_refused};
use crate::end::{End, PATIENCE, Side, check, message, patiently};

/// A short deadline: long enough that a sleep happens.
const SHORT: Duration = Duration::from_millis(20);

/// An empty link answers `Empty` to `Never`, in every form of receiving.
pub fn an_empty_link_answers_empty<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return end.cue.wait_for_the_end();
    }
    let mut buf = Vec::new();
    for _ in 0..3 {
        let answer = end.rx.try_recv(&mut buf);
        assert!(matches!(answer, Err(RecvError::Empty)), "{answer:?}");
        let answer = end.rx.recv_each(10, Wait::Never, |_| panic!("nothing was sent"));
        assert!(matches!(answer, Err(RecvError::Empty)), "{answer:?}");
    }
}

/// A full link answers `Full` to `Never`, in every form of sending, and takes nothing: exactly what it said it took
/// arrives, and afterwards it works as before.
pub fn a_full_link_takes_nothing<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        for _ in 0..2 {
            let sent = end.cue.hear_number();
            let len = fill_len(&end.tx);
            (0..sent).for_each(|number| end.expect(number, len));
            end.cue.tell("drained");
        }
        return;
    }
    for _ in 0..2 {
        let len = fill_len(&end.tx);
        let mut next = fill(&mut end.tx, 0);
        assert!(next >= 1, "an empty link takes at least one message");
        for _ in 0..3 {
            let answer = send_until_refused(&mut end.tx, &mut next, len, || Wait::Never);
            assert!(matches!(answer, SendError::Full), "{answer:?}");
            let (one, two) = (message(next, len), message(next + 1, len));
            match end.tx.send_batch(&[IoSlice::new(&one), IoSlice::new(&two)], Wait::Never) {
                Ok(taken) => next += taken as u64,
                Err(answer) => assert!(matches!(answer, SendError::Full), "{answer:?}"),
            }
        }
        end.cue.tell(next);
        end.tx.flush(patiently()).expect("the far side drains the link");
        end.cue.wait_for("drained");
    }
}

/// A receive with a deadline answers `TimedOut`, and not before the deadline; one already past answers at once.
pub fn a_receive_times_out_not_before_its_deadline<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        return end.cue.wait_for_the_end();
    }
    let mut buf = Vec::new();
    for timeout in [SHORT, Duration::ZERO, SHORT] {
        let deadline = Instant::now() + timeout;
        let answer = end.rx.recv_with(&mut buf, Wait::Until(deadline));
        assert!(matches!(answer, Err(RecvError::TimedOut)), "{answer:?}");
        assert!(Instant::now() >= deadline, "gave up before the deadline");
        let deadline = Instant::now() + timeout;
        let answer = end.rx.recv_each(3, Wait::Until(deadline), |_| panic!("nothing was sent"));
        assert!(matches!(answer, Err(RecvError::TimedOut)), "{answer:?}");
        assert!(Instant::now() >= deadline, "gave up before the deadline");
    }
}

/// A send with a deadline on a full link answers `TimedOut`, not before the deadline, and takes nothing.
pub fn a_send_times_out_not_before_its_deadline<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        let sent = end.cue.hear_number();
        let len = fill_len(&end.tx);
        (0..=sent).for_each(|number| end.expect(number, len));
        return;
    }
    let len = fill_len(&end.tx);
    let mut next = fill(&mut end.tx, 0);
    for timeout in [SHORT, Duration::ZERO, SHORT] {
        let deadline = Cell::new(Instant::now());
        let wait = || {
            deadline.set(Instant::now() + timeout);
            Wait::Until(deadline.get())
        };
        let answer = send_until_refused(&mut end.tx, &mut next, len, wait);
        assert!(matches!(answer, SendError::TimedOut), "{answer:?}");
        assert!(Instant::now() >= deadline.get(), "gave up before the deadline");
    }
    end.cue.tell(next);
    end.send(next, len);
    end.tx.flush(patiently()).expect("the far side drains the link");
}

/// A deadline already past still lets through what needs no waiting.
pub fn a_past_deadline_still_does_what_needs_no_wait<T: Transport>(mut end: End<T>) {
    if end.side == Side::Far {
        let past = Wait::Until(Instant::now());
        end.tx.send_with(&[IoSlice::new(&message(1, 10))], past).expect("the link is empty");
        return end.cue.wait_for("received");
    }
    // The message may still be under way, so there are several looks, each without a wait.
    let mut buf = Vec::new();
    let enough = Instant::now() + PATIENCE;
    loop {
        match end.rx.recv_with(&mut buf, Wait::Until(Instant::now())) {
            Ok(_) => break check(&buf, 1, 10),
            Err(RecvError::TimedOut) => assert!(Instant::now() < enough, "the message is never seen"),
            Err(other) => panic!("{other:?}"),
        }
    }
    end.cue.tell("received");
}

/// A receiver that waits is woken by each message, with a deadline and without.
pub fn a_message_ends_the_wait_for_it<T: Transport>(mut end: End<T>) {
    let mut buf = Vec::new();
    for number in 0..300 {
        if end.side == Side::Near {
            end.send(number, 8);
        }
        let wait = if end.side == Side::Near { Wait::Forever } else { patiently() };
        end.rx.recv_with(&mut buf, wait).expect("the other side answers");
        check(&buf, number, 8);
        if end.side == Side::Far {
            end.send(number, 8);
        }
    }
}

/// A sender that waits for ever for space is woken when the receiver makes some.
pub fn space_ends_the_wait_for_it<T: Transport>(mut end: End<T>) {
    let len = fill_len(&end.tx);
    if end.side == Side::Far {
        let sent = end.cue.hear_number();
        (0..sent + 20).for_each(|number| end.expect(number, len));
        return;
    }
    let sent = fill(&mut end.tx, 0);
    end.cue.tell(sent);
    for number in sent..sent + 20 {
        end.tx.send(&message(number, len)).expect("the far side makes space");
    }
    end.tx.flush(Wait::Forever).expect("the far side makes space");
}

/// A message that was taken arrives whole, even if the link could not hold all of it at the time and the calls after
/// it fail; `flush` pushes out the rest.
pub fn a_taken_message_arrives_whole<T: Transport>(mut end: End<T>) {
    let len = end.tx.max_message().min(4 << 20);
    if end.side == Side::Far {
        let taken = end.cue.hear_number();
        (0..taken).for_each(|number| end.expect(number, len));
        return end.expect(taken, 3);
    }
    let mut taken = 0;
    let answer = send_until_refused(&mut end.tx, &mut taken, len, || Wait::Never);
    assert!(matches!(answer, SendError::Full), "{answer:?}");
    assert!(taken >= 1, "an empty link takes a message of {len} bytes");
    let answer = send_until_refused(&mut end.tx, &mut taken, len, || Wait::within(SHORT));
    assert!(matches!(answer, SendError::TimedOut), "{answer:?}");
    if let Err(error) = end.tx.flush(Wait::Never) {
        assert!(matches!(error, SendError::Full), "{error:?}");
    }
    end.cue.tell(taken);
    end.tx.flush(Wait::Forever).expect("the far side receives");
    end.send(taken, 3);
}
