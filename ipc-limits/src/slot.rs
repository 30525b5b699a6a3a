//! One slot per direction, commit word and payload contiguous: what a message of any length costs at least.
//!
//! ```text
//! side 0 writes                          side 1 writes
//! 0        4        8          8+size    pitch
//! ┌────────┬────────┬─────────────┐      ┌────────┬────────┬─────────────┐
//! │ commit │ length │ payload     │      │ commit │ length │ payload     │
//! └────────┴────────┴─────────────┘      └────────┴────────┴─────────────┘
//! ```
//! `commit` counts messages in steps of [`STEP`]; its two low bits belong to the waiting. Up to 56 bytes of
//! payload share the commit word's line, so a message is one line handed over, and the receiver polls that
//! very line. Where memory is sealed, each side's slot has pages of its own. There is no acknowledgement: in a
//! closed loop the answer is one.

use crate::{
    Bare, InPlace, Params,
    lifeline::Lifeline,
    memory::{APART, Area, Memory, Word, page},
    out_of_step, wrong_length,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Bytes before the payload.
const HEADER: usize = 8;
/// The receiver sleeps and wants a wake-up call.
pub(crate) const ASLEEP: u32 = 1;
/// The receiver's own watch found the sender gone.
pub(crate) const CUT: u32 = 2;
/// From one message's commit word to the next's.
const STEP: u32 = 4;

/// Bytes from one direction's slot to the other's.
fn pitch(params: &Params) -> usize {
    (HEADER + params.size).next_multiple_of(if params.sealed { page() } else { APART })
}

/// Bytes of shared memory.
pub(crate) fn len(params: &Params) -> usize {
    2 * pitch(params)
}

/// How the two sides of a [`Slot`] tell each other that the commit word has changed.
pub trait Waiting: Send {
    /// Stores `commit` with Release or stronger and wakes the receiver if that is needed.
    ///
    /// # Errors
    /// What the wake-up call said.
    fn publish(&mut self, word: &AtomicU32, commit: u32) -> io::Result<()>;

    /// Waits, with Acquire, until `word` is no longer `last` (apart from the mark of a sleeping receiver), and
    /// returns it.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer is gone, and what the sleeping call said.
    fn wait(&mut self, word: &AtomicU32, last: u32) -> io::Result<u32>;
}

/// One side of a [`Kind::Slot`](crate::Kind::Slot), [`Kind::Futex`](crate::Kind::Futex),
/// [`Kind::SpinThenFutex`](crate::Kind::SpinThenFutex) or [`Kind::Eventfd`](crate::Kind::Eventfd) link.
#[derive(Debug)]
pub struct Slot<W> {
    // First, because dropping it ends the thread that may still use the word of `rx`.
    waiting: W,
    size: usize,
    tx: Half,
    rx: Half,
}

/// One direction.
#[derive(Debug)]
struct Half {
    commit: Word<AtomicU32>,
    length: Word<AtomicU32>,
    payload: Area,
    /// The commit word of the last message.
    last: u32,
}

impl Half {
    fn new(memory: &Arc<Memory>, at: usize, size: usize) -> Half {
        let [commit, length] = [0, 4].map(|offset| memory.word(at + offset));
        Half { commit, length, payload: memory.area(at + HEADER, size), last: 0 }
    }
}

impl<W: Waiting> Slot<W> {
    /// `waiting` is given the word that this side waits on.
    pub(crate) fn new(
        params: &Params,
        memory: &Arc<Memory>,
        side: usize,
        waiting: impl FnOnce(Word<AtomicU32>) -> io::Result<W>,
    ) -> io::Result<Slot<W>> {
        let (size, pitch) = (params.size, pitch(params));
        let theirs = (1 - side) * pitch;
        let [tx, rx] = [side * pitch, theirs].map(|at| Half::new(memory, at, size));
        if params.sealed {
            memory.protect(theirs, pitch)?;
        }
        let waiting = waiting(memory.word(theirs))?;
        Ok(Slot { waiting, size, tx, rx })
    }
}

impl<W: Waiting> Slot<W> {
    /// Hands over what the payload holds.
    #[inline(always)]
    fn publish(&mut self) -> io::Result<()> {
        // Relaxed: the commit word's Release publishes it.
        self.tx.length.store(self.size as u32, Ordering::Relaxed);
        self.tx.last = self.tx.last.wrapping_add(STEP);
        self.waiting.publish(&self.tx.commit, self.tx.last)
    }

    /// Waits until the payload holds the next message.
    #[inline(always)]
    fn next(&mut self) -> io::Result<()> {
        let commit = self.waiting.wait(&self.rx.commit, self.rx.last)?;
        // Relaxed: the Acquire of the wait covers it.
        let length = self.rx.length.load(Ordering::Relaxed) as usize;
        self.rx.last = self.rx.last.wrapping_add(STEP);
        if commit & !(ASLEEP | CUT) == self.rx.last && length == self.size {
            Ok(())
        } else {
            Err(out_of_step(self.rx.last.into(), commit.into()))
        }
    }
}

impl<W: Waiting> Bare for Slot<W> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if message.len() != self.size {
            return Err(wrong_length("message", message.len(), self.size));
        }
        self.tx.payload.write(0, message);
        self.publish()
    }

    #[inline]
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let have = buf.len();
        let Some(buf) = buf.get_mut(..self.size) else {
            return Err(wrong_length("buffer", have, self.size));
        };
        self.next()?;
        self.rx.payload.read(0, buf);
        Ok(self.size)
    }
}

impl<W: Waiting> InPlace for Slot<W> {
    #[inline]
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) -> io::Result<()> {
        write(self.tx.payload.shared_mut(0, self.size));
        self.publish()
    }

    #[inline]
    fn recv_in_place<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        self.next()?;
        Ok(read(self.rx.payload.shared(0, self.size)))
    }
}

/// Spins: a store on one side, a load on the other.
#[derive(Debug)]
pub struct Spin(pub(crate) Lifeline);

impl Waiting for Spin {
    #[inline(always)]
    fn publish(&mut self, word: &AtomicU32, commit: u32) -> io::Result<()> {
        // Release: pairs with the Acquire in wait.
        word.store(commit, Ordering::Release);
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, word: &AtomicU32, last: u32) -> io::Result<u32> {
        self.0.spin(|| {
            // Acquire: pairs with the Release in publish.
            let found = word.load(Ordering::Acquire);
            (found != last).then_some(found)
        })
    }
}
