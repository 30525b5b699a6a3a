//! Receiving a message into a buffer while it is still being written (`ring/cut_through.rs`).

use ipc_core::{RecvError, Wait};

use super::{ForRecord, ShmReceiver};
use crate::half::{stopped, wait_at};
use crate::ring::{PART, Record, Shown};

/// Bytes that are copied early between two looks at the clock.
const MOST_AT_ONCE: usize = 32 * PART;

impl ShmReceiver {
    /// Tells the peer's sender whether long messages need show while they are written: it has to take the line for that away from a
    /// reader, who may have no use for it.
    pub(super) fn say_copies_early(&mut self, early: bool) {
        if early != self.copies_early {
            self.copies_early = early;
            self.ring.say_copies_early(early);
        }
    }

    /// Waits for a message and copies it into `buf`, which is empty, and is so again if none comes. Apart from `recv` to the end: where both
    /// met again, the place of every message would pass through memory.
    #[inline(never)]
    pub(super) fn recv_late(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        let received = self.wait_and_copy(buf, wait);
        if received.is_err() {
            buf.clear();
        }
        received
    }

    #[inline(always)]
    fn wait_and_copy(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        self.before_waiting(wait);
        let mut seen = Shown::default();
        loop {
            wait_at(&mut ForRecord { rx: self, seen: seen.word }, wait)?;
            match self.ring.look() {
                Ok(Some(record)) => {
                    self.waited_for = record.len;
                    if record.len > PART {
                        self.say_copies_early(wait != Wait::Never);
                    }
                    if buf.is_empty() {
                        self.take_into(record, buf);
                    } else {
                        self.take_rest(record, buf);
                    }
                    return Ok(record.len);
                }
                Ok(None) => {
                    let shown = self.not_yet(seen, wait)?;
                    seen = self.copy_what_shows(shown, buf);
                }
                Err(corrupt) => return Err(self.corrupt(corrupt)),
            }
        }
    }

    /// What shows of a message that is being written, beyond what was `seen` of it, for who can wait on; no more if it is committed by
    /// now.
    #[cold]
    pub(super) fn not_yet(&mut self, seen: Shown, wait: Wait) -> Result<Shown, RecvError> {
        if wait == Wait::Never {
            // Who polls would begin anew each time.
            self.say_copies_early(false);
        }
        let shown = self.ring.shown_beyond(seen).map_err(|corrupt| self.corrupt(corrupt))?;
        if wait.is_over() {
            // As every wait that ends in vain: whose writer has died waits no more. What is committed in this moment is there in the next
            // call.
            return Err(stopped(&mut ForRecord { rx: self, seen: 0 }, wait));
        }
        Ok(shown)
    }

    /// Copies behind `buf` what else is `shown` of the message that is being written, or much of it; what was copied.
    #[cold]
    fn copy_what_shows(&mut self, shown: Shown, buf: &mut Vec<u8>) -> Shown {
        let (copied, end) = (buf.len(), shown.bytes.min(buf.len() + MOST_AT_ONCE));
        if end > copied {
            buf.reserve(end - copied);
            // SAFETY: there is room for that many bytes.
            unsafe { self.ring.read_part(copied, end, buf.as_mut_ptr()) };
            // SAFETY: they have been written.
            unsafe { buf.set_len(end) };
        }
        if end >= shown.bytes { shown } else { shown.up_to(end) }
    }

    /// Copies what is missing of `record` behind `buf`, and steps over it.
    #[cold]
    fn take_rest(&mut self, record: Record, buf: &mut Vec<u8>) {
        // Less than what showed: only a hostile peer commits that, and gets some of its bytes.
        let copied = buf.len().min(record.len);
        buf.reserve(record.len - copied);
        // SAFETY: there is room for `len` bytes, and `record` is the one just looked at.
        unsafe { self.ring.read_part(copied, record.len, buf.as_mut_ptr()) };
        // SAFETY: the first `copied` bytes were there, the others have been written.
        unsafe { buf.set_len(record.len) };
        self.consume(record);
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests;
