//! One slot for one message, under a mutex: the construction of the textbooks, with its corners filled in.
//!
//! ```text
//! offset  0                 48      52     56              128            256         260     264 ... 264 + size
//!         ┌─────────────────┬───────┬──────┬───────┬───────┬───────┬──────┬───────────┬───────┬─────────────────────┐
//!         │ pthread_mutex_t │ state │ len  │ flags │       │ taken │      │ published │       │ payload             │
//!         │ 40 or 48 bytes  │ u32   │ u32  │ u32   │       │ u32   │      │ u32       │       │                     │
//!         └─────────────────┴───────┴──────┴───────┴───────┴───────┴──────┴───────────┴───────┴─────────────────────┘
//! state      0 empty, 1 being written, 2 full                              under the mutex
//! len        bytes of the message that is there or being written           under the mutex
//! flags      which side sleeps, and on what; which side has left           set and cleared by atomic operations
//! taken      messages taken, counted in 31 bits, and whether the reader has left: what a waiting writer looks at
//! published  messages put, counted in 31 bits, and whether the writer has left: what a waiting reader looks at
//! ```
//!
//! A message costs three lines handed over: the mutex's from the peer to each side, and the payload's, in which
//! `published` lies. `taken` moves only when a writer waits. The lines are 128 bytes apart because the processor fetches
//! them in pairs.
//!
//! For comparison there is a variant whose sides sleep on condition variables instead of on `taken` and `published`
//! ([`Lock::Condvar`]); they lie at 64 and 136, where the picture has room.
//!
//! Both sides write this memory, so nothing in it is believed: states are matched, lengths and counts are checked
//! against what this side knows, and the payload is copied out before anybody parses it.
#![allow(unsafe_code, reason = "raw access to memory that another process maps, too")]

mod shared;

use std::io::IoSlice;
use std::time::Duration;

use ipc_core::Wait;

use crate::atomics::Ordering;
use crate::condvar;
use crate::fault::fault_point;
use crate::robust_mutex::{self, Holder};
use crate::waiting::SLICE;
pub(crate) use shared::SharedCells;

/// Distance between words that must not share a line, nor a pair of lines.
const APART: usize = 128;

/// Offset of the payload.
const PAYLOAD: usize = 2 * APART + 8;

/// Bytes of payload that lie in the line of `published`.
pub(crate) const LINE_PAYLOAD: usize = 64 - 8;

/// Bytes of a slot that carries messages of up to `size` bytes.
pub(crate) const fn slot_len(size: usize) -> usize {
    (PAYLOAD + if size < LINE_PAYLOAD { LINE_PAYLOAD } else { size }).next_multiple_of(APART)
}

/// A shared word, by its offset in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    State = 48,
    Len = 52,
    Flags = 56,
    Taken = APART,
    Published = 2 * APART,
}

const _: () =
    assert!(robust_mutex::SIZE <= Word::State as usize, "the mutex lies before the words it protects");

/// Offsets of the condition variables of the variant that has them: where the writer and where the reader sleeps.
const CONDVARS: [usize; 2] = [APART + 8, 64];

const _: () = assert!(CONDVARS[1] >= Word::Flags as usize + 4 && CONDVARS[1] + condvar::SIZE <= APART);
const _: () = assert!(CONDVARS[0] + condvar::SIZE <= Word::Published as usize);

/// How the sides of a slot sleep, of `shm-direct`'s option `lock=`.
///
/// ```
/// use ipc_transports::Lock;
/// assert_eq!("condvar".parse(), Ok(Lock::Condvar));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Lock {
    /// `mutex`: a robust mutex, and a futex word to sleep on.
    #[default]
    Mutex,
    /// `condvar`: a robust mutex, and a condition variable to sleep on. **Not kill-safe**: a peer killed at the wrong
    /// moment hangs the survivor for ever. For comparison with what people build; both sides have to say so.
    Condvar,
}

impl core::str::FromStr for Lock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mutex" => Ok(Lock::Mutex),
            "condvar" => Ok(Lock::Condvar),
            other => Err(format!("unknown lock {other:?}; use mutex, or condvar, which is not kill-safe")),
        }
    }
}

/// In `taken` and `published`: who counts here has left for good.
const LEFT: u32 = 1 << 31;
/// The count beside it.
const COUNT: u32 = LEFT - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Writing,
    Full,
}

impl State {
    fn read(word: u32) -> Result<State, Corrupt> {
        match word {
            0 => Ok(State::Empty),
            1 => Ok(State::Writing),
            2 => Ok(State::Full),
            _ => Err(Corrupt("a slot in no known state")),
        }
    }
}

/// One of the two sides of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Writer,
    Reader,
}

