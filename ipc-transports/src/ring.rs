//! The ring of one direction: variable-size records in the writer's memory, single producer, single consumer.
//!
//! ```text
//! record, at a multiple of 64 bytes:
//! offset 0                 8                    8 + len     next multiple of 64
//!        ┌─────────────────┬────────────────────┬───────────┐
//!        │ commit word u64 │ payload            │ unused    │
//!        └─────────────────┴────────────────────┴───────────┘
//! commit word: bits 63..32  position / 64, low 32 bits         bits 29..0  payload bytes
//!              bits 31, 30  10  committed
//!                           11  committed padding: the next record is at offset 0
//!                           01  not committed: the first so many bytes are there, the others are being written
//!              zero         nothing here yet
//! ```
//!
//! * The commit word lies in the message's own line, so a small message moves one cache line between the processes.
//! * Before a record is published the commit word *behind* it is zeroed: the reader, who goes there next, must not take
//!   an old payload for a commit word. So at least one line always stays free.
//! * A record never wraps: where it does not fit before the end of the ring, a padding word sends the reader to offset 0.
//!   A record is at most half the ring, so an empty ring always has room for it.
//! * A long message may show how much of it is there while it is being written ([`cut_through`]).
//! * Positions count bytes from the beginning of the connection and never wrap (2^64); offset = position mod capacity.
//! * The writer keeps its position and the capacity to itself and looks at the peer's `consumed` only when the last
//!   value it saw leaves no room.
//!
//! Nothing read from the peer is believed: each shared word is loaded once and checked against private numbers.
//! The idea of a commit word in the record is Aeron's (`aeron_rb.h`); moving it into the payload's line, and dropping
//! the tail index from the latency path, is what halves the lines moved.
#![allow(unsafe_code, reason = "upholds the ranges that Backing asks for")]

mod ask;
mod cut_through;

pub(crate) use cut_through::{PART, Shown};

use crate::atomics::{Ordering, fence};
use crate::backing::{Backing, LINE, PIECE, RECORD_HEADER, TWO_LINES, bytes_of_lines};

const COMMITTED: u64 = 1 << 31;
const PADDING: u64 = 1 << 30;

/// Smallest ring in bytes.
pub(crate) const MIN_CAPACITY: usize = 4096;

/// Largest ring in bytes; a length must fit below the flags of a commit word.
pub(crate) const MAX_CAPACITY: usize = 1 << 30;

/// Longest message in bytes a ring of `capacity` bytes carries.
pub(crate) const fn longest_message(capacity: usize) -> usize {
    capacity / 2 - RECORD_HEADER
}

/// Longest message that is copied in pieces into a ring; longer ones never gain by it.
pub(crate) const LONGEST_IN_PIECES: usize = 4 * PIECE;

/// Bytes a message of `len` bytes takes in the ring.
#[inline]
const fn record_size(len: usize) -> u64 {
    bytes_of_lines(len) as u64
}

/// The commit word of an empty message at `position`.
#[inline]
fn commit_word(position: u64) -> u64 {
    (position / LINE as u64) << 32 | COMMITTED
}

/// A place for one record, not published yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Position of the record, behind the padding if there is any.
    start: u64,
    /// Position behind the record.
    end: u64,
}

/// The peer said something that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

const OVER_THE_END: Corrupt = Corrupt("a record runs over the end of the ring");

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer<B> {
    ours: B,
    theirs: B,
    capacity: u64,
    /// Position of the next record.
    head: u64,
    /// The peer's `consumed` as last seen; `consumed ≤ head ≤ consumed + capacity - LINE`.
    consumed: u64,
    /// A position whose commit word is known to be zero.
    cleared: u64,
    /// Most bytes seen in flight.
    max_occupancy: u64,
    /// Longest message that is copied in whole without a further question.
    whole: usize,
    /// See [`before_writing`](ask::before_writing).
    asks_before: bool,
    /// Bytes of ring after which a message that is being written shows anew: one that has no more does not. `usize::MAX`: none does.
    part: usize,
}

/// Records written behind the published ones: the first one's commit word is held back, and publishing it publishes all.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    first: Option<(u64, u64)>,
    bytes: u64,
}

