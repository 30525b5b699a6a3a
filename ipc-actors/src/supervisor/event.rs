//! What a supervisor tells its observers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::spec::ChildKind;
use crate::exit::ExitReason;
use crate::health::Health;
use crate::id::ActorId;

/// Something a supervisor did, or saw a child do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SupervisionEvent {
    /// When, in the system's time.
    pub at: Duration,
    /// Names of the supervisors above the child, from the root, separated by `/`.
    pub supervisor: Arc<str>,
    /// The child; for an event of the supervisor itself its own name.
    pub child: Arc<str>,
    /// The child's number, when it has one.
    pub actor: Option<ActorId>,
    /// The child's incarnation; the first is 0.
    pub incarnation: u32,
    /// What kind of child it is.
    pub kind: ChildKind,
    /// What happened.
    pub what: Supervision,
}

/// What happened to a child.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Supervision {
    /// It is being started; for a process with its number, once it has one.
    Starting,
    /// A process was made.
    Spawned {
        /// Its number.
        pid: u32,
    },
    /// It runs; a process is ready.
    Started,
    /// Its factory chose not to make it.
    Ignored,
    /// It could not be started.
    StartFailed(ExitReason),
    /// Its incarnation ended.
    Exited {
        /// Why.
        reason: ExitReason,
        /// Whether the supervisor had asked for it.
        expected: bool,
    },
    /// It will be restarted.
    Restarting {
        /// After this pause.
        pause: Duration,
        /// Restarts that the intensity then still allows.
        left: u32,
    },
    /// It is asked to stop.
    Stopping,
    /// It did not stop in time and is killed.
    Killing,
    /// A process was sent this signal.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// It was killed and is still in its handler: the supervisor goes on without it.
    Zombie,
    /// A zombie came out of its handler and is gone.
    Reaped,
    /// What it said of its health, when that changed or was bad.
    Health(Health),
    /// It did not answer a health check in time.
    HealthTimeout,
    /// The supervisor gives up: it stops its children and ends.
    GivingUp(ExitReason),
    /// A significant child ended, and the supervisor shuts itself down.
    AutoShutdown,
}

/// Whoever wants to know. Called in the turn of the supervisor or of the process's actor: it must not block.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&SupervisionEvent) + Send + Sync>);

impl Observer {
    /// An observer that calls `tell`.
    pub fn new(tell: impl Fn(&SupervisionEvent) + Send + Sync + 'static) -> Self {
        Observer(Arc::new(tell))
    }

    /// One that tells this one and then `other`.
    #[must_use]
    pub fn and(self, other: Observer) -> Self {
        Observer::new(move |event| {
            self.tell(event);
            other.tell(event);
        })
    }

    pub(crate) fn tell(&self, event: &SupervisionEvent) {
        (self.0)(event);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer(..)")
    }
}
