//! The scheduler on threads: workers that run actors, steal from each other, and sleep when there is nothing to do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use crossbeam_deque::{Injector, Steal, Stealer};

use crate::cell::{Task, TaskSlot};
use crate::fail;
use crate::idle::Idle;
use crate::local;
use crate::random::Random;
use crate::reactor::Reactor;
use crate::turn::Turn;

/// Turns in a row that may come from the slot before the queue has one.
const STREAK: u32 = 3;
/// Every so many turns the injector goes first, so that what comes from outside is not starved by a worker's own queue.
const FAIRNESS: u32 = 61;
/// Rounds over all victims before a worker sleeps.
const ROUNDS: usize = 32;
/// Those of them that are made without giving the CPU to others in between. A sender that is a little slower than the
/// workers would otherwise pay for waking one with each message.
const HASTY: usize = 4;

/// What all workers of a system share.
pub(crate) struct Pool {
    injector: Injector<Task>,
    peers: Box<[Peer]>,
    idle: Idle,
    /// Its watchdog is told when sleepers are woken.
    reactor: Arc<Reactor>,
    /// The watchdog has seen a stuck worker with something in its slot.
    rescue: AtomicBool,
    stopping: AtomicBool,
}

/// One worker, as others see it.
pub(crate) struct Peer {
    stealer: Stealer<Task>,
    /// What the worker runs next: the last thing it scheduled, still warm. Thieves take it only when the watchdog says
    /// that the worker is stuck, or two actors that talk to each other would be torn apart with every message.
    next: TaskSlot,
    /// Turns begun; the watchdog sees by it that a turn takes long.
    turns: AtomicU64,
    thread: OnceLock<Thread>,
}

/// One worker, on its own thread.
pub(crate) struct Worker {
    pool: Arc<Pool>,
    index: usize,
    queue: crossbeam_deque::Worker<Task>,
    streak: Cell<u32>,
    turn: Cell<u32>,
    random: RefCell<Random>,
}

impl Pool {
    /// Starts `workers` threads named `name-0` and so on.
    ///
    /// # Errors
    /// A thread could not be started; those before it are stopped.
    pub(crate) fn start(
        name: &str,
        workers: usize,
        reactor: Arc<Reactor>,
    ) -> std::io::Result<(Arc<Pool>, Vec<JoinHandle<()>>)> {
        let queues: Vec<_> = (0..workers).map(|_| crossbeam_deque::Worker::new_fifo()).collect();
        let peer = |queue: &crossbeam_deque::Worker<Task>| Peer {
            stealer: queue.stealer(),
            next: TaskSlot::new(),
            turns: AtomicU64::new(0),
            thread: OnceLock::new(),
        };
        let pool = Arc::new(Pool {
            injector: Injector::new(),
            peers: queues.iter().map(peer).collect(),
            idle: Idle::new(),
            reactor,
            rescue: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let mut threads = Vec::new();
        for (index, queue) in queues.into_iter().enumerate() {
            let shared = pool.clone();
            let worker = move || {
                let _ = shared.peers[index].thread.set(thread::current());
                let worker = Rc::new(Worker {
                    pool: shared,
                    index,
                    queue,
                    streak: Cell::new(0),
                    turn: Cell::new(0),
                    random: RefCell::new(Random::new(index as u64)),
                });
                local::become_worker(worker.clone());
                worker.work();
            };
            let thread = fail::io("thread.worker")
                .and_then(|()| thread::Builder::new().name(format!("{name}-{index}")).spawn(worker));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    pool.stop();
                    return Err(error);
                }
            }
        }
        Ok((pool, threads))
    }

    /// Has some worker run `task` soon.
    #[inline]
    pub(crate) fn schedule(self: &Arc<Self>, task: Task) {
        let foreign = local::with_worker(|worker| match worker {
            Some(worker) if Arc::ptr_eq(&worker.pool, self) => {
                worker.schedule(task);
                None
            }
            _ => Some(task),
        });
        if let Some(task) = foreign {
            self.schedule_from_outside(task);
        }
    }

    /// Whether this thread is one of its workers.
    #[inline]
    pub(crate) fn is_here(self: &Arc<Self>) -> bool {
        local::with_worker(|worker| worker.is_some_and(|worker| Arc::ptr_eq(&worker.pool, self)))
    }

    fn schedule_from_outside(&self, task: Task) {
        // From the push on the actor may run to its end. The caller has an address of it or its system, and this pool with it.
        self.injector.push(task);
        self.wake_one();
    }

