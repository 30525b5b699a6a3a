//! A pthread condition variable in shared memory, for comparison only: it is **not kill-safe**. A process killed inside
//! `pthread_cond_signal` or `pthread_cond_timedwait` can leave the lock inside it held for ever, and neither call has a
//! timeout for that lock: the survivor hangs. (glibc 2.36, `nptl/pthread_cond_common.c`, `__condvar_acquire_lock`.)
#![allow(unsafe_code, reason = "pthread calls on memory that another process maps, too")]

use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::io::Result;
use rustix::time::ClockId;

use crate::memory::Memory;
use crate::robust_mutex::{Holder, RobustMutex, after, check};

/// Bytes of a `pthread_cond_t`: 48 in glibc and musl.
pub(crate) const SIZE: usize = size_of::<libc::pthread_cond_t>();

/// A condition variable at a fixed place of shared memory.
#[derive(Clone, Debug)]
pub(crate) struct Condvar {
    memory: Memory,
    offset: usize,
}

impl Condvar {
    /// Makes one at `offset`, on the monotonic clock. Once, by the memory's creator, before the peer gets to know of it.
    ///
    /// # Errors
    /// What `pthread_condattr_*` or `pthread_cond_init` answer; on Linux, none of them does.
    pub(crate) fn create(memory: &Memory, offset: usize) -> Result<Condvar> {
        let condvar = Condvar::attach(memory, offset);
        let mut kind = MaybeUninit::<libc::pthread_condattr_t>::uninit();
        let kind = kind.as_mut_ptr();
        // SAFETY: `kind` points to room for the attributes.
        check(unsafe { libc::pthread_condattr_init(kind) })?;
        // SAFETY: initialised by the call before, here and below.
        check(unsafe { libc::pthread_condattr_setpshared(kind, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: as above.
        check(unsafe { libc::pthread_condattr_setclock(kind, libc::CLOCK_MONOTONIC) })?;
        // SAFETY: `attach` checked that the place lies inside the mapping and is aligned; nobody else uses it yet.
        check(unsafe { libc::pthread_cond_init(condvar.raw(), kind) })?;
        // SAFETY: as above; the condition variable does not refer to its attributes.
        check(unsafe { libc::pthread_condattr_destroy(kind) })?;
        Ok(condvar)
    }

    /// The one that the creator of `memory` made at `offset`.
    pub(crate) fn attach(memory: &Memory, offset: usize) -> Condvar {
        assert!(offset.is_multiple_of(align_of::<libc::pthread_cond_t>()) && offset + SIZE <= memory.len());
        Condvar { memory: memory.clone(), offset }
    }

    fn raw(&self) -> *mut libc::pthread_cond_t {
        self.memory.base().wrapping_add(self.offset).cast()
    }

    /// `int pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *)`: gives `mutex`, which
    /// the caller holds, up, sleeps at most `patience` or until signalled, and holds it again. May return early.
    ///
    /// # Errors
    /// `NOTRECOVERABLE`, `INVAL`: the bytes are no longer a working mutex; the caller does not hold it.
    pub(crate) fn wait_for(&self, mutex: &RobustMutex, patience: Duration) -> Result<Holder> {
        let until = after(ClockId::Monotonic, patience);
        // SAFETY: both were initialised by `create` and are mapped as long as their memory; the caller holds the mutex.
        match unsafe { libc::pthread_cond_timedwait(self.raw(), mutex.raw(), &until) } {
            libc::ETIMEDOUT => Ok(Holder::Released),
            answer => Ok(mutex.taken(answer)?.unwrap_or(Holder::Released)),
        }
    }

    /// `int pthread_cond_signal(pthread_cond_t *)`: wakes who waits.
    pub(crate) fn signal(&self) {
        // SAFETY: initialised by `create`, mapped as long as `self.memory`. The call answers 0 always.
        unsafe { libc::pthread_cond_signal(self.raw()) };
    }
}
