//! What a measuring loop sends through.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use ipc_async::{AsyncReceiver, AsyncSender, Reactor};
use ipc_limits::Bare;
use ipc_transports::{Pollable, Receiver, RecvError, SendError, Sender};

/// Both halves of one connection.
pub(crate) trait Endpoint {
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError>;

    /// Replaces the contents of `buf` by the next message.
    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError>;
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
}

/// A transport's connection whose calls are awaited.
#[derive(Debug)]
pub(crate) struct Awaited<Tx, Rx> {
    pub(crate) tx: AsyncSender<Tx>,
    pub(crate) rx: AsyncReceiver<Rx>,
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
