//! The receiving half of `shm`.
#![allow(
    unsafe_code,
    reason = "copies out of the peer's ring; lends it in place where the caller vouched for the peer"
)]

use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use ipc_core::{Armed, Interest, PeekReceiver, Pollable, Receiver, RecvError, Stats, Wait};

use super::Ring;
use crate::backing::{DATA, LINE, LINE_PAYLOAD, RECORD_HEADER, TWO_LINES, room_for};
use crate::half::{Half, HalfSite, wait_at};
use crate::memory::Memory;
use crate::ring::{Consumer, Corrupt, PART, Record, Shown};
use crate::waiting::{NoDoze, Site};

mod early;

/// Messages taken without waiting after which a reader has caught up with a writer at work.
const STREAK: u64 = 8;

/// How long such a reader does not look. Faster than its writer, it would look at the very line that is being written, and take
/// it away from the writer for every message (docs/performance.md, "shm").
const HOLD_BACK: Duration = Duration::from_nanos(600);

/// Longest message for which it does, 32 lines: longer ones lose by it.
const LONGEST_HELD_BACK: usize = 32 * LINE - RECORD_HEADER;

/// The receiving half of a shared-memory connection.
///
/// ```
/// use ipc_transports::{Receiver, Sender, Shm, Transport, Wait};
/// let (mut near, mut far) = Shm::pair(&Default::default())?;
/// for number in 1..=3 {
///     near.tx.send(&[number])?;
/// }
/// let mut sum = 0;
/// let taken = far.rx.recv_each(10, Wait::Forever, |message| sum += message[0])?;
/// assert_eq!((taken, sum), (3, 6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmReceiver {
    ring: Consumer<Memory>,
    half: Half,
    /// The peer changes no published byte: messages may be lent where they lie.
    trusted: bool,
    /// Room for one message, where an untrusted peer's are copied before they are lent.
    copy: Vec<u8>,
    /// The peer's sender was told that long messages are copied out while it writes them.
    copies_early: bool,
    /// Ring position at which the peer's sender was last looked after.
    rung_at: u64,
    /// Bytes of the last message that had to be waited for; the next one probably has as many.
    waited_for: usize,
    /// Messages taken before that wait.
    waited_at: u64,
    /// Bytes of ring to be freed before a sleeping sender is woken: it should find room for more than one message.
    ring_every: u64,
    stats: Stats,
}

