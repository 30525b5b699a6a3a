//! How a system ends, and threads that wait for actors: until there are none, or until a mailbox has room.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Inner, Owner, Scheduler};
use crate::cell::Core;
use crate::event::{Event, What};
use crate::status::control;

/// How long killed actors have to get out of their handlers before [`System::shutdown`] leaves them behind.
const GRACE: Duration = Duration::from_secs(1);

/// What is told about a shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shutdown {
    /// Actors that were there when it began.
    pub actors: usize,
    /// Those of them, and of their last children, that were killed because they had not ended in time.
    pub killed: usize,
    /// Those that are still in a handler. Their threads go on until the process ends.
    pub stuck: usize,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.inner.shutdown(Duration::ZERO);
        if let Scheduler::Simulated(sim) = &*self.inner.scheduler {
            sim.stop();
        }
        if let Scheduler::Threads { pool, reactor, offload } = &*self.inner.scheduler {
            offload.stop();
            pool.stop();
            reactor.stop();
            let me = thread::current().id();
            // A thread in a handler that does not return would keep us forever, and one cannot join itself.
            if self.inner.table.live() == 0 {
                for thread in self.threads.lock().drain(..).filter(|thread| thread.thread().id() != me) {
                    let _ = thread.join();
                }
                self.inner.dedicated.join();
            }
        }
    }
}

impl Inner {
    pub(super) fn notify(&self) {
        // Taken and given back, so that a waiter is either before its look or in its wait.
        drop(self.lock.lock());
        self.changed.notify_all();
    }

    /// Waits until `done`, which somebody who calls `notify` makes true.
    fn wait_until(&self, patience: Duration, mut done: impl FnMut() -> bool) -> bool {
        if let Some(sim) = self.simulation() {
            return sim.run_until(self, Some(patience), done);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let deadline = Instant::now().checked_add(patience);
        let mut guard = self.lock.lock();
        let finished = loop {
            if done() {
                break true;
            }
            match deadline {
                None => self.changed.wait(&mut guard),
                Some(deadline) if Instant::now() >= deadline => break false,
                Some(deadline) => drop(self.changed.wait_until(&mut guard, deadline)),
            }
        };
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        finished
    }

    pub(crate) fn wait_until_empty(&self, patience: Duration) -> bool {
        let empty = || self.table.live() == 0;
        empty() || !crate::local::must_not_block() && self.wait_until(patience, empty)
    }

    /// Waits until a full mailbox takes one more; false: it did not in time, or nobody may wait here.
    pub(crate) fn wait_for_room(
        &self,
        core: &Core,
        patience: Duration,
        mut reserve: impl FnMut() -> bool,
    ) -> bool {
        if crate::local::must_not_block() {
            return false;
        }
        let mut taken = false;
        self.wait_until(patience, || {
            taken = reserve();
            taken || core.inbox.is_closed()
        });
        taken || core.inbox.is_closed()
    }

    /// A bounded mailbox has room again, or is gone.
    pub(crate) fn room_made(&self, core: &Core) {
        if core.limits.is_bounded() && self.waiting.load(Ordering::SeqCst) > 0 {
            self.notify();
        }
    }

    pub(crate) fn shutdown(&self, patience: Duration) -> Shutdown {
        let first = !self.stopping.swap(true, Ordering::SeqCst);
        let actors = self.table.all();
        if first || !actors.is_empty() {
            for actor in actors.iter().filter(|actor| !actor.core().status.is_child()) {
                actor.shutdown();
            }
        }
        let mut report = Shutdown { actors: actors.len(), ..Shutdown::default() };
        drop(actors);
        if first {
            self.events.record(|| Event::of_system(What::ShutdownBegan { actors: report.actors }));
        }
        let ended = |report: &Shutdown| {
            let Shutdown { killed, stuck, .. } = *report;
            self.events.record(|| Event::of_system(What::ShutdownEnded { killed, stuck }));
        };
        if self.wait_until_empty(patience) || crate::local::must_not_block() {
            ended(&report);
            return report;
        }
        let left = self.table.all();
        report.killed = left.len();
        for actor in &left {
            actor.demand(control::KILL);
        }
        drop(left);
        self.wait_until_empty(GRACE);
        report.stuck = self.table.live();
        ended(&report);
        report
    }
}
