//! Memory for messages and cells: size classes of whole cache lines, a pair of magazines per thread and class, and a
//! shared depot that whole magazines go through (Bonwick and Adams, "Magazines and Vmem", USENIX 2001).
//!
//! Invariant of the unsafe code: a block is either in exactly one magazine or owned by exactly one caller of [`alloc`]. Blocks of a class are carved from chunks that are never freed, so an
//! address stays mapped for the life of the process; memory taken by a burst is kept for the next one.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::fail;

/// Bytes of a cache line; blocks are multiples of it and aligned to it.
const LINE: usize = 64;
/// Classes are 1 to 16 lines, 64 to 1024 bytes; what is larger goes to the allocator.
const CLASSES: usize = 16;
/// Blocks in a full magazine.
const MAGAZINE: usize = 64;
/// Bytes asked from the allocator at a time, while this process is small.
const CHUNK: usize = 64 * 1024;
/// Bytes in small chunks; what is needed above it comes in huge ones.
const SMALL: usize = 4 * 1024 * 1024;
/// A huge page. A backlog of a million messages is spread over so many small pages that looking up their addresses
/// takes as long as handling the messages.
const HUGE: usize = 2 * 1024 * 1024;

/// Blocks ahead of the one handed out that are fetched already: the thread that freed them had them in its cache.
const AHEAD: usize = 4;

/// A free block of some class.
struct Free(NonNull<u8>);

// SAFETY: a free block belongs to no thread.
unsafe impl Send for Free {}

/// Free blocks of one class. They are listed beside them, not in them: taking one does not wait for its memory, which
/// is usually in the cache of the thread that freed it.
type Magazine = Vec<Free>;

/// What one thread keeps of one class: two magazines, so that a caller on the edge of one does not visit the depot
/// with every call, and the rest of the chunk last carved.
struct Rack {
    loaded: Magazine,
    spare: Magazine,
    fresh: *mut u8,
    fresh_end: *mut u8,
}

struct Racks([UnsafeCell<Rack>; CLASSES]);

/// Bytes in chunks.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

static DEPOT: [Mutex<Vec<Magazine>>; CLASSES] = [const { Mutex::new(Vec::new()) }; CLASSES];

thread_local! {
    static RACKS: Racks = const { Racks([const { UnsafeCell::new(Rack::EMPTY) }; CLASSES]) };
}

impl Drop for Racks {
    fn drop(&mut self) {
        for (class, rack) in self.0.iter_mut().enumerate() {
            let rack = rack.get_mut();
            while let Some(block) = rack.carve(class) {
                rack.put(block, class);
            }
            let mut depot = DEPOT[class].lock();
            let rest = [std::mem::take(&mut rack.loaded), std::mem::take(&mut rack.spare)];
            depot.extend(rest.into_iter().filter(|magazine| !magazine.is_empty()));
        }
    }
}

impl Rack {
    const EMPTY: Rack = Rack {
        loaded: Magazine::new(),
        spare: Magazine::new(),
        fresh: std::ptr::null_mut(),
        fresh_end: std::ptr::null_mut(),
    };

