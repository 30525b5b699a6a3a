use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use super::Request;
use super::server::{answer, refuse, unsent};
use crate::{
    Armed, Connection, Listener, Pollable, ReadySet, Receiver, RecvError, SendError, Sender, SetupErrorKind,
    Wait,
};

/// The listener's key; clients have two each behind it.
const LISTENER: usize = 0;

/// Requests served for one client before the others have their turn.
const BUDGET: usize = 64;

/// How long accepting rests when this process has no descriptor left for one more client, unless a client goes earlier.
const PAUSE: Duration = Duration::from_millis(100);

/// A client of a [`MultiServer`].
#[derive(Debug)]
struct Client<Tx, Rx> {
    connection: Connection<Tx, Rx>,
    /// A reply for which there was no space. Until it is sent no request of this client is read: a client that does
    /// not take its replies stops itself and nobody else.
    unsent: Option<Vec<u8>>,
    /// In the list of those to serve.
    queued: bool,
}

/// Serves the requests of any number of clients on the caller's thread.
///
/// ```
/// # use ipc_core::rpc::{MultiServer, Request};
/// # use ipc_core::{Listener, Pollable, ReadySet, Wait};
/// # use std::time::Duration;
/// # fn over<Q: Request<Reply = u32>, L>(listener: L, wait_set: impl ReadySet) -> std::io::Result<()>
/// # where L: Listener + Pollable, L::Tx: Pollable, L::Rx: Pollable {
/// # let stop = std::sync::atomic::AtomicBool::new(true);
/// let mut server = MultiServer::new(listener, wait_set);
/// while !stop.load(std::sync::atomic::Ordering::Relaxed) {
///     server.turn(|request: Q| 7, Wait::within(Duration::from_secs(1)))?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MultiServer<L: Listener, S> {
    listener: L,
    set: S,
    clients: Vec<Option<Client<L::Tx, L::Rx>>>,
    vacant: Vec<usize>,
    /// Clients that may have requests or space now.
    queue: Vec<usize>,
    ready: Vec<usize>,
    accepting: Accepting,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    lost_clients: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// Clients may be waiting.
    Now,
    /// The set tells when there are.
    WhenReady,
    /// No descriptor left; once more at this moment.
    At(Instant),
}

