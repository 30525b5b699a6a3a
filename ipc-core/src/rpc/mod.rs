//! Request and reply over any transport: calls with deadlines, many of them under way at once, and a server for one
//! connection or for many.
//!
//! ```
//! use ipc_core::message::Message;
//! use ipc_core::rpc::{Client, Request, Server};
//! use ipc_core::{Receiver, Sender};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Divide(i64, i64);
//! impl Message for Divide {
//!     const MESSAGE_TYPE: &'static str = "calculator.divide/1";
//! }
//! // Failure is a value like any other.
//! impl Request for Divide {
//!     type Reply = Result<i64, String>;
//! }
//!
//! # use ipc_core::Connection;
//! fn server<Tx: Sender, Rx: Receiver>(connection: Connection<Tx, Rx>) {
//!     let _ended = Server::new(connection)
//!         .serve(|Divide(a, b)| a.checked_div(b).ok_or_else(|| "division by zero".to_owned()));
//! }
//! fn client<Tx: Sender, Rx: Receiver>(connection: Connection<Tx, Rx>) {
//!     let mut client = Client::<Divide, _, _>::new(connection);
//!     let answer = client.call(&Divide(42, 6));
//!     println!("{answer:?}");
//! }
//! ```
//!
//! On the wire a request or reply is one message:
//!
//! ```text
//! offset 0                8      9
//!        ┌────────────────┬──────┬────────────────┐
//!        │ call           │ kind │ body           │  call: u64 little-endian, chosen by the client, echoed
//!        └────────────────┴──────┴────────────────┘  kind: 0 request, 1 reply, 2 refused (no body)
//! ```

mod backoff;
mod calls;
mod client;
mod many;
mod server;

use std::fmt;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, encode};
use crate::{Message, RecvError, SendError, SetupError};

pub use backoff::Backoff;
pub(crate) use backoff::sleep_until;
pub use client::{Client, Ticket};
pub use many::MultiServer;
pub use server::Server;

/// A message that is answered.
///
/// ```
/// use ipc_core::message::Message;
/// use ipc_core::rpc::Request;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Double(u64);
/// impl Message for Double {
///     const MESSAGE_TYPE: &'static str = "math.double/1";
/// }
/// impl Request for Double {
///     type Reply = u64;
/// }
/// ```
pub trait Request: Message + Serialize + DeserializeOwned {
    /// The answer. Make it a `Result` where the server can fail: errors travel as values.
    type Reply: Serialize + DeserializeOwned;
}

/// Bytes before the body.
const HEADER_LEN: usize = 9;

/// What a message of this protocol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request = 0,
    Reply = 1,
    Refused = 2,
}

/// Replaces `buffer` by the message of `kind` for `call` with `body`. On error the buffer holds the header alone.
fn compose(
    buffer: &mut Vec<u8>,
    call: u64,
    kind: Kind,
    body: Option<&impl Serialize>,
) -> Result<(), CodecError> {
    buffer.clear();
    buffer.extend_from_slice(&call.to_le_bytes());
    buffer.push(kind as u8);
    body.map_or(Ok(()), |body| encode(body, buffer))
}

/// Takes a message apart; `None` if it is none of this protocol.
fn dissect(message: &[u8]) -> Option<(u64, Kind, &[u8])> {
    let (call, rest) = message.split_first_chunk::<8>()?;
    let (kind, body) = rest.split_first()?;
    let kind = match kind {
        0 => Kind::Request,
        1 => Kind::Reply,
        2 => Kind::Refused,
        _ => return None,
    };
    Some((u64::from_le_bytes(*call), kind, body))
}

