//! `ipc-peers threads [--rounds N]`: queues between two threads of one process, against our `inproc` only, since none of
//! them crosses a process.
//!
//! All spin, on two pinned threads, over the same messages, interleaved in rounds. Every message carries its number in
//! its first and last eight bytes; the receiver checks both. A round trip is timed by one clock read per message, as
//! `ipc-bench` does; a stream by the receiver, over all its messages. The compiler must believe that the receiver looks
//! at all of a message (`black_box`): else it leaves out copies of which the check reads two words.
//!
//! * rtrb 0.4: a byte ring of 1 MiB and at least two messages, `push_entire_slice` and `pop_entire_slice`; for 64 B and
//!   1 KiB also a ring of arrays, by the same calls, and read in place by `read_chunk`.
//! * crossbeam-channel 0.5 and kanal 0.1: bounded channels of as many messages as make 1 MiB, of `Vec<u8>`: a message is
//!   copied into a new vector and handed over, as programs do with them; `try_send` and `try_recv`, spinning.
//!
//! Ours is used as each of them is: against rtrb it copies a message in and out, or in only; against the channels, whose
//! receivers get the sender's copy itself, it copies in and is read in place. Rings of ours that hold messages of 1 MiB are put into
//! huge pages, an option of ours; the rivals have none.

use std::hint::{black_box, spin_loop};
use std::process::ExitCode;
use std::slice::{from_mut, from_ref};
use std::time::Instant;

use crate::ratios;
use ipc_core::{PeekReceiver, Transport, Wait};
use ipc_transports::{InProc, ShmOptions, ShmReceiver, ShmSender, WaitPolicy};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Bytes a queue holds, if two messages fit.
const QUEUE: usize = 1 << 20;

/// Bytes of a huge page: smaller rings cannot be put into such.
const HUGE_PAGE: usize = 2 << 20;

const SIZES: [usize; 4] = [64, 1 << 10, 64 << 10, 1 << 20];

/// One direction's sending end.
trait Tx: Send + 'static {
    fn send(&mut self, message: &[u8]);
}

/// Its receiving end.
trait Rx: Send + 'static {
    /// Waits for the next message and shows it to `look`.
    fn recv(&mut self, look: impl FnOnce(&[u8]));
}

/// A channel for messages of so many bytes; `None` if it is not made for such.
type Make = fn(usize) -> Option<Box<dyn Run>>;

/// The two measurements over one kind of channel, with its types known.
trait Run {
    /// Median round trip in nanoseconds.
    fn round_trip(&self, size: usize, messages: usize) -> f64;
    /// Messages per second.
    fn stream(&self, size: usize, messages: usize) -> f64;
}

struct Kind<F>(F);

impl<T: Tx, R: Rx, F: Fn(usize) -> (T, R)> Run for Kind<F> {
    fn round_trip(&self, size: usize, messages: usize) -> f64 {
        let ((mut up, mut there), (mut back, mut down)) = ((self.0)(size), (self.0)(size));
        let echo = std::thread::spawn(move || {
            pin(1);
            for number in 0..messages {
                there.recv(|message| {
                    check(black_box(message), size, number);
                    back.send(message);
                });
            }
        });
        let asker = std::thread::spawn(move || {
            pin(0);
            let mut message = vec![0x5a; size];
            let mut took = Vec::with_capacity(messages);
            let mut before = Instant::now();
            for number in 0..messages {
                stamp(&mut message, number);
                up.send(&message);
                down.recv(|answer| check(black_box(answer), size, number));
                let now = Instant::now();
                took.push((now - before).as_nanos() as u64);
                before = now;
            }
            took.sort_unstable();
            took[messages / 2] as f64
        });
        echo.join().expect("the echoing thread ends");
        asker.join().expect("the asking thread ends")
    }

    fn stream(&self, size: usize, messages: usize) -> f64 {
        let (mut tx, mut rx) = (self.0)(size);
        let receiver = std::thread::spawn(move || {
            pin(1);
            rx.recv(|message| check(black_box(message), size, 0));
            let started = Instant::now();
            for number in 1..messages {
                rx.recv(|message| check(black_box(message), size, number));
            }
            (messages - 1) as f64 / started.elapsed().as_secs_f64()
        });
        let sender = std::thread::spawn(move || {
            pin(0);
            let mut message = vec![0x5a; size];
            for number in 0..messages {
                stamp(&mut message, number);
                tx.send(&message);
            }
        });
        sender.join().expect("the sending thread ends");
        receiver.join().expect("the receiving thread ends")
    }
}

