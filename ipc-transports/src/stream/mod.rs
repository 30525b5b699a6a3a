//! Messages over a byte stream: framing state, partial writes and buffered reads, written once for Unix sockets, TCP
//! and pipes. What differs between them is a [`Link`].

mod receiver;
mod sender;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ipc_core::{SendError, Wait, WaitPolicy};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, Result};

use crate::handshake::sleep;
use crate::places::Place;

pub use receiver::StreamReceiver;
pub use sender::StreamSender;

/// Whether one attempt may sleep in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Mode {
    Block,
    Try,
}

/// One open byte stream in both or one direction. Sealed by being hidden: [`StreamSender`] and [`StreamReceiver`] are
/// public, what they stand on is not.
#[doc(hidden)]
pub trait Link: Send + std::fmt::Debug {
    /// `sendmsg`, `writev`: bytes written, at least one.
    fn write(&self, parts: &[IoSlice<'_>], mode: Mode) -> Result<usize>;
    /// `recvmsg`, `readv`: bytes read, zero at end of file.
    fn read(&self, parts: &mut [IoSliceMut<'_>], mode: Mode) -> Result<usize>;
    fn fd(&self) -> BorrowedFd<'_>;
    /// Readable once the peer's process has exited; for waits that a forked copy of the peer's descriptor would hide
    /// its death from.
    fn peer_pidfd(&self) -> Option<BorrowedFd<'_>>;
    /// A write found nobody to read it: `Closed` or `PeerDied`.
    fn why_unwritable(&self, peer_said_goodbye: bool) -> SendError;
    /// Asks the kernel for more room, for a goodbye on a full link.
    fn make_room(&self);
    fn close_write(&self);
    fn close_read(&self);
}

/// What the two halves of a connection know together.
#[derive(Debug, Default)]
pub struct Shared {
    peer_said_goodbye: AtomicBool,
    /// At a listener: the peer's place.
    _place: Place,
}

impl Shared {
    /// Of a connection that keeps `place`.
    pub(crate) fn keeping(place: Place) -> Shared {
        Shared { _place: place, ..Shared::default() }
    }

    pub(crate) fn hear_goodbye(&self) {
        // Relaxed: a hint between two halves of one connection; no other data depends on it.
        self.peer_said_goodbye.store(true, Relaxed);
    }

    pub(crate) fn heard_goodbye(&self) -> bool {
        self.peer_said_goodbye.load(Relaxed)
    }
}

/// How long dropping a sender waits for room for what is still to go out.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Attempts that do not sleep, before the one that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct Attempts {
    /// Of every call.
    pub(crate) always: u32,
    /// Of a receiver whose last read brought more than the message it was for: the next ones are probably on their way.
    pub(crate) behind_more: u32,
    /// Of both sides while a message of [`LONG`] bytes is on its way, and of a receiver behind one: the peer is copying.
    pub(crate) beside_long: u32,
}

/// Bytes of a message from which on its copies are worth waiting for without a sleep.
const LONG: usize = 8 * 1024;

impl Attempts {
    /// `spin`: about a millisecond of looking, so that a peer on the same CPU is starved no longer than that.
    const SPIN: u32 = 2_000;

    /// Behind more than one message: they take no longer than to be woken does, which costs the sender as much (ADR 0019).
    const BEHIND_MORE: u32 = 16;

    /// Beside a long message: as long as its copies take, and about as long as what a sleep costs the two sides, of which
    /// such a message would have several (ADR 0023).
    const BESIDE_LONG: u32 = 128;

    /// Of a connection that waits as `policy` says, by default `park`. On a CPU that both ends share, looking keeps the peer from
    /// sending: only who asks for `spin` does it.
    pub(crate) fn under(policy: Option<WaitPolicy>, share_one_cpu: bool) -> Attempts {
        let always = match policy {
            Some(WaitPolicy::Spin) => Attempts::SPIN,
            Some(WaitPolicy::Park | WaitPolicy::Adaptive) | None => 0,
        };
        let unless_shared = |attempts: u32| if share_one_cpu { always } else { attempts.max(always) };
        Attempts {
            always,
            behind_more: unless_shared(Attempts::BEHIND_MORE),
            beside_long: unless_shared(Attempts::BESIDE_LONG),
        }
    }

    /// Of a connection to another machine: what takes time there is the way, not a copy.
    pub(crate) fn far(self) -> Attempts {
        Attempts { beside_long: self.always, ..self }
    }

    /// Of a sender that writes a message, or a batch of them, of so many bytes.
    #[inline]
    pub(crate) fn to_write(self, bytes: usize) -> u32 {
        if bytes >= LONG { self.beside_long } else { self.always }
    }
}

/// How often a receiver looks before it sleeps: more than always only once for what has come, however often it is called then.
#[derive(Debug)]
pub(crate) struct Looks {
    attempts: Attempts,
    next: u32,
}

impl Looks {
    pub(crate) fn new(attempts: Attempts) -> Looks {
        Looks { attempts, next: attempts.always }
    }

    /// Those of a read that waits so. A call whose time is over uses them up, too.
    #[inline]
    pub(crate) fn take(&mut self, wait: Wait) -> u32 {
        if wait == Wait::Never { 0 } else { std::mem::replace(&mut self.next, self.attempts.always) }
    }

    /// No read has waited yet since something came behind a message or beside a long one.
    #[inline]
    pub(crate) fn are_fresh(&self) -> bool {
        self.next > self.attempts.always
    }

    /// Something came and was left behind a message.
    #[inline]
    pub(crate) fn behind_more(&mut self) {
        self.next = self.attempts.behind_more;
    }

    /// Something came of a message of `len` bytes, perhaps all of it.
    #[inline]
    pub(crate) fn beside(&mut self, len: usize) {
        if len >= LONG {
            self.next = self.next.max(self.attempts.beside_long);
        }
    }
}

/// Why a transfer moved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    WouldBlock,
    TimedOut,
    /// The peer's process has exited, though somebody still holds its descriptors.
    PeerExited,
    Failed(Errno),
}

/// Moves bytes once, waiting as `wait` says, after so many `looks`, attempts that do not sleep; with `Forever` the kernel then sleeps
/// inside the one call.
#[inline]
pub(crate) fn transfer<L: Link>(
    link: &L,
    looks: u32,
    readiness: PollFlags,
    wait: Wait,
    mut attempt: impl FnMut(&L, Mode) -> Result<usize>,
) -> std::result::Result<usize, Halt> {
    if wait == Wait::Forever {
        for _ in 0..looks {
            match attempt(link, Mode::Try) {
                Err(Errno::AGAIN | Errno::INTR) => std::hint::spin_loop(),
                done => return done.map_err(Halt::Failed),
            }
        }
        loop {
            match attempt(link, Mode::Block) {
                Err(Errno::INTR) => {}
                done => return done.map_err(Halt::Failed),
            }
        }
    }
    let (mut looks, mut peer_exited) = (looks, false);
    loop {
        match attempt(link, Mode::Try) {
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {}
            done => return done.map_err(Halt::Failed),
        }
        if peer_exited {
            return Err(Halt::PeerExited);
        }
        if wait == Wait::Never {
            return Err(Halt::WouldBlock);
        }
        if wait.is_over() {
            return Err(Halt::TimedOut);
        }
        if looks > 0 {
            looks -= 1;
            continue;
        }
        let peer = link.peer_pidfd();
        let mut fds = [
            PollFd::from_borrowed_fd(link.fd(), readiness),
            PollFd::from_borrowed_fd(peer.unwrap_or(link.fd()), PollFlags::IN),
        ];
        let watched = if peer.is_some() { 2 } else { 1 };
        sleep(&mut fds[..watched], wait.remaining()).map_err(Halt::Failed)?;
        // One more attempt decides: what the peer sent before it exited comes first.
        peer_exited = watched == 2 && !fds[1].revents().is_empty() && fds[0].revents().is_empty();
    }
}

#[cfg(test)]
mod tests;
