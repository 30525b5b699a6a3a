//! A pthread mutex in shared memory that survives the death of its holder (`PTHREAD_MUTEX_ROBUST`): the kernel walks
//! the list of robust mutexes of a dying thread and marks them, and the next one to lock is told (`kernel/futex`,
//! `exit_robust_list`; `pthread_mutexattr_setrobust(3)`).
//!
//! glibc keeps pointers inside the shared mutex and follows them when it unlocks: a peer that overwrites them can crash
//! us. That is why `shm-direct` connects to our own user only.
#![allow(unsafe_code, reason = "pthread calls on memory that another process maps, too")]

use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::memory::Memory;

/// Bytes of a `pthread_mutex_t`: 40 on x86-64, 48 on aarch64.
pub(crate) const SIZE: usize = size_of::<libc::pthread_mutex_t>();

/// How the previous holder ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It unlocked.
    Released,
    /// It died holding the mutex: what the mutex protects may be half done. Now it is the new holder's to repair.
    Died,
}

/// A mutex at a fixed place of shared memory. Locked and unlocked by thread.
#[derive(Clone, Debug)]
pub(crate) struct RobustMutex {
    memory: Memory,
    offset: usize,
}

impl RobustMutex {
    /// Makes a mutex at `offset`. Once, by the memory's creator, before the peer gets to know of it. It is never
    /// destroyed: in glibc and musl a mutex is nothing but its bytes, and the peer may outlive us.
    ///
    /// # Errors
    /// What `pthread_mutexattr_*` or `pthread_mutex_init` answer; on Linux, none of them does.
    pub(crate) fn create(memory: &Memory, offset: usize) -> Result<RobustMutex> {
        let mutex = RobustMutex::attach(memory, offset);
        let mut kind = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let kind = kind.as_mut_ptr();
        // SAFETY: `kind` points to room for the attributes.
        check(unsafe { libc::pthread_mutexattr_init(kind) })?;
        // SAFETY: initialised by the call before, here and below.
        check(unsafe { libc::pthread_mutexattr_setpshared(kind, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: as above.
        check(unsafe { libc::pthread_mutexattr_setrobust(kind, libc::PTHREAD_MUTEX_ROBUST) })?;
        // SAFETY: `attach` checked that the place lies inside the mapping and is aligned; nobody else uses it yet.
        check(unsafe { libc::pthread_mutex_init(mutex.raw(), kind) })?;
        // SAFETY: as above; the mutex does not refer to its attributes (pthread_mutexattr_destroy(3)).
        check(unsafe { libc::pthread_mutexattr_destroy(kind) })?;
        Ok(mutex)
    }

    /// The mutex that the creator of `memory` made at `offset`.
    pub(crate) fn attach(memory: &Memory, offset: usize) -> RobustMutex {
        assert!(offset.is_multiple_of(align_of::<libc::pthread_mutex_t>()) && offset + SIZE <= memory.len());
        RobustMutex { memory: memory.clone(), offset }
    }

    pub(crate) fn raw(&self) -> *mut libc::pthread_mutex_t {
        self.memory.base().wrapping_add(self.offset).cast()
    }

    /// `int pthread_mutex_trylock(pthread_mutex_t *)`; `None`: held by somebody.
    ///
    /// # Errors
    /// `NOTRECOVERABLE`, `INVAL`: the bytes are no longer a working mutex.
    #[inline]
    pub(crate) fn try_lock(&self) -> Result<Option<Holder>> {
        // SAFETY: initialised by `create`, mapped as long as `self.memory`.
        self.taken(unsafe { libc::pthread_mutex_trylock(self.raw()) })
    }

    /// `int pthread_mutex_clocklock(pthread_mutex_t *, clockid_t, const struct timespec *)` on the monotonic clock
    /// (glibc 2.30): sleeps at most `patience`, then `None`.
    ///
    /// # Errors
    /// As [`try_lock`](RobustMutex::try_lock).
    pub(crate) fn lock_for(&self, patience: Duration) -> Result<Option<Holder>> {
        let until = after(CLOCK.0, patience);
        // SAFETY: initialised by `create`, mapped as long as `self.memory`; `until` lives through the call.
        self.taken(unsafe { timed_lock(self.raw(), &until) })
    }

    /// What `answer` of a locking call means.
    pub(crate) fn taken(&self, answer: libc::c_int) -> Result<Option<Holder>> {
        match answer {
            0 => Ok(Some(Holder::Released)),
            libc::EBUSY | libc::ETIMEDOUT => Ok(None),
            libc::EOWNERDEAD => {
                // Before the repair, not after: should we die repairing, the next holder is told all the same, since
                // the kernel marks whatever we hold.
                // SAFETY: we hold the mutex, in the state that this call is for.
                check(unsafe { libc::pthread_mutex_consistent(self.raw()) })?;
                Ok(Some(Holder::Died))
            }
            error => Err(Errno::from_raw_os_error(error)),
        }
    }

    /// `int pthread_mutex_unlock(pthread_mutex_t *)`.
    ///
    /// # Errors
    /// `PERM`: this thread does not hold it.
    #[inline]
    pub(crate) fn unlock(&self) -> Result<()> {
        // SAFETY: initialised by `create`, mapped as long as `self.memory`.
        check(unsafe { libc::pthread_mutex_unlock(self.raw()) })
    }
}

pub(crate) fn check(answer: libc::c_int) -> Result<()> {
    if answer == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(answer)) }
}

#[cfg(target_env = "gnu")]
const CLOCK: (ClockId, libc::clockid_t) = (ClockId::Monotonic, libc::CLOCK_MONOTONIC);
/// POSIX has no other clock for `pthread_mutex_timedlock`; a jump of it stretches or cuts one slice of a wait.
#[cfg(not(target_env = "gnu"))]
const CLOCK: (ClockId, libc::clockid_t) = (ClockId::Realtime, libc::CLOCK_REALTIME);

/// The moment `patience` from now.
pub(crate) fn after(clock: ClockId, patience: Duration) -> libc::timespec {
    let now = clock_gettime(clock);
    let nanos = now.tv_nsec + i64::from(patience.subsec_nanos());
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    libc::timespec {
        tv_sec: now.tv_sec.saturating_add(seconds).saturating_add(nanos / 1_000_000_000),
        tv_nsec: nanos % 1_000_000_000,
    }
}

/// # Safety
/// As `pthread_mutex_lock`.
#[cfg(target_env = "gnu")]
unsafe fn timed_lock(mutex: *mut libc::pthread_mutex_t, until: &libc::timespec) -> libc::c_int {
    // SAFETY: glibc's own declaration (<pthread.h>), which the libc crate lacks.
    unsafe extern "C" {
        fn pthread_mutex_clocklock(
            mutex: *mut libc::pthread_mutex_t,
            clock: libc::clockid_t,
            until: *const libc::timespec,
        ) -> libc::c_int;
    }
    // SAFETY: the caller's contract; `until` is a valid reference.
    unsafe { pthread_mutex_clocklock(mutex, CLOCK.1, until) }
}

/// # Safety
/// As `pthread_mutex_lock`.
#[cfg(not(target_env = "gnu"))]
unsafe fn timed_lock(mutex: *mut libc::pthread_mutex_t, until: &libc::timespec) -> libc::c_int {
    // SAFETY: the caller's contract; `until` is a valid reference.
    unsafe { libc::pthread_mutex_timedlock(mutex, until) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn one_thread_at_a_time_holds_it() {
        let memory = Memory::heap(4096);
        let mutex = RobustMutex::create(&memory, 64).unwrap();
        assert_eq!(mutex.try_lock(), Ok(Some(Holder::Released)));
        let other = RobustMutex::attach(&memory, 64);
        let refused = thread::spawn(move || {
            let refused = other.try_lock();
            (refused, other.lock_for(Duration::from_millis(2)), other.unlock())
        });
        assert_eq!(refused.join().unwrap(), (Ok(None), Ok(None), Err(Errno::PERM)));
        mutex.unlock().unwrap();
        assert_eq!(mutex.lock_for(Duration::ZERO), Ok(Some(Holder::Released)));
        mutex.unlock().unwrap();
    }

    #[test]
    fn the_death_of_its_holder_is_told_once_and_it_works_on() {
        let memory = Memory::heap(4096);
        let mutex = RobustMutex::create(&memory, 0).unwrap();
        for _ in 0..3 {
            let holder = mutex.clone();
            // The kernel treats a thread that ends as it treats a process that is killed.
            thread::spawn(move || holder.try_lock()).join().unwrap().unwrap();
            assert_eq!(mutex.lock_for(Duration::from_secs(5)), Ok(Some(Holder::Died)));
            mutex.unlock().unwrap();
            assert_eq!(mutex.try_lock(), Ok(Some(Holder::Released)));
            mutex.unlock().unwrap();
        }
    }

    #[test]
    fn a_deadline_is_a_point_in_time() {
        let (now, until) = (clock_gettime(CLOCK.0), after(CLOCK.0, Duration::new(1, 999_999_999)));
        assert!((0..1_000_000_000).contains(&until.tv_nsec));
        assert!((1..=3).contains(&(until.tv_sec - now.tv_sec)));
    }
}
