//! The two halves of a message queue connection: try, sleep on the queue and the peer together, try again.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ipc_core::{
    Armed, Interest, PeekReceiver, Pollable, Receiver, RecvError, SendError, Sender, Stats, Wait,
};
use rustix::event::{PollFd, PollFlags, epoll};
use rustix::io::Errno;

use super::sys;
use crate::control::{Control, Half};
use crate::fork::Owner;
use crate::handshake::sleep;
use crate::lent::{self, CopiesOut, Lent};

/// Of so many `Never` calls in a row that found nothing to do, one asks whether the peer is still there.
const ASK_EVERY: u32 = 16;

/// A queue, and who is at its other end.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) queue: OwnedFd,
    pub(super) control: Arc<Control>,
    /// Attempts before a call sleeps.
    pub(super) spins: u32,
}

/// Why a half is finished.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    PeerDied,
    Corrupt(&'static str),
}

/// Why an attempt came to nothing.
enum Halt {
    WouldBlock,
    TimedOut,
    Ended(End),
    Failed(Errno),
}

impl From<Errno> for Halt {
    fn from(error: Errno) -> Halt {
        Halt::Failed(error)
    }
}

/// What both halves keep.
#[derive(Debug)]
struct Common {
    link: Link,
    /// Over queue, control socket and pidfd; made by the first `arm`.
    epoll: Option<OwnedFd>,
    finished: Option<End>,
    /// `Never` calls in a row that found nothing to do.
    fruitless: u32,
    owner: Owner,
    stats: Stats,
}

impl Common {
    fn new(link: Link) -> Self {
        Common {
            link,
            epoll: None,
            finished: None,
            fruitless: 0,
            owner: Owner::here(),
            stats: Stats::default(),
        }
    }

    /// Repeats `attempt` until it is true, within `wait`. `readiness` is what the queue is slept on for, `other` the
    /// peer's half without which it is all in vain.
    #[inline]
    fn transfer(
        &mut self,
        readiness: PollFlags,
        other: Half,
        wait: Wait,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<bool>,
    ) -> Result<(), Halt> {
        if attempt(self.link.queue.as_fd())? {
            self.fruitless = 0;
            return Ok(());
        }
        if wait == Wait::Never {
            self.stats.would_block += 1;
            self.fruitless = self.fruitless.wrapping_add(1);
            if self.fruitless % ASK_EVERY != 1 {
                return Err(Halt::WouldBlock);
            }
        } else {
            if readiness == PollFlags::OUT {
                self.stats.full_waits += 1;
            }
            for _ in 0..self.link.spins {
                std::hint::spin_loop();
                if attempt(self.link.queue.as_fd())? {
                    return Ok(());
                }
            }
        }
        loop {
            let news = self.sleep(readiness, other, wait)?;
            if news && let Some(end) = self.ending(other) {
                // The look after the news: what the peer did before its end counts.
                return if attempt(self.link.queue.as_fd())? { Ok(()) } else { Err(Halt::Ended(end)) };
            }
            if attempt(self.link.queue.as_fd())? {
                return Ok(());
            }
            if wait.is_over() {
                return Err(if wait == Wait::Never { Halt::WouldBlock } else { Halt::TimedOut });
            }
        }
    }

    /// Sleeps until the queue is ready or there is news of the peer, which is what it answers.
    fn sleep(&mut self, readiness: PollFlags, other: Half, wait: Wait) -> rustix::io::Result<bool> {
        let control = &self.link.control;
        let mut fds = [
            PollFd::new(&self.link.queue, readiness),
            PollFd::from_borrowed_fd(control.socket(), control.news(other)),
            PollFd::from_borrowed_fd(control.pidfd().unwrap_or(control.socket()), PollFlags::IN),
        ];
        let watched = if control.pidfd().is_some() { 3 } else { 2 };
        let timeout = wait.remaining();
        if timeout.is_none_or(|left| !left.is_zero()) {
            self.stats.parks += 1;
        }
        sleep(&mut fds[..watched], timeout)?;
        Ok(fds[1..watched].iter().any(|fd| !fd.revents().is_empty()))
    }

    /// Whether the peer's `half` is gone, and how.
    fn ending(&self, half: Half) -> Option<End> {
        // In this order: what the peer said precedes its end.
        let gone = self.link.control.peer_gone();
        if self.link.control.has_left(half) { Some(End::Closed) } else { gone.then_some(End::PeerDied) }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_ref().unwrap_or(&self.link.queue).as_fd()
    }

