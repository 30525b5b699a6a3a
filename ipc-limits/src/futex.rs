//! Sleeping on the commit word of a [`Slot`](crate::Slot): at once, or after a while of spinning.

use crate::{
    lifeline::{Lifeline, Watch},
    memory::Word,
    peer_gone,
    slot::{ASLEEP, CUT, Waiting},
};
use rustix::{io::Errno, thread::futex};
use std::{
    hint, io,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Sleeps on a futex that both processes see (no `FUTEX_PRIVATE_FLAG`); every message makes one wake-up call,
/// whether or not the peer sleeps already.
#[derive(Debug)]
pub struct Park {
    _watch: Watch,
}

impl Park {
    pub(crate) fn new(word: Word<AtomicU32>, lifeline: Lifeline) -> io::Result<Park> {
        let watch = Watch::start(lifeline, move || {
            // Changing the word is what makes this safe against a receiver on its way to sleep: the kernel
            // compares it before it sleeps. A message that is already there stays readable.
            word.fetch_or(CUT, Ordering::SeqCst);
            // The receiver then finds the peer gone; if the call failed there would be nobody to tell.
            let _ = futex::wake(&word, futex::Flags::empty(), 1);
        })?;
        Ok(Park { _watch: watch })
    }
}

/// Sleeps until `word` changes from `last` plus the `marks` it carries.
#[inline(always)]
fn sleep_while(word: &AtomicU32, last: u32, marks: u32) -> io::Result<u32> {
    loop {
        // Acquire: pairs with the Release, or the swap, in publish.
        let found = word.load(Ordering::Acquire);
        if found & !ASLEEP != last {
            return if found & !ASLEEP == last | CUT { Err(peer_gone()) } else { Ok(found) };
        }
        match futex::wait(word, futex::Flags::empty(), last | marks, None) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Waiting for Park {
    #[inline(always)]
    fn publish(&mut self, word: &AtomicU32, commit: u32) -> io::Result<()> {
        // Release: pairs with the Acquire in sleep_while.
        word.store(commit, Ordering::Release);
        futex::wake(word, futex::Flags::empty(), 1)?;
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, word: &AtomicU32, last: u32) -> io::Result<u32> {
        sleep_while(word, last, 0)
    }
}

/// Spins for a while, then says in the commit word itself that it sleeps, and sleeps on the futex. The sender
/// swaps the word, so it learns from the same line whether a wake-up call is wanted.
#[derive(Debug)]
pub struct SpinThenPark {
    looks: u32,
    _park: Park,
}

impl SpinThenPark {
    /// `budget` is turned into a number of looks once: a loop that reads the clock would look less often.
    pub(crate) fn new(word: Word<AtomicU32>, lifeline: Lifeline, budget: Duration) -> io::Result<Self> {
        const SAMPLE: u32 = 10_000;
        let started = Instant::now();
        for _ in 0..SAMPLE {
            // Relaxed: looked at for its cost only.
            hint::black_box(word.load(Ordering::Relaxed));
            hint::spin_loop();
        }
        let sample = started.elapsed().as_nanos().max(1);
        let looks = budget.as_nanos() * u128::from(SAMPLE) / sample;
        let looks = u32::try_from(looks).unwrap_or(u32::MAX);
        Ok(SpinThenPark { looks, _park: Park::new(word, lifeline)? })
    }
}

impl Waiting for SpinThenPark {
    #[inline(always)]
    fn publish(&mut self, word: &AtomicU32, commit: u32) -> io::Result<()> {
        // Release: pairs with the Acquire in wait. Acquire is not needed: nothing is read because of ASLEEP.
        if word.swap(commit, Ordering::Release) & ASLEEP != 0 {
            futex::wake(word, futex::Flags::empty(), 1)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, word: &AtomicU32, last: u32) -> io::Result<u32> {
        for _ in 0..self.looks {
            // Acquire: pairs with the swap in publish.
            let found = word.load(Ordering::Acquire);
            if found != last {
                return if found == last | CUT { Err(peer_gone()) } else { Ok(found) };
            }
            hint::spin_loop();
        }
        // Relaxed: says only that we sleep; what it loses a race against is read in sleep_while.
        let _ = word.compare_exchange(last, last | ASLEEP, Ordering::Relaxed, Ordering::Relaxed);
        sleep_while(word, last, ASLEEP)
    }
}
