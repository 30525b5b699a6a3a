//! Runs one test on the simulator with many seeds and on threads.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test program uses its own part"
)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ipc_actors::System;

/// How long a test waits for what must happen: far beyond what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Seeds where the order of events matters.
pub const MANY: u64 = 1000;
/// Seeds elsewhere.
pub const FEW: u64 = 32;

/// Runs `test` on a simulated system with each seed below `seeds`, or with `IPC_ACTORS_SEED` alone, and on threads.
pub fn everywhere(seeds: u64, test: impl Fn(&System)) {
    simulated(seeds, &test);
    if std::env::var_os("IPC_ACTORS_SEED").is_none() {
        threaded(&test);
    }
}

/// Runs `test` on a simulated system with each seed below `seeds`, and below `IPC_ACTORS_SEEDS` where that is less; the
/// seed of a failure is printed.
pub fn simulated(seeds: u64, test: impl Fn(&System)) {
    struct Seed(u64);
    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("replay with IPC_ACTORS_SEED={}", self.0);
            }
        }
    }
    let chosen = std::env::var("IPC_ACTORS_SEED").ok().map(|text| text.parse().expect("a number"));
    let most = std::env::var("IPC_ACTORS_SEEDS").map_or(u64::MAX, |text| text.parse().expect("a number"));
    for seed in chosen.map_or(0..seeds.min(most), |seed: u64| seed..seed + 1) {
        let named = Seed(seed);
        let system = System::builder().simulated(seed).build().expect("a simulation");
        test(&system);
        let end = system.shutdown(PATIENCE);
        assert_eq!((system.live(), end.stuck), (0, 0), "actors are left behind");
        assert_eq!(system.timers(), 0, "timers are left behind");
        drop(named);
    }
}

/// Runs `test` on two workers.
pub fn threaded(test: impl Fn(&System)) {
    let system = System::builder().workers(2).name("test").build().expect("threads");
    test(&system);
    let end = system.shutdown(PATIENCE);
    assert_eq!(
        (system.live(), end.stuck, end.killed),
        (0, 0, 0),
        "actors are left behind, or did not end by themselves"
    );
    assert_eq!(system.timers(), 0, "timers are left behind");
}

/// What actors tell a test, in the order they tell it.
pub struct Log<T> {
    pub to: Sender<T>,
    from: Receiver<T>,
}

impl<T> Log<T> {
    pub fn new() -> Self {
        let (to, from) = channel();
        Log { to, from }
    }

    /// The next thing told; a simulated system is driven until there is one.
    pub fn next(&self, system: &System) -> T {
        let Some(simulation) = system.simulation() else {
            return self.from.recv_timeout(PATIENCE).expect("something is told in time");
        };
        let mut told = self.from.try_recv().ok();
        simulation.run_until(PATIENCE, || {
            told = told.take().or_else(|| self.from.try_recv().ok());
            told.is_some()
        });
        told.expect("something is told before the simulation is idle")
    }

    pub fn take(&self, system: &System, count: usize) -> Vec<T> {
        (0..count).map(|_| self.next(system)).collect()
    }

    /// What was told and not read.
    pub fn rest(&self) -> Vec<T> {
        self.from.try_iter().collect()
    }
}

/// Waits until `done`.
pub fn until(system: &System, mut done: impl FnMut() -> bool) {
    match system.simulation() {
        Some(simulation) => {
            assert!(simulation.run_until(PATIENCE, done), "not in {PATIENCE:?} of virtual time")
        }
        None => {
            let deadline = std::time::Instant::now() + PATIENCE;
            while !done() {
                assert!(std::time::Instant::now() < deadline, "not within {PATIENCE:?}");
                std::thread::yield_now();
            }
        }
    }
}
