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
    pub(crate) fn ensure<'a>(
        &mut self,
        bell: BorrowedFd<'_>,
        controls: impl IntoIterator<Item = &'a Control>,
    ) -> std::io::Result<()> {
        if self.0.is_some() {
            return Ok(());
        }
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&set, bell, EventData::new_u64(0), EventFlags::IN)?;
        controls.into_iter().try_for_each(|control| add(&set, control))?;
        self.0 = Some(set);
        Ok(())
    }

    /// Watches one more peer, if the descriptor is there already.
    ///
    /// # Errors
    /// As [`ensure`](PollSet::ensure).
    pub(crate) fn add(&self, control: &Control) -> std::io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |set| add(set, control))
    }

    /// The descriptor, or `instead` while there is none.
    pub(crate) fn fd<'a>(&'a self, instead: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.0.as_ref().map_or(instead, |set| set.as_fd())
    }
}

fn add(set: &OwnedFd, control: &Control) -> std::io::Result<()> {
    // RDHUP, not IN: a goodbye byte lies there for good and would keep the set ready for ever.
    epoll::add(set, control.socket(), EventData::new_u64(1), EventFlags::RDHUP)?;
    if let Some(pidfd) = control.pidfd() {
        epoll::add(set, pidfd, EventData::new_u64(2), EventFlags::IN)?;
    }
    Ok(())
}
