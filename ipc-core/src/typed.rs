//! Halves that carry values of one type instead of bytes, over any transport.
//!
//! ```
//! # use ipc_core::typed::{TypedReceiver, TypedSender};
//! # use ipc_core::{Receiver, Sender};
//! # fn over(tx: impl Sender, rx: impl Receiver) -> Result<(), Box<dyn std::error::Error>> {
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Reading {
//!     sensor: u16,
//!     celsius: f32,
//! }
//! let mut tx = TypedSender::<Reading, _>::new(tx);
//! let mut rx = TypedReceiver::<Reading, _>::new(rx);
//! tx.send(&Reading { sensor: 3, celsius: 21.5 })?;
//! let reading = rx.recv()?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, decode, decode_front, encode};
use crate::{Receiver, RecvError, SendError, Sender, Wait};

/// Why a value was not sent. Nothing of it was.
///
/// ```
/// use ipc_core::SendError;
/// use ipc_core::typed::TypedSendError;
/// fn is_full(error: &TypedSendError) -> bool {
///     matches!(error, TypedSendError::Send(SendError::Full))
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TypedSendError {
    /// It does not encode; the connection was not touched.
    Encode(CodecError),
    /// The connection did not take it.
    Send(SendError),
}

/// Why no value was received.
///
/// ```
/// use ipc_core::typed::TypedRecvError;
/// /// Whether the connection is as good as before.
/// fn costs_one_message(error: &TypedRecvError) -> bool {
///     matches!(error, TypedRecvError::Decode(_))
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TypedRecvError {
    /// A message came that is no value of this type. It is gone, and the next one can be received.
    Decode(CodecError),
    /// The connection gave no message.
    Recv(RecvError),
}

macro_rules! two_causes {
    ($error:ident: $codec:ident(CodecError), $transport:ident($source:ty)) => {
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $error::$codec(error) => error.fmt(f),
                    $error::$transport(error) => error.fmt(f),
                }
            }
        }

        impl std::error::Error for $error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                match self {
                    $error::$codec(error) => Some(error),
                    $error::$transport(error) => Some(error),
                }
            }
        }

        impl From<$source> for $error {
            fn from(error: $source) -> Self {
                $error::$transport(error)
            }
        }

        impl From<$error> for std::io::Error {
            fn from(error: $error) -> Self {
                match error {
                    $error::$codec(error) => std::io::Error::new(std::io::ErrorKind::InvalidData, error),
                    $error::$transport(error) => error.into(),
                }
            }
        }
    };
}

two_causes!(TypedSendError: Encode(CodecError), Send(SendError));
two_causes!(TypedRecvError: Decode(CodecError), Recv(RecvError));

/// Sends values of type `T`. Once its buffer has grown to the largest message, sending allocates nothing.
///
/// ```
/// use ipc_core::Sender;
/// use ipc_core::typed::{TypedSendError, TypedSender};
/// fn send_pair(tx: impl Sender) -> Result<(), TypedSendError> {
///     TypedSender::<(u32, u32), _>::new(tx).send(&(6, 7))
/// }
/// ```
#[derive(Debug)]
pub struct TypedSender<T, S> {
    inner: S,
    buffer: Vec<u8>,
    carries: PhantomData<fn(&T)>,
}

impl<T: Serialize, S: Sender> TypedSender<T, S> {
    /// A sender of values over `inner`.
    pub fn new(inner: S) -> Self {
        TypedSender { inner, buffer: Vec::new(), carries: PhantomData }
    }

    /// Sends one value.
    ///
    /// # Errors
    /// `Encode` before anything was sent; else as [`Sender::send_with`].
    #[inline]
    pub fn send_with(&mut self, value: &T, wait: Wait) -> Result<(), TypedSendError> {
        self.send_with_bytes(value, &[], wait)
    }

