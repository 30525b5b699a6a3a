//! `shm`: one ring per direction in sealed, anonymous shared memory.
//!
//! Each side creates the memory it writes, one memfd, and hands it over the control socket together with two eventfds;
//! the peer maps it read-only, or writes nothing to it if the two trust each other so. So every shared word has one writer, and a hostile peer can only corrupt what it says.
//! Layout: [`backing`](crate::backing); records: [`ring`](crate::ring); sleeping: [`bell`](crate::bell).
#![allow(unsafe_code, reason = "the trust option is an unsafe promise of the caller")]

mod copying;
mod receiver;
mod sender;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ipc_core::hello::{Agreed, Hello};
use ipc_core::{
    Address, Capabilities, Connection, Fingerprint, Listener, OptionError, Options, Pair, PeerInfo,
    SetupError, SetupErrorKind, Transport, Wait, WaitPolicy,
};

use crate::backing::{DATA, RECORD_HEADER, Word};
use crate::bell::{Sleeper, Waker};
use crate::control::{self, Control, ControlListener};
use crate::doorbell::pollable_listener;
use crate::eventfd;
use crate::features::Features;
use crate::half::Half;
use crate::handshake::{Greeted, agreed_in_a_pair};
use crate::memory::{self, Memory, Placement, Writers};
use crate::ring::{MAX_CAPACITY, MIN_CAPACITY, longest_message};
use crate::ring_setup::{
    self, announced_capacity, bad_option, barrier, denied, duplicates, features_with_seals, is_signed, sign,
};
use crate::waiting::Waiting;
use rustix::io::Errno;

pub use receiver::{ShmMessage, ShmReceiver};
pub use sender::{ShmLoan, ShmSender};

/// Bytes of ring a peer may bring unless told otherwise.
const DEFAULT_PEER_CAPACITY: usize = 64 << 20;

/// Bytes of ring a user who is not ours may have at one listener unless told otherwise.
const DEFAULT_ALLOW_BYTES: usize = 128 << 20;

/// First word of the memory.
const MAGIC: u64 = u64::from_le_bytes(*b"ipc-shm\x01");

/// Changes whenever the picture in `backing.rs` or `ring.rs` does.
const LAYOUT: u64 =
    Hello::layout_of("shm/2 line=64 data=4096 commit=tag32,committed31,padding30,unfinished,len");

/// The shared-memory ring.
///
/// ```
/// use ipc_transports::{Receiver, Sender, Shm, Transport};
/// let (mut near, mut far) = Shm::pair(&Default::default())?;
/// near.tx.send(b"hello")?;
/// let mut message = Vec::new();
/// far.rx.recv(&mut message)?;
/// assert_eq!(message, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Shm;

/// Options of `shm`. `None` means "from the address, else the default".
///
/// ```
/// use ipc_transports::{ShmOptions, Shm, Transport};
/// let options = ShmOptions { capacity: Some(1 << 16), ..Default::default() };
/// let (near, _far) = Shm::pair(&options)?;
/// # let _ = &near;
/// println!("{:?}", near.effective);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ShmOptions {
    /// `?capacity=`: bytes of ring this side writes; a power of two from 4096 to 1G; default 1M. Each side chooses its own.
    pub capacity: Option<usize>,
    /// `?peer_capacity=`: most bytes of ring the peer may bring, which we map, too; from 4096 to 1G; default 64M, or
    /// `capacity` if that is more. A client that brings more is dropped, a listener that does is refused.
    pub peer_capacity: Option<usize>,
    /// `?max_message=`: longest message in bytes; at most, and by default, half the capacity less 8.
    pub max_message: Option<usize>,
    /// `?wait=spin|park|adaptive`: what this side does while it waits; default `adaptive`.
    pub wait: Option<WaitPolicy>,
    /// Identity of the message types, `?fingerprint=0x…`; a peer that states another one is refused. Default not stated.
    pub fingerprint: Option<Fingerprint>,
    /// `?mlock=true`: keep this side's memory from being swapped out; default false.
    pub mlock: Option<bool>,
    /// `?hugepages=true`: ask the kernel to put the ring that this side writes into huge pages, and map both rings so that
    /// they can be reached through such; default false. The capacity is then that of a huge page (2M on x86-64) at least. What came of it is
    /// read back into [`Connection::effective`]: `huge_bytes` of this ring and `peer_huge_bytes` of the other one, and where the
    /// kernel refused, `huge_errno` says why.
    pub hugepages: Option<bool>,
    /// `?allow_uid=`: a user beside our own who may be at the other end.
    pub allow_uid: Option<u32>,
    /// `?allow_bytes=`: most bytes of ring, of both sides together, that the connections of the user of `allow_uid` may
    /// have at one listener; default 128M, which is 64 connections with rings of the default capacity. A client that
    /// would be beyond it is dropped.
    pub allow_bytes: Option<usize>,
    /// Whether received messages may be lent in place, and the peer may map what we write for writing. Cannot be set by an
    /// address.
    pub trust: Trust,
}