/// The calling thread to CPU number `cpu`.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("two CPUs");
}

fn stamp(message: &mut [u8], number: usize) {
    let number = (number as u64).to_le_bytes();
    let end = message.len();
    message[..8].copy_from_slice(&number);
    message[end - 8..].copy_from_slice(&number);
}

fn check(buf: &[u8], size: usize, number: usize) {
    let number = (number as u64).to_le_bytes();
    assert!(buf.len() == size && buf[..8] == number && buf[size - 8..] == number, "a wrong message");
}

/// Until `attempt` has something.
fn spin<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        match attempt() {
            Some(value) => return value,
            None => spin_loop(),
        }
    }
}

impl Tx for ShmSender {
    fn send(&mut self, message: &[u8]) {
        ipc_core::Sender::send(self, message).expect("the other thread receives");
    }
}

/// Out of the ring by copying.
struct Copied(ShmReceiver, Vec<u8>);

impl Rx for Copied {
    fn recv(&mut self, look: impl FnOnce(&[u8])) {
        ipc_core::Receiver::recv(&mut self.0, &mut self.1).expect("the other thread sends");
        look(&self.1);
    }
}

/// Where they lie in the ring.
impl Rx for ShmReceiver {
    fn recv(&mut self, look: impl FnOnce(&[u8])) {
        look(&self.recv_ref(Wait::Forever).expect("the other thread sends"));
    }
}

fn copied(size: usize) -> (ShmSender, Copied) {
    let (tx, rx) = in_place(size);
    (tx, Copied(rx, Vec::with_capacity(size)))
}

fn in_place(size: usize) -> (ShmSender, ShmReceiver) {
    // A message may take half the ring, less its header.
    let capacity = QUEUE.max(4 * size);
    let options = ShmOptions {
        wait: Some(WaitPolicy::Spin),
        capacity: Some(capacity),
        hugepages: Some(capacity >= HUGE_PAGE),
        ..ShmOptions::default()
    };
    let pair = InProc::pair(&options).expect("a pair in this process");
    (pair.0.tx, pair.1.rx)
}

impl Tx for rtrb::Producer<u8> {
    fn send(&mut self, message: &[u8]) {
        spin(|| self.push_entire_slice(message).ok());
    }
}

/// Messages as long as the buffer.
struct Bytes(rtrb::Consumer<u8>, Vec<u8>);

impl Rx for Bytes {
    fn recv(&mut self, look: impl FnOnce(&[u8])) {
        spin(|| self.0.pop_entire_slice(&mut self.1).ok());
        look(&self.1);
    }
}

fn rtrb_bytes(size: usize) -> (rtrb::Producer<u8>, Bytes) {
    let (tx, rx) = rtrb::RingBuffer::new(QUEUE.max(2 * size));
    (tx, Bytes(rx, vec![0; size]))
}

// By the slice of one, which copies it once: `push` and `pop` move arrays through a result, a second time in each direction.
impl<const N: usize> Tx for rtrb::Producer<[u8; N]> {
    fn send(&mut self, message: &[u8]) {
        let message: &[u8; N] = message.try_into().expect("a message of the channel's size");
        spin(|| self.push_entire_slice(from_ref(message)).ok());
    }
}

/// Out of the ring by copying.
struct Arrays<const N: usize>(rtrb::Consumer<[u8; N]>, [u8; N]);

impl<const N: usize> Rx for Arrays<N> {
    fn recv(&mut self, look: impl FnOnce(&[u8])) {
        spin(|| self.0.pop_entire_slice(from_mut(&mut self.1)).ok());
        look(&self.1);
    }
}

/// Where they lie in the ring.
struct ArraysInPlace<const N: usize>(rtrb::Consumer<[u8; N]>);

impl<const N: usize> Rx for ArraysInPlace<N> {
    fn recv(&mut self, look: impl FnOnce(&[u8])) {
        while self.0.is_empty() {
            spin_loop();
        }
        let message = self.0.read_chunk(1).expect("nobody else takes one");
        let (first, _) = message.as_slices();
        look(&first[0]);
        message.commit_all();
    }
}

fn rtrb_arrays<const N: usize>(_: usize) -> (rtrb::Producer<[u8; N]>, Arrays<N>) {
    let (tx, rx) = rtrb::RingBuffer::new(QUEUE / N);
    (tx, Arrays(rx, [0; N]))
}

