//! One writer, many readers: each message is copied once, into one ring, and read there by every process that listens.
//!
//! The [`Writer`] owns the ring, one sealed memfd, and hands it to each [`Reader`] over a control socket; the readers map
//! it read-only. How far a reader has come lies in a page of memory that the reader owns and the writer maps read-only.
//! So every shared word has one writer, and what a hostile reader can corrupt is its own position: it is cut off.
//! Layout: `backing.rs`; records: `ring.rs`; sleeping: `bell.rs`, one bell for all readers. Behind the bytes of each
//! message lies its number, by which a reader knows what it has missed.
//!
//! A reader sees every message sent after [`Writer::accept`] let it in, or what [`SlowReader`] leaves of them.
//!
//! ```
//! use ipc_transports::broadcast::{BroadcastOptions, Writer};
//! use ipc_transports::{Receiver, Sender};
//! let mut writer = Writer::private(&BroadcastOptions::default())?;
//! let mut readers = [writer.subscribe()?, writer.subscribe()?];
//! writer.send(b"to all of you")?;
//! let mut message = Vec::new();
//! for reader in &mut readers {
//!     reader.recv(&mut message)?;
//!     assert_eq!(message, b"to all of you");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Death.** A reader that dies or leaves is noticed by its control socket (and its pidfd) within 50 ms of holding up
//! the writer, and no longer counts; [`Writer::lost`] counts the dead. When the writer dies, each reader still gets
//! what was published and then [`RecvError::PeerDied`](crate::RecvError::PeerDied); a message half written was never
//! published.
mod joining;
mod reader;
mod writer;

use std::str::FromStr;

use ipc_core::hello::Hello;
use ipc_core::{Fingerprint, OptionError, Options, SetupError, WaitPolicy};

use crate::Trust;
use crate::features::Features;
use crate::ring::longest_message;
use crate::ring_setup::{self, bad_option, features_with_seals};

pub use reader::{Reader, ReaderMessage};
pub use writer::Writer;

/// The scheme of a broadcast's address: `broadcast:NAME` or `broadcast:/absolute/path`.
pub const SCHEME: &str = "broadcast";

/// Bytes of a message's number, behind the message.
const NUMBER: usize = 8;

/// First word of a writer's or reader's memory.
const MAGIC: u64 = u64::from_le_bytes(*b"ipc-bro\x01");

/// Changes whenever the picture in `backing.rs` or `ring.rs`, the number or [`Join`] does.
const LAYOUT: u64 = Hello::layout_of(
    "broadcast/2 line=64 data=4096 commit=tag32,committed31,padding30,unfinished,len number=8 join=24",
);

/// What happens to a reader that does not keep up, decided by the writer.
///
/// ```
/// use ipc_transports::broadcast::{BroadcastOptions, SlowReader, Writer};
/// use ipc_transports::{Receiver, Sender};
/// let slow = Some(SlowReader::Latest);
/// let mut writer = Writer::private(&BroadcastOptions { slow, ..BroadcastOptions::default() })?;
/// let mut reader = writer.subscribe()?;
/// for temperature in [20u8, 21, 22] {
///     writer.send(&[temperature])?;
/// }
/// let mut now = Vec::new();
/// reader.recv(&mut now)?;
/// assert_eq!((now[0], reader.missed()), (22, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SlowReader {
    /// The writer waits for it, as long as it lives: nobody misses anything.
    #[default]
    Wait,
    /// The writer never waits; messages that a slow reader has not read in time are dropped for it, the oldest first,
    /// and counted by [`Reader::missed`].
    Drop,
    /// The writer never waits, and each receive gets the newest message there is; what lies before it is skipped and
    /// counted by [`Reader::missed`].
    Latest,
}

impl SlowReader {
    /// Every policy, in the order in which they are documented.
    pub const ALL: [SlowReader; 3] = [SlowReader::Wait, SlowReader::Drop, SlowReader::Latest];

    /// The name used in addresses.
    pub fn name(self) -> &'static str {
        match self {
            SlowReader::Wait => "wait",
            SlowReader::Drop => "drop",
            SlowReader::Latest => "latest",
        }
    }
}

impl FromStr for SlowReader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        SlowReader::ALL.into_iter().find(|policy| policy.name() == text).ok_or("slow is wait, drop or latest")
    }
}

