//! The system actors live in: configuration, start, look-up.

mod ending;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::actor::Actor;
use crate::addr::Addr;
use crate::cell::{AnyAddr, Core, Task};
use crate::ctx::FactoryError;
use crate::dead::{DeadLetter, DeadLetters, DeadReason};
use crate::dedicated::Dedicated;
use crate::event::{Event, Events, What};
use crate::id::{ActorAddress, ActorId, NodeId};
use crate::mute::Mutes;
use crate::offload::{Job, Offload};
use crate::panics;
use crate::reactor::Reactor;
use crate::sched::Pool;
use crate::sim::{Sim, Simulation};
use crate::spawn;
pub use crate::spawn::{Spawn, SpawnError};
use crate::table::{Names, Table};
use crate::timers::{TimerKey, Timers};
pub use ending::Shutdown;

/// Settings of a system. From [`System::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    workers: Option<usize>,
    max_actors: usize,
    ask_spin: u32,
    seed: Option<u64>,
    events: usize,
    offload_threads: usize,
}

impl Builder {
    /// Names the system; its threads are called after it.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Builder { name: name.into(), ..self }
    }

    /// Worker threads, at least 1; as many as there are CPUs unless said.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Builder { workers: Some(workers.max(1)), ..self }
    }

    /// Live actors at a time, 16 million unless said.
    #[must_use]
    pub fn max_actors(self, max_actors: usize) -> Self {
        Builder { max_actors, ..self }
    }

    /// Rounds that a thread outside looks for its answer before it sleeps, 100 unless said. More is faster for answers
    /// within microseconds and takes the CPU from whoever would give them.
    #[must_use]
    pub fn ask_spin(self, rounds: u32) -> Self {
        Builder { ask_spin: rounds, ..self }
    }

    /// Keeps the latest `capacity` events ([`System::events`]); none unless said. They need the crate's feature
    /// `events`, which is on by default.
    #[must_use]
    pub fn events(self, capacity: usize) -> Self {
        Builder { events: capacity, ..self }
    }

    /// Threads at most for work that actors offload ([`Ctx::offload`](crate::Ctx::offload)), at least 1, 64 unless
    /// said. They are started when there is work for them and end after ten seconds without.
    #[must_use]
    pub fn offload_threads(self, threads: usize) -> Self {
        Builder { offload_threads: threads.max(1), ..self }
    }

    /// Simulates: no threads, a virtual clock, and an order of events drawn from `seed`. See [`Simulation`].
    #[must_use]
    pub fn simulated(self, seed: u64) -> Self {
        Builder { seed: Some(seed), ..self }
    }

    /// Starts the system.
    ///
    /// # Errors
    /// A thread or the reactor's descriptors could not be made.
    pub fn build(self) -> io::Result<System> {
        panics::install_hook();
        let timers = Arc::new(Timers::new());
        let started = Instant::now();
        let (scheduler, threads) = match self.seed {
            Some(seed) => (Scheduler::Simulated(Sim::new(seed)), Vec::new()),
            None => {
                let workers =
                    self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into));
                let reactor = Arc::new(Reactor::new()?);
                let (pool, mut threads) = Pool::start(&self.name, workers, reactor.clone())?;
                match reactor.start(&self.name, started, timers.clone(), pool.clone()) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        pool.stop();
                        return Err(error);
                    }
                }
                let offload = Offload::new(&self.name, self.offload_threads);
                (Scheduler::Threads { pool, reactor, offload }, threads)
            }
        };
        let scheduler = Arc::new(scheduler);
        let clock = scheduler.clone();
        let events = Arc::new(Events::new(self.events, move || clock.now(started)));
        if let Scheduler::Threads { reactor, .. } = &*scheduler {
            reactor.report_to(&events);
        }
        let inner = Arc::new(Inner {
            node: NodeId(node_number(&scheduler)),
            config: Config { name: self.name, max_actors: self.max_actors, ask_spin: self.ask_spin },
            table: Table::new(),
            names: Names::new(),
            timers,
            dead: DeadLetters::default(),
            mutes: Mutes::default(),
            dedicated: Dedicated::default(),
            parents: Mutex::default(),
            events,
            started,
            coarse_start: if self.seed.is_some() { Duration::ZERO } else { Stamp::precise().time() },
            scheduler,
            stopping: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        });
        inner.events.record(|| Event::of_system(What::SystemStarted));
        let owner = Owner { inner: inner.clone(), threads: Mutex::new(threads) };
        Ok(System { inner, _owner: Some(Arc::new(owner)) })
    }
}

fn node_number(scheduler: &Scheduler) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    match scheduler {
        Scheduler::Simulated(sim) => sim.random(),
        // The keys of the standard hash map are random per process and different per map.
        Scheduler::Threads { .. } => std::collections::hash_map::RandomState::new().build_hasher().finish(),
    }
}

/// Nanoseconds of the kernel's coarse clock, 1 to 4 ms of resolution, a few nanoseconds to read; [`Inner::time_of`] makes a
/// time of it, for whoever wants to know.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stamp(u64);

