//! Who sleeps and who searches: wakes one worker when there is work, and none when one is looking already.
//!
//! The protocol is that of Go's and tokio's schedulers (golang/go `src/runtime/proc.go`, "Worker thread parking and
//! unparking"): a producer pushes and then looks for sleepers; a worker announces its sleep and then looks for work.
//! With a sequentially consistent fence between each pair, one of the two sees the other.

use std::sync::atomic::{AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

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
        Idle { searching: AtomicUsize::new(0), sleeping: AtomicUsize::new(0), state: Mutex::default() }
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
