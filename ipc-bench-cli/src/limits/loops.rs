//! The loops: one for round trips, one for streams, one for waiting; the same for a transport and for its limit.
//!
//! ```text
//!  0         8                                     size - 8
//!  +---------+-----------------------------------+---------+
//!  | marks   | body, the same in every message   | marks   |      copied messages
//!  +---------+-----------------------------------+---------+
//!  | marks   | marks, again and again                      |      messages written and read where they lie
//!  +---------+---------------------------------------------+
//!    marks:  bit 63 the last message of all · bit 62 an answer is wanted · bits 61–0 sequence number
//! ```
//! Both ends of every message are checked, the whole body of every 64th and of the last; in place, every word.

use std::io::{self, IoSlice};
use std::time::Duration;

use ipc_results::Recorder;
use serde::{Deserialize, Serialize};

use super::carrier::Carrier;
use crate::clock::now_ns;
use crate::os;

const LAST: u64 = 1 << 63;
const ANSWER: u64 = 1 << 62;

/// Messages between two looks at a whole body.
const INSPECTED: u64 = 64;

/// Bytes between two clock reads of the sender of a stream: a read costs as much as copying a kilobyte.
const STRIDE_BYTES: usize = 64 << 10;

/// What one trial does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shape {
    /// Round trips, with so long between one's end and the next one's start.
    RoundTrip { gap: Duration },
    /// One way, so many messages per call.
    Stream { batch: usize },
    /// One way, written and read where the messages lie.
    InPlace,
    /// Nothing, after a first message: the server waits for another, which comes when the time is up.
    Idle,
}

/// One trial, the same for both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) shape: Shape,
    /// Bytes per message, at least 8.
    pub(super) size: usize,
    /// Of the measured part; a fifth of it precedes it as warm-up.
    pub(super) length: Duration,
}

/// What one trial gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) p50_ns: f64,
    /// `None` where the trial was too short to know it.
    pub(super) p99_ns: Option<f64>,
    pub(super) msgs_per_s: f64,
    /// Times per second that the waiting process went to sleep again.
    pub(super) wakeups_per_s: f64,
}

/// The side that measures.
pub(super) fn client(end: &mut impl Carrier, work: &Work) -> io::Result<Figures> {
    match work.shape {
        Shape::RoundTrip { gap } => round_trips(end, work, gap),
        Shape::Stream { batch } => stream(end, work, batch),
        Shape::InPlace => stream_in_place(end, work),
        Shape::Idle => {
            end.send(&body(work.size, 0))?;
            // Not a wait for an event: the time in which nothing happens is what is measured.
            std::thread::park_timeout(work.length);
            end.send(&body(work.size, LAST))?;
            let mut buf = Vec::new();
            end.recv(&mut buf)?;
            let rate = buf.first_chunk().map_or(f64::NAN, |bits| f64::from_le_bytes(*bits));
            Ok(Figures { wakeups_per_s: rate, ..Figures::default() })
        }
    }
}

/// The other side.
pub(super) fn server(end: &mut impl Carrier, work: &Work) -> io::Result<()> {
    match work.shape {
        Shape::RoundTrip { .. } => echo(end, work),
        Shape::Stream { batch } => drain(end, work, batch),
        Shape::InPlace => drain_in_place(end, work),
        Shape::Idle => {
            let mut buf = Vec::new();
            // Who has this has read what came before it: the kernel wakes whoever sleeps at a Unix socket when the peer
            // takes the answer to its greeting, since that makes room to send.
            end.recv(&mut buf)?;
            let (before, start) = (os::cpu_use()?, now_ns());
            end.recv(&mut buf)?;
            let slept = os::difference(os::cpu_use()?, before).vcsw;
            // The last sleep ended with the message.
            let rate = slept.saturating_sub(1) as f64 * 1e9 / (now_ns() - start) as f64;
            let mut answer = body(work.size, LAST);
            answer[..8].copy_from_slice(&rate.to_le_bytes());
            end.send(&answer)
        }
    }
}

/// A message whose body differs from byte to byte.
fn body(size: usize, marks: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size).map(|at| (at * 7 + at / 256 + 1) as u8).collect();
    stamp(&mut bytes, marks);
    bytes
}

