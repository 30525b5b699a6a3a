use std::io::IoSlice;

use ipc_core::{LoanSender, Pollable, SendError, Sender, Stats, Wait};

use crate::Handle;
use crate::half::Half;

/// A sending half, awaitable.
///
/// ```
/// use ipc_async::{AsyncSender, Reactor};
/// use ipc_transports::{SendError, Transport, Uds, UdsSender};
/// async fn greet(tx: &mut AsyncSender<UdsSender>) -> Result<(), SendError> {
///     tx.send(b"hello").await?;
///     tx.flush().await
/// }
/// let mut reactor = Reactor::new()?;
/// let (near, _far) = Uds::pair(&Default::default())?;
/// let mut near = reactor.handle().attach(near);
/// reactor.block_on(greet(&mut near.tx))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncSender<S> {
    half: Half<S>,
}

/// `None` for an answer that means "wait".
fn settled<T>(result: Result<T, SendError>) -> Option<Result<T, SendError>> {
    match result {
        Err(SendError::Full) => None,
        done => Some(done),
    }
}

impl<S: Sender + Pollable> AsyncSender<S> {
    pub(crate) fn new(handle: &Handle, half: S) -> Self {
        AsyncSender { half: Half::new(handle, half) }
    }

    /// Sends one message: resolves when the system has taken all of it, so that a reply may be waited for.
    ///
    /// **Dropped early**, the message is either not taken at all, or it is taken whole and later calls push out what is
    /// left of it. [`taken`](AsyncSender::taken) tells which.
    ///
    /// # Errors
    /// As [`Sender::send_with`], without `Full` and `TimedOut`.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.send_parts(&[IoSlice::new(message)]).await
    }

    /// Sends one message, given as the concatenation of `parts`. Otherwise as [`send`](AsyncSender::send).
    ///
    /// # Errors
    /// As [`send`](AsyncSender::send).
    pub async fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.half
            .ready(|tx| settled(tx.send_with(parts, Wait::Never)))
            .await
            .map_err(SendError::Io)
            .flatten()?;
        self.flush().await
    }

    /// Sends each slice as one message, as many as fit once there is space for one, and tells how many were taken.
    ///
    /// **Dropped early**, the first so many are taken, as [`taken`](AsyncSender::taken) tells, and none in part.
    ///
    /// # Errors
    /// As [`Sender::send_batch`].
    pub async fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> Result<usize, SendError> {
        let sent = self.half.ready(|tx| settled(tx.send_batch(messages, Wait::Never)));
        let taken = sent.await.map_err(SendError::Io).flatten()?;
        // The messages are taken; an error of what follows belongs to the next call.
        let _ = self.flush().await;
        Ok(taken)
    }

    /// Pushes out what was taken but not yet handed to the system.
    ///
    /// **Dropped early**, part of it is out; later calls push out the rest.
    ///
    /// # Errors
    /// As [`Sender::flush`], without `Full` and `TimedOut`.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        self.half.ready(|tx| settled(tx.flush(Wait::Never))).await.map_err(SendError::Io).flatten()
    }

    /// Flushes, then closes the connection's sending direction. Dropping the sender instead blocks the thread, for at
    /// most a second, if something is left to push out.
    ///
    /// **Dropped early**, the sender is dropped.
    ///
    /// # Errors
    /// As [`flush`](AsyncSender::flush).
    pub async fn close(mut self) -> Result<(), SendError> {
        self.flush().await
    }

    /// Sends one message if there is space now. Errors as [`Sender::try_send`].
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.half.inner.try_send(message)
    }

    /// Messages taken so far: grows by one exactly when a message will be delivered unless a process dies.
    pub fn taken(&self) -> u64 {
        self.half.inner.stats().messages
    }

    /// What this half has done so far.
    pub fn stats(&self) -> Stats {
        self.half.inner.stats()
    }

    /// Longest message in bytes this connection carries.
    pub fn max_message(&self) -> usize {
        self.half.inner.max_message()
    }

    /// The half underneath.
    pub fn inner(&mut self) -> &mut S {
        &mut self.half.inner
    }

    /// Gives the half underneath back, for blocking use.
    pub fn into_inner(self) -> S {
        self.half.into_inner()
    }
}

impl<S: LoanSender + Pollable> AsyncSender<S> {
    /// Lends `len` bytes of the transport's memory once there is space; committing the loan sends them.
    ///
    /// **Dropped early**, nothing was lent.
    ///
    /// # Errors
    /// As [`LoanSender::loan`], without `Full` and `TimedOut`.
    pub async fn loan(&mut self, len: usize) -> Result<S::Loan<'_>, SendError> {
        // Nobody else can take the space between the loan that shows it is there and the one that is handed out.
        self.half
            .ready(|tx| settled(tx.loan(len, Wait::Never).map(drop)))
            .await
            .map_err(SendError::Io)
            .flatten()?;
        self.half.inner.loan(len, Wait::Never)
    }
}
