//! The contract of a message transport between processes on Linux: what a sender, a receiver, a listener and an
//! address are, how long a call may wait, what can go wrong, and what a byte stream's frames look like.
//!
//! Everything here is pure: no system call, no `unsafe`, no clock read except to ask whether a deadline has passed.
//! The mechanisms live in `ipc-transports`, which re-exports this crate.
//!
//! ```
//! use ipc_core::{Address, Wait};
//! use std::time::Duration;
//!
//! let address: Address = "shm:camera?capacity=4M".parse()?;
//! assert_eq!(address.scheme(), "shm");
//! assert_eq!(address.to_string(), "shm:camera?capacity=4M");
//! assert!(matches!(Wait::within(Duration::from_millis(5)), Wait::Until(_)));
//! # Ok::<(), ipc_core::AddressError>(())
//! ```
#![forbid(unsafe_code)]

mod address;
mod buf_sender;
pub mod codec;
mod crc32c;
mod error;
pub mod frame;
pub mod hello;
mod incoming;
pub mod message;
mod open_metrics;
mod options;
mod poll;
#[cfg(feature = "raw")]
pub mod raw;
mod ready_set;
mod receiver;
pub mod rpc;
mod sender;
mod stats;
mod transport;
pub mod typed;
mod wait;

pub use address::{Address, AddressError, Target};
pub use buf_sender::BufSender;
pub use crc32c::Crc32c;
pub use error::{RecvError, SendError, SetupError, SetupErrorKind};
pub use incoming::Incoming;
pub use message::{Envelope, Fingerprint, Message, Priority};
pub use open_metrics::open_metrics;
pub use options::{OptionError, Options, parse_bytes};
pub use poll::{Armed, Interest, Pollable};
pub use ready_set::ReadySet;
pub use receiver::{PeekReceiver, Receiver};
pub use sender::{Loan, LoanSender, Sender};
pub use stats::Stats;
pub use transport::{Capabilities, Connection, Listener, Pair, PeerInfo, Transport};
pub use wait::{Wait, WaitPolicy};
#[cfg(feature = "raw")]
#[doc(no_inline)]
pub use zerocopy;
