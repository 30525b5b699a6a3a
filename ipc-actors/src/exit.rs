//! Why an actor ended.

use std::fmt;
use std::sync::Arc;

use crate::supervisor::StartError;

/// Why an actor ended, or why one incarnation of it did. Cheap to clone: it is told to everybody who watches.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was done: [`Ctx::stop`](crate::Ctx::stop) or [`Addr::stop`](crate::Addr::stop).
    Normal,
    /// Its supervisor or its system shut it down.
    Shutdown,
    /// It was shut down for a stated reason, which is no failure.
    ShutdownWith(Arc<str>),
    /// It was killed: no hook ran.
    Killed,
    /// A hook or a handler panicked.
    Panic(Arc<Panic>),
    /// A hook or a handler returned an error and the actor's `on_error` did not resume.
    Error(Arc<str>),
    /// There is no such actor (any more).
    NoActor,
    /// Its factory chose not to make it ([`Ignore`](crate::Ignore)).
    Ignored,
    /// A supervisor could not start one of its children.
    StartFailed(Arc<StartError>),
    /// A process ended with this exit code.
    Exited(i32),
    /// A process was ended by this signal.
    Signaled(i32),
}

impl ExitReason {
    /// Whether this is how things are meant to end: no restart of a transient child, no exit signal that kills.
    pub fn is_normal(&self) -> bool {
        use ExitReason::{Exited, Ignored, Normal, Shutdown, ShutdownWith};
        matches!(self, Normal | Shutdown | ShutdownWith(_) | Exited(0) | Ignored)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("normal"),
            ExitReason::Shutdown => f.write_str("shutdown"),
            ExitReason::ShutdownWith(why) => write!(f, "shutdown: {why}"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::Panic(panic) => panic.fmt(f),
            ExitReason::Error(error) => write!(f, "error: {error}"),
            ExitReason::NoActor => f.write_str("no such actor"),
            ExitReason::Ignored => f.write_str("its factory chose not to make it"),
            ExitReason::StartFailed(error) => error.fmt(f),
            ExitReason::Exited(code) => write!(f, "exit code {code}"),
            ExitReason::Signaled(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What is known of a panic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Panic {
    /// What it said, at most 1,024 bytes of it.
    pub message: String,
    /// `file:line:column`, where the panic hook saw it.
    pub location: String,
    /// What was running.
    pub during: Phase,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic in {} at {}: {}", self.during, self.location, self.message)
    }
}

/// Which code of an actor runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Phase {
    /// The factory that makes a fresh instance.
    Factory,
    /// [`Actor::started`](crate::Actor::started).
    Started,
    /// [`Actor::handle`](crate::Actor::handle).
    #[default]
    Handle,
    /// [`Actor::signal`](crate::Actor::signal).
    Signal,
    /// [`Actor::on_error`](crate::Actor::on_error).
    OnError,
    /// [`Actor::health`](crate::Actor::health).
    Health,
    /// [`Actor::stopped`](crate::Actor::stopped).
    Stopped,
    /// The `Drop` of the instance or of what it held.
    Drop,
    /// Work that it offloaded ([`Ctx::offload`](crate::Ctx::offload)).
    Offload,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Factory => "its factory",
            Phase::Started => "started",
            Phase::Handle => "handle",
            Phase::Signal => "signal",
            Phase::OnError => "on_error",
            Phase::Health => "health",
            Phase::Stopped => "stopped",
            Phase::Drop => "drop",
            Phase::Offload => "offloaded work",
        })
    }
}
