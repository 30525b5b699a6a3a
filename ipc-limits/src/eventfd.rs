//! One `eventfd` per direction, written and read for each message of a [`Slot`](crate::Slot).

use crate::{
    kind::Wait,
    lifeline::{Lifeline, Watch},
    peer_gone,
    slot::Waiting,
};
use rustix::io::{Errno, read, write};
use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
};

/// What the watch adds to the counter to say that the peer is gone; a ring adds 1.
const GONE: u64 = 1 << 32;

/// Rings and waits on the two descriptors.
#[derive(Debug)]
pub struct Bell {
    rx: OwnedFd,
    tx: OwnedFd,
    peer: Peer,
}

/// How the end of the peer is noticed.
#[derive(Debug)]
enum Peer {
    /// The descriptors do not block; the spinning loop looks by itself.
    Spun(Lifeline),
    /// The read blocks; a thread looks.
    Watched { _watch: Watch },
}

impl Bell {
    /// `rx` and `tx` are blocking for [`Wait::Park`] and non-blocking for [`Wait::Spin`].
    pub(crate) fn new(rx: OwnedFd, tx: OwnedFd, lifeline: Lifeline, wait: Wait) -> io::Result<Bell> {
        let peer = match wait {
            Wait::Spin => Peer::Spun(lifeline),
            Wait::Park => {
                let bell = rx.try_clone()?;
                let watch = Watch::start(lifeline, move || {
                    let told = write(&bell, &GONE.to_ne_bytes());
                    debug_assert!(told.is_ok(), "an eventfd has room for 2^64 - 2");
                })?;
                Peer::Watched { _watch: watch }
            }
        };
        Ok(Bell { rx, tx, peer })
    }

    /// One read of the counter. `None` if it is zero and the descriptor does not block.
    #[inline(always)]
    fn rung(&self) -> Option<Result<u64, Errno>> {
        let mut counter = [0; 8];
        match read(&self.rx, &mut counter) {
            Ok(_) => Some(Ok(u64::from_ne_bytes(counter))),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Waiting for Bell {
    #[inline(always)]
    fn publish(&mut self, word: &AtomicU32, commit: u32) -> io::Result<()> {
        // Release: pairs with the Acquire in wait.
        word.store(commit, Ordering::Release);
        write(&self.tx, &1u64.to_ne_bytes())?;
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, word: &AtomicU32, last: u32) -> io::Result<u32> {
        let rings = match &self.peer {
            Peer::Spun(lifeline) => lifeline.spin(|| self.rung())?,
            Peer::Watched { .. } => loop {
                if let Some(rings) = self.rung() {
                    break rings;
                }
            },
        }?;
        // Acquire: pairs with the Release in publish.
        let found = word.load(Ordering::Acquire);
        // A message that came just before the end was rung for in the same counter.
        if rings >= GONE && found == last { Err(peer_gone()) } else { Ok(found) }
    }
}