/// Whether the peer is trusted not to change a message it has sent.
///
/// ```
/// use ipc_transports::{PeekReceiver, Sender, Shm, ShmOptions, Transport, Trust, Wait};
/// // SAFETY: both ends are ours, and this code changes nothing that it has sent.
/// let trust = unsafe { Trust::peer() };
/// let (mut near, mut far) = Shm::pair(&ShmOptions { trust, ..Default::default() })?;
/// near.tx.send(b"not copied")?;
/// assert_eq!(&*far.rx.recv_ref(Wait::Forever)?, b"not copied");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust(Level);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[default]
    Nothing,
    InPlace,
    Mutual,
}

impl Trust {
    /// Received messages are lent where they lie in the peer's memory, instead of from a private copy.
    ///
    /// # Safety
    /// The peer must not change a byte of a message between sending it and our dropping it. Every connection made with
    /// this program's own code at the other end keeps this; a peer that runs other code may not, and then a `&[u8]`
    /// changes while it is borrowed, which is undefined behaviour.
    pub const unsafe fn peer() -> Trust {
        Trust(Level::InPlace)
    }

    /// As [`peer`](Trust::peer), and each side maps the other's memory writable, since there are processors (AMD) on which
    /// reading through a read-only mapping costs up to half as much again. Both sides must ask for it: without the seal
    /// `F_SEAL_FUTURE_WRITE` ours is refused by a peer that does not.
    ///
    /// ```
    /// use ipc_transports::{Receiver, Sender, Shm, ShmOptions, Transport, Trust};
    /// // SAFETY: both ends are ours and run this code.
    /// let trust = unsafe { Trust::mutual() };
    /// let (mut near, mut far) = Shm::pair(&ShmOptions { trust, ..Default::default() })?;
    /// near.tx.send(b"hello")?;
    /// let mut message = Vec::new();
    /// far.rx.recv(&mut message)?;
    /// assert_eq!(message, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    /// That of [`peer`](Trust::peer), and the peer must not write to the memory that is ours, which then nothing keeps it
    /// from, nor punch holes into its own. Code of this library does neither.
    pub const unsafe fn mutual() -> Trust {
        Trust(Level::Mutual)
    }
}

impl Trust {
    /// For a connection whose two ends are halves of ours in this process: [`ShmSender`] changes no byte that it has sent,
    /// [`ShmReceiver`] none at all.
    pub(crate) fn own_process() -> Trust {
        Trust(Level::Mutual)
    }

    /// Whether messages may be lent in place.
    pub(crate) fn is_given(self) -> bool {
        self.0 >= Level::InPlace
    }

    /// Who writes a ring between two sides that trust each other so.
    fn writers(self) -> Writers {
        if self.0 == Level::Mutual { Writers::CreatorOnItsWord } else { Writers::Creator }
    }
}