    #[inline]
    fn take(&mut self, class: usize) -> NonNull<u8> {
        match self.pop() {
            Some(block) => block,
            None => self.refill(class),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let Free(block) = self.loaded.pop()?;
        if let Some(later) = self.loaded.len().checked_sub(AHEAD) {
            fetch(self.loaded[later].0.as_ptr());
        }
        Some(block)
    }

    /// Blocks that somebody has used come before fresh ones: the first touch of a page costs more than anything that is
    /// done with it, and in a virtual machine that has to get it from its host many times more.
    #[cold]
    fn refill(&mut self, class: usize) -> NonNull<u8> {
        if !self.spare.is_empty() {
            std::mem::swap(&mut self.loaded, &mut self.spare);
        } else if let Some(full) = DEPOT[class].lock().pop() {
            self.loaded = full;
        } else {
            self.carve_magazine(class);
        }
        match self.pop() {
            Some(block) => block,
            None => unreachable!("a magazine or a chunk was just added"),
        }
    }

    /// Loads blocks of the fresh chunk, or of another one when it is used up.
    fn carve_magazine(&mut self, class: usize) {
        if (self.fresh_end as usize) - (self.fresh as usize) < (class + 1) * LINE {
            let size = chunk_size();
            self.fresh = chunk(size);
            self.fresh_end = self.fresh.wrapping_add(size);
        }
        self.loaded.reserve(MAGAZINE);
        while self.loaded.len() < MAGAZINE
            && let Some(block) = self.carve(class)
        {
            self.loaded.push(Free(block));
        }
        // The lowest address is taken first.
        self.loaded.reverse();
    }

    /// The next block of the fresh chunk. Neighbours in time are neighbours in memory, which a receiver on another
    /// core gets back as prefetched lines.
    fn carve(&mut self, class: usize) -> Option<NonNull<u8>> {
        let block = self.fresh;
        let size = (class + 1) * LINE;
        if (self.fresh_end as usize) - (block as usize) < size {
            return None;
        }
        self.fresh = block.wrapping_add(size);
        NonNull::new(block)
    }

    #[inline]
    fn put(&mut self, block: NonNull<u8>, class: usize) {
        if self.loaded.len() == MAGAZINE {
            self.make_room(class);
        }
        self.loaded.push(Free(block));
    }

    #[cold]
    fn make_room(&mut self, class: usize) {
        let full = std::mem::replace(&mut self.loaded, Magazine::with_capacity(MAGAZINE));
        let older = std::mem::replace(&mut self.spare, full);
        if !older.is_empty() {
            DEPOT[class].lock().push(older);
        }
    }
}

/// Fetches the line at this address, which will be written soon. Nothing where there is no such instruction.
#[inline]
pub(crate) fn fetch(block: *const u8) {
    // By its name: `_mm_prefetch` with the hint for writing is compiled to a fetch for reading unless the build is for CPUs that are
    // known to have this instruction, and then the line comes twice. All of 64 bits take it, some of them as a `nop`.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect but on caches, wherever the address points.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) block.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = block;
}

/// Bytes of the next chunk.
fn chunk_size() -> usize {
    // Relaxed: a sum.
    if TAKEN.load(Ordering::Relaxed) < SMALL { CHUNK } else { HUGE }
}

/// A chunk of this size, aligned to a line or, when it is huge, to its size; never freed.
fn chunk(size: usize) -> *mut u8 {
    let align = if size == HUGE { HUGE } else { LINE };
    let Ok(layout) = Layout::from_size_align(size, align) else { unreachable!("powers of two") };
    let none = fail::now("alloc.chunk", || "");
    // SAFETY: the layout is not empty.
    let chunk = if none { std::ptr::null_mut() } else { unsafe { std::alloc::alloc(layout) } };
    if chunk.is_null() {
        handle_alloc_error(layout);
    }
    // Relaxed: a sum.
    TAKEN.fetch_add(size, Ordering::Relaxed);
    if size == HUGE {
        // SAFETY: the memory is ours, and the advice does not change what is in it. A kernel that has no huge pages, or
        // none left, says so and gives small ones.
        let _ = unsafe { rustix::mm::madvise(chunk.cast(), size, rustix::mm::Advice::LinuxHugepage) };
    }
    chunk
}

/// Fetches the lines of a block that will be read soon, all of the largest class. Nothing where there is no such
/// instruction.
#[inline]
pub(crate) fn fetch_lines(block: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..CLASSES {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect but on caches, wherever the address points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(line * LINE).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = block;
}

/// The class of a layout; `None`: the allocator's.
const fn class_of(layout: Layout) -> Option<usize> {
    if layout.size() > CLASSES * LINE || layout.align() > LINE || layout.size() == 0 {
        return None;
    }
    Some(layout.size().div_ceil(LINE) - 1)
}

/// Bytes that a value of this layout takes here.
pub(crate) const fn footprint(layout: Layout) -> usize {
    match class_of(layout) {
        Some(class) => (class + 1) * LINE,
        None => layout.size(),
    }
}

/// Memory for a value of type `T`, uninitialised.
#[inline]
pub(crate) fn alloc<T>() -> NonNull<T> {
    const { assert!(size_of::<T>() > 0, "a block is a value's") };
    let layout = Layout::new::<T>();
    let Some(class) = class_of(layout) else {
        // SAFETY: the size is not zero, asserted above.
        let memory = unsafe { std::alloc::alloc(layout) };
        return NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout));
    };
    let block = RACKS.try_with(|racks| {
        // SAFETY: the rack is this thread's and `take` runs no code of others, so nobody else is in it.
        unsafe { &mut *racks.0[class].get() }.take(class)
    });
    // The thread is ending and has given its racks back.
    block
        .unwrap_or_else(|_| {
            Racks([const { UnsafeCell::new(Rack::EMPTY) }; CLASSES]).0[class].get_mut().take(class)
        })
        .cast()
}

