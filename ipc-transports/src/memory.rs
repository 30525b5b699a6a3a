//! Anonymous shared memory: a memfd its creator fills, maps and seals, and that the peer checks before it maps it.
//!
//! Nothing has a name, so nothing stale is left behind; nothing can shrink, so no access can fault; where one side
//! writes, the seal `F_SEAL_FUTURE_WRITE` makes the kernel refuse every other writable mapping and every hole punch.
#![allow(unsafe_code, reason = "maps memory and sleeps on words in it")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ipc_core::{SetupError, SetupErrorKind};
use rustix::fs::{FallocateFlags, FileType, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

use crate::errno::{map_error, setup_error};
use crate::fault::fault_point;

/// Smaller pieces are not worth reading `/proc/meminfo` for.
const WORTH_ASKING: usize = 16 << 20;

/// Who writes a piece of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Its creator alone; the peer maps it read-only.
    Creator,
    /// Its creator alone, although the peer can map it writable, too: reading through such a mapping is faster on some
    /// processors (docs/performance.md, "shm"). For two sides that trust each other.
    CreatorOnItsWord,
    /// Both sides.
    Both,
}

impl Writers {
    fn seals(self) -> SealFlags {
        let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        match self {
            Writers::Creator => size | SealFlags::FUTURE_WRITE,
            Writers::CreatorOnItsWord | Writers::Both => size,
        }
    }
}

/// Where a mapping begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Wherever the kernel likes.
    Anywhere,
    /// On the boundary of a huge page: elsewhere no part of it can be one.
    Huge,
}

/// A mapped piece of memory. Clones share the mapping; the last one unmaps it.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    len: usize,
    _mapping: Arc<Mapping>,
}

// SAFETY: `base` stays valid in every thread as long as the mapping lives; how bytes are shared is up to the users, who
// go through atomics or own the range they touch.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

#[derive(Debug)]
enum Mapping {
    Shared {
        base: NonNull<u8>,
        len: usize,
    },
    #[cfg(test)]
    Heap {
        base: NonNull<u8>,
        layout: std::alloc::Layout,
    },
}

// SAFETY: only says where the mapping is.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        match *self {
            Mapping::Shared { base, len } => {
                // SAFETY: mapped by `map` with this length, and no `Memory` is left to reach it.
                let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) };
            }
            #[cfg(test)]
            Mapping::Heap { base, layout } => {
                // SAFETY: allocated by `heap` with this layout.
                unsafe { std::alloc::dealloc(base.as_ptr(), layout) };
            }
        }
    }
}

impl Memory {
    /// Creates `len` bytes of zeroed, resident shared memory, maps them writable and seals the descriptor for handing
    /// over. `lock` also keeps them from being swapped out (counts against `RLIMIT_MEMLOCK`).
    ///
    /// # Errors
    /// `NoSpace`, `Limit` (descriptors, locked memory), `Unsupported`.
    pub(crate) fn create(len: usize, writers: Writers, lock: bool) -> Result<(Memory, OwnedFd), SetupError> {
        Memory::create_at(Placement::Anywhere, len, writers, lock)
    }