/// Options of a broadcast. `None` means "from the address, else the default".
///
/// ```
/// use ipc_transports::broadcast::{BroadcastOptions, SlowReader, Writer};
/// let options = BroadcastOptions {
///     capacity: Some(1 << 16),
///     slow: Some(SlowReader::Latest),
///     ..BroadcastOptions::default()
/// };
/// assert_eq!(Writer::private(&options)?.slow(), SlowReader::Latest);
/// # Ok::<(), ipc_transports::SetupError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BroadcastOptions {
    /// `?capacity=`: bytes of the writer's ring; a power of two from 4096 to 1G; default 1M.
    pub capacity: Option<usize>,
    /// `?max_message=`: longest message in bytes; at most, and by default, half the capacity less 16.
    pub max_message: Option<usize>,
    /// `?slow=wait|drop|latest`: what the writer does about a reader that does not keep up; default `wait`.
    pub slow: Option<SlowReader>,
    /// `?wait=spin|park|adaptive`: what this side does while it waits; default `adaptive`.
    pub wait: Option<WaitPolicy>,
    /// Identity of the message types, `?fingerprint=0x…`; a peer that states another one is refused. Default not stated.
    pub fingerprint: Option<Fingerprint>,
    /// `?mlock=true`: keep the writer's ring from being swapped out; default false.
    pub mlock: Option<bool>,
    /// `?allow_uid=`: a user beside our own who may be at the other end.
    pub allow_uid: Option<u32>,
    /// Whether a reader may be lent messages where they lie in the writer's memory. Cannot be set by an address, and has
    /// an effect under [`SlowReader::Wait`] only: elsewhere the writer overwrites what is being read. [`Trust::mutual`] is no
    /// more than [`Trust::peer`] here.
    pub trust: Trust,
}

impl Options for BroadcastOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "capacity" => OptionError::fill_bytes(&mut self.capacity, key, value),
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            "slow" => OptionError::fill(&mut self.slow, key, value),
            "wait" => OptionError::fill(&mut self.wait, key, value),
            "fingerprint" => OptionError::fill(&mut self.fingerprint, key, value),
            "mlock" => OptionError::fill(&mut self.mlock, key, value),
            "allow_uid" => OptionError::fill(&mut self.allow_uid, key, value),
            _ => Err(OptionError::unknown(
                key,
                &["capacity", "max_message", "slow", "wait", "fingerprint", "mlock", "allow_uid"],
            )),
        }
    }
}

/// Options with the defaults filled in and checked.
#[derive(Clone, Copy, Debug)]
struct Settings {
    capacity: usize,
    max_message: usize,
    slow: SlowReader,
    wait: WaitPolicy,
    fingerprint: Option<Fingerprint>,
    mlock: bool,
    allow_uid: Option<u32>,
    trusted: bool,
    features: &'static Features,
}

impl Settings {
    fn new(
        options: &BroadcastOptions,
        op: &'static str,
        target: &dyn std::fmt::Display,
    ) -> Result<Self, SetupError> {
        let capacity = ring_setup::capacity(options.capacity, op, target)?;
        let longest = longest_message(capacity) - NUMBER;
        let max_message = options.max_message.unwrap_or(longest);
        if max_message > longest {
            let what = format!(
                "max_message={max_message}: a ring of {capacity} bytes carries up to {longest}; {}",
                crate::shm::capacity_for(max_message, NUMBER)
            );
            return Err(bad_option(op, target, what));
        }
        let features = features_with_seals(op, target)?;
        Ok(Settings {
            capacity,
            max_message,
            slow: options.slow.unwrap_or_default(),
            wait: options.wait.unwrap_or(WaitPolicy::Adaptive),
            fingerprint: options.fingerprint,
            mlock: options.mlock.unwrap_or(false),
            allow_uid: options.allow_uid,
            trusted: options.trust.is_given(),
            features,
        })
    }

    /// The hello of a side that writes `capacity` bytes of ring, or none.
    fn hello(&self, max_message: usize, capacity: usize) -> Hello {
        ring_setup::hello(LAYOUT, max_message, capacity, self.fingerprint, self.wait, self.features)
    }
}

/// What the writer tells a reader behind its hello: three little-endian `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Join {
    /// Where the first record for this reader will begin.
    position: u64,
    /// Its number.
    number: u64,
    slow: SlowReader,
}

impl Join {
    fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.position.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16] = self.slow as u8;
        bytes
    }

    fn decode(bytes: &[u8; 24]) -> Option<Join> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let slow = *SlowReader::ALL.get(usize::try_from(word(16)).ok()?)?;
        Some(Join { position: word(0), number: word(8), slow })
    }
}

#[cfg(test)]
mod tests;
