//! The two halves of a `shm-direct` connection.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::{
    Armed, Interest, PeekReceiver, Pollable, Receiver, RecvError, SendError, Sender, Stats, Wait,
};

use crate::control::Control;
use crate::eventfd;
use crate::fork::Owner;
use crate::lent::{self, CopiesOut, Lent};
use crate::pollset::PollSet;
use crate::slot::{Attempt, Cells, Corrupt, Ring, SharedCells, Side};
use crate::waiting::{NoDoze, SLICE, Site, Stopped, Waiting};

/// How long [`Pollable::arm`] waits for the lock before it says "try again".
const ARM_PATIENCE: Duration = Duration::from_millis(1);

/// Of so many [`Wait::Never`] calls in a row that found nothing to do, one reads the clock.
const CLOCK_EVERY: u32 = 8;

/// Why a half cannot be used any more. Sticky.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Closed,
    PeerDied { partial_bytes: usize },
    Corrupt(&'static str),
}

impl From<Broken> for SendError {
    fn from(broken: Broken) -> SendError {
        match broken {
            Broken::Closed => SendError::Closed,
            Broken::PeerDied { .. } => SendError::PeerDied,
            Broken::Corrupt(what) => SendError::Corrupt { what },
        }
    }
}

impl From<Broken> for RecvError {
    fn from(broken: Broken) -> RecvError {
        match broken {
            Broken::Closed => RecvError::Closed,
            Broken::PeerDied { partial_bytes } => RecvError::PeerDied { partial_bytes },
            Broken::Corrupt(what) => RecvError::Corrupt { what },
        }
    }
}

/// Why an operation did not come to its end.
enum Halt {
    WouldBlock,
    TimedOut,
    Broken(Broken),
}

/// What sender and receiver have in common.
#[derive(Debug)]
pub(super) struct Half {
    side: Side<SharedCells>,
    waiting: Waiting,
    control: Arc<Control>,
    /// Rung by the peer while we wait in an event loop, or for long.
    bell: Arc<OwnedFd>,
    /// Rung by us while the peer does.
    peers_bell: Arc<OwnedFd>,
    poll: PollSet,
    armed: bool,
    broken: Option<Broken>,
    /// Calls with [`Wait::Never`] in a row that found nothing to do.
    vain: u32,
    /// When such calls last asked whether the peer lives.
    asked: Instant,
    owner: Owner,
    stats: Stats,
}

impl Half {
    pub(super) fn new(
        side: Side<SharedCells>,
        waiting: Waiting,
        control: Arc<Control>,
        bell: Arc<OwnedFd>,
        peers_bell: Arc<OwnedFd>,
    ) -> Half {
        Half {
            side,
            waiting,
            control,
            bell,
            peers_bell,
            poll: PollSet::default(),
            armed: false,
            broken: None,
            vain: 0,
            asked: Instant::now(),
            owner: Owner::here(),
            stats: Stats::default(),
        }
    }

    #[inline]
    fn is_unusable(&self) -> bool {
        self.owner.is_forked() | self.broken.is_some()
    }

    /// From now on this half is unusable for the first reason it was given.
    #[cold]
    fn breaks(&mut self, how: Broken) -> Broken {
        let how = *self.broken.get_or_insert(how);
        if let Broken::Corrupt(_) = how {
            self.leave();
        }
        how
    }

    /// Says that this half is gone, and wakes the peer to hear it. A forked child's copy must not say it for its parent.
    fn leave(&mut self) {
        if !self.owner.is_forked() {
            self.side.leave();
            self.ring();
        }
    }

    /// Repeats `attempt` until it is done, within `wait`. True: it had to wait.
    #[inline]
    fn transfer(
        &mut self,
        wait: Wait,
        mut attempt: impl FnMut(&mut Side<SharedCells>) -> Result<Attempt<()>, Corrupt>,
    ) -> Result<bool, Halt> {
        match attempt(&mut self.side) {
            Ok(Attempt::Done((), ring)) => {
                self.done(ring);
                Ok(false)
            }
            first => self.transfer_slowly(first, wait, attempt),
        }
    }

    #[inline(never)]
    fn transfer_slowly(
        &mut self,
        first: Result<Attempt<()>, Corrupt>,
        wait: Wait,
        mut attempt: impl FnMut(&mut Side<SharedCells>) -> Result<Attempt<()>, Corrupt>,
    ) -> Result<bool, Halt> {
        let mut outcome = first;
        loop {
            match outcome {
                Ok(Attempt::Done((), ring)) => {
                    self.done(ring);
                    return Ok(true);
                }
                Ok(Attempt::NotYet) => self.until_ready(wait)?,
                // The peer has the lock: stopped, starved of its CPU, or copying a very long message.
                Ok(Attempt::Busy) if wait.is_over() => return Err(self.time_is_up(wait)),
                Ok(Attempt::Busy) => Sleeper(self).check_peer().map_err(Halt::Broken)?,
                Ok(Attempt::Left) => return Err(Halt::Broken(self.breaks(Broken::Closed))),
                Ok(Attempt::Died) => {
                    return Err(Halt::Broken(self.breaks(Broken::PeerDied { partial_bytes: 0 })));
                }
                Err(Corrupt(what)) => return Err(Halt::Broken(self.breaks(Broken::Corrupt(what)))),
            }
            let waited = matches!(outcome, Ok(Attempt::NotYet));
            outcome = attempt(&mut self.side);
            if waited && matches!(outcome, Ok(Attempt::NotYet)) {
                outcome = Err(Corrupt("a change was announced that did not happen"));
            }
        }
    }

