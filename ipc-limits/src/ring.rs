//! A single-producer single-consumer ring of fixed stride per direction: what a stream of messages costs.
//!
//! ```text
//! 0        128      256       256+8           256+stride
//! ┌────────┬────────┬─────────┬────────────┬──┬─────────┬──
//! │ tail   │ head   │ length  │ payload    │  │ length  │ …   slots × stride
//! └────────┴────────┴─────────┴────────────┴──┴─────────┴──
//! ```
//! `tail` counts messages published and is written by the sender, `head` counts messages taken and is written
//! by the receiver; where memory is sealed, in the receiver's own ring, so that no page has two writers. Each
//! side keeps its own index and the capacity private, remembers the other's index, and reads it again only when
//! the remembered one says that nothing is left (Lamport's queue with the cached indices of "MCRingBuffer", Lee
//! et al., IPDPS 2010).

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
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes of both indices.
const CONTROL: usize = 2 * APART;
/// Bytes before a payload, of which the length takes four; eight keep the payload aligned.
const HEADER: usize = 8;

/// Bytes from one direction's ring to the other's.
fn pitch(params: &Params) -> usize {
    (CONTROL + params.slots * params.stride).next_multiple_of(page())
}

/// Bytes of shared memory.
pub(crate) fn len(params: &Params) -> usize {
    2 * pitch(params)
}

/// One side of a [`Kind::Ring`](crate::Kind::Ring) link.
#[derive(Debug)]
pub struct Ring {
    size: usize,
    stride: usize,
    slots: u64,
    batch: u64,
    tx: Half,
    rx: Half,
    lifeline: Lifeline,
}

/// One direction, seen from one side.
#[derive(Debug)]
struct Half {
    /// The index this side publishes: `tail` for a sender, `head` for a receiver.
    ours: Word<AtomicU64>,
    /// The index the peer publishes.
    theirs: Word<AtomicU64>,
    slots: Area,
    /// Messages sent or taken so far.
    index: u64,
    /// The part of `index` that is published.
    published: u64,
    /// The peer's index when last read.
    seen: u64,
}

impl Half {
    fn new(params: &Params, memory: &Arc<Memory>, at: usize, ours: usize, theirs: usize) -> Half {
        Half {
            ours: memory.word(ours),
            theirs: memory.word(theirs),
            slots: memory.area(at + CONTROL, params.slots * params.stride),
            index: 0,
            published: 0,
            seen: 0,
        }
    }

    #[inline(always)]
    fn publish(&mut self) {
        // Release: pairs with the Acquire in look. Hands over the slots up to `index`.
        self.ours.store(self.index, Ordering::Release);
        self.published = self.index;
    }

    /// Counts one message and publishes every `batch`.
    #[inline(always)]
    fn advance(&mut self, batch: u64) {
        self.index += 1;
        if self.index - self.published >= batch {
            self.publish();
        }
    }

    /// Waits until the peer's index is no longer `limit`. Publishes first: the peer may be waiting for what
    /// this side holds back.
    #[inline]
    fn wait_past(&mut self, limit: u64, lifeline: &Lifeline) -> io::Result<()> {
        if self.published != self.index {
            self.publish();
        }
        let theirs = &self.theirs;
        self.seen = lifeline.spin(|| {
            // Acquire: pairs with the Release in publish.
            let found = theirs.load(Ordering::Acquire);
            (found != limit).then_some(found)
        })?;
        Ok(())
    }
}

impl Ring {
    pub(crate) fn new(
        params: &Params,
        memory: &Arc<Memory>,
        side: usize,
        lifeline: Lifeline,
    ) -> io::Result<Ring> {
        let [out, back] = [side, 1 - side].map(|side| side * pitch(params));
        // Whose ring has the head of ours, and of theirs.
        let (taken, taking) = if params.sealed { (back, out) } else { (out, back) };
        if params.sealed {
            memory.protect(back, pitch(params))?;
        }
        Ok(Ring {
            size: params.size,
            stride: params.stride,
            slots: params.slots as u64,
            batch: params.batch as u64,
            tx: Half::new(params, memory, out, out, taken + APART),
            rx: Half::new(params, memory, back, taking + APART, back),
            lifeline,
        })
    }

    /// Where message number `index` lies.
    #[inline(always)]
    fn offset(&self, index: u64) -> usize {
        (index & (self.slots - 1)) as usize * self.stride
    }
}

impl Ring {
    /// Waits for a free slot and returns where it lies.
    #[inline(always)]
    fn free(&mut self) -> io::Result<usize> {
        if self.tx.index - self.tx.seen == self.slots {
            self.tx.wait_past(self.tx.seen, &self.lifeline)?;
        }
        Ok(self.offset(self.tx.index))
    }

    /// Waits for a message of the link's length and returns where it lies.
    #[inline(always)]
    fn next(&mut self) -> io::Result<usize> {
        if self.rx.index == self.rx.seen {
            self.rx.wait_past(self.rx.seen, &self.lifeline)?;
        }
        let at = self.offset(self.rx.index);
        let mut length = [0; HEADER];
        self.rx.slots.read(at, &mut length);
        match u64::from_le_bytes(length) {
            length if length == self.size as u64 => Ok(at),
            length => Err(out_of_step(self.size as u64, length)),
        }
    }
}

impl Bare for Ring {
    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if message.len() != self.size {
            return Err(wrong_length("message", message.len(), self.size));
        }
        let at = self.free()?;
        self.tx.slots.write(at, &(message.len() as u64).to_le_bytes());
        self.tx.slots.write(at + HEADER, message);
        self.tx.advance(self.batch);
        Ok(())
    }

    #[inline]
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let have = buf.len();
        let Some(buf) = buf.get_mut(..self.size) else {
            return Err(wrong_length("buffer", have, self.size));
        };
        let at = self.next()?;
        self.rx.slots.read(at + HEADER, buf);
        self.rx.advance(self.batch);
        Ok(self.size)
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        self.tx.publish();
        Ok(())
    }
}

impl InPlace for Ring {
    #[inline]
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let at = self.free()?;
        self.tx.slots.write(at, &(self.size as u64).to_le_bytes());
        write(self.tx.slots.shared_mut(at + HEADER, self.size));
        self.tx.advance(self.batch);
        Ok(())
    }

    #[inline]
    fn recv_in_place<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let at = self.next()?;
        let result = read(self.rx.slots.shared(at + HEADER, self.size));
        self.rx.advance(self.batch);
        Ok(result)
    }
}