    fn wake_one(&self) {
        if let Some(index) = self.idle.choose() {
            self.reactor.stir();
            self.unpark(index);
        }
    }

    fn unpark(&self, index: usize) {
        // A worker that has not said yet which thread it is has not looked at the queues yet either.
        if let Some(thread) = self.peers[index].thread.get() {
            thread.unpark();
        }
    }

    /// Ends the workers once they have run what is queued.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for index in 0..self.peers.len() {
            self.unpark(index);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.peers.iter().any(|peer| !peer.stealer.is_empty())
    }

    /// Wakes somebody for work that nobody has begun.
    fn nudge(&self) {
        if self.has_work() {
            self.wake_one();
        }
    }

    /// Looks after workers whose turn is the one it was in `turns`, what the last look saw: what waits in their slots
    /// is given to others.
    pub(crate) fn watch(&self, turns: &mut Vec<u64>) {
        turns.resize(self.peers.len(), 0);
        for (peer, before) in self.peers.iter().zip(turns) {
            // Relaxed: a sample.
            let now = peer.turns.load(Ordering::Relaxed);
            if std::mem::replace(before, now) == now && !peer.next.is_empty() {
                self.rescue.store(true, Ordering::SeqCst);
                self.wake_one();
            }
        }
        self.nudge();
    }

    /// Turns begun by each worker.
    pub(crate) fn turns(&self) -> Vec<u64> {
        // Relaxed: a sample.
        self.peers.iter().map(|peer| peer.turns.load(Ordering::Relaxed)).collect()
    }

    /// Whether this worker sleeps.
    pub(crate) fn is_worker_asleep(&self, worker: usize) -> bool {
        self.idle.is_lying(worker)
    }

    /// Whether every worker sleeps.
    pub(crate) fn is_asleep(&self) -> bool {
        self.idle.sleeping() == self.peers.len()
    }
}

impl Worker {
    fn peer(&self) -> &Peer {
        &self.pool.peers[self.index]
    }

    #[inline]
    fn schedule(&self, task: Task) {
        if let Some(displaced) = self.peer().next.put(task) {
            self.offer(displaced);
        }
    }

    /// Puts a task where others find it, and has one of them look.
    fn offer(&self, task: Task) {
        self.queue.push(task);
        self.pool.wake_one();
    }

    fn work(&self) {
        loop {
            while let Some(task) = self.next() {
                self.run(task);
            }
            match self.find() {
                Some(task) => self.run(task),
                None => return self.pool.idle.leave(self.index),
            }
        }
    }

    /// Searches and sleeps until there is something to run, or nothing is left and the pool stops. Until then it counts
    /// as searching or asleep, and runs nothing.
    fn find(&self) -> Option<Task> {
        loop {
            // Before the look: what was pushed before the stop is run.
            let is_stopping = self.pool.is_stopping();
            let found = self.search();
            if found.is_some() || is_stopping {
                return found;
            }
            self.sleep();
        }
    }

