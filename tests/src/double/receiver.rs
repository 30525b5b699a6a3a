//! The half that receives.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use ipc_transports::{Armed, Interest, PeekReceiver, Pollable, Receiver, RecvError, Stats, Wait};

use super::direction::{Direction, State, armed, ring, wait_until};
use super::{Flaw, is};

/// Receiving half.
#[derive(Debug)]
pub struct Rx<const F: u8> {
    pub(super) way: Arc<Direction>,
    pub(super) found: bool,
    pub(super) received: u64,
    pub(super) told: bool,
}

impl<const F: u8> Rx<F> {
    fn wait(&mut self, wait: Wait) -> Result<MutexGuard<'_, State>, RecvError> {
        let early = is::<F>(Flaw::ReceiveGivesUpEarly);
        let (state, done) =
            wait_until(&self.way, wait, early, |state| !state.messages.is_empty() || state.sender_gone);
        if state.messages.is_empty() && state.sender_gone {
            let again = std::mem::replace(&mut self.told, true);
            return Err(match () {
                () if is::<F>(Flaw::CloseIsDeath) => RecvError::PeerDied { partial_bytes: 0 },
                () if is::<F>(Flaw::CloseIsNotSticky) && again => RecvError::Empty,
                () => RecvError::Closed,
            });
        }
        match (done, wait) {
            (true, Wait::Until(deadline))
                if is::<F>(Flaw::PastDeadlineDoesNothing) && deadline <= Instant::now() =>
            {
                Err(RecvError::TimedOut)
            }
            (true, _) => Ok(state),
            (false, Wait::Never) if !is::<F>(Flaw::EmptyIsTimedOut) => Err(RecvError::Empty),
            (false, _) => Err(RecvError::TimedOut),
        }
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let mut state = self.way.lock();
        if is::<F>(Flaw::NeverRingsSpace) {
            state = self.way.until(state, |state| state.sender_armed || state.sender_gone);
        }
        let message = state.messages.pop_front();
        drop(state);
        self.found = false;
        self.received += 1;
        self.way.changed.notify_all();
        if !is::<F>(Flaw::NeverRingsSpace) {
            ring(&self.way.writable);
        }
        message
    }
}

impl<const F: u8> Receiver for Rx<F> {
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        if !is::<F>(Flaw::AppendsToTheBuffer) {
            buf.clear();
        }
        drop(self.wait(wait)?);
        let message = self.pop().ok_or(RecvError::Empty)?;
        buf.extend(&message);
        Ok(message.len())
    }

    fn recv_each<C: FnMut(&[u8])>(
        &mut self,
        limit: usize,
        wait: Wait,
        mut each: C,
    ) -> Result<usize, RecvError> {
        if limit == 0 {
            return Ok(0);
        }
        drop(self.wait(wait)?);
        let mut lent = 0;
        while lent < limit || is::<F>(Flaw::RecvEachIgnoresItsLimit) {
            if lent == limit {
                let state = self.way.lock();
                drop(self.way.until(state, |state| !state.messages.is_empty() || state.sender_gone));
            }
            let Some(message) = self.pop() else { break };
            each(&message);
            lent += 1;
        }
        Ok(lent)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl<const F: u8> PeekReceiver for Rx<F> {
    type Message<'a> = Vec<u8>;

    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        if is::<F>(Flaw::ReadyNeverEmpty) {
            self.found = true;
            return Ok(());
        }
        let again = self.found;
        drop(self.wait(wait)?);
        if again && is::<F>(Flaw::ReadyConsumes) {
            self.pop();
        }
        self.found = true;
        Ok(())
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        if !self.found {
            return None;
        }
        let mut message = self.pop()?;
        if is::<F>(Flaw::LentMessageIsStale) && self.received.is_multiple_of(100) {
            message.fill(0);
        }
        Some(message)
    }
}

impl<const F: u8> Drop for Rx<F> {
    fn drop(&mut self) {
        self.way.lock().receiver_gone = true;
        self.way.changed.notify_all();
        if !is::<F>(Flaw::NeverRingsSenderClose) {
            ring(&self.way.writable);
        }
    }
}

impl<const F: u8> Pollable for Rx<F> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.way.readable.as_fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> io::Result<Armed> {
        armed::<F>(&self.way.readable, &self.way, |state| {
            let ready = !state.messages.is_empty() || state.sender_gone;
            state.receiver_armed |= !ready;
            ready
        })
    }
}
