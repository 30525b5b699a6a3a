//! `shm-direct`: one message at a time and direction, through a slot under a robust mutex in shared memory.
//!
//! This is the construction most people build first, and want compared: shared memory, a process-shared pthread mutex,
//! and something to wait on. Here that is a futex word, since glibc's condition variables do not survive the death of a
//! waiter: the survivor hangs in `pthread_cond_signal`. The mutex does survive: the kernel tells the next holder, which
//! repairs the slot from its own fields ([`slot`](crate::slot)).
//!
//! **Both sides write the memory**, one memfd, so that either can corrupt what the other sees, and with the pointers that
//! glibc keeps in the mutex even crash it. It therefore connects to processes of our own user only. `shm` has neither
//! weakness, is faster, and holds more than one message.
#![allow(unsafe_code, reason = "the identity line is written and read raw")]

mod halves;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ipc_core::hello::{Agreed, Hello};
use ipc_core::{
    Address, Capabilities, Connection, Fingerprint, Listener, OptionError, Options, Pair, PeerInfo,
    SetupError, SetupErrorKind, Transport, Wait, WaitPolicy,
};
use rustix::io::Errno;

use crate::control::{self, Control, ControlListener};
use crate::doorbell::pollable_listener;
use crate::errno::setup_error;
use crate::eventfd;
use crate::features::{Features, features, unsupported};
use crate::handshake::{agreed_in_a_pair, own_hello};
use crate::memory::{Memory, Writers};
use crate::slot::{Lock, Party, SharedCells, Side, slot_len};
use crate::waiting::Waiting;
use halves::Half;

pub use halves::{ShmDirectReceiver, ShmDirectSender};

/// Bytes for messages of both directions together unless asked otherwise.
const DEFAULT_CAPACITY: usize = 1 << 20;

/// Most bytes for messages of both directions together.
const MAX_CAPACITY: usize = 2 << 30;

/// First word of the memory.
const MAGIC: u64 = u64::from_le_bytes(*b"ipc-dir\x01");

/// Bytes before the first slot: {magic, layout, nonce, max_message}, compared once at connect, never read again.
const IDENTITY: usize = 128;

/// Changes whenever the picture in `slot.rs` does; a mutex means the same only to the same C library.
const LAYOUT: u64 =
    Hello::layout_of("shm-direct/1 identity=128 apart=128 mutex,state,len,flags|taken|published,payload")
        ^ Hello::layout_of(if cfg!(target_env = "gnu") { "glibc" } else { "another C library" });

/// What [`LAYOUT`] becomes when both sides sleep on condition variables.
const CONDVAR_LAYOUT: u64 = LAYOUT ^ Hello::layout_of("condvars at 64 and 136");

fn layout(lock: Lock) -> u64 {
    match lock {
        Lock::Mutex => LAYOUT,
        Lock::Condvar => CONDVAR_LAYOUT,
    }
}

/// One slot per direction under a robust mutex; see `docs/transports.md`. Prefer [`Shm`](crate::Shm).
///
/// ```
/// use ipc_transports::{Receiver, Sender, ShmDirect, ShmDirectOptions, Transport};
/// let (mut one, mut other) = ShmDirect::pair(&ShmDirectOptions::default())?;
/// one.tx.send(b"hello")?;
/// let mut message = Vec::new();
/// other.rx.recv(&mut message)?;
/// assert_eq!(message, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmDirect;

/// Options of [`ShmDirect`]; `None` means the default.
///
/// ```
/// use ipc_transports::{ShmDirectOptions, ShmDirect, Transport};
/// let options = ShmDirectOptions { max_message: Some(4096), ..Default::default() };
/// let (near, _far) = ShmDirect::pair(&options)?;
/// # let _ = &near;
/// println!("{:?}", near.effective);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ShmDirectOptions {
    /// Bytes for messages, half of them for each direction's slot, `capacity=`; any number up to 2 GiB; default 1 MiB.
    pub capacity: Option<usize>,
    /// Longest message in bytes, `max_message=`; by default half the capacity, which is one whole slot. Given alone, it
    /// sets the capacity. The smaller of both sides counts, and slots are no larger than that.
    pub max_message: Option<usize>,
    /// What this side does while it waits, `wait=spin|park|adaptive`; default `adaptive`.
    pub wait: Option<WaitPolicy>,
    /// Identity of the message types, `fingerprint=0x…`; a peer that states another one is refused. Default not stated.
    pub fingerprint: Option<Fingerprint>,
    /// How the sides sleep, `lock=mutex|condvar`; default `mutex`. `condvar` is **not kill-safe**.
    pub lock: Option<Lock>,
}