impl Batch {
    /// Bytes of ring staged so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl<B: Backing> Producer<B> {
    /// `capacity` is a power of two; `ours` holds that many bytes of ring, all zero.
    pub(crate) fn new(ours: B, theirs: B, capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two() && capacity <= MAX_CAPACITY);
        Producer {
            ours,
            theirs,
            capacity: capacity as u64,
            head: 0,
            consumed: 0,
            cleared: 0,
            max_occupancy: 0,
            whole: usize::MAX,
            asks_before: ask::before_writing(),
            part: usize::MAX,
        }
    }

    /// Whether messages of more than [`PIECE`] and up to [`LONGEST_IN_PIECES`] bytes are copied in pieces, to lines that were
    /// asked for, instead of whole.
    pub(crate) fn copy_in_pieces(&mut self, pieces: bool) {
        self.whole = if pieces { PIECE } else { self.part };
    }

    #[cfg(test)]
    pub(crate) fn copies_in_pieces(&self) -> bool {
        self.whole == PIECE
    }

    pub(crate) fn ours(&self) -> &B {
        &self.ours
    }

    pub(crate) fn theirs(&self) -> &B {
        &self.theirs
    }

    /// Most bytes seen in flight when `consumed` was looked at.
    pub(crate) fn max_occupancy(&self) -> u64 {
        self.max_occupancy
    }

    /// Room for a message of `len` bytes, as far as we know without asking the peer. Takes nothing yet.
    #[inline]
    pub(crate) fn reserve(&mut self, len: usize) -> Option<Space> {
        debug_assert!(len <= longest_message(self.capacity as usize));
        let size = record_size(len);
        let room = self.capacity - self.offset(self.head);
        if size > room {
            return self.reserve_at_zero(size, room);
        }
        self.space_at(self.head, size)
    }

    /// As [`reserve`](Producer::reserve), for a message behind others that are not published yet: nobody waits for its place, and
    /// choosing without a branch carries a tenth more of them.
    #[inline]
    pub(crate) fn reserve_behind(&mut self, len: usize) -> Option<Space> {
        let size = record_size(len);
        let room = self.capacity - self.offset(self.head);
        let start = if size <= room { self.head } else { self.head + room };
        self.space_at(start, size)
    }

    /// Room behind the padding that takes up the last `room` bytes of the ring.
    // A call, so that no compiler makes one expression of both places: the address of a message would wait for its length, and
    // its line would be asked for that much later (docs/performance.md, "shm").
    #[cold]
    #[inline(never)]
    fn reserve_at_zero(&mut self, size: u64, room: u64) -> Option<Space> {
        self.space_at(self.head + room, size)
    }

    /// Room for a record of `size` bytes at position `start`.
    #[inline]
    fn space_at(&mut self, start: u64, size: u64) -> Option<Space> {
        let end = start + size;
        if end + LINE as u64 - self.consumed > self.capacity {
            return None;
        }
        // Before the payload, so that the line is on its way while the payload is copied.
        self.clear(end);
        Some(Space { start, end })
    }

    /// Looks how far the peer has come. True if it has come further.
    pub(crate) fn refresh(&mut self) -> Result<bool, Corrupt> {
        let consumed = self.theirs.consumed();
        let progress = consumed.wrapping_sub(self.consumed);
        self.max_occupancy = self.max_occupancy.max(self.head - self.consumed);
        if progress > self.head - self.consumed {
            return Err(Corrupt("it claims to have read what was never written"));
        }
        self.consumed = consumed;
        Ok(progress != 0)
    }

    /// Whether the peer now leaves room for a message of `len` bytes; believed only after [`refresh`](Producer::refresh).
    #[inline]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.would_have_room(len, self.theirs.consumed())
    }

    /// Whether there is room for a message of `len` bytes once everything before `consumed` is read.
    #[inline]
    pub(crate) fn would_have_room(&self, len: usize, consumed: u64) -> bool {
        let size = record_size(len);
        let room = self.capacity - self.offset(self.head);
        let end = self.head + size + if size <= room { 0 } else { room };
        (end + LINE as u64).wrapping_sub(consumed) <= self.capacity
    }

    /// Position of the next record.
    #[inline]
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Position of the record in `space`.
    #[inline]
    pub(crate) fn start(&self, space: Space) -> u64 {
        space.start
    }

    /// Gives up the oldest records until a message of `len` bytes has room, for readers that are not waited for: they
    /// find in our own `consumed` what they may have missed. Needs a `theirs` that is `ours`, and every record published.
    #[cold]
    pub(crate) fn give_up_for(&mut self, len: usize) {
        while !self.would_have_room(len, self.consumed) {
            let at = self.offset(self.consumed);
            // SAFETY: the offset of a position.
            let word = unsafe { self.ours.load_commit(at as usize) };
            self.consumed += match word & PADDING {
                0 => record_size((word & (PADDING - 1)) as usize),
                _ => self.capacity - at,
            };
        }
        self.ours.store_consumed(self.consumed);
        // Release: pairs with the Acquire fence in a reader that has copied a record and asks whether it was still
        // there. Nothing is overwritten before it is given up.
        fence(Ordering::Release);
    }

    /// Whether the peer has consumed something since the last [`refresh`](Producer::refresh), or everything.
    pub(crate) fn theirs_moved(&self) -> bool {
        let consumed = self.theirs.consumed();
        consumed != self.consumed || consumed == self.head
    }

    /// Copies `bytes` into `space`, `at` bytes behind the start of the payload. Where long messages show
    /// ([`show_every`](Producer::show_every)), from the first byte to the last, and then [`commit`](Producer::commit)ted.
    ///
    /// # Safety
    /// `at + bytes.len()` is at most the length `space` was reserved for.
    #[inline]
    pub(crate) unsafe fn write(&mut self, space: Space, at: usize, bytes: &[u8]) {
        let offset = self.offset(space.start) as usize + RECORD_HEADER + at;
        if bytes.len() > self.whole {
            // SAFETY: as below.
            return unsafe { self.write_long(space, at, bytes) };
        }
        // SAFETY: the record lies inside the ring, which we own, and is not published.
        unsafe { self.ours.write(offset, bytes) }
    }

    /// # Safety
    /// As [`write`](Producer::write).
    #[inline(never)]
    unsafe fn write_long(&mut self, space: Space, at: usize, bytes: &[u8]) {
        let offset = self.payload_offset(space) + at;
        if bytes.len() > self.part && self.theirs.copies_early() {
            // SAFETY: the caller's contract.
            return unsafe { self.write_showing(space, at, bytes) };
        }
        if self.whole == PIECE && bytes.len() <= LONGEST_IN_PIECES {
            // SAFETY: the caller's contract.
            return unsafe { self.write_in_pieces(offset, bytes) };
        }
        // SAFETY: the caller's contract.
        unsafe { self.ours.write(offset, bytes) }
    }

    /// # Safety
    /// As [`Backing::write`].
    unsafe fn write_in_pieces(&mut self, offset: usize, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(PIECE);
        for (number, piece) in rest.chunks(PIECE).enumerate() {
            // SAFETY: inside the caller's range.
            unsafe { self.ours.write(offset + (number + 1) * PIECE, piece) };
        }
        // SAFETY: the beginning of the caller's range; last, as in `Backing::write`.
        unsafe { self.ours.write(offset, first) }
    }

    /// Ring offset of the payload of `space`.
    pub(crate) fn payload_offset(&self, space: Space) -> usize {
        self.offset(space.start) as usize + RECORD_HEADER
    }

    /// Publishes `space` as a message of `len` bytes, at most what it was reserved for.
    #[inline]
    pub(crate) fn commit(&mut self, space: Space, len: usize) {
        let end = space.start + record_size(len);
        debug_assert!(end <= space.end);
        self.clear(end);
        let word = commit_word(space.start) | len as u64;
        let start = self.offset(space.start) as usize;
        if space.start == self.head {
            // SAFETY: the offset of a position. Release: pairs with the Acquire in Backing::load_commit.
            unsafe { self.ours.store_commit(start, word, Ordering::Release) };
        } else {
            self.commit_behind_padding(start, word);
        }
        self.head = end;
    }

    #[cold]
    fn commit_behind_padding(&mut self, start: usize, word: u64) {
        // SAFETY: the offset of a position. Relaxed: the padding word below publishes it.
        unsafe { self.ours.store_commit(start, word, Ordering::Relaxed) };
        self.store_padding();
    }

    /// Publishes padding from the end of the last record to the end of the ring, and with it what lies at offset 0.
    fn store_padding(&mut self) {
        let padding = commit_word(self.head) | PADDING;
        // SAFETY: the offset of a position. Release: pairs with the Acquire in Backing::load_commit.
        unsafe { self.ours.store_commit(self.offset(self.head) as usize, padding, Ordering::Release) };
    }

    /// Zeroes the commit word where a next record as long as the last one would end, if that is free: the line is then
    /// ours before the next message is sent, instead of being fetched while it waits. Worth it between messages only.
    #[inline]
    pub(crate) fn prepare(&mut self, len: usize) {
        let size = record_size(len);
        let end = self.head + size;
        if self.offset(self.head) + size <= self.capacity
            && end + LINE as u64 - self.consumed <= self.capacity
        {
            self.clear(end);
        }
    }

    /// Asks for the lines of `space`, which a message of `len` bytes is about to be copied into; not for the first one, which the
    /// reader looks at. Does nothing unless that is done [`before_writing`](ask::before_writing).
    #[inline]
    pub(crate) fn ask_for(&self, space: Space, len: usize) {
        if len > TWO_LINES && self.asks_before && self.asks_for(len) {
            let (from, size) = (self.offset(space.start) as usize, record_size(len) as usize);
            self.ours.prefetch_for_writing(from + LINE, from + size);
        }
    }

    /// As [`ask_for`](Producer::ask_for), for the next record, if it is free and as long as the last one; like
    /// [`prepare`](Producer::prepare), for the payload. Does nothing if that is done before writing.
    #[inline]
    pub(crate) fn ask_for_next(&self, len: usize) {
        if len <= TWO_LINES || self.asks_before {
            return;
        }
        let (from, size) = (self.offset(self.head), record_size(len));
        if from + size <= self.capacity
            && self.head + size - self.consumed <= self.capacity
            && self.asks_for(len)
        {
            self.ours.prefetch_for_writing(from as usize + LINE, (from + size) as usize);
        }
    }

    /// Whether the lines of messages of `len` bytes, more than two of them, are asked for.
    #[inline]
    fn asks_for(&self, len: usize) -> bool {
        len <= PIECE || (self.whole == PIECE && len <= LONGEST_IN_PIECES)
    }

    /// Writes `space` as a message of `len` bytes to be published with `batch`.
    #[inline]
    pub(crate) fn stage(&mut self, batch: &mut Batch, space: Space, len: usize) {
        if space.start != self.head {
            self.hold_or_store(batch, self.head, commit_word(self.head) | PADDING);
        }
        self.hold_or_store(batch, space.start, commit_word(space.start) | len as u64);
        batch.bytes += space.end - self.head;
        self.head = space.end;
    }

    #[inline]
    fn hold_or_store(&mut self, batch: &mut Batch, position: u64, word: u64) {
        if batch.first.is_none() {
            batch.first = Some((position, word));
        } else {
            // SAFETY: the offset of a position. Relaxed: the batch's first word publishes it.
            unsafe { self.ours.store_commit(self.offset(position) as usize, word, Ordering::Relaxed) };
        }
    }

    /// Publishes everything staged in `batch`.
    #[inline]
    pub(crate) fn publish(&mut self, batch: Batch) {
        self.clear(self.head);
        if let Some((position, word)) = batch.first {
            // SAFETY: the offset of a position. Release: pairs with the Acquire in Backing::load_commit.
            unsafe { self.ours.store_commit(self.offset(position) as usize, word, Ordering::Release) };
        }
    }

    /// Zeroes the commit word at the free position `end`, unless it is known to be zero.
    #[inline]
    fn clear(&mut self, end: u64) {
        if self.cleared != end {
            self.cleared = end;
            // SAFETY: the offset of a position. Relaxed: published with the record before it.
            unsafe { self.ours.store_commit(self.offset(end) as usize, 0, Ordering::Relaxed) };
        }
    }

    #[inline]
    fn offset(&self, position: u64) -> u64 {
        position & (self.capacity - 1)
    }
}

