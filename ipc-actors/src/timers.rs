//! The timers of a system: one wheel behind a lock, and who is to be told when something is due.

use std::time::Duration;

use crate::cell::AnyAddr;
use crate::command::Command;
use crate::sync::Mutex;
use crate::wheel::{Key, Wheel};

/// The token of the timer after which a muted actor goes on. The actor itself is not told: it may not run.
pub(crate) const UNMUTE: u64 = u64::MAX - 1;

/// One running timer.
pub(crate) type TimerKey = Key;

/// Whom a timer tells, and by which token it knows what for.
pub(crate) struct Due {
    actor: AnyAddr,
    token: u64,
}

pub(crate) struct Timers<T = Due> {
    state: Mutex<State<T>>,
}

struct State<T> {
    wheel: Wheel<T>,
    /// Until when whoever drives the wheel sleeps; `MAX`: until it is woken.
    sleeps_until: Duration,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Timers { state: Mutex::new(State { wheel: Wheel::new(), sleeps_until: Duration::ZERO }) }
    }

    /// Starts a timer. True: the driver sleeps past it and must be woken.
    pub(crate) fn insert(&self, due: Duration, value: T) -> (TimerKey, bool) {
        let mut state = self.state.lock();
        let key = state.wheel.insert(due, value);
        let wake = due < state.sleeps_until;
        if wake {
            // The next early timer need not wake it again.
            state.sleeps_until = due;
        }
        (key, wake)
    }

    pub(crate) fn cancel(&self, key: TimerKey) {
        let cancelled = self.state.lock().wheel.cancel(key);
        // Dropped outside the lock: it may be the last reference to an actor.
        drop(cancelled);
    }

    /// Takes out what is due at `now`, and answers until when the driver may sleep (`None`: until woken).
    pub(crate) fn take_due(&self, now: Duration) -> (Vec<T>, Option<Duration>) {
        let mut due = Vec::new();
        let mut state = self.state.lock();
        state.wheel.advance(now, |value| due.push(value));
        let next = state.wheel.next();
        state.sleeps_until = next.unwrap_or(Duration::MAX);
        (due, next)
    }

    /// When something is due next, or earlier.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.state.lock().wheel.next()
    }

    /// Running timers.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().wheel.len()
    }
}

impl Timers {
    /// Starts a timer of an actor. True: as for [`insert`](Self::insert).
    pub(crate) fn start(&self, due: Duration, actor: AnyAddr, token: u64) -> (TimerKey, bool) {
        self.insert(due, Due { actor, token })
    }

    /// Tells everybody whose timer is due at `now`, and answers until when the driver may sleep (`None`: until woken).
    pub(crate) fn fire(&self, now: Duration) -> Option<Duration> {
        let (due, next) = self.take_due(now);
        for Due { actor, token } in due {
            if token == UNMUTE {
                actor.core().system.unmute(actor.id(), true);
                continue;
            }
            // An actor that is gone does not miss its timer.
            let _ = actor.command(Command::Timer(token));
        }
        next
    }
}