impl Options for ShmDirectOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "capacity" => OptionError::fill_bytes(&mut self.capacity, key, value),
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            "wait" => OptionError::fill(&mut self.wait, key, value),
            "fingerprint" => OptionError::fill(&mut self.fingerprint, key, value),
            "lock" => OptionError::fill(&mut self.lock, key, value),
            _ => Err(OptionError::unknown(key, &["capacity", "max_message", "wait", "fingerprint", "lock"])),
        }
    }
}

/// Options with the defaults filled in and checked.
#[derive(Clone, Copy, Debug)]
struct Settings {
    max_message: usize,
    wait: WaitPolicy,
    fingerprint: u64,
    lock: Lock,
    features: &'static Features,
}

impl Settings {
    fn new(
        options: &ShmDirectOptions,
        op: &'static str,
        target: &dyn std::fmt::Display,
    ) -> Result<Settings, SetupError> {
        let bad = |what: String| {
            Err(SetupError::new(SetupErrorKind::BadAddress, op, target)
                .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, what)))
        };
        let asked = options.max_message;
        let needed = asked.map_or(DEFAULT_CAPACITY, |longest| longest.saturating_mul(2));
        let capacity = options.capacity.unwrap_or(needed);
        if capacity > MAX_CAPACITY {
            return bad(format!("{capacity} bytes for messages of both directions: at most {MAX_CAPACITY}"));
        }
        let max_message = asked.unwrap_or(capacity / 2);
        if max_message > capacity / 2 {
            return bad(format!(
                "max_message={max_message}: each direction has half of capacity={capacity}; {}",
                match needed {
                    ..=MAX_CAPACITY => format!("use capacity={needed}"),
                    _ => format!("the largest is capacity={MAX_CAPACITY}"),
                }
            ));
        }
        let features = features(op)?;
        if !features.seals {
            return Err(unsupported(
                op,
                target,
                "needs the feature seals: memfds with F_SEAL_FUTURE_WRITE (Linux 5.1)",
            ));
        }
        Ok(Settings {
            max_message,
            wait: options.wait.unwrap_or(WaitPolicy::Adaptive),
            fingerprint: options.fingerprint.map_or(0, Fingerprint::number),
            lock: options.lock.unwrap_or_default(),
            features,
        })
    }

    fn hello(&self) -> Hello {
        let fingerprint = self.fingerprint;
        Hello { fingerprint, ..own_hello(layout(self.lock), self.max_message, 2 * self.max_message, 0) }
    }
}

/// The eventfds of one side, rung by the other.
#[derive(Clone, Debug)]
struct Bells {
    /// For its receiver.
    rx: Arc<OwnedFd>,
    /// For its sender.
    tx: Arc<OwnedFd>,
}

impl Bells {
    fn new() -> Result<Bells, SetupError> {
        Ok(Bells { rx: eventfd::create()?, tx: eventfd::create()? })
    }

    fn import([rx, tx]: [OwnedFd; 2]) -> Result<Bells, SetupError> {
        if !(eventfd::is_one(&rx) && eventfd::is_one(&tx)) {
            return Err(deny("the peer's bells are no non-blocking eventfds"));
        }
        Ok(Bells { rx: Arc::new(rx), tx: Arc::new(tx) })
    }
}

fn deny(why: &str) -> SetupError {
    SetupError::new(SetupErrorKind::Denied, "use shared memory of", "the peer")
        .because(std::io::Error::new(std::io::ErrorKind::InvalidData, why))
}

/// The two slots of a connection and what they lie in.
#[derive(Debug)]
struct Slots {
    /// Written by the listening side.
    listeners: SharedCells,
    /// Written by the connecting side.
    connectors: SharedCells,
    size: usize,
}

impl Slots {
    fn bytes(size: usize) -> usize {
        IDENTITY + 2 * slot_len(size)
    }

    fn identity(hello: &Hello, size: usize) -> [u64; 4] {
        [MAGIC, hello.layout, hello.nonce, size as u64]
    }

    /// Makes memory with two empty slots for messages of up to `size` bytes; `hello` is its maker's.
    fn create(hello: &Hello, size: usize, lock: Lock) -> Result<(Slots, OwnedFd), SetupError> {
        let (memory, memfd) = Memory::create(Slots::bytes(size), Writers::Both, false)?;
        let fail = |error| setup_error("create", "a robust mutex", error);
        let slots = Slots {
            listeners: SharedCells::create(&memory, IDENTITY, size, lock).map_err(fail)?,
            connectors: SharedCells::create(&memory, IDENTITY + slot_len(size), size, lock).map_err(fail)?,
            size,
        };
        // SAFETY: the first bytes of writable memory that nobody else has seen yet.
        unsafe { memory.base().cast::<[u64; 4]>().write(Slots::identity(hello, size)) };
        Ok((slots, memfd))
    }

