//! Long messages are copied out while they are still being copied in.
//!
//! Whoever waits for a message of a megabyte would begin to copy when the writer has ended: one CPU idles while the other copies. So
//! the writer copies in parts, and its commit word says after each how many bytes are there. A reader that waits may copy that much
//! out already; the last part is all it has left to copy when the message is committed. It has received nothing before, so
//! a writer that dies, or a call whose time is up, costs no more than the copy. Switches forward frames like this (cut-through;
//! Kermani and Kleinrock, 1979).
//!
//! Only for readers that have said that they do ([`say_copies_early`](Consumer::say_copies_early)): showing takes the record's first
//! line away from one that does nothing but look at it.

use super::*;

/// Bytes of ring after which a message that is being written shows anew, where messages do: far more than it costs to say so.
pub(crate) const PART: usize = 32 * 1024;

/// The commit word of a message at `position` none of which is there yet.
#[inline]
fn unfinished_word(position: u64) -> u64 {
    commit_word(position) ^ (COMMITTED | PADDING)
}

/// How far the message is that is being written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its commit word, to see when there is more.
    pub(crate) word: u64,
    /// Bytes of payload that are there.
    pub(crate) bytes: usize,
    /// Looks since there were more.
    in_vain: u8,
}

impl Shown {
    /// As if no more than `bytes` had been seen of it.
    pub(crate) fn up_to(self, bytes: usize) -> Shown {
        Shown { word: 0, bytes, ..self }
    }
}

/// Looks at a changed commit word that may find no more bytes: one behind padding, of whose record nothing is there yet, and one at a
/// message that is committed in that moment; and one more.
const MOST_IN_VAIN: u8 = 3;

impl<B: Backing> Producer<B> {
    /// Makes messages show while they are written, to readers that want it: those that come in slices of more than `part` bytes,
    /// some lines. They must then be written from their beginning to their end, and committed.
    pub(crate) fn show_every(mut self, part: usize) -> Self {
        debug_assert!(part.is_multiple_of(LINE));
        (self.whole, self.part) = (part, part);
        self
    }

    /// Copies `bytes` in parts, from the first to the last, and says after each how far it has come.
    ///
    /// # Safety
    /// As [`write`](Producer::write).
    pub(super) unsafe fn write_showing(&mut self, space: Space, at: usize, bytes: &[u8]) {
        let (start, offset) = (self.offset(space.start) as usize, self.payload_offset(space) + at);
        if space.start != self.head {
            // The reader has to get there. Relaxed: the padding word publishes it.
            // SAFETY: the offset of a position.
            unsafe { self.ours.store_commit(start, unfinished_word(space.start), Ordering::Relaxed) };
            self.store_padding();
            self.head = space.start;
        }
        let mut written = 0;
        while written < bytes.len() {
            // Parts end where lines do, so that no line is read and then written on.
            let part = (self.part - (offset + written) % LINE).min(bytes.len() - written);
            // SAFETY: inside the caller's range, `written` bytes behind its beginning.
            unsafe { self.ours.write_part(offset + written, &bytes[written..written + part]) };
            written += part;
            let word = unfinished_word(space.start) | (at + written) as u64;
            // SAFETY: the offset of a position. Release: pairs with the Acquire in Backing::load_commit.
            unsafe { self.ours.store_commit(start, word, Ordering::Release) };
        }
    }
}

impl<B: Backing> Consumer<B> {
    /// Says whether we copy out what shows of long messages.
    pub(crate) fn say_copies_early(&self, early: bool) {
        self.ours.store_copies_early(early);
    }

    /// Whether the next commit word is another one than `seen`, that of a message not finished, or 0. The cheapest question there
    /// is, for spinning.
    #[inline]
    pub(crate) fn has_changed(&self, seen: u64) -> bool {
        // SAFETY: the offset of a position.
        unsafe { self.theirs.load_commit(self.offset()) != seen }
    }

    /// Bytes that show of the next message, and its commit word; `None` if it is committed.
    pub(crate) fn shown(&self) -> Option<Shown> {
        // SAFETY: the offset of a position.
        let word = unsafe { self.theirs.load_commit(self.offset()) };
        if word & COMMITTED != 0 {
            return None;
        }
        let bytes = word ^ unfinished_word(self.tail);
        let fits = bytes <= self.max_message && self.fits(bytes);
        // What does not fit is for `look` to refuse.
        Some(if fits { Shown { word, bytes: bytes as usize, in_vain: 0 } } else { Shown::default() })
    }

    /// As [`shown`](Consumer::shown), for who has seen `before` and waits for more; no more if it is committed by now.
    ///
    /// # Errors
    /// An honest writer shows ever more. One that does not could have us look for ever.
    pub(crate) fn shown_beyond(&self, before: Shown) -> Result<Shown, Corrupt> {
        let now = self.shown().unwrap_or(Shown { word: 0, ..before });
        if now.bytes < before.bytes {
            return Err(Corrupt("a message that is being written becomes shorter"));
        }
        let in_vain = if now.bytes > before.bytes { 0 } else { before.in_vain + 1 };
        if in_vain > MOST_IN_VAIN {
            return Err(Corrupt("a message that is being written changes and does not grow"));
        }
        Ok(Shown { in_vain, ..now })
    }

    /// Whether `len` bytes of payload, at most the longest message, lie inside the ring.
    pub(super) fn fits(&self, len: u64) -> bool {
        self.offset() as u64 + record_size(len as usize) <= self.capacity
    }

    /// Copies payload of the next message to `to`, where the payload begins: its bytes from `from` up to `end`.
    ///
    /// # Safety
    /// `to` has room for `end` bytes; `end` is at most as many as [`shown`](Consumer::shown), or the length of a record that was
    /// just looked at.
    pub(crate) unsafe fn read_part(&self, from: usize, end: usize, to: *mut u8) {
        let at = self.offset() + RECORD_HEADER + from;
        // SAFETY: both have checked that the record lies inside the ring.
        unsafe { self.theirs.read_part(at, end - from, to.wrapping_add(from)) }
    }
}

#[cfg(test)]
mod tests;
