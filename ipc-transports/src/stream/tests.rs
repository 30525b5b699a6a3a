use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ipc_core::frame::{Check, Framing};
use ipc_core::{PeekReceiver, Receiver, RecvError, Sender};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::*;

/// What a call of the scripted link does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Moves(usize),
    Fails(Errno),
}

use Step::{Fails, Moves};

/// A link whose every call is laid down; past the script everything moves.
#[derive(Debug)]
struct Scripted {
    fd: std::fs::File,
    steps: RefCell<VecDeque<Step>>,
    stream: RefCell<VecDeque<u8>>,
    /// Whether each read might have slept.
    reads: RefCell<Vec<Mode>>,
    /// Whether each write might have.
    writes: RefCell<Vec<Mode>>,
    /// How often somebody slept until it is ready, which it always is: who sleeps asks whom else to look at.
    slept: Cell<u32>,
    /// How often it was asked why nothing can be written.
    asked: Arc<AtomicU32>,
}

impl Scripted {
    fn new(steps: &[Step], stream: &[u8]) -> Scripted {
        Scripted {
            fd: std::fs::File::open("/dev/null").unwrap(),
            steps: RefCell::new(steps.iter().copied().collect()),
            stream: RefCell::new(stream.iter().copied().collect()),
            reads: RefCell::default(),
            writes: RefCell::default(),
            slept: Cell::default(),
            asked: Arc::default(),
        }
    }

    fn room(&self) -> Result<usize> {
        match self.steps.borrow_mut().pop_front() {
            None => Ok(usize::MAX),
            Some(Moves(bytes)) => Ok(bytes),
            Some(Fails(error)) => Err(error),
        }
    }

    fn take(&self) -> Vec<u8> {
        self.stream.borrow_mut().drain(..).collect()
    }
}

impl Link for Scripted {
    fn write(&self, parts: &[IoSlice<'_>], mode: Mode) -> Result<usize> {
        self.writes.borrow_mut().push(mode);
        let room = self.room()?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(room).collect();
        self.stream.borrow_mut().extend(&bytes);
        Ok(bytes.len())
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], mode: Mode) -> Result<usize> {
        self.reads.borrow_mut().push(mode);
        let room = self.room()?;
        let mut stream = self.stream.borrow_mut();
        let mut read = 0;
        for byte in parts.iter_mut().flat_map(|part| part.iter_mut()).take(room.min(stream.len())) {
            *byte = stream.pop_front().unwrap();
            read += 1;
        }
        Ok(read)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn peer_pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.slept.set(self.slept.get() + 1);
        None
    }

    fn why_unwritable(&self, _: bool) -> SendError {
        self.asked.fetch_add(1, Relaxed);
        SendError::PeerDied
    }

    fn make_room(&self) {}

    fn close_write(&self) {}

    fn close_read(&self) {}
}

fn framing() -> Framing {
    Framing { max_message: 100_000, check: Check::None }
}

fn sender(steps: &[Step]) -> StreamSender<Scripted> {
    StreamSender::new(Scripted::new(steps, &[]), Arc::default(), framing(), Attempts::under(None, false))
}

fn receiver(steps: &[Step], stream: &[u8]) -> StreamReceiver<Scripted> {
    receiver_of(framing(), steps, stream)
}

fn receiver_of(framing: Framing, steps: &[Step], stream: &[u8]) -> StreamReceiver<Scripted> {
    let link = Scripted::new(steps, stream);
    StreamReceiver::new(link, Arc::default(), framing, Attempts::under(None, false))
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&framing().header(message.len()).unwrap()[..], message].concat()
}

#[test]
fn a_dropped_sender_does_not_ask_why_its_goodbye_does_not_go() {
    for steps in [&[Fails(Errno::PIPE)][..], &[Fails(Errno::AGAIN), Fails(Errno::PIPE)]] {
        let sender = sender(steps);
        let asked = Arc::clone(&sender.link().asked);
        drop(sender);
        assert_eq!(asked.load(Relaxed), 0, "{steps:?}");
    }
    let mut sender = sender(&[Fails(Errno::PIPE)]);
    assert!(matches!(sender.send(b"for nobody"), Err(SendError::PeerDied)));
    assert_eq!(sender.link().asked.load(Relaxed), 1, "who sends wants to know");
}

/// Errors of a kernel short of memory or of room, which pass.
const PASSING: [Errno; 2] = [Errno::NOBUFS, Errno::NOMEM];