    /// Maps the memory that the side that said `hello` made.
    fn import(memfd: &OwnedFd, hello: &Hello, size: usize, lock: Lock) -> Result<Slots, SetupError> {
        let memory = Memory::import(memfd.as_fd(), Slots::bytes(size), Writers::Both)?;
        // SAFETY: the mapping is at least that long; the words are copied, then judged.
        let identity = unsafe { memory.base().cast::<[u64; 4]>().read_volatile() };
        if identity != Slots::identity(hello, size) {
            return Err(deny("the peer's memory belongs to another connection"));
        }
        Ok(Slots {
            listeners: SharedCells::attach(&memory, IDENTITY, size, lock),
            connectors: SharedCells::attach(&memory, IDENTITY + slot_len(size), size, lock),
            size,
        })
    }

    /// The slots seen from the side that writes `ours`.
    fn connection(
        (ours, theirs, size): (SharedCells, SharedCells, usize),
        settings: &Settings,
        (our_bells, their_bells): (Bells, Bells),
        agreed: &Agreed,
        control: Control,
        peer: PeerInfo,
    ) -> Connection<ShmDirectSender, ShmDirectReceiver> {
        let control = Arc::new(control);
        let waiting = Waiting::new(settings.wait, agreed.share_one_cpu);
        let half = |party, cells, own, peers| {
            let side = Side::new(cells, party, size, agreed.share_one_cpu);
            Half::new(side, waiting, Arc::clone(&control), own, peers)
        };
        let tx = half(Party::Writer, ours.clone(), our_bells.tx, their_bells.rx);
        let rx = half(Party::Reader, theirs, our_bells.rx, their_bells.tx);
        let mut effective = vec![("capacity", 2 * size as u64), ("max_message", size as u64)];
        if settings.lock == Lock::Condvar {
            effective.push(("not kill-safe", 1));
        }
        Connection::new(ShmDirectSender::new(tx, size), ShmDirectReceiver::new(rx, ours), peer, effective)
    }
}

/// Accepts [`ShmDirect`] connections.
///
/// ```
/// use ipc_transports::{Listener, Receiver, Sender, ShmDirect, Transport, Wait};
/// let at = format!("shm-direct:doc-listener-{}", std::process::id()).parse()?;
/// let mut listener = ShmDirect::listen(&at, &Default::default())?;
/// let client = std::thread::spawn(move || ShmDirect::connect(&at, &Default::default(), Wait::Forever));
/// let mut served = listener.accept(Wait::Forever)?;
/// let mut client = client.join().expect("it does not panic")?;
/// client.tx.send(b"hello")?;
/// assert_eq!(served.rx.recv(&mut Vec::new())?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShmDirectListener {
    control: ControlListener,
    settings: Settings,
}

impl Listener for ShmDirectListener {
    type Tx = ShmDirectSender;
    type Rx = ShmDirectReceiver;

    fn accept(&mut self, wait: Wait) -> Result<Connection<ShmDirectSender, ShmDirectReceiver>, SetupError> {
        let settings = self.settings;
        let (control, peer, (slots, bells, agreed)) = self.control.accept(
            wait,
            || settings.hello(),
            |hello, greeted, agreed| {
                let bells: [OwnedFd; 2] =
                    greeted.fds.try_into().map_err(|_| deny("the peer did not hand over two eventfds"))?;
                let bells = (Bells::new()?, Bells::import(bells)?);
                let (slots, memfd) = Slots::create(hello, agreed.max_message as usize, settings.lock)?;
                let copy = |bell: &OwnedFd| {
                    bell.try_clone().map_err(|error| {
                        setup_error(
                            "accept on",
                            "shm-direct",
                            Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
                        )
                    })
                };
                let fds = vec![memfd, copy(&bells.0.rx)?, copy(&bells.0.tx)?];
                Ok((fds, (slots, bells, agreed)))
            },
        )?;
        let cells = (slots.listeners, slots.connectors, slots.size);
        Ok(Slots::connection(cells, &settings, bells, &agreed, control, peer))
    }

    fn address(&self) -> &Address {
        self.control.address()
    }
}

pollable_listener!(ShmDirectListener: control);

impl Transport for ShmDirect {
    const NAME: &'static str = "shm-direct";
    type Options = ShmDirectOptions;
    type Tx = ShmDirectSender;
    type Rx = ShmDirectReceiver;
    type Listener = ShmDirectListener;

    fn listen(at: &Address, options: &ShmDirectOptions) -> Result<ShmDirectListener, SetupError> {
        let settings = Settings::new(&options.resolved(at)?, "listen on", at)?;
        let control = ControlListener::bind(at, &[], settings.features)?;
        Ok(ShmDirectListener { control, settings })
    }

