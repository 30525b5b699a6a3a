use std::io::IoSlice;
use std::ops::DerefMut;
use std::time::Duration;

use crate::{SendError, Stats, Wait};

/// The sending half of a connection: ordered, reliable, message-preserving.
///
/// A call that fails has taken nothing of its message. On a byte stream a message counts as taken once its first
/// byte is written: the rest stays in the connection and later calls push it out first.
///
/// ```
/// use ipc_core::{SendError, Sender};
/// /// Sends what there is room for and says whether it was taken.
/// fn offer(tx: &mut impl Sender, message: &[u8]) -> Result<bool, SendError> {
///     match tx.try_send(message) {
///         Ok(()) => Ok(true),
///         Err(SendError::Full) => Ok(false),
///         Err(error) => Err(error),
///     }
/// }
/// ```
pub trait Sender: Send {
    /// Sends one message, given as the concatenation of `parts`.
    ///
    /// # Errors
    /// * [`SendError::Full`] — `wait` is [`Wait::Never`] and there is no space; try again later.
    /// * [`SendError::TimedOut`] — the deadline passed without space.
    /// * [`SendError::TooLong`] — longer than [`max_message`](Sender::max_message); never fits, whatever the wait.
    /// * [`SendError::Closed`] / [`SendError::PeerDied`] — nobody will receive it; sticky.
    /// * [`SendError::Forked`] — this half was inherited through `fork`; use it in the process that made it.
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError>;

    /// Longest message in bytes this connection carries.
    fn max_message(&self) -> usize;

    /// What this half has done so far.
    fn stats(&self) -> Stats;

    /// Sends each slice as one message, as many as fit without a second wait, and tells how many were taken (≥ 1).
    ///
    /// # Errors
    /// As [`send_with`](Sender::send_with), and then none was taken. An error after the first message is kept for
    /// the next call. An empty batch is `Ok(0)`.
    fn send_batch(&mut self, messages: &[IoSlice<'_>], wait: Wait) -> Result<usize, SendError> {
        let mut taken = 0;
        for message in messages {
            let wait = if taken == 0 { wait } else { Wait::Never };
            match self.send_with(std::slice::from_ref(message), wait) {
                Ok(()) => taken += 1,
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Pushes out the rest of a message that an earlier call took but the kernel did not yet.
    ///
    /// # Errors
    /// As [`send_with`](Sender::send_with), without `TooLong`.
    fn flush(&mut self, _wait: Wait) -> Result<(), SendError> {
        Ok(())
    }

    /// Sends one message, waiting as long as it takes. Errors as [`send_with`](Sender::send_with).
    #[inline]
    fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.send_with(&[IoSlice::new(message)], Wait::Forever)
    }

    /// Sends one message if there is space now. Errors as [`send_with`](Sender::send_with).
    #[inline]
    fn try_send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.send_with(&[IoSlice::new(message)], Wait::Never)
    }

    /// Sends one message, waiting at most `timeout` for space. Errors as [`send_with`](Sender::send_with).
    fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.send_with(&[IoSlice::new(message)], Wait::within(timeout))
    }
}

/// Space in the transport's own memory to write one message in place. Dropped, it publishes nothing.
///
/// ```
/// use ipc_core::{Loan, SendError};
/// fn fill_and_send(mut loan: impl Loan) -> Result<(), SendError> {
///     loan.fill(7);
///     loan.commit()
/// }
/// ```
pub trait Loan: DerefMut<Target = [u8]> + Sized {
    /// Publishes the whole loan as one message.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::PeerDied`]: nobody will receive it.
    fn commit(self) -> Result<(), SendError>;

    /// Publishes the first `len` bytes (0 ..= the loan's length) as one message.
    ///
    /// # Errors
    /// [`SendError::TooLong`] when `len` exceeds the loan, else as [`commit`](Loan::commit).
    fn commit_len(self, len: usize) -> Result<(), SendError>;
}

/// A sender that can lend its memory: the message is written once, where the receiver will read it.
///
/// ```
/// use ipc_core::{Loan, LoanSender, SendError, Wait};
/// /// One megabyte, written where the receiver will read it.
/// fn send_image(tx: &mut impl LoanSender) -> Result<(), SendError> {
///     let mut image = tx.loan(1 << 20, Wait::Forever)?;
///     image.fill(7);
///     image.commit()
/// }
/// ```
pub trait LoanSender: Sender {
    /// The space lent; holds the sender until it is committed or dropped.
    type Loan<'a>: Loan
    where
        Self: 'a;

    /// Lends `len` bytes. Their contents are unspecified (old message bytes of this connection) until written.
    ///
    /// # Errors
    /// As [`send_with`](Sender::send_with).
    fn loan(&mut self, len: usize, wait: Wait) -> Result<Self::Loan<'_>, SendError>;
}