impl Options for ShmOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "capacity" => OptionError::fill_bytes(&mut self.capacity, key, value),
            "peer_capacity" => OptionError::fill_bytes(&mut self.peer_capacity, key, value),
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            "wait" => OptionError::fill(&mut self.wait, key, value),
            "fingerprint" => OptionError::fill(&mut self.fingerprint, key, value),
            "mlock" => OptionError::fill(&mut self.mlock, key, value),
            "hugepages" => OptionError::fill(&mut self.hugepages, key, value),
            "allow_uid" => OptionError::fill(&mut self.allow_uid, key, value),
            "allow_bytes" => OptionError::fill_bytes(&mut self.allow_bytes, key, value),
            _ => Err(OptionError::unknown(
                key,
                &[
                    "capacity",
                    "peer_capacity",
                    "max_message",
                    "wait",
                    "fingerprint",
                    "mlock",
                    "hugepages",
                    "allow_uid",
                    "allow_bytes",
                ],
            )),
        }
    }
}

/// What to do about messages of `max_message` bytes that are too long for a ring, where each takes `more` bytes of it.
pub(crate) fn capacity_for(max_message: usize, more: usize) -> String {
    let half = max_message.checked_add(more + RECORD_HEADER).and_then(usize::checked_next_power_of_two);
    match half.and_then(|half| half.checked_mul(2)) {
        Some(capacity) if capacity <= MAX_CAPACITY => format!("use capacity={capacity}"),
        _ => format!("the largest, capacity={MAX_CAPACITY}, up to {}", longest_message(MAX_CAPACITY) - more),
    }
}

/// Options with the defaults filled in and checked.
#[derive(Clone, Copy, Debug)]
struct Settings {
    capacity: usize,
    peer_capacity: usize,
    max_message: usize,
    wait: WaitPolicy,
    fingerprint: Option<Fingerprint>,
    mlock: bool,
    hugepages: bool,
    allow_uid: Option<u32>,
    allow_bytes: usize,
    trust: Trust,
    features: &'static Features,
}

impl Settings {
    fn new(
        options: &ShmOptions,
        op: &'static str,
        target: &dyn std::fmt::Display,
    ) -> Result<Self, SetupError> {
        let hugepages = options.hugepages.unwrap_or(false);
        let page = memory::huge_page().filter(|_| hugepages).unwrap_or(0);
        let least = options.capacity.or((page > ring_setup::DEFAULT_CAPACITY).then_some(page));
        let capacity = ring_setup::capacity(least, op, target)?;
        if capacity < page {
            let what = format!(
                "hugepages=true: a ring of {capacity} bytes is smaller than a huge page of {page}; use capacity={page}"
            );
            return Err(bad_option(op, target, what));
        }
        let peer_capacity = options.peer_capacity.unwrap_or(DEFAULT_PEER_CAPACITY.max(capacity));
        if !(MIN_CAPACITY..=MAX_CAPACITY).contains(&peer_capacity) {
            let what = format!("peer_capacity={peer_capacity}: from {MIN_CAPACITY} to {MAX_CAPACITY}");
            return Err(bad_option(op, target, what));
        }
        let longest = longest_message(capacity);
        let max_message = options.max_message.unwrap_or(longest);
        if max_message > longest {
            let what = format!(
                "max_message={max_message}: a ring of {capacity} bytes carries up to {longest}; {}",
                capacity_for(max_message, 0)
            );
            return Err(bad_option(op, target, what));
        }
        let allow_bytes = options.allow_bytes.unwrap_or(DEFAULT_ALLOW_BYTES.max(capacity + peer_capacity));
        if allow_bytes < capacity + MIN_CAPACITY {
            let least = capacity + MIN_CAPACITY;
            let what = format!("allow_bytes={allow_bytes}: one connection has {least} at least");
            return Err(bad_option(op, target, what));
        }
        let features = features_with_seals(op, target)?;
        Ok(Settings {
            capacity,
            peer_capacity,
            max_message,
            wait: options.wait.unwrap_or(WaitPolicy::Adaptive),
            fingerprint: options.fingerprint,
            mlock: options.mlock.unwrap_or(false),
            hugepages,
            allow_uid: options.allow_uid,
            allow_bytes,
            trust: options.trust,
            features,
        })
    }

