use std::error::Error;
use std::fmt;
use std::io;

/// Why a message was not sent. A failed send has taken nothing.
///
/// ```
/// use ipc_core::SendError;
/// /// Whether it makes sense to try again.
/// fn is_passing(error: &SendError) -> bool {
///     matches!(error, SendError::Full | SendError::TimedOut)
/// }
/// assert!(is_passing(&SendError::Full) && !is_passing(&SendError::PeerDied));
/// assert_eq!(SendError::PeerDied.to_string(), "the peer died");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// No space now, and the call was not to wait.
    Full,
    /// No space before the deadline.
    TimedOut,
    /// The message can never fit.
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// Most bytes this connection carries.
        max: usize,
    },
    /// The peer closed the connection in an orderly way.
    Closed,
    /// The peer vanished without saying goodbye.
    PeerDied,
    /// The peer broke the protocol.
    Corrupt {
        /// What was wrong.
        what: &'static str,
    },
    /// This half was inherited through `fork`; only the process that made it may use it.
    Forked,
    /// Any other failure of the operating system.
    Io(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full => f.write_str("no space for the message now"),
            SendError::TimedOut => f.write_str("no space for the message before the deadline"),
            SendError::TooLong { len, max } => {
                write!(f, "message of {len} bytes exceeds the connection's maximum of {max}")
            }
            SendError::Closed => f.write_str("the peer closed the connection"),
            SendError::PeerDied => f.write_str("the peer died"),
            SendError::Corrupt { what } => write!(f, "the peer broke the protocol: {what}"),
            SendError::Forked => {
                f.write_str("connection used in a forked child; use it in the process that made it")
            }
            SendError::Io(error) => write!(f, "send failed: {error}"),
        }
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SendError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> io::Error {
        let kind = match &error {
            SendError::Full => io::ErrorKind::WouldBlock,
            SendError::TimedOut => io::ErrorKind::TimedOut,
            SendError::TooLong { .. } => io::ErrorKind::InvalidInput,
            SendError::Closed => io::ErrorKind::BrokenPipe,
            SendError::PeerDied => io::ErrorKind::ConnectionReset,
            SendError::Corrupt { .. } => io::ErrorKind::InvalidData,
            SendError::Forked => io::ErrorKind::Unsupported,
            SendError::Io(source) => source.kind(),
        };
        match error {
            SendError::Io(source) => source,
            other => io::Error::new(kind, other),
        }
    }
}

/// Why no message was received.
///
/// ```
/// use ipc_core::RecvError;
/// /// An orderly close is no failure.
/// fn finished(error: RecvError) -> Result<(), RecvError> {
///     if matches!(error, RecvError::Closed) { Ok(()) } else { Err(error) }
/// }
/// assert!(finished(RecvError::Closed).is_ok());
/// assert!(finished(RecvError::PeerDied { partial_bytes: 0 }).is_err());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// No message now, and the call was not to wait.
    Empty,
    /// No message before the deadline.
    TimedOut,
    /// The peer closed the connection in an orderly way, and every message before that was received.
    Closed,
    /// The peer vanished without saying goodbye; every message it had finished was received first.
    PeerDied {
        /// Bytes of an unfinished message that were thrown away.
        partial_bytes: usize,
    },
    /// The peer broke the protocol.
    Corrupt {
        /// What was wrong.
        what: &'static str,
    },
    /// This half was inherited through `fork`; only the process that made it may use it.
    Forked,
    /// Any other failure of the operating system.
    Io(io::Error),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Empty => f.write_str("no message now"),
            RecvError::TimedOut => f.write_str("no message before the deadline"),
            RecvError::Closed => f.write_str("the peer closed the connection"),
            RecvError::PeerDied { partial_bytes: 0 } => f.write_str("the peer died"),
            RecvError::PeerDied { partial_bytes } => {
                write!(f, "the peer died in the middle of a message, after {partial_bytes} bytes of it")
            }
            RecvError::Corrupt { what } => write!(f, "the peer broke the protocol: {what}"),
            RecvError::Forked => {
                f.write_str("connection used in a forked child; use it in the process that made it")
            }
            RecvError::Io(error) => write!(f, "receive failed: {error}"),
        }
    }
}

impl Error for RecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RecvError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> io::Error {
        let kind = match &error {
            RecvError::Empty => io::ErrorKind::WouldBlock,
            RecvError::TimedOut => io::ErrorKind::TimedOut,
            RecvError::Closed => io::ErrorKind::UnexpectedEof,
            RecvError::PeerDied { .. } => io::ErrorKind::ConnectionReset,
            RecvError::Corrupt { .. } => io::ErrorKind::InvalidData,
            RecvError::Forked => io::ErrorKind::Unsupported,
            RecvError::Io(source) => source.kind(),
        };
        match error {
            RecvError::Io(source) => source,
            other => io::Error::new(kind, other),
        }
    }
}

/// Why a listener or a connection did not come into being.
///
/// ```
/// use ipc_core::{SetupError, SetupErrorKind};
/// let error = SetupError::new(SetupErrorKind::NotFound, "connect to", "uds:nobody");
/// assert_eq!(error.to_string(), "connect to uds:nobody: nobody is listening there");
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct SetupError {
    /// What kind of failure it is.
    pub kind: SetupErrorKind,
    /// What was being done, as a verb phrase: `"listen on"`, `"mq_open"`.
    pub op: &'static str,
    /// What it was done to: an address, a path, a queue name.
    pub target: String,
    /// What the system or a parser said.
    pub source: Option<io::Error>,
}

