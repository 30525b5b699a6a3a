//! What the halves over shared memory have in common: how they wait, what tells of their peer, and how they end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::{Armed, RecvError, SendError, Stats, Wait};

use crate::bell::{Sleeper, Waker, WokenBy};
use crate::control::Control;
use crate::eventfd;
use crate::fork::Owner;
use crate::memory::Memory;
use crate::pollset::PollSet;
use crate::waiting::{NoDoze, SLICE, Site, Stopped, Waiting};

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
    /// Rung by the peer while we wait in an event loop, or for long.
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

    /// The peer broke the protocol: it gets no more from us, and is woken to see it; and we take no more from it.
    #[cold]
    pub(crate) fn corrupt(
        &mut self,
        ours: &Memory,
        theirs: &Memory,
        stats: &mut Stats,
        what: &'static str,
    ) -> Broken {
        self.leave(ours, theirs, stats);
        self.breaks(Broken::Corrupt(what))
    }

    /// From now on this half is unusable for the first reason it was given.
    #[cold]
    pub(crate) fn breaks(&mut self, how: Broken) -> Broken {
        *self.broken.get_or_insert(how)
    }

    /// Why a receiver that [`is_unusable`](Half::is_unusable) receives nothing.
    #[cold]
    pub(crate) fn recv_refusal(&self) -> RecvError {
        match (self.broken, self.owner.is_forked()) {
            (Some(broken), false) => broken.into(),
            _ => RecvError::Forked,
        }
    }

    /// Wakes the peer's half if it sleeps.
    #[inline]
    pub(crate) fn wake_peer(&mut self, ours: &Memory, theirs: &Memory, stats: &mut Stats) {
        if self.waker.peer_sleeps(theirs) {
            self.ring_peer(ours, theirs, stats);
        }
    }

    /// Out of line: inlined, it costs every loan that is committed a dozen instructions.
    #[cold]
    #[inline(never)]
    fn ring_peer(&mut self, ours: &Memory, theirs: &Memory, stats: &mut Stats) {
        let rang = self.waker.ring(ours, theirs);
        stats.wakes += u64::from(rang);
    }

    /// Says goodbye and wakes the peer to hear it. A forked child's copy must not say it for its parent.
    pub(crate) fn leave(&mut self, ours: &Memory, theirs: &Memory, stats: &mut Stats) {
        if !self.owner.is_forked() {
            self.sleeper.leave(ours);
            self.wake_peer(ours, theirs, stats);
        }
    }

    /// Looks whether the peer has said goodbye. What is `ready` in spite of that comes first.
    pub(crate) fn check<E: From<Broken>>(
        &mut self,
        theirs: &Memory,
        ready: impl FnOnce() -> bool,
    ) -> Result<(), E> {
        if self.waker.peer_left(theirs) { self.over(Broken::Closed, ready) } else { Ok(()) }
    }

    /// As [`check`](Half::check), also asking the kernel whether the peer still lives.
    pub(crate) fn check_peer<E: From<Broken>>(
        &mut self,
        theirs: &Memory,
        ready: impl Fn() -> bool,
    ) -> Result<(), E> {
        let gone = self.control.peer_gone();
        self.check(theirs, &ready)?;
        if gone { self.over(Broken::PeerDied, ready) } else { Ok(()) }
    }

    fn over<E: From<Broken>>(&mut self, how: Broken, ready: impl FnOnce() -> bool) -> Result<(), E> {
        if ready() { Ok(()) } else { Err(self.breaks(how).into()) }
    }

    /// Sleeps at most `slice` unless it is `ready`, or the peer has left.
    pub(crate) fn park(
        &mut self,
        ours: &Memory,
        theirs: &Memory,
        slice: Duration,
        stats: &mut Stats,
        ready: impl Fn() -> bool,
    ) {
        let waker = &self.waker;
        let slept = self.sleeper.park(ours, theirs, slice, || !ready() && !waker.peer_left(theirs));
        stats.parks += u64::from(slept);
    }

    /// Sleeps until the peer rings or its end shows, at most `left`, unless it is `ready` or the peer has left. True: the end.
    pub(crate) fn doze(
        &mut self,
        ours: &Memory,
        theirs: &Memory,
        left: Option<Duration>,
        stats: &mut Stats,
        ready: impl Fn() -> bool,
    ) -> Result<bool, NoDoze> {
        self.sleeper.announce(ours, WokenBy::Eventfd);
        let slept = if !self.sleeper.is_ordered() {
            Err(NoDoze)
        } else if ready() || self.waker.peer_left(theirs) {
            Ok(false)
        } else {
            let slept = self.control.sleep_on(self.event.as_fd(), left);
            stats.parks += u64::from(slept.is_ok());
            slept.map_err(|_| NoDoze)
        };
        self.sleeper.awake(ours);
        eventfd::silence(&self.event);
        slept
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

    /// Announces that this half waits in an event loop, unless it then is `ready` or the peer has left.
    pub(crate) fn arm(
        &mut self,
        ours: &Memory,
        theirs: &Memory,
        ready: impl FnOnce() -> bool,
    ) -> std::io::Result<Armed> {
        self.poll.ensure(self.event.as_fd(), [&*self.control])?;
        self.armed = true;
        self.sleeper.announce(ours, WokenBy::Eventfd);
        if ready() || self.waker.peer_left(theirs) {
            self.disarm(ours);
            return Ok(Armed::Ready);
        }
        Ok(Armed::MaySleep)
    }

    /// Takes the announcement back and silences the bell.
    pub(crate) fn disarm(&mut self, ours: &Memory) {
        if !std::mem::take(&mut self.armed) || self.owner.is_forked() {
            return;
        }
        self.sleeper.awake(ours);
        if !eventfd::silence(&self.event) {
            // It was not the bell that woke us: maybe the peer is gone. The next look in vain asks.
            self.vain = 7;
            self.asked = self.asked.checked_sub(SLICE).unwrap_or(self.asked);
        }
    }
}

/// Where a half waits for something, and what its caller is told if it does not come.
pub(crate) trait HalfSite: Site {
    const NOT_NOW: Self::Error;
    const TIMED_OUT: Self::Error;

    fn half(&mut self) -> (&mut Half, &mut Stats);
}

/// Waits until `site` is ready.
pub(crate) fn wait_at<S: HalfSite>(site: &mut S, wait: Wait) -> Result<(), S::Error> {
    let waiting = site.half().0.waiting;
    match waiting.until_ready(site, wait) {
        Ok(()) => Ok(()),
        Err(Stopped::Failed(error)) => Err(error),
        Err(Stopped::TimeUp) if wait == Wait::Never => Err(stopped(site, wait)),
        Err(Stopped::TimeUp) => Err(S::TIMED_OUT),
    }
}

/// What a caller is told whose time is up and whose `site` is not ready; before that, at times, whether the peer still lives.
pub(crate) fn stopped<S: HalfSite>(site: &mut S, wait: Wait) -> S::Error {
    let (half, stats) = site.half();
    let (asks, answer) = if wait == Wait::Never {
        stats.would_block += 1;
        (half.polls_in_vain(), S::NOT_NOW)
    } else {
        (true, S::TIMED_OUT)
    };
    if asks && let Err(gone) = site.check_peer() {
        return gone;
    }
    answer
}
