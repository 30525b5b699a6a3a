//! What a process of a pattern sends and receives through: calls that wait, with a thread for each direction, or futures on
//! one reactor.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use ipc_async::{AsyncReceiver, AsyncSender, Handle, Reactor};
use ipc_transports::{Pollable, Receiver, RecvError, SendError, Sender, Transport};

use super::gather::{self, Arriving};
use crate::error::Failure;
use crate::mechanism::Ended;
use crate::ways::Ways;
use crate::workload::{Executor, InPlace, recv_within, send_within};

/// Where messages of a pattern go.
pub(crate) trait Outlet {
    async fn put(&mut self, message: &[u8]) -> Result<(), SendError>;

    /// [`put`](Outlet::put), given up after `time` with nothing sent: [`SendError::TimedOut`].
    async fn put_within(&mut self, message: &[u8], time: Duration) -> Result<(), SendError>;

    /// Lets time pass before the next message.
    async fn pause(&mut self, time: Duration);
}

/// Where messages of a pattern come from.
pub(crate) trait Inlet {
    /// Replaces the contents of `buf` by the next message.
    async fn next(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError>;

    /// [`next`](Inlet::next), given up after `time` with nothing received: [`RecvError::TimedOut`].
    async fn next_within(&mut self, buf: &mut Vec<u8>, time: Duration) -> Result<(), RecvError>;
}

impl<Tx: Sender> Outlet for Tx {
    #[inline]
    async fn put(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.send(message)
    }

    async fn put_within(&mut self, message: &[u8], time: Duration) -> Result<(), SendError> {
        self.send_timeout(message, time)
    }

    async fn pause(&mut self, time: Duration) {
        // Pacing, not a handshake: the time itself is what is waited for.
        thread::sleep(time);
    }
}

impl<Rx: Receiver> Inlet for Rx {
    #[inline]
    async fn next(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.recv(buf).map(drop)
    }

    async fn next_within(&mut self, buf: &mut Vec<u8>, time: Duration) -> Result<(), RecvError> {
        self.recv_timeout(buf, time).map(drop)
    }
}

/// A half that is awaited beside others.
#[derive(Debug)]
pub(crate) struct Awaiting<H> {
    half: H,
    turn: Turn,
    /// Of the reactor that it is attached to.
    handle: Handle,
}

impl<H> Awaiting<H> {
    fn new(half: H, handle: &Handle) -> Awaiting<H> {
        Awaiting { half, turn: Turn::default(), handle: handle.clone() }
    }
}

impl<Tx: Sender + Pollable> Outlet for Awaiting<AsyncSender<Tx>> {
    #[inline]
    async fn put(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.turn.took(1).await;
        self.half.send(message).await
    }

    async fn put_within(&mut self, message: &[u8], time: Duration) -> Result<(), SendError> {
        self.turn.took(1).await;
        send_within(&mut self.half, &self.handle, message, time).await
    }

    async fn pause(&mut self, time: Duration) {
        self.handle.sleep_until(Instant::now() + time).await;
    }
}

impl<Rx: Receiver + Pollable> Inlet for Awaiting<AsyncReceiver<Rx>> {
    #[inline]
    async fn next(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.half.recv(buf).await.map(drop)
    }