    /// [`create`](Memory::create), mapped there.
    ///
    /// # Errors
    /// As `create`.
    pub(crate) fn create_at(
        place: Placement,
        len: usize,
        writers: Writers,
        lock: bool,
    ) -> Result<(Memory, OwnedFd), SetupError> {
        const OP: &str = "create shared memory of";
        let fail = |error: Errno| setup_error(OP, format_args!("{len} bytes"), error);
        if len >= WORTH_ASKING
            && let Some(have) = available()
            && len as u64 > have
        {
            let limit = SetupErrorKind::Limit { name: "MemAvailable", need: len as u64, have };
            return Err(SetupError::new(limit, OP, format_args!("{len} bytes")));
        }
        let fd = memfd().map_err(fail)?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(fail)?;
        // Without this, running out of memory would be a SIGBUS in the middle of a message.
        rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len as u64).map_err(fail)?;
        let memory = map(fd.as_fd(), len, true, place).map_err(|error| map_error(OP, len, error))?;
        fault_point!("memory.made");
        if lock {
            // SAFETY: the range was just mapped by us.
            unsafe { rustix::mm::mlock(memory.base.as_ptr().cast(), len) }.map_err(|error| {
                let have = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
                let limit = SetupErrorKind::Limit {
                    name: "RLIMIT_MEMLOCK",
                    need: len as u64,
                    have: have.unwrap_or(u64::MAX),
                };
                SetupError::new(limit, "mlock", format_args!("{len} bytes")).because(std::io::Error::new(
                    std::io::Error::from(error).kind(),
                    format!("{error}; use a smaller capacity or raise it with ulimit -l"),
                ))
            })?;
        }
        rustix::fs::fcntl_add_seals(&fd, writers.seals()).map_err(fail)?;
        fault_point!("memory.sealed");
        Ok((memory, fd))
    }

    /// Maps `len` bytes that the peer created and handed over, after checking that it is what it is said to be: a
    /// memfd of exactly that size, with every page there, sealed as `writers` demands, so that it can neither shrink nor
    /// be written by a third.
    ///
    /// # Errors
    /// `Denied` naming what is wrong with the descriptor; `Limit` (address space), `NoSpace`.
    pub(crate) fn import(fd: BorrowedFd<'_>, len: usize, writers: Writers) -> Result<Memory, SetupError> {
        Memory::import_at(Placement::Anywhere, fd, len, writers)
    }

    /// [`import`](Memory::import), mapped there.
    ///
    /// # Errors
    /// As `import`.
    pub(crate) fn import_at(
        place: Placement,
        fd: BorrowedFd<'_>,
        len: usize,
        writers: Writers,
    ) -> Result<Memory, SetupError> {
        const OP: &str = "import shared memory of";
        let fail = |error: Errno| setup_error(OP, format_args!("{len} bytes"), error);
        let deny = |why: String| {
            Err(SetupError::new(SetupErrorKind::Denied, OP, format_args!("{len} bytes"))
                .because(std::io::Error::new(std::io::ErrorKind::InvalidData, why)))
        };
        let found = rustix::fs::fstat(fd).map_err(fail)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return deny("the peer's descriptor is no memory file".into());
        }
        if u64::try_from(found.st_size) != Ok(len as u64) {
            return deny(format!("the peer's memory has {} bytes", found.st_size));
        }
        // Pipes, devices and ordinary files answer EINVAL here; hugetlb and tmpfs files have no seals set.
        let seals = rustix::fs::fcntl_get_seals(fd).unwrap_or(SealFlags::empty());
        if !seals.contains(writers.seals()) {
            // Sealed but against writing: what a side with Trust::mutual hands over.
            let fix = if seals.contains(Writers::CreatorOnItsWord.seals()) {
                "; between sides of shm, Trust::mutual is for both or neither"
            } else {
                ""
            };
            return deny(format!(
                "the peer's memory lacks seals: has {seals:?}, needs {:?}{fix}",
                writers.seals()
            ));
        }
        // Pages that are not there yet would be made by our mapping, and charged to us. Seals keep holes from being
        // punched later; `create` leaves none.
        let there = u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512);
        if there < len as u64 {
            return deny(format!("the peer's memory has holes: {there} of its bytes are there"));
        }
        let writable = match writers {
            Writers::Creator => false,
            Writers::CreatorOnItsWord => !seals.contains(SealFlags::FUTURE_WRITE),
            // What is sealed against it is refused by the kernel: both must be able to write.
            Writers::Both => true,
        };
        map(fd, len, writable, place).map_err(|error| map_error(OP, len, error))
    }

    /// `madvise(base, len, MADV_COLLAPSE)`: asks the kernel to put what fills whole huge pages into such pages, now. It does so
    /// whatever `shmem_enabled` says, unless that is `deny` (Linux 6.1, mm/khugepaged.c). What is left over at the end stays as
    /// it is. Whether it was done [`huge_bytes`](Memory::huge_bytes) tells.
    ///
    /// # Errors
    /// What the kernel said: `INVAL` where it does not know how or may not, `NOMEM` where no huge page is free, `BUSY` where the
    /// control group may have no more memory, `AGAIN` where a page was in use.
    pub(crate) fn collapse(&self) -> Result<(), Errno> {
        let Some(page) = huge_page() else { return Err(Errno::OPNOTSUPP) };
        let whole = self.len - self.len % page;
        let mut last = Errno::AGAIN;
        // A page that somebody looks at in this moment is told as AGAIN.
        for _ in 0..ATTEMPTS {
            // SAFETY: a part of our own mapping; no byte of it changes.
            if unsafe { libc::madvise(self.base.as_ptr().cast(), whole, MADV_COLLAPSE) } == 0 {
                return Ok(());
            }
            last = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL);
            if last != Errno::AGAIN {
                break;
            }
        }
        Err(last)
    }

    /// Bytes that this process reaches through huge pages: `ShmemPmdMapped` of the mapping in `/proc/self/smaps`.
    pub(crate) fn huge_bytes(&self) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        huge_in(&smaps, self.base.as_ptr() as usize).unwrap_or(0)
    }

    /// Zeroed private memory, for two threads of one test.
    #[cfg(test)]
    pub(crate) fn heap(len: usize) -> Memory {
        let layout = std::alloc::Layout::from_size_align(len, 4096).unwrap();
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
        Memory { base, len, _mapping: Arc::new(Mapping::Heap { base, layout }) }
    }

    /// First byte.
    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Bytes the kernel could give out without swapping, from `/proc/meminfo`. `fallocate` itself does not stop there: it
