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
    /// The last is woken first. Those in front may be on their way yet, or searching: see [`Idle::lie_down`].
    sleepers: Vec<usize>,
    searchers: Vec<usize>,
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
        self.change(|state| {
            if !state.searchers.is_empty() {
                return None;
            }
            let index = state.sleepers.pop()?;
            state.searchers.push(index);
            Some(index)
        })
    }

    /// Workers asleep.
    pub(crate) fn sleeping(&self) -> usize {
        self.sleeping.load(Ordering::SeqCst)
    }

    /// The worker is about to sleep; it looks for work once more after this.
    ///
    /// Those that search still are relieved, and count as asleep from now on: it has looked everywhere, and they may not
    /// run at all. A worker that is woken, or gives way between two looks, may wait for milliseconds for a CPU somebody
    /// else holds, and who sees it search wakes nobody.
    pub(crate) fn lie_down(&self, index: usize) {
        self.change(|state| {
            state.sleepers.splice(..0, state.searchers.drain(..));
            if !state.sleepers.contains(&index) {
                state.sleepers.push(index);
            }
        });
        // Between the announcement and the caller's look at the queues: pairs with the fence in `choose`.
        fence(Ordering::SeqCst);
    }

    /// Whether nobody has chosen the worker yet.
    pub(crate) fn is_lying(&self, index: usize) -> bool {
        self.state.lock().sleepers.contains(&index)
    }

    /// The worker ends.
    pub(crate) fn leave(&self, index: usize) {
        self.change(|state| {
            remove(&mut state.sleepers, index);
            remove(&mut state.searchers, index);
        });
    }

    /// The worker is awake, and searches. One that was chosen is counted already.
    pub(crate) fn start_searching(&self, index: usize) {
        self.change(|state| {
            remove(&mut state.sleepers, index);
            if !state.searchers.contains(&index) {
                state.searchers.push(index);
            }
        });
    }

    /// Whether a worker that searches has been relieved; false while others search.
    pub(crate) fn nobody_searches(&self) -> bool {
        // Relaxed: seen later, it searches longer.
        self.searching.load(Ordering::Relaxed) == 0
    }

    /// The worker searches no more. One that has `found` something is awake; otherwise it lies down next, or was relieved
    /// and counts as asleep already. True: nobody searches now.
    pub(crate) fn stop_searching(&self, index: usize, found: bool) -> bool {
        self.change(|state| {
            remove(&mut state.searchers, index);
            if found {
                remove(&mut state.sleepers, index);
            }
            state.searchers.is_empty()
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.searching.store(state.searchers.len(), Ordering::SeqCst);
        self.sleeping.store(state.sleepers.len(), Ordering::SeqCst);
        result
    }
}

fn remove(workers: &mut Vec<usize>, index: usize) {
    workers.retain(|worker| *worker != index);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Worker 0 lies down while worker 1, that `comes`, does not run.
    fn the_late_one_is_not_waited_for(comes: fn(&Idle)) -> Idle {
        let idle = Idle::new();
        comes(&idle);
        idle.lie_down(0);
        assert_eq!((idle.sleeping(), idle.choose(), idle.choose()), (2, Some(0), None));
        assert!(!idle.nobody_searches());
        idle.lie_down(0);
        idle
    }

    #[test]
    fn a_woken_worker_that_does_not_come_keeps_nobody_else_asleep() {
        let idle = the_late_one_is_not_waited_for(|idle| {
            idle.lie_down(1);
            assert_eq!(idle.choose(), Some(1));
        });
        assert!(idle.is_lying(1), "it sleeps on when it comes");
    }

    #[test]
    fn a_searching_worker_that_gave_way_keeps_nobody_else_asleep() {
        let idle = the_late_one_is_not_waited_for(|idle| idle.start_searching(1));
        assert!(idle.nobody_searches(), "it stops when it comes back");
        assert!(idle.stop_searching(1, true), "nobody else looks after the rest");
        assert_eq!(idle.sleeping(), 1);
        idle.start_searching(1);
        idle.lie_down(0);
        assert!(idle.stop_searching(1, false));
        idle.lie_down(1);
        assert_eq!((idle.sleeping(), idle.choose()), (2, Some(0)));
        idle.leave(0);
        assert_eq!((idle.sleeping(), idle.choose()), (1, Some(1)), "who ends is not waited for");
    }
}

/// What workers and a producer do around their sleep, explored by loom: `cargo xtask loom`.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// Queues reduced to whether there is anything in them.
    struct Pool {
        idle: Idle,
        work: AtomicBool,
        /// The work is taken, as a batch.
        taken: AtomicBool,
        /// The rest of the batch lies in the queue of who took it.
        rest: AtomicBool,
    }

    impl Pool {
        /// As `Pool::schedule` of the scheduler: push, and choose somebody to wake if nobody looks.
        fn produce(&self) -> bool {
            self.work.store(true, Ordering::Relaxed);
            self.idle.choose().is_some()
        }

        fn new() -> Arc<Pool> {
            let [work, taken, rest] = [(); 3].map(|()| AtomicBool::new(false));
            Arc::new(Pool { idle: Idle::new(), work, taken, rest })
        }

        /// As `Worker::search` where the work is a batch of two: takes it and leaves one for thieves. Whether it found it,
        /// or lies down and sees it, or has somebody woken for the rest.
        fn take_a_batch(&self, index: usize) -> bool {
            self.idle.start_searching(index);
            let found = self.work.load(Ordering::Relaxed);
            self.taken.store(found, Ordering::Relaxed);
            self.rest.store(found, Ordering::Relaxed);
            let nobody_searches = self.idle.stop_searching(index, found);
            match found {
                true => nobody_searches && self.idle.choose().is_some(),
                false => self.lie_down(index),
            }
        }

        /// As `Worker::search`. Whether there is work.
        fn search(&self, index: usize) -> bool {
            self.idle.start_searching(index);
            let found = self.work.load(Ordering::Relaxed);
            self.idle.stop_searching(index, found);
            found
        }

        /// As the beginning of `Worker::sleep`. Whether there is work; otherwise it sleeps until it is chosen.
        fn lie_down(&self, index: usize) -> bool {
            self.idle.lie_down(index);
            self.work.load(Ordering::Relaxed) && !self.taken.load(Ordering::Relaxed)
                || self.rest.load(Ordering::Relaxed)
        }
    }

    /// Runs a worker for each of `works` beside a producer: one sees what is produced, or is chosen to be woken for it.
    fn one_sees_or_is_woken(works: &'static [fn(&Pool, usize) -> bool]) {
        let mut model = loom::model::Builder::new();
        // With three threads every order would take minutes; those with four involuntary switches take a second (Musuvathi
        // and Qadeer, 2007: two find nearly all bugs).
        model.preemption_bound = (works.len() > 1).then_some(4);
        model.check(move || {
            let pool = Pool::new();
            let worker = |(index, work): (usize, &'static fn(&Pool, usize) -> bool)| {
                let theirs = pool.clone();
                thread::spawn(move || work(&theirs, index))
            };
            let workers: Vec<_> = works.iter().enumerate().map(worker).collect();
            let chosen = pool.produce();
            let seen: Vec<bool> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
            assert!(seen.contains(&true) || chosen, "all sleep, and there is work");
            for index in 0..works.len() {
                assert!(pool.search(index));
            }
            assert_eq!((pool.idle.sleeping(), pool.idle.searching.load(Ordering::SeqCst)), (0, 0));
        });
    }

    #[test]
    fn a_worker_that_lies_down_sees_the_work_or_is_woken() {
        one_sees_or_is_woken(&[Pool::lie_down]);
    }

    #[test]
    fn a_worker_whose_search_ends_as_work_comes_does_not_sleep_over_it() {
        // A producer that sees it search wakes nobody.
        one_sees_or_is_woken(&[|pool, index| pool.search(index) || pool.lie_down(index)]);
    }

    #[test]
    fn the_rest_of_a_batch_that_one_took_as_another_lay_down_is_not_slept_over() {
        one_sees_or_is_woken(&[Pool::lie_down, Pool::take_a_batch]);
    }

    #[test]
    fn work_that_comes_as_one_lies_down_and_another_searches_is_not_slept_over() {
        one_sees_or_is_woken(&[Pool::lie_down, |pool, index| pool.search(index) || pool.lie_down(index)]);
    }
}
