//! The sending half of `shm`.
#![allow(unsafe_code, reason = "writes in place into its own ring")]

use std::io::IoSlice;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ipc_core::{Armed, Interest, Loan, LoanSender, Pollable, SendError, Sender, Stats, Wait};

use super::Ring;
use super::copying::Copying;
use crate::backing::{DATA, LINE, PIECE};
use crate::half::{Broken, Half, HalfSite, wait_at};
use crate::memory::Memory;
use crate::ring::{Batch, Corrupt, PART, Producer, Space};
use crate::waiting::{NoDoze, Site};

/// Bytes of ring and of the next message with which a batch is published before that one: the receiver should not wait for the last
/// message before it can begin with the first, and a message that shows while it is written has nothing before it that is held back.
const PUBLISH_AFTER: u64 = PART as u64;

/// How long a sender that has found the ring full does not look for room, at most. Whoever looks takes away the line in which the
/// receiver says how far it has come, for every message if the receiver is the slower one (docs/performance.md, "shm").
const HOLD_BACK: Duration = Duration::from_micros(3);

/// The same per line of a small ring, which should not run empty meanwhile: to copy a line out takes several.
const HOLD_BACK_PER_LINE: Duration = Duration::from_nanos(1);

/// Longest message for which it does: of 16 KiB and more as many pass with as without.
const LONGEST_HELD_BACK: usize = 8 * 1024;

/// The sending half of a shared-memory connection.
///
/// ```
/// use ipc_transports::{Loan, LoanSender, PeekReceiver, Shm, Transport, Wait};
/// let (mut near, mut far) = Shm::pair(&Default::default())?;
/// let mut loan = near.tx.loan(4, Wait::Forever)?;
/// loan.copy_from_slice(b"ring");
/// loan.commit()?;
/// assert_eq!(&*far.rx.recv_ref(Wait::Forever)?, b"ring");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmSender {
    ring: Producer<Memory>,
    max_message: usize,
    half: Half,
    copying: Copying,
    /// [`HOLD_BACK`], of a small ring less.
    hold_back: Duration,
    stats: Stats,
}

