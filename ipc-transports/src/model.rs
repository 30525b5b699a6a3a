//! Shared memory for loom models: the layout of `backing.rs` in loom's atomics, a futex made of loom's lock, and an end
//! to a side that dies in the middle of its stores. Run by `cargo xtask loom`.
//!
//! Payload lies in cells that loom watches: a read that is not ordered after its write is reported as a race. The first
//! word of each line is an atomic, since what is payload in one lap is a commit word in the next.
#![allow(unsafe_code, reason = "implements Backing")]

#[path = "../../ipc-async/src/table.rs"]
mod table;
mod wakers;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use loom::sync::{Condvar, Mutex};

use crate::atomics::Ordering;
use crate::backing::{Backing, LINE, LINE_PAYLOAD, RECORD_HEADER, Word, room_for};

/// Explores every interleaving with at most `preemptions` involuntary switches of threads (Musuvathi and Qadeer, 2007:
/// two find nearly all bugs), the bound that keeps a model within seconds.
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// How many stores a side still has to live. Shared by all handles of that side; used by one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life(Option<Arc<AtomicUsize>>);

impl Life {
    /// A side that dies before its store number `stores`, counted from 0.
    pub(crate) fn of(stores: usize) -> Life {
        Life(Some(Arc::new(AtomicUsize::new(stores))))
    }

    /// Uses up one store; false: the side is dead, and nothing it does has an effect.
    pub(crate) fn spend(&self) -> bool {
        let Some(left) = &self.0 else { return true };
        let now = left.load(Ordering::Relaxed);
        left.store(now.saturating_sub(1), Ordering::Relaxed);
        now > 0
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }
}

/// Who sleeps here is woken by who rings here.
#[derive(Debug)]
pub(crate) struct Futex {
    /// Rings not yet drained: the model's eventfd.
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Futex {
    pub(crate) fn new() -> Futex {
        Futex { rings: Mutex::new(0), rung: Condvar::new() }
    }

    /// `FUTEX_WAIT`: the kernel compares and goes to sleep as one step, as seen by `wake`. A dead peer wakes nobody, but
    /// the slice of a sleep ends: `is_over` stands for that.
    pub(crate) fn wait(&self, word: &AtomicU32, expected: u32, is_over: impl FnOnce() -> bool) {
        let rings = self.rings.lock().unwrap();
        // Relaxed: the kernel's own lock, here the mutex, orders it against `wake`.
        if word.load(Ordering::Relaxed) == expected && !is_over() {
            drop(self.rung.wait(rings).unwrap());
        }
    }

    /// `FUTEX_WAKE`, or a write to the eventfd.
    pub(crate) fn wake(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_all();
    }

    /// Waits in an event loop until the eventfd has been written to, and reads it.
    pub(crate) fn drain(&self) {
        let mut rings = self.rings.lock().unwrap();
        while *rings == 0 {
            rings = self.rung.wait(rings).unwrap();
        }
        *rings = 0;
    }

    /// Reads the eventfd without waiting.
    pub(crate) fn silence(&self) {
        *self.rings.lock().unwrap() = 0;
    }
}

#[derive(Debug)]
struct Line {
    first: AtomicU64,
    rest: UnsafeCell<[u8; LINE_PAYLOAD]>,
}

#[derive(Debug)]
struct Shared {
    words: [(AtomicU32, Futex); 4],
    consumed: AtomicU64,
    copies_early: AtomicBool,
    lines: Vec<Line>,
    left_for_good: AtomicBool,
}

// SAFETY: loom itself watches over every access to the cells.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// What one side writes and the other reads.
#[derive(Clone, Debug)]
pub(crate) struct ModelMemory {
    shared: Arc<Shared>,
    life: Life,
}

impl ModelMemory {
    /// `capacity` bytes of ring, all zero; 0 where only the control words matter.
    pub(crate) fn new(capacity: usize) -> ModelMemory {
        let line = || Line { first: AtomicU64::new(0), rest: UnsafeCell::new([0; LINE_PAYLOAD]) };
        let shared = Shared {
            words: [(); 4].map(|()| (AtomicU32::new(0), Futex::new())),
            consumed: AtomicU64::new(0),
            copies_early: AtomicBool::new(false),
            lines: (0..capacity / LINE).map(|_| line()).collect(),
            left_for_good: AtomicBool::new(false),
        };
        ModelMemory { shared: Arc::new(shared), life: Life::default() }
    }

    /// The same memory in the hands of a side that dies.
    pub(crate) fn mortal(&self, life: Life) -> ModelMemory {
        ModelMemory { shared: Arc::clone(&self.shared), life }
    }

    /// What the kernel does when the side that owns this memory has died: its sleepers' slices end.
    pub(crate) fn bury(&self) {
        // Release: pairs with the Acquire in is_buried.
        self.shared.left_for_good.store(true, Ordering::Release);
        self.shared.words.iter().for_each(|(_, futex)| futex.wake());
    }

