//! Events: what the runtime did that somebody who watches it wants to know, in a bounded ring.
//!
//! Messages make no events; what does is rare. Without the feature `events` nothing is recorded and the calls compile to
//! nothing; with it, a system built without [`Builder::events`](crate::Builder::events) pays one comparison each.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::dead::DeadReason;
use crate::id::{ActorAddress, ActorId};
use crate::status::Lifecycle;
use crate::supervisor::Supervision;

/// Which part of the runtime an event is from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// Actors: start, end, crash.
    Actor,
    /// Supervisors: what they did about an end.
    Supervision,
    /// Mailboxes: dead letters, muted senders.
    Mailbox,
    /// Brokers: subscriptions.
    Broker,
    /// The system: its start, its shutdown, its workers.
    System,
}

/// How much an event matters, from least to most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Of interest to who debugs.
    Debug,
    /// The ordinary course of things.
    Info,
    /// Something was lost or late.
    Warning,
    /// Something failed.
    Error,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum What {
    /// An incarnation's `started` returned `Ok`.
    Running {
        /// Which incarnation; the first is 0.
        incarnation: u32,
    },
    /// An incarnation ended as things are meant to end.
    Ended {
        /// Why.
        reason: String,
    },
    /// An incarnation ended as it should not.
    Crashed(CrashReport),
    /// The actor is gone.
    Gone,
    /// A supervisor did something.
    Supervised {
        /// Names of the supervisors above the child, from the root, separated by `/`.
        supervisor: Arc<str>,
        /// The child; for an event of the supervisor itself its own name.
        child: Arc<str>,
        /// What it did, or saw the child do: a [`Supervision`] in words.
        what: String,
        /// Restarts that the intensity then still allows, when it restarts the child.
        restarts_left: Option<u32>,
    },
    /// A message was handled, by an actor that is traced ([`System::trace`](crate::System::trace)).
    Handled {
        /// `MESSAGE_TYPE` of its type.
        message_type: &'static str,
        /// From whom, when an actor sent it.
        sender: Option<ActorId>,
        /// The how manieth message of the actor it was.
        count: u64,
    },
    /// A message that no handler saw.
    DeadLetter {
        /// `MESSAGE_TYPE` of its type.
        message_type: &'static str,
        /// Why.
        reason: DeadReason,
    },
    /// An actor sent more than the receiver takes, and rests until the receiver has caught up.
    Muted {
        /// The receiver.
        receiver: ActorId,
    },
    /// A muted actor goes on.
    Unmuted {
        /// Whether it was for `max_mute` being over, and not for the receiver having caught up.
        overdue: bool,
    },
    /// An actor subscribed to a broker.
    Subscribed,
    /// A subscription ended, or its actor did.
    Unsubscribed,
    /// The system runs.
    SystemStarted,
    /// A turn has taken 100 ms and is not over: a handler blocks its worker. Said once of each such turn.
    WorkerStuck {
        /// Which worker: the number at the end of its thread's name.
        worker: usize,
        /// Since when, in the system's time, to 10 ms.
        since: Duration,
    },
    /// The system's shutdown began.
    ShutdownBegan {
        /// Live actors.
        actors: usize,
    },
    /// The system's shutdown ended.
    ShutdownEnded {
        /// Actors that had to be killed.
        killed: usize,
        /// Actors that are still in a handler.
        stuck: usize,
    },
}

impl What {
    /// Which part of the runtime it is from.
    pub fn source(&self) -> Source {
        use What::{
            Crashed, DeadLetter, Ended, Gone, Handled, Muted, Running, ShutdownBegan, ShutdownEnded,
            Subscribed, Supervised, SystemStarted, Unmuted, Unsubscribed, WorkerStuck,
        };
        match self {
            Running { .. } | Ended { .. } | Crashed(_) | Gone | Handled { .. } => Source::Actor,
            Supervised { .. } => Source::Supervision,
            DeadLetter { .. } | Muted { .. } | Unmuted { .. } => Source::Mailbox,
            Subscribed | Unsubscribed => Source::Broker,
            SystemStarted | WorkerStuck { .. } | ShutdownBegan { .. } | ShutdownEnded { .. } => {
                Source::System
            }
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            What::Crashed(_) => Severity::Error,
            What::DeadLetter { .. } | What::Unmuted { overdue: true } | What::WorkerStuck { .. } => {
                Severity::Warning
            }
            What::ShutdownEnded { killed, stuck } if killed + stuck > 0 => Severity::Warning,
            What::Handled { .. }
            | What::Muted { .. }
            | What::Unmuted { .. }
            | What::Subscribed
            | What::Unsubscribed => Severity::Debug,
            _ => Severity::Info,
        }
    }
}

