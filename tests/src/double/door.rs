//! How clients of the double find its listener: a door per name, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use ipc_transports::{Address, Listener, SetupError, SetupErrorKind, Wait};

use super::{Direction, Flaw, Made, Rx, Tx, connect_directions, is};

/// A client asking to be let in: its end of the connection, the listener's, and whether it was accepted.
pub(super) struct Knock {
    pub(super) max: usize,
    pub(super) reply: mpsc::Sender<Box<dyn std::any::Any + Send>>,
}

static DOORS: Mutex<Option<HashMap<String, mpsc::Sender<Knock>>>> = Mutex::new(None);

pub(super) fn doors<R>(f: impl FnOnce(&mut HashMap<String, mpsc::Sender<Knock>>) -> R) -> R {
    f(DOORS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Listener.
#[derive(Debug)]
pub struct Door<const F: u8> {
    pub(super) address: Address,
    pub(super) knocks: mpsc::Receiver<Knock>,
    pub(super) max: usize,
    pub(super) accepted: Vec<Arc<Direction>>,
}

impl std::fmt::Debug for Knock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Knock")
    }
}

impl<const F: u8> Listener for Door<F> {
    type Tx = Tx<F>;
    type Rx = Rx<F>;

    fn accept(&mut self, wait: Wait) -> Result<Made<F>, SetupError> {
        let timed_out = || SetupError::new(SetupErrorKind::TimedOut, "accept on", &self.address);
        if is::<F>(Flaw::ServesOneClient) && !self.accepted.is_empty() {
            return Err(timed_out());
        }
        loop {
            let left = wait.remaining().unwrap_or(Duration::from_secs(3600));
            let left = if is::<F>(Flaw::AcceptNeverTimesOut) { Duration::ZERO } else { left };
            let knock = match self.knocks.recv_timeout(left) {
                Ok(knock) => knock,
                Err(_) if is::<F>(Flaw::AcceptNeverTimesOut) => {
                    return Err(SetupError::new(SetupErrorKind::Io, "accept on", &self.address));
                }
                Err(_) => return Err(timed_out()),
            };
            let max = if is::<F>(Flaw::ForgetsTheMaximum) { self.max } else { self.max.min(knock.max) };
            let (ours, mut theirs) = connect_directions::<F>(max);
            if is::<F>(Flaw::ClientsShareALink)
                && let Some(first) = self.accepted.first()
            {
                theirs.rx.way = Arc::clone(first);
            }
            self.accepted.push(Arc::clone(&ours.tx.way));
            // A client that has given up by now is not a connection.
            if knock.reply.send(Box::new(theirs)).is_ok() {
                return Ok(ours);
            }
        }
    }

    fn address(&self) -> &Address {
        &self.address
    }
}

impl<const F: u8> Drop for Door<F> {
    fn drop(&mut self) {
        if is::<F>(Flaw::ListenerForgetsWhoWaits) {
            let _ = self.knocks.recv();
        }
        doors(|doors| doors.remove(&self.address.to_string()));
        if is::<F>(Flaw::ListenerTakesConnectionsAlong) {
            for way in &self.accepted {
                way.lock().receiver_gone = true;
                way.changed.notify_all();
            }
        }
    }
}