impl ShmReceiver {
    pub(super) fn new(ring: Ring, half: Half, trusted: bool) -> Self {
        let capacity = ring.theirs.len() - DATA;
        let copy = if trusted { 0 } else { room_for(ring.max_message) };
        ShmReceiver {
            ring: Consumer::new(ring.ours, ring.theirs, capacity, ring.max_message),
            half,
            trusted,
            copy: Vec::with_capacity(copy),
            copies_early: false,
            rung_at: 0,
            waited_for: 0,
            waited_at: 0,
            ring_every: capacity as u64 / 8,
            stats: Stats::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn control(&self) -> &std::sync::Arc<crate::control::Control> {
        &self.half.control
    }

    /// The next message; waits for it.
    #[inline]
    fn next(&mut self, wait: Wait) -> Result<Record, RecvError> {
        if self.half.is_unusable() {
            return Err(self.half.recv_refusal());
        }
        match self.ring.look() {
            Ok(Some(record)) => Ok(record),
            Ok(None) => self.wait_for_record(wait),
            Err(corrupt) => Err(self.corrupt(corrupt)),
        }
    }

    #[cold]
    fn corrupt(&mut self, Corrupt(what): Corrupt) -> RecvError {
        self.half.corrupt(self.ring.ours(), self.ring.theirs(), &mut self.stats, what).into()
    }

    #[inline(never)]
    fn wait_for_record(&mut self, wait: Wait) -> Result<Record, RecvError> {
        self.before_waiting(wait);
        let mut seen = Shown::default();
        loop {
            wait_at(&mut ForRecord { rx: self, seen: seen.word }, wait)?;
            match self.ring.look() {
                Ok(Some(record)) => {
                    self.waited_for = record.len;
                    if record.len > PART {
                        self.say_copies_early(false);
                    }
                    return Ok(record);
                }
                Ok(None) => seen = self.not_yet(seen, wait)?,
                Err(corrupt) => return Err(self.corrupt(corrupt)),
            }
        }
    }

    fn before_waiting(&mut self, wait: Wait) {
        if self.rung_at != self.ring.position() {
            self.wake();
        }
        if self.waited_for <= LONGEST_HELD_BACK && self.stats.messages - self.waited_at >= STREAK {
            self.half.waiting.hold_back(HOLD_BACK, wait);
        }
        self.waited_at = self.stats.messages;
    }

    /// Copies `record` into `buf`, which is empty, and steps over it.
    #[inline(always)]
    fn take_into(&mut self, record: Record, buf: &mut Vec<u8>) {
        buf.reserve(room_for(record.len));
        // SAFETY: there is room for room_for(len) bytes, and `record` is the one just looked at.
        unsafe { self.ring.read(record, buf.as_mut_ptr()) };
        // SAFETY: `read` wrote at least `len` bytes.
        unsafe { buf.set_len(record.len) };
        self.consume(record);
    }

    /// Steps over `record` and frees its space.
    #[inline]
    fn consume(&mut self, record: Record) {
        self.ring.advance(record);
        self.stats.messages += 1;
        self.stats.bytes += record.len as u64;
        self.release();
    }

    #[inline]
    fn release(&mut self) {
        self.ring.release();
        if self.ring.position() - self.rung_at >= self.ring_every
            || self.half.waker.peer_polls(self.ring.theirs())
        {
            self.wake();
        }
    }

    /// Wakes the peer's sender if it sleeps.
    fn wake(&mut self) {
        self.rung_at = self.ring.position();
        self.half.wake_peer(self.ring.ours(), self.ring.theirs(), &mut self.stats);
    }

    /// The bytes of `record` where they lie.
    ///
    /// # Safety
    /// The peer does not change them as long as they are borrowed.
    #[inline]
    unsafe fn in_place(&self, record: Record) -> &[u8] {
        let start = self.ring.theirs().base().wrapping_add(DATA + record.at);
        // SAFETY: `look` checked that the record lies inside the mapping; the caller says that nobody changes it.
        unsafe { std::slice::from_raw_parts(start, record.len) }
    }

    /// Copies `record` into our own memory.
    #[inline]
    fn copied(&mut self, record: Record) -> &[u8] {
        self.copy.clear();
        // SAFETY: the buffer was made with the room that the longest message needs, and `look` refuses longer ones.
        unsafe { self.ring.read(record, self.copy.as_mut_ptr()) };
        // SAFETY: `read` wrote at least `len` bytes.
        unsafe { self.copy.set_len(record.len) };
        &self.copy
    }
}

impl Receiver for ShmReceiver {
    // Always, as `recv`: a call would cost short messages a tenth of their instructions.
    #[inline(always)]
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        buf.clear();
        if self.half.is_unusable() {
            return Err(self.half.recv_refusal());
        }
        match self.ring.look() {
            Ok(Some(record)) => {
                self.take_into(record, buf);
                Ok(record.len)
            }
            Ok(None) => self.recv_late(buf, wait),
            Err(corrupt) => Err(self.corrupt(corrupt)),
        }
    }

    #[inline]
    fn recv_each<F: FnMut(&[u8])>(
        &mut self,
        limit: usize,
        wait: Wait,
        mut each: F,
    ) -> Result<usize, RecvError> {
        if limit == 0 {
            return Ok(0);
        }
        let mut record = self.next(wait)?;
        let mut taken = 0;
        loop {
            self.ring.advance(record);
            self.stats.bytes += record.len as u64;
            if self.trusted {
                // SAFETY: the caller of `Trust::peer` vouched for it; the space is released below, after `each`.
                each(unsafe { self.in_place(record) });
            } else {
                each(self.copied(record));
            }
            taken += 1;
            if taken == limit {
                break;
            }
            if self.ring.position() - self.rung_at >= self.ring_every {
                self.release();
            }
            match self.ring.look() {
                Ok(Some(next)) => record = next,
                Ok(None) => break,
                Err(Corrupt(what)) => {
                    self.half.corrupt(self.ring.ours(), self.ring.theirs(), &mut self.stats, what);
                    break;
                }
            }
        }
        self.stats.messages += taken as u64;
        self.release();
        Ok(taken)
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl Drop for ShmReceiver {
    fn drop(&mut self) {
        self.half.leave(self.ring.ours(), self.ring.theirs(), &mut self.stats);
    }
}

/// Waiting for a message, or for more of the one whose commit word was `seen` while it is being written.
struct ForRecord<'a> {
    rx: &'a mut ShmReceiver,
    seen: u64,
}

impl Site for ForRecord<'_> {
    type Error = RecvError;

    #[inline]
    fn is_ready(&self) -> bool {
        let ready = self.rx.ring.has_changed(self.seen);
        if self.rx.waited_for > LINE_PAYLOAD && self.rx.waited_for <= TWO_LINES {
            self.rx.ring.prefetch_second_line();
        }
        ready
    }

    fn check(&mut self) -> Result<(), RecvError> {
        let ShmReceiver { ring, half, .. } = &mut *self.rx;
        half.check(ring.theirs(), || ring.is_ready())
    }

    fn check_peer(&mut self) -> Result<(), RecvError> {
        let ShmReceiver { ring, half, .. } = &mut *self.rx;
        half.check_peer(ring.theirs(), || ring.is_ready())
    }

    // Woken for a whole message, as everybody is.
    fn park(&mut self, slice: Duration) {
        let ShmReceiver { ring, half, stats, .. } = &mut *self.rx;
        half.park(ring.ours(), ring.theirs(), slice, stats, || ring.is_ready());
    }

    fn doze(&mut self, left: Option<Duration>) -> Result<bool, NoDoze> {
        let ShmReceiver { ring, half, stats, .. } = &mut *self.rx;
        half.doze(ring.ours(), ring.theirs(), left, stats, || ring.is_ready())
    }
}

impl HalfSite for ForRecord<'_> {
    const NOT_NOW: RecvError = RecvError::Empty;
    const TIMED_OUT: RecvError = RecvError::TimedOut;