/// Why a call has no reply.
///
/// ```
/// use ipc_core::rpc::CallError;
/// /// Whether the request may have been served although there is no reply.
/// fn may_have_been_served(error: &CallError) -> bool {
///     matches!(error, CallError::TimedOut | CallError::Closed | CallError::PeerDied)
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The request does not encode; nothing was sent.
    Encode(CodecError),
    /// The request is longer than the connection carries; nothing was sent.
    TooLong {
        /// Bytes of the encoded request.
        len: usize,
        /// Most bytes the connection carries.
        max: usize,
    },
    /// No reply yet, or no space for the request, and the call was not to wait.
    NotYet,
    /// The deadline passed. The request may have been served; its reply will be dropped and counted.
    TimedOut,
    /// The server closed the connection before it replied. The request may have been served.
    Closed,
    /// The server died before it replied. The request may have been served.
    PeerDied,
    /// The server broke the protocol; the connection is given up.
    Corrupt {
        /// What was wrong.
        what: &'static str,
    },
    /// The server could not read the request, or could not send its reply.
    Refused,
    /// A reply came that is not of the expected type.
    Decode(CodecError),
    /// No such call: it was cancelled, or its reply was taken before.
    Unknown,
    /// There is no connection, and the call was not to wait for a new one.
    NotConnected,
    /// A new connection could not be made.
    Connect(SetupError),
    /// The client was inherited through `fork`; only the process that made it may use it.
    Forked,
    /// Any other failure of the operating system.
    Io(io::Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Encode(error) | CallError::Decode(error) => error.fmt(f),
            CallError::TooLong { len, max } => {
                write!(f, "request of {len} bytes exceeds the connection's maximum of {max}")
            }
            CallError::NotYet => f.write_str("no reply yet"),
            CallError::TimedOut => f.write_str("no reply before the deadline"),
            CallError::Closed => f.write_str("the server closed the connection before it replied"),
            CallError::PeerDied => f.write_str("the server died before it replied"),
            CallError::Corrupt { what } => write!(f, "the server broke the protocol: {what}"),
            CallError::Refused => f.write_str("the server could not read the request or send its reply"),
            CallError::Unknown => {
                f.write_str("no such call: it was cancelled, or its reply was taken before")
            }
            CallError::NotConnected => f.write_str("not connected, and the call was not to wait"),
            CallError::Connect(error) => error.fmt(f),
            CallError::Forked => {
                f.write_str("client used in a forked child; use it in the process that made it")
            }
            CallError::Io(error) => write!(f, "call failed: {error}"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Encode(error) | CallError::Decode(error) => Some(error),
            CallError::Connect(error) => Some(error),
            CallError::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a connection will carry no more replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Closed,
    PeerDied,
    Corrupt { what: &'static str },
}

impl From<Lost> for CallError {
    fn from(lost: Lost) -> CallError {
        match lost {
            Lost::Closed => CallError::Closed,
            Lost::PeerDied => CallError::PeerDied,
            Lost::Corrupt { what } => CallError::Corrupt { what },
        }
    }
}

/// Sorts a failure: the connection is gone, or this one attempt failed.
fn send_failure(error: SendError) -> Result<Lost, CallError> {
    match error {
        SendError::Closed => Ok(Lost::Closed),
        SendError::PeerDied => Ok(Lost::PeerDied),
        SendError::Corrupt { what } => Ok(Lost::Corrupt { what }),
        SendError::Full => Err(CallError::NotYet),
        SendError::TimedOut => Err(CallError::TimedOut),
        SendError::TooLong { len, max } => Err(CallError::TooLong { len, max }),
        SendError::Forked => Err(CallError::Forked),
        SendError::Io(error) => Err(CallError::Io(error)),
    }
}

/// As [`send_failure`].
fn recv_failure(error: RecvError) -> Result<Lost, CallError> {
    match error {
        RecvError::Closed => Ok(Lost::Closed),
        RecvError::PeerDied { .. } => Ok(Lost::PeerDied),
        RecvError::Corrupt { what } => Ok(Lost::Corrupt { what }),
        RecvError::Empty => Err(CallError::NotYet),
        RecvError::TimedOut => Err(CallError::TimedOut),
        RecvError::Forked => Err(CallError::Forked),
        RecvError::Io(error) => Err(CallError::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_apart_as_they_were_put_together() {
        let mut buffer = vec![1; 100];
        compose(&mut buffer, 7, Kind::Reply, Some(&3u8)).unwrap();
        assert_eq!(dissect(&buffer), Some((7, Kind::Reply, &[3][..])));
        compose(&mut buffer, u64::MAX, Kind::Refused, None::<&()>).unwrap();
        assert_eq!(dissect(&buffer), Some((u64::MAX, Kind::Refused, &[][..])));
        assert_eq!(buffer.len(), HEADER_LEN);
        for len in 0..HEADER_LEN {
            assert_eq!(dissect(&buffer[..len]), None);
        }
        buffer[8] = 3;
        assert_eq!(dissect(&buffer), None);
    }
}