/// Bits of `flags`, one pair per party: asleep on its futex word, asleep on its eventfd.
const FUTEX: u32 = 1;
const EVENTFD: u32 = 2;
/// The reader has left; the writer need not look at `taken` to know.
const READER_LEFT: u32 = 1 << 8;

impl Party {
    /// The word this party waits on.
    fn word(self) -> Word {
        match self {
            Party::Writer => Word::Taken,
            Party::Reader => Word::Published,
        }
    }

    fn bits(self, mode: u32) -> u32 {
        match self {
            Party::Writer => mode,
            Party::Reader => mode << 2,
        }
    }
}

/// The memory says something that a peer keeping the protocol would not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// Memory with the layout above, and its lock.
///
/// # Safety
/// `read` fills what it promises to fill.
pub(crate) unsafe trait Cells {
    fn load(&self, word: Word, order: Ordering) -> u32;
    fn store(&self, word: Word, value: u32, order: Ordering);
    /// Sets `bits` of [`Word::Flags`].
    fn set(&self, bits: u32);
    /// Clears `bits` of [`Word::Flags`].
    fn clear(&self, bits: u32);
    /// Takes the lock if nobody holds it.
    fn try_lock(&self) -> Result<Option<Holder>, Corrupt>;
    /// Takes the lock, sleeping at most `patience`.
    fn lock_for(&self, patience: Duration) -> Result<Option<Holder>, Corrupt>;
    fn unlock(&self);

    /// Copies `bytes` to payload offset `at`.
    ///
    /// # Safety
    /// `at + bytes.len()` is at most the slot's size.
    unsafe fn write(&self, at: usize, bytes: &[u8]);

    /// Copies the first `len` bytes of the payload to `to`; with `len` ≤ [`LINE_PAYLOAD`] it always writes that many.
    ///
    /// # Safety
    /// `len` is at most the slot's size; `to` has room for `max(len, LINE_PAYLOAD)` bytes.
    unsafe fn read(&self, len: usize, to: *mut u8);

    /// Sleeps unless `word` differs from `expected`. True: the lock of a peer that died is held now.
    fn sleep_on(&self, word: Word, expected: u32, timeout: Duration) -> bool;
    fn wake(&self, word: Word);
    /// Fetches the lock's line for writing, without waiting for it.
    fn expect_to_lock(&self);
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt<T> {
    /// Done; the peer is to be woken through its eventfd if told so.
    Done(T, Ring),
    /// There is no space, or no message: wait for it.
    NotYet,
    /// The peer held the lock until the call's time was up, or for a slice.
    Busy,
    /// The peer has left in an orderly way.
    Left,
    /// The peer died holding the lock.
    Died,
}

/// What is left to do for a sleeping peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// It was awake.
    Nobody,
    /// It slept on its futex word and was woken.
    Woken,
    /// It sleeps on its eventfd: write to that.
    Eventfd,
}

/// What sender and receiver have in common: this side of one slot.
#[derive(Debug)]
pub(crate) struct Side<C> {
    cells: C,
    party: Party,
    size: usize,
    /// Messages put or taken, in [`COUNT`].
    count: u32,
    /// Attempts at the lock before sleeping on it. A holder is through in well under a microsecond unless messages are
    /// long, and going to sleep costs ten.
    tries: u32,
    /// Bytes of a message that died with its writer.
    partial_bytes: usize,
}

impl<C: Cells> Side<C> {
    pub(crate) fn new(cells: C, party: Party, size: usize, share_one_cpu: bool) -> Self {
        Side { cells, party, size, count: 0, tries: if share_one_cpu { 0 } else { 200 }, partial_bytes: 0 }
    }