/// Gives memory from [`alloc`] back.
///
/// # Safety
/// `block` comes from `alloc::<T>()`, is not used again, and the value in it is moved out or dropped.
#[inline]
pub(crate) unsafe fn free<T>(block: NonNull<T>) {
    let layout = Layout::new::<T>();
    let Some(class) = class_of(layout) else {
        // SAFETY: the caller got it from `alloc` with the same layout, which has no class.
        unsafe { std::alloc::dealloc(block.as_ptr().cast(), layout) };
        return;
    };
    let block = block.cast::<u8>();
    let put = RACKS.try_with(|racks| {
        // SAFETY: the rack is this thread's and `put` runs no code of others, so nobody else is in it.
        unsafe { &mut *racks.0[class].get() }.put(block, class);
    });
    if put.is_err() {
        let mut rack = Rack::EMPTY;
        rack.put(block, class);
        DEPOT[class].lock().push(std::mem::take(&mut rack.loaded));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_distinct_and_reused() {
        let blocks: Vec<_> = (0..1000).map(|_| alloc::<[u64; 5]>()).collect();
        let mut addresses: Vec<_> = blocks.iter().map(|block| block.as_ptr() as usize).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 1000);
        assert!(addresses.iter().all(|address| address % LINE == 0));
        for block in blocks {
            // SAFETY: from `alloc`, once.
            unsafe { free(block) };
        }
        let again = alloc::<[u64; 8]>();
        assert!(addresses.binary_search(&(again.as_ptr() as usize)).is_ok());
        // SAFETY: from `alloc`, once.
        unsafe { free(again) };
    }

    #[test]
    fn memory_freed_by_another_thread_comes_back_through_the_depot() {
        struct Moved(NonNull<[u64; 40]>);
        // SAFETY: a block belongs to no thread.
        unsafe impl Send for Moved {}
        let blocks: Vec<_> = (0..500).map(|_| Moved(alloc())).collect();
        std::thread::spawn(move || {
            for Moved(block) in blocks {
                // SAFETY: from `alloc`, once.
                unsafe { free(block) };
            }
        })
        .join()
        .unwrap();
        let class = class_of(Layout::new::<[u64; 40]>()).unwrap();
        assert!(DEPOT[class].lock().iter().map(|magazine| magazine.len()).sum::<usize>() >= 400);
    }

    #[test]
    fn what_is_too_large_goes_to_the_allocator() {
        assert_eq!(class_of(Layout::new::<[u8; 1025]>()), None);
        assert_eq!(class_of(Layout::new::<[u8; 1024]>()), Some(15));
        assert_eq!((footprint(Layout::new::<u8>()), footprint(Layout::new::<[u8; 65]>())), (64, 128));
        let block = alloc::<[u8; 4096]>();
        // SAFETY: from `alloc`, once.
        unsafe { free(block) };
    }
}
