//! Waiting in an event loop: try → arm → poll → disarm → try.

use std::io::IoSlice;
use std::os::fd::AsRawFd;

use ipc_transports::{Armed, Interest, Pollable, Receiver, RecvError, SendError, Sender, Transport, Wait};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::messages::{fill, fill_len};
use crate::end::{End, PATIENCE, Side, check, message, patiently};

/// Looks whether the descriptor of an armed half is ready, sleeping at most `seconds`.
fn is_ready(half: &impl Pollable, seconds: u64) -> bool {
    let flags = match half.interest() {
        Interest::Readable => PollFlags::IN,
        Interest::Writable => PollFlags::OUT,
    };
    let fd = half.fd();
    let mut fds = [PollFd::new(&fd, flags)];
    let timeout = Timespec { tv_sec: seconds as i64, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout))).expect("poll works") == 1
}

/// One turn of the event loop: true unless the descriptor stayed quiet for all our patience.
fn sleep_armed(half: &mut impl Pollable) -> bool {
    let woken = match half.arm().expect("a descriptor to sleep on") {
        Armed::Ready => true,
        Armed::MaySleep => is_ready(half, PATIENCE.as_secs()),
    };
    half.disarm();
    woken
}

/// Wake-ups without a whole message that one wait may have: a long one comes in pieces, a busy loop must not be.
const PIECES: usize = 10;

/// Wake-ups without enough space that one wait may have: every message received frees some, this one may need more.
const RELEASES: usize = 1000;

/// Receives by event loop.
fn recv_polled<R: Receiver + Pollable>(rx: &mut R, buf: &mut Vec<u8>) -> Result<usize, RecvError> {
    for _ in 0..PIECES {
        match rx.try_recv(buf) {
            Err(RecvError::Empty) => assert!(sleep_armed(rx), "the armed receiver was never woken"),
            other => return other,
        }
    }
    panic!("the armed receiver is woken again and again without a message");
}

/// Sends by event loop.
fn send_polled<S: Sender + Pollable>(tx: &mut S, bytes: &[u8]) -> Result<(), SendError> {
    for _ in 0..RELEASES {
        match tx.send_with(&[IoSlice::new(bytes)], Wait::Never) {
            Err(SendError::Full) => assert!(sleep_armed(tx), "the armed sender was never woken"),
            other => return other,
        }
    }
    panic!("the armed sender is woken again and again without space");
}

/// Fills the link and arms the sender, again and again as long as space turns up by itself.
fn fill_and_arm<S: Sender + Pollable>(tx: &mut S, sent: &mut u64) {
    loop {
        let taken = fill(tx, *sent);
        *sent += taken;
        match tx.arm().expect("a descriptor to sleep on") {
            Armed::MaySleep if !is_ready(tx, 0) => return,
            _ => tx.disarm(),
        }
        assert!(taken > 0, "there is no space and the sender is told not to sleep");
    }
}

/// A message wakes an armed receiver, message after message.
pub fn a_message_wakes_an_armed_receiver<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    let mut buf = Vec::new();
    for number in 0..200 {
        if end.side == Side::Near {
            end.send(number, 50);
        }
        recv_polled(&mut end.rx, &mut buf).expect("the other side answers");
        check(&buf, number, 50);
        if end.side == Side::Far {
            end.send(number, 50);
        }
    }
}

/// A stream of messages, sent and received by event loops alone, arrives whole and in order.
pub fn event_loops_carry_a_stream<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    let len = |number: u64| (number as usize * 97 % 5000).min(1 << 13);
    let mut buf = Vec::new();
    for number in 0..2000 {
        match end.side {
            Side::Far => {
                send_polled(&mut end.tx, &message(number, len(number))).expect("the near side receives")
            }
            Side::Near => {
                recv_polled(&mut end.rx, &mut buf).expect("the far side sends");
                check(&buf, number, len(number));
            }
        }
    }
    end.tx.flush(patiently()).expect("the near side receives");
}

/// Arming looks again: what came before is answered `Ready`, or makes the descriptor ready at once.
pub fn arming_sees_what_is_already_there<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    if end.side == Side::Far {
        end.send(1, 10);
        end.send(2, 10);
        return end.cue.wait_for_the_end();
    }
    // The first receive may take the second message into a buffer inside the connection, unseen by the kernel.
    end.expect(1, 10);
    assert!(sleep_armed(&mut end.rx), "a message lies there and the armed receiver sleeps");
    end.expect(2, 10);
    assert!(sleep_armed(&mut end.tx), "there is space and the armed sender sleeps");
    end.send(3, 10);
}

