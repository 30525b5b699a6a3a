//! One thread, many connections: readiness of any number of halves and listeners through one epoll descriptor.
#![allow(
    unsafe_code,
    reason = "polling leaves it to the caller to take descriptors out before they are closed"
)]

use std::collections::HashSet;
use std::io;

use ipc_core::{Armed, Interest, Pollable, ReadySet, Wait};
use polling::{Event, Events, PollMode, Poller};

/// Waits for many halves and listeners at once. See [`ReadySet`] for the protocol; keys are the caller's.
///
/// Descriptors are watched for edges and stay registered while their halves are idle, so that a turn costs system calls
/// for what happened and none for what did not.
///
/// ```
/// use ipc_transports::{
///     Armed, Pollable, ReadySet, Receiver, RecvError, Sender, Transport, Uds, Wait, WaitSet,
/// };
/// let (mut one, mut other) = Uds::pair(&Default::default())?;
/// let mut set = WaitSet::new()?;
/// let (mut ready, mut message) = (Vec::new(), Vec::new());
///
/// assert!(matches!(one.rx.try_recv(&mut message), Err(RecvError::Empty)));
/// assert_eq!(set.watch(7, &mut one.rx)?, Armed::MaySleep);
/// other.tx.send(b"hello")?;
/// set.wait(Wait::Forever, &mut ready)?;
/// assert_eq!(ready, [7]);
/// one.rx.disarm();
/// one.rx.try_recv(&mut message)?;
/// set.unwatch(7, &mut one.rx)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WaitSet {
    poller: Poller,
    events: Events,
    watched: HashSet<usize>,
}

impl WaitSet {
    /// An empty set.
    ///
    /// # Errors
    /// A descriptor limit is reached.
    pub fn new() -> io::Result<WaitSet> {
        Ok(WaitSet { poller: Poller::new()?, events: Events::new(), watched: HashSet::new() })
    }

    /// How many halves and listeners are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }
}

impl ReadySet for WaitSet {
    /// `InvalidInput` for the key `usize::MAX`, which `polling` keeps for itself; else as the trait says.
    fn watch(&mut self, key: usize, half: &mut dyn Pollable) -> io::Result<Armed> {
        let armed = half.arm()?;
        if !self.watched.contains(&key) {
            let event = match half.interest() {
                Interest::Readable => Event::readable(key),
                Interest::Writable => Event::writable(key),
            };
            // SAFETY: the descriptor is open while `half` is borrowed. Should it be closed before `unwatch`, epoll, the
            // one back end on Linux, forgets it by itself (epoll(7), question 6) or names a key that is not in use.
            unsafe { self.poller.add_with_mode(&half.fd(), event, PollMode::Edge)? };
            self.watched.insert(key);
        }
        Ok(armed)
    }

    fn unwatch(&mut self, key: usize, half: &mut dyn Pollable) -> io::Result<()> {
        if self.watched.remove(&key) {
            self.poller.delete(half.fd())?;
        }
        half.disarm();
        Ok(())
    }

    fn wait(&mut self, wait: Wait, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        loop {
            self.poller.wait(&mut self.events, wait.remaining())?;
            ready.extend(self.events.iter().map(|event| event.key));
            if !ready.is_empty() || wait.is_over() {
                return Ok(());
            }
        }
    }
}
