//! What a measuring loop sends through.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ipc_async::{AsyncReceiver, AsyncSender, Handle, Reactor};
use ipc_limits::Bare;
use ipc_transports::{Loan, LoanSender, Pollable, Receiver, RecvError, SendError, Sender, Wait};

use super::Broken;

/// Both halves of one connection.
pub(crate) trait Endpoint {
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError>;

    /// Replaces the contents of `buf` by the next message.
    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError>;

    /// [`send`](Endpoint::send), given up after `time` with nothing sent: [`SendError::TimedOut`]. An end that knows no time
    /// waits as long as it takes.
    #[inline]
    async fn send_within(&mut self, message: &[u8], _time: Duration) -> Result<(), SendError> {
        self.send(message).await
    }

    /// Sends what an end that gathers messages still holds. Before waiting for an answer to what was sent one way.
    #[inline]
    async fn flush(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    /// [`recv`](Endpoint::recv), given up after `time` with nothing received: [`RecvError::TimedOut`]. As with sending.
    #[inline]
    async fn recv_within(&mut self, buf: &mut Vec<u8>, _time: Duration) -> Result<(), RecvError> {
        self.recv(buf).await
    }

    /// Sends the concatenation of `parts` as one message; an end that takes one piece has them put together.
    #[cfg(feature = "codecs")]
    async fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SendError> {
        let message: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.send(&message).await
    }

    /// Shows the next message to `look`: in `buf`, or where it lies in an end that lends.
    #[inline]
    async fn look<R>(&mut self, buf: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> R) -> Result<R, RecvError> {
        self.recv(buf).await?;
        Ok(look(buf))
    }

    /// Sends the next message back, after `look` has seen it, with what `mark` writes into it.
    #[inline]
    async fn echo<R>(
        &mut self,
        buf: &mut Vec<u8>,
        look: impl FnOnce(&[u8]) -> R,
        mark: impl FnOnce(&mut [u8]),
    ) -> Result<R, Broken> {
        self.recv(buf).await?;
        let seen = look(buf);
        mark(buf);
        self.send(buf).await?;
        Ok(seen)
    }

    /// Sends each as one message, all of them, in as few calls as the link takes.
    async fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> Result<(), SendError> {
        for message in messages {
            self.send(message).await?;
        }
        Ok(())
    }

    /// Shows up to `limit` messages to `each`, at least one, in as few calls as the link needs.
    async fn recv_batch(
        &mut self,
        _limit: usize,
        buf: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), RecvError> {
        self.recv(buf).await?;
        each(buf);
        Ok(())
    }
}

/// A transport's connection with blocking calls.
#[derive(Debug)]
pub(crate) struct Blocking<Tx, Rx> {
    pub(crate) tx: Tx,
    pub(crate) rx: Rx,
}

impl<Tx: Sender, Rx: Receiver> Endpoint for Blocking<Tx, Rx> {
    #[inline]
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.tx.send(message)
    }

    #[inline]
    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.rx.recv(buf).map(drop)
    }

    #[inline]
    async fn send_within(&mut self, message: &[u8], time: Duration) -> Result<(), SendError> {
        self.tx.send_timeout(message, time)
    }

    #[inline]
    async fn flush(&mut self) -> Result<(), SendError> {
        self.tx.flush(Wait::Forever)
    }

    #[inline]
    async fn recv_within(&mut self, buf: &mut Vec<u8>, time: Duration) -> Result<(), RecvError> {
        self.rx.recv_timeout(buf, time).map(drop)
    }

    #[inline]
    #[cfg(feature = "codecs")]
    async fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.tx.send_with(parts, Wait::Forever)
    }

    async fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> Result<(), SendError> {
        let mut taken = 0;
        while taken < messages.len() {
            taken += self.tx.send_batch(&messages[taken..], Wait::Forever)?;
        }
        Ok(())
    }

    async fn recv_batch(
        &mut self,
        limit: usize,
        _buf: &mut Vec<u8>,
        each: impl FnMut(&[u8]),
    ) -> Result<(), RecvError> {
        self.rx.recv_each(limit, Wait::Forever, each).map(drop)
    }
}

/// A transport's connection with blocking calls, each message of which is written where the peer reads it, and read where
/// it lies.
#[derive(Debug)]
pub(crate) struct Lending<Tx, Rx>(pub(crate) Blocking<Tx, Rx>);

impl<Tx: LoanSender, Rx: Receiver> Endpoint for Lending<Tx, Rx> {
    #[inline]
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        send_in_place(&mut self.0.tx, message, |_| {})
    }

    #[inline]
    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.0.rx.recv(buf).map(drop)
    }

    async fn send_within(&mut self, message: &[u8], time: Duration) -> Result<(), SendError> {
        self.0.send_within(message, time).await
    }

    async fn recv_within(&mut self, buf: &mut Vec<u8>, time: Duration) -> Result<(), RecvError> {
        self.0.recv_within(buf, time).await
    }

    #[cfg(feature = "codecs")]
    async fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.0.send_parts(parts).await
    }

    #[inline]
    async fn look<R>(&mut self, _buf: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> R) -> Result<R, RecvError> {
        let (mut look, mut seen) = (Some(look), None);
        self.0.rx.recv_each(1, Wait::Forever, |message| seen = look.take().map(|look| look(message)))?;
        seen.ok_or(RecvError::Empty)
    }

    #[inline]
    async fn echo<R>(
        &mut self,
        _buf: &mut Vec<u8>,
        look: impl FnOnce(&[u8]) -> R,
        mark: impl FnOnce(&mut [u8]),
    ) -> Result<R, Broken> {
        let (mut once, mut seen, mut sent) = (Some((look, mark)), None, Ok(()));
        let Blocking { tx, rx } = &mut self.0;
        rx.recv_each(1, Wait::Forever, |message| {
            if let Some((look, mark)) = once.take() {
                seen = Some(look(message));
                sent = send_in_place(tx, message, mark);
            }
        })?;
        sent?;
        seen.ok_or(Broken::Recv(RecvError::Empty))
    }

    async fn recv_batch(
        &mut self,
        limit: usize,
        buf: &mut Vec<u8>,
        each: impl FnMut(&[u8]),
    ) -> Result<(), RecvError> {
        self.0.recv_batch(limit, buf, each).await
    }
}

