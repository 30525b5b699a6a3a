//! Receiving without a copy of the caller's: a message is lent where it lies.

use std::time::{Duration, Instant};

use ipc_transports::{PeekReceiver, Receiver, RecvError, Transport, Wait};

use crate::end::{End, Side, check, expect, patiently};

/// `recv_ref` lends each message whole and in order, and its space is free again once it is dropped.
pub fn a_lent_message_is_the_message<T>(mut end: End<T>)
where
    T: Transport<Rx: PeekReceiver>,
{
    for number in 0..3000 {
        let len = number as usize * 7 % 2000;
        match end.side {
            Side::Far => end.send(number, len),
            Side::Near => check(&end.rx.recv_ref(patiently()).expect("a message comes"), number, len),
        }
    }
}

/// `ready` consumes nothing however often it is asked; `take` lends what it found, once, and then there is none.
pub fn take_lends_what_ready_found<T>(mut end: End<T>)
where
    T: Transport<Rx: PeekReceiver>,
{
    if end.side == Side::Far {
        (0..3).for_each(|number| end.send(number, 20));
        return end.cue.wait_for_the_end();
    }
    for number in 0..2 {
        for _ in 0..3 {
            end.rx.ready(patiently()).expect("a message comes");
        }
        check(&end.rx.take().expect("ready found a message"), number, 20);
    }
    end.rx.ready(patiently()).expect("a message comes");
    expect(&mut end.rx, 2, 20);
    assert!(end.rx.take().is_none(), "there is no fourth message");
}

/// `ready` answers `Empty`, `TimedOut` not before the deadline, and `Closed` after the last message, as a receive does.
pub fn ready_waits_as_a_receive_does<T>(mut end: End<T>)
where
    T: Transport<Rx: PeekReceiver>,
{
    if end.side == Side::Far {
        end.cue.wait_for("go");
        return end.send(1, 5);
    }
    let answer = end.rx.ready(Wait::Never);
    assert!(matches!(answer, Err(RecvError::Empty)), "{answer:?}");
    assert!(end.rx.take().is_none(), "ready found nothing");
    for _ in 0..3 {
        let deadline = Instant::now() + Duration::from_millis(20);
        let answer = end.rx.ready(Wait::Until(deadline));
        assert!(matches!(answer, Err(RecvError::TimedOut)), "{answer:?}");
        assert!(Instant::now() >= deadline, "gave up before the deadline");
    }
    end.cue.tell("go");
    check(&end.rx.recv_ref(Wait::Forever).expect("a message comes"), 1, 5);
    let answer = end.rx.ready(Wait::Forever);
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
    assert!(end.rx.take().is_none(), "nothing more was sent");
    let answer = end.rx.try_recv(&mut Vec::new());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
}