impl ShmSender {
    pub(super) fn new(ring: Ring, half: Half) -> Self {
        let capacity = ring.ours.len() - DATA;
        ShmSender {
            ring: Producer::new(ring.ours, ring.theirs, capacity).show_every(PART),
            max_message: ring.max_message,
            half,
            copying: Copying::new(),
            hold_back: (HOLD_BACK_PER_LINE * (capacity / LINE) as u32).min(HOLD_BACK),
            stats: Stats::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn ring(&mut self) -> &mut Producer<Memory> {
        &mut self.ring
    }

    /// Room for a message of `len` bytes.
    #[inline]
    fn space(&mut self, len: usize, wait: Wait) -> Result<Space, SendError> {
        match self.free_space(len) {
            Some(space) => Ok(space),
            None => self.wait_for_space(len, wait),
        }
    }

    /// Room for a message of `len` bytes that is there as far as we know, if nothing is against sending one.
    #[inline]
    fn free_space(&mut self, len: usize) -> Option<Space> {
        if self.refuses(len) {
            return None;
        }
        self.ring.reserve(len)
    }

    /// Copies `message` into a record and publishes it.
    #[inline]
    fn send_one(&mut self, message: &[u8], wait: Wait) -> Result<(), SendError> {
        match self.free_space(message.len()) {
            Some(space) => {
                self.put(space, message);
                Ok(())
            }
            None => self.send_late(message, wait),
        }
    }

    /// [`send_one`](ShmSender::send_one) where that is not to be had at once. Apart from it to the end: where both met again, the
    /// place of every message would pass through memory.
    #[cold]
    #[inline(never)]
    fn send_late(&mut self, message: &[u8], wait: Wait) -> Result<(), SendError> {
        let space = self.wait_for_space(message.len(), wait)?;
        self.put(space, message);
        Ok(())
    }

    #[inline(always)]
    fn put(&mut self, space: Space, message: &[u8]) {
        self.ring.ask_for(space, message.len());
        // SAFETY: the callers reserved `space` for just this length.
        unsafe { self.ring.write(space, 0, message) };
        self.commit_copy(space, message.len());
    }

    /// Whether a message of `len` bytes is not to be sent, whatever room there is; [`refusal`](ShmSender::refusal) says why.
    #[inline(always)]
    fn refuses(&self, len: usize) -> bool {
        self.half.is_unusable() || len > self.max_message || self.half.waker.peer_left(self.ring.theirs())
    }

    #[cold]
    fn refusal(&mut self, len: usize) -> SendError {
        if self.half.owner.is_forked() {
            return SendError::Forked;
        }
        if len > self.max_message {
            return SendError::TooLong { len, max: self.max_message };
        }
        self.half.breaks(Broken::Closed).into()
    }

    #[cold]
    fn wait_for_space(&mut self, len: usize, wait: Wait) -> Result<Space, SendError> {
        if self.refuses(len) {
            return Err(self.refusal(len));
        }
        if let Some(space) = self.refreshed(len)? {
            return Ok(space);
        }
        if wait != Wait::Never {
            self.stats.full_waits += 1;
        }
        if len <= LONGEST_HELD_BACK {
            self.half.waiting.hold_back(self.hold_back, wait);
        }
        loop {
            wait_at(&mut ForSpace { tx: self, len }, wait)?;
            if let Some(space) = self.refreshed(len)? {
                return Ok(space);
            }
        }
    }

    fn refreshed(&mut self, len: usize) -> Result<Option<Space>, SendError> {
        match self.ring.refresh() {
            Ok(_) => Ok(self.ring.reserve(len)),
            Err(Corrupt(what)) => {
                Err(self.half.corrupt(self.ring.ours(), self.ring.theirs(), &mut self.stats, what).into())
            }
        }
    }

    // Always: of its two calls in `send_with` the compiler would make calls, 13 instructions per message.
    #[inline(always)]
    fn commit(&mut self, space: Space, len: usize) {
        self.ring.commit(space, len);
        self.stats.messages += 1;
        self.stats.bytes += len as u64;
        self.wake();
        self.ring.prepare(len);
        self.ring.ask_for_next(len);
    }

    /// Publishes a message that was copied in.
    #[inline(always)]
    fn commit_copy(&mut self, space: Space, len: usize) {
        self.commit(space, len);
        if len > PIECE {
            self.count(len, len);
        }
    }

    /// Counts a call that has copied in `bytes`, in messages the first of which has `len`, more than [`PIECE`].
    fn count(&mut self, len: usize, bytes: usize) {
        if self.copying.ends_with(len, bytes) {
            self.ring.copy_in_pieces(self.copying.turn(Instant::now()));
        }
    }

    /// Wakes the peer's receiver if it sleeps.
    #[inline]
    fn wake(&mut self) {
        self.half.wake_peer(self.ring.ours(), self.ring.theirs(), &mut self.stats);
    }
}

impl Sender for ShmSender {
    #[inline]
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        if let [message] = parts {
            return self.send_one(message, wait);
        }
        let len = parts.iter().map(|part| part.len()).sum();
        let space = self.space(len, wait)?;
        self.ring.ask_for(space, len);
        let mut at = 0;
        for part in parts {
            // SAFETY: at + part.len() ≤ len, for which `space` was reserved.
            unsafe { self.ring.write(space, at, part) };
            at += part.len();
        }
        self.commit_copy(space, len);
        Ok(())
    }

    #[inline]
    fn send_batch(&mut self, messages: &[IoSlice<'_>], wait: Wait) -> Result<usize, SendError> {
        let Some(first) = messages.first() else { return Ok(0) };
        let mut space = self.space(first.len(), wait)?;
        let mut batch = Batch::default();
        let mut taken = 0;
        loop {
            let message = &messages[taken];
            // SAFETY: `space` was reserved for just this length.
            unsafe { self.ring.write(space, 0, message) };
            self.ring.stage(&mut batch, space, message.len());
            self.stats.bytes += message.len() as u64;
            taken += 1;
            let Some(next) = messages.get(taken) else { break };
            if next.len() > self.max_message {
                break;
            }
            if batch.bytes() + next.len() as u64 >= PUBLISH_AFTER {
                self.ring.publish(std::mem::take(&mut batch));
                self.wake();
            }
            match self.ring.reserve_behind(next.len()) {
                Some(found) => space = found,
                None => match self.refreshed(next.len()) {
                    Ok(Some(found)) => space = found,
                    // Full, or a failure that is kept for the next call.
                    _ => break,
                },
            }
        }
        self.ring.publish(batch);
        if first.len() > PIECE {
            self.count(first.len(), messages[..taken].iter().map(|message| message.len()).sum());
        }
        self.stats.messages += taken as u64;
        self.wake();
        Ok(taken)
    }

    #[inline]
    fn max_message(&self) -> usize {
        self.max_message
    }

    fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.max_occupancy_bytes = self.ring.max_occupancy();
        stats
    }
}

impl Drop for ShmSender {
    fn drop(&mut self) {
        self.half.leave(self.ring.ours(), self.ring.theirs(), &mut self.stats);
    }
}

/// Waiting for room.
struct ForSpace<'a> {
    tx: &'a mut ShmSender,
    len: usize,
}