    fn half(&mut self) -> (&mut Half, &mut Stats) {
        (&mut self.rx.half, &mut self.rx.stats)
    }
}

/// A received message, lent by [`PeekReceiver::take`]: in place where the peer is trusted, else a private copy.
///
/// ```
/// use ipc_transports::{PeekReceiver, Sender, Shm, Transport, Wait};
/// let (mut near, mut far) = Shm::pair(&Default::default())?;
/// near.tx.send(b"hello")?;
/// far.rx.ready(Wait::Forever)?;
/// if let Some(message) = far.rx.take() {
///     assert!(message.starts_with(b"hell"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmMessage<'a> {
    rx: &'a mut ShmReceiver,
    record: Record,
}

impl PeekReceiver for ShmReceiver {
    type Message<'a> = ShmMessage<'a>;

    #[inline]
    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        self.next(wait).map(|_| ())
    }

    #[inline]
    fn take(&mut self) -> Option<ShmMessage<'_>> {
        if self.half.is_unusable() {
            return None;
        }
        // Corrupt shows in the next `ready`, which looks at the same place.
        let record = self.ring.look().ok().flatten()?;
        if !self.trusted {
            self.copied(record);
        }
        Some(ShmMessage { rx: self, record })
    }
}

impl Deref for ShmMessage<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if self.rx.trusted {
            // SAFETY: the caller of `Trust::peer` vouched that the peer changes no published byte before it is released,
            // which is when `self` is dropped.
            return unsafe { self.rx.in_place(self.record) };
        }
        &self.rx.copy
    }
}

impl Drop for ShmMessage<'_> {
    #[inline]
    fn drop(&mut self) {
        self.rx.consume(self.record);
    }
}

impl Pollable for ShmReceiver {
    fn fd(&self) -> BorrowedFd<'_> {
        self.half.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        let ring = &self.ring;
        self.half.arm(ring.ours(), ring.theirs(), || ring.is_ready())
    }

    fn disarm(&mut self) {
        self.half.disarm(self.ring.ours());
    }
}
