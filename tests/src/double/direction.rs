//! One direction of a connection: what it holds, and how both halves wait for the other.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_transports::{Armed, Wait};
use rustix::event::EventfdFlags;

use super::{Flaw, is};

/// What one direction holds. The sender's and the receiver's half both have it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) messages: VecDeque<Vec<u8>>,
    pub(super) sent: u64,
    pub(super) held: Option<Vec<u8>>,
    pub(super) loans_leaked: usize,
    pub(super) sender_gone: bool,
    pub(super) receiver_gone: bool,
    pub(super) sender_armed: bool,
    pub(super) receiver_armed: bool,
}

#[derive(Debug)]
pub(super) struct Direction {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) readable: OwnedFd,
    pub(super) writable: OwnedFd,
}

impl Direction {
    pub(super) fn new() -> Arc<Direction> {
        let bell =
            || rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
        Arc::new(Direction {
            state: Mutex::default(),
            changed: Condvar::new(),
            readable: bell(),
            writable: bell(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the meeting that shows a flaw.
    pub(super) fn until<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        met: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, |state| !met(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// Waits on `direction` until `done` says so or `wait` is over; with `early` it does not wait for a deadline at all.
pub(super) fn wait_until<'a>(
    direction: &'a Direction,
    wait: Wait,
    early: bool,
    done: impl Fn(&State) -> bool,
) -> (MutexGuard<'a, State>, bool) {
    let mut state = direction.lock();
    let left = match wait {
        Wait::Until(_) if early => Some(Duration::ZERO),
        _ => wait.remaining(),
    };
    let end = left.map(|left| Instant::now() + left);
    while !done(&state) {
        let left = end.map_or(Duration::from_secs(3600), |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return (state, false);
        }
        state = direction.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    (state, true)
}

/// Arms: `note` marks this half as armed and says whether it is ready.
pub(super) fn armed<const F: u8>(
    bell: &OwnedFd,
    way: &Direction,
    note: impl Fn(&mut State) -> bool,
) -> io::Result<Armed> {
    if is::<F>(Flaw::AlwaysRings) {
        ring(bell);
        return Ok(Armed::MaySleep);
    }
    let _ = rustix::io::read(bell, &mut [0; 8]);
    let ready = note(&mut way.lock());
    way.changed.notify_all();
    Ok(if ready && !is::<F>(Flaw::ArmNeverLooks) { Armed::Ready } else { Armed::MaySleep })
}