impl Site for ForSpace<'_> {
    type Error = SendError;

    #[inline]
    fn is_ready(&self) -> bool {
        self.tx.ring.has_room(self.len)
    }

    fn check(&mut self) -> Result<(), SendError> {
        // Room is no reason to send to who is gone.
        self.tx.half.check(self.tx.ring.theirs(), || false)
    }

    fn check_peer(&mut self) -> Result<(), SendError> {
        self.tx.half.check_peer(self.tx.ring.theirs(), || false)
    }

    fn park(&mut self, slice: Duration) {
        let (ShmSender { ring, half, stats, .. }, len) = (&mut *self.tx, self.len);
        half.park(ring.ours(), ring.theirs(), slice, stats, || ring.has_room(len));
    }

    fn doze(&mut self, left: Option<Duration>) -> Result<bool, NoDoze> {
        let (ShmSender { ring, half, stats, .. }, len) = (&mut *self.tx, self.len);
        half.doze(ring.ours(), ring.theirs(), left, stats, || ring.has_room(len))
    }
}

impl HalfSite for ForSpace<'_> {
    const NOT_NOW: SendError = SendError::Full;
    const TIMED_OUT: SendError = SendError::TimedOut;

    fn half(&mut self) -> (&mut Half, &mut Stats) {
        (&mut self.tx.half, &mut self.tx.stats)
    }
}

/// Space in the ring for one message, lent by [`LoanSender::loan`].
///
/// ```
/// use ipc_transports::{Loan, LoanSender, PeekReceiver, Shm, Transport, Wait};
/// let (mut near, mut far) = Shm::pair(&Default::default())?;
/// let mut loan = near.tx.loan(1024, Wait::Forever)?;
/// loan[..5].copy_from_slice(b"short");
/// // Less than was asked for; the rest of the space is free again.
/// loan.commit_len(5)?;
/// assert_eq!(&*far.rx.recv_ref(Wait::Forever)?, b"short");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmLoan<'a> {
    tx: &'a mut ShmSender,
    space: Space,
    len: usize,
}

impl LoanSender for ShmSender {
    type Loan<'a> = ShmLoan<'a>;

    #[inline]
    fn loan(&mut self, len: usize, wait: Wait) -> Result<ShmLoan<'_>, SendError> {
        let space = self.space(len, wait)?;
        self.ring.ask_for(space, len);
        Ok(ShmLoan { tx: self, space, len })
    }
}

impl ShmLoan<'_> {
    #[inline]
    fn start(&self) -> *mut u8 {
        self.tx.ring.ours().base().wrapping_add(DATA + self.tx.ring.payload_offset(self.space))
    }
}

impl Deref for ShmLoan<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `space` has `len` bytes inside our own mapping, initialised since the memory began as zeros; only we
        // write them (the peer's mapping is read-only and sealed so, or the caller of `Trust::mutual` vouched for it), and the
        // borrow of `tx` keeps us from it.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl DerefMut for ShmLoan<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the record is not published, so the peer has no business reading it.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Loan for ShmLoan<'_> {
    #[inline]
    fn commit(self) -> Result<(), SendError> {
        let len = self.len;
        self.commit_len(len)
    }

    #[inline]
    fn commit_len(self, len: usize) -> Result<(), SendError> {
        if len > self.len {
            return Err(SendError::TooLong { len, max: self.len });
        }
        if self.tx.half.waker.peer_left(self.tx.ring.theirs()) {
            return Err(self.tx.refusal(len));
        }
        self.tx.commit(self.space, len);
        Ok(())
    }
}

impl Pollable for ShmSender {
    fn fd(&self) -> BorrowedFd<'_> {
        self.half.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        let ring = &self.ring;
        // A loop that waits for room does not say for how much: some progress is what there is to wait for.
        self.half.arm(ring.ours(), ring.theirs(), || ring.theirs_moved())
    }

    fn disarm(&mut self) {
        self.half.disarm(self.ring.ours());
    }
}
