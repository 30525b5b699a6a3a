//! The reading end of a broadcast.
#![allow(
    unsafe_code,
    reason = "copies out of the writer's ring; lends it in place where the caller vouched for the writer"
)]

use std::ops::Deref;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ipc_core::hello::{Agreed, Hello};
use ipc_core::{Armed, Interest, PeekReceiver, PeerInfo, Pollable, Receiver, RecvError, Stats, Wait};

use super::joining::Side;
use super::{Join, NUMBER, Settings, SlowReader};
use crate::atomics::{Ordering, fence};
use crate::backing::{Backing, DATA, Word, room_for};
use crate::bell::{Sleeper, Waker};
use crate::control::Control;
use crate::half::{Broken, Half, HalfSite, wait_at};
use crate::memory::Memory;
use crate::ring::{Consumer, Corrupt, Record, longest_message};
use crate::ring_setup::barrier;
use crate::waiting::{Site, Waiting};

/// Times one look starts again because the writer was faster. A hostile writer could always be.
const TRIES: usize = 64;

/// The reading end of a broadcast: a [`Receiver`] of what its writer sends.
///
/// Under [`SlowReader::Drop`] and [`SlowReader::Latest`] messages may be [`missed`](Reader::missed), but those received
/// are whole, once and in order.
///
/// ```
/// use ipc_transports::broadcast::{BroadcastOptions, Reader};
/// use ipc_transports::{Receiver, RecvError, SetupError, Wait};
/// fn print_all(from: &str) -> Result<(), Box<dyn std::error::Error>> {
///     let mut reader = Reader::connect(&from.parse()?, &BroadcastOptions::default(), Wait::Forever)?;
///     let mut message = Vec::new();
///     loop {
///         match reader.recv(&mut message) {
///             Ok(_) => println!("{}", String::from_utf8_lossy(&message)),
///             Err(RecvError::Closed) => return Ok(()),
///             Err(error) => return Err(error.into()),
///         }
///     }
/// }
/// # assert!(print_all("broadcast:nobody-writes-here").is_err());
/// ```
#[derive(Debug)]
pub struct Reader {
    ring: Consumer<Memory>,
    half: Half,
    slow: SlowReader,
    /// The writer changes no published byte: messages may be lent where they lie.
    in_place: bool,
    /// Where messages are copied before they are lent.
    copy: Vec<u8>,
    /// Number of the next message, if none is missed.
    number: u64,
    missed: u64,
    /// Ring position at which the writer was last looked after.
    rung_at: u64,
    /// Bytes of ring to be freed before a sleeping writer is woken: it should find room for more than one message.
    ring_every: u64,
    peer: PeerInfo,
    max_message: usize,
    stats: Stats,
}

impl Reader {
    #[expect(clippy::too_many_arguments, reason = "what the two ways to become a reader have in common")]
    pub(super) fn new(
        settings: &Settings,
        side: Side,
        memory: Memory,
        their_event: Arc<OwnedFd>,
        theirs: &Hello,
        agreed: &Agreed,
        join: Join,
        control: Control,
        peer: PeerInfo,
    ) -> Reader {
        let capacity = memory.len() - DATA;
        let max_message =
            usize::try_from(agreed.max_message).unwrap_or(usize::MAX).min(longest_message(capacity) - NUMBER);
        let barrier = barrier(&side.hello, theirs);
        // From now on the writer counts from here; until now it took us to be where it let us in.
        side.memory.store_consumed(join.position);
        let mut ring = Consumer::new(side.memory, memory, capacity, max_message + NUMBER);
        // A position inside a line shows as corrupt at the first look.
        let broken = ring.jump(join.position).err().map(|Corrupt(what)| Broken::Corrupt(what));
        let mut half = Half::new(
            Sleeper::new(Word::RxState, Word::TxBell, barrier),
            Waker::new(Word::RxBell, Word::TxState, barrier, Some(their_event)),
            Waiting::new(settings.wait, agreed.share_one_cpu),
            Arc::new(control),
            side.event,
        );
        half.broken = broken;
        Reader {
            ring,
            half,
            slow: join.slow,
            in_place: settings.trusted && join.slow == SlowReader::Wait,
            copy: Vec::new(),
            number: join.number,
            missed: 0,
            rung_at: join.position,
            ring_every: capacity as u64 / 8,
            peer,
            max_message,
            stats: Stats::default(),
        }
    }

    /// Messages sent since this reader was let in that it did not get and will not get, counted when a later one was
    /// received. Always zero under [`SlowReader::Wait`].
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// What the writer does about readers that do not keep up.
    pub fn slow(&self) -> SlowReader {
        self.slow
    }

    /// Who the writer is.
    pub fn peer(&self) -> PeerInfo {
        self.peer
    }

    #[cfg(test)]
    pub(super) fn lie(&self, position: u64) {
        self.ring.ours().store_consumed(position);
    }

    /// Longest message in bytes that may come.
    pub fn max_message(&self) -> usize {
        self.max_message
    }