    #[inline(always)]
    fn done(&mut self, ring: Ring) {
        self.vain = 0;
        if ring != Ring::Nobody {
            self.stats.wakes += 1;
        }
        if ring == Ring::Eventfd {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        eventfd::ring(&self.peers_bell);
    }

    fn until_ready(&mut self, wait: Wait) -> Result<(), Halt> {
        let waiting = self.waiting;
        match waiting.until_ready(&mut Sleeper(self), wait) {
            Ok(()) => Ok(()),
            Err(Stopped::Failed(broken)) => Err(Halt::Broken(broken)),
            Err(Stopped::TimeUp) => {
                if wait == Wait::Never && self.asks_for_the_peer() {
                    Sleeper(self).check_peer().map_err(Halt::Broken)?;
                }
                Err(self.time_is_up(wait))
            }
        }
    }

    fn time_is_up(&mut self, wait: Wait) -> Halt {
        match wait {
            Wait::Never => {
                self.stats.would_block += 1;
                Halt::WouldBlock
            }
            _ => Halt::TimedOut,
        }
    }

    /// Whether it is time to ask the kernel if the peer still lives, in a loop of calls that do not wait.
    fn asks_for_the_peer(&mut self) -> bool {
        self.vain = self.vain.wrapping_add(1);
        if !self.vain.is_multiple_of(CLOCK_EVERY) {
            return false;
        }
        let now = Instant::now();
        let due = now - self.asked >= SLICE;
        if due {
            self.asked = now;
        }
        due
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.poll.fd(self.bell.as_fd())
    }

    fn arm(&mut self) -> io::Result<Armed> {
        if self.is_unusable() {
            return Ok(Armed::Ready);
        }
        self.poll.ensure(self.bell.as_fd(), [&*self.control])?;
        let may_sleep = match self.side.announce(true, ARM_PATIENCE) {
            Ok(may_sleep) => may_sleep,
            Err(Corrupt(what)) => {
                self.breaks(Broken::Corrupt(what));
                false
            }
        };
        self.armed = may_sleep;
        let alive = Sleeper(self).check_peer().is_ok();
        Ok(if may_sleep && alive { Armed::MaySleep } else { Armed::Ready })
    }

    fn disarm(&mut self) {
        if !std::mem::take(&mut self.armed) || self.owner.is_forked() {
            return;
        }
        self.side.awake();
        if !eventfd::silence(&self.bell) {
            // It was not the bell that woke us: maybe the peer is gone.
            let _ = Sleeper(self).check_peer();
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Waiting for the peer to fill or to empty the slot.
struct Sleeper<'a>(&'a mut Half);

impl Site for Sleeper<'_> {
    type Error = Broken;

    #[inline(always)]
    fn is_ready(&self) -> bool {
        self.0.side.is_ready()
    }

    fn check(&mut self) -> Result<(), Broken> {
        // A peer that leaves changes the very word that is waited for.
        Ok(())
    }

    fn check_peer(&mut self) -> Result<(), Broken> {
        let gone = self.0.control.peer_gone();
        // What the peer did before its end counts.
        if gone && !self.is_ready() {
            let partial_bytes = self.0.side.autopsy();
            return Err(self.0.breaks(Broken::PeerDied { partial_bytes }));
        }
        Ok(())
    }

    fn park(&mut self, slice: Duration) {
        // A broken slot shows in the attempt that follows.
        if let Ok(true) = self.0.side.announce(false, slice) {
            self.0.stats.parks += 1;
            self.0.side.sleep(slice);
        }
    }

    fn doze(&mut self, left: Option<Duration>) -> Result<bool, NoDoze> {
        let half = &mut *self.0;
        if half.side.sleeps_on_condvar() {
            return Err(NoDoze);
        }
        let deadline = left.and_then(|left| Instant::now().checked_add(left));
        let Ok(true) = half.side.announce(true, left.unwrap_or(SLICE).min(SLICE)) else { return Ok(false) };
        // The lock may have taken its time.
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let gone = half.control.sleep_on(half.bell.as_fd(), left);
        half.stats.parks += u64::from(gone.is_ok());
        half.side.awake();
        eventfd::silence(&half.bell);
        gone.map_err(|_| NoDoze)
    }
}

/// Sending half of a `shm-direct` connection.
///
/// ```
/// use ipc_transports::{SendError, Sender, ShmDirect, Transport};
/// let (mut near, _far) = ShmDirect::pair(&Default::default())?;
/// near.tx.send(b"the slot is taken")?;
/// assert!(matches!(near.tx.try_send(b"no room"), Err(SendError::Full)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmDirectSender {
    half: Half,
    max_message: usize,
    /// The previous message had to wait for space, so this one probably does: look before taking the lock.
    crowded: bool,
}

impl ShmDirectSender {
    pub(super) fn new(half: Half, max_message: usize) -> Self {
        ShmDirectSender { half, max_message, crowded: false }
    }