    fn run(&self, mut task: Task) {
        let Peer { turns, next, .. } = self.peer();
        loop {
            // Relaxed: written by this thread only, sampled by the watchdog.
            turns.store(turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            let mut length = Turn::new();
            let Some(again) = task.run(&mut length) else { break };
            if !self.queue.is_empty() || !next.is_empty() {
                self.queue.push(again);
                break;
            }
            // With each turn: a worker that has one busy actor and nothing else would let what comes from outside wait.
            if !self.pool.injector.is_empty()
                && let Some(outside) = self.inject()
            {
                self.queue.push(again);
                task = outside;
                continue;
            }
            // It is alone here and goes on: in the queue a thief would take it, and fill the caches of another CPU for
            // nothing.
            task = again;
        }
        if cfg!(feature = "__fail-points") && !self.peer().next.is_empty() {
            fail::stay("worker.stuck");
        }
    }

    /// The next task of this worker's own, or now and then one from outside.
    #[inline]
    fn next(&self) -> Option<Task> {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        if turn.is_multiple_of(FAIRNESS)
            && let Some(task) = self.inject()
        {
            return Some(task);
        }
        if self.streak.get() < STREAK
            && let Some(task) = self.peer().next.take()
        {
            self.streak.set(self.streak.get() + 1);
            return Some(task);
        }
        self.streak.set(0);
        // What the slot holds has had its streak: it goes behind the queue.
        if let Some(task) = self.peer().next.take() {
            self.queue.push(task);
        }
        self.queue.pop()
    }

    fn inject(&self) -> Option<Task> {
        loop {
            match self.pool.injector.steal_batch_and_pop(&self.queue) {
                Steal::Success(task) => return Some(task),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    /// Looks everywhere, as one of the searching workers.
    fn search(&self) -> Option<Task> {
        self.pool.idle.start_searching(self.index);
        let task = (0..ROUNDS).find_map(|round| {
            // Who is relieved does not give way any more, and is through soon.
            if round >= HASTY && !self.pool.idle.nobody_searches() {
                thread::yield_now();
            }
            self.inject().or_else(|| self.steal(false))
        });
        let task = task
            .or_else(|| self.pool.rescue.swap(false, Ordering::SeqCst).then(|| self.steal(true)).flatten());
        let nobody_searches = self.pool.idle.stop_searching(self.index, task.is_some());
        if task.is_some() {
            // All may have counted as asleep, and the watchdog with them.
            self.pool.reactor.stir();
            if nobody_searches {
                // While it searched, nobody else was woken for what came in.
                self.pool.nudge();
            }
        }
        task
    }

    fn steal(&self, also_next: bool) -> Option<Task> {
        let peers = &self.pool.peers;
        let start = self.random.borrow_mut().below(peers.len());
        for victim in (0..peers.len()).map(|at| (start + at) % peers.len()).filter(|at| *at != self.index) {
            loop {
                match peers[victim].stealer.steal_batch_and_pop(&self.queue) {
                    Steal::Success(task) => return Some(task),
                    Steal::Empty => break,
                    Steal::Retry => {}
                }
            }
            if also_next && let Some(task) = peers[victim].next.take() {
                return Some(task);
            }
        }
        None
    }

    fn sleep(&self) {
        self.pool.idle.lie_down(self.index);
        // Whoever pushed before seeing us lie down woke nobody; see it now.
        if self.pool.has_work() {
            return;
        }
        while self.pool.idle.is_lying(self.index) && !self.pool.is_stopping() {
            thread::park();
        }
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use crate::turn::MESSAGES;
    use crate::{Actor, Addr, Ctx, Ignore, Message, System};
    use std::sync::mpsc::{Receiver, Sender, channel};

    struct Next;

    impl Message for Next {
        const MESSAGE_TYPE: &'static str = "test.next/1";
    }

    /// Never without a message until it has had its visits. Before each it stands still until the visitor is on its way.
    struct Busy {
        count: u64,
        visits: u32,
        /// When it stands still next.
        stop: u64,
        stands: Sender<()>,
        go_on: Receiver<()>,
        came: Receiver<()>,
        /// How many messages of this one the visitor waited for.
        waited: Sender<u64>,
    }

    impl Actor for Busy {
        type Msg = Next;
        type Error = Ignore;

        fn handle(&mut self, _: Next, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
            self.count += 1;
            if self.count == self.stop {
                self.stands.send(()).unwrap();
                self.go_on.recv().unwrap();
            }
            if self.came.try_recv().is_ok() {
                self.waited.send(self.count - self.stop).unwrap();
                self.stop = self.count + 5 * u64::from(MESSAGES);
                self.visits -= 1;
            }
            if self.visits > 0 {
                ctx.addr().tell(Next).unwrap();
            }
            Ok(())
        }
    }

    struct Guest(Sender<()>);

    impl Actor for Guest {
        type Msg = Next;
        type Error = Ignore;

        fn handle(&mut self, _: Next, _: &mut Ctx<Self>) -> Result<(), Ignore> {
            self.0.send(()).unwrap();
            Ok(())
        }
    }

    #[test]
    fn what_comes_from_outside_waits_for_one_turn_of_the_only_busy_actor() {
        let system = System::builder().workers(1).build().unwrap();
        let ((stands, stood), (go_on, goes_on)) = (channel(), channel());
        let ((here, came), (waited, waits)) = (channel(), channel());
        let guest: Addr<Guest> = system.spawn(Guest(here)).unwrap();
        // Three visits, a few turns apart: a worker that looks outside once in 61 turns sees one of them at once at most.
        let busy = Busy { count: 0, visits: 3, stop: 640, stands, go_on: goes_on, came, waited };
        system.spawn(busy).unwrap().tell(Next).unwrap();
        for _ in 0..3 {
            stood.recv().unwrap();
            guest.tell(Next).unwrap();
            go_on.send(()).unwrap();
            let waited = waits.recv().unwrap();
            assert!(waited <= u64::from(MESSAGES), "the visitor waited for {waited} messages of the other");
        }
    }
}
