//! Blocking work of actors, away from the workers: a pool of threads that grows with the work up to a bound and shrinks
//! when there is none. What the work returns comes back as an ordinary message.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::actor::Actor;
use crate::addr::Addr;
use crate::ctx::Ctx;
use crate::exit::{ExitReason, Panic, Phase};
use crate::fail;
use crate::local;
use crate::panics;

/// How long a thread without work waits for more before it ends.
const KEEP: Duration = Duration::from_secs(10);

/// Why offloaded work returned nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OffloadError {
    /// The work panicked.
    Panicked(Arc<Panic>),
    /// There is no thread for it, and none could be started: this is what the kernel said. The work was not begun.
    NoThread(Arc<str>),
    /// The system has ended. The work was not begun.
    ShutDown,
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OffloadError::Panicked(panic) => panic.fmt(f),
            OffloadError::NoThread(why) => write!(f, "no thread could be started for it: {why}"),
            OffloadError::ShutDown => f.write_str("the system has ended"),
        }
    }
}

impl std::error::Error for OffloadError {}

/// One piece of work, whatever its types are.
pub(crate) trait Job: Send {
    /// Does it and tells the actor.
    fn run(self: Box<Self>);

    /// Tells the actor why it is not done.
    fn refuse(self: Box<Self>, why: OffloadError);
}

/// Work, and to whom its result goes.
struct Work<A: Actor, W, T> {
    work: W,
    actor: Addr<A>,
    correlation: u64,
    map: fn(Result<T, OffloadError>) -> A::Msg,
}

impl<A: Actor, W, T> Work<A, W, T> {
    fn tell(actor: Addr<A>, correlation: u64, map: impl Fn() -> A::Msg) -> Result<(), ExitReason> {
        panics::guard(Phase::Offload, map).map(|message| actor.push_reply(message, correlation))
    }
}

impl<A: Actor, W: FnOnce() -> T + Send, T> Job for Work<A, W, T> {
    fn run(self: Box<Self>) {
        let Work { work, actor, correlation, map } = *self;
        local::as_guest(|| {
            let done = panics::guard(Phase::Offload, || map(Ok(work())));
            let panic = match done {
                Ok(message) => return actor.push_reply(message, correlation),
                Err(ExitReason::Panic(panic)) => panic,
                Err(_) => unreachable!("a guard catches panics"),
            };
            // `map` itself may be what panics; then the actor cannot be told.
            let _ = Self::tell(actor, correlation, || map(Err(OffloadError::Panicked(panic.clone()))));
        });
    }

    fn refuse(self: Box<Self>, why: OffloadError) {
        let Work { work, actor, correlation, map } = *self;
        let _ = Self::tell(actor, correlation, || map(Err(why.clone())));
        let _ = panics::guard(Phase::Drop, || drop(work));
    }
}

/// The threads for offloaded work of one system.
pub(crate) struct Offload {
    name: String,
    max: usize,
    state: Mutex<State>,
    /// There is work, or the end has come, or a thread has gone.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Box<dyn Job>>,
    threads: usize,
    /// Those of them that wait for work.
    idle: usize,
    stopping: bool,
}