    /// Sends one value followed by bytes that are neither encoded nor copied here: they go to the transport as they
    /// lie. [`TypedReceiver::recv_with_bytes`] is the other end.
    ///
    /// # Errors
    /// As [`send_with`](TypedSender::send_with).
    #[inline]
    pub fn send_with_bytes(&mut self, value: &T, bytes: &[u8], wait: Wait) -> Result<(), TypedSendError> {
        self.buffer.clear();
        encode(value, &mut self.buffer).map_err(TypedSendError::Encode)?;
        let parts = [IoSlice::new(&self.buffer), IoSlice::new(bytes)];
        let used = if bytes.is_empty() { 1 } else { 2 };
        Ok(self.inner.send_with(&parts[..used], wait)?)
    }

    /// Sends one value, waiting as long as it takes. Errors as [`send_with`](TypedSender::send_with).
    #[inline]
    pub fn send(&mut self, value: &T) -> Result<(), TypedSendError> {
        self.send_with(value, Wait::Forever)
    }

    /// Sends one value if there is space now. Errors as [`send_with`](TypedSender::send_with).
    pub fn try_send(&mut self, value: &T) -> Result<(), TypedSendError> {
        self.send_with(value, Wait::Never)
    }

    /// Sends one value, waiting at most `timeout`. Errors as [`send_with`](TypedSender::send_with).
    pub fn send_timeout(&mut self, value: &T, timeout: Duration) -> Result<(), TypedSendError> {
        self.send_with(value, Wait::within(timeout))
    }

    /// The half underneath.
    pub fn inner(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the half underneath back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// Receives values of type `T`. Values without heap parts are received without allocating, once its buffer has grown to
/// the largest message.
///
/// ```
/// use ipc_core::Receiver;
/// use ipc_core::typed::{TypedReceiver, TypedRecvError};
/// fn receive_pair(rx: impl Receiver) -> Result<(u32, u32), TypedRecvError> {
///     TypedReceiver::<(u32, u32), _>::new(rx).recv()
/// }
/// ```
#[derive(Debug)]
pub struct TypedReceiver<T, R> {
    inner: R,
    buffer: Vec<u8>,
    carries: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned, R: Receiver> TypedReceiver<T, R> {
    /// A receiver of values over `inner`.
    pub fn new(inner: R) -> Self {
        TypedReceiver { inner, buffer: Vec::new(), carries: PhantomData }
    }

    /// Receives one value.
    ///
    /// # Errors
    /// `Decode` for a message that is no `T` or is longer than one; else as [`Receiver::recv_with`].
    #[inline]
    pub fn recv_with(&mut self, wait: Wait) -> Result<T, TypedRecvError> {
        self.inner.recv_with(&mut self.buffer, wait)?;
        decode(&self.buffer).map_err(TypedRecvError::Decode)
    }

    /// Receives one value and the bytes sent with it, which are lent until the next call.
    ///
    /// # Errors
    /// `Decode` for a message that does not begin with a `T`; else as [`Receiver::recv_with`].
    #[inline]
    pub fn recv_with_bytes(&mut self, wait: Wait) -> Result<(T, &[u8]), TypedRecvError> {
        self.inner.recv_with(&mut self.buffer, wait)?;
        decode_front(&self.buffer).map_err(TypedRecvError::Decode)
    }

    /// Receives one value, waiting as long as it takes. Errors as [`recv_with`](TypedReceiver::recv_with).
    #[inline]
    pub fn recv(&mut self) -> Result<T, TypedRecvError> {
        self.recv_with(Wait::Forever)
    }

    /// Receives one value if one is there. Errors as [`recv_with`](TypedReceiver::recv_with).
    pub fn try_recv(&mut self) -> Result<T, TypedRecvError> {
        self.recv_with(Wait::Never)
    }

    /// Receives one value, waiting at most `timeout`. Errors as [`recv_with`](TypedReceiver::recv_with).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, TypedRecvError> {
        self.recv_with(Wait::within(timeout))
    }

    /// The half underneath.
    pub fn inner(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Gives the half underneath back.
    pub fn into_inner(self) -> R {
        self.inner
    }
}
