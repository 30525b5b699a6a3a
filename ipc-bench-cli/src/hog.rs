//! Processes that work beside a measurement: background load, and loops that keep a CPU from halting.

use std::hint::black_box;
use std::io;

use serde::{Deserialize, Serialize};

use crate::os;

/// What one of them does, until it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hog {
    /// Computes only when nothing else wants its CPU (`SCHED_IDLE`), so that the CPU never halts.
    Awake,
    /// Computes at normal priority.
    Cpu,
    /// Copies memory that no cache holds.
    Memory,
}

/// Bytes that [`Hog::Memory`] copies, twice as many with the copy: more than the last-level cache of most machines.
pub(crate) const MEMORY_BYTES: usize = 64 << 20;

impl Hog {
    /// Does what can fail. A priority that was inherited is given up: of a runner in real time (`chrt -f`) a hog for each
    /// CPU would leave it nothing to end them by.
    pub(crate) fn prepare(self) -> io::Result<()> {
        match self {
            Hog::Awake => os::run_when_idle(),
            Hog::Cpu | Hog::Memory => os::give_up_real_time(),
        }
    }

    /// Never returns: the end of the control pipe ends the process.
    pub(crate) fn work(self) -> ! {
        match self {
            Hog::Awake | Hog::Cpu => {
                // No `spin_loop` hint: on a virtual machine a pause may hand the CPU back to the host, which is what
                // this loop is there to prevent.
                let mut count = 0u64;
                loop {
                    count = black_box(count.wrapping_add(1));
                }
            }
            Hog::Memory => {
                let mut from = vec![1u8; MEMORY_BYTES];
                let mut to = vec![2u8; MEMORY_BYTES];
                loop {
                    to.copy_from_slice(black_box(&from));
                    black_box(&mut to);
                    std::mem::swap(&mut from, &mut to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hog_of_a_runner_in_real_time_is_none_in_real_time() {
        // In a thread of its own, which ends with its priority.
        let tested = std::thread::spawn(|| {
            if let Err(error) = os::run_in_real_time(1) {
                println!("skipped: no real-time priority for us here: {error}");
                return;
            }
            assert_eq!(os::real_time_priority(), 1);
            Hog::Cpu.prepare().expect("giving up needs no privilege");
            assert_eq!(os::real_time_priority(), 0);
        });
        tested.join().expect("it asserts what holds");
    }
}
