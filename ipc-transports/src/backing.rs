//! What one side of a shared-memory connection writes and the other only reads, and how both reach it.
//!
//! ```text
//! offset   0          64         128        192       256       320        384      448            4096 ... 4096 + capacity
//!          ┌──────────┬──────────┬──────────┬─────────┬─────────┬──────────┬────────┬────────┬─────┬─────────────────────┐
//!          │ identity │ rx state │ tx state │ tx bell │ rx bell │ consumed │ newest │ early  │     │ ring: 64-byte lines │
//!          │ 4 × u64  │ u32      │ u32      │ u32     │ u32     │ u64      │ u64    │ u32    │     │                     │
//!          └──────────┴──────────┴──────────┴─────────┴─────────┴──────────┴────────┴────────┴─────┴─────────────────────┘
//! identity  magic, layout, nonce, capacity: compared once at connect, never read again
//! rx state  is this side's receiver awake, asleep or gone      (read by the peer's sender)
//! tx state  is this side's sender awake, asleep or gone        (read by the peer's receiver)
//! tx bell   rung by this side's sender for the peer's receiver (a futex the peer sleeps on)
//! rx bell   rung by this side's receiver for the peer's sender
//! consumed  bytes of the peer's ring this side's receiver is done with; of a broadcast's writer: bytes of its own ring
//!           that it may have overwritten
//! newest    of a broadcast's writer: position of the last message, for readers that want no other; else unused
//! early     whether this side's receiver copies long messages out while they are being written (a hint for the peer's sender)
//! ```
//!
//! One line each: a word that changes must not drag along a word that somebody else polls.
//!
//! Everything above this module is generic over [`Backing`], so that the same ring runs on a sealed memfd, on the heap
//! between two threads, on memory that answers whatever a hostile peer could write, and inside a loom model.
#![allow(unsafe_code, reason = "raw access to memory that another process maps")]

use core::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::atomics::{Ordering, compiler_fence};
use crate::fault::fault_point;
use crate::memory::Memory;

/// Bytes of one cache line, and the grain of the ring.
pub(crate) const LINE: usize = 64;

/// Offset of the first byte of the ring.
pub(crate) const DATA: usize = 4096;

/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER: usize = 8;

/// Bytes of payload that fit behind the header into one line.
pub(crate) const LINE_PAYLOAD: usize = LINE - RECORD_HEADER;

/// Bytes of payload in a record of two lines. A reader looks at the first line, and asks for the second.
pub(crate) const TWO_LINES: usize = 2 * LINE - RECORD_HEADER;

/// Longest payload of which [`Backing::read`] copies whole lines.
const WHOLE_LINES: usize = 8 * LINE - RECORD_HEADER;

/// Bytes of the lines that a payload of `len` bytes takes with its header.
#[inline]
pub(crate) const fn bytes_of_lines(len: usize) -> usize {
    (len + RECORD_HEADER + LINE - 1) & !(LINE - 1)
}

/// Bytes of room that [`Backing::read`] needs for a payload of `len` bytes, and may write.
#[inline]
pub(crate) const fn room_for(len: usize) -> usize {
    if len > WHOLE_LINES { len } else { bytes_of_lines(len) - RECORD_HEADER }
}

/// A shared 32-bit word, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    /// State of this side's receiver.
    RxState = LINE,
    /// State of this side's sender.
    TxState = 2 * LINE,
    /// Rung by this side's sender.
    TxBell = 3 * LINE,
    /// Rung by this side's receiver.
    RxBell = 4 * LINE,
}

/// Offset of `consumed`.
const CONSUMED: usize = 5 * LINE;

/// Offset of `newest`.
const NEWEST: usize = 6 * LINE;

/// Offset of `early`.
const EARLY: usize = 7 * LINE;

const _: () = assert!(EARLY + LINE <= DATA, "control words lie before the ring");

