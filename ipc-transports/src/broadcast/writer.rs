//! The writing end of a broadcast.
#![allow(unsafe_code, reason = "writes in place into its own ring")]

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ipc_core::hello::{Agreed, Hello};
use ipc_core::{
    Address, Armed, Interest, Options, PeerInfo, Pollable, SendError, Sender, SetupError, SetupErrorKind,
    Stats, Wait,
};
use rustix::net::SendFlags;

use super::joining::Side;
use super::reader::Reader;
use super::{BroadcastOptions, Join, MAGIC, NUMBER, Settings, SlowReader};
use crate::atomics::{Ordering, compiler_fence, fence};
use crate::backing::{Backing, DATA, Word};
use crate::bell::{Barrier, Sleeper, Waker, WokenBy, strike};
use crate::control::{self, Control, ControlListener, costs_the_client};
use crate::eventfd;
use crate::fork::Owner;
use crate::handshake::agreed_in_a_pair;
use crate::memory::{Memory, Writers};
use crate::pollset::PollSet;
use crate::ring::{Producer, Space};
use crate::ring_setup::{barrier, denied, duplicates, is_signed, sign};
use crate::waiting::{Site, Stopped, Waiting};

/// The writing end of a broadcast: a [`Sender`] whose messages go to every reader that was let in.
///
/// A message that is sent while there is no reader goes nowhere. Each send looks at one word of every reader; one system
/// call wakes all that sleep. Under [`SlowReader::Wait`] a send waits for the slowest reader, and so for one that is
/// stopped; use a deadline where that may be. As a [`Pollable`] half it becomes ready when there may be room.
///
/// ```
/// use ipc_transports::broadcast::{BroadcastOptions, Writer};
/// use ipc_transports::{Sender, Wait};
/// let at = format!("broadcast:doc-{}", std::process::id()).parse()?;
/// let mut writer = Writer::listen(&at, &BroadcastOptions::default())?;
/// // Whoever has come by now is let in; nobody is waited for.
/// while writer.accept(Wait::Never).is_ok() {}
/// writer.send(b"to all who listen")?;
/// assert_eq!(writer.readers(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    ring: Producer<Memory>,
    memory: Memory,
    memfd: OwnedFd,
    settings: Settings,
    hello: Hello,
    listener: Option<ControlListener>,
    readers: Vec<Audience>,
    /// Number of the next message.
    number: u64,
    /// Some reader cannot order its announcement itself.
    fences: bool,
    sleeper: Sleeper,
    waiting: Waiting,
    owner: Owner,
    /// Rung by readers while we wait in an event loop.
    event: Arc<OwnedFd>,
    poll: PollSet,
    armed: bool,
    lost: u64,
    /// Position from which on to ask again who lives.
    reap_at: u64,
    stats: Stats,
}

/// One reader, as the writer knows it.
#[derive(Debug)]
struct Audience {
    memory: Memory,
    waker: Waker,
    control: Control,
    /// Everything before this position is read, as far as is known and was checked.
    seen: u64,
}

impl Audience {
    /// How far the reader says it is; where that cannot be, as far as it was.
    #[inline]
    fn position(&self, head: u64) -> u64 {
        let said = self.memory.consumed();
        if (self.seen..=head).contains(&said) { said } else { self.seen }
    }

    /// Whether it says what cannot be. Zero is what it says until it has learned where it begins.
    fn lies(&self, head: u64) -> bool {
        let said = self.memory.consumed();
        said != 0 && !(self.seen..=head).contains(&said)
    }
}

impl Writer {
    /// A broadcast that other processes join at `at`, whose scheme is `broadcast`. Fields set in `options` win over the
    /// query of the address.
    ///
    /// # Errors
    /// `InUse` when a live writer has the address, `Denied`, `Limit`, `NoSpace`, `NameTooLong`, `BadAddress`,
    /// `Unsupported`.
    pub fn listen(at: &Address, options: &BroadcastOptions) -> Result<Writer, SetupError> {
        let settings = Settings::new(&options.resolved(at)?, "listen on", at)?;
        let listener = ControlListener::bind(at, settings.allow_uid.as_slice(), settings.features)?;
        Writer::new(settings, Some(listener))
    }

    /// A broadcast without an address: readers come by [`subscribe`](Writer::subscribe).
    ///
    /// # Errors
    /// `Limit`, `NoSpace`, `BadAddress` for an option out of its range, `Unsupported`.
    pub fn private(options: &BroadcastOptions) -> Result<Writer, SetupError> {
        Writer::new(Settings::new(options, "make", &"a broadcast")?, None)
    }