    fn arm(&mut self, readiness: epoll::EventFlags, other: Half) -> io::Result<Armed> {
        if self.owner.is_forked() {
            return Ok(Armed::Ready);
        }
        // The call that follows asks for the peer, too.
        self.fruitless = 0;
        // In this order: the look takes in the goodbye of the peer's other half, which else keeps the socket readable.
        let ended = self.finished.is_some() || self.ending(other).is_some();
        let control = &self.link.control;
        // The bits are the same; which type they have depends on how rustix calls the system.
        let news = epoll::EventFlags::from_bits_retain(control.news(other).bits() as u32 & 0xFFFF);
        let any = epoll::EventData::new_u64(0);
        match &self.epoll {
            Some(epoll) => epoll::modify(epoll, control.socket(), any, news)?,
            None => {
                let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                epoll::add(&epoll, &self.link.queue, any, readiness)?;
                epoll::add(&epoll, control.socket(), any, news)?;
                if let Some(pidfd) = control.pidfd() {
                    epoll::add(&epoll, pidfd, any, epoll::EventFlags::IN)?;
                }
                self.epoll = Some(epoll);
            }
        }
        let found = sys::attributes(self.link.queue.as_fd())?;
        let ready = match readiness {
            epoll::EventFlags::IN => found.messages > 0,
            _ => found.messages < found.size.depth,
        };
        Ok(if ended || ready { Armed::Ready } else { Armed::MaySleep })
    }
}

/// Sending half of a message queue connection.
///
/// ```
/// use ipc_transports::{Mq, MqOptions, SendError, Sender, Transport};
/// let (mut near, _far) = Mq::pair(&MqOptions { depth: Some(2), ..Default::default() })?;
/// near.tx.send(b"one")?;
/// near.tx.send(b"two")?;
/// assert!(matches!(near.tx.try_send(b"three"), Err(SendError::Full)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MqSender {
    common: Common,
    max_message: usize,
    priority: u32,
    /// The receiver takes messages of every priority.
    by_priority: bool,
    /// Where the parts of a gathered message are put together: the kernel takes one piece only.
    staging: Vec<u8>,
}

impl MqSender {
    pub(super) fn new(link: Link, max_message: usize, priority: u32, by_priority: bool) -> Self {
        MqSender { common: Common::new(link), max_message, priority, by_priority, staging: Vec::new() }
    }

    /// Sends one message with a priority of its own, `0..=31`: the receiver gets it before every waiting message of
    /// lower priority. This is outside the ordered contract of [`Sender`], so both sides must have been given
    /// [`order=priority`](super::MqOptions::order).
    ///
    /// # Errors
    /// As [`send_with`](Sender::send_with); `Io` (`InvalidInput`) when the connection keeps the order of sending or the
    /// priority is above 31.
    pub fn send_with_priority(&mut self, message: &[u8], priority: u32, wait: Wait) -> Result<(), SendError> {
        let refuse = |why: &str| Err(SendError::Io(io::Error::new(io::ErrorKind::InvalidInput, why)));
        if !self.by_priority {
            return refuse("priorities change the order of messages: give both sides order=priority");
        }
        if priority >= sys::PRIORITIES {
            return refuse("a priority is 0 to 31");
        }
        self.usable(message.len())?;
        self.send_piece(message, priority, wait)
    }

    fn usable(&self, len: usize) -> Result<(), SendError> {
        if self.common.owner.is_forked() {
            return Err(SendError::Forked);
        }
        if let Some(end) = self.common.finished {
            return Err(send_error(end));
        }
        if len > self.max_message {
            return Err(SendError::TooLong { len, max: self.max_message });
        }
        Ok(())
    }

    #[inline]
    fn send_piece(&mut self, message: &[u8], priority: u32, wait: Wait) -> Result<(), SendError> {
        let sent = self
            .common
            .transfer(PollFlags::OUT, Half::Receiver, wait, |queue| sys::send_now(queue, message, priority));
        match sent {
            Ok(()) => {
                self.common.stats.messages += 1;
                self.common.stats.bytes += message.len() as u64;
                Ok(())
            }
            Err(Halt::WouldBlock) => Err(SendError::Full),
            Err(Halt::TimedOut) => Err(SendError::TimedOut),
            Err(Halt::Ended(end)) => {
                self.common.finished = Some(end);
                Err(send_error(end))
            }
            Err(Halt::Failed(error)) => Err(SendError::Io(error.into())),
        }
    }
}

fn send_error(end: End) -> SendError {
    match end {
        End::Closed => SendError::Closed,
        End::PeerDied => SendError::PeerDied,
        End::Corrupt(what) => SendError::Corrupt { what },
    }
}

