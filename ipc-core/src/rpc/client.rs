use std::fmt;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::backoff::sleep_until;
use super::calls::{Calls, State};
use super::{
    Backoff, CallError, HEADER_LEN, Kind, Lost, Request, compose, dissect, recv_failure, send_failure,
};
use crate::codec::decode;
use crate::{Connection, Receiver, Sender, SetupError, SetupErrorKind, Wait};

/// While the link is full the client looks this often for replies: a server that waits for us to take replies does not
/// read requests.
const SLICE: Duration = Duration::from_millis(1);

/// A call under way. Ask for its reply with [`Client::reply`], or give it up with [`Client::cancel`]; until then it
/// holds a place in the client's table.
///
/// ```
/// # use ipc_core::message::Message;
/// # use ipc_core::rpc::Request;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Double(u64);
/// # impl Message for Double {
/// #     const MESSAGE_TYPE: &'static str = "math.double/1";
/// # }
/// # impl Request for Double {
/// #     type Reply = u64;
/// # }
/// use ipc_core::rpc::{CallError, Client, Ticket};
/// use ipc_core::{Receiver, Sender, Wait};
/// fn reply_if_there<Tx: Sender, Rx: Receiver>(
///     client: &mut Client<Double, Tx, Rx>,
///     call: &Ticket,
/// ) -> Result<Option<u64>, CallError> {
///     match client.reply(call, Wait::Never) {
///         Ok(reply) => Ok(Some(reply)),
///         Err(CallError::NotYet) => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a call that is neither asked for nor cancelled holds its place for ever"]
pub struct Ticket(u64);

/// What makes a new connection.
type Connect<Tx, Rx> = dyn FnMut(Wait) -> Result<Connection<Tx, Rx>, SetupError> + Send;

struct Reconnect<Tx, Rx> {
    connect: Box<Connect<Tx, Rx>>,
    backoff: Backoff,
    /// Attempts that failed in a row.
    failures: u32,
    not_before: Option<Instant>,
}

/// Calls a server, one request at a time or many pipelined. A call never waits longer than it is told, and is never
/// sent twice.
///
/// After its buffers have grown to the largest messages, a call allocates nothing beyond what the reply itself holds.
///
/// ```
/// # use ipc_core::message::Message;
/// # use ipc_core::rpc::Request;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Double(u64);
/// # impl Message for Double {
/// #     const MESSAGE_TYPE: &'static str = "math.double/1";
/// # }
/// # impl Request for Double {
/// #     type Reply = u64;
/// # }
/// use ipc_core::rpc::{CallError, Client};
/// use ipc_core::{Receiver, Sender};
/// use std::time::Duration;
/// /// Two calls under way at once; the replies come in any order of asking.
/// fn twice<Tx: Sender, Rx: Receiver>(client: &mut Client<Double, Tx, Rx>) -> Result<u64, CallError> {
///     let wait = ipc_core::Wait::within(Duration::from_secs(1));
///     let (one, two) = (client.start(&Double(1), wait)?, client.start(&Double(2), wait)?);
///     Ok(client.reply(&two, wait)? + client.reply(&one, wait)?)
/// }
/// ```
pub struct Client<Q, Tx, Rx> {
    link: Option<Connection<Tx, Rx>>,
    /// Why there is no link.
    lost: Option<Lost>,
    reconnect: Option<Reconnect<Tx, Rx>>,
    calls: Calls,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    late_replies: u64,
    asks: PhantomData<fn(&Q)>,
}

impl<Q, Tx, Rx> fmt::Debug for Client<Q, Tx, Rx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connected", &self.link.is_some())
            .field("calls", &self.calls.open_calls())
            .field("late_replies", &self.late_replies)
            .finish_non_exhaustive()
    }
}

impl<Q: Request, Tx: Sender, Rx: Receiver> Client<Q, Tx, Rx> {
    /// A client of the server at the other end of `connection`. When that server is gone, so is the client's use.
    pub fn new(connection: Connection<Tx, Rx>) -> Self {
        Client { link: Some(connection), ..Client::unconnected(None) }
    }

    /// A client that makes its connection with `connect` at the first call, and a new one at the first call after it
    /// was lost. Calls under way when it is lost fail; they are not sent again, for they may have been served.
    ///
    /// While nobody listens, a call goes on trying as long as it may wait, in intervals of `backoff`.
    pub fn reconnecting(
        connect: impl FnMut(Wait) -> Result<Connection<Tx, Rx>, SetupError> + Send + 'static,
        backoff: Backoff,
    ) -> Self {
        Client::unconnected(Some(Reconnect {
            connect: Box::new(connect),
            backoff,
            failures: 0,
            not_before: None,
        }))
    }