#[test]
fn a_message_of_which_a_byte_is_out_is_taken_whatever_stops_the_rest() {
    for error in PASSING {
        let whole = [frame(b"first"), frame(b"second")].concat();
        for out in 1..frame(b"first").len() {
            let mut sender = sender(&[Moves(out), Fails(error), Fails(error)]);
            sender.send(b"first").unwrap();
            assert!(
                matches!(sender.send(b"second"), Err(SendError::Io(_))),
                "it lasts, and nothing is taken"
            );
            sender.send(b"second").unwrap();
            assert_eq!(sender.link().take(), whole, "{error:?} after {out} bytes");
            assert_eq!(sender.stats().messages, 2);
        }
        let mut sender = sender(&[Fails(error)]);
        assert!(matches!(sender.send(b"lost"), Err(SendError::Io(_))), "nothing was out");
        sender.send(b"first").unwrap();
        assert_eq!(sender.link().take(), frame(b"first"));
    }
}

#[test]
fn of_a_batch_stopped_anywhere_the_messages_with_a_byte_out_are_taken() {
    let messages: [&[u8]; 3] = [b"first", b"", b"the third"];
    let batch = messages.map(IoSlice::new);
    let frames = messages.map(frame);
    for error in PASSING {
        for out in 0..frames.concat().len() {
            let mut steps = vec![Moves(out), Fails(error)];
            steps.drain(..usize::from(out == 0));
            let mut sender = sender(&steps);
            // Frames that begin in front of the byte at which it stops.
            let begun = (0..3).filter(|i| frames[..*i].concat().len() < out).count();
            match sender.send_batch(&batch, Wait::Forever) {
                Ok(taken) => assert_eq!(taken, begun, "{error:?} after {out} bytes"),
                Err(SendError::Io(_)) => assert_eq!(out, 0),
                Err(error) => panic!("{error:?}"),
            }
            assert_eq!(sender.send_batch(&batch, Wait::Forever).unwrap(), 3);
            let expected = [frames[..begun].concat(), frames.concat()].concat();
            assert_eq!(sender.link().take(), expected, "{error:?} after {out} bytes");
            assert_eq!(sender.stats().messages as usize, begun + 3);
        }
    }
}

#[test]
fn a_failed_read_in_mid_message_loses_nothing() {
    let long = vec![7; 20_000];
    let stream = [frame(&long), frame(&long), frame(b"last")].concat();
    for error in PASSING {
        // The first in pieces through the buffer and beside it; the second where its length is guessed.
        for cut in [1, 3, 4, 5, 9_000, 19_999, 20_003, 20_004, 20_007, 20_009, 35_000] {
            let steps = [Moves(cut), Fails(error), Moves(100), Fails(error)];
            let mut receiver = receiver(&steps, &stream);
            let (mut buf, mut failed) = (Vec::new(), 0);
            for expected in [&long[..], &long, b"last"] {
                while let Err(told) = receiver.recv(&mut buf) {
                    assert!(matches!(told, RecvError::Io(_)), "{told:?}");
                    failed += 1;
                }
                assert!(buf == expected, "{error:?} after {cut} bytes: {} bytes", buf.len());
            }
            assert_eq!(failed, 2);
        }
    }
}

#[test]
fn a_receiver_looks_again_before_it_sleeps_only_where_messages_come_in_bunches() {
    let one = frame(b"message").len();
    let none = Fails(Errno::AGAIN);
    let mut steps = vec![Moves(one), Moves(3 * one), none, none, Moves(one), Moves(2 * one)];
    steps.extend([none; 16]);
    let stream = frame(b"message").repeat(9);
    let mut receiver = receiver(&steps, &stream);
    let mut reads = |messages: usize| {
        for _ in 0..messages {
            assert_eq!(receiver.recv(&mut Vec::new()).unwrap(), 7);
        }
        receiver.link().reads.borrow_mut().drain(..).collect::<Vec<Mode>>()
    };
    assert_eq!(reads(1), [Mode::Block], "the first read may sleep");
    assert_eq!(reads(3), [Mode::Block], "and the one behind a single message");
    assert_eq!(reads(1), [Mode::Try; 3], "behind three messages there is one at the third look");
    assert_eq!(reads(2), [Mode::Block], "which came alone");
    let looks = reads(1);
    assert_eq!(looks[..16], [Mode::Try; 16], "behind two messages there is none, for sixteen looks");
    assert_eq!(looks[16..], [Mode::Block]);
}