    /// Whether the peer has done what this side waits for, or has left.
    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        // Acquire: pairs with the Release of the peer's `put`, `take` or `leave`.
        self.cells.load(self.party.word(), Ordering::Acquire) != self.unchanged()
    }

    /// What the word this side waits on says while there is nothing to do: for a reader the count of messages taken,
    /// for a writer that filled the slot one less than the count of messages put.
    #[inline(always)]
    fn unchanged(&self) -> u32 {
        match self.party {
            Party::Writer => self.count.wrapping_sub(1) & COUNT,
            Party::Reader => self.count,
        }
    }

    #[inline]
    fn lock(&self, wait: Wait) -> Result<Option<Holder>, Corrupt> {
        if let Some(holder) = self.cells.try_lock()? {
            return Ok(Some(holder));
        }
        self.lock_slowly(wait)
    }

    #[cold]
    fn lock_slowly(&self, wait: Wait) -> Result<Option<Holder>, Corrupt> {
        for _ in 0..self.tries {
            core::hint::spin_loop();
            if let Some(holder) = self.cells.try_lock()? {
                return Ok(Some(holder));
            }
        }
        match wait {
            Wait::Never => Ok(None),
            _ => self.cells.lock_for(wait.remaining().unwrap_or(SLICE).min(SLICE)),
        }
    }

    /// Unlocks, and wakes the peer if `flags`, read under the lock, say that it sleeps.
    #[inline]
    fn unlock_and_wake(&self, flags: u32, peer: Party) -> Ring {
        let asleep = flags & peer.bits(FUTEX | EVENTFD);
        if asleep == 0 {
            self.cells.unlock();
            return Ring::Nobody;
        }
        self.cells.clear(asleep);
        self.cells.unlock();
        // After unlocking, else it would wake up only to wait for the lock.
        if asleep & peer.bits(FUTEX) != 0 {
            self.cells.wake(peer.word());
        }
        if asleep & peer.bits(EVENTFD) != 0 { Ring::Eventfd } else { Ring::Woken }
    }

    /// Notes, if there is still nothing to do, that this side is about to sleep. The lock orders this against the
    /// peer's next change, which finds the note. False: there is something to do, or the lock could not be had.
    pub(crate) fn announce(&mut self, eventfd: bool, patience: Duration) -> Result<bool, Corrupt> {
        let Some(holder) = self.lock(Wait::within(patience))? else { return Ok(false) };
        // Noted nowhere: whoever looks after the peer finds it dead.
        if holder == Holder::Died
            && let Err(corrupt) = self.repair()
        {
            self.cells.unlock();
            return Err(corrupt);
        }
        let may_sleep = !self.is_ready();
        if may_sleep {
            self.cells.set(self.party.bits(if eventfd { EVENTFD } else { FUTEX }));
        }
        self.cells.unlock();
        Ok(may_sleep)
    }

    /// Takes an announcement back.
    pub(crate) fn awake(&self) {
        self.cells.clear(self.party.bits(FUTEX | EVENTFD));
    }

    /// Sleeps on this side's word, after [`announce`](Side::announce).
    pub(crate) fn sleep(&mut self, timeout: Duration) {
        if self.cells.sleep_on(self.party.word(), self.unchanged(), timeout) {
            // Nonsense in the slot is found by the attempt that follows.
            let _ = self.repair();
            self.cells.unlock();
        }
    }

    /// Says that this side has left for good, and wakes the peer. Needs no lock, which a stopped peer might hold.
    pub(crate) fn leave(&self) {
        let (own, peer) = match self.party {
            Party::Writer => (Word::Published, Party::Reader),
            Party::Reader => (Word::Taken, Party::Writer),
        };
        if self.party == Party::Reader {
            self.cells.set(READER_LEFT);
        }
        // Release: pairs with the Acquire in is_ready; what this side did before comes first.
        self.cells.store(own, self.count | LEFT, Ordering::Release);
        self.cells.wake(peer.word());
    }

    /// Makes a slot whose holder died whole again, by its own fields: a message counts once it is published. The kernel
    /// has told of the death, so nobody else is at work here.
    fn repair(&mut self) -> Result<(), Corrupt> {
        fault_point!("slot.repair");
        // Relaxed, here and below: the lock orders it.
        let len = self.cells.load(Word::Len, Ordering::Relaxed) as usize;
        // Acquire: pairs with the Release in put, which the dead writer may have reached.
        let published = self.cells.load(Word::Published, Ordering::Acquire) & COUNT;
        if State::read(self.cells.load(Word::State, Ordering::Relaxed))? == State::Writing {
            let whole = self.party == Party::Reader && published != self.count;
            if !whole {
                self.partial_bytes = len.min(self.size);
            }
            let state = if whole { State::Full } else { State::Empty };
            self.cells.store(Word::State, state as u32, Ordering::Relaxed);
        }
        if self.party == Party::Writer
            && State::read(self.cells.load(Word::State, Ordering::Relaxed))? == State::Empty
        {
            // A reader that died between emptying the slot and counting would leave a count that is never right again:
            // the next message would look taken before it is.
            let left = self.cells.load(Word::Taken, Ordering::Relaxed) & LEFT;
            self.cells.store(Word::Taken, self.count | left, Ordering::Relaxed);
        }
        fault_point!("slot.repaired");
        Ok(())
    }

    /// Bytes of a message that the peer was writing when it died; call once it is known to be dead.
    pub(crate) fn autopsy(&mut self) -> usize {
        if let Ok(Some(holder)) = self.cells.try_lock() {
            if holder == Holder::Died {
                // Nonsense in the slot is no news about a dead peer.
                let _ = self.repair();
            }
            self.cells.unlock();
        }
        self.partial_bytes
    }

    /// Puts the concatenation of `parts`, `len` bytes and at most the slot's size, if the slot is empty.
    #[inline]
    pub(crate) fn put(
        &mut self,
        parts: &[IoSlice<'_>],
        len: usize,
        wait: Wait,
    ) -> Result<Attempt<()>, Corrupt> {
        debug_assert!(self.party == Party::Writer && len <= self.size);
        match self.lock(wait)? {
            Some(Holder::Released) => {}
            Some(Holder::Died) => {
                let repaired = self.repair();
                self.cells.unlock();
                return repaired.map(|()| Attempt::Died);
            }
            None => return Ok(Attempt::Busy),
        }
        // Relaxed, for all words in this line: the lock orders them.
        let flags = self.cells.load(Word::Flags, Ordering::Relaxed);
        let refused = if flags & READER_LEFT != 0 {
            Some(Ok(Attempt::Left))
        } else {
            match State::read(self.cells.load(Word::State, Ordering::Relaxed)) {
                Ok(State::Empty) => None,
                Ok(State::Full) => Some(Ok(Attempt::NotYet)),
                Ok(State::Writing) => Some(Err(Corrupt("a slot being written by somebody else"))),
                Err(corrupt) => Some(Err(corrupt)),
            }
        };
        if let Some(refused) = refused {
            self.cells.unlock();
            return refused;
        }
        self.cells.store(Word::State, State::Writing as u32, Ordering::Relaxed);
        self.cells.store(Word::Len, len as u32, Ordering::Relaxed);
        let mut at = 0;
        for part in parts {
            // SAFETY: the parts add up to `len`, which the caller keeps within the slot's size.
            unsafe { self.cells.write(at, part) };
            at += part.len();
        }
        self.count = self.count.wrapping_add(1) & COUNT;
        // Release: pairs with the Acquire in is_ready and in repair. From here on the message counts.
        self.cells.store(Word::Published, self.count, Ordering::Release);
        self.cells.store(Word::State, State::Full as u32, Ordering::Relaxed);
        Ok(Attempt::Done((), self.unlock_and_wake(flags, Party::Reader)))
    }

    /// Takes the message out of the slot, if there is one, replacing the contents of `buf`.
    #[inline]
    pub(crate) fn take(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<Attempt<()>, Corrupt> {
        debug_assert!(self.party == Party::Reader);
        // Acquire: pairs with the Release in put and leave.
        let published = self.cells.load(Word::Published, Ordering::Acquire);
        if published & COUNT == self.count {
            return Ok(if published & LEFT != 0 { Attempt::Left } else { Attempt::NotYet });
        }
        let next = self.count.wrapping_add(1) & COUNT;
        if published & COUNT != next {
            return Err(Corrupt("a count of messages that is not the next"));
        }
        match self.lock(wait)? {
            Some(Holder::Released) => {}
            // The message was published before its writer died, so it is delivered; its death is found next time.
            Some(Holder::Died) => {
                if let Err(corrupt) = self.repair() {
                    self.cells.unlock();
                    return Err(corrupt);
                }
            }
            None => return Ok(Attempt::Busy),
        }
        // Relaxed, for all words in this line: the lock orders them.
        let state = State::read(self.cells.load(Word::State, Ordering::Relaxed));
        let len = self.cells.load(Word::Len, Ordering::Relaxed) as usize;
        let refused = match state {
            Ok(State::Full) if len <= self.size => None,
            Ok(State::Full) => Some(Corrupt("a message longer than the slot")),
            Ok(_) => Some(Corrupt("a published message in a slot that is not full")),
            Err(corrupt) => Some(corrupt),
        };
        if let Some(corrupt) = refused {
            self.cells.unlock();
            return Err(corrupt);
        }
        buf.clear();
        buf.reserve(len.max(LINE_PAYLOAD));
        // SAFETY: `len` was checked, and there is room.
        unsafe { self.cells.read(len, buf.as_mut_ptr()) };
        // SAFETY: `read` has written at least `len` bytes.
        unsafe { buf.set_len(len) };
        self.cells.store(Word::State, State::Empty as u32, Ordering::Relaxed);
        self.count = next;
        // Release: pairs with the Acquire in is_ready.
        self.cells.store(Word::Taken, next, Ordering::Release);
        let flags = self.cells.load(Word::Flags, Ordering::Relaxed);
        Ok(Attempt::Done((), self.unlock_and_wake(flags, Party::Writer)))
    }
}

#[cfg(all(test, loom))]
mod models;
#[cfg(test)]
mod tests;