#[inline]
fn send_in_place<Tx: LoanSender>(
    tx: &mut Tx,
    message: &[u8],
    mark: impl FnOnce(&mut [u8]),
) -> Result<(), SendError> {
    let mut loan = tx.loan(message.len(), Wait::Forever)?;
    loan.copy_from_slice(message);
    mark(&mut loan);
    loan.commit()
}

/// A transport's connection whose calls are awaited.
#[derive(Debug)]
pub(crate) struct Awaited<Tx, Rx> {
    pub(crate) tx: AsyncSender<Tx>,
    pub(crate) rx: AsyncReceiver<Rx>,
    /// Of the reactor that both are attached to.
    pub(crate) handle: Handle,
}

/// The output of `future`, or `None` after `time`. A timer is set only if it has to wait.
pub(crate) async fn within<F: Future>(handle: &Handle, time: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut sleep) = (std::pin::pin!(future), None);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let sleep = sleep.get_or_insert_with(|| handle.sleep_until(Instant::now() + time));
        Pin::new(sleep).poll(context).map(|()| None)
    })
    .await
}

/// Sends a message, given up after `time` with nothing sent.
pub(crate) async fn send_within<Tx: Sender + Pollable>(
    tx: &mut AsyncSender<Tx>,
    handle: &Handle,
    message: &[u8],
    time: Duration,
) -> Result<(), SendError> {
    let taken = tx.taken();
    match within(handle, time, tx.send(message)).await {
        Some(sent) => sent,
        // Taken whole, but not out yet: to be sent again it would have to be sent twice.
        None if tx.taken() > taken => tx.flush().await,
        None => Err(SendError::TimedOut),
    }
}

/// Receives a message, given up after `time` with nothing received.
pub(crate) async fn recv_within<Rx: Receiver + Pollable>(
    rx: &mut AsyncReceiver<Rx>,
    handle: &Handle,
    buf: &mut Vec<u8>,
    time: Duration,
) -> Result<(), RecvError> {
    within(handle, time, rx.recv(buf)).await.unwrap_or(Err(RecvError::TimedOut)).map(drop)
}

/// All futures at once, until each has ended or the first has failed.
pub(crate) async fn all<E, F: Future<Output = Result<(), E>>>(
    futures: impl IntoIterator<Item = F>,
) -> Result<(), E> {
    let mut open: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|context| {
        let mut failed = None;
        open.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(done) => {
                failed = failed.take().or(done.err());
                false
            }
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if open.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

impl<Tx: Sender + Pollable, Rx: Receiver + Pollable> Endpoint for Awaited<Tx, Rx> {
    #[inline]
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.tx.send(message).await
    }

    #[inline]
    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.rx.recv(buf).await.map(drop)
    }

    async fn send_within(&mut self, message: &[u8], time: Duration) -> Result<(), SendError> {
        send_within(&mut self.tx, &self.handle, message, time).await
    }

    async fn recv_within(&mut self, buf: &mut Vec<u8>, time: Duration) -> Result<(), RecvError> {
        recv_within(&mut self.rx, &self.handle, buf, time).await
    }

    #[cfg(feature = "codecs")]
    async fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.tx.send_parts(parts).await
    }

    async fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> Result<(), SendError> {
        let mut taken = 0;
        while taken < messages.len() {
            taken += self.tx.send_batch(&messages[taken..]).await?;
        }
        Ok(())
    }

    async fn recv_batch(
        &mut self,
        limit: usize,
        _buf: &mut Vec<u8>,
        each: impl FnMut(&[u8]),
    ) -> Result<(), RecvError> {
        self.rx.recv_each(limit, each).await.map(drop)
    }
}

/// A bare loop, which is driven exactly like a transport.
#[derive(Debug)]
pub(crate) struct BareEnd<B> {
    pub(crate) link: B,
    /// Bytes of every message.
    pub(crate) size: usize,
}

impl<B: Bare> Endpoint for BareEnd<B> {
    #[inline]
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.link.send(message).map_err(SendError::Io)
    }

    #[inline]
    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        // Writes something once only: afterwards the buffer has its length.
        buf.resize(self.size, 0);
        self.link.recv(buf).map(drop).map_err(RecvError::Io)
    }
}

/// What runs a loop to its end.
pub(crate) trait Executor {
    fn run<F: Future>(&mut self, future: F) -> F::Output;
}

/// For endpoints that never suspend.
#[derive(Debug)]
pub(crate) struct InPlace;

impl Executor for InPlace {
    #[inline]
    fn run<F: Future>(&mut self, future: F) -> F::Output {
        now(future)
    }
}

/// Waits for the descriptors of [`Awaited`] ends on this thread.
impl Executor for Reactor {
    fn run<F: Future>(&mut self, future: F) -> F::Output {
        self.block_on(future)
    }
}

/// Something to do over an endpoint of any kind.
pub(crate) trait Task {
    type Output;

    fn over<E: Endpoint>(self, end: &mut E, executor: &mut impl Executor) -> Self::Output;
}

/// Runs a loop whose endpoint never suspends.
///
/// # Panics
/// The future suspended: its endpoint was not a blocking one.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a blocking endpoint never suspends"),
    }
}