impl Offload {
    pub(crate) fn new(system: &str, max: usize) -> Arc<Self> {
        let name = format!("{system}-offload");
        Arc::new(Offload { name, max, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Has some thread do `job`, in the order of the calls.
    pub(crate) fn submit(self: &Arc<Self>, job: Box<dyn Job>) {
        let mut state = self.state.lock();
        if state.stopping {
            drop(state);
            return job.refuse(OffloadError::ShutDown);
        }
        state.queue.push_back(job);
        if state.idle >= state.queue.len() {
            self.changed.notify_one();
        } else if state.threads < self.max {
            state.threads += 1;
            drop(state);
            if let Err(error) = self.start() {
                self.without_thread(&error);
            }
        }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        fail::io("thread.offload")?;
        let pool = self.clone();
        thread::Builder::new().name(self.name.clone()).spawn(move || pool.work()).map(drop)
    }

    /// A thread could not be started. Others will do the work; if there are none, nobody will.
    fn without_thread(&self, error: &io::Error) {
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let left = std::mem::take(&mut state.queue);
        drop(state);
        let why: Arc<str> = error.to_string().into();
        for job in left {
            job.refuse(OffloadError::NoThread(why.clone()));
        }
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                // What panics outside of the work: the priority of the message, the drop of one that nobody takes.
                let _ = MutexGuard::unlocked(&mut state, || panics::guard(Phase::Offload, || job.run()));
                continue;
            }
            if state.stopping {
                break;
            }
            state.idle += 1;
            let late = self.changed.wait_for(&mut state, KEEP).timed_out();
            state.idle -= 1;
            if late && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.changed.notify_all();
    }

    /// Drops what was not begun, and ends the threads that wait. Work that is being done goes on: nobody waits for it.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        let left = std::mem::take(&mut state.queue);
        self.changed.notify_all();
        while state.idle > 0 {
            self.changed.wait(&mut state);
        }
        drop(state);
        discard(left);
    }

    /// Threads, and work that waits for one.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.threads, state.queue.len())
    }
}

/// Drops work that is not done any more.
pub(crate) fn discard(jobs: impl IntoIterator<Item = Box<dyn Job>>) {
    for job in jobs {
        let _ = panics::guard(Phase::Drop, || drop(job));
    }
}

impl<A: Actor> Ctx<A> {
    /// Does blocking work on a thread that is no worker; what it returns, or why it returned nothing, becomes a message
    /// for this actor by `map`, usually a variant of its enum. Never waits. Exactly one message comes back, unless this
    /// incarnation ends first: then the work is done all the same and its result is dropped as a late reply. (Only if
    /// `map` itself panics does none.)
    ///
    /// Up to [`Builder::offload_threads`](crate::Builder::offload_threads) pieces of work run at a time; more wait in
    /// the order they came. The work may ask actors and wait for them, unlike a handler. In a simulation it runs on
    /// the simulating thread, at a moment drawn from the seed.
    ///
    /// For work that does not end, or that belongs to one actor all the time, give the actor a thread of its own:
    /// [`Spawn::dedicated`](crate::Spawn::dedicated).
    ///
    /// ```
    /// use ipc_actors::{Actor, Ctx, Message, OffloadError, Reply, System};
    /// use std::{convert::Infallible, time::Duration};
    ///
    /// enum File {
    ///     Length(String, Reply<Option<usize>>),
    ///     Loaded(Result<std::io::Result<String>, OffloadError>),
    /// }
    /// impl Message for File {
    ///     const MESSAGE_TYPE: &'static str = "example.file/1";
    /// }
    ///
    /// #[derive(Default)]
    /// struct Files(Vec<Reply<Option<usize>>>);
    /// impl Actor for Files {
    ///     type Msg = File;
    ///     type Error = Infallible;
    ///     fn handle(&mut self, message: File, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
    ///         match message {
    ///             File::Length(path, reply) => {
    ///                 self.0.push(reply);
    ///                 ctx.offload(move || std::fs::read_to_string(path), File::Loaded);
    ///             }
    ///             File::Loaded(result) => {
    ///                 let length = result.ok().and_then(Result::ok).map(|text| text.len());
    ///                 self.0.drain(..).for_each(|reply| reply.send(length));
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let system = System::builder().workers(1).build()?;
    /// let files = system.spawn(Files::default())?;
    /// let length = files.ask(|reply| File::Length("Cargo.toml".into(), reply), Duration::from_secs(10))?;
    /// assert!(length > Some(0));
    /// # system.shutdown(Duration::from_secs(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn offload<T: 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        map: fn(Result<T, OffloadError>) -> A::Msg,
    ) {
        let correlation = self.cold().asks.expect();
        let actor = self.me.addr_for_reply(&mut self.returned);
        let job = Work { work, actor, correlation, map };
        self.me.system.offload(Box::new(job));
    }
}
