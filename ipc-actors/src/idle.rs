//! Who sleeps and who searches: wakes one worker when there is work, and none when one is looking already.
//!
//! The protocol is that of Go's and tokio's schedulers (golang/go `src/runtime/proc.go`, "Worker thread parking and
//! unparking"): a producer pushes and then looks for sleepers; a worker announces its sleep and then looks for work.
//! With a sequentially consistent fence between each pair, one of the two sees the other.

use crate::sync::{AtomicUsize, Mutex, Ordering, fence};

pub(crate) struct Idle {
    /// Workers that look for work outside their own queue, those on their way from sleep included.
    searching: AtomicUsize,
    sleeping: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sleepers: Vec<usize>,
    /// Woken and counted as searching, not searching yet.
    woken: Vec<usize>,
}

impl Idle {
    pub(crate) fn new() -> Self {
        let state = Mutex::new(State::default());
        Idle { searching: AtomicUsize::new(0), sleeping: AtomicUsize::new(0), state }
    }

    /// Chooses a sleeper to wake, unless somebody searches already. The caller unparks it.
    #[inline]
    pub(crate) fn choose(&self) -> Option<usize> {
        // Between the caller's push and the loads: pairs with the fence in `lie_down`.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        if self.sleeping.load(Ordering::Relaxed) == 0 || self.searching.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.pick()
    }

    #[cold]
    fn pick(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if self.searching.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let index = state.sleepers.pop()?;
        state.woken.push(index);
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
        self.searching.fetch_add(1, Ordering::SeqCst);
        Some(index)
    }

    /// Workers asleep.
    pub(crate) fn sleeping(&self) -> usize {
        self.sleeping.load(Ordering::SeqCst)
    }

    /// The worker is about to sleep; it looks for work once more after this.
    pub(crate) fn lie_down(&self, index: usize) {
        self.state.lock().sleepers.push(index);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        // Between the announcement and the caller's look at the queues: pairs with the fence in `choose`.
        fence(Ordering::SeqCst);
    }

    /// Whether nobody has chosen the worker yet.
    pub(crate) fn is_lying(&self, index: usize) -> bool {
        self.state.lock().sleepers.contains(&index)
    }

    /// The worker does not sleep (any more).
    pub(crate) fn get_up(&self, index: usize) {
        let mut state = self.state.lock();
        if let Some(at) = state.sleepers.iter().position(|sleeper| *sleeper == index) {
            state.sleepers.swap_remove(at);
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The worker searches. One that was chosen is counted already.
    pub(crate) fn start_searching(&self, index: usize) {
        let mut state = self.state.lock();
        match state.woken.iter().position(|woken| *woken == index) {
            Some(at) => drop(state.woken.swap_remove(at)),
            None => drop(self.searching.fetch_add(1, Ordering::SeqCst)),
        }
    }

    /// The worker searches no more; true: it was the last.
    pub(crate) fn stop_searching(&self) -> bool {
        self.searching.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

/// What a worker and a producer do around their sleep, explored by loom: `cargo xtask loom`.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// A queue reduced to whether there is anything in it, for one worker.
    struct Pool {
        idle: Idle,
        work: AtomicBool,
    }

    impl Pool {
        /// As `Pool::schedule` of the scheduler: push, and choose somebody to wake if nobody looks.
        fn produce(&self) -> bool {
            self.work.store(true, Ordering::Relaxed);
            self.idle.choose().is_some()
        }

        /// As `Worker::search`. Whether there is work.
        fn search(&self) -> bool {
            self.idle.start_searching(0);
            let found = self.work.load(Ordering::Relaxed);
            self.idle.stop_searching();
            found
        }

        /// As the beginning of `Worker::sleep`. Whether there is work; otherwise it sleeps until it is chosen.
        fn lie_down(&self) -> bool {
            self.idle.lie_down(0);
            self.work.load(Ordering::Relaxed)
        }
    }

    /// Runs a worker that does `work` beside a producer: it sees what is produced, or is chosen to be woken for it.
    fn sees_or_is_woken(work: fn(&Pool) -> bool) {
        loom::model(move || {
            let pool = Arc::new(Pool { idle: Idle::new(), work: AtomicBool::new(false) });
            let theirs = pool.clone();
            let worker = thread::spawn(move || work(&theirs));
            let chosen = pool.produce();
            let seen = worker.join().unwrap();
            assert!(seen || chosen, "it sleeps, and there is work");
            pool.idle.get_up(0);
            assert!(pool.search());
            assert_eq!((pool.idle.sleeping(), pool.idle.searching.load(Ordering::SeqCst)), (0, 0));
        });
    }

    #[test]
    fn a_worker_that_lies_down_sees_the_work_or_is_woken() {
        sees_or_is_woken(Pool::lie_down);
    }

    #[test]
    fn a_worker_whose_search_ends_as_work_comes_does_not_sleep_over_it() {
        // A producer that sees it search wakes nobody.
        sees_or_is_woken(|pool| pool.search() || pool.lie_down());
    }
}