    /// Counts the rings of a connection to be to its user, if that is not our own.
    fn charge(&self, greeted: &Greeted, target: &dyn std::fmt::Display) -> Result<(), SetupError> {
        // What is no capacity is refused by who looks at the memory.
        let theirs = announced_capacity(&greeted.hello).unwrap_or(0);
        let bytes = (self.capacity + theirs) as u64;
        greeted.place.charge(bytes, self.allow_bytes as u64).map_err(|have| {
            let need = have + bytes;
            let why = format!(
                "{bytes} bytes of rings would make {need} of this user, more than allow_bytes={}; \
                 use allow_bytes={need} here or smaller rings",
                self.allow_bytes
            );
            denied("accept on", target, &why)
        })
    }

    /// A listener that hung up on a ring larger than most accept, or on one that nothing seals, may have done so for that.
    fn maybe_refused(&self, error: SetupError) -> SetupError {
        let mut why = Vec::new();
        if self.capacity > DEFAULT_PEER_CAPACITY {
            why.push(format!(
                "capacity={}: unless told otherwise a listener takes rings of up to {DEFAULT_PEER_CAPACITY} bytes; \
                 use peer_capacity={} there or a smaller capacity here",
                self.capacity, self.capacity
            ));
        }
        if self.trust.writers() != Writers::Creator {
            why.push("Trust::mutual is for both or neither".to_owned());
        }
        if error.kind != SetupErrorKind::HungUp || why.is_empty() {
            return error;
        }
        let why = why.join("; ");
        error.because(std::io::Error::new(std::io::ErrorKind::ConnectionReset, why))
    }

    fn terms(&self) -> Terms {
        let place = if self.hugepages { Placement::Huge } else { Placement::Anywhere };
        Terms { peer_capacity: self.peer_capacity, place, writers: self.trust.writers() }
    }

    fn hello(&self) -> Hello {
        let (longest, capacity) = (self.max_message, self.capacity);
        ring_setup::hello(LAYOUT, longest, capacity, self.fingerprint, self.wait, self.features)
    }
}

/// How the memory of both sides is made and mapped.
#[derive(Clone, Copy, Debug)]
struct Terms {
    peer_capacity: usize,
    place: Placement,
    writers: Writers,
}

/// What this side brings into a connection.
#[derive(Debug)]
struct Side {
    hello: Hello,
    memory: Memory,
    memfd: OwnedFd,
    /// Why it is not in huge pages, where it was to be.
    refused: Option<Errno>,
    /// Rung for our receiver.
    rx_event: Arc<OwnedFd>,
    /// Rung for our sender.
    tx_event: Arc<OwnedFd>,
}

impl Side {
    fn new(settings: &Settings, hello: Hello) -> Result<Side, SetupError> {
        let len = DATA + settings.capacity;
        let Terms { place, writers, .. } = settings.terms();
        let (memory, memfd) = Memory::create_at(place, len, writers, settings.mlock)?;
        // Before the peer maps it: what it maps are huge pages already.
        let refused = settings.hugepages.then(|| memory.collapse().err()).flatten();
        sign(&memory, MAGIC, &hello);
        Ok(Side { hello, memory, memfd, refused, rx_event: eventfd::create()?, tx_event: eventfd::create()? })
    }

    fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.memfd.as_fd(), self.rx_event.as_fd(), self.tx_event.as_fd()]
    }
}

/// What the peer brought, checked.
#[derive(Debug)]
struct Theirs {
    memory: Memory,
    rx_event: Arc<OwnedFd>,
    tx_event: Arc<OwnedFd>,
}

