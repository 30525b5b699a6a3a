//! The bells of event loops, and of whoever waits for long: non-blocking eventfds, handed over in the hello.
//!
//! Whether they block is a flag of the open file, which the peer shares and can change at any time, and so is the counter
//! that a write would wait for. So nothing here relies on what was checked at the hello.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use ipc_core::SetupError;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

use crate::errno::setup_error;

/// A bell that has not been rung.
///
/// # Errors
/// `Limit` when there is no descriptor for it.
pub(crate) fn create() -> Result<Arc<OwnedFd>, SetupError> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map(Arc::new)
        .map_err(|error| setup_error("create", "an eventfd", error))
}

/// Whether writing to `fd` rings and never blocks: a pipe, say, could be full.
pub(crate) fn is_one(fd: &OwnedFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    // Without /proc the kernel still tells files, pipes and sockets (they have a type) from anonymous inodes (none).
    let anonymous = match link {
        Ok(name) => name.as_os_str() == "anon_inode:[eventfd]",
        Err(_) => rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_mode & 0o170_000 == 0),
    };
    anonymous && rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// Rings `bell`; one that can be rung no further is ringing already.
///
/// A peer that has filled the counter and cleared the flag cannot make this block; one that fills it between our look
/// and the write can, as `docs/threat-model.md` says. `RWF_NOWAIT`, which would rule that out, is refused for a write to
/// an eventfd (`EOPNOTSUPP`, tried on 6.18). Looking at the flag, too, would cost one more call and only halve the odds of
/// a race that can be run again and again.
pub(crate) fn ring(bell: &OwnedFd) {
    // Where the kernel refuses to be asked (a limit of no descriptors, a filter of system calls), ringing comes first.
    if is_ready(bell, PollFlags::OUT).unwrap_or(true) {
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
    }
}

/// Silences `bell`, which is ours; true if it was ringing. Does not block, whatever the peer does to the flag.
pub(crate) fn silence(bell: &OwnedFd) -> bool {
    let mut count = [0u8; 8];
    let into = &mut [IoSliceMut::new(&mut count)];
    match rustix::io::preadv2(bell, into, u64::MAX, ReadWriteFlags::NOWAIT) {
        Ok(_) => true,
        Err(Errno::AGAIN) => false,
        // No native kernel since 5.8 does not know it, but there are others that speak its language, and filters.
        Err(_) => {
            is_ready(bell, PollFlags::IN).unwrap_or(false) && rustix::io::read(bell, &mut count).is_ok()
        }
    }
}

/// # Errors
/// The kernel refuses to be asked.
fn is_ready(bell: &OwnedFd, readiness: PollFlags) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::new(bell, readiness)];
    let found = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(found == 1 && fds[0].revents().contains(readiness))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use ipc_core::{Armed, Pollable, Receiver, Sender, Transport};

    use super::*;
    use crate::broadcast::{BroadcastOptions, Writer};

    /// What a hostile peer does to the bell that it shares.
    fn jam(bell: &OwnedFd, rings: u64) {
        // Emptied first; a bell that is empty says so at once.
        rustix::fs::fcntl_setfl(bell, OFlags::NONBLOCK).unwrap();
        let _ = rustix::io::read(bell, &mut [0; 8]);
        rustix::io::write(bell, &rings.to_ne_bytes()).unwrap();
        rustix::fs::fcntl_setfl(bell, OFlags::empty()).unwrap();
    }

    /// Fails instead of hanging when `act` blocks.
    fn at_once<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, finished) = channel();
        let acting = std::thread::spawn(move || drop(done.send(act())));
        let result =
            finished.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("{what} blocks"));
        acting.join().unwrap();
        result
    }

    #[test]
    fn ringing_and_silencing_do_not_block_whatever_the_peer_has_done_to_the_bell() {
        for rings in [0, 1, u64::MAX - 1] {
            let bell = create().unwrap();
            jam(&bell, rings);
            let rung = Arc::clone(&bell);
            at_once("ringing", move || ring(&rung));
            assert!(silence(&bell), "it rings");
            jam(&bell, 0);
            let silenced = Arc::clone(&bell);
            assert!(!at_once("silencing", move || silence(&silenced)));
        }
    }

    /// Sends to a receiver that waits in an event loop with a jammed bell, and lets that one look at its own.
    fn a_jammed_bell<S, R>(mechanism: &str, mut tx: S, mut rx: R)
    where
        S: Sender + Send + 'static,
        R: Receiver + Pollable + Send + 'static,
    {
        // Before it is first armed, what it would be watched by is the bell itself.
        let bell = rx.fd().try_clone_to_owned().unwrap();
        assert!(is_one(&bell), "{mechanism}");
        assert_eq!(rx.arm().unwrap(), Armed::MaySleep);
        jam(&bell, u64::MAX - 1);
        tx = at_once(&format!("{mechanism}: a send"), move || {
            tx.try_send(b"x").unwrap();
            tx
        });
        jam(&bell, 0);
        let message = at_once(&format!("{mechanism}: a look at the bell"), move || {
            rx.disarm();
            let mut message = Vec::new();
            rx.try_recv(&mut message).unwrap();
            message
        });
        assert_eq!(message, b"x");
        drop(tx);
    }

    #[test]
    fn a_peer_that_jams_its_bell_blocks_nobody() {
        let (near, far) = crate::Shm::pair(&Default::default()).unwrap();
        a_jammed_bell("shm", near.tx, far.rx);
        let (near, far) = crate::ShmDirect::pair(&Default::default()).unwrap();
        a_jammed_bell("shm-direct", near.tx, far.rx);
        let mut writer = Writer::private(&BroadcastOptions::default()).unwrap();
        let reader = writer.subscribe().unwrap();
        a_jammed_bell("broadcast", writer, reader);
    }
}
