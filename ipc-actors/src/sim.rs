//! The simulator: the same actors on one thread, in an order drawn from a seed, on a virtual clock.
//!
//! A test drives it: [`Simulation::run`] until nothing can run, [`Simulation::advance`] to let time pass. Asking from
//! outside ([`Addr::ask`](crate::Addr::ask)) and shutting down drive it too, so most tests are written once and run on
//! threads as well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::cell::Task;
use crate::local;
use crate::offload::{self, Job};
use crate::random::Random;
use crate::system::Inner;
use crate::turn::{self, Turn};

/// The scheduler of a simulated system.
pub(crate) struct Sim {
    seed: u64,
    /// Nanoseconds of virtual time.
    clock: AtomicU64,
    state: Mutex<State>,
}

struct State {
    runnable: Vec<Task>,
    /// Blocking work, done like turns.
    offloaded: Vec<Box<dyn Job>>,
    random: Random,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State { runnable: Vec::new(), offloaded: Vec::new(), random: Random::new(seed) };
        Sim { seed, clock: AtomicU64::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn now(&self) -> Duration {
        // Relaxed: one thread drives.
        Duration::from_nanos(self.clock.load(Ordering::Relaxed))
    }

    pub(crate) fn set_now(&self, now: Duration) {
        // Relaxed: one thread drives. Time does not go back.
        self.clock.fetch_max(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn schedule(&self, task: Task) {
        self.state.lock().runnable.push(task);
    }

    pub(crate) fn offload(&self, job: Box<dyn Job>) {
        self.state.lock().offloaded.push(job);
    }

    /// Work that was not begun.
    pub(crate) fn offloaded(&self) -> usize {
        self.state.lock().offloaded.len()
    }

    /// Drops the work that was not begun.
    pub(crate) fn stop(&self) {
        let left = std::mem::take(&mut self.state.lock().offloaded);
        offload::discard(left);
    }

    /// A number from the seed.
    pub(crate) fn random(&self) -> u64 {
        self.state.lock().random.next()
    }

    /// Runs one turn of one actor, or one piece of offloaded work; false: there is none.
    fn step(&self) -> bool {
        let (task, mut turn) = {
            let mut state = self.state.lock();
            let (runnable, count) = (state.runnable.len(), state.runnable.len() + state.offloaded.len());
            if count == 0 {
                return false;
            }
            let chosen = state.random.below(count);
            let messages = 1 + state.random.below(turn::MESSAGES as usize) as u32;
            // Time passes while actors run, or one that never rests would keep every timer from going off.
            let took = Duration::from_nanos(state.random.below(2_000) as u64);
            self.set_now(self.now() + took);
            if chosen >= runnable {
                let job = state.offloaded.swap_remove(chosen - runnable);
                drop(state);
                job.run();
                return true;
            }
            (state.runnable.swap_remove(chosen), Turn::of(messages))
        };
        if let Some(again) = task.run(&mut turn) {
            self.schedule(again);
        }
        true
    }

    /// Runs actors, and lets time pass when none can run, until `done` or until `patience` of virtual time is over.
    /// `None`: until nothing can run, with no time passing but that of the turns.
    pub(crate) fn run_until(
        &self,
        system: &Inner,
        patience: Option<Duration>,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        assert!(local::current_actor().is_none(), "a simulation is driven from outside its actors");
        let deadline = patience.map(|patience| self.now().saturating_add(patience));
        loop {
            if done() {
                break true;
            }
            system.timers.fire(self.now());
            if self.step() {
                continue;
            }
            let Some(deadline) = deadline else { break false };
            if self.now() >= deadline {
                break false;
            }
            let next = system.timers.next().unwrap_or(deadline);
            self.set_now(next.min(deadline));
        }
    }
}

/// A simulated system, to be driven. See [`System::simulation`](crate::System::simulation).
#[derive(Debug)]
pub struct Simulation<'a> {
    pub(crate) sim: &'a Sim,
    pub(crate) system: &'a Inner,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("seed", &self.seed).field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Simulation<'_> {
    /// The seed that decides the order.
    pub fn seed(&self) -> u64 {
        self.sim.seed
    }

    /// Runs until no actor has anything to do. Timers that are not due stay.
    pub fn run(&self) {
        self.sim.run_until(self.system, None, || false);
    }

    /// Runs while `duration` of virtual time passes, firing what becomes due.
    pub fn advance(&self, duration: Duration) {
        self.sim.run_until(self.system, Some(duration), || false);
        self.run();
    }

    /// Runs until `done`, for at most `patience` of virtual time; false: it was not done by then.
    pub fn run_until(&self, patience: Duration, done: impl FnMut() -> bool) -> bool {
        self.sim.run_until(self.system, Some(patience), done)
    }
}
