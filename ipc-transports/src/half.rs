//! What the halves over shared memory have in common: how they wait, what tells of their peer, and how they end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use ipc_core::{RecvError, SendError};

use crate::bell::{Sleeper, Waker, WokenBy};
use crate::control::Control;
use crate::fork::Owner;
use crate::memory::Memory;
use crate::pollset::PollSet;
use crate::waiting::{SLICE, Waiting};

/// Why a half cannot be used any more. Sticky.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Broken {
    Closed,
    PeerDied,
    Corrupt(&'static str),
}

impl From<Broken> for SendError {
    fn from(broken: Broken) -> SendError {
        match broken {
            Broken::Closed => SendError::Closed,
            Broken::PeerDied => SendError::PeerDied,
            Broken::Corrupt(what) => SendError::Corrupt { what },
        }
    }
}

impl From<Broken> for RecvError {
    fn from(broken: Broken) -> RecvError {
        match broken {
            Broken::Closed => RecvError::Closed,
            Broken::PeerDied => RecvError::PeerDied { partial_bytes: 0 },
            Broken::Corrupt(what) => RecvError::Corrupt { what },
        }
    }
}

/// What sender and receiver have in common.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) sleeper: Sleeper,
    pub(crate) waker: Waker,
    pub(crate) waiting: Waiting,
    pub(crate) owner: Owner,
    pub(crate) broken: Option<Broken>,
    pub(crate) control: Arc<Control>,
    /// Rung by the peer while we wait in an event loop.
    pub(crate) event: Arc<OwnedFd>,
    poll: PollSet,
    armed: bool,
    /// Calls with [`Wait::Never`] in a row that found nothing.
    vain: u32,
    /// When such calls last asked whether the peer lives.
    asked: Instant,
}

impl Half {
    pub(crate) fn new(
        sleeper: Sleeper,
        waker: Waker,
        waiting: Waiting,
        control: Arc<Control>,
        event: Arc<OwnedFd>,
    ) -> Half {
        Half {
            sleeper,
            waker,
            waiting,
            owner: Owner::here(),
            broken: None,
            control,
            event,
            poll: PollSet::default(),
            armed: false,
            vain: 0,
            asked: Instant::now(),
        }
    }

    #[inline]
    pub(crate) fn is_unusable(&self) -> bool {
        self.owner.is_forked() | self.broken.is_some()
    }

    /// The peer broke the protocol: it gets no more from us, and we take no more from it.
    #[cold]
    pub(crate) fn corrupt(&mut self, ours: &Memory, what: &'static str) -> Broken {
        self.sleeper.leave(ours);
        self.breaks(Broken::Corrupt(what))
    }

    /// From now on this half is unusable for the first reason it was given.
    #[cold]
    pub(crate) fn breaks(&mut self, how: Broken) -> Broken {
        *self.broken.get_or_insert(how)
    }

    /// Counts a fruitless call with [`Wait::Never`]; true when it is time to ask whether the peer still lives. The clock
    /// is read for every eighth only: a busy poller should not pay more for asking than for looking.
    pub(crate) fn polls_in_vain(&mut self) -> bool {
        self.vain = self.vain.wrapping_add(1);
        if !self.vain.is_multiple_of(8) {
            return false;
        }
        let now = Instant::now();
        let due = now - self.asked >= SLICE;
        if due {
            self.asked = now;
        }
        due
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.poll.fd(self.event.as_fd())
    }

    /// Announces that this half waits in an event loop. Look once more after this.
    pub(crate) fn arm(&mut self, ours: &Memory) -> std::io::Result<()> {
        self.poll.ensure(self.event.as_fd(), [&*self.control])?;
        self.armed = true;
        self.sleeper.announce(ours, WokenBy::Eventfd);
        Ok(())
    }

    /// Takes the announcement back and silences the bell.
    pub(crate) fn disarm(&mut self, ours: &Memory) {
        if !std::mem::take(&mut self.armed) || self.owner.is_forked() {
            return;
        }
        self.sleeper.awake(ours);
        let mut count = [0u8; 8];
        if rustix::io::read(&*self.event, &mut count).is_err() {
            // It was not the bell that woke us: maybe the peer is gone. The next look in vain asks.
            self.vain = 7;
            self.asked = self.asked.checked_sub(SLICE).unwrap_or(self.asked);
        }
    }
}
