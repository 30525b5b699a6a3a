//! The measuring loops: one per workload, generic over what carries the messages.
//!
//! A loop is an `async fn` over an [`Endpoint`]. A blocking endpoint never suspends, so [`now`] runs the loop as if the
//! `await`s were not there; an asynchronous one will run the same source in a runtime.

pub(crate) mod endpoint;
#[cfg(test)]
mod handwritten;
pub(crate) mod rtt;
pub(crate) mod stream;

use std::fmt;
use std::time::Duration;

use ipc_transports::{RecvError, SendError};
use serde::{Deserialize, Serialize};

use crate::payload::Flaw;

pub(crate) use endpoint::{BareEnd, Blocking, Endpoint, now};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Ping-pong: the client sends, the server sends the same bytes back, the client takes the time.
    Rtt,
    /// As many messages as fit, one way.
    Stream,
}

impl Mode {
    pub(crate) const ALL: [Mode; 2] = [Mode::Rtt, Mode::Stream];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Rtt => "rtt",
            Mode::Stream => "stream",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long a phase lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Length {
    Time(Duration),
    Messages(u64),
}

impl Length {
    /// The end of a phase of this length that begins at `start_ns`.
    pub(crate) fn from(self, start_ns: u64) -> PhaseEnd {
        match self {
            Length::Time(time) => PhaseEnd { at_ns: start_ns + time.as_nanos() as u64, messages: u64::MAX },
            Length::Messages(messages) => PhaseEnd { at_ns: u64::MAX, messages },
        }
    }
}

/// When a phase is over: two comparisons per message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhaseEnd {
    at_ns: u64,
    messages: u64,
}

impl PhaseEnd {
    /// Whether the message about to be sent at `now_ns`, after `sent` others, is the last one.
    #[inline]
    pub(crate) fn is_next(self, sent: u64, now_ns: u64) -> bool {
        now_ns >= self.at_ns || sent + 1 >= self.messages
    }
}

/// One trial's work, the same for both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) mode: Mode,
    /// Bytes per message.
    pub(crate) size: usize,
    /// Of the measured part.
    pub(crate) length: Length,
    pub(crate) warmup: Duration,
    /// Of the payloads.
    pub(crate) seed: u64,
}

/// What one side can tell the runner while it measures.
pub(crate) trait Observer {
    /// Still alive, so many messages into the connection. Called about once a second, outside the timed region.
    fn progress(&mut self, messages: u64);

    /// The measured part begins (`false`) or is over (`true`).
    fn boundary(&mut self, over: bool);
}

/// Nanoseconds between two calls of [`Observer::progress`].
pub(crate) const PROGRESS_NS: u64 = 1_000_000_000;

/// Why a loop ended early.
#[derive(Debug)]
pub(crate) enum Broken {
    Send(SendError),
    Recv(RecvError),
    Message(Flaw),
}

impl Broken {
    /// Whether the other process is the likelier culprit.
    pub(crate) fn blames_the_peer(&self) -> bool {
        matches!(
            self,
            Broken::Send(SendError::Closed | SendError::PeerDied | SendError::Io(_))
                | Broken::Recv(RecvError::Closed | RecvError::PeerDied { .. } | RecvError::Io(_))
        )
    }
}

impl From<SendError> for Broken {
    fn from(error: SendError) -> Broken {
        Broken::Send(error)
    }
}

impl From<RecvError> for Broken {
    fn from(error: RecvError) -> Broken {
        Broken::Recv(error)
    }
}

impl From<Flaw> for Broken {
    fn from(flaw: Flaw) -> Broken {
        Broken::Message(flaw)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Send(error) => error.fmt(f),
            Broken::Recv(error) => error.fmt(f),
            Broken::Message(flaw) => flaw.fmt(f),
        }
    }
}
