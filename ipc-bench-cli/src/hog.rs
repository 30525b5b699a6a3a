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
    /// Does what can fail.
    pub(crate) fn prepare(self) -> io::Result<()> {
        if self == Hog::Awake { os::run_when_idle() } else { Ok(()) }
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
