//! The one thread of a system that waits for the outside: timers, descriptors, and workers that make no progress.
//!
//! It ticks while workers are busy, to see the stuck ones, and sleeps without a deadline when nothing is due and
//! nobody works: an idle system wakes up for nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use polling::Poller;

use crate::event::Events;
use crate::fail;
use crate::process::Watches;
use crate::sched::Pool;
use crate::timers::Timers;
use crate::watchdog::Watchdog;

/// Time between looks at the workers while they work.
const TICK: Duration = Duration::from_millis(10);
/// Looks at sleeping workers before the looking stops.
const CALM: u32 = 10;

pub(crate) struct Reactor {
    poller: Poller,
    watches: Watches,
    dormant: AtomicBool,
    stopping: AtomicBool,
    /// Whom the watchdog tells. Weak: the events' clock is the scheduler that this belongs to.
    events: OnceLock<Weak<Events>>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        fail::io("reactor.poller")?;
        Ok(Reactor {
            poller: Poller::new()?,
            watches: Watches::default(),
            dormant: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            events: OnceLock::new(),
        })
    }

    /// Has the watchdog tell of stuck workers.
    pub(crate) fn report_to(&self, events: &Arc<Events>) {
        // Called once.
        let _ = self.events.set(Arc::downgrade(events));
    }

    /// Starts the thread, named `name-reactor`.
    pub(crate) fn start(
        self: &Arc<Self>,
        name: &str,
        started: Instant,
        timers: Arc<Timers>,
        pool: Arc<Pool>,
    ) -> io::Result<JoinHandle<()>> {
        fail::io("thread.reactor")?;
        let reactor = self.clone();
        thread::Builder::new()
            .name(format!("{name}-reactor"))
            .spawn(move || reactor.run(|| started.elapsed(), &timers, &pool))
    }

    /// A worker was woken: there is something to look at again.
    #[inline]
    pub(crate) fn stir(&self) {
        if self.dormant.load(Ordering::SeqCst) && self.dormant.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Has the reactor look at its timers now.
    pub(crate) fn wake(&self) {
        // It fails only for a poller that is broken altogether, and then `wait` says so.
        let _ = self.poller.notify();
    }

    /// Calls `call` once, on the reactor's thread, when `fd` is readable (with `false`) or when the reactor ends (with
    /// `true`).
    pub(crate) fn watch(&self, fd: Arc<OwnedFd>, call: Box<dyn FnOnce(bool) + Send>) -> io::Result<usize> {
        self.watches.watch(&self.poller, fd, call)
    }

    pub(crate) fn unwatch(&self, key: usize) {
        self.watches.unwatch(&self.poller, key);
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn run(&self, now: impl Fn() -> Duration, timers: &Timers, pool: &Pool) {
        let (mut events, mut turns, mut calm) = (polling::Events::new(), Vec::new(), 0);
        let mut watchdog = Watchdog::default();
        while !self.stopping.load(Ordering::SeqCst) {
            let next = timers.fire(now()).map(|next| next.saturating_sub(now()));
            pool.watch(&mut turns);
            if let Some(events) = self.events.get().and_then(Weak::upgrade) {
                watchdog.look(now(), pool, &events);
            }
            calm = if pool.is_asleep() { calm + 1 } else { 0 };
            let timeout = if calm < CALM {
                Some(next.map_or(TICK, |next| next.min(TICK)))
            } else {
                self.dormant.store(true, Ordering::SeqCst);
                // Who woke a worker before seeing us dormant did not stir us; see it now.
                if !pool.is_asleep() {
                    self.dormant.store(false, Ordering::SeqCst);
                    calm = 0;
                    continue;
                }
                next
            };
            events.clear();
            let waited = fail::io("reactor.wait").and_then(|()| self.poller.wait(&mut events, timeout));
            if let Err(error) = waited {
                // An interrupted wait is retried by `polling`; what remains is a broken descriptor.
                debug_assert_eq!(error.kind(), io::ErrorKind::Interrupted);
            }
            for event in events.iter() {
                self.watches.fire(&self.poller, event.key);
            }
        }
        self.watches.end(&self.poller);
    }
}