    /// The next message there is, under the policy; consumes what the policy skips.
    #[inline]
    fn look(&mut self) -> Result<Option<Record>, Corrupt> {
        if self.slow == SlowReader::Wait {
            return self.ring.look().and_then(numbered);
        }
        for _ in 0..TRIES {
            if self.slow == SlowReader::Latest {
                self.skip_to(self.ring.theirs().newest())?;
            }
            let found = self.ring.look();
            // After the look: what it found is good only if it was not given up before.
            if !self.skip_to(self.ring.theirs().consumed())? {
                return found.and_then(numbered);
            }
        }
        Ok(None)
    }

    /// Goes on at `position` if that is ahead; true if it is.
    fn skip_to(&mut self, position: u64) -> Result<bool, Corrupt> {
        if position <= self.ring.position() {
            return Ok(false);
        }
        self.ring.jump(position)?;
        Ok(true)
    }

    /// Copies `record` to `to`, message and number; false if the writer has overwritten it meanwhile.
    ///
    /// # Safety
    /// `to` has room for `room_for(record.len)` bytes; `record` is the one last looked at.
    #[inline]
    unsafe fn copied_whole(&self, record: Record, to: *mut u8) -> bool {
        // SAFETY: the caller's contract.
        unsafe { self.ring.read(record, to) };
        if self.slow == SlowReader::Wait {
            return true;
        }
        // Acquire: pairs with the Release fence in Producer::give_up_for. A byte of a later message in the copy means
        // that its place had been given up before, and then this sees it.
        fence(Ordering::Acquire);
        self.ring.theirs().consumed() <= self.ring.position()
    }

    /// Copies `record`, the one just looked at, into `buf` and steps over it; false: it is overwritten.
    #[inline]
    fn take_into(&mut self, buf: &mut Vec<u8>, record: Record) -> bool {
        buf.clear();
        buf.reserve(room_for(record.len));
        // SAFETY: there is room for room_for(len) bytes, and `record` is the one just looked at.
        if !unsafe { self.copied_whole(record, buf.as_mut_ptr()) } {
            return false;
        }
        // SAFETY: `read` wrote at least `len` bytes.
        unsafe { buf.set_len(record.len) };
        let number = number_of(buf);
        buf.truncate(record.len - NUMBER);
        self.count(number, buf.len());
        self.ring.advance(record);
        true
    }

    /// Counts a message of `len` bytes that was received, and those missed before it.
    #[inline]
    fn count(&mut self, number: u64, len: usize) {
        self.missed += number.saturating_sub(self.number);
        self.number = number.wrapping_add(1);
        self.stats.messages += 1;
        self.stats.bytes += len as u64;
    }

    #[inline]
    fn next(&mut self, wait: Wait) -> Result<Record, RecvError> {
        if self.half.is_unusable() {
            return Err(self.half.recv_refusal());
        }
        match self.look() {
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
        if self.rung_at != self.ring.position() {
            self.wake();
        }
        loop {
            wait_at(&mut ForRecord(self), wait)?;
            match self.look() {
                Ok(Some(record)) => return Ok(record),
                // The writer is faster than we can look, time after time.
                Ok(None) if wait == Wait::Never => return Err(RecvError::Empty),
                Ok(None) if wait.is_over() => return Err(RecvError::TimedOut),
                Ok(None) => {}
                Err(corrupt) => return Err(self.corrupt(corrupt)),
            }
        }
    }

    /// Tells the writer what may be overwritten, if it waits for that.
    #[inline]
    fn release(&mut self) {
        if self.slow != SlowReader::Wait {
            return;
        }
        self.ring.release();
        if self.ring.position() - self.rung_at >= self.ring_every
            || self.half.waker.peer_polls(self.ring.theirs())
        {
            self.wake();
        }
    }

    /// Wakes the writer if it sleeps.
    fn wake(&mut self) {
        self.rung_at = self.ring.position();
        self.half.wake_peer(self.ring.ours(), self.ring.theirs(), &mut self.stats);
    }

    /// The message of `record` where it lies.
    ///
    /// # Safety
    /// The writer does not change it as long as it is borrowed.
    #[inline]
    unsafe fn lent(&self, record: Record) -> &[u8] {
        let start = self.ring.theirs().base().wrapping_add(DATA + record.at);
        // SAFETY: `look` checked that the record lies inside the mapping; the caller says that nobody changes it.
        unsafe { std::slice::from_raw_parts(start, record.len - NUMBER) }
    }

    /// The number of the message in `record`.
    fn number_at(&self, record: Record) -> u64 {
        let at = self.ring.theirs().base().wrapping_add(DATA + record.at + record.len - NUMBER);
        // SAFETY: the last bytes of a record that `look` checked to lie inside the mapping; copied raw.
        unsafe { at.cast::<u64>().read_unaligned() }
    }
}

/// Refuses a record too short for the number behind every message.
#[inline]
fn numbered(found: Option<Record>) -> Result<Option<Record>, Corrupt> {
    match found {
        Some(record) if record.len < NUMBER => Err(Corrupt("a message without a number")),
        found => Ok(found),
    }
}

/// The number behind a message.
#[inline]
fn number_of(record: &[u8]) -> u64 {
    record.last_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}

impl Receiver for Reader {
    #[inline]
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        buf.clear();
        loop {
            let record = self.next(wait)?;
            if self.take_into(buf, record) {
                self.release();
                return Ok(buf.len());
            }
            buf.clear();
        }
    }