impl Theirs {
    fn import(
        greeted: Greeted,
        terms: Terms,
        op: &'static str,
        target: &dyn std::fmt::Display,
    ) -> Result<Theirs, SetupError> {
        let deny = |why: &str| denied(op, target, why);
        let hello = greeted.hello;
        let capacity = announced_capacity(&hello)
            .ok_or_else(|| deny("the peer's capacity is no power of two from 4096 to 1G"))?;
        if capacity > terms.peer_capacity {
            return Err(deny(&format!(
                "the peer's ring has {capacity} bytes, more than peer_capacity={}; \
                 use peer_capacity={capacity} here or a smaller capacity there",
                terms.peer_capacity
            )));
        }
        let [memfd, rx_event, tx_event]: [OwnedFd; 3] = greeted
            .fds
            .try_into()
            .map_err(|_| deny("the peer did not hand over one memory and two eventfds"))?;
        if !(eventfd::is_one(&rx_event) && eventfd::is_one(&tx_event)) {
            return Err(deny("the peer's bells are no non-blocking eventfds"));
        }
        let memory = Memory::import_at(terms.place, memfd.as_fd(), DATA + capacity, terms.writers)?;
        if !is_signed(&memory, MAGIC, &hello) {
            return Err(deny("the peer's memory belongs to another connection"));
        }
        Ok(Theirs { memory, rx_event: Arc::new(rx_event), tx_event: Arc::new(tx_event) })
    }
}

/// Imports what a harness has made up.
#[cfg(any(test, fuzzing, feature = "__fault-points"))]
pub(crate) fn import_made_up(greeted: Greeted) -> Result<(), SetupError> {
    let terms = Terms { peer_capacity: MAX_CAPACITY, place: Placement::Anywhere, writers: Writers::Creator };
    Theirs::import(greeted, terms, "import", &"made-up input").map(drop)
}

fn connected(
    settings: &Settings,
    ours: Side,
    theirs: Theirs,
    their_hello: &Hello,
    agreed: &Agreed,
    control: Control,
    peer: PeerInfo,
) -> Result<Connection<ShmSender, ShmReceiver>, SetupError> {
    let longest = longest_message(ours.memory.len() - DATA).min(longest_message(theirs.memory.len() - DATA));
    let max_message = usize::try_from(agreed.max_message).unwrap_or(usize::MAX).min(longest);
    let barrier = barrier(&ours.hello, their_hello);
    let control = Arc::new(control);
    let half = |state, their_state, bell, their_bell, event, their_event| {
        Half::new(
            Sleeper::new(state, their_bell, barrier),
            Waker::new(bell, their_state, barrier, Some(their_event)),
            Waiting::new(settings.wait, agreed.share_one_cpu),
            Arc::clone(&control),
            event,
        )
    };
    let tx = half(Word::TxState, Word::RxState, Word::TxBell, Word::RxBell, ours.tx_event, theirs.rx_event);
    let rx = half(Word::RxState, Word::TxState, Word::RxBell, Word::TxBell, ours.rx_event, theirs.tx_event);
    let mut effective = vec![
        ("capacity", (ours.memory.len() - DATA) as u64),
        ("peer_capacity", (theirs.memory.len() - DATA) as u64),
        ("max_message", max_message as u64),
    ];
    if settings.hugepages {
        effective.push(("huge_bytes", ours.memory.huge_bytes() as u64));
        effective.push(("peer_huge_bytes", theirs.memory.huge_bytes() as u64));
        effective.extend(ours.refused.map(|error| ("huge_errno", error.raw_os_error() as u64)));
    }
    let ring = Ring { ours: ours.memory, theirs: theirs.memory, max_message };
    let tx = ShmSender::new(ring.clone(), tx);
    let rx = ShmReceiver::new(ring, rx, settings.trust.is_given());
    Ok(Connection::new(tx, rx, peer, effective))
}

/// Both memories of a connection, as one half sees them.
#[derive(Clone, Debug)]
struct Ring {
    ours: Memory,
    theirs: Memory,
    max_message: usize,
}

/// Accepts `shm` connections at one address.
///
/// ```
/// use ipc_transports::{Listener, Receiver, Sender, Shm, ShmOptions, Transport, Wait};
/// let at = format!("shm:doc-listener-{}", std::process::id()).parse()?;
/// // Each side chooses the size of the ring that it writes.
/// let options = ShmOptions { capacity: Some(1 << 16), ..Default::default() };
/// let mut listener = Shm::listen(&at, &options)?;
/// let client = std::thread::spawn(move || Shm::connect(&at, &ShmOptions::default(), Wait::Forever));
/// let mut served = listener.accept(Wait::Forever)?;
/// let mut client = client.join().expect("it does not panic")?;
/// served.tx.send(b"welcome")?;
/// assert_eq!(client.rx.recv(&mut Vec::new())?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmListener {
    control: ControlListener,
    settings: Settings,
}