impl Stamp {
    #[inline]
    fn coarse() -> Stamp {
        Stamp::at(rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse))
    }

    /// What coarse stamps are counted from: by its own coarse beginning a system would be up to a tick older than it is.
    fn precise() -> Stamp {
        Stamp::at(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
    }

    /// These clocks count from the boot.
    #[inline]
    fn at(time: rustix::time::Timespec) -> Stamp {
        Stamp(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    fn of(time: Duration) -> Stamp {
        Stamp(time.as_nanos() as u64)
    }

    fn time(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// A system of actors. Clones are handles of the same system; when the last one that [`Builder::build`] made goes, the
/// actors are killed and the threads joined.
#[derive(Clone)]
pub struct System {
    inner: Arc<Inner>,
    _owner: Option<Arc<Owner>>,
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// What ends with the last handle of a user's.
struct Owner {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl System {
    /// Settings for a system.
    pub fn builder() -> Builder {
        Builder {
            name: "actors".into(),
            workers: None,
            max_actors: 16_000_000,
            ask_spin: 100,
            seed: None,
            events: 0,
            offload_threads: 64,
        }
    }

    pub(crate) fn of(inner: Arc<Inner>) -> System {
        System { inner, _owner: None }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Starts `actor`. It has no factory, so nothing restarts it.
    ///
    /// # Errors
    /// `Limit`: there are too many. `ShuttingDown`.
    pub fn spawn<A: Actor>(&self, actor: A) -> Result<Addr<A>, SpawnError> {
        self.inner.spawn(actor)
    }

    /// An actor whose instances `factory` makes: the first one, and one for each restart.
    pub fn actor<A: Actor>(&self, factory: impl FnMut() -> A + Send + 'static) -> Spawn<A> {
        Spawn::new(self.inner.clone(), spawn::factory(factory))
    }

    /// The same with a factory that can fail.
    pub fn try_actor<A: Actor, E: Into<FactoryError>>(
        &self,
        factory: impl FnMut() -> Result<A, E> + Send + 'static,
    ) -> Spawn<A> {
        Spawn::new(self.inner.clone(), spawn::fallible(factory))
    }

    /// The actor of this name, if it is an `A`.
    pub fn find<A: Actor>(&self, name: &str) -> Option<Addr<A>> {
        self.inner.names.find(name)?.downcast()
    }

    /// The actor at an address, if it lives, in this system, and is an `A`.
    pub fn resolve<A: Actor>(&self, address: &ActorAddress) -> Option<Addr<A>> {
        (address.node == self.inner.node).then(|| self.inner.table.find(address.id))??.downcast()
    }

    /// The live actor with this number.
    pub fn lookup(&self, id: ActorId) -> Option<AnyAddr> {
        self.inner.table.find(id)
    }

    /// Every name in use and whose it is, sorted.
    pub fn names(&self) -> Vec<(Arc<str>, ActorId)> {
        self.inner.names.all()
    }

    /// Live actors.
    pub fn live(&self) -> usize {
        self.inner.table.live()
    }

    /// Running timers.
    pub fn timers(&self) -> usize {
        self.inner.timers.len()
    }

    /// Time since the system started; virtual in a simulation.
    pub fn now(&self) -> Duration {
        self.inner.now()
    }

    /// Messages that no handler saw, by this reason.
    pub fn dead_letters(&self, reason: DeadReason) -> u64 {
        self.inner.dead.count(reason)
    }

    /// The latest 256 dead letters, oldest first.
    pub fn latest_dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.dead.latest()
    }

    /// The controls of a simulated system; `None`: it runs on threads.
    pub fn simulation(&self) -> Option<Simulation<'_>> {
        self.inner.simulation().map(|sim| Simulation { sim, system: &self.inner })
    }

    /// Waits until no actor lives; false: some still do after `patience`. From an actor it does not wait.
    pub fn wait_until_empty(&self, patience: Duration) -> bool {
        self.inner.wait_until_empty(patience)
    }

    /// Ends every actor in order: each handles its current message, runs `stopped` and ends with
    /// [`ExitReason::Shutdown`](crate::ExitReason::Shutdown); children are ended by their supervisors. What is left
    /// after `patience` is killed. No new actors are started. From an actor of this system it asks only, and does not
    /// wait.
    pub fn shutdown(&self, patience: Duration) -> Shutdown {
        self.inner.shutdown(patience)
    }
}

/// What every part of a system shares.
pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) names: Names,
    pub(crate) timers: Arc<Timers>,
    pub(crate) dead: DeadLetters,
    pub(crate) mutes: Mutes,
    pub(crate) dedicated: Dedicated,
    /// Children and their parents.
    pub(crate) parents: Mutex<BTreeMap<ActorId, ActorId>>,
    pub(crate) events: Arc<Events>,
    started: Instant,
    coarse_start: Duration,
    scheduler: Arc<Scheduler>,
    stopping: AtomicBool,
    /// Threads that wait for room in a mailbox.
    waiting: AtomicUsize,
    /// Guards nothing but the waits below.
    lock: Mutex<()>,
    changed: Condvar,
}

pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) max_actors: usize,
    pub(crate) ask_spin: u32,
}

enum Scheduler {
    Threads { pool: Arc<Pool>, reactor: Arc<Reactor>, offload: Arc<Offload> },
    Simulated(Sim),
}

impl Scheduler {
    fn now(&self, started: Instant) -> Duration {
        match self {
            Scheduler::Threads { .. } => started.elapsed(),
            Scheduler::Simulated(sim) => sim.now(),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.config.name)
            .field("live", &self.table.live())
            .finish_non_exhaustive()
    }
}

impl Inner {
    #[inline]
    pub(crate) fn schedule(&self, task: Task) {
        match &*self.scheduler {
            Scheduler::Threads { pool, .. } if task.core().is_dedicated() => {
                if let Some(task) = self.dedicated.schedule(task) {
                    pool.schedule(task);
                }
            }
            Scheduler::Threads { pool, .. } => pool.schedule(task),
            Scheduler::Simulated(sim) => sim.schedule(task),
        }
    }

    /// Whether this thread is one of its workers.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        matches!(&*self.scheduler, Scheduler::Threads { pool, .. } if pool.is_here())
    }

    pub(crate) fn offload(&self, job: Box<dyn Job>) {
        match &*self.scheduler {
            Scheduler::Threads { offload, .. } => offload.submit(job),
            Scheduler::Simulated(sim) => sim.offload(job),
        }
    }

    /// Threads for offloaded work, and work that waits for one.
    pub(crate) fn offload_load(&self) -> (usize, usize) {
        match &*self.scheduler {
            Scheduler::Threads { offload, .. } => offload.load(),
            Scheduler::Simulated(sim) => (0, sim.offloaded()),
        }
    }

    pub(crate) fn simulation(&self) -> Option<&Sim> {
        match &*self.scheduler {
            Scheduler::Threads { .. } => None,
            Scheduler::Simulated(sim) => Some(sim),
        }
    }

    /// `None` in a simulation.
    pub(crate) fn reactor(&self) -> Option<&Arc<Reactor>> {
        match &*self.scheduler {
            Scheduler::Threads { reactor, .. } => Some(reactor),
            Scheduler::Simulated(_) => None,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.scheduler.now(self.started)
    }

    /// Turns begun by each worker; none in a simulation.
    pub(crate) fn turns(&self) -> Vec<u64> {
        match &*self.scheduler {
            Scheduler::Threads { pool, .. } => pool.turns(),
            Scheduler::Simulated(_) => Vec::new(),
        }
    }

    /// The supervisor of an actor, that one's, and so on.
    pub(crate) fn supervisors_of(&self, actor: ActorId) -> Vec<ActorId> {
        let parents = self.parents.lock();
        std::iter::successors(parents.get(&actor), |above| parents.get(above)).copied().collect()
    }

    /// [`now`](Self::now) to 4 ms, for a few nanoseconds.
    #[inline]
    pub(crate) fn coarse_now(&self) -> Duration {
        self.time_of(self.stamp())
    }

    /// Now, as the coarse clock has it.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        match &*self.scheduler {
            Scheduler::Threads { .. } => Stamp::coarse(),
            Scheduler::Simulated(sim) => Stamp::of(sim.now()),
        }
    }

    /// The time of a stamp; zero for the default one.
    pub(crate) fn time_of(&self, stamp: Stamp) -> Duration {
        stamp.time().saturating_sub(self.coarse_start)
    }

    /// When `timeout` from now is over, never early. Above a second it may be 1 % late, because then it goes by the
    /// clock that costs a few nanoseconds.
    #[inline]
    pub(crate) fn deadline(&self, timeout: Duration) -> Duration {
        // The coarse clock lags by one tick of the kernel, at most 10 ms.
        const LAG: Duration = Duration::from_millis(10);
        match &*self.scheduler {
            Scheduler::Threads { .. } if timeout >= 100 * LAG => {
                self.coarse_now().saturating_add(timeout).saturating_add(LAG)
            }
            _ => self.now().saturating_add(timeout),
        }
    }

    pub(crate) fn start_timer(&self, due: Duration, actor: AnyAddr, token: u64) -> TimerKey {
        let (key, wake) = self.timers.start(due, actor, token);
        if let (true, Scheduler::Threads { reactor, .. }) = (wake, &*self.scheduler) {
            reactor.wake();
        }
        key
    }

    #[cold]
    pub(crate) fn dead_letter(&self, to: &Core, reason: DeadReason, sender: Option<ActorId>) {
        let message_type = to.message_type();
        self.dead.record(DeadLetter { to: to.id, sender, message_type, reason });
        self.events.record(|| Event::about(to.id, What::DeadLetter { message_type, reason }));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The actor is over: the system lets go of it.
    pub(crate) fn forget(&self, id: ActorId) {
        let actor = self.table.remove(id);
        if actor.as_ref().is_some_and(|actor| actor.core().status.is_child()) {
            self.parents.lock().remove(&id);
        }
        drop(actor);
        // SeqCst: with the store in `shutdown` and the count in `wait_until`, one of the two sees the other.
        if self.table.live() == 0 && self.waiting.load(Ordering::SeqCst) > 0 {
            self.notify();
        }
    }
}
