//! A transport seen through the async adapter: every call that may wait awaits a future of `ipc-async` on a reactor of
//! its own, so that the contract holds for the adapter as it holds for what is underneath.

use std::future::Future;
use std::io::IoSlice;
use std::marker::PhantomData;

use ipc_async::{AsyncListener, AsyncReceiver, AsyncSender, Handle, Reactor};
use ipc_transports::{
    Address, Capabilities, Connection, Listener, Pair, PeekReceiver, Pollable, Receiver, RecvError,
    SendError, Sender, SetupError, SetupErrorKind, Stats, Transport, Wait,
};

/// `T` through futures.
#[derive(Debug)]
pub struct OverAsync<T>(PhantomData<fn() -> T>);

/// Awaits `future` on `reactor` no longer than `wait`, which is not `Never`; `None`: the deadline passed.
fn await_within<F: Future>(reactor: &mut Reactor, wait: Wait, future: F) -> Option<F::Output> {
    let handle: Handle = reactor.handle();
    match wait.remaining() {
        Some(left) => reactor.block_on(handle.timeout(left, future)).ok(),
        None => Some(reactor.block_on(future)),
    }
}

/// A sending half through futures.
#[derive(Debug)]
pub struct Tx<S> {
    half: AsyncSender<S>,
    reactor: Reactor,
}

/// A receiving half through futures.
#[derive(Debug)]
pub struct Rx<R> {
    half: AsyncReceiver<R>,
    reactor: Reactor,
}

/// A listener through futures.
#[derive(Debug)]
pub struct Listening<L> {
    listener: AsyncListener<L>,
    address: Address,
    reactor: Reactor,
}

impl<S: Sender + Pollable> Sender for Tx<S> {
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        if wait == Wait::Never {
            return self.half.inner().send_with(parts, wait);
        }
        let before = self.half.taken();
        match await_within(&mut self.reactor, wait, self.half.send_parts(parts)) {
            Some(done) => done,
            None if self.half.taken() > before => Ok(()),
            None => Err(SendError::TimedOut),
        }
    }

    fn send_batch(&mut self, messages: &[IoSlice<'_>], wait: Wait) -> Result<usize, SendError> {
        if wait == Wait::Never {
            return self.half.inner().send_batch(messages, wait);
        }
        let before = self.half.taken();
        match await_within(&mut self.reactor, wait, self.half.send_batch(messages)) {
            Some(done) => done,
            None if self.half.taken() > before => Ok((self.half.taken() - before) as usize),
            None => Err(SendError::TimedOut),
        }
    }

    fn flush(&mut self, wait: Wait) -> Result<(), SendError> {
        match wait {
            Wait::Never => self.half.inner().flush(wait),
            _ => await_within(&mut self.reactor, wait, self.half.flush()).unwrap_or(Err(SendError::TimedOut)),
        }
    }

    fn max_message(&self) -> usize {
        self.half.max_message()
    }

    fn stats(&self) -> Stats {
        self.half.stats()
    }
}

impl<R: Receiver + Pollable> Receiver for Rx<R> {
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        if wait == Wait::Never {
            return self.half.try_recv(buf);
        }
        await_within(&mut self.reactor, wait, self.half.recv(buf)).unwrap_or(Err(RecvError::TimedOut))
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        if wait == Wait::Never {
            return self.half.inner().recv_each(limit, wait, each);
        }
        let received = await_within(&mut self.reactor, wait, self.half.recv_each(limit, each));
        received.unwrap_or(Err(RecvError::TimedOut))
    }

    fn stats(&self) -> Stats {
        self.half.stats()
    }
}

impl<R: PeekReceiver + Pollable> PeekReceiver for Rx<R> {
    type Message<'a>
        = R::Message<'a>
    where
        Self: 'a;

    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        match wait {
            Wait::Never => self.half.inner().ready(wait),
            _ => await_within(&mut self.reactor, wait, self.half.ready()).unwrap_or(Err(RecvError::TimedOut)),
        }
    }

    fn take(&mut self) -> Option<R::Message<'_>> {
        self.half.take()
    }
}

/// The connection with its halves on reactors of their own.
fn wrap<S: Sender + Pollable, R: Receiver + Pollable>(
    connection: Connection<S, R>,
) -> Connection<Tx<S>, Rx<R>> {
    let reactor = || Reactor::new().expect("descriptors for a reactor");
    let (for_tx, for_rx) = (reactor(), reactor());
    connection.map(
        |tx| Tx { half: for_tx.handle().sender(tx), reactor: for_tx },
        |rx| Rx { half: for_rx.handle().receiver(rx), reactor: for_rx },
    )
}

impl<L> Listener for Listening<L>
where
    L: Listener + Pollable,
    L::Tx: Pollable,
    L::Rx: Pollable,
{
    type Tx = Tx<L::Tx>;
    type Rx = Rx<L::Rx>;

    fn accept(&mut self, wait: Wait) -> Result<Connection<Self::Tx, Self::Rx>, SetupError> {
        // `Never` is a deadline that has passed: the future looks once before the deadline is looked at.
        let accepted = await_within(&mut self.reactor, wait, self.listener.accept());
        let late = || Err(SetupError::new(SetupErrorKind::TimedOut, "accept on", &self.address));
        accepted
            .unwrap_or_else(late)
            .map(|made| wrap(made.map(AsyncSender::into_inner, AsyncReceiver::into_inner)))
    }

    fn address(&self) -> &Address {
        &self.address
    }
}

impl<T> Transport for OverAsync<T>
where
    T: Transport<Tx: Pollable, Rx: Pollable, Listener: Pollable>,
{
    const NAME: &'static str = T::NAME;
    type Options = T::Options;
    type Tx = Tx<T::Tx>;
    type Rx = Rx<T::Rx>;
    type Listener = Listening<T::Listener>;

    fn listen(at: &Address, options: &T::Options) -> Result<Self::Listener, SetupError> {
        let listener = T::listen(at, options)?;
        let address = listener.address().clone();
        let reactor = Reactor::new().expect("descriptors for a reactor");
        Ok(Listening { listener: reactor.handle().listener(listener), address, reactor })
    }

    fn connect(
        to: &Address,
        options: &T::Options,
        wait: Wait,
    ) -> Result<Connection<Self::Tx, Self::Rx>, SetupError> {
        T::connect(to, options, wait).map(wrap)
    }

    fn pair(options: &T::Options) -> Result<Pair<Self>, SetupError> {
        T::pair(options).map(|(one, other)| (wrap(one), wrap(other)))
    }

    fn capabilities() -> Capabilities {
        Capabilities { loan: false, pollable: false, ..T::capabilities() }
    }

    fn capabilities_with(options: &T::Options) -> Result<Capabilities, SetupError> {
        Ok(Capabilities { loan: false, pollable: false, ..T::capabilities_with(options)? })
    }
}