impl Listener for ShmListener {
    type Tx = ShmSender;
    type Rx = ShmReceiver;

    fn accept(&mut self, wait: Wait) -> Result<Connection<ShmSender, ShmReceiver>, SetupError> {
        let settings = self.settings;
        let address = self.control.address().clone();
        let (control, peer, (ours, theirs, their_hello, agreed)) = self.control.accept(
            wait,
            || settings.hello(),
            |hello, greeted, agreed| {
                let their_hello = greeted.hello;
                settings.charge(&greeted, &address)?;
                let theirs = Theirs::import(greeted, settings.terms(), "accept on", &address)
                    .map_err(control::costs_the_client)?;
                let ours = Side::new(&settings, *hello)?;
                let fds = duplicates(ours.fds(), "accept on", &address)?;
                Ok((fds, (ours, theirs, their_hello, agreed)))
            },
        )?;
        connected(&settings, ours, theirs, &their_hello, &agreed, control, peer)
    }

    fn address(&self) -> &Address {
        self.control.address()
    }
}

pollable_listener!(ShmListener: control);

impl Transport for Shm {
    const NAME: &'static str = "shm";
    type Options = ShmOptions;
    type Tx = ShmSender;
    type Rx = ShmReceiver;
    type Listener = ShmListener;

    fn listen(at: &Address, options: &ShmOptions) -> Result<ShmListener, SetupError> {
        let settings = Settings::new(&options.resolved(at)?, "listen on", at)?;
        let control = ControlListener::bind(at, settings.allow_uid.as_slice(), settings.features)?;
        Ok(ShmListener { control, settings })
    }

    fn connect(
        to: &Address,
        options: &ShmOptions,
        wait: Wait,
    ) -> Result<Connection<ShmSender, ShmReceiver>, SetupError> {
        const OP: &str = "connect to";
        let settings = Settings::new(&options.resolved(to)?, OP, to)?;
        let ours = Side::new(&settings, settings.hello())?;
        let allowed = settings.allow_uid.as_slice();
        let (control, greeted, agreed) =
            control::connect(to, allowed, settings.features, &ours.hello, &ours.fds(), wait)
                .map_err(|error| settings.maybe_refused(error))?;
        let (their_hello, peer) = (greeted.hello, greeted.peer);
        let theirs = Theirs::import(greeted, settings.terms(), OP, to)?;
        connected(&settings, ours, theirs, &their_hello, &agreed, control, peer)
    }

    fn pair(options: &ShmOptions) -> Result<Pair<Self>, SetupError> {
        let settings = Settings::new(options, "pair", &"of shm")?;
        let (one, other, peer) = control::pair(settings.features)?;
        let (left, right) =
            (Side::new(&settings, settings.hello())?, Side::new(&settings, settings.hello())?);
        let agreed = agreed_in_a_pair(&left.hello);
        let seen = |side: &Side| Theirs {
            memory: side.memory.clone(),
            rx_event: Arc::clone(&side.rx_event),
            tx_event: Arc::clone(&side.tx_event),
        };
        let (of_left, of_right) = (seen(&left), seen(&right));
        let (left_hello, right_hello) = (left.hello, right.hello);
        Ok((
            connected(&settings, left, of_right, &right_hello, &agreed, one, peer)?,
            connected(&settings, right, of_left, &left_hello, &agreed, other, peer)?,
        ))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            max_clients: None,
            max_message: longest_message(ring_setup::DEFAULT_CAPACITY),
            loan: true,
            peek: true,
            pollable: true,
            priorities: 1,
        }
    }

    fn capabilities_with(options: &ShmOptions) -> Result<Capabilities, SetupError> {
        let max_message = Settings::new(options, "use", &"shm")?.max_message;
        Ok(Capabilities { max_message, ..Shm::capabilities() })
    }
}

#[cfg(test)]
mod tests;
