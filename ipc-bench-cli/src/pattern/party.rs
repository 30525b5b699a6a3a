//! What a process of a pattern sends and receives through: calls that wait, with a thread for each direction, or futures on
//! one reactor.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::thread;

use ipc_async::{AsyncReceiver, AsyncSender, Reactor};
use ipc_transports::{Pollable, Receiver, RecvError, SendError, Sender, Transport};

use super::gather::{self, Arriving};
use crate::error::Failure;
use crate::mechanism::Ended;
use crate::ways::Ways;
use crate::workload::{Executor, InPlace};

/// Where messages of a pattern go.
pub(crate) trait Outlet {
    async fn put(&mut self, message: &[u8]) -> Result<(), SendError>;
}

/// Where messages of a pattern come from.
pub(crate) trait Inlet {
    /// Replaces the contents of `buf` by the next message.
    async fn next(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError>;
}

impl<Tx: Sender> Outlet for Tx {
    #[inline]
    async fn put(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.send(message)
    }
}

impl<Rx: Receiver> Inlet for Rx {
    #[inline]
    async fn next(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.recv(buf).map(drop)
    }
}

/// A half that is awaited beside others.
#[derive(Debug)]
pub(crate) struct Awaiting<H> {
    half: H,
    turn: Turn,
}

impl<H> Awaiting<H> {
    fn new(half: H) -> Awaiting<H> {
        Awaiting { half, turn: Turn::default() }
    }
}

impl<Tx: Sender + Pollable> Outlet for Awaiting<AsyncSender<Tx>> {
    #[inline]
    async fn put(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.turn.took(1).await;
        self.half.send(message).await
    }
}

impl<Rx: Receiver + Pollable> Inlet for Awaiting<AsyncReceiver<Rx>> {
    #[inline]
    async fn next(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.half.recv(buf).await.map(drop)
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

    fn sink<M: Send>(
        &mut self,
        making: impl AsyncFnOnce(&mut [T::Tx]) -> M + Send,
        arriving: &mut impl Arriving,
    ) -> Result<Option<M>, Ended> {
        let Calls { rxs, txs, looks, .. } = self;
        thread::scope(|scope| {
            let making = (!txs.is_empty()).then(|| scope.spawn(|| InPlace.run(making(txs))));
            let gathered = W::gather(rxs, *looks, arriving);
            let made = making.map(|making| making.join()).transpose();
            gathered?;
            made.map_err(|_| Failure::failed("the sending thread panicked").into())
        })
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
        let rxs = rxs.into_iter().map(|rx| Awaiting::new(handle.receiver(rx))).collect();
        let txs = txs.into_iter().map(|tx| Awaiting::new(handle.sender(tx))).collect();
        Futures { reactor, rxs, txs }
    }
}

impl<Tx: Sender + Pollable, Rx: Receiver + Pollable> Party for Futures<Tx, Rx> {
    type Tx = Awaiting<AsyncSender<Tx>>;
    type Rx = Awaiting<AsyncReceiver<Rx>>;

    fn run<R>(&mut self, duty: impl AsyncFnOnce(&mut [Self::Rx], &mut [Self::Tx]) -> R) -> R {
        self.reactor.block_on(duty(&mut self.rxs, &mut self.txs))
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
            reactor.block_on(both(making(txs), gathering)).map(Some)
        };
        done.map_err(Ended::lost)
    }
}

/// Both outputs, or the error of the second as soon as it is there.
async fn both<M, E>(
    first: impl Future<Output = M>,
    second: impl Future<Output = Result<(), E>>,
) -> Result<M, E> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut made, mut over) = (None, false);
    poll_fn(|context| {
        if made.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            made = Some(output);
        }
        if !over && let Poll::Ready(done) = second.as_mut().poll(context) {
            if let Err(error) = done {
                return Poll::Ready(Err(error));
            }
            over = true;
        }
        match made.take_if(|_| over) {
            Some(made) => Poll::Ready(Ok(made)),
            None => Poll::Pending,
        }
    })
    .await
}