/// Memory with the layout above.
///
/// # Safety
/// Implementors answer every access inside their length, and store only through an exclusive writer's handle.
pub(crate) unsafe trait Backing {
    /// Reads a control word.
    fn load(&self, word: Word, order: Ordering) -> u32;
    /// Writes a control word; only on the side that owns this memory.
    fn store(&self, word: Word, value: u32, order: Ordering);
    /// Reads `consumed` with Acquire: what the reader did before publishing it is done.
    fn consumed(&self) -> u64;
    /// Publishes `consumed` with Release; only on the side that owns this memory.
    fn store_consumed(&self, value: u64);
    /// Whether this side's receiver copies out what shows of long messages.
    fn copies_early(&self) -> bool;
    /// Says whether it does; only on the side that owns this memory.
    fn store_copies_early(&self, early: bool);

    /// Reads the commit word at ring offset `at` with Acquire.
    ///
    /// # Safety
    /// `at` is a multiple of [`LINE`] below the capacity.
    unsafe fn load_commit(&self, at: usize) -> u64;

    /// Writes the commit word at ring offset `at`.
    ///
    /// # Safety
    /// As [`load_commit`](Backing::load_commit), on the side that owns this memory.
    unsafe fn store_commit(&self, at: usize, value: u64, order: Ordering);

    /// Copies `bytes` to ring offset `at`, their first line last.
    ///
    /// # Safety
    /// `at + bytes.len()` is at most the capacity; this side owns the memory and the range is not published.
    unsafe fn write(&self, at: usize, bytes: &[u8]);

    /// Copies `len` bytes from ring offset `at`, and may copy up to [`room_for`]`(len)`, the rest of the record's last line: a
    /// copy of one line needs neither a call nor a branch, and one of a few lines reads from places that do not depend on `len`.
    ///
    /// # Safety
    /// `at` is a payload's offset, `at + len` is at most the capacity, and `to` has room for `room_for(len)` bytes.
    unsafe fn read(&self, at: usize, len: usize, to: *mut u8);

    /// Copies `bytes` to ring offset `at`, in any order.
    ///
    /// # Safety
    /// As [`write`](Backing::write).
    unsafe fn write_part(&self, at: usize, bytes: &[u8]);

    /// Copies `len` bytes from ring offset `at`, and nothing else.
    ///
    /// # Safety
    /// `at + len` is at most the capacity, and `to` has room for `len` bytes.
    unsafe fn read_part(&self, at: usize, len: usize, to: *mut u8);

    /// Asks for the line at ring offset `at` without waiting for it. A hint: it reads nothing.
    fn prefetch(&self, _at: usize) {}

    /// Asks for the lines from ring offset `from` to `to`, which will be written soon. A hint: it changes nothing.
    fn prefetch_for_writing(&self, _from: usize, _to: usize) {}

    /// Sleeps until `word` is rung, unless it no longer is `expected`; at most `timeout`. May return early.
    fn sleep_on(&self, word: Word, expected: u32, timeout: Duration);
    /// Wakes who sleeps on `word`.
    fn wake(&self, word: Word);
}

impl Memory {
    fn word(&self, word: Word) -> &AtomicU32 {
        self.word_at(word as usize)
    }

    /// The atomic at `offset`, that of a control word.
    fn word_at(&self, offset: usize) -> &AtomicU32 {
        let at = self.base().wrapping_add(offset).cast::<u32>();
        // SAFETY: Memory is at least DATA bytes, page-aligned, mapped as long as `self`, and only accessed atomically.
        unsafe { AtomicU32::from_ptr(at) }
    }

    fn wide(&self, offset: usize) -> &AtomicU64 {
        let at = self.base().wrapping_add(offset).cast::<u64>();
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.len());
        // SAFETY: callers keep `offset` aligned and inside the mapping, which lives as long as `self`; commit words and
        // `consumed` are only accessed atomically while the other side may look at them.
        unsafe { AtomicU64::from_ptr(at) }
    }

    /// Reads `newest` with Acquire: the message there is published.
    pub(crate) fn newest(&self) -> u64 {
        // Acquire: pairs with the Release in store_newest.
        self.wide(NEWEST).load(Ordering::Acquire)
    }

    /// Publishes `newest` with Release; only on the side that owns this memory.
    pub(crate) fn store_newest(&self, position: u64) {
        // Release: pairs with the Acquire in newest.
        self.wide(NEWEST).store(position, Ordering::Release);
    }
}