    fn new(settings: Settings, listener: Option<ControlListener>) -> Result<Writer, SetupError> {
        let hello = settings.hello(settings.max_message, settings.capacity);
        let (memory, memfd) = Memory::create(DATA + settings.capacity, Writers::Creator, settings.mlock)?;
        sign(&memory, MAGIC, &hello);
        let pays = hello.flags & ipc_core::hello::FLAG_SLEEPER_PAYS != 0;
        Ok(Writer {
            // Our own `consumed` is what the slowest reader has read, or what was given up.
            ring: Producer::new(memory.clone(), memory.clone(), settings.capacity),
            memory,
            memfd,
            settings,
            hello,
            listener,
            readers: Vec::new(),
            number: 0,
            fences: false,
            sleeper: Sleeper::new(
                Word::TxState,
                Word::RxBell,
                if pays { Barrier::Sleeper } else { Barrier::Both },
            ),
            waiting: Waiting::new(settings.wait, false),
            owner: Owner::here(),
            event: eventfd::create()?,
            poll: PollSet::default(),
            armed: false,
            lost: 0,
            reap_at: match settings.slow {
                SlowReader::Wait => u64::MAX,
                SlowReader::Drop | SlowReader::Latest => settings.capacity as u64,
            },
            stats: Stats::default(),
        })
    }

