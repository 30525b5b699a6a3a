//! The bare loops every ratio is taken against.
//!
//! A *limit* is the least a mechanism can cost on this machine: one cache line handed over, one futex
//! wake-up, one system call per message and side, one copy in and one copy out. Each is written here as one
//! side of a duplex link ([`Bare`]) so that the driver that measures a transport can drive the limit with
//! the same clock reads, the same recorder and the same payload checks. The crate uses none of the
//! workspace's other crates, and it offers no safety a transport would have to offer: no handshake, no
//! variable lengths, no hostile peer, no backpressure where a closed loop needs none.
//!
//! # Two processes
//! The runner creates a link, hands one [`End`] to each worker by inheritance, and drops both:
//!
//! ```no_run
//! use ipc_limits::{Bare, Driver, End, Kind, Params, create};
//! use std::{io, process::Command};
//!
//! // In the runner.
//! let (near, far) = create(&Params::new(Kind::Slot, 64))?;
//! for end in [near, far] {
//!     let mut worker = Command::new("worker");
//!     worker.arg(end.to_string());
//!     end.pass_to(&mut worker);
//!     worker.spawn()?;
//! }
//!
//! // In a worker.
//! struct Echo;
//! impl Driver for Echo {
//!     type Output = io::Result<()>;
//!     fn drive<B: Bare>(self, mut link: B) -> io::Result<()> {
//!         let mut message = vec![0; 64];
//!         loop {
//!             link.recv(&mut message)?;
//!             link.send(&message)?;
//!         }
//!     }
//! }
//! let spec = std::env::args().nth(1).unwrap_or_default();
//! End::inherited(&spec)?.open()?.drive(Echo)?;
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # When the peer dies
//! A side that waits for a dead peer gets [`io::ErrorKind::UnexpectedEof`] (or the error the kernel has for
//! it, such as `ECONNRESET` or `EPIPE`). That costs nothing while messages flow: sockets and pipes end by
//! themselves, spinning loops look at a lifeline after some ten thousand empty looks, and loops that sleep
//! on something without an end have a thread that sleeps on the lifeline for them.

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!(
    "ipc-limits runs on 64-bit little-endian Linux only: its links are memfds, futexes and Linux queue descriptors"
);

mod cacheline;
mod copy;
pub mod cost;
mod end;
mod eventfd;
mod futex;
mod kind;
mod lifeline;
mod memory;
mod mqueue;
mod ring;
mod slot;
mod stream;

use std::io;

pub use cacheline::Cacheline;
pub use end::{End, Link, create};
pub use eventfd::Bell;
pub use futex::{Park, SpinThenPark};
pub use kind::{Kind, Params, Wait};
pub use mqueue::Queue;
pub use ring::Ring;
pub use slot::{Slot, Spin, Waiting};
pub use stream::{Pipes, Socket, Stream, Wire};

/// One side of a bare duplex link. Every message of a link has the same length, [`Params::size`].
pub trait Bare: Send {
    /// Sends one message and waits, in the manner of the link's [`Kind`], while there is no room.
    ///
    /// # Errors
    /// `InvalidInput` if the message does not have the link's length; `UnexpectedEof`, `EPIPE` or
    /// `ECONNRESET` if the peer is gone; otherwise what the system call said.
    fn send(&mut self, message: &[u8]) -> io::Result<()>;

    /// Waits for the next message and writes it to the start of `buf`. Returns its length.
    ///
    /// # Errors
    /// `InvalidInput` if `buf` is shorter than the link's messages; `InvalidData` if what arrived is not the
    /// next message of this link; `UnexpectedEof` or `ECONNRESET` if the peer is gone.
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Publishes what a batch still holds back. Only a [`Ring`] with a batch above 1 holds anything back, and
    /// it publishes by itself before it waits.
    ///
    /// # Errors
    /// As [`Bare::send`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Messages written and read where they lie in shared memory: the limit of a transport that lends its memory.
///
/// [`Ring`] and [`Slot`] have it; match on [`Link`] to get at them. Both processes must be this crate's: the
/// bytes are lent as plain slices.
pub trait InPlace: Bare {
    /// Lends the bytes of the next message, [`Params::size`] of them, to `write`, then sends it. They hold
    /// whatever an earlier message left there.
    ///
    /// # Errors
    /// As [`Bare::send`].
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) -> io::Result<()>;

    /// Waits for the next message, lends it to `read`, and gives its memory back afterwards.
    ///
    /// # Errors
    /// As [`Bare::recv`].
    fn recv_in_place<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> io::Result<T>;
}

/// What [`Link::drive`] runs over the link, compiled once per kind so that nothing is dispatched per message.
pub trait Driver {
    /// What the run returns.
    type Output;

    /// Runs over `link`, which is closed when this returns.
    fn drive<B: Bare>(self, link: B) -> Self::Output;
}

/// Refuses a message or buffer that does not fit the link.
#[cold]
#[inline(never)]
fn wrong_length(what: &str, have: usize, want: usize) -> io::Error {
    let sentence = format!("{what} of {have} bytes on a link whose messages have {want} bytes");
    io::Error::new(io::ErrorKind::InvalidInput, sentence)
}

/// What arrived is not the next message.
#[cold]
#[inline(never)]
fn out_of_step(expected: u64, found: u64) -> io::Error {
    let sentence = format!(
        "expected message word {expected} but found {found}: the peer sent twice without waiting, or with another length"
    );
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// The peer has closed its end or died.
#[cold]
#[inline(never)]
fn peer_gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer of this link is gone")
}
