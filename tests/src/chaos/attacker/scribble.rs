//! Shared memory whose words change all the time.
#![allow(unsafe_code, reason = "writes shared memory behind the library's back")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipc_transports::hello::Hello;
use rustix::fs::{OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::stage::{receive, send};
use super::things::{SIZED, Thing, borrowed, memfd};
use super::{Attack, attack, memory_len};
use crate::end::Random;

/// A writable view of a memfd.
struct View {
    base: *mut u8,
    len: usize,
}

impl View {
    fn of(fd: &OwnedFd, len: usize) -> Option<View> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) }.ok()?;
        Some(View { base: base.cast(), len })
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.len);
        // SAFETY: aligned and inside the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.wrapping_add(at).cast()) }
    }

    fn wide(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len);
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.base.wrapping_add(at).cast()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and nobody else has its address.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}

/// How long memory is scribbled on.
const SCRIBBLE: Duration = Duration::from_millis(3);

/// Two eventfds of its own.
fn bells() -> Vec<OwnedFd> {
    vec![Thing::Eventfd.make(0), Thing::Eventfd.make(0)]
}

/// Makes every write to `bells`, also the peer's, wait for ever: it shares their flags and their counters.
fn jam(bells: &[OwnedFd]) {
    for bell in bells {
        rustix::fs::fcntl_setfl(bell, OFlags::NONBLOCK).expect("an eventfd");
        // Unless it has been rung as often already.
        let _ = rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes());
        rustix::fs::fcntl_setfl(bell, OFlags::empty()).expect("an eventfd");
    }
}

/// A ring whose words change all the time, to what would be right and to what never can be.
pub(super) fn scribbled_ring(seed: u64) -> Attack {
    attack(format!("a ring scribbled on (seed {seed})"), move |stage| {
        const CAPACITY: u64 = 4096;
        let socket = stage.socket();
        let hello = Hello { capacity: CAPACITY, ..stage.hello };
        let len = 4096 + CAPACITY as usize;
        let fd = memfd(len as u64, SealFlags::empty());
        let Some(view) = View::of(&fd, len) else { return Vec::new() };
        let magic = u64::from_le_bytes(*b"ipc-shm\x01");
        for (at, word) in [magic, hello.layout, hello.nonce, hello.capacity].into_iter().enumerate() {
            view.wide(8 * at).store(word, Relaxed);
        }
        rustix::fs::fcntl_add_seals(&fd, SIZED | SealFlags::FUTURE_WRITE).expect("seals");
        let bells = bells();
        let fds: Vec<BorrowedFd<'_>> = [&fd, &bells[0], &bells[1]].map(|fd| fd.as_fd()).to_vec();
        send(socket.as_fd(), &hello.encode(), &fds);
        receive(socket.as_fd());
        let mut random = Random(seed);
        if random.below(2) == 0 {
            jam(&bells);
        }
        let began = Instant::now();
        while began.elapsed() < SCRIBBLE {
            match random.below(8) {
                0 => view.word(64 * (1 + random.below(4))).store(random.next() as u32, Relaxed),
                1 => view.wide(320).store(random.next() >> random.below(64), Relaxed),
                2 => view.wide(320).store(64 * random.below(100) as u64, Relaxed),
                _ => {
                    let line = random.below(CAPACITY as usize / 64);
                    let lap = random.below(3) as u64 * CAPACITY / 64;
                    let right = (line as u64 + lap) << 32 | 1 << 31;
                    let word = match random.below(4) {
                        0 => random.next(),
                        1 => right | 1 << 30,
                        _ => right | random.below(3000) as u64,
                    };
                    view.wide(4096 + 64 * line).store(word, Relaxed);
                }
            }
        }
        Vec::new()
    })
}

/// Slots whose fields change all the time; the mutexes are left alone, as documented.
pub(super) fn scribbled_slots(seed: u64) -> Attack {
    attack(format!("slots scribbled on (seed {seed})"), move |stage| {
        let socket = stage.socket();
        let hello = Hello { max_message: 1000, ..stage.hello };
        let bells = bells();
        send(socket.as_fd(), &hello.encode(), &borrowed(&bells));
        let (_, fds) = receive(socket.as_fd());
        let Some(fd) = fds.first() else { return Vec::new() };
        let len = memory_len("shm-direct", &hello) as usize;
        let Some(view) = View::of(fd, len) else { return Vec::new() };
        let slot = (len - 128) / 2;
        let mut random = Random(seed);
        if random.below(2) == 0 {
            jam(&bells);
        }
        let began = Instant::now();
        while began.elapsed() < SCRIBBLE {
            let field = [48, 52, 56, 128, 256, 264][random.below(6)];
            let value = match random.below(3) {
                0 => random.next() as u32,
                1 => random.below(4) as u32,
                _ => 1 << random.below(32),
            };
            view.word(128 + slot * random.below(2) + field).store(value, Relaxed);
        }
        Vec::new()
    })
}
