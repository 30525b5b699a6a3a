//! What one thread pays for the things a measurement is made of: a clock, a system call, a wake-up that wakes
//! nobody, a copy. Each function returns samples in nanoseconds per operation; every sample is the mean of a
//! run long enough to make the clock reads around it vanish.
#![allow(unsafe_code, reason = "reads the time-stamp counter")]

use rustix::{process::getppid, thread::futex};
use std::{hint::black_box, sync::atomic::AtomicU32, time::Instant};

/// Operations per sample of the short ones: some ten microseconds.
const REPEATS: u32 = 500;

/// Bytes copied per sample of [`memcpy`], if one copy is not more.
const COPIED: usize = 1 << 20;

/// Nanoseconds per operation of `repeats` calls, `samples` times, after one run that warms up.
fn sample(samples: usize, repeats: u32, mut operation: impl FnMut()) -> Vec<f64> {
    let mut run = || {
        let started = Instant::now();
        for _ in 0..repeats {
            operation();
        }
        started.elapsed().as_nanos() as f64 / f64::from(repeats)
    };
    run();
    (0..samples).map(|_| run()).collect()
}

/// One [`Instant::now`]: `clock_gettime(CLOCK_MONOTONIC)` through the vDSO.
pub fn clock(samples: usize) -> Vec<f64> {
    sample(samples, REPEATS, || {
        black_box(Instant::now());
    })
}

/// One `rdtsc`, unfenced.
#[cfg(target_arch = "x86_64")]
pub fn tsc(samples: usize) -> Vec<f64> {
    sample(samples, REPEATS, || {
        // SAFETY: the instruction is part of x86-64 and has no preconditions.
        black_box(unsafe { std::arch::x86_64::_rdtsc() });
    })
}

/// One system call that does nothing: `getppid`.
pub fn syscall(samples: usize) -> Vec<f64> {
    sample(samples, REPEATS, || {
        black_box(getppid());
    })
}

/// One `futex(FUTEX_WAKE)` on a word that nobody waits on.
pub fn futex_wake(samples: usize) -> Vec<f64> {
    let word = AtomicU32::new(0);
    sample(samples, REPEATS, || {
        let woken = futex::wake(&word, futex::Flags::PRIVATE, 1);
        debug_assert_eq!(woken, Ok(0));
    })
}

/// One copy of `bytes` bytes between two buffers of one thread, both touched before.
pub fn memcpy(bytes: usize, samples: usize) -> Vec<f64> {
    let (from, mut to) = (vec![1_u8; bytes], vec![2_u8; bytes]);
    let repeats = u32::try_from(COPIED / bytes.max(1)).unwrap_or(u32::MAX).max(1);
    sample(samples, repeats, || {
        black_box(&mut to[..]).copy_from_slice(black_box(&from[..]));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cost_has_the_samples_asked_for_and_each_takes_time() {
        let costs = [clock(7), syscall(7), futex_wake(7), memcpy(1, 7), memcpy(4096, 7), memcpy(3 << 20, 7)];
        for samples in costs {
            assert_eq!(samples.len(), 7);
            assert!(samples.iter().all(|ns| *ns > 0.0), "{samples:?}");
        }
    }
}
