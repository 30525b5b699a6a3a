use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use ipc_core::{Address, Connection, Listener, Pollable, SetupError, SetupErrorKind, Wait};

use crate::half::Half;
use crate::{AsyncReceiver, AsyncSender, Handle};

/// An accepted connection, attached to the listener's reactor.
type Accepted<L> = Connection<AsyncSender<<L as Listener>::Tx>, AsyncReceiver<<L as Listener>::Rx>>;

/// A listener, awaitable. As a [`Stream`] it yields connections for ever; an error is an item like any other.
///
/// ```
/// use ipc_async::Reactor;
/// use ipc_transports::{Listener, Tcp, Transport, Wait};
/// let mut reactor = Reactor::new()?;
/// let listener = Tcp::listen(&"tcp:127.0.0.1:0".parse()?, &Default::default())?;
/// let to = listener.address().clone();
/// let client = std::thread::spawn(move || Tcp::connect(&to, &Default::default(), Wait::Forever));
/// let mut listener = reactor.handle().listener(listener);
/// let connection = reactor.block_on(listener.accept())?;
/// # drop(connection);
/// # client.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncListener<L> {
    half: Half<L>,
    handle: Handle,
}

impl<L> AsyncListener<L>
where
    L: Listener + Pollable,
    L::Tx: Pollable,
    L::Rx: Pollable,
{
    /// The next client that completes its handshake, attached to this listener's reactor.
    ///
    /// **Dropped early**, nobody was accepted: a client in the middle of its handshake stays there.
    ///
    /// # Errors
    /// `Limit` when there is no descriptor left for one more client, who keeps waiting: let some go, or try again later;
    /// `Io` when the listener failed.
    pub fn accept(&mut self) -> Accept<'_, L> {
        Accept { listener: self }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Accepted<L>, SetupError>> {
        let polled = self.half.poll(context, |listener| match listener.accept(Wait::Never) {
            Err(error) if error.kind == SetupErrorKind::TimedOut => None,
            done => Some(done),
        });
        polled.map(|done| match done {
            Ok(accepted) => accepted.map(|connection| self.handle.attach(connection)),
            Err(error) => {
                let target = self.half.inner.address();
                Err(SetupError::new(SetupErrorKind::Io, "accept on", target).because(error))
            }
        })
    }
}

impl<L: Listener + Pollable> AsyncListener<L> {
    pub(crate) fn new(handle: &Handle, listener: L) -> Self {
        AsyncListener { half: Half::new(handle, listener), handle: handle.clone() }
    }

    /// The address to connect to.
    pub fn address(&self) -> &Address {
        self.half.inner.address()
    }

    /// Gives the listener underneath back, for blocking use.
    pub fn into_inner(self) -> L {
        self.half.into_inner()
    }
}

/// The future of [`AsyncListener::accept`].
///
/// ```
/// use ipc_async::{Reactor, TimedOut};
/// use ipc_transports::{Tcp, Transport};
/// use std::time::Duration;
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let mut listener = handle.listener(Tcp::listen(&"tcp:127.0.0.1:0".parse()?, &Default::default())?);
/// // Nobody comes; the listener is as it was.
/// let nobody = handle.timeout(Duration::from_millis(1), listener.accept());
/// assert!(matches!(reactor.block_on(nobody), Err(TimedOut)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Accept<'a, L: Listener + Pollable> {
    listener: &'a mut AsyncListener<L>,
}

impl<L> Future for Accept<'_, L>
where
    L: Listener + Pollable,
    L::Tx: Pollable,
    L::Rx: Pollable,
{
    type Output = Result<Accepted<L>, SetupError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.listener.poll_accept(context)
    }
}

impl<L: Listener + Pollable> Drop for Accept<'_, L> {
    fn drop(&mut self) {
        self.listener.half.rest();
    }
}

impl<L> Stream for AsyncListener<L>
where
    L: Listener + Pollable + Unpin,
    L::Tx: Pollable,
    L::Rx: Pollable,
{
    type Item = Result<Accepted<L>, SetupError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(context).map(Some)
    }
}
