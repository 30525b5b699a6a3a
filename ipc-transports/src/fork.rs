//! Tells a process from its fork: a page that the kernel wipes in the child (`MADV_WIPEONFORK`, Linux 4.14) holds the
//! generation, so asking costs one load.
#![allow(unsafe_code, reason = "owns one private anonymous page")]

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Generations handed out by this process and the ones it was forked from; copied by `fork`, so never repeated.
static NEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Clone, Copy)]
struct Page(NonNull<AtomicU64>);

// SAFETY: the page is never unmapped and is only touched through its atomic.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

static PAGE: OnceLock<Option<Page>> = OnceLock::new();

/// The process in which something was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    generation: u64,
    word: &'static AtomicU64,
}

impl Owner {
    /// This process.
    pub(crate) fn here() -> Owner {
        static NEVER_WIPED: AtomicU64 = AtomicU64::new(u64::MAX);
        let word = match PAGE.get_or_init(map_page) {
            // SAFETY: the page is mapped readable and writable for the life of the process and holds an atomic at its
            // start; zero bytes, all a wiped page has, are a valid AtomicU64.
            Some(Page(page)) => unsafe { page.as_ref() },
            // Out of memory for one page: forks go unnoticed rather than connections unmade.
            None => &NEVER_WIPED,
        };
        // Relaxed: the word carries no other data, and a fork has one thread when it reads the wiped page first.
        if word.load(Relaxed) == 0 {
            let fresh = NEXT.fetch_add(1, Relaxed);
            let _ = word.compare_exchange(0, fresh, Relaxed, Relaxed);
        }
        Owner { generation: word.load(Relaxed), word }
    }

    /// True in a child that was forked after [`Owner::here`].
    #[inline(always)]
    pub(crate) fn is_forked(&self) -> bool {
        self.word.load(Relaxed) != self.generation
    }
}

fn map_page() -> Option<Page> {
    // Miri knows no madvise, and no fork either.
    if cfg!(miri) {
        return None;
    }
    // The kernel rounds it up to the page, for both calls; asking rustix for its size crashes under valgrind.
    let size = size_of::<AtomicU64>();
    // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches no existing memory.
    let page = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            size,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE,
        )
    }
    .ok()?;
    // SAFETY: `page` is the mapping just made, of `size` bytes.
    unsafe { rustix::mm::madvise(page, size, rustix::mm::Advice::LinuxWipeOnFork) }.ok()?;
    NonNull::new(page.cast()).map(Page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_made_it_is_not_a_fork() {
        let owner = Owner::here();
        assert!(!owner.is_forked());
        assert_eq!(owner.generation, Owner::here().generation);
    }
}