/// A deadline that no test comes to.
fn in_time() -> Wait {
    Wait::within(Duration::from_secs(3600))
}

#[test]
fn a_receiver_looks_beside_a_long_message_and_once_behind_it() {
    let none = Fails(Errno::AGAIN);
    let long = vec![5; LONG];
    let stream = [frame(&long), frame(b"short"), frame(b"short")].concat();
    // Its header alone comes first; then half of it, at the third look; the rest at once.
    let mut steps = vec![Moves(4), none, none, Moves(LONG / 2), Moves(LONG / 2)];
    steps.extend([none; 128]);
    let mut receiver = receiver(&steps, &stream);
    let mut received = |expected: &[u8]| {
        let mut message = Vec::new();
        receiver.recv(&mut message).unwrap();
        assert!(message == expected);
        receiver.link().reads.borrow_mut().drain(..).collect::<Vec<Mode>>()
    };
    assert_eq!(received(&long), [&[Mode::Block][..], &[Mode::Try; 4]].concat());
    assert_eq!(
        received(b"short"),
        [&[Mode::Try; 128][..], &[Mode::Block]].concat(),
        "behind it, then asleep"
    );
    assert_eq!(received(b"short"), [], "which came with the one before");
}

#[test]
fn a_receiver_that_lends_or_checks_looks_beside_a_long_message() {
    let none = Fails(Errno::AGAIN);
    let long = vec![5; LONG];
    for check in [Check::None, Check::Crc] {
        let framing = Framing { check, ..framing() };
        let header = framing.header(LONG).unwrap();
        let frame =
            [&header[..], &long, &framing.trailer(header, [&long[..]])[..framing.overhead() - 4]].concat();
        let mut steps = vec![Moves(100)];
        steps.extend([none; 128]);
        let mut receiver = receiver_of(framing, &steps, &frame.repeat(2));
        assert!(receiver.recv_ref(Wait::Forever).unwrap() == long);
        let looks = [&[Mode::Block][..], &[Mode::Try; 128], &[Mode::Block]].concat();
        assert_eq!(*receiver.link().reads.borrow(), looks, "{check:?}");
    }
}

#[test]
fn a_receiver_looks_for_the_rest_of_a_long_message_that_came_behind_a_short_one() {
    let none = Fails(Errno::AGAIN);
    let (short, long) = (frame(b"what follows"), vec![5; LONG]);
    for (bytes, looked) in [(LONG, 128), (LONG - 1, 16)] {
        let message = &long[..bytes];
        let stream = [frame(message), short.clone(), frame(message)].concat();
        // With a long message before, whose length is then the guess, and as the first of all.
        for begin in [frame(message).len(), 0] {
            let mut steps = vec![Moves(begin), Moves(short.len() + 100)];
            steps.drain(..usize::from(begin == 0));
            steps.extend(vec![none; looked]);
            let mut receiver = receiver(&steps, &stream[frame(message).len() - begin..]);
            let mut received = |len: usize| {
                receiver.link().reads.borrow_mut().clear();
                assert_eq!(receiver.recv(&mut Vec::new()).unwrap(), len);
                receiver.link().reads.borrow().clone()
            };
            if begin > 0 {
                received(bytes);
            }
            received(12);
            let looks = [&vec![Mode::Try; looked][..], &[Mode::Block]].concat();
            assert_eq!(received(bytes), looks, "{bytes} bytes, {begin}");
        }
    }
}

#[test]
fn a_receiver_from_another_machine_looks_behind_more_and_not_beside_long_messages() {
    let none = Fails(Errno::AGAIN);
    let long = vec![5; LONG];
    let steps = [&[Moves(2 * (4 + LONG) + 1)][..], &[none; 16], &[Moves(100)]].concat();
    let attempts = Attempts::under(None, false).far();
    let link = Scripted::new(&steps, &frame(&long).repeat(4));
    let mut receiver = StreamReceiver::new(link, Arc::default(), framing(), attempts);
    let mut received = || {
        assert_eq!(receiver.recv_ref(Wait::Forever).unwrap(), long);
        receiver.link().reads.borrow_mut().drain(..).collect::<Vec<Mode>>()
    };
    assert_eq!(received(), [Mode::Block]);
    assert_eq!(received(), []);
    assert_eq!(
        received(),
        [&[Mode::Try; 16][..], &[Mode::Block; 2]].concat(),
        "behind two, but not for the rest of it"
    );
}

