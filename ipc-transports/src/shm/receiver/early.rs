//! Receiving a message into a buffer while it is still being written (`ring/cut_through.rs`).

use ipc_core::{RecvError, Wait};

use super::{ForRecord, ShmReceiver};
use crate::half::wait_at;
use crate::ring::{PART, Record};

impl ShmReceiver {
    /// Tells the peer's sender, after a long message, whether the next one need show while it is being written: its writer has
    /// to take the line for that away from a reader who has no use for it.
    pub(super) fn will_copy_early(&mut self, len: usize, early: bool) {
        if len > PART && early != self.copies_early {
            self.copies_early = early;
            self.ring.say_copies_early(early);
        }
    }

    /// Waits for a message and copies it into `buf`, which is empty. Apart from `recv` to the end: where both met again, the place
    /// of every message would pass through memory.
    #[inline(never)]
    pub(super) fn recv_late(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        self.before_waiting(wait);
        let mut seen = 0;
        loop {
            if let Err(error) = wait_at(&mut ForRecord { rx: self, seen }, wait) {
                buf.clear();
                return Err(error);
            }
            match self.ring.look() {
                Ok(Some(record)) => {
                    self.waited_for = record.len;
                    self.will_copy_early(record.len, wait != Wait::Never);
                    if buf.is_empty() {
                        self.take_into(record, buf);
                    } else {
                        self.take_rest(record, buf);
                    }
                    return Ok(record.len);
                }
                // Who polls would begin anew each time.
                Ok(None) if wait == Wait::Never => seen = self.ring.shown().word,
                Ok(None) => {
                    seen = self.copy_what_shows(buf);
                    if is_over(wait) {
                        buf.clear();
                        return Err(RecvError::TimedOut);
                    }
                }
                Err(corrupt) => return Err(self.corrupt(corrupt)),
            }
        }
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

    /// Copies behind `buf` what else shows of the message that is being written; its commit word.
    #[cold]
    fn copy_what_shows(&mut self, buf: &mut Vec<u8>) -> u64 {
        let (copied, shown) = (buf.len(), self.ring.shown());
        if shown.bytes > copied {
            buf.reserve(shown.bytes - copied);
            // SAFETY: there is room for that many bytes.
            unsafe { self.ring.read_part(copied, shown.bytes, buf.as_mut_ptr()) };
            // SAFETY: they have been written.
            unsafe { buf.set_len(shown.bytes) };
        }
        shown.word
    }
}

/// Whether the time of a call is up, asked after each look: a peer that shows ever more does not hold up who has a deadline.
pub(super) fn is_over(wait: Wait) -> bool {
    wait != Wait::Never && wait.remaining().is_some_and(|left| left.is_zero())
}
