//! The descriptor an event loop watches for one half of a memory-backed connection: an epoll descriptor over the half's
//! bell and over what tells of the peer's death. Made on first use, so blocking users never pay for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::control::Control;

#[derive(Debug, Default)]
pub(crate) struct PollSet(Option<OwnedFd>);

impl PollSet {
    /// Makes the descriptor if it is not there yet.
    ///
    /// # Errors
    /// A descriptor or epoll limit is reached.
    pub(crate) fn ensure(&mut self, bell: BorrowedFd<'_>, control: &Control) -> std::io::Result<()> {
        if self.0.is_some() {
            return Ok(());
        }
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&set, bell, EventData::new_u64(0), EventFlags::IN)?;
        // RDHUP, not IN: a goodbye byte lies there for good and would keep the set ready for ever.
        epoll::add(&set, control.socket(), EventData::new_u64(1), EventFlags::RDHUP)?;
        if let Some(pidfd) = control.pidfd() {
            epoll::add(&set, pidfd, EventData::new_u64(2), EventFlags::IN)?;
        }
        self.0 = Some(set);
        Ok(())
    }

    /// The descriptor, or `instead` while there is none.
    pub(crate) fn fd<'a>(&'a self, instead: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.0.as_ref().map_or(instead, |set| set.as_fd())
    }
}