/// goes on until the out-of-memory killer comes (tried, kernel 6.18).
fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn memfd() -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("ipc", flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know NOEXEC_SEAL; the other two flags stay.
        Err(Errno::INVAL) => rustix::fs::memfd_create("ipc", flags),
        done => done,
    }
}

/// `MADV_COLLAPSE`, include/uapi/asm-generic/mman-common.h; libc has it for some C libraries only.
const MADV_COLLAPSE: libc::c_int = 25;

/// How often the kernel is asked for huge pages that it could not make for the moment.
const ATTEMPTS: usize = 3;

/// Bytes of a huge page of shared memory; `None` where the kernel has none.
pub(crate) fn huge_page() -> Option<usize> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").ok()?;
    text.trim().parse().ok().filter(|bytes: &usize| bytes.is_power_of_two())
}

/// `ShmemPmdMapped` in bytes of the mapping that begins at `base`, in the text of `/proc/self/smaps`.
fn huge_in(smaps: &str, base: usize) -> Option<usize> {
    let begins =
        |line: &&str| line.split_once('-').is_some_and(|(at, _)| usize::from_str_radix(at, 16) == Ok(base));
    let mut lines = smaps.lines().skip_while(|line| !begins(line)).skip(1);
    // Of the mapping itself, whose last line this is.
    let own = lines.by_ref().take_while(|line| !line.starts_with("VmFlags:"));
    let kib = own.filter_map(|line| line.strip_prefix("ShmemPmdMapped:")).next()?;
    kib.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// Maps all of `fd`, every page present from the start.
fn map(fd: BorrowedFd<'_>, len: usize, writable: bool, place: Placement) -> rustix::io::Result<Memory> {
    let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
    let flags = MapFlags::SHARED | MapFlags::POPULATE;
    let map_near = |asked: *mut std::ffi::c_void| {
        // SAFETY: the address is a wish, which the kernel does not hear where something is: no existing memory is touched.
        let base = unsafe { rustix::mm::mmap(asked, len, protection, flags, fd, 0) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        Ok(Memory { base, len, _mapping: Arc::new(Mapping::Shared { base, len }) })
    };
    if let (Placement::Huge, Some(page)) = (place, huge_page()) {
        // Another thread may take the room that was found.
        for _ in 0..ATTEMPTS {
            let memory = map_near(room_on(page, len)?)?;
            if memory.base.addr().get().is_multiple_of(page) {
                return Ok(memory);
            }
        }
    }
    map_near(std::ptr::null_mut())
}

/// A multiple of `page`, a power of two, with room for `len` bytes from there on. The kernel looks for such an address by itself
/// only where huge pages are its default.
fn room_on(page: usize, len: usize) -> rustix::io::Result<*mut std::ffi::c_void> {
    let room = len.checked_add(page).ok_or(Errno::NOMEM)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let start = unsafe {
        rustix::mm::mmap_anonymous(std::ptr::null_mut(), room, ProtFlags::empty(), MapFlags::PRIVATE)
    }?;
    // SAFETY: all of the mapping just made, which nobody else knows.
    unsafe { rustix::mm::munmap(start, room) }?;
    Ok(start.wrapping_byte_add(start.addr().next_multiple_of(page) - start.addr()))
}

/// `futex(word, FUTEX_WAIT, expected, timeout)`: sleeps unless `word` differs from `expected`; at most `timeout`.
/// Process-shared: the waker is another process. Returns early on signals; callers look again.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = futex::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // EAGAIN: already rung. ETIMEDOUT, EINTR: the caller looks again in any case.
    let _ = futex::wait(word, futex::Flags::empty(), expected, Some(&timeout));
}

/// `futex(word, FUTEX_WAKE, INT_MAX)`, process-shared: wakes whoever sleeps, one peer or all readers of a broadcast.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 8192;

    fn denied(fd: &OwnedFd, writers: Writers) -> String {
        let error = Memory::import(fd.as_fd(), LEN, writers).unwrap_err();
        assert_eq!(error.kind, SetupErrorKind::Denied, "{error}");
        error.to_string()
    }

    #[test]
    fn what_the_creator_writes_the_importer_reads() {
        let (ours, fd) = Memory::create(LEN, Writers::Creator, false).unwrap();
        let theirs = Memory::import(fd.as_fd(), LEN, Writers::Creator).unwrap();
        // SAFETY: offset 100 is inside our writable mapping, which nobody else touches now.
        unsafe { ours.base().wrapping_add(100).write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { theirs.base().wrapping_add(100).read() }, 7);
    }

    #[test]
    fn two_sides_that_trust_each_other_map_the_same_writable_and_a_seal_is_kept() {
        let (ours, fd) = Memory::create(LEN, Writers::CreatorOnItsWord, false).unwrap();
        let theirs = Memory::import(fd.as_fd(), LEN, Writers::CreatorOnItsWord).unwrap();
        // SAFETY: offset 100 is inside both mappings, which nobody else touches now.
        unsafe { theirs.base().wrapping_add(100).write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { ours.base().wrapping_add(100).read() }, 7);
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert!(denied(&fd, Writers::Creator).contains("Trust::mutual is for both or neither"));
        // What is sealed is mapped all the same, for reading; but not where both are to write.
        let (_ours, sealed) = Memory::create(LEN, Writers::Creator, false).unwrap();
        assert!(Memory::import(sealed.as_fd(), LEN, Writers::CreatorOnItsWord).is_ok());
        let refused = Memory::import(sealed.as_fd(), LEN, Writers::Both).unwrap_err();
        assert!(refused.to_string().contains("not permitted"), "{refused}");
    }

    #[test]
    fn nobody_can_shrink_grow_punch_or_map_writable_what_one_side_writes() {
        let (_ours, fd) = Memory::create(LEN, Writers::Creator, false).unwrap();
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 2 * LEN as u64), Err(Errno::PERM));
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(&fd, punch, 0, 4096), Err(Errno::PERM));
        assert_eq!(map(fd.as_fd(), LEN, true, Placement::Anywhere).unwrap_err(), Errno::PERM);
        assert_eq!(map(fd.as_fd(), LEN, true, Placement::Huge).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM));
    }

    #[test]
    fn memory_that_is_not_what_it_is_said_to_be_is_refused_before_it_is_mapped() {
        let (_memory, sealed) = Memory::create(2 * LEN, Writers::Creator, false).unwrap();
        assert!(denied(&sealed, Writers::Creator).contains("16384 bytes"));
        let (_memory, both) = Memory::create(LEN, Writers::Both, false).unwrap();
        assert!(denied(&both, Writers::Creator).contains("lacks seals"));
        assert!(Memory::import(both.as_fd(), LEN, Writers::Both).is_ok());
        let unsealed = memfd().unwrap();
        rustix::fs::ftruncate(&unsealed, LEN as u64).unwrap();
        assert!(denied(&unsealed, Writers::Both).contains("lacks seals"));
        let (read, _write) = rustix::pipe::pipe().unwrap();
        assert!(denied(&read, Writers::Both).contains("no memory file"));
        let zero = OwnedFd::from(std::fs::File::open("/dev/zero").unwrap());
        assert!(denied(&zero, Writers::Both).contains("no memory file"));
    }

    #[test]
    fn memory_with_holes_is_refused_because_we_would_pay_for_them() {
        // More than a huge page, which would be there at once.
        const LEN: u64 = 4 << 20;
        for there in [0, 1, LEN] {
            let sparse = memfd().unwrap();
            rustix::fs::ftruncate(&sparse, LEN).unwrap();
            if there > 0 {
                rustix::fs::fallocate(&sparse, FallocateFlags::empty(), 0, there).unwrap();
            }
            rustix::fs::fcntl_add_seals(&sparse, Writers::Creator.seals()).unwrap();
            let imported = Memory::import(sparse.as_fd(), LEN as usize, Writers::Creator);
            match imported {
                Ok(_) => assert_eq!(there, LEN),
                Err(error) => assert!(error.to_string().contains("has holes") && there < LEN, "{error}"),
            }
        }
    }

    #[test]
    fn the_huge_pages_of_a_mapping_are_those_that_the_kernel_tells_of() {
        let smaps = "7f0000200000-7f0000a01000 rw-s 00000000 00:01 7 /memfd:ipc (deleted)\nSize: 8196 kB\n\
                     ShmemPmdMapped:     8192 kB\nVmFlags: rd wr sh\n\
                     7f0000b00000-7f0000c00000 r--s 00000000 00:01 8 /memfd:ipc (deleted)\n\
                     VmFlags: rd sh\n7f0000d00000-7f0000d01000 r--p 00000000 00:00 0\nShmemPmdMapped: 4 kB\nVmFlags: rd\n";
        assert_eq!(huge_in(smaps, 0x7f00_0020_0000), Some(8 << 20));
        assert_eq!(huge_in(smaps, 0x7f00_00b0_0000), None, "the line of another mapping is none of its own");
        assert_eq!(huge_in(smaps, 0x7f00_0a00_0000), None);
    }

    #[test]
    fn a_mapping_for_huge_pages_begins_where_one_can() {
        let Some(page) = huge_page() else { return };
        for len in [4096, page, 2 * page + 4096] {
            let (ours, fd) = Memory::create_at(Placement::Huge, len, Writers::Creator, false).unwrap();
            let theirs = Memory::import_at(Placement::Huge, fd.as_fd(), len, Writers::Creator).unwrap();
            for memory in [&ours, &theirs] {
                assert_eq!((memory.base().addr() % page, memory.len()), (0, len));
            }
            // SAFETY: the last byte of our writable mapping, which nobody else touches now.
            unsafe { ours.base().wrapping_add(len - 1).write(9) };
            // SAFETY: as above.
            assert_eq!(unsafe { theirs.base().wrapping_add(len - 1).read() }, 9);
        }
    }

    #[test]
    fn more_than_there_is_is_an_error_at_set_up() {
        let error = Memory::create(1 << 45, Writers::Creator, false).unwrap_err();
        assert!(matches!(error.kind, SetupErrorKind::Limit { name: "MemAvailable", .. }), "{error}");
    }
}
