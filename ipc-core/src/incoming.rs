use std::iter::FusedIterator;
use std::time::{Duration, Instant};

use crate::rpc::{Backoff, sleep_until};
use crate::{Connection, Listener, SetupError, SetupErrorKind, Wait};

/// Rest after the first refusal of the system, and the longest.
const REST: Backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_secs(1) };

/// Connections as they come: [`Listener::incoming`].
///
/// When the system has no descriptor left for one more client, the error is handed out once, and asking for the next
/// connection first rests for 10 ms, doubling up to a second while it lasts: a loop that logs errors and goes on neither
/// spins nor stops. Whoever wants in waits in the backlog meanwhile. Any other error ends the iteration after it.
///
/// ```
/// use ipc_core::{Listener, SetupError};
/// /// The first client that comes.
/// fn first<L: Listener>(listener: &mut L) -> Option<Result<ipc_core::Connection<L::Tx, L::Rx>, SetupError>> {
///     listener.incoming().next()
/// }
/// ```
#[derive(Debug)]
pub struct Incoming<'a, L> {
    listener: &'a mut L,
    refusals: u32,
    not_before: Option<Instant>,
    failed: bool,
}

impl<'a, L: Listener> Incoming<'a, L> {
    pub(crate) fn new(listener: &'a mut L) -> Self {
        Incoming { listener, refusals: 0, not_before: None, failed: false }
    }
}

impl<L: Listener> Iterator for Incoming<'_, L> {
    type Item = Result<Connection<L::Tx, L::Rx>, SetupError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if let Some(moment) = self.not_before.take() {
            sleep_until(moment);
        }
        let result = self.listener.accept(Wait::Forever);
        match &result {
            Ok(_) => self.refusals = 0,
            Err(error) if matches!(error.kind, SetupErrorKind::Limit { .. } | SetupErrorKind::NoSpace) => {
                self.refusals = self.refusals.saturating_add(1);
                self.not_before = Some(Instant::now() + REST.delay(self.refusals));
            }
            Err(_) => self.failed = true,
        }
        Some(result)
    }
}

impl<L: Listener> FusedIterator for Incoming<'_, L> {}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::{Address, PeerInfo, Receiver, RecvError, SendError, Sender, Stats};

    struct Nothing;
    impl Sender for Nothing {
        fn send_with(&mut self, _: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
            Err(SendError::Closed)
        }
        fn max_message(&self) -> usize {
            0
        }
        fn stats(&self) -> Stats {
            Stats::default()
        }
    }
    impl Receiver for Nothing {
        fn recv_with(&mut self, _: &mut Vec<u8>, _: Wait) -> Result<usize, RecvError> {
            Err(RecvError::Closed)
        }
        fn recv_each<F: FnMut(&[u8])>(&mut self, _: usize, _: Wait, _: F) -> Result<usize, RecvError> {
            Err(RecvError::Closed)
        }
        fn stats(&self) -> Stats {
            Stats::default()
        }
    }

    /// Answers from a list, last first.
    struct Script(Vec<Option<SetupErrorKind>>, Address);
    impl Listener for Script {
        type Tx = Nothing;
        type Rx = Nothing;
        fn accept(&mut self, _: Wait) -> Result<Connection<Nothing, Nothing>, SetupError> {
            match self.0.pop().expect("asked once too often") {
                None => Ok(Connection::new(Nothing, Nothing, PeerInfo::default(), Vec::new())),
                Some(kind) => Err(SetupError::new(kind, "accept on", &self.1)),
            }
        }
        fn address(&self) -> &Address {
            &self.1
        }
    }

    #[test]
    fn a_limit_is_told_and_rested_after_and_a_failure_ends_it() {
        let limit = || Some(SetupErrorKind::Limit { name: "RLIMIT_NOFILE", need: 11, have: 10 });
        let script = vec![Some(SetupErrorKind::Io), None, limit(), limit(), None];
        let mut listener = Script(script, "uds:x".parse().unwrap());
        let began = Instant::now();
        let answers: Vec<bool> = listener.incoming().map(|answer| answer.is_ok()).collect();
        assert_eq!(answers, [true, false, false, true, false]);
        assert!(began.elapsed() >= Duration::from_millis(5 + 10), "half of 10 ms and half of 20 ms at least");
    }
}
