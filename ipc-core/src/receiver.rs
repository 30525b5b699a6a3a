use std::ops::Deref;
use std::time::Duration;

use crate::{RecvError, Stats, Wait};

/// The receiving half of a connection. Messages arrive whole, once, and in the order in which they were sent.
///
/// ```
/// use ipc_core::{Receiver, RecvError};
/// /// Counts the messages until the peer closes the connection.
/// fn count(rx: &mut impl Receiver) -> Result<u64, RecvError> {
///     let (mut message, mut count) = (Vec::new(), 0);
///     loop {
///         match rx.recv(&mut message) {
///             Ok(_) => count += 1,
///             Err(RecvError::Closed) => return Ok(count),
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
pub trait Receiver: Send {
    /// Receives one message, replacing the contents of `buf`, and returns its length. `buf` is empty on error.
    ///
    /// # Errors
    /// * [`RecvError::Empty`] — `wait` is [`Wait::Never`] and no message is there.
    /// * [`RecvError::TimedOut`] — the deadline passed without a message.
    /// * [`RecvError::Closed`] — the peer said goodbye and every message before it was received; sticky.
    /// * [`RecvError::PeerDied`] — the peer vanished without goodbye; what it had finished sending came first; sticky.
    /// * [`RecvError::Corrupt`] — the peer broke the protocol; the connection is unusable; sticky.
    /// * [`RecvError::Forked`] — this half was inherited through `fork`; use it in the process that made it.
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError>;

    /// Receives up to `limit` messages, at least one, lent to `each` one by one where they lie. Only the first is
    /// waited for.
    ///
    /// # Errors
    /// As [`recv_with`](Receiver::recv_with), and then `each` was not called. An error after the first message is
    /// kept for the next call. A `limit` of zero is `Ok(0)`.
    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError>
    where
        Self: Sized;

    /// What this half has done so far.
    fn stats(&self) -> Stats;

    /// Receives one message, waiting as long as it takes. Errors as [`recv_with`](Receiver::recv_with).
    #[inline(always)]
    fn recv(&mut self, buf: &mut Vec<u8>) -> Result<usize, RecvError> {
        self.recv_with(buf, Wait::Forever)
    }

    /// Receives one message if one is there. Errors as [`recv_with`](Receiver::recv_with).
    #[inline]
    fn try_recv(&mut self, buf: &mut Vec<u8>) -> Result<usize, RecvError> {
        self.recv_with(buf, Wait::Never)
    }

    /// Receives one message, waiting at most `timeout`. Errors as [`recv_with`](Receiver::recv_with).
    fn recv_timeout(&mut self, buf: &mut Vec<u8>, timeout: Duration) -> Result<usize, RecvError> {
        self.recv_with(buf, Wait::within(timeout))
    }
}

/// A receiver that can lend a message instead of copying it into the caller's buffer.
///
/// ```
/// use ipc_core::{PeekReceiver, RecvError, Wait};
/// /// The sum of the bytes of the next message, which is not copied for it where the transport lends in place.
/// fn sum(rx: &mut impl PeekReceiver) -> Result<u64, RecvError> {
///     let message = rx.recv_ref(Wait::Forever)?;
///     Ok(message.iter().map(|byte| u64::from(*byte)).sum())
/// }
/// ```
pub trait PeekReceiver: Receiver {
    /// The message lent; its space is released when it is dropped.
    type Message<'a>: Deref<Target = [u8]>
    where
        Self: 'a;

    /// Waits until [`take`](PeekReceiver::take) will succeed. Lends nothing, so it can be retried in a loop.
    ///
    /// # Errors
    /// As [`recv_with`](Receiver::recv_with).
    fn ready(&mut self, wait: Wait) -> Result<(), RecvError>;

    /// The message that [`ready`](PeekReceiver::ready) found; `None` if it found none. Never waits.
    fn take(&mut self) -> Option<Self::Message<'_>>;

    /// Waits for a message and lends it.
    ///
    /// # Errors
    /// As [`recv_with`](Receiver::recv_with).
    #[inline]
    fn recv_ref(&mut self, wait: Wait) -> Result<Self::Message<'_>, RecvError> {
        self.ready(wait)?;
        self.take().ok_or(RecvError::Empty)
    }
}
