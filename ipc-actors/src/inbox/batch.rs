//! Messages side by side: what a mailbox is filled with once there is a backlog.
//!
//! With a node per message both sides wait for memory with each one: a long chain of nodes is spread over more lines
//! and pages than the caches know. So a sender that finds something queued begins a batch, a block with room for several
//! messages in a row, and the senders after it fill that. Which places are given out is in the word of the mailbox, beside
//! the address of its newest batch: the exchange that gives out a place also finds that the batch is still the newest and
//! that its owner has not taken it.
//!
//! Invariant of the unsafe code: a place belongs to the sender whose exchange gave it out until the place's flag is up,
//! and to the owner of the batch from then on. The owner frees the batch when it has emptied every place that was given
//! out, and none is given out once the batch was taken.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::Header;
use crate::pool;
use crate::sync::{AtomicU8, Ordering};

/// Bytes of a batch: the largest class of the pool. (With half of it a thread that tells 100 actors in turn sends 0.8 times, an
/// actor that tells 64 0.7 times as many messages, and one that tells one 0.9 times.)
const BYTES: usize = 1024;
/// Places of a batch of the smallest messages, so that what is before them is one line; three in a model, so that one is full
/// soon.
const MOST: usize = if cfg!(loom) { 3 } else { 40 };

#[repr(C, align(64))]
struct Block(std::mem::MaybeUninit<[u8; BYTES]>);

#[repr(C)]
struct Front {
    header: Header,
    /// Which places are written.
    written: [AtomicU8; MOST],
    /// What a model checks instead of the places, whose memory it does not see.
    #[cfg(loom)]
    seen: [loom::cell::UnsafeCell<()>; MOST],
}

#[repr(C)]
struct Place<M> {
    sender: u64,
    message: M,
}

/// A batch of messages.
pub(crate) struct Batch<M> {
    front: NonNull<Front>,
    marker: PhantomData<M>,
}

impl<M> Clone for Batch<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Batch<M> {}

impl<M> Batch<M> {
    /// How many places ahead of the one that is written a line is fetched: two lines. The exchange for each place waits for what
    /// was written before, so without it a sender waits for each line of a batch that the owner's CPU had. (Where a line takes
    /// 190 ns from one CPU to the other 17.5 ns per message instead of 21; where it is near 8.6 instead of 8.0.)
    const AHEAD: usize = 128_usize.div_ceil(size_of::<Place<M>>());

    const FIRST: usize = size_of::<Front>().next_multiple_of(align_of::<Place<M>>());

    /// Messages that fit; fewer than three are not worth it, and then it is 0.
    pub(crate) const PLACES: usize = {
        let fit = BYTES.saturating_sub(Self::FIRST) / size_of::<Place<M>>();
        if fit < 3 {
            0
        } else if fit < MOST {
            fit
        } else {
            MOST
        }
    };

    /// A batch with `message` in its first place.
    pub(crate) fn new(header: Header, sender: u64, message: M) -> Self {
        const { assert!(align_of::<Place<M>>() <= 64 || Self::PLACES == 0, "a place is aligned in its block") };
        let front = pool::alloc::<Block>().cast::<Front>();
        let front_of = |header| Front {
            header,
            written: std::array::from_fn(|_| AtomicU8::new(0)),
            #[cfg(loom)]
            seen: std::array::from_fn(|_| loom::cell::UnsafeCell::new(())),
        };
        // SAFETY: the block is ours and larger than a front.
        unsafe { front.write(front_of(header)) };
        let batch = Batch { front, marker: PhantomData };
        // SAFETY: nobody else knows the batch.
        unsafe { batch.fill(0, sender, message) };
        batch
    }

    pub(crate) fn header(self) -> NonNull<Header> {
        self.front.cast()
    }

    /// # Safety
    /// `header` is that of a batch of `M`.
    pub(crate) unsafe fn at(header: NonNull<Header>) -> Self {
        Batch { front: header.cast(), marker: PhantomData }
    }

    fn place(self, index: usize) -> *mut Place<M> {
        debug_assert!(index < Self::PLACES);
        let first = self.front.as_ptr().cast::<u8>().wrapping_add(Self::FIRST);
        first.cast::<Place<M>>().wrapping_add(index)
    }

    fn flag(&self, index: usize) -> &AtomicU8 {
        // SAFETY: the front was written before anybody else knew of the batch, and its header is not in this reference.
        unsafe { &(*self.front.as_ptr()).written[index] }
    }

    /// Loom fails the model when two threads are in a place at a time, or one does not see what the other did there.
    #[cfg(loom)]
    fn touch(self, index: usize) {
        // SAFETY: as in `flag`.
        unsafe { &(*self.front.as_ptr()).seen[index] }.with_mut(|_| ());
    }

    /// Writes a place.
    ///
    /// # Safety
    /// The place was given out to the caller, who has not filled it.
    #[inline]
    pub(crate) unsafe fn fill(self, index: usize, sender: u64, message: M) {
        if index + Self::AHEAD < Self::PLACES {
            pool::fetch(self.place(index + Self::AHEAD).cast());
        }
        // SAFETY: the place is the caller's.
        unsafe { self.place(index).write(Place { sender, message }) };
        #[cfg(loom)]
        self.touch(index);
        // Release: pairs with the Acquire in `take`.
        self.flag(index).store(1, Ordering::Release);
    }

    /// Whether the sender that was given this place has written it.
    #[inline]
    pub(crate) fn is_written(self, index: usize) -> bool {
        // Acquire: pairs with the Release in `fill`.
        self.flag(index).load(Ordering::Acquire) != 0
    }

    /// Empties a place.
    ///
    /// # Safety
    /// The caller owns the batch, the place is written, and the caller has not emptied it.
    #[inline]
    pub(crate) unsafe fn take(self, index: usize) -> (u64, M) {
        // SAFETY: written, and the caller's.
        let Place { sender, message } = unsafe { self.place(index).read() };
        #[cfg(loom)]
        self.touch(index);
        (sender, message)
    }

    /// # Safety
    /// The caller owns the batch and has emptied every place that was given out.
    #[inline]
    pub(crate) unsafe fn free(self) {
        // SAFETY: the caller's promise; flags of std have no drop, those of a model do.
        unsafe { std::ptr::drop_in_place(self.front.as_ptr()) };
        // SAFETY: from `alloc` in `new`.
        unsafe { pool::free(self.front.cast::<Block>()) };
    }
}