// SAFETY: every access is at an offset below `len`; only the creating side holds a writable mapping.
unsafe impl Backing for Memory {
    #[inline]
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    #[inline]
    fn store(&self, word: Word, value: u32, order: Ordering) {
        fault_point!("shm.word");
        self.word(word).store(value, order);
        fault_point!("shm.word.stored");
    }

    #[inline]
    fn consumed(&self) -> u64 {
        // Acquire: pairs with the Release in store_consumed; the reader is done with the bytes before we overwrite them.
        self.wide(CONSUMED).load(Ordering::Acquire)
    }

    #[inline]
    fn store_consumed(&self, value: u64) {
        // Release: pairs with the Acquire in consumed.
        fault_point!("shm.consumed");
        self.wide(CONSUMED).store(value, Ordering::Release);
        fault_point!("shm.consumed.stored");
    }

    fn copies_early(&self) -> bool {
        // Relaxed, here and below: a hint.
        self.word_at(EARLY).load(Ordering::Relaxed) != 0
    }

    fn store_copies_early(&self, early: bool) {
        self.word_at(EARLY).store(early.into(), Ordering::Relaxed);
    }

    #[inline]
    unsafe fn load_commit(&self, at: usize) -> u64 {
        // Acquire: pairs with the Release of each commit word that a Producer stores; the payload is there, or as much as shows.
        self.wide(DATA + at).load(Ordering::Acquire)
    }

    #[inline(always)]
    fn prefetch(&self, at: usize) {
        let _line = self.base().wrapping_add(DATA + at);
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint, which faults on no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(_line.cast()) }
        }
    }

    #[inline(always)]
    fn prefetch_for_writing(&self, from: usize, to: usize) {
        for at in (from..to).step_by(LINE) {
            let _line = self.base().wrapping_add(DATA + at);
            // By its name: `_mm_prefetch` with the hint for writing is compiled to a fetch for reading unless the build is for
            // CPUs known to have this instruction. All of 64 bits take it, some of them as a `nop`.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: a hint, which faults on no address.
            unsafe {
                core::arch::asm!("prefetchw [{}]", in(reg) _line, options(nostack, preserves_flags, readonly))
            }
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            // SAFETY: a hint, which faults on no address.
            unsafe {
                core::arch::asm!("prfm pstl1keep, [{}]", in(reg) _line, options(nostack, preserves_flags, readonly))
            }
        }
    }

    #[inline]
    unsafe fn store_commit(&self, at: usize, value: u64, order: Ordering) {
        fault_point!("shm.commit");
        self.wide(DATA + at).store(value, order);
        fault_point!("shm.commit.stored");
    }

    #[inline]
    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        debug_assert!(DATA + at + bytes.len() <= self.len());
        let to = self.base().wrapping_add(DATA + at);
        let mut len = bytes.len();
        fault_point!("shm.payload");
        if len > LINE_PAYLOAD {
            // The line that the reader is looking at comes last, just before the commit word: it is taken away from the
            // reader once.
            len = LINE_PAYLOAD;
            let (rest, to) = (&bytes[len..], to.wrapping_add(len));
            // SAFETY: the rest of the range that the caller keeps inside the ring; `bytes` is private memory.
            unsafe { core::ptr::copy_nonoverlapping(rest.as_ptr(), to, rest.len()) };
            compiler_fence(Ordering::SeqCst);
        }
        // SAFETY: the caller keeps the range inside the ring; `bytes` is private memory, so the two do not overlap.
        unsafe { copy_in(bytes.as_ptr(), to, len) };
        fault_point!("shm.payload.stored");
    }

    #[inline]
    unsafe fn read(&self, at: usize, len: usize, to: *mut u8) {
        debug_assert!(DATA + at + room_for(len) <= self.len());
        let from = self.base().wrapping_add(DATA + at);
        if len <= LINE_PAYLOAD {
            // SAFETY: the rest of the record's line lies inside the ring; the caller has room for it. The peer may be
            // changing the bytes if it is hostile: they are copied raw, never referred to, and parsed from the copy.
            unsafe { core::ptr::copy_nonoverlapping(from, to, LINE_PAYLOAD) }
        } else {
            // SAFETY: as above, for the lines that `len` bytes take.
            unsafe { copy_out(from, to, len) }
        }
    }

    unsafe fn write_part(&self, at: usize, bytes: &[u8]) {
        debug_assert!(DATA + at + bytes.len() <= self.len());
        fault_point!("shm.payload");
        let to = self.base().wrapping_add(DATA + at);
        // SAFETY: the caller keeps the range inside the ring; `bytes` is private memory.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        fault_point!("shm.payload.stored");
    }

    unsafe fn read_part(&self, at: usize, len: usize, to: *mut u8) {
        debug_assert!(DATA + at + len <= self.len());
        let from = self.base().wrapping_add(DATA + at);
        // SAFETY: the caller keeps the range inside the ring and has the room; raw, as in `read`.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len) }
    }

    fn sleep_on(&self, word: Word, expected: u32, timeout: Duration) {
        crate::memory::futex_wait(self.word(word), expected, timeout);
    }

    fn wake(&self, word: Word) {
        fault_point!("shm.wake");
        crate::memory::futex_wake(self.word(word));
    }
}

