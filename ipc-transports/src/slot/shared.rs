//! The slot in memory that two processes map: the one implementation of [`Cells`] outside the models.
#![allow(unsafe_code, reason = "raw access to memory that another process maps, too")]

use core::sync::atomic::AtomicU32;
use std::time::Duration;

use super::{APART, CONDVARS, Cells, Corrupt, LINE_PAYLOAD, Lock, PAYLOAD, Side, Word, slot_len};
use crate::atomics::Ordering;
use crate::backing::copy_in;
use crate::condvar::Condvar;
use crate::fault::fault_point;
use crate::memory::{Memory, futex_wait, futex_wake};
use crate::robust_mutex::{Holder, RobustMutex};

/// A slot at a fixed place of shared memory.
#[derive(Clone, Debug)]
pub(crate) struct SharedCells {
    memory: Memory,
    offset: usize,
    mutex: RobustMutex,
    /// Of the variant that sleeps on them: the writer's and the reader's.
    condvars: Option<[Condvar; 2]>,
}

impl Side<SharedCells> {
    /// Whether this side's sleeps are those of [`Lock::Condvar`].
    pub(crate) fn sleeps_on_condvar(&self) -> bool {
        self.cells.condvars.is_some()
    }
}

impl SharedCells {
    /// Makes a slot for messages of `size` bytes at `offset` of zeroed memory; once, by the memory's creator.
    pub(crate) fn create(
        memory: &Memory,
        offset: usize,
        size: usize,
        lock: Lock,
    ) -> rustix::io::Result<SharedCells> {
        assert!(offset.is_multiple_of(APART) && offset + slot_len(size) <= memory.len());
        let mutex = RobustMutex::create(memory, offset)?;
        let condvars = match lock {
            Lock::Mutex => None,
            Lock::Condvar => {
                let [writers, readers] = CONDVARS.map(|at| Condvar::create(memory, offset + at));
                Some([writers?, readers?])
            }
        };
        Ok(SharedCells { memory: memory.clone(), offset, mutex, condvars })
    }

    /// The slot that the memory's creator made there.
    pub(crate) fn attach(memory: &Memory, offset: usize, size: usize, lock: Lock) -> SharedCells {
        assert!(offset.is_multiple_of(APART) && offset + slot_len(size) <= memory.len());
        let condvars =
            (lock == Lock::Condvar).then(|| CONDVARS.map(|at| Condvar::attach(memory, offset + at)));
        SharedCells { memory: memory.clone(), offset, mutex: RobustMutex::attach(memory, offset), condvars }
    }

    /// As [`Cells::sleep_on`], on the condition variable of who waits for `word`.
    fn sleep_on_condvar(&self, condvar: &Condvar, word: Word, expected: u32, timeout: Duration) -> bool {
        let Ok(Some(holder)) = self.mutex.lock_for(timeout) else { return false };
        // Relaxed: a change under the lock is seen; one without it, a goodbye, is found at the end of the slice.
        let sleeps = holder == Holder::Released && self.load(word, Ordering::Relaxed) == expected;
        let holder = if sleeps { condvar.wait_for(&self.mutex, timeout) } else { Ok(holder) };
        if holder == Ok(Holder::Released) {
            self.unlock();
        }
        holder == Ok(Holder::Died)
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> *mut u8 {
        self.memory.base().wrapping_add(self.offset + offset)
    }

    #[inline(always)]
    fn word(&self, word: Word) -> &AtomicU32 {
        // SAFETY: aligned, inside the mapping (`create`, `attach`), which lives as long as `self`, and only accessed
        // atomically.
        unsafe { AtomicU32::from_ptr(self.at(word as usize).cast()) }
    }
}

const LOCK_BROKEN: Corrupt = Corrupt("the slot's mutex no longer works");

// SAFETY: `read` copies from inside the mapping; sizes were checked by `create` and `attach`.
unsafe impl Cells for SharedCells {
    #[inline(always)]
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    #[inline(always)]
    fn store(&self, word: Word, value: u32, order: Ordering) {
        fault_point!("slot.word");
        self.word(word).store(value, order);
        fault_point!("slot.word.stored");
    }

    fn set(&self, bits: u32) {
        fault_point!("slot.flags");
        self.word(Word::Flags).fetch_or(bits, Ordering::SeqCst);
    }

    fn clear(&self, bits: u32) {
        self.word(Word::Flags).fetch_and(!bits, Ordering::SeqCst);
    }

    #[inline]
    fn try_lock(&self) -> Result<Option<Holder>, Corrupt> {
        fault_point!("slot.lock");
        let taken = self.mutex.try_lock().map_err(|_| LOCK_BROKEN);
        fault_point!("slot.locked");
        taken
    }

    fn lock_for(&self, patience: Duration) -> Result<Option<Holder>, Corrupt> {
        self.mutex.lock_for(patience).map_err(|_| LOCK_BROKEN)
    }

    #[inline]
    fn unlock(&self) {
        fault_point!("slot.unlock");
        // Fails only if the peer has overwritten the mutex; the next lock will tell.
        let _ = self.mutex.unlock();
        fault_point!("slot.unlocked");
    }

    #[inline]
    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        fault_point!("slot.payload");
        // SAFETY: the caller keeps the range inside the slot; `bytes` is private memory, so the two do not overlap.
        unsafe { copy_in(bytes.as_ptr(), self.at(PAYLOAD + at), bytes.len()) };
        fault_point!("slot.payload.stored");
    }

    #[inline]
    unsafe fn read(&self, len: usize, to: *mut u8) {
        let from = self.at(PAYLOAD);
        if len <= LINE_PAYLOAD {
            // SAFETY: every slot has this many bytes and the caller has room for them. A hostile peer may be changing
            // them: they are copied raw, never referred to.
            unsafe { core::ptr::copy_nonoverlapping(from, to, LINE_PAYLOAD) }
        } else {
            // SAFETY: as above, for `len` bytes.
            unsafe { core::ptr::copy_nonoverlapping(from, to, len) }
        }
    }

    fn sleep_on(&self, word: Word, expected: u32, timeout: Duration) -> bool {
        let Some(condvars) = &self.condvars else {
            futex_wait(self.word(word), expected, timeout);
            return false;
        };
        self.sleep_on_condvar(&condvars[usize::from(word == Word::Published)], word, expected, timeout)
    }

    fn wake(&self, word: Word) {
        fault_point!("slot.wake");
        match &self.condvars {
            None => futex_wake(self.word(word)),
            Some(condvars) => condvars[usize::from(word == Word::Published)].signal(),
        }
    }

    #[inline(always)]
    fn expect_to_lock(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            // SAFETY: a hint, which faults on no address.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(self.at(0).cast()) }
        }
    }
}