    async fn next_within(&mut self, buf: &mut Vec<u8>, time: Duration) -> Result<(), RecvError> {
        recv_within(&mut self.half, &self.handle, buf, time).await
    }
}

impl<Rx: Receiver + Pollable> Awaiting<AsyncReceiver<Rx>> {
    /// Shows messages to `each`, at least one, as many as a turn has.
    pub(super) async fn recv_turn(&mut self, each: impl FnMut(&[u8])) -> Result<(), RecvError> {
        let count = self.half.recv_each(gather::TURN, each).await?;
        self.turn.took(count).await;
        Ok(())
    }
}

/// Messages since others had their turn.
#[derive(Debug, Default)]
struct Turn {
    messages: usize,
}

impl Turn {
    /// Lets the other futures of the process run when a turn is over: one that always has something to do never waits.
    #[inline]
    async fn took(&mut self, messages: usize) {
        self.messages += messages;
        if self.messages > gather::TURN {
            self.messages = 0;
            let mut yielded = false;
            poll_fn(|context| {
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }
}

/// The connections of one process: what comes in and what goes out.
pub(crate) trait Party {
    type Tx: Outlet;
    type Rx: Inlet;

    /// Runs one loop over all of them to its end.
    fn run<R>(&mut self, duty: impl AsyncFnOnce(&mut [Self::Rx], &mut [Self::Tx]) -> R) -> R;

    /// Runs a loop over what goes out beside one over what comes in, each to its end.
    ///
    /// # Errors
    /// A loop panicked.
    fn beside<A: Send, B>(
        &mut self,
        going: impl AsyncFnOnce(&mut [Self::Tx]) -> A + Send,
        coming: impl AsyncFnOnce(&mut [Self::Rx]) -> B,
    ) -> Result<(A, B), Ended>;

    /// Receives until each connection has had its last message, and makes messages meanwhile if any go out.
    ///
    /// # Errors
    /// A connection broke, or nobody can wait on several.
    fn sink<M: Send>(
        &mut self,
        making: impl AsyncFnOnce(&mut [Self::Tx]) -> M + Send,
        arriving: &mut impl Arriving,
    ) -> Result<Option<M>, Ended>;
}

/// Something to do for a process of a pattern.
pub(crate) trait Part {
    type Output;

    fn among(self, party: &mut impl Party) -> Self::Output;
}

/// Calls that wait.
#[derive(Debug)]
pub(crate) struct Calls<T: Transport, W> {
    rxs: Vec<T::Rx>,
    txs: Vec<T::Tx>,
    looks: u32,
    ways: std::marker::PhantomData<W>,
}

impl<T: Transport, W: Ways<T>> Calls<T, W> {
    pub(crate) fn new(rxs: Vec<T::Rx>, txs: Vec<T::Tx>, looks: u32) -> Self {
        Calls { rxs, txs, looks, ways: std::marker::PhantomData }
    }
}

impl<T: Transport, W: Ways<T>> Party for Calls<T, W> {
    type Tx = T::Tx;
    type Rx = T::Rx;

    fn run<R>(&mut self, duty: impl AsyncFnOnce(&mut [T::Rx], &mut [T::Tx]) -> R) -> R {
        InPlace.run(duty(&mut self.rxs, &mut self.txs))
    }

    fn beside<A: Send, B>(
        &mut self,
        going: impl AsyncFnOnce(&mut [T::Tx]) -> A + Send,
        coming: impl AsyncFnOnce(&mut [T::Rx]) -> B,
    ) -> Result<(A, B), Ended> {
        let Calls { rxs, txs, .. } = self;
        thread::scope(|scope| {
            let going = scope.spawn(|| InPlace.run(going(txs)));
            let came = InPlace.run(coming(rxs));
            match going.join() {
                Ok(went) => Ok((went, came)),
                Err(_) => Err(Failure::failed("the sending thread panicked").into()),
            }
        })
    }

    fn sink<M: Send>(
        &mut self,
        making: impl AsyncFnOnce(&mut [T::Tx]) -> M + Send,
        arriving: &mut impl Arriving,
    ) -> Result<Option<M>, Ended> {
        let looks = self.looks;
        if self.txs.is_empty() {
            return W::gather(&mut self.rxs, looks, arriving).map(|()| None);
        }
        let (made, gathered) = self.beside(making, async |rxs| W::gather(rxs, looks, arriving))?;
        gathered.map(|()| Some(made))
    }
}

/// Futures on one reactor, which is driven by the thread that measures.
#[derive(Debug)]
pub(crate) struct Futures<Tx, Rx> {
    reactor: Reactor,
    rxs: Vec<Awaiting<AsyncReceiver<Rx>>>,
    txs: Vec<Awaiting<AsyncSender<Tx>>>,
}

impl<Tx: Sender + Pollable, Rx: Receiver + Pollable> Futures<Tx, Rx> {
    pub(crate) fn new(reactor: Reactor, rxs: Vec<Rx>, txs: Vec<Tx>) -> Self {
        let handle = reactor.handle();
        let rxs = rxs.into_iter().map(|rx| Awaiting::new(handle.receiver(rx), &handle)).collect();
        let txs = txs.into_iter().map(|tx| Awaiting::new(handle.sender(tx), &handle)).collect();
        Futures { reactor, rxs, txs }
    }
}

impl<Tx: Sender + Pollable, Rx: Receiver + Pollable> Party for Futures<Tx, Rx> {
    type Tx = Awaiting<AsyncSender<Tx>>;
    type Rx = Awaiting<AsyncReceiver<Rx>>;

    fn run<R>(&mut self, duty: impl AsyncFnOnce(&mut [Self::Rx], &mut [Self::Tx]) -> R) -> R {
        self.reactor.block_on(duty(&mut self.rxs, &mut self.txs))
    }

    fn beside<A: Send, B>(
        &mut self,
        going: impl AsyncFnOnce(&mut [Self::Tx]) -> A + Send,
        coming: impl AsyncFnOnce(&mut [Self::Rx]) -> B,
    ) -> Result<(A, B), Ended> {
        let Futures { reactor, rxs, txs } = self;
        let coming = async { Ok::<B, Infallible>(coming(rxs).await) };
        let Ok(done) = reactor.block_on(both(going(txs), coming));
        Ok(done)
    }

    fn sink<M: Send>(
        &mut self,
        making: impl AsyncFnOnce(&mut [Self::Tx]) -> M + Send,
        arriving: &mut impl Arriving,
    ) -> Result<Option<M>, Ended> {
        let Futures { reactor, rxs, txs } = self;
        let handle = reactor.handle();
        let gathering = gather::awaited(rxs, &handle, arriving);
        let done = if txs.is_empty() {
            reactor.block_on(gathering).map(|()| None)
        } else {
            reactor.block_on(both(making(txs), gathering)).map(|(made, ())| Some(made))
        };
        done.map_err(Ended::lost)
    }
}

/// Both outputs, or the error of the second as soon as it is there.
async fn both<A, B, E>(
    first: impl Future<Output = A>,
    second: impl Future<Output = Result<B, E>>,
) -> Result<(A, B), E> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut other) = (None, None);
    poll_fn(|context| {
        if one.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            one = Some(output);
        }
        if other.is_none()
            && let Poll::Ready(done) = second.as_mut().poll(context)
        {
            match done {
                Ok(output) => other = Some(output),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        match (one.take(), other.take()) {
            (Some(one), Some(other)) => Poll::Ready(Ok((one, other))),
            outputs => {
                (one, other) = outputs;
                Poll::Pending
            }
        }
    })
    .await
}