/// A published message in the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Ring offset of the payload.
    pub(crate) at: usize,
    /// Bytes of payload.
    pub(crate) len: usize,
    /// Position behind the record.
    end: u64,
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer<B> {
    ours: B,
    theirs: B,
    capacity: u64,
    max_message: u64,
    /// Position of the next record.
    tail: u64,
}

impl<B: Backing> Consumer<B> {
    /// `capacity` and `max_message` are what the two sides agreed on, `theirs` has that capacity.
    pub(crate) fn new(ours: B, theirs: B, capacity: usize, max_message: usize) -> Self {
        debug_assert!(capacity.is_power_of_two() && max_message <= longest_message(capacity));
        Consumer { ours, theirs, capacity: capacity as u64, max_message: max_message as u64, tail: 0 }
    }

    pub(crate) fn ours(&self) -> &B {
        &self.ours
    }

    pub(crate) fn theirs(&self) -> &B {
        &self.theirs
    }

    /// Whether there is something to [`look`](Consumer::look) at.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        // SAFETY: the offset of a position.
        unsafe { self.theirs.load_commit(self.offset()) & COMMITTED != 0 }
    }

    /// Asks for the second line of the next record. Where messages have two lines, whoever waits for one does this as often
    /// as it looks: the line then comes together with the commit word instead of after it (docs/performance.md,
    /// "shm").
    #[inline]
    pub(crate) fn prefetch_second_line(&self) {
        self.theirs.prefetch((self.offset() + LINE) & (self.capacity as usize - 1));
    }

    /// The next message, if one is published. Consumes nothing but padding.
    #[inline]
    pub(crate) fn look(&mut self) -> Result<Option<Record>, Corrupt> {
        let offset = self.offset();
        // SAFETY: the offset of a position.
        let word = unsafe { self.theirs.load_commit(offset) };
        if word == 0 {
            return Ok(None);
        }
        self.parse(offset, word)
    }

    #[inline]
    fn parse(&mut self, offset: usize, word: u64) -> Result<Option<Record>, Corrupt> {
        // Any bit that is not a length and not as expected here makes the difference huge.
        let len = word ^ commit_word(self.tail);
        if len > self.max_message {
            return self.parse_other(len);
        }
        let size = record_size(len as usize);
        if offset as u64 + size > self.capacity {
            return Err(OVER_THE_END);
        }
        Ok(Some(Record { at: offset + RECORD_HEADER, len: len as usize, end: self.tail + size }))
    }

    #[cold]
    fn parse_other(&mut self, difference: u64) -> Result<Option<Record>, Corrupt> {
        let offset = self.offset() as u64;
        let shown = difference ^ (COMMITTED | PADDING);
        if shown <= self.max_message {
            return self.fits(shown).then_some(None).ok_or(OVER_THE_END);
        }
        if difference != PADDING {
            return Err(Corrupt("a record's length or tag is impossible"));
        }
        if offset == 0 {
            return Err(Corrupt("a whole ring of padding"));
        }
        self.tail += self.capacity - offset;
        // At offset 0 now, where padding is refused: this goes one level deep.
        self.look()
    }

    /// Copies the payload of `record` to `to`.
    ///
    /// # Safety
    /// `to` has room for [`room_for`](crate::backing::room_for)`(record.len)` bytes; `record` is the one last looked at.
    #[inline]
    pub(crate) unsafe fn read(&self, record: Record, to: *mut u8) {
        // SAFETY: `look` checked that the record lies inside the ring.
        unsafe { self.theirs.read(record.at, record.len, to) }
    }

    /// Steps over `record`, the one last looked at, without telling the peer yet.
    #[inline]
    pub(crate) fn advance(&mut self, record: Record) {
        self.tail = record.end;
    }

    /// Tells the peer that everything stepped over may be overwritten.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.ours.store_consumed(self.tail);
    }

    /// Bytes stepped over since the beginning.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Goes on at `position`, where the peer says that a record begins.
    ///
    /// # Errors
    /// No record can begin there.
    pub(crate) fn jump(&mut self, position: u64) -> Result<(), Corrupt> {
        if !position.is_multiple_of(LINE as u64) {
            return Err(Corrupt("a record begins inside a line"));
        }
        self.tail = position;
        Ok(())
    }

    #[inline]
    fn offset(&self) -> usize {
        (self.tail & (self.capacity - 1)) as usize
    }
}

#[cfg(all(test, loom))]
mod models;
#[cfg(test)]
mod tests;