#[inline]
fn stamp(message: &mut [u8], marks: u64) {
    let bytes = marks.to_le_bytes();
    if let Some(last) = message.last_chunk_mut() {
        *last = bytes;
    }
    if let Some(first) = message.first_chunk_mut() {
        *first = bytes;
    }
}

/// What a receiver expects next.
struct Expected {
    body: Vec<u8>,
    sequence: u64,
}

impl Expected {
    fn new(size: usize) -> Expected {
        Expected { body: body(size, 0), sequence: 0 }
    }

    /// The marks of the next message, if that is what `message` is.
    #[inline]
    fn check(&mut self, message: &[u8]) -> io::Result<u64> {
        let ends = message.first_chunk().zip(message.last_chunk());
        let (first, last) =
            ends.map_or((0, 1), |(first, last)| (u64::from_le_bytes(*first), u64::from_le_bytes(*last)));
        if first & !(LAST | ANSWER) != self.sequence || first != last || message.len() != self.body.len() {
            return Err(flaw(self.sequence, message.len(), first));
        }
        if self.sequence % INSPECTED == INSPECTED - 1 || first & LAST != 0 {
            let inner = 8..message.len().saturating_sub(8).max(8);
            if message.get(inner.clone()) != self.body.get(inner) {
                return Err(flaw(self.sequence, message.len(), first));
            }
        }
        self.sequence += 1;
        Ok(first)
    }
}

#[cold]
fn flaw(expected: u64, len: usize, found: u64) -> io::Error {
    let text =
        format!("message {expected} was due; {len} bytes with marks {found:#x} or a changed body arrived");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Round trips that a trial has at least, however short or disturbed it is: a median has ten on either side.
const FEWEST: u64 = 20;

fn round_trips(end: &mut impl Carrier, work: &Work, gap: Duration) -> io::Result<Figures> {
    let (mut out, mut expected) = (body(work.size, 0), Expected::new(work.size));
    let mut buf = Vec::with_capacity(work.size);
    let mut latency = Recorder::new();
    let (gap, length) = (gap.as_nanos() as u64, work.length.as_nanos() as u64);
    let (mut sequence, mut messages) = (0, 0u64);
    let started = now_ns();
    let (warm, over) = (started + length / 5, started + length / 5 + length);
    let (mut t0, mut since) = (started, None);
    loop {
        let last = t0 >= over && since.is_some() && messages >= FEWEST;
        stamp(&mut out, sequence | if last { LAST } else { 0 });
        end.send(&out)?;
        end.recv(&mut buf)?;
        let t1 = now_ns();
        latency.record(t1 - t0);
        messages += 1;
        let inspected = sequence % INSPECTED == INSPECTED - 1;
        expected.check(&buf)?;
        sequence += 1;
        t0 = t1;
        if last {
            let p = |percent| latency.percentile_ns(percent).map(|ns| ns as f64);
            let p50_ns = p(50.0).ok_or_else(|| io::Error::other("too few round trips for a median"))?;
            let elapsed = t1 - since.unwrap_or(started);
            let msgs_per_s = messages as f64 * 1e9 / elapsed as f64;
            return Ok(Figures { p50_ns, p99_ns: p(99.0), msgs_per_s, ..Figures::default() });
        }
        if since.is_none() && t1 >= warm {
            latency.clear();
            (messages, since) = (0, Some(t1));
        }
        if gap != 0 {
            // Busy: a side that slept here would measure its own waking.
            while now_ns() < t1 + gap {
                std::hint::spin_loop();
            }
        }
        if inspected || gap != 0 {
            t0 = now_ns();
        }
    }
}

fn echo(end: &mut impl Carrier, work: &Work) -> io::Result<()> {
    let mut expected = Expected::new(work.size);
    let mut buf = Vec::with_capacity(work.size);
    loop {
        end.recv(&mut buf)?;
        end.send(&buf)?;
        if expected.check(&buf)? & LAST != 0 {
            return Ok(());
        }
    }
}

/// Sends for a while, then one message that wants an answer: first as warm-up, then measured.
fn stream(end: &mut impl Carrier, work: &Work, batch: usize) -> io::Result<Figures> {
    let mut out: Vec<Vec<u8>> = (0..batch).map(|_| body(work.size, 0)).collect();
    let mut answer = Expected::new(work.size);
    let mut buf = Vec::with_capacity(work.size);
    let calls = (STRIDE_BYTES / work.size / batch).clamp(1, 64);
    let mut sequence = 0;
    let mut rate = 0.0;
    for (length, flags) in [(work.length / 5, ANSWER), (work.length, ANSWER | LAST)] {
        let (start, first) = (now_ns(), sequence);
        let over = start + length.as_nanos() as u64;
        while now_ns() < over {
            for _ in 0..calls {
                for message in &mut out {
                    stamp(message, sequence);
                    sequence += 1;
                }
                if let [one] = &out[..] {
                    end.send(one)?;
                } else {
                    send_all(end, &out)?;
                }
            }
        }
        stamp(&mut out[0], sequence | flags);
        sequence += 1;
        end.send(&out[0])?;
        end.flush()?;
        end.recv(&mut buf)?;
        rate = (sequence - first) as f64 * 1e9 / (now_ns() - start) as f64;
        answer.check(&buf)?;
    }
    Ok(Figures { msgs_per_s: rate, ..Figures::default() })
}

/// Longest batch of a row.
const MOST: usize = 32;

#[inline]
fn send_all(end: &mut impl Carrier, messages: &[Vec<u8>]) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); MOST];
    for (slice, message) in slices.iter_mut().zip(messages) {
        *slice = IoSlice::new(message);
    }
    end.send_batch(&slices[..messages.len().min(MOST)])
}