fn rtrb_arrays_in_place<const N: usize>(_: usize) -> (rtrb::Producer<[u8; N]>, ArraysInPlace<N>) {
    let (tx, rx) = rtrb::RingBuffer::new(QUEUE / N);
    (tx, ArraysInPlace(rx))
}

impl Tx for crossbeam_channel::Sender<Vec<u8>> {
    fn send(&mut self, message: &[u8]) {
        let mut message = Some(message.to_vec());
        spin(|| match self.try_send(message.take()?) {
            Ok(()) => Some(()),
            Err(error) => {
                message = Some(error.into_inner());
                None
            }
        });
    }
}

impl Rx for crossbeam_channel::Receiver<Vec<u8>> {
    fn recv(&mut self, look: impl FnOnce(&[u8])) {
        look(&spin(|| self.try_recv().ok()));
    }
}

impl Tx for kanal::Sender<Vec<u8>> {
    fn send(&mut self, message: &[u8]) {
        let mut message = Some(message.to_vec());
        spin(|| self.try_send_option(&mut message).expect("the other thread receives").then_some(()));
    }
}

impl Rx for kanal::Receiver<Vec<u8>> {
    fn recv(&mut self, look: impl FnOnce(&[u8])) {
        look(&spin(|| self.try_recv().expect("the other thread sends")));
    }
}

fn slots(size: usize) -> usize {
    (QUEUE / size).max(2)
}

/// A kind of channel, and which of ours it is held against: the one with as many copies.
struct Measured {
    name: &'static str,
    make: Make,
    ours: Option<usize>,
}

const KINDS: [Measured; 7] = [
    Measured { name: "inproc", make: |_| Some(Box::new(Kind(copied))), ours: None },
    Measured { name: "inproc, in place", make: |_| Some(Box::new(Kind(in_place))), ours: None },
    Measured { name: "rtrb", make: |_| Some(Box::new(Kind(rtrb_bytes))), ours: Some(0) },
    Measured {
        name: "rtrb-arrays",
        make: |size| match size {
            64 => Some(Box::new(Kind(rtrb_arrays::<64>))),
            1024 => Some(Box::new(Kind(rtrb_arrays::<1024>))),
            _ => None,
        },
        ours: Some(0),
    },
    Measured {
        name: "rtrb-arrays, in place",
        make: |size| match size {
            64 => Some(Box::new(Kind(rtrb_arrays_in_place::<64>))),
            1024 => Some(Box::new(Kind(rtrb_arrays_in_place::<1024>))),
            _ => None,
        },
        ours: Some(1),
    },
    Measured {
        name: "crossbeam",
        make: |_| Some(Box::new(Kind(|size| crossbeam_channel::bounded(slots(size))))),
        ours: Some(1),
    },
    Measured {
        name: "kanal",
        make: |_| Some(Box::new(Kind(|size| kanal::bounded(slots(size))))),
        ours: Some(1),
    },
];

pub fn main(mut args: impl Iterator<Item = String>) -> ExitCode {
    let rounds = match (args.next().as_deref(), args.next()) {
        (None, _) => 9,
        (Some("--rounds"), Some(count)) if count.parse().is_ok_and(|count: usize| count > 0) => {
            count.parse().unwrap_or(9)
        }
        _ => {
            eprintln!("usage: ipc-peers threads [--rounds N], N at least 1");
            return ExitCode::FAILURE;
        }
    };
    ratios::print_head();
    for size in SIZES {
        // About 20 ms each on a machine that copies 10 GB/s.
        let messages = (200_000_000 / size).clamp(200, 100_000);
        let made: Vec<_> = KINDS.iter().map(|kind| (kind.make)(size)).collect();
        let mut values = vec![[Vec::new(), Vec::new()]; made.len()];
        for _ in 0..rounds {
            for (kind, values) in made.iter().zip(&mut values) {
                let Some(kind) = kind else { continue };
                values[0].push(kind.round_trip(size, messages / 4));
                values[1].push(kind.stream(size, messages));
            }
        }
        for (mode, name) in ["rtt", "stream"].into_iter().enumerate() {
            for (kind, theirs) in KINDS.iter().zip(&values).filter(|(_, values)| !values[mode].is_empty()) {
                let Some(ours) = kind.ours else { continue };
                let both = format!("{} / {}", kind.name, KINDS[ours].name);
                ratios::print_row(&both, name, size, &theirs[mode], &values[ours][mode], "not measured");
            }
        }
    }
    println!("{}", ratios::FOOT);
    ExitCode::SUCCESS
}