    /// Waits for the next reader and lets it in: it gets every message sent from now on, as [`SlowReader`] says. A
    /// process that fails the handshake costs that process only.
    ///
    /// # Errors
    /// `TimedOut` when no reader came before `wait` was over (also for [`Wait::Never`]); `Limit` when this process has no
    /// descriptor left for one more; `Unsupported` for a [`private`](Writer::private) broadcast; `Io`.
    pub fn accept(&mut self, wait: Wait) -> Result<PeerInfo, SetupError> {
        const OP: &str = "accept on";
        let Some(listener) = &mut self.listener else {
            return Err(SetupError::new(SetupErrorKind::Unsupported, OP, "a private broadcast"));
        };
        let address = listener.address().clone();
        let (hello, memfd, event) = (self.hello, &self.memfd, &self.event);
        let (control, peer, (memory, their_event, theirs, agreed)) = listener.accept(
            wait,
            || hello,
            |_, greeted, agreed| {
                let theirs = greeted.hello;
                let [their_memfd, their_event]: [OwnedFd; 2] = greeted.fds.try_into().map_err(|_| {
                    denied(OP, &address, "the reader did not hand over one memory and one eventfd")
                })?;
                if !eventfd::is_one(&their_event) {
                    return Err(denied(OP, &address, "the reader's bell is no non-blocking eventfd"));
                }
                let memory =
                    Memory::import(their_memfd.as_fd(), DATA, Writers::Creator).map_err(costs_the_client)?;
                if !is_signed(&memory, MAGIC, &theirs) {
                    return Err(denied(OP, &address, "the reader's memory belongs to another connection"));
                }
                let fds = duplicates([memfd.as_fd(), event.as_fd()], OP, &address)?;
                Ok((fds, (memory, Arc::new(their_event), theirs, agreed)))
            },
        )?;
        let join = self.join().encode();
        // Two messages fit into a fresh socket. A reader that is gone already shows as every other dead one does.
        let _ = rustix::net::send(control.socket(), &join, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        self.admit(memory, their_event, control, &theirs, &agreed)?;
        Ok(peer)
    }

    /// A reader in this process, for another thread.
    ///
    /// # Errors
    /// `Limit`, `NoSpace`.
    pub fn subscribe(&mut self) -> Result<Reader, SetupError> {
        let (ours, theirs, peer) = control::pair(self.settings.features)?;
        let side = Side::new(&self.settings)?;
        let agreed = agreed_in_a_pair(&self.hello);
        let join = self.join();
        let (memory, event, hello) = (side.memory.clone(), Arc::clone(&side.event), side.hello);
        self.admit(memory, event, ours, &hello, &agreed)?;
        let (memory, event) = (self.memory.clone(), Arc::clone(&self.event));
        Ok(Reader::new(&self.settings, side, memory, event, &self.hello, &agreed, join, theirs, peer))
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    fn join(&self) -> Join {
        Join { position: self.ring.head(), number: self.number, slow: self.settings.slow }
    }

    fn admit(
        &mut self,
        memory: Memory,
        event: Arc<OwnedFd>,
        control: Control,
        theirs: &Hello,
        agreed: &Agreed,
    ) -> Result<(), SetupError> {
        let barrier = barrier(&self.hello, theirs);
        self.poll.add(&control).map_err(|error| {
            SetupError::new(SetupErrorKind::Io, "watch", "a reader of a broadcast").because(error)
        })?;
        self.fences |= barrier == Barrier::Both;
        if agreed.share_one_cpu {
            self.waiting = Waiting::new(self.settings.wait, true);
        }
        self.readers.push(Audience {
            memory,
            waker: Waker::new(Word::TxBell, Word::RxState, barrier, Some(event)),
            control,
            seen: self.ring.head(),
        });
        Ok(())
    }

    /// Readers that are listening, after a look at who has left or died.
    pub fn readers(&mut self) -> usize {
        self.reap(true);
        self.readers.len()
    }

    /// Readers that died or broke the protocol, and so were cut off, since the beginning.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What happens to readers that do not keep up.
    pub fn slow(&self) -> SlowReader {
        self.settings.slow
    }

    /// Where readers join; `None` for a [`private`](Writer::private) broadcast.
    pub fn address(&self) -> Option<&Address> {
        self.listener.as_ref().map(ControlListener::address)
    }

    /// What becomes ready when a reader knocks, for a [`ReadySet`](ipc_core::ReadySet); then [`accept`](Writer::accept)
    /// with [`Wait::Never`]. `None` for a [`private`](Writer::private) broadcast.
    pub fn door(&mut self) -> Option<&mut dyn Pollable> {
        self.listener.as_mut().map(|listener| listener as &mut dyn Pollable)
    }

    /// Strikes out readers that left or broke the protocol and, if `asks`, those whose process or socket is gone.
    fn reap(&mut self, asks: bool) {
        let (head, lost) = (self.ring.head(), &mut self.lost);
        self.readers.retain(|reader| {
            if reader.waker.peer_left(&reader.memory) {
                return false;
            }
            let cut_off = reader.lies(head) || asks && reader.control.peer_gone();
            // Whoever says goodbye and then ends is not lost: the word was there before the end.
            *lost += u64::from(cut_off && !reader.waker.peer_left(&reader.memory));
            !cut_off
        });
    }

    /// Position before which every reader has read everything.
    #[inline]
    fn slowest(&self) -> u64 {
        let head = self.ring.head();
        self.readers.iter().map(|reader| reader.position(head)).min().unwrap_or(head)
    }

    /// Room for a record of `len` bytes.
    #[inline]
    fn space(&mut self, len: usize, wait: Wait) -> Result<Space, SendError> {
        if let Some(space) = self.ring.reserve(len) {
            return Ok(space);
        }
        if self.settings.slow == SlowReader::Wait {
            return self.wait_for_space(len, wait);
        }
        self.ring.give_up_for(len);
        // What was given up is enough for `len`, so this is there.
        self.ring.reserve(len).ok_or(SendError::Full)
    }

    #[cold]
    fn wait_for_space(&mut self, len: usize, wait: Wait) -> Result<Space, SendError> {
        if let Some(space) = self.refreshed(len)? {
            return Ok(space);
        }
        if wait != Wait::Never {
            self.stats.full_waits += 1;
        }
        loop {
            let waiting = self.waiting;
            match waiting.until_ready(&mut ForRoom { tx: self, len }, wait) {
                Ok(()) => {}
                Err(Stopped::Failed(error)) => return Err(error),
                Err(Stopped::TimeUp) if wait == Wait::Never => {
                    self.stats.would_block += 1;
                    // Every eighth, so that a busy poller does not pay more for asking than for looking.
                    if self.stats.would_block.is_multiple_of(8) {
                        self.reap(true);
                    }
                    return Err(SendError::Full);
                }
                Err(Stopped::TimeUp) => return Err(SendError::TimedOut),
            }
            if let Some(space) = self.refreshed(len)? {
                return Ok(space);
            }
        }
    }

    fn refreshed(&mut self, len: usize) -> Result<Option<Space>, SendError> {
        self.reap(false);
        let head = self.ring.head();
        for reader in &mut self.readers {
            reader.seen = reader.position(head);
        }
        self.memory.store_consumed(self.slowest());
        match self.ring.refresh() {
            Ok(_) => Ok(self.ring.reserve(len)),
            // Cannot be: the positions were checked one by one.
            Err(_) => Err(SendError::Corrupt { what: "a reader claims to have read what was never written" }),
        }
    }

    /// Wakes the readers that sleep: one bell and at most one futex call for all of them.
    #[inline]
    fn wake(&mut self) {
        if self.fences {
            // SeqCst: pairs with the fence in Sleeper::announce.
            fence(Ordering::SeqCst);
        } else {
            // The reader's membarrier turns this into a full fence when one is needed.
            compiler_fence(Ordering::SeqCst);
        }
        if self.readers.iter().any(|reader| reader.waker.is_due(&reader.memory)) {
            self.ring_the_bell();
        }
    }

    #[cold]
    fn ring_the_bell(&mut self) {
        strike(&self.memory, Word::TxBell);
        let mut asleep = false;
        for reader in &mut self.readers {
            match reader.waker.take_due(&reader.memory) {
                Some(WokenBy::Futex) => asleep = true,
                Some(WokenBy::Eventfd) => {
                    reader.waker.ring_eventfd();
                    self.stats.wakes += 1;
                }
                None => {}
            }
        }
        if asleep {
            self.memory.wake(Word::TxBell);
            self.stats.wakes += 1;
        }
    }
}

impl Sender for Writer {
    #[inline]
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        if self.owner.is_forked() {
            return Err(SendError::Forked);
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > self.settings.max_message {
            return Err(SendError::TooLong { len, max: self.settings.max_message });
        }
        let space = self.space(len + NUMBER, wait)?;
        let mut at = 0;
        for part in parts {
            // SAFETY: at + part.len() ≤ len, for which `space` was reserved.
            unsafe { self.ring.write(space, at, part) };
            at += part.len();
        }
        // SAFETY: `space` was reserved for the message and its number.
        unsafe { self.ring.write(space, at, &self.number.to_le_bytes()) };
        let start = self.ring.start(space);
        self.ring.commit(space, len + NUMBER);
        self.number += 1;
        if self.settings.slow == SlowReader::Latest {
            self.memory.store_newest(start);
        }
        self.stats.messages += 1;
        self.stats.bytes += len as u64;
        self.wake();
        self.ring.prepare(len + NUMBER);
        if start >= self.reap_at {
            // A writer that never waits would never notice the dead: it asks once per lap.
            self.reap_at = start + self.settings.capacity as u64;
            self.reap(true);
        }
        Ok(())
    }

    fn max_message(&self) -> usize {
        self.settings.max_message
    }

    fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.max_occupancy_bytes = self.ring.max_occupancy();
        stats
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A forked child's copy must not say goodbye for its parent.
        if !self.owner.is_forked() {
            self.sleeper.leave(&self.memory);
            self.wake();
        }
    }
}

/// Waiting for the slowest reader.
struct ForRoom<'a> {
    tx: &'a mut Writer,
    len: usize,
}