    #[cold]
    fn refusal(&self, len: usize) -> SendError {
        match self.half.broken {
            _ if self.half.owner.is_forked() => SendError::Forked,
            Some(broken) => broken.into(),
            None => SendError::TooLong { len, max: self.max_message },
        }
    }
}

impl Sender for ShmDirectSender {
    #[inline]
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        let len = parts.iter().map(|part| part.len()).sum();
        if self.half.is_unusable() || len > self.max_message {
            return Err(self.refusal(len));
        }
        let crowded = std::mem::take(&mut self.crowded);
        let sent = self.half.transfer(wait, |side| {
            if crowded && !side.is_ready() {
                return Ok(Attempt::NotYet);
            }
            side.put(parts, len, wait)
        });
        match sent {
            Ok(waited) => {
                self.crowded = waited;
                let stats = &mut self.half.stats;
                stats.messages += 1;
                stats.bytes += len as u64;
                stats.full_waits += u64::from(waited);
                stats.max_occupancy_bytes = stats.max_occupancy_bytes.max(len as u64);
                Ok(())
            }
            Err(Halt::WouldBlock) => Err(SendError::Full),
            Err(Halt::TimedOut) => {
                self.half.stats.full_waits += 1;
                Err(SendError::TimedOut)
            }
            Err(Halt::Broken(broken)) => Err(broken.into()),
        }
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    fn stats(&self) -> Stats {
        self.half.stats
    }
}

impl Pollable for ShmDirectSender {
    fn fd(&self) -> BorrowedFd<'_> {
        self.half.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> io::Result<Armed> {
        self.half.arm()
    }

    fn disarm(&mut self) {
        self.half.disarm();
    }
}

/// Receiving half of a `shm-direct` connection.
///
/// ```
/// use ipc_transports::{Receiver, RecvError, Sender, ShmDirect, Transport};
/// let (mut near, mut far) = ShmDirect::pair(&Default::default())?;
/// let mut message = Vec::new();
/// assert!(matches!(far.rx.try_recv(&mut message), Err(RecvError::Empty)));
/// near.tx.send(b"now")?;
/// assert_eq!(far.rx.try_recv(&mut message)?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmDirectReceiver {
    half: Half,
    /// The slot of our own sender: who receives a message often answers it.
    answers: SharedCells,
    /// Room for one message, for those that are lent: lending in place would keep the slot locked.
    lent: Lent,
}

impl ShmDirectReceiver {
    pub(super) fn new(half: Half, answers: SharedCells) -> Self {
        ShmDirectReceiver { half, answers, lent: Lent::default() }
    }

    #[cold]
    fn refusal(&self) -> RecvError {
        match self.half.broken {
            Some(broken) if !self.half.owner.is_forked() => broken.into(),
            _ => RecvError::Forked,
        }
    }
}

impl CopiesOut for ShmDirectReceiver {
    #[inline]
    fn lent(&mut self) -> &mut Lent {
        &mut self.lent
    }

    #[inline]
    fn receive(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        buf.clear();
        if self.half.is_unusable() {
            return Err(self.refusal());
        }
        match self.half.transfer(wait, |side| side.take(buf, wait)) {
            Ok(waited) => {
                let stats = &mut self.half.stats;
                stats.messages += 1;
                stats.bytes += buf.len() as u64;
                stats.max_occupancy_bytes = stats.max_occupancy_bytes.max(buf.len() as u64);
                if waited {
                    // Our answer will need the lock of the other slot, which the peer had last.
                    self.answers.expect_to_lock();
                }
                Ok(buf.len())
            }
            Err(Halt::WouldBlock) => Err(RecvError::Empty),
            Err(Halt::TimedOut) => Err(RecvError::TimedOut),
            Err(Halt::Broken(broken)) => Err(broken.into()),
        }
    }
}

impl Receiver for ShmDirectReceiver {
    #[inline]
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        lent::recv_with(self, buf, wait)
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        lent::recv_each(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        self.half.stats
    }
}

/// Lends a private copy: lending in place would keep the slot locked.
impl PeekReceiver for ShmDirectReceiver {
    type Message<'a>
        = &'a [u8]
    where
        Self: 'a;

    #[inline]
    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        lent::ready(self, wait)
    }

    #[inline]
    fn take(&mut self) -> Option<&[u8]> {
        self.lent.take()
    }
}

impl Pollable for ShmDirectReceiver {
    fn fd(&self) -> BorrowedFd<'_> {
        self.half.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> io::Result<Armed> {
        let armed = self.half.arm()?;
        Ok(if self.lent.is_found() { Armed::Ready } else { armed })
    }

    fn disarm(&mut self) {
        self.half.disarm();
    }
}
