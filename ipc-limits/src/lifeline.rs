//! How a side learns that its peer is gone without paying for it while messages flow.
//!
//! Each end of a link holds one end of a Unix socket pair on which nothing is ever sent. The kernel hangs it
//! up when the other process ends, however it ends.

use crate::peer_gone;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    time::Timespec,
};
use std::{
    hint, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
};

/// Empty looks between two looks at the lifeline: about 0.2 ms. Fewer would show in a loop with short gaps;
/// more would keep a core from a peer that needs it, since the thread also yields then.
const LOOKS: u32 = 1 << 13;

/// Creates the two ends.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// One end of the socket pair.
#[derive(Debug)]
pub(crate) struct Lifeline(pub(crate) OwnedFd);

impl Lifeline {
    /// Calls `look` until it has an answer, as fast as the core can.
    #[inline(always)]
    pub(crate) fn spin<T>(&self, mut look: impl FnMut() -> Option<T>) -> io::Result<T> {
        loop {
            for _ in 0..LOOKS {
                if let Some(found) = look() {
                    return Ok(found);
                }
                hint::spin_loop();
            }
            if self.is_cut()? {
                // Look again: the peer's last message may have come between the last look and its end.
                return look().ok_or_else(peer_gone);
            }
        }
    }

    /// Whether the peer is gone. Gives up the core first: where both sides share one, a spinning thread would
    /// otherwise hold it for a whole scheduler slice, some milliseconds.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_cut(&self) -> io::Result<bool> {
        thread::yield_now();
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents().contains(PollFlags::HUP)),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Lifeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A thread that sleeps on the lifeline for a loop that sleeps on something with no end of its own (a futex,
/// an eventfd). A timeout in that loop would do as well and would cost it a kernel timer per message.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: OwnedFd,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    /// Calls `when_cut` once, from the watching thread, if the peer goes before the watch is dropped.
    pub(crate) fn start(lifeline: Lifeline, when_cut: impl FnOnce() + Send + 'static) -> io::Result<Watch> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let thread = thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
            let mut fds = [PollFd::new(&lifeline, PollFlags::empty()), PollFd::new(&stopped, PollFlags::IN)];
            while let Err(Errno::INTR) = poll(&mut fds, None) {}
            if fds[0].revents().contains(PollFlags::HUP) {
                when_cut();
            }
        })?;
        Ok(Watch { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The counter of a fresh eventfd has room for 1, and the thread only sleeps or returns.
        let told = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        debug_assert!(told.is_ok());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok());
        }
    }
}
