use std::io::IoSlice;

use super::{Kind, Request, compose, dissect};
use crate::codec::decode;
use crate::{Connection, Receiver, RecvError, SendError, Sender, Wait};

/// Serves the requests of one client, in the order in which they come. [`MultiServer`](super::MultiServer) serves many.
///
/// After its buffers have grown to the largest messages, it allocates nothing beyond what requests and replies hold.
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
/// use ipc_core::rpc::Server;
/// use ipc_core::{Connection, Receiver, RecvError, Sender};
/// fn serve<Tx: Sender, Rx: Receiver>(client: Connection<Tx, Rx>) -> Result<(), RecvError> {
///     Server::new(client).serve(|Double(number)| 2 * number)
/// }
/// ```
#[derive(Debug)]
pub struct Server<Tx, Rx> {
    connection: Connection<Tx, Rx>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl<Tx: Sender, Rx: Receiver> Server<Tx, Rx> {
    /// A server of the client at the other end of `connection`.
    pub fn new(connection: Connection<Tx, Rx>) -> Self {
        Server { connection, incoming: Vec::new(), outgoing: Vec::new() }
    }

    /// Answers each request with what `handler` makes of it, until the client closes the connection. A request that does
    /// not decode, and a reply that does not encode or is too long, is refused to the client, and serving goes on.
    ///
    /// # Errors
    /// `PeerDied` when the client died, `Corrupt` when it sent what is no request; `Forked`, `Io`.
    pub fn serve<Q: Request>(&mut self, mut handler: impl FnMut(Q) -> Q::Reply) -> Result<(), RecvError> {
        loop {
            match self.serve_one(&mut handler, Wait::Forever) {
                Ok(()) => {}
                Err(RecvError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Serves the next request; `wait` is for it to come.
    ///
    /// # Errors
    /// As [`serve`](Server::serve), and `Empty`, `TimedOut`, `Closed`.
    pub fn serve_one<Q: Request>(
        &mut self,
        mut handler: impl FnMut(Q) -> Q::Reply,
        wait: Wait,
    ) -> Result<(), RecvError> {
        self.connection.rx.recv_with(&mut self.incoming, wait)?;
        answer(&self.incoming, &mut self.outgoing, &mut handler)?;
        let tx = &mut self.connection.tx;
        match tx.send_with(&[IoSlice::new(&self.outgoing)], Wait::Forever) {
            Err(SendError::TooLong { .. }) => {
                refuse(&mut self.outgoing);
                tx.send(&self.outgoing)
            }
            done => done,
        }
        .map_err(unsent)
    }

    /// Gives the connection back.
    pub fn into_connection(self) -> Connection<Tx, Rx> {
        self.connection
    }
}

/// Replaces `outgoing` by the answer to the request in `incoming`.
///
/// # Errors
/// `Corrupt` if it is no request.
pub(super) fn answer<Q: Request>(
    incoming: &[u8],
    outgoing: &mut Vec<u8>,
    handler: &mut impl FnMut(Q) -> Q::Reply,
) -> Result<(), RecvError> {
    let Some((call, Kind::Request, body)) = dissect(incoming) else {
        return Err(RecvError::Corrupt { what: "a message that is no request" });
    };
    let reply = decode(body).map(handler);
    let composed = reply.and_then(|reply| compose(outgoing, call, Kind::Reply, Some(&reply)));
    if composed.is_err() {
        outgoing.clear();
        outgoing.extend_from_slice(&call.to_le_bytes());
        outgoing.push(Kind::Refused as u8);
    }
    Ok(())
}

/// Turns the reply in `outgoing` into a refusal.
pub(super) fn refuse(outgoing: &mut Vec<u8>) {
    outgoing.truncate(super::HEADER_LEN);
    outgoing[super::HEADER_LEN - 1] = Kind::Refused as u8;
}

/// A failed send as the end of serving.
pub(super) fn unsent(error: SendError) -> RecvError {
    match error {
        SendError::Closed => RecvError::Closed,
        SendError::PeerDied => RecvError::PeerDied { partial_bytes: 0 },
        SendError::Corrupt { what } => RecvError::Corrupt { what },
        SendError::Full => RecvError::Empty,
        SendError::TimedOut => RecvError::TimedOut,
        SendError::Forked => RecvError::Forked,
        SendError::TooLong { .. } => RecvError::Corrupt { what: "a maximum too small for a refusal" },
        SendError::Io(error) => RecvError::Io(error),
    }
}