/// What is known of the abnormal end of one incarnation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CrashReport {
    /// Whose.
    pub address: ActorAddress,
    /// The actor's type.
    pub actor_type: &'static str,
    /// Which incarnation ended; the first is 0.
    pub incarnation: u32,
    /// Why.
    pub reason: String,
    /// What it was doing: `Lifecycle` before the end.
    pub was: Lifecycle,
    /// `MESSAGE_TYPE` of the message it was handling when it failed.
    pub poison: Option<&'static str>,
    /// Messages queued behind it; 10,000: that many or more, where the mailbox does not count them.
    pub queued: u32,
    /// Names of the supervisors above it, from the root, separated by `/`; `None`: nobody supervises it.
    pub supervisor: Option<Arc<str>>,
    /// What it is called there.
    pub child: Option<Arc<str>>,
    /// Restarts that the supervisor's intensity still allows, the one that may follow now included. 0: the supervisor gives
    /// up rather than restart it.
    pub restarts_left: Option<u32>,
    /// Numbers of its supervisor, that one's supervisor, and so on.
    pub supervisors: Vec<ActorId>,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CrashReport { address, actor_type, incarnation, reason, was, queued, .. } = self;
        write!(f, "{address} ({actor_type}), incarnation {incarnation}, {was:?}, failed: {reason}")?;
        if let Some(poison) = self.poison {
            write!(f, "; it was handling a {poison}")?;
        }
        write!(f, "; {queued} queued; ")?;
        match (&self.supervisor, &self.child, self.restarts_left) {
            (Some(supervisor), Some(child), Some(left)) => {
                write!(f, "child {child} of {supervisor}, which has {left} restarts left")
            }
            _ => f.write_str("nobody supervises it"),
        }
    }
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// Its number, from 0: what the ring has lost shows as a gap.
    pub number: u64,
    /// When, in the system's time.
    pub at: Duration,
    /// About which actor; `None`: about the system.
    pub actor: Option<ActorId>,
    /// What happened.
    pub what: What,
}

impl Event {
    pub(crate) fn about(actor: ActorId, what: What) -> Self {
        Event { number: 0, at: Duration::ZERO, actor: Some(actor), what }
    }

    pub(crate) fn of_system(what: What) -> Self {
        Event { number: 0, at: Duration::ZERO, actor: None, what }
    }

    #[cold]
    pub(crate) fn supervised(
        actor: Option<ActorId>,
        supervisor: &Arc<str>,
        child: &Arc<str>,
        what: &Supervision,
    ) -> Self {
        let restarts_left = match what {
            Supervision::Restarting { left, .. } => Some(*left),
            _ => None,
        };
        let (supervisor, child) = (supervisor.clone(), child.clone());
        let what = What::Supervised { supervisor, child, what: format!("{what:?}"), restarts_left };
        Event { number: 0, at: Duration::ZERO, actor, what }
    }

    /// Which part of the runtime it is from.
    pub fn source(&self) -> Source {
        self.what.source()
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.what.severity()
    }
}

/// The ring.
pub(crate) struct Events {
    capacity: usize,
    recorded: AtomicU64,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    kept: Mutex<VecDeque<Event>>,
}

impl Events {
    pub(crate) fn new(capacity: usize, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let kept = Mutex::new(VecDeque::with_capacity(capacity.min(1024)));
        Events { capacity, recorded: AtomicU64::new(0), clock: Box::new(clock), kept }
    }

    /// Records what `make` makes, if anybody wants it.
    #[inline]
    pub(crate) fn record(&self, make: impl FnOnce() -> Event) {
        if cfg!(feature = "events") && self.capacity > 0 {
            self.keep(make());
        }
    }

    #[cold]
    fn keep(&self, event: Event) {
        #[cfg(feature = "tracing")]
        trace(&event);
        let at = (self.clock)();
        let mut kept = self.kept.lock();
        // Relaxed: the lock orders it; readers of the count want a statistic.
        let number = self.recorded.fetch_add(1, Ordering::Relaxed);
        if kept.len() == self.capacity {
            kept.pop_front();
        }
        kept.push_back(Event { number, at, ..event });
    }

    /// Events recorded so far.
    pub(crate) fn count(&self) -> u64 {
        // Relaxed: a statistic.
        self.recorded.load(Ordering::Relaxed)
    }

    /// What is kept, oldest first.
    pub(crate) fn kept(&self) -> Vec<Event> {
        self.kept.lock().iter().cloned().collect()
    }
}

/// Hands an event to whoever subscribed to `tracing`.
#[cfg(feature = "tracing")]
fn trace(event: &Event) {
    let actor = event.actor.map(|actor| actor.to_string()).unwrap_or_default();
    let what = &event.what;
    match event.severity() {
        Severity::Debug => tracing::debug!(target: "ipc_actors", %actor, ?what),
        Severity::Info => tracing::info!(target: "ipc_actors", %actor, ?what),
        Severity::Warning => tracing::warn!(target: "ipc_actors", %actor, ?what),
        Severity::Error => tracing::error!(target: "ipc_actors", %actor, ?what),
    }
}

#[cfg(all(test, feature = "events"))]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_latest_and_their_numbers_show_what_is_lost() {
        let events = Events::new(2, || Duration::from_secs(7));
        for _ in 0..3 {
            events.record(|| Event::of_system(What::SystemStarted));
        }
        let kept = events.kept();
        assert_eq!((events.count(), kept.len(), kept[0].number), (3, 2, 1));
        assert_eq!(kept[0].at, Duration::from_secs(7));
        Events::new(0, || unreachable!("nobody wants the time")).record(|| unreachable!("nor the event"));
    }
}