/// While there is nothing to do, an armed half's descriptor is quiet: an event loop sleeps.
pub fn an_idle_armed_half_is_quiet<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    let len = fill_len(&end.tx);
    if end.side == Side::Far {
        let sent = end.cue.hear_number();
        return (0..sent).for_each(|number| end.expect(number, len));
    }
    let mut sent = 0;
    for _ in 0..3 {
        assert_eq!(end.rx.arm().expect("a descriptor"), Armed::MaySleep, "there is no message");
        assert!(!is_ready(&end.rx, 0), "there is no message and the receiver's descriptor is ready");
        end.rx.disarm();
        fill_and_arm(&mut end.tx, &mut sent);
        end.tx.disarm();
        end.tx.disarm();
    }
    end.cue.tell(sent);
    end.tx.flush(patiently()).expect("the far side receives");
}

/// Space wakes an armed sender, and the two sides go on in step.
pub fn space_wakes_an_armed_sender<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    let len = fill_len(&end.tx);
    if end.side == Side::Far {
        let sent = end.cue.hear_number();
        return (0..sent + 50).for_each(|number| end.expect(number, len));
    }
    let sent = fill(&mut end.tx, 0);
    end.cue.tell(sent);
    for number in sent..sent + 50 {
        send_polled(&mut end.tx, &message(number, len)).expect("the far side receives");
    }
    end.tx.flush(patiently()).expect("the far side receives");
}

/// A close wakes an armed receiver.
pub fn close_wakes_an_armed_receiver<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    if end.side == Side::Far {
        return end.cue.wait_for("armed");
    }
    assert_eq!(end.rx.arm().expect("a descriptor"), Armed::MaySleep);
    end.cue.tell("armed");
    assert!(is_ready(&end.rx, PATIENCE.as_secs()), "the close did not wake the armed receiver");
    end.rx.disarm();
    let answer = recv_polled(&mut end.rx, &mut Vec::new());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
}

/// A close wakes an armed sender that found the link full.
pub fn close_wakes_an_armed_sender<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    if end.side == Side::Far {
        return end.cue.wait_for("armed");
    }
    fill_and_arm(&mut end.tx, &mut 0);
    end.cue.tell("armed");
    assert!(is_ready(&end.tx, PATIENCE.as_secs()), "the close did not wake the armed sender");
    end.tx.disarm();
    let answer = (0..100_000).find_map(|number| send_polled(&mut end.tx, &message(number, 100)).err());
    assert!(matches!(answer, Some(SendError::Closed)), "{answer:?}");
}

/// The two halves of a connection have different descriptors, so that one event loop can watch both.
pub fn the_halves_have_different_descriptors<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    for half in [&mut end.rx as &mut dyn Pollable, &mut end.tx] {
        half.arm().expect("a descriptor");
        half.disarm();
    }
    assert_ne!(end.rx.fd().as_raw_fd(), end.tx.fd().as_raw_fd());
    // Nobody leaves while the other still arms: a close may take descriptors away.
    end.cue.tell("armed");
    end.cue.wait_for("armed");
}

/// The death of the peer wakes an armed receiver. Needs a second process.
pub fn death_wakes_an_armed_receiver<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    if end.side == Side::Far {
        return end.cue.wait_for_the_end();
    }
    assert_eq!(end.rx.arm().expect("a descriptor"), Armed::MaySleep);
    let killer = end.killer.clone().expect("the far side is a process");
    assert!(killer.kill_during(|| is_ready(&end.rx, PATIENCE.as_secs())), "the death went unnoticed");
    end.rx.disarm();
    let answer = recv_polled(&mut end.rx, &mut Vec::new());
    assert!(matches!(answer, Err(RecvError::PeerDied { .. })), "{answer:?}");
}

/// The death of the peer wakes an armed sender that found the link full. Needs a second process.
pub fn death_wakes_an_armed_sender<T>(mut end: End<T>)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    if end.side == Side::Far {
        return end.cue.wait_for_the_end();
    }
    fill_and_arm(&mut end.tx, &mut 0);
    let killer = end.killer.clone().expect("the far side is a process");
    assert!(killer.kill_during(|| is_ready(&end.tx, PATIENCE.as_secs())), "the death went unnoticed");
    end.tx.disarm();
    let answer = (0..100_000).find_map(|number| send_polled(&mut end.tx, &message(number, 100)).err());
    assert!(matches!(answer, Some(SendError::PeerDied)), "{answer:?}");
}