/// Bytes of the pieces of a message that is copied in pieces. From 2,112 bytes on glibc's `memcpy` is one `rep movsb` on AMD
/// processors, below that moves of whole vectors.
pub(crate) const PIECE: usize = 2048;

/// Copies `len` bytes, in the way that reads another CPU's lines fastest (docs/performance.md, "shm"): records of three to eight
/// lines line by line, one to two pieces in two, the second as long as the first and beginning inside it. Not inlined: a branch
/// more there makes a call of what receives short messages.
///
/// # Safety
/// As [`core::ptr::copy_nonoverlapping`] for [`room_for`]`(len)` bytes.
#[inline(never)]
unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) {
    if len <= WHOLE_LINES && len > TWO_LINES {
        // SAFETY: the caller's contract.
        return unsafe { copy_lines(from, to, len) };
    }
    if (PIECE + 1..=2 * PIECE).contains(&len) {
        // SAFETY: the caller's contract.
        return unsafe { copy_out_in_two(from, to, len) };
    }
    // SAFETY: the caller's contract.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) }
}

/// Copies the lines of a payload from the first to the last. Where a line lies does not depend on `len`, which has just come with
/// the first one: a processor that guesses how many there are asks for all of them while that one is still on its way. `memcpy`
/// finds the end of what it copies by `len`.
///
/// # Safety
/// As [`copy_out`].
#[inline(always)]
unsafe fn copy_lines(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's contract.
    unsafe { core::ptr::copy_nonoverlapping(from, to, LINE_PAYLOAD) };
    for at in (LINE_PAYLOAD..len).step_by(LINE) {
        // SAFETY: at < len, so at + LINE ≤ room_for(len).
        unsafe { core::ptr::copy_nonoverlapping(from.wrapping_add(at), to.wrapping_add(at), LINE) };
    }
}

/// As [`copy_out`], which is not to save registers for this.
///
/// # Safety
/// As [`core::ptr::copy_nonoverlapping`], and `len` is one to two pieces.
#[inline(never)]
unsafe fn copy_out_in_two(from: *const u8, to: *mut u8, len: usize) {
    for at in [0, len - PIECE] {
        // SAFETY: at + PIECE ≤ len.
        unsafe { core::ptr::copy_nonoverlapping(from.wrapping_add(at), to.wrapping_add(at), PIECE) };
    }
}