    fn connect(
        to: &Address,
        options: &ShmDirectOptions,
        wait: Wait,
    ) -> Result<Connection<ShmDirectSender, ShmDirectReceiver>, SetupError> {
        let settings = Settings::new(&options.resolved(to)?, "connect to", to)?;
        let ours = Bells::new()?;
        let fds = [ours.rx.as_fd(), ours.tx.as_fd()];
        let (control, greeted, agreed) =
            control::connect(to, &[], settings.features, &settings.hello(), &fds, wait)?;
        let [memfd, rx, tx]: [OwnedFd; 3] = greeted
            .fds
            .try_into()
            .map_err(|_| deny("the peer did not hand over one memory and two eventfds"))?;
        let theirs = Bells::import([rx, tx])?;
        let slots = Slots::import(&memfd, &greeted.hello, agreed.max_message as usize, settings.lock)?;
        let cells = (slots.connectors, slots.listeners, slots.size);
        Ok(Slots::connection(cells, &settings, (ours, theirs), &agreed, control, greeted.peer))
    }

    fn pair(options: &ShmDirectOptions) -> Result<Pair<Self>, SetupError> {
        const OF: &str = "of shm-direct";
        let settings = Settings::new(options, "pair", &OF)?;
        let (one, other, peer) = control::pair(settings.features)?;
        let hello = settings.hello();
        let agreed = agreed_in_a_pair(&hello);
        let (slots, _memfd) = Slots::create(&hello, settings.max_message, settings.lock)?;
        let (left, right) = (Bells::new()?, Bells::new()?);
        let end = |ours: &SharedCells, theirs: &SharedCells, bells: (&Bells, &Bells), control| {
            let cells = (ours.clone(), theirs.clone(), slots.size);
            Slots::connection(cells, &settings, (bells.0.clone(), bells.1.clone()), &agreed, control, peer)
        };
        Ok((
            end(&slots.listeners, &slots.connectors, (&left, &right), one),
            end(&slots.connectors, &slots.listeners, (&right, &left), other),
        ))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            max_clients: None,
            max_message: DEFAULT_CAPACITY / 2,
            // A loan would keep the slot locked for as long as its borrower likes.
            loan: false,
            peek: true,
            pollable: true,
            priorities: 1,
        }
    }

    fn capabilities_with(options: &ShmDirectOptions) -> Result<Capabilities, SetupError> {
        let max_message = Settings::new(options, "use", &"shm-direct")?.max_message;
        Ok(Capabilities { max_message, ..ShmDirect::capabilities() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_core::{Receiver, Sender};

    #[test]
    fn on_condition_variables_messages_cross_and_the_end_is_told() {
        let options = ShmDirectOptions {
            lock: Some(Lock::Condvar),
            wait: Some(WaitPolicy::Park),
            ..Default::default()
        };
        let (mut near, mut far) = ShmDirect::pair(&options).unwrap();
        assert!(near.effective.contains(&("not kill-safe", 1)), "{:?}", near.effective);
        let echo = std::thread::spawn(move || {
            let mut buf = Vec::new();
            while far.rx.recv(&mut buf).is_ok() {
                far.tx.send(&buf).unwrap();
            }
        });
        let mut buf = Vec::new();
        for number in 0..2000u32 {
            near.tx.send(&number.to_le_bytes()).unwrap();
            near.rx.recv(&mut buf).unwrap();
            assert_eq!(buf, number.to_le_bytes());
        }
        drop(near);
        echo.join().unwrap();
    }

    #[test]
    fn a_peer_that_sleeps_otherwise_is_refused() {
        let nonce: [u8; 8] = crate::handshake::random();
        let at: Address =
            format!("shm-direct:test-sleeps-{:016x}", u64::from_le_bytes(nonce)).parse().unwrap();
        let options = ShmDirectOptions { lock: Some(Lock::Condvar), ..Default::default() };
        let mut listener = ShmDirect::listen(&at, &options).unwrap();
        let client = std::thread::spawn(move || {
            ShmDirect::connect(&at, &Default::default(), Wait::within(std::time::Duration::from_secs(5)))
        });
        let accepted = listener.accept(Wait::within(std::time::Duration::from_millis(200)));
        assert!(accepted.is_err(), "{accepted:?}");
        let refused = client.join().unwrap().unwrap_err();
        assert!(matches!(refused.kind, SetupErrorKind::Mismatch { .. }), "{refused}");
    }

    #[test]
    fn no_capacity_is_advised_that_cannot_be() {
        let refused = |max_message| {
            let options = ShmDirectOptions { capacity: Some(4096), max_message, ..Default::default() };
            ShmDirect::pair(&options).unwrap_err().to_string()
        };
        assert!(refused(Some(3000)).ends_with("half of capacity=4096; use capacity=6000)"));
        for past_everything in [(1 << 30) + 1, usize::MAX / 2 + 1, usize::MAX] {
            let told = refused(Some(past_everything));
            assert!(told.ends_with("half of capacity=4096; the largest is capacity=2147483648)"), "{told}");
        }
    }
}