fn drain(end: &mut impl Carrier, work: &Work, batch: usize) -> io::Result<()> {
    let mut expected = Expected::new(work.size);
    let mut buf = Vec::with_capacity(work.size);
    let (mut answers, mut out) = (0, body(work.size, 0));
    loop {
        let mut marks = 0;
        if batch == 1 {
            end.recv(&mut buf)?;
            marks = expected.check(&buf)?;
        } else {
            let mut wrong = None;
            end.recv_each(batch, |message| match expected.check(message) {
                Ok(found) => marks |= found,
                Err(error) => wrong = Some(error),
            })?;
            wrong.map_or(Ok(()), Err)?;
        }
        if marks & ANSWER != 0 {
            stamp(&mut out, answers);
            answers += 1;
            end.send(&out)?;
            end.flush()?;
            if marks & LAST != 0 {
                return Ok(());
            }
        }
    }
}

/// Writes `marks` over the whole message.
#[inline]
fn fill(message: &mut [u8], marks: u64) {
    for word in message.as_chunks_mut::<8>().0 {
        *word = marks.to_le_bytes();
    }
}

fn stream_in_place(end: &mut impl Carrier, work: &Work) -> io::Result<Figures> {
    let calls = (STRIDE_BYTES / work.size).clamp(1, 64);
    let mut sequence = 0;
    let mut rate = 0.0;
    for (length, flags) in [(work.length / 5, ANSWER), (work.length, ANSWER | LAST)] {
        let (start, first) = (now_ns(), sequence);
        let over = start + length.as_nanos() as u64;
        while now_ns() < over {
            for _ in 0..calls {
                end.send_in_place(work.size, |message| fill(message, sequence))?;
                sequence += 1;
            }
        }
        end.send_in_place(work.size, |message| fill(message, sequence | flags))?;
        sequence += 1;
        end.flush()?;
        end.recv_in_place(|_| {})?;
        rate = (sequence - first) as f64 * 1e9 / (now_ns() - start) as f64;
    }
    Ok(Figures { msgs_per_s: rate, ..Figures::default() })
}

fn drain_in_place(end: &mut impl Carrier, work: &Work) -> io::Result<()> {
    let mut sequence = 0;
    loop {
        let (mut marks, mut right) = (0, false);
        end.recv_in_place(|message| {
            marks = message.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            // Collected instead of returned at once, so that the compiler can compare many words per instruction.
            let differing = message
                .as_chunks::<8>()
                .0
                .iter()
                .fold(0, |all, word| all | (u64::from_le_bytes(*word) ^ marks));
            right = differing == 0 && message.len() == work.size;
        })?;
        if !right || marks & !(LAST | ANSWER) != sequence {
            return Err(flaw(sequence, work.size, marks));
        }
        sequence += 1;
        if marks & ANSWER != 0 {
            end.send_in_place(work.size, |message| fill(message, 0))?;
            end.flush()?;
            if marks & LAST != 0 {
                return Ok(());
            }
        }
    }
}