    fn unconnected(reconnect: Option<Reconnect<Tx, Rx>>) -> Self {
        Client {
            link: None,
            lost: None,
            reconnect,
            calls: Calls::default(),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            late_replies: 0,
            asks: PhantomData,
        }
    }

    /// Calls the server and waits as long as it takes. Errors as [`call_with`](Client::call_with).
    #[inline]
    pub fn call(&mut self, request: &Q) -> Result<Q::Reply, CallError> {
        self.call_with(request, Wait::Forever)
    }

    /// Calls the server and waits at most `timeout`. Errors as [`call_with`](Client::call_with).
    pub fn call_timeout(&mut self, request: &Q, timeout: Duration) -> Result<Q::Reply, CallError> {
        self.call_with(request, Wait::within(timeout))
    }

    /// Calls the server. When the deadline passes the call is cancelled: the server may still serve it.
    ///
    /// # Errors
    /// As [`start`](Client::start) and [`reply`](Client::reply).
    #[inline]
    pub fn call_with(&mut self, request: &Q, wait: Wait) -> Result<Q::Reply, CallError> {
        let ticket = self.start(request, wait)?;
        let result = self.reply(&ticket, wait);
        if result.is_err() {
            self.cancel(ticket);
        }
        result
    }

    /// Sends a request without waiting for its reply. `wait` is for space, and for a new connection if it needs one.
    ///
    /// # Errors
    /// * `Encode`, `TooLong` — nothing was sent.
    /// * `NotYet`, `TimedOut` — no space; nothing was sent.
    /// * `Closed`, `PeerDied`, `Corrupt` — the server is gone, and this client does not reconnect.
    /// * `NotConnected`, `Connect` — no new connection before `wait` was over, or never: the reason is inside.
    /// * `Forked`, `Io`.
    #[inline]
    pub fn start(&mut self, request: &Q, wait: Wait) -> Result<Ticket, CallError> {
        match self.request(request, wait) {
            // Nothing of a request whose send failed was taken, so that this is its first sending. It is a new call: the
            // old one was lost with the connection.
            Err(CallError::Closed | CallError::PeerDied) if self.reconnect.is_some() => {
                self.request(request, wait)
            }
            done => done,
        }
    }

    /// Opens a call and sends its request; no call stays open when that fails.
    #[inline]
    fn request(&mut self, request: &Q, wait: Wait) -> Result<Ticket, CallError> {
        let call = self.calls.open();
        let sent = compose(&mut self.outgoing, call, Kind::Request, Some(request))
            .map_err(CallError::Encode)
            .and_then(|()| self.connected(wait))
            .and_then(|()| self.push(wait));
        match sent {
            Ok(()) => Ok(Ticket(call)),
            Err(error) => {
                self.calls.close(call);
                Err(error)
            }
        }
    }