    /// Whether the owner is known to be dead.
    pub(crate) fn is_buried(&self) -> bool {
        // Acquire: pairs with the Release in bury.
        self.shared.left_for_good.load(Ordering::Acquire)
    }

    pub(crate) fn futex(&self, word: Word) -> &Futex {
        &self.word(word).1
    }

    fn word(&self, word: Word) -> &(AtomicU32, Futex) {
        &self.shared.words[word as usize / LINE - 1]
    }

    fn first(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(LINE));
        &self.shared.lines[at / LINE].first
    }

    /// Calls `each(line, offset in line, offset in bytes, length)` for the pieces of a range.
    fn pieces(at: usize, len: usize, mut each: impl FnMut(usize, usize, usize, usize)) {
        let mut done = 0;
        while done < len {
            let (line, inside) = ((at + done) / LINE, (at + done) % LINE);
            let end = if inside < RECORD_HEADER { RECORD_HEADER } else { LINE };
            let piece = (end - inside).min(len - done);
            each(line, inside, done, piece);
            done += piece;
        }
    }
}

// SAFETY: every access is bounds-checked by the vector, and `read` writes what it promises.
unsafe impl Backing for ModelMemory {
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).0.load(order)
    }

    fn store(&self, word: Word, value: u32, order: Ordering) {
        if self.life.spend() {
            self.word(word).0.store(value, order);
        }
    }

    fn consumed(&self) -> u64 {
        // Acquire: pairs with the Release in store_consumed, as in the memory that is shared.
        self.shared.consumed.load(Ordering::Acquire)
    }

    fn store_consumed(&self, value: u64) {
        if self.life.spend() {
            // Release: pairs with the Acquire in consumed.
            self.shared.consumed.store(value, Ordering::Release);
        }
    }

    fn copies_early(&self) -> bool {
        self.shared.copies_early.load(Ordering::Relaxed)
    }

    fn store_copies_early(&self, early: bool) {
        if self.life.spend() {
            self.shared.copies_early.store(early, Ordering::Relaxed);
        }
    }

    unsafe fn load_commit(&self, at: usize) -> u64 {
        // Acquire: pairs with the Release of each commit word that a Producer stores, as in the memory that is shared.
        self.first(at).load(Ordering::Acquire)
    }

    unsafe fn store_commit(&self, at: usize, value: u64, order: Ordering) {
        if self.life.spend() {
            self.first(at).store(value, order);
        }
    }

    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        if !self.life.spend() {
            return;
        }
        Self::pieces(at, bytes.len(), |line, inside, from, len| {
            let (line, bytes) = (&self.shared.lines[line], &bytes[from..from + len]);
            if inside < RECORD_HEADER {
                // Relaxed, here and in `read_part`: plain bytes in the memory that is shared.
                let mut word = line.first.load(Ordering::Relaxed).to_le_bytes();
                word[inside..inside + len].copy_from_slice(bytes);
                line.first.store(u64::from_le_bytes(word), Ordering::Relaxed);
            } else {
                line.rest.with_mut(|rest| {
                    // SAFETY: loom has checked that nobody else accesses the cell now.
                    let rest = unsafe { &mut *rest };
                    rest[inside - RECORD_HEADER..][..len].copy_from_slice(bytes);
                });
            }
        });
    }

    unsafe fn read(&self, at: usize, len: usize, to: *mut u8) {
        // SAFETY: the caller has room for that many bytes.
        unsafe { self.read_part(at, room_for(len), to) }
    }

    unsafe fn write_part(&self, at: usize, bytes: &[u8]) {
        // SAFETY: the caller's contract.
        unsafe { self.write(at, bytes) }
    }

    unsafe fn read_part(&self, at: usize, len: usize, to: *mut u8) {
        // SAFETY: the caller has room for that many bytes.
        let to = unsafe { std::slice::from_raw_parts_mut(to, len) };
        Self::pieces(at, len, |line, inside, from, len| {
            let (line, to) = (&self.shared.lines[line], &mut to[from..from + len]);
            if inside < RECORD_HEADER {
                let word = line.first.load(Ordering::Relaxed).to_le_bytes();
                to.copy_from_slice(&word[inside..inside + len]);
            } else {
                line.rest.with(|rest| {
                    // SAFETY: loom has checked that nobody writes the cell now.
                    let rest = unsafe { &*rest };
                    to.copy_from_slice(&rest[inside - RECORD_HEADER..][..len]);
                });
            }
        });
    }

    fn sleep_on(&self, word: Word, expected: u32, _: Duration) {
        let (word, futex) = self.word(word);
        futex.wait(word, expected, || self.is_buried());
    }

    fn wake(&self, word: Word) {
        if self.life.spend() {
            self.word(word).1.wake();
        }
    }
}
