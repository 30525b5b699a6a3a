//! One 8-byte word per direction, each on a line of its own: the least two cores can say to each other.

use crate::{
    Bare,
    lifeline::Lifeline,
    memory::{APART, Memory, Word},
    wrong_length,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes of shared memory: one word per direction, [`APART`].
pub(crate) const LEN: usize = 2 * APART;

/// What both words hold before the first message.
const NOTHING: u64 = u64::MAX;

/// One side of a [`Kind::Cacheline`](crate::Kind::Cacheline) link.
///
/// A send is one store and a receive is one load that sees a new value. The message is the word itself, so
/// the line says both that a message is there and what it is.
#[derive(Debug)]
pub struct Cacheline {
    tx: Word<AtomicU64>,
    rx: Word<AtomicU64>,
    last: u64,
    lifeline: Lifeline,
}

/// Makes fresh memory say that there is no message yet.
pub(crate) fn initialise(memory: &Arc<Memory>) {
    for offset in [0, APART] {
        memory.word::<AtomicU64>(offset).store(NOTHING, Ordering::SeqCst);
    }
}

impl Cacheline {
    pub(crate) fn new(memory: &Arc<Memory>, side: usize, lifeline: Lifeline) -> Cacheline {
        let [tx, rx] = [side, 1 - side].map(|side| memory.word(side * APART));
        Cacheline { tx, rx, last: NOTHING, lifeline }
    }
}

impl Bare for Cacheline {
    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let Ok(bytes) = message.try_into() else {
            return Err(wrong_length("message", message.len(), 8));
        };
        // Release: pairs with the Acquire in recv.
        self.tx.store(u64::from_le_bytes(bytes), Ordering::Release);
        Ok(())
    }

    #[inline]
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let have = buf.len();
        let Some(buf) = buf.first_chunk_mut() else {
            return Err(wrong_length("buffer", have, 8));
        };
        let last = self.last;
        self.last = self.lifeline.spin(|| {
            // Acquire: pairs with the Release in send.
            let found = self.rx.load(Ordering::Acquire);
            (found != last).then_some(found)
        })?;
        *buf = self.last.to_le_bytes();
        Ok(8)
    }
}