impl<L, S> MultiServer<L, S>
where
    L: Listener + Pollable,
    L::Tx: Pollable,
    L::Rx: Pollable,
    S: ReadySet,
{
    /// A server of all clients that connect to `listener`, waiting for them with `set`, which must be empty.
    pub fn new(listener: L, set: S) -> Self {
        MultiServer {
            listener,
            set,
            clients: Vec::new(),
            vacant: Vec::new(),
            queue: Vec::new(),
            ready: Vec::new(),
            accepting: Accepting::Now,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            lost_clients: 0,
        }
    }

    /// Serves for ever. Handlers run one after the other, on this thread; for how requests are refused see
    /// [`Server::serve`](super::Server::serve).
    ///
    /// # Errors
    /// As [`turn`](MultiServer::turn).
    pub fn serve<Q: Request>(&mut self, mut handler: impl FnMut(Q) -> Q::Reply) -> io::Result<()> {
        loop {
            self.turn(&mut handler, Wait::Forever)?;
        }
    }

    /// Waits until a client has something to do, then serves what there is. Returns the number of requests served, zero
    /// when `wait` was over first or only connections came and went.
    ///
    /// Out of descriptors it accepts nobody until a client leaves or 100 ms have passed; those who want in wait in the
    /// system's backlog. A client that dies or breaks the protocol costs only itself and is counted.
    ///
    /// # Errors
    /// The listener or the set failed.
    pub fn turn<Q: Request>(
        &mut self,
        mut handler: impl FnMut(Q) -> Q::Reply,
        wait: Wait,
    ) -> io::Result<usize> {
        self.sleep(wait)?;
        if self.accepting == Accepting::Now {
            self.accept()?;
        }
        let mut served = 0;
        for at in 0..self.queue.len() {
            let client = self.queue[at];
            served += self.serve_client(client, &mut handler)?;
        }
        let clients = &self.clients;
        self.queue.retain(|at| clients[*at].as_ref().is_some_and(|client| client.queued));
        Ok(served)
    }

    /// Clients connected now.
    pub fn clients(&self) -> usize {
        self.clients.len() - self.vacant.len()
    }

    /// Clients that died or broke the protocol.
    pub fn lost_clients(&self) -> u64 {
        self.lost_clients
    }

    /// The listener.
    pub fn listener(&self) -> &L {
        &self.listener
    }

    /// Waits, and queues what is ready.
    fn sleep(&mut self, mut wait: Wait) -> io::Result<()> {
        match self.accepting {
            _ if !self.queue.is_empty() => wait = Wait::Never,
            Accepting::Now => wait = Wait::Never,
            Accepting::WhenReady => {}
            Accepting::At(moment) => {
                wait = match wait {
                    Wait::Until(deadline) => Wait::Until(deadline.min(moment)),
                    Wait::Forever => Wait::Until(moment),
                    Wait::Never => Wait::Never,
                }
            }
        }
        self.set.wait(wait, &mut self.ready)?;
        for at in 0..self.ready.len() {
            match self.ready[at] {
                LISTENER => {
                    self.listener.disarm();
                    if self.accepting == Accepting::WhenReady {
                        self.accepting = Accepting::Now;
                    }
                }
                key => self.enqueue((key - 1) / 2),
            }
        }
        if let Accepting::At(moment) = self.accepting
            && moment <= Instant::now()
        {
            self.accepting = Accepting::Now;
        }
        Ok(())
    }

    fn enqueue(&mut self, at: usize) {
        if let Some(Some(client)) = self.clients.get_mut(at)
            && !client.queued
        {
            client.queued = true;
            self.queue.push(at);
        }
    }

    /// Lets in everybody who waits.
    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept(Wait::Never) {
                Ok(connection) => {
                    let client = Client { connection, unsent: None, queued: false };
                    let at = match self.vacant.pop() {
                        Some(at) => {
                            self.clients[at] = Some(client);
                            at
                        }
                        None => {
                            self.clients.push(Some(client));
                            self.clients.len() - 1
                        }
                    };
                    self.enqueue(at);
                }
                Err(error) if error.kind == SetupErrorKind::TimedOut => {
                    if self.set.watch(LISTENER, &mut self.listener)? == Armed::MaySleep {
                        self.accepting = Accepting::WhenReady;
                        return Ok(());
                    }
                }
                Err(error) if matches!(error.kind, SetupErrorKind::Limit { .. }) => {
                    self.accepting = Accepting::At(Instant::now() + PAUSE);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Serves one client until it has nothing to do or its budget is used up.
    fn serve_client<Q: Request>(
        &mut self,
        at: usize,
        handler: &mut impl FnMut(Q) -> Q::Reply,
    ) -> io::Result<usize> {
        let Some(Some(client)) = self.clients.get_mut(at) else { return Ok(0) };
        let (rx_key, tx_key) = (1 + 2 * at, 2 + 2 * at);
        let Connection { tx, rx, .. } = &mut client.connection;
        rx.disarm();
        tx.disarm();
        let mut served = 0;
        let end = loop {
            if served == BUDGET {
                return Ok(served);
            }
            let sent = match client.unsent.take() {
                Some(mut reply) => match tx.send_with(&[IoSlice::new(&reply)], Wait::Never) {
                    Err(SendError::Full) => {
                        client.unsent = Some(reply);
                        Err(SendError::Full)
                    }
                    Err(SendError::TooLong { .. }) => {
                        refuse(&mut reply);
                        client.unsent = Some(reply);
                        continue;
                    }
                    done => done,
                },
                None => tx.flush(Wait::Never),
            };
            match sent {
                Ok(()) => {}
                Err(SendError::Full) => match self.set.watch(tx_key, tx)? {
                    Armed::Ready => continue,
                    Armed::MaySleep => break None,
                },
                Err(error) => break Some(unsent(error)),
            }
            match rx.recv_with(&mut self.incoming, Wait::Never) {
                Ok(_) => {}
                Err(RecvError::Empty) => match self.set.watch(rx_key, rx)? {
                    Armed::Ready => continue,
                    Armed::MaySleep => break None,
                },
                Err(error) => break Some(error),
            }
            if let Err(error) = answer(&self.incoming, &mut self.outgoing, handler) {
                break Some(error);
            }
            served += 1;
            match tx.send_with(&[IoSlice::new(&self.outgoing)], Wait::Never) {
                Ok(()) => {}
                // Sent, or refused, at the top of the loop.
                Err(SendError::Full | SendError::TooLong { .. }) => {
                    client.unsent = Some(std::mem::take(&mut self.outgoing));
                }
                Err(error) => break Some(unsent(error)),
            }
        };
        client.queued = false;
        if let Some(end) = end {
            self.drop_client(at, matches!(end, RecvError::Closed))?;
        }
        Ok(served)
    }

    /// Lets a client go.
    fn drop_client(&mut self, at: usize, orderly: bool) -> io::Result<()> {
        let Some(mut client) = self.clients[at].take() else { return Ok(()) };
        self.set.unwatch(1 + 2 * at, &mut client.connection.rx)?;
        self.set.unwatch(2 + 2 * at, &mut client.connection.tx)?;
        self.vacant.push(at);
        self.lost_clients += u64::from(!orderly);
        if let Accepting::At(_) = self.accepting {
            self.accepting = Accepting::Now;
        }
        Ok(())
    }
}
