//! The shared mapping of the memory limits.
//!
//! Invariant: a [`Memory`] is the whole of one memfd, mapped readable until it is dropped, writable but for what
//! [`Memory::protect`] was told, and the file has at least that length. Both processes write it; nothing here
//! forms a reference to bytes the peer may write, except to atomic control words and, for the in-place limits, to
//! payload whose turn is ours.
#![allow(unsafe_code, reason = "maps shared memory and hands out pointers into it")]

use crate::copy;
use rustix::{
    fs::{MemfdFlags, fstat, ftruncate, memfd_create},
    mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap},
};
use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64},
    },
};

/// Bytes between two things that different cores write: two lines, because Intel's spatial prefetcher fetches
/// lines in pairs of 128 bytes.
pub(crate) const APART: usize = 128;

/// Bytes of a page.
pub(crate) fn page() -> usize {
    rustix::param::page_size()
}

/// Creates an anonymous file of `len` bytes, all zero.
pub(crate) fn create(len: usize) -> io::Result<OwnedFd> {
    let file = memfd_create("ipc-limits", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, len as u64)?;
    Ok(file)
}

/// `len` bytes of shared memory, all pages present.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to no thread, and nothing is reached through `&Memory` but addresses.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps the first `len` bytes of `file`. Refuses a shorter file, which would fault on access.
    pub(crate) fn map(file: impl AsFd, len: usize) -> io::Result<Arc<Memory>> {
        let have = fstat(&file)?.st_size as usize;
        if have < len {
            let sentence = format!("shared memory has {have} bytes, but the layout needs {len}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, file, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arc::new(Memory { base, len }))
    }

    /// Leaves the `len` bytes at `offset`, whole pages, to be read only. Writing them ends this process, so a layout has
    /// nothing there that this side writes.
    ///
    /// # Panics
    /// If they are not inside the mapping.
    pub(crate) fn protect(&self, offset: usize, len: usize) -> io::Result<()> {
        let at = self.at(offset, len);
        // SAFETY: our own mapping; it stays readable.
        Ok(unsafe { mprotect(at.as_ptr().cast(), len, MprotectFlags::READ) }?)
    }

    /// The control word at `offset`.
    ///
    /// # Panics
    /// If it is not aligned and inside the mapping.
    pub(crate) fn word<A: Atomic>(self: &Arc<Self>, offset: usize) -> Word<A> {
        assert!(offset.is_multiple_of(align_of::<A>()));
        Word { at: self.at(offset, size_of::<A>()).cast(), _memory: Arc::clone(self) }
    }

    /// The `len` payload bytes at `offset`.
    ///
    /// # Panics
    /// If they are not inside the mapping.
    pub(crate) fn area(self: &Arc<Self>, offset: usize, len: usize) -> Area {
        Area { at: self.at(offset, len), len, _memory: Arc::clone(self) }
    }

    fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset <= self.len && len <= self.len - offset, "{offset} + {len} > {}", self.len);
        // SAFETY: `offset` is inside the mapping, as asserted.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and every pointer into it lives beside an `Arc` of this struct.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// The atomics that control words are made of: valid for every bit pattern.
pub(crate) trait Atomic: Sync {}
impl Atomic for AtomicU32 {}
impl Atomic for AtomicU64 {}

/// A control word that both processes may write.
#[derive(Debug)]
pub(crate) struct Word<A> {
    at: NonNull<A>,
    _memory: Arc<Memory>,
}

// SAFETY: gives out nothing but `&A`, which is `Sync`.
unsafe impl<A: Atomic> Send for Word<A> {}
// SAFETY: as above.
unsafe impl<A: Atomic> Sync for Word<A> {}

impl<A: Atomic> Deref for Word<A> {
    type Target = A;

    #[inline(always)]
    fn deref(&self) -> &A {
        // SAFETY: in bounds, aligned and mapped as long as `_memory`; only ever accessed as this atomic.
        unsafe { self.at.as_ref() }
    }
}

/// Payload bytes that one process writes and the other reads, in turns.
///
/// The turns are the caller's: an atomic control word published with Release and seen with Acquire hands the
/// bytes over. Two sides of one link always do that; only a peer that is not this crate could break it, and
/// the limits trust their peer.
#[derive(Debug)]
pub(crate) struct Area {
    at: NonNull<u8>,
    len: usize,
    _memory: Arc<Memory>,
}

// SAFETY: the bytes belong to no thread; a side that moves takes its turn along.
unsafe impl Send for Area {}

impl Area {
    /// Copies `message` to `offset`.
    ///
    /// # Panics
    /// If it does not fit.
    #[inline(always)]
    pub(crate) fn write(&mut self, offset: usize, message: &[u8]) {
        let to = self.range(offset, message.len());
        // SAFETY: both ranges are valid, areas and strides are multiples of 8, and no slice overlaps the mapping,
        // of which no reference to bytes exists.
        unsafe { copy::into_shared(to, message) }
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Panics
    /// If there are not that many bytes.
    #[inline(always)]
    pub(crate) fn read(&self, offset: usize, buf: &mut [u8]) {
        let from = self.range(offset, buf.len());
        // SAFETY: as in `write`.
        unsafe { copy::out_of_shared(buf, from) }
    }

    /// The `len` bytes at `offset`, to read where they lie.
    ///
    /// # Panics
    /// If there are not that many bytes.
    #[inline(always)]
    pub(crate) fn shared(&self, offset: usize, len: usize) -> &[u8] {
        let from = self.range(offset, len);
        // SAFETY: in bounds and mapped, and in its turn this side is the only one that touches them: the peer
        // is this crate in a process of the same program, which is what a limit may trust and a transport may
        // not.
        unsafe { slice::from_raw_parts(from, len) }
    }

    /// The `len` bytes at `offset`, to write where they lie.
    ///
    /// # Panics
    /// If there are not that many bytes.
    #[inline(always)]
    pub(crate) fn shared_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let to = self.range(offset, len);
        // SAFETY: as in `shared`.
        unsafe { slice::from_raw_parts_mut(to, len) }
    }

    #[inline(always)]
    fn range(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.len && len <= self.len - offset);
        // SAFETY: `offset` is inside the mapping, as asserted.
        unsafe { self.at.add(offset) }.as_ptr()
    }
}