#[test]
fn a_receiver_that_asks_again_and_again_looks_only_once_for_what_came() {
    let (none, half, long) = (Fails(Errno::AGAIN), LONG / 2, vec![5; LONG]);
    let mut steps = vec![Moves(4 + LONG), none];
    for part in [4 + half, half] {
        steps.extend([none; 128]);
        steps.push(Moves(part));
    }
    steps.extend([none, Moves(4 + half), none, none, Moves(half)]);
    let mut receiver = receiver(&steps, &frame(&long).repeat(3));
    let mut message = Vec::new();
    let mut received = |wait| (receiver.recv_with(&mut message, wait), receiver.link().slept.take());

    assert!(matches!(received(Wait::Forever), (Ok(LONG), 0)));
    assert!(matches!(received(Wait::Never), (Err(RecvError::Empty), 0)), "and loses no look");
    assert!(matches!(received(in_time()), (Ok(LONG), 0)), "128 looks for each half");
    let over = Wait::within(Duration::ZERO);
    assert!(matches!(received(over), (Err(RecvError::TimedOut), 0)), "nothing has come");
    assert!(matches!(received(over), (Err(RecvError::TimedOut), 0)), "half has");
    assert!(matches!(received(in_time()), (Ok(LONG), 1)), "after no look more");
    assert!(receiver.link().steps.borrow().is_empty());

    // The same where messages are lent.
    let steps = [&[Moves(4 + half)][..], &[none; 2], &[Moves(half)]].concat();
    let mut receiver = self::receiver(&steps, &frame(&long));
    assert!(matches!(receiver.ready(over), Err(RecvError::TimedOut)), "half has come");
    assert!(receiver.ready(in_time()).is_ok());
    assert_eq!((receiver.link().slept.take(), receiver.link().steps.borrow().len()), (1, 0));
}

#[test]
fn a_sender_of_a_long_message_looks_for_room() {
    let none = Fails(Errno::AGAIN);
    for (len, looked) in [(LONG, 128), (LONG - 1, 0)] {
        let message = vec![3; len];
        let mut steps = vec![none; looked];
        steps.push(Moves(100));
        steps.extend(vec![none; looked]);
        let mut sender = sender(&steps);
        sender.send(&message).unwrap();
        assert_eq!(sender.link().take(), frame(&message));
        let once = [vec![Mode::Try; looked], vec![Mode::Block]].concat();
        assert_eq!(*sender.link().writes.borrow(), once.repeat(2), "{len} bytes, and then their rest");
    }
}

#[test]
fn a_sender_with_a_deadline_looks_as_often_and_then_sleeps() {
    let none = Fails(Errno::AGAIN);
    let half = vec![3; LONG / 2];
    for (parts, looked) in [(1, 0), (2, 128)] {
        let parts = &[IoSlice::new(&half); 2][..parts];
        let mut sender = sender(&vec![none; looked + 1]);
        sender.send_with(parts, in_time()).unwrap();
        assert_eq!((sender.link().slept.take(), sender.link().steps.borrow().len()), (1, 0), "one message");
        sender.link().steps.borrow_mut().extend(vec![none; looked + 1]);
        assert_eq!(sender.send_batch(parts, in_time()).unwrap(), parts.len());
        assert_eq!((sender.link().slept.take(), sender.link().steps.borrow().len()), (1, 0), "a batch");
    }
}

#[test]
fn who_looks_how_often_before_it_sleeps() {
    let under = |policy, share_one_cpu| {
        let Attempts { always, behind_more, beside_long } = Attempts::under(policy, share_one_cpu);
        (always, behind_more, beside_long)
    };
    for parks in [None, Some(WaitPolicy::Park), Some(WaitPolicy::Adaptive)] {
        assert_eq!(under(parks, false), (0, 16, 128));
        assert_eq!(under(parks, true), (0, 0, 0), "on one CPU looking keeps the peer from sending");
    }
    assert_eq!(under(Some(WaitPolicy::Spin), false), (2_000, 2_000, 2_000));
    assert_eq!(under(Some(WaitPolicy::Spin), true), (2_000, 2_000, 2_000));
    let far = Attempts::under(None, false).far();
    assert_eq!(
        (far.always, far.behind_more, far.beside_long),
        (0, 16, 0),
        "no copy of another machine's is waited for"
    );
}