/// Copies `len` bytes, small ones eight at a time without a call.
///
/// Eight-byte loads on purpose: a caller typically has just written the message field by field, and a load wider than
/// the store before it stalls until that store has left the store buffer (docs/performance.md, "shm").
///
/// # Safety
/// As [`core::ptr::copy_nonoverlapping`].
#[inline]
pub(crate) unsafe fn copy_in(from: *const u8, to: *mut u8, len: usize) {
    if len > LINE_PAYLOAD {
        // SAFETY: the caller's contract.
        return unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
    }
    let mut at = 0;
    while at + 8 <= len {
        // SAFETY: at + 8 ≤ len.
        let word = unsafe { from.wrapping_add(at).cast::<u64>().read_unaligned() };
        // SAFETY: at + 8 ≤ len.
        unsafe { to.wrapping_add(at).cast::<u64>().write_unaligned(word) };
        at += 8;
        // Costs no instruction. Without it the compiler may make the loop a call of memcpy, whose loads are wider.
        compiler_fence(Ordering::SeqCst);
    }
    while at < len {
        // SAFETY: at < len.
        let byte = unsafe { from.wrapping_add(at).read() };
        // SAFETY: at < len.
        unsafe { to.wrapping_add(at).write(byte) };
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_every_small_length_are_written_whole_and_nothing_beside_them() {
        let bytes: Vec<u8> = (1..=200).collect();
        for len in 0..=bytes.len() {
            let memory = Memory::heap(DATA + 2 * DATA);
            // SAFETY: 8 + 200 bytes are fewer than the ring has, and nobody else has this memory.
            unsafe { memory.write(RECORD_HEADER, &bytes[..len]) };
            let mut found = vec![0; DATA];
            // SAFETY: as above; `found` has room for as many bytes.
            unsafe { memory.read(0, DATA, found.as_mut_ptr()) };
            assert_eq!(found[RECORD_HEADER..][..len], bytes[..len]);
            let beside = [&found[..RECORD_HEADER], &found[RECORD_HEADER + len..]].concat();
            assert!(beside.iter().all(|byte| *byte == 0), "len {len}");
        }
    }

    #[test]
    fn copies_of_one_to_two_pieces_are_exact() {
        let from: Vec<u8> = (0..2 * PIECE + 9).map(|at| (at * 7) as u8).collect();
        for len in
            [0, 1, 57, PIECE - 1, PIECE, PIECE + 1, PIECE + 56, 2 * PIECE - 1, 2 * PIECE, 2 * PIECE + 1]
        {
            let room = room_for(len);
            let mut to = vec![0xEE; room + 8];
            // SAFETY: both have that room.
            unsafe { copy_out(from.as_ptr(), to.as_mut_ptr(), len) };
            assert!(to[..len] == from[..len] && to[room..] == [0xEE; 8], "len {len}");
        }
    }

    #[test]
    fn payloads_of_a_few_lines_are_read_whole_and_nothing_behind_their_room() {
        let memory = Memory::heap(DATA + 4 * DATA);
        let bytes: Vec<u8> = (0..WHOLE_LINES + LINE).map(|at| (at * 7) as u8).collect();
        // SAFETY: 8 + 568 bytes are fewer than the ring has, and nobody else has this memory.
        unsafe { memory.write(RECORD_HEADER, &bytes) };
        for len in 0..=WHOLE_LINES + 1 {
            let room = room_for(len);
            assert!(room >= len && room < len + LINE, "len {len}");
            let mut to = vec![0xEE; room + 8];
            // SAFETY: the ring has as many bytes and `to` has that room.
            unsafe { memory.read(RECORD_HEADER, len, to.as_mut_ptr()) };
            assert!(to[..len] == bytes[..len] && to[room..] == [0xEE; 8], "len {len}");
        }
    }

    #[test]
    fn copies_of_every_small_length_are_exact() {
        let from: Vec<u8> = (0..=255).collect();
        for len in 0..130 {
            for shift in 0..9 {
                let mut to = vec![0xEE; 160];
                // SAFETY: shift + len ≤ 138 < both lengths.
                unsafe { copy_in(from.as_ptr().wrapping_add(shift), to.as_mut_ptr(), len) };
                assert_eq!(to[..len], from[shift..shift + len]);
                assert!(to[len..].iter().all(|&byte| byte == 0xEE), "len {len}");
            }
        }
    }
}
