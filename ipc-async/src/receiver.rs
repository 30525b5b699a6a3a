use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use ipc_core::{PeekReceiver, Pollable, Receiver, RecvError, Stats, Wait};

use crate::Handle;
use crate::half::Half;

/// A receiving half, awaitable. As a [`Stream`] it yields each message in a vector of its own, then the error that ended
/// the connection; an orderly close just ends the stream.
///
/// ```
/// use futures_lite::StreamExt;
/// use ipc_async::Reactor;
/// use ipc_transports::{Sender, Transport, Uds};
/// let mut reactor = Reactor::new()?;
/// let (mut near, far) = Uds::pair(&Default::default())?;
/// let rx = reactor.handle().receiver(far.rx);
/// near.tx.send(b"one")?;
/// near.tx.send(b"two")?;
/// drop(near);
/// let messages: Vec<_> = reactor.block_on(rx.collect::<Vec<_>>());
/// assert_eq!(messages.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncReceiver<R> {
    half: Half<R>,
    ended: bool,
}

/// `None` for an answer that means "wait".
fn settled<T>(result: Result<T, RecvError>) -> Option<Result<T, RecvError>> {
    match result {
        Err(RecvError::Empty) => None,
        done => Some(done),
    }
}

impl<R: Receiver + Pollable> AsyncReceiver<R> {
    pub(crate) fn new(handle: &Handle, half: R) -> Self {
        AsyncReceiver { half: Half::new(handle, half), ended: false }
    }

    /// Receives one message, replacing the contents of `buf`, and returns its length.
    ///
    /// **Dropped early**, nothing was received: the message comes to the next call.
    ///
    /// # Errors
    /// As [`Receiver::recv_with`], without `Empty` and `TimedOut`.
    pub fn recv<'a>(&'a mut self, buf: &'a mut Vec<u8>) -> Recv<'a, R> {
        Recv { receiver: self, buf }
    }

    /// Receives up to `limit` messages, at least one, lent to `each` one by one where they lie.
    ///
    /// **Dropped early**, `each` was not called.
    ///
    /// # Errors
    /// As [`Receiver::recv_each`].
    pub async fn recv_each(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> Result<usize, RecvError> {
        self.half
            .ready(|rx| settled(rx.recv_each(limit, Wait::Never, &mut each)))
            .await
            .map_err(RecvError::Io)
            .flatten()
    }

    /// Receives one message if one is there. Errors as [`Receiver::try_recv`].
    pub fn try_recv(&mut self, buf: &mut Vec<u8>) -> Result<usize, RecvError> {
        self.half.inner.try_recv(buf)
    }

    /// What this half has done so far.
    pub fn stats(&self) -> Stats {
        self.half.inner.stats()
    }

    /// The half underneath.
    pub fn inner(&mut self) -> &mut R {
        &mut self.half.inner
    }

    /// Gives the half underneath back, for blocking use.
    pub fn into_inner(self) -> R {
        self.half.into_inner()
    }
}

impl<R: PeekReceiver + Pollable> AsyncReceiver<R> {
    /// Resolves when there is a message for [`take`](AsyncReceiver::take).
    ///
    /// **Dropped early**, nothing was received.
    ///
    /// # Errors
    /// As [`PeekReceiver::ready`], without `Empty` and `TimedOut`.
    pub async fn ready(&mut self) -> Result<(), RecvError> {
        self.half.ready(|rx| settled(rx.ready(Wait::Never))).await.map_err(RecvError::Io).flatten()
    }

    /// The message that [`ready`](AsyncReceiver::ready) found.
    pub fn take(&mut self) -> Option<R::Message<'_>> {
        self.half.inner.take()
    }

    /// Receives one message and lends it where it lies.
    ///
    /// **Dropped early**, nothing was received.
    ///
    /// # Errors
    /// As [`PeekReceiver::recv_ref`], without `Empty` and `TimedOut`.
    pub async fn recv_ref(&mut self) -> Result<R::Message<'_>, RecvError> {
        self.ready().await?;
        self.take().ok_or(RecvError::Empty)
    }
}

/// The future of [`AsyncReceiver::recv`].
///
/// ```
/// use ipc_async::Reactor;
/// use ipc_transports::{Sender, Transport, Uds};
/// use std::time::Duration;
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let (mut near, far) = Uds::pair(&Default::default())?;
/// let (mut rx, mut message) = (handle.receiver(far.rx), Vec::new());
/// // Given up, it has taken nothing: the message comes to the next call.
/// let early = handle.timeout(Duration::from_millis(1), rx.recv(&mut message));
/// assert!(reactor.block_on(early).is_err());
/// near.tx.send(b"late")?;
/// assert_eq!(reactor.block_on(rx.recv(&mut message))?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Recv<'a, R: Receiver + Pollable> {
    receiver: &'a mut AsyncReceiver<R>,
    buf: &'a mut Vec<u8>,
}

impl<R: Receiver + Pollable> Future for Recv<'_, R> {
    type Output = Result<usize, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Recv { receiver, buf } = &mut *self;
        let polled = receiver.half.poll(context, |rx| settled(rx.try_recv(buf)));
        polled.map(|done| done.map_err(RecvError::Io).flatten())
    }
}

impl<R: Receiver + Pollable> Drop for Recv<'_, R> {
    fn drop(&mut self) {
        self.receiver.half.rest();
    }
}

impl<R: Receiver + Pollable + Unpin> Stream for AsyncReceiver<R> {
    type Item = Result<Vec<u8>, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut message = Vec::new();
        let polled = self.half.poll(context, |rx| settled(rx.try_recv(&mut message)));
        polled.map(|done| match done.map_err(RecvError::Io).flatten() {
            Ok(_) => Some(Ok(message)),
            Err(error) => {
                self.ended = true;
                if matches!(error, RecvError::Closed) { None } else { Some(Err(error)) }
            }
        })
    }
}
