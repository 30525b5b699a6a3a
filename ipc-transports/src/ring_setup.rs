//! What the sides of `shm` and of a broadcast have in common before the first message: options and hellos, the line by
//! which a memory is known, and how a peer is refused.
#![allow(unsafe_code, reason = "the identity line is written and read raw")]

use std::fmt::Display;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use ipc_core::hello::{FLAG_SLEEPER_PAYS, Hello};
use ipc_core::{Fingerprint, SetupError, SetupErrorKind, WaitPolicy};

use crate::backing::DATA;
use crate::bell::{Barrier, register};
use crate::errno::setup_error;
use crate::features::{Features, features, unsupported};
use crate::handshake::own_hello;
use crate::memory::Memory;
use crate::ring::{MAX_CAPACITY, MIN_CAPACITY};

/// Bytes of ring unless asked otherwise.
pub(crate) const DEFAULT_CAPACITY: usize = 1 << 20;

fn is_a_capacity(bytes: usize) -> bool {
    bytes.is_power_of_two() && (MIN_CAPACITY..=MAX_CAPACITY).contains(&bytes)
}

/// Bytes of ring of a side that was asked for `capacity`.
///
/// # Errors
/// `BadAddress`.
pub(crate) fn capacity(
    asked: Option<usize>,
    op: &'static str,
    target: &dyn Display,
) -> Result<usize, SetupError> {
    let capacity = asked.unwrap_or(DEFAULT_CAPACITY);
    if is_a_capacity(capacity) {
        return Ok(capacity);
    }
    let what = format!("capacity={capacity}: a power of two from {MIN_CAPACITY} to {MAX_CAPACITY}");
    Err(bad_option(op, target, what))
}

/// Bytes of ring that a peer's hello announces, if a ring can have so many.
pub(crate) fn announced_capacity(hello: &Hello) -> Option<usize> {
    usize::try_from(hello.capacity).ok().filter(|bytes| is_a_capacity(*bytes))
}

/// The features of this kernel, with the seals that a ring needs.
///
/// # Errors
/// `Unsupported`.
pub(crate) fn features_with_seals(
    op: &'static str,
    target: &dyn Display,
) -> Result<&'static Features, SetupError> {
    let features = features(op)?;
    if features.seals {
        return Ok(features);
    }
    Err(unsupported(op, target, "memfd seals (F_SEAL_FUTURE_WRITE, Linux 5.1) are not available"))
}

/// What a side says of itself that waits by `wait`. `layout` is that of its mechanism.
pub(crate) fn hello(
    layout: u64,
    max_message: usize,
    capacity: usize,
    fingerprint: Option<Fingerprint>,
    wait: WaitPolicy,
    features: &Features,
) -> Hello {
    // A side that always parks sleeps for every message: it should not pay with a system call each time.
    let pays = wait != WaitPolicy::Park && register(features);
    let flags = if pays { FLAG_SLEEPER_PAYS } else { 0 };
    let fingerprint = fingerprint.map_or(0, Fingerprint::number);
    Hello { fingerprint, ..own_hello(layout, max_message, capacity, flags) }
}

/// Who pays for the order of publish and look between two sides that said these hellos.
pub(crate) fn barrier(ours: &Hello, theirs: &Hello) -> Barrier {
    if ours.flags & theirs.flags & FLAG_SLEEPER_PAYS != 0 { Barrier::Sleeper } else { Barrier::Both }
}

/// The first line of the memory of the side that said `hello`; `magic` is that of its mechanism.
fn identity(magic: u64, hello: &Hello) -> [u64; 4] {
    [magic, hello.layout, hello.nonce, hello.capacity]
}

/// Writes the line by which `memory` is known to belong to the side that said `hello`.
pub(crate) fn sign(memory: &Memory, magic: u64, hello: &Hello) {
    const { assert!(DATA >= size_of::<[u64; 4]>()) };
    // SAFETY: the first line of memory that nobody else has seen yet.
    unsafe { memory.base().cast::<[u64; 4]>().write(identity(magic, hello)) };
}

/// Whether `memory` is that of the side that said `hello`.
pub(crate) fn is_signed(memory: &Memory, magic: u64, hello: &Hello) -> bool {
    // SAFETY: the mapping is at least a page long; the words are copied, then judged.
    let found = unsafe { memory.base().cast::<[u64; 4]>().read_volatile() };
    found == identity(magic, hello)
}

/// Duplicates of descriptors, to be handed over.
///
/// # Errors
/// `Limit` when there is no descriptor left.
pub(crate) fn duplicates<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    op: &'static str,
    target: &dyn Display,
) -> Result<Vec<OwnedFd>, SetupError> {
    let copy = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(|errno| setup_error(op, target, errno));
    fds.into_iter().map(copy).collect()
}

/// An option out of its range.
pub(crate) fn bad_option(op: &'static str, target: &dyn Display, what: String) -> SetupError {
    SetupError::new(SetupErrorKind::BadAddress, op, target)
        .because(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// The refusal of a peer that is not what it should be.
pub(crate) fn denied(op: &'static str, target: &dyn Display, why: &str) -> SetupError {
    SetupError::new(SetupErrorKind::Denied, op, target)
        .because(io::Error::new(io::ErrorKind::InvalidData, why))
}