impl Sender for MqSender {
    #[inline]
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        self.usable(parts.iter().map(|part| part.len()).sum())?;
        if let [message] = parts {
            return self.send_piece(message, self.priority, wait);
        }
        let mut staging = std::mem::take(&mut self.staging);
        staging.clear();
        parts.iter().for_each(|part| staging.extend_from_slice(part));
        let sent = self.send_piece(&staging, self.priority, wait);
        self.staging = staging;
        sent
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    fn stats(&self) -> Stats {
        self.common.stats
    }
}

impl Pollable for MqSender {
    fn fd(&self) -> BorrowedFd<'_> {
        self.common.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> io::Result<Armed> {
        self.common.arm(epoll::EventFlags::OUT, Half::Receiver)
    }
}

impl Drop for MqSender {
    fn drop(&mut self) {
        if !self.common.owner.is_forked() {
            self.common.link.control.say_goodbye(Half::Sender);
        }
    }
}

/// Receiving half of a message queue connection.
///
/// ```
/// use ipc_transports::{Mq, MqOptions, Order, Receiver, Transport, Wait};
/// let options = MqOptions { order: Some(Order::Priority), ..Default::default() };
/// let (mut near, mut far) = Mq::pair(&options)?;
/// near.tx.send_with_priority(b"later", 0, Wait::Forever)?;
/// near.tx.send_with_priority(b"first", 9, Wait::Forever)?;
/// let mut message = Vec::new();
/// far.rx.recv(&mut message)?;
/// assert_eq!(message, b"first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MqReceiver {
    common: Common,
    /// Bytes the kernel wants room for.
    max_message: usize,
    /// Of every message; `None`: any.
    priority: Option<u32>,
    /// Where a message lies that is lent out: the queue gives it up only by copying it.
    lent: Lent,
}

impl MqReceiver {
    pub(super) fn new(link: Link, max_message: usize, priority: Option<u32>) -> Self {
        MqReceiver { common: Common::new(link), max_message, priority, lent: Lent::default() }
    }
}

impl CopiesOut for MqReceiver {
    #[inline]
    fn lent(&mut self) -> &mut Lent {
        &mut self.lent
    }

    #[inline]
    fn receive(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        buf.clear();
        if self.common.owner.is_forked() {
            return Err(RecvError::Forked);
        }
        if let Some(end) = self.common.finished {
            return Err(recv_error(end));
        }
        let (mut priority, max_message) = (0, self.max_message);
        let received = self.common.transfer(PollFlags::IN, Half::Sender, wait, |queue| {
            Ok(match sys::receive_now(queue, buf, max_message)? {
                Some(of_message) => {
                    priority = of_message;
                    true
                }
                None => false,
            })
        });
        let end = match received {
            Ok(()) if self.priority.is_none_or(|agreed| agreed == priority) => {
                self.common.stats.messages += 1;
                self.common.stats.bytes += buf.len() as u64;
                return Ok(buf.len());
            }
            Ok(()) => End::Corrupt("a message of another priority than agreed"),
            Err(Halt::WouldBlock) => return Err(RecvError::Empty),
            Err(Halt::TimedOut) => return Err(RecvError::TimedOut),
            Err(Halt::Failed(error)) => return Err(RecvError::Io(error.into())),
            Err(Halt::Ended(end)) => end,
        };
        buf.clear();
        self.common.finished = Some(end);
        Err(recv_error(end))
    }
}

fn recv_error(end: End) -> RecvError {
    match end {
        End::Closed => RecvError::Closed,
        End::PeerDied => RecvError::PeerDied { partial_bytes: 0 },
        End::Corrupt(what) => RecvError::Corrupt { what },
    }
}

impl Receiver for MqReceiver {
    #[inline]
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        lent::recv_with(self, buf, wait)
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        lent::recv_each(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        self.common.stats
    }
}

/// Lends a copy: a queue gives a message up only by copying it.
impl PeekReceiver for MqReceiver {
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

impl Pollable for MqReceiver {
    fn fd(&self) -> BorrowedFd<'_> {
        self.common.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> io::Result<Armed> {
        let armed = self.common.arm(epoll::EventFlags::IN, Half::Sender)?;
        Ok(if self.lent.is_found() { Armed::Ready } else { armed })
    }
}

impl Drop for MqReceiver {
    fn drop(&mut self) {
        if !self.common.owner.is_forked() {
            self.common.link.control.say_goodbye(Half::Receiver);
        }
    }
}