/// The kinds of [`SetupError`].
///
/// ```
/// use ipc_core::{SetupError, SetupErrorKind};
/// /// Whether the server may come yet.
/// fn may_come(error: &SetupError) -> bool {
///     matches!(error.kind, SetupErrorKind::NotFound | SetupErrorKind::TimedOut)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupErrorKind {
    /// A live listener has this address.
    InUse {
        /// Its process, where the kernel tells.
        pid: Option<u32>,
    },
    /// Nobody listens there.
    NotFound,
    /// Permissions, ownership or identity forbid it.
    Denied,
    /// A limit of the system or of this process is reached.
    Limit {
        /// The limit by its system name, e.g. `RLIMIT_NOFILE` or `fs.mqueue.msgsize_max`.
        name: &'static str,
        /// What would have been needed, in the limit's own unit.
        need: u64,
        /// What there is.
        have: u64,
    },
    /// Out of memory or disk space.
    NoSpace,
    /// The name or path does not fit into a socket address.
    NameTooLong,
    /// The two programs do not fit together.
    Mismatch {
        /// In what they differ.
        what: &'static str,
        /// Our value.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
    /// The other side hung up in the middle of the handshake: it died, or refused us.
    HungUp,
    /// This kernel or machine lacks something, named by the source error.
    Unsupported,
    /// The deadline passed.
    TimedOut,
    /// The address or one of its options is wrong.
    BadAddress,
    /// Any other failure of the operating system.
    Io,
}

impl SetupError {
    /// A failure of `kind` while doing `op` to `target`.
    pub fn new(kind: SetupErrorKind, op: &'static str, target: impl fmt::Display) -> Self {
        SetupError { kind, op, target: target.to_string(), source: None }
    }

    /// The same failure with what the system said.
    #[must_use]
    pub fn because(self, source: impl Into<io::Error>) -> Self {
        SetupError { source: Some(source.into()), ..self }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.op, self.target)?;
        match &self.kind {
            SetupErrorKind::InUse { pid: Some(pid) } => write!(f, "in use by pid {pid}")?,
            SetupErrorKind::InUse { pid: None } => f.write_str("in use by another process")?,
            SetupErrorKind::NotFound => f.write_str("nobody is listening there")?,
            SetupErrorKind::Denied => f.write_str("not allowed")?,
            SetupErrorKind::Limit { name, need, have } => write!(f, "needs {need}, but {name} is {have}")?,
            SetupErrorKind::NoSpace => f.write_str("no memory or disk space left")?,
            SetupErrorKind::NameTooLong => f.write_str("longer than a socket address holds (107 bytes)")?,
            SetupErrorKind::Mismatch { what, ours, theirs } => {
                write!(f, "the two programs differ in {what}: ours {ours:#x}, theirs {theirs:#x}")?;
            }
            SetupErrorKind::HungUp => f.write_str("the other side hung up: it died, or refused us")?,
            SetupErrorKind::Unsupported => f.write_str("not supported here")?,
            SetupErrorKind::TimedOut => f.write_str("not done before the deadline")?,
            SetupErrorKind::BadAddress => f.write_str("bad address")?,
            SetupErrorKind::Io => f.write_str("failed")?,
        }
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl Error for SetupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|error| error as &(dyn Error + 'static))
    }
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> io::Error {
        let kind = match &error.kind {
            SetupErrorKind::InUse { .. } => io::ErrorKind::AddrInUse,
            SetupErrorKind::NotFound => io::ErrorKind::NotFound,
            SetupErrorKind::Denied => io::ErrorKind::PermissionDenied,
            SetupErrorKind::Limit { .. } => io::ErrorKind::QuotaExceeded,
            SetupErrorKind::NoSpace => io::ErrorKind::StorageFull,
            SetupErrorKind::NameTooLong => io::ErrorKind::InvalidFilename,
            SetupErrorKind::Mismatch { .. } => io::ErrorKind::InvalidData,
            SetupErrorKind::HungUp => io::ErrorKind::ConnectionReset,
            SetupErrorKind::Unsupported => io::ErrorKind::Unsupported,
            SetupErrorKind::TimedOut => io::ErrorKind::TimedOut,
            SetupErrorKind::BadAddress => io::ErrorKind::InvalidInput,
            SetupErrorKind::Io => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_lower_case_sentence_with_the_numbers_in_it() {
        assert_eq!(
            SendError::TooLong { len: 70_000, max: 65_536 }.to_string(),
            "message of 70000 bytes exceeds the connection's maximum of 65536"
        );
        let limit = SetupErrorKind::Limit { name: "fs.mqueue.msg_max", need: 64, have: 10 };
        assert_eq!(
            SetupError::new(limit, "mq_open", "/q").to_string(),
            "mq_open /q: needs 64, but fs.mqueue.msg_max is 10"
        );
        assert_eq!(
            SetupError::new(SetupErrorKind::InUse { pid: Some(7) }, "listen on", "uds:x").to_string(),
            "listen on uds:x: in use by pid 7"
        );
    }

    #[test]
    fn io_errors_keep_their_kind() {
        assert_eq!(io::Error::from(RecvError::Empty).kind(), io::ErrorKind::WouldBlock);
        assert_eq!(io::Error::from(SendError::Closed).kind(), io::ErrorKind::BrokenPipe);
        let inner = io::Error::from(io::ErrorKind::Interrupted);
        assert_eq!(io::Error::from(RecvError::Io(inner)).kind(), io::ErrorKind::Interrupted);
    }
}
