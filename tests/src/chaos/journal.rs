//! What a victim says of itself in memory that outlives it: a small file mapped by both.
#![allow(unsafe_code, reason = "maps the file")]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Counters of one victim. Only the victim writes while it lives, only the driver afterwards.
#[derive(Debug)]
pub struct Journal {
    words: &'static [AtomicU64; 8],
}

impl Journal {
    /// Makes (or maps) the journal in the file at `path`. The mapping lives as long as the process: a driver has one.
    ///
    /// # Panics
    /// The file cannot be made or mapped.
    pub fn at(path: &Path) -> Journal {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.set_len(4096).expect("a page");
        let flags = rustix::mm::MapFlags::SHARED;
        let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let page = unsafe { rustix::mm::mmap(std::ptr::null_mut(), 4096, protection, flags, &file, 0) };
        let page = page.expect("a page of journal").cast::<[AtomicU64; 8]>();
        // SAFETY: the page is mapped for the life of the process, large enough, aligned and only used atomically.
        Journal { words: unsafe { &*page } }
    }

    /// Everything zero again.
    pub fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, SeqCst));
    }

    /// Messages the victim has begun to send.
    pub fn begun(&self) -> &AtomicU64 {
        &self.words[0]
    }

    /// Messages whose sending has returned.
    pub fn committed(&self) -> &AtomicU64 {
        &self.words[1]
    }

    /// Messages the victim has received and found right.
    pub fn received(&self) -> &AtomicU64 {
        &self.words[2]
    }

    /// Messages the victim has received and found wrong, or failures it should not have had.
    pub fn wrong(&self) -> &AtomicU64 {
        &self.words[3]
    }

    /// Free for the fault: how often a forked child, a signal or an attempt was had.
    pub fn events(&self) -> &AtomicU64 {
        &self.words[4]
    }
}