    #[inline]
    fn recv_each<F: FnMut(&[u8])>(
        &mut self,
        limit: usize,
        wait: Wait,
        mut each: F,
    ) -> Result<usize, RecvError> {
        let mut taken = 0;
        while taken < limit {
            let record = match self.next(if taken == 0 { wait } else { Wait::Never }) {
                Ok(record) => record,
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            };
            if self.in_place {
                self.count(self.number_at(record), record.len - NUMBER);
                self.ring.advance(record);
                // SAFETY: the caller of `Trust::peer` vouched for the writer; the space is released after `each`.
                each(unsafe { self.lent(record) });
            } else {
                let mut copy = std::mem::take(&mut self.copy);
                let whole = self.take_into(&mut copy, record);
                self.copy = copy;
                if !whole {
                    continue;
                }
                each(&self.copy);
            }
            taken += 1;
            self.release();
        }
        Ok(taken)
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.half.leave(self.ring.ours(), self.ring.theirs(), &mut self.stats);
    }
}

/// Whether there is something to look at. Where we stand may be overwritten and cleared, so nothing there does not mean
/// that there is nothing.
#[inline]
fn has_news(ring: &Consumer<Memory>, slow: SlowReader) -> bool {
    ring.is_ready() || slow != SlowReader::Wait && ring.theirs().consumed() > ring.position()
}

/// Waiting for a message.
struct ForRecord<'a>(&'a mut Reader);

impl Site for ForRecord<'_> {
    type Error = RecvError;

    #[inline]
    fn is_ready(&self) -> bool {
        has_news(&self.0.ring, self.0.slow)
    }

    fn check(&mut self) -> Result<(), RecvError> {
        let Reader { ring, half, slow, .. } = &mut *self.0;
        half.check(ring.theirs(), || has_news(ring, *slow))
    }

    fn check_peer(&mut self) -> Result<(), RecvError> {
        let Reader { ring, half, slow, .. } = &mut *self.0;
        half.check_peer(ring.theirs(), || has_news(ring, *slow))
    }

    fn park(&mut self, slice: Duration) {
        let Reader { ring, half, slow, stats, .. } = &mut *self.0;
        half.park(ring.ours(), ring.theirs(), slice, stats, || has_news(ring, *slow));
    }
}

impl HalfSite for ForRecord<'_> {
    const NOT_NOW: RecvError = RecvError::Empty;
    const TIMED_OUT: RecvError = RecvError::TimedOut;

    fn half(&mut self) -> (&mut Half, &mut Stats) {
        (&mut self.0.half, &mut self.0.stats)
    }
}

/// A received message, lent by [`PeekReceiver::take`]: in place where the writer is trusted and waits, else a copy.
///
/// ```
/// use ipc_transports::broadcast::{BroadcastOptions, Writer};
/// use ipc_transports::{PeekReceiver, Sender, Wait};
/// let mut writer = Writer::private(&BroadcastOptions::default())?;
/// let mut reader = writer.subscribe()?;
/// writer.send(b"news")?;
/// assert_eq!(&*reader.recv_ref(Wait::Forever)?, b"news");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReaderMessage<'a> {
    rx: &'a mut Reader,
    /// Where it lies, if it is lent in place.
    record: Option<Record>,
}

impl PeekReceiver for Reader {
    type Message<'a> = ReaderMessage<'a>;

    #[inline]
    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        self.next(wait).map(|_| ())
    }

    #[inline]
    fn take(&mut self) -> Option<ReaderMessage<'_>> {
        if self.half.is_unusable() {
            return None;
        }
        if self.in_place {
            // Corrupt shows in the next `ready`, which looks at the same place.
            let record = self.look().ok().flatten()?;
            return Some(ReaderMessage { rx: self, record: Some(record) });
        }
        for _ in 0..TRIES {
            let record = self.look().ok().flatten()?;
            let mut copy = std::mem::take(&mut self.copy);
            let whole = self.take_into(&mut copy, record);
            self.copy = copy;
            if whole {
                return Some(ReaderMessage { rx: self, record: None });
            }
        }
        None
    }
}

impl Deref for ReaderMessage<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self.record {
            // SAFETY: the caller of `Trust::peer` vouched that the writer changes no published byte before it is
            // released, which is when `self` is dropped.
            Some(record) => unsafe { self.rx.lent(record) },
            None => &self.rx.copy,
        }
    }
}

impl Drop for ReaderMessage<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(record) = self.record {
            self.rx.count(self.rx.number_at(record), record.len - NUMBER);
            self.rx.ring.advance(record);
        }
        self.rx.release();
    }
}

impl Pollable for Reader {
    fn fd(&self) -> BorrowedFd<'_> {
        self.half.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        let ring = &self.ring;
        self.half.arm(ring.ours(), ring.theirs(), || has_news(ring, self.slow))
    }

    fn disarm(&mut self) {
        self.half.disarm(self.ring.ours());
    }
}