    /// Waits for the reply to one call; replies to others that come meanwhile are kept for them. After `NotYet`,
    /// `TimedOut`, `Forked` and `Io` the call is still under way and can be asked for again; after anything else it is
    /// done with.
    ///
    /// # Errors
    /// `NotYet`, `TimedOut`; `Closed`, `PeerDied`, `Corrupt` when the server is gone; `Refused`; `Decode`; `Unknown`
    /// for a call that is done with; `Forked`, `Io`.
    pub fn reply(&mut self, ticket: &Ticket, wait: Wait) -> Result<Q::Reply, CallError> {
        let call = ticket.0;
        loop {
            let result = match self.calls.state(call) {
                None => return Err(CallError::Unknown),
                Some(State::Replied) => {
                    decode(&self.calls.message(call)[HEADER_LEN..]).map_err(CallError::Decode)
                }
                Some(State::Refused) => Err(CallError::Refused),
                Some(State::Lost(lost)) => Err(lost.into()),
                Some(State::Waiting) => {
                    let got_on = self.push_rest(wait).and_then(|()| self.take_in(wait));
                    match got_on {
                        // The state says it better: this call may have been answered before the end.
                        Ok(()) | Err(CallError::Closed | CallError::PeerDied | CallError::Corrupt { .. }) => {
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            self.calls.close(call);
            return result;
        }
    }

    /// Gives a call up. The server is not told; a reply that still comes is dropped and counted.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.calls.close(ticket.0);
    }

    /// Calls that are neither answered and taken nor cancelled.
    pub fn calls(&self) -> usize {
        self.calls.open_calls()
    }

    /// Replies that came after their call was given up.
    pub fn late_replies(&self) -> u64 {
        self.late_replies
    }

    /// The connection, while there is one.
    pub fn connection(&mut self) -> Option<&mut Connection<Tx, Rx>> {
        self.link.as_mut()
    }

    /// Gives up the connection; every call under way fails at once.
    fn lose(&mut self, lost: Lost) -> CallError {
        self.calls.lose_all(lost);
        self.lost = Some(lost);
        self.link = None;
        lost.into()
    }

    fn fail<E>(&mut self, error: E, sort: fn(E) -> Result<Lost, CallError>) -> CallError {
        match sort(error) {
            Ok(lost) => self.lose(lost),
            Err(error) => error,
        }
    }

    /// Makes sure there is a connection.
    #[inline]
    fn connected(&mut self, wait: Wait) -> Result<(), CallError> {
        if self.link.is_some() { Ok(()) } else { self.connect(wait) }
    }

    #[cold]
    fn connect(&mut self, wait: Wait) -> Result<(), CallError> {
        let Some(reconnect) = &mut self.reconnect else {
            return Err(self.lost.map_or(CallError::NotConnected, CallError::from));
        };
        // A handshake takes a round trip, which a call that must not wait has no time for.
        if wait == Wait::Never {
            return Err(CallError::NotConnected);
        }
        loop {
            if let Some(moment) = reconnect.not_before {
                match wait {
                    Wait::Until(deadline) if deadline <= moment => {
                        sleep_until(deadline);
                        return Err(CallError::TimedOut);
                    }
                    _ => sleep_until(moment),
                }
            }
            match (reconnect.connect)(wait) {
                Ok(connection) => {
                    (reconnect.failures, reconnect.not_before) = (0, None);
                    (self.link, self.lost) = (Some(connection), None);
                    return Ok(());
                }
                Err(error) => {
                    reconnect.failures = reconnect.failures.saturating_add(1);
                    reconnect.not_before = Some(Instant::now() + reconnect.backoff.delay(reconnect.failures));
                    if wait.is_over() || !may_pass(&error.kind) {
                        return Err(CallError::Connect(error));
                    }
                }
            }
        }
    }

    /// Sends what is in `outgoing`. While there is no space, replies are taken in: a server that has no space for them
    /// would not read the request.
    #[inline]
    fn push(&mut self, wait: Wait) -> Result<(), CallError> {
        let mut slice = Wait::Never;
        loop {
            let Some(link) = &mut self.link else { return Err(CallError::NotConnected) };
            match link.tx.send_with(&[IoSlice::new(&self.outgoing)], slice) {
                Ok(()) => return Ok(()),
                Err(error) => slice = self.no_space(error, wait)?,
            }
        }
    }

    /// Pushes out the rest of requests that the connection has taken but the system has not.
    #[inline]
    fn push_rest(&mut self, wait: Wait) -> Result<(), CallError> {
        let mut slice = Wait::Never;
        loop {
            let Some(link) = &mut self.link else { return Err(CallError::NotConnected) };
            match link.tx.flush(slice) {
                Ok(()) => return Ok(()),
                Err(error) => slice = self.no_space(error, wait)?,
            }
        }
    }

    /// Takes in what replies are there, and tells how long to wait for space before looking for more.
    #[cold]
    fn no_space(&mut self, error: crate::SendError, wait: Wait) -> Result<Wait, CallError> {
        match self.fail(error, send_failure) {
            CallError::NotYet | CallError::TimedOut => {}
            error => return Err(error),
        }
        loop {
            match self.take_in(Wait::Never) {
                Ok(()) => {}
                Err(CallError::NotYet) => break,
                Err(error) => return Err(error),
            }
        }
        let slice = Instant::now() + SLICE;
        match wait {
            Wait::Never => Err(CallError::NotYet),
            _ if wait.is_over() => Err(CallError::TimedOut),
            Wait::Until(deadline) => Ok(Wait::Until(deadline.min(slice))),
            Wait::Forever => Ok(Wait::Until(slice)),
        }
    }

    /// Receives one reply and files it.
    #[inline]
    fn take_in(&mut self, wait: Wait) -> Result<(), CallError> {
        let Some(link) = &mut self.link else { return Err(CallError::NotConnected) };
        if let Err(error) = link.rx.recv_with(&mut self.incoming, wait) {
            return Err(self.fail(error, recv_failure));
        }
        match dissect(&self.incoming) {
            Some((call, kind @ (Kind::Reply | Kind::Refused), _)) => {
                if !self.calls.answer(call, kind, &mut self.incoming) {
                    self.late_replies += 1;
                }
                Ok(())
            }
            _ => Err(self.lose(Lost::Corrupt { what: "a message that is no reply" })),
        }
    }
}

/// Whether another attempt to connect may succeed without anybody changing a program or a setting.
fn may_pass(kind: &SetupErrorKind) -> bool {
    use SetupErrorKind::{BadAddress, Denied, Mismatch, NameTooLong, Unsupported};
    !matches!(kind, BadAddress | Denied | Mismatch { .. } | NameTooLong | Unsupported)
}