impl Site for ForRoom<'_> {
    type Error = SendError;

    #[inline]
    fn is_ready(&self) -> bool {
        self.tx.ring.would_have_room(self.len, self.tx.slowest())
    }

    fn check(&mut self) -> Result<(), SendError> {
        self.tx.reap(false);
        Ok(())
    }

    fn check_peer(&mut self) -> Result<(), SendError> {
        self.tx.reap(true);
        Ok(())
    }

    fn park(&mut self, slice: Duration) {
        let Writer { ring, memory, readers, sleeper, stats, .. } = &mut *self.tx;
        let (head, len) = (ring.head(), self.len);
        let slowest = || readers.iter().min_by_key(|reader| reader.position(head));
        let Some(holds_up) = slowest() else { return };
        // On the bell of the one that holds us up: every reader rings its own, and no other's matters before it.
        let slept = sleeper.park(memory, &holds_up.memory, slice, || {
            // SeqCst: pairs with the fence of readers that are not registered for our membarrier.
            fence(Ordering::SeqCst);
            let room = slowest().is_none_or(|reader| ring.would_have_room(len, reader.position(head)));
            !room && !holds_up.waker.peer_left(&holds_up.memory)
        });
        stats.parks += u64::from(slept);
    }
}

impl Pollable for Writer {
    fn fd(&self) -> BorrowedFd<'_> {
        self.poll.fd(self.event.as_fd())
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        let controls = self.readers.iter().map(|reader| &reader.control);
        self.poll.ensure(self.event.as_fd(), controls)?;
        self.armed = true;
        self.sleeper.announce(&self.memory, WokenBy::Eventfd);
        // SeqCst: pairs with the fence of readers that are not registered for our membarrier.
        fence(Ordering::SeqCst);
        // A loop that waits for room does not say for how much: some progress is what there is to wait for.
        let slowest = self.slowest();
        let ready = self.settings.slow != SlowReader::Wait
            || slowest == self.ring.head()
            || slowest != self.memory.consumed()
            || self.readers.iter().any(|reader| reader.waker.peer_left(&reader.memory));
        if ready {
            self.disarm();
            return Ok(Armed::Ready);
        }
        Ok(Armed::MaySleep)
    }

    fn disarm(&mut self) {
        if !std::mem::take(&mut self.armed) || self.owner.is_forked() {
            return;
        }
        self.sleeper.awake(&self.memory);
        if !eventfd::silence(&self.event) {
            // It was not the bell that woke us: maybe a reader is gone.
            self.reap(true);
        }
    }
}
