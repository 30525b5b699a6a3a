//! Actors with a thread of their own, for handlers that block: a slow call costs that actor's messages their time and
//! nobody else's, because no worker runs it.
//!
//! Everything else is as for other actors: the same mailbox, the same turns, the same supervision. Where a task would
//! go to a worker's queue it goes to the one slot of the actor's thread, which sleeps while there is none.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::{Mutex, RwLock};

use crate::cell::{Task, TaskSlot};
use crate::fail;
use crate::id::ActorId;
use crate::turn::Turn;

/// The threads of all dedicated actors of a system.
#[derive(Default)]
pub(crate) struct Dedicated {
    seats: RwLock<BTreeMap<ActorId, Seat>>,
    /// Threads whose actor is over, to be joined.
    leaving: Mutex<Vec<JoinHandle<()>>>,
}

/// One thread, until [`Seat::end`].
pub(crate) struct Seat {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    next: TaskSlot,
    ended: AtomicBool,
}

impl Seat {
    /// Starts a thread that has no actor yet.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn start(system: &str) -> io::Result<Seat> {
        fail::io("thread.dedicated")?;
        let shared = Arc::new(Shared { next: TaskSlot::new(), ended: AtomicBool::new(false) });
        let theirs = shared.clone();
        let thread =
            thread::Builder::new().name(format!("{system}-dedicated")).spawn(move || theirs.work())?;
        Ok(Seat { shared, thread })
    }

    fn schedule(&self, task: Task) {
        // An actor has one task at most, so the slot was empty.
        self.shared.next.put(task);
        self.thread.thread().unpark();
    }

    fn end(self) -> JoinHandle<()> {
        // SeqCst: the thread looks at it once the slot is empty; unpark orders the two anyway.
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        self.thread
    }
}

impl Shared {
    fn work(&self) {
        loop {
            match self.next.take() {
                Some(task) => run(task),
                None if self.ended.load(Ordering::SeqCst) => return,
                None => thread::park(),
            }
        }
    }
}

/// Runs an actor until it rests: nobody else waits for this thread.
fn run(task: Task) {
    let mut next = Some(task);
    while let Some(task) = next {
        let mut turn = Turn::new();
        next = task.run(&mut turn);
        if !turn.is_used_up() && next.is_some() {
            // A sender was interrupted between two instructions: let it go on.
            thread::yield_now();
        }
    }
}

impl Dedicated {
    /// Gives the thread to an actor.
    pub(crate) fn adopt(&self, actor: ActorId, seat: Seat) {
        self.seats.write().insert(actor, seat);
    }

    /// Has the actor's own thread run it. An actor without one gets its task back.
    pub(crate) fn schedule(&self, task: Task) -> Option<Task> {
        match self.seats.read().get(&task.core().id) {
            Some(seat) => {
                seat.schedule(task);
                None
            }
            None => Some(task),
        }
    }

    /// The actor is over: its thread ends.
    pub(crate) fn dismiss(&self, actor: ActorId) {
        if let Some(seat) = self.seats.write().remove(&actor) {
            self.retire(seat);
        }
    }

    /// Ends a thread whose actor is over or was never started.
    pub(crate) fn retire(&self, seat: Seat) {
        let mut leaving = self.leaving.lock();
        // What has ended already is dropped, or a system that makes many of them would remember them all.
        leaving.retain(|thread| !thread.is_finished());
        leaving.push(seat.end());
    }

    /// Waits for the threads whose actors are over, except for the one that calls.
    pub(crate) fn join(&self) {
        let leaving = std::mem::take(&mut *self.leaving.lock());
        let me = thread::current().id();
        for thread in leaving.into_iter().filter(|thread| thread.thread().id() != me) {
            // Its actors' panics were caught.
            let _ = thread.join();
        }
    }
}
