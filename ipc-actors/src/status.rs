//! What others may see of an actor and ask of it: its lifecycle, its incarnation, its control word.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sync::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Where an actor is in its life.
///
/// ```text
///  Starting ──► Running ──► Stopping ──► Stopped
///     │ ▲          │            │
///     ▼ │          ▼            │
///    Failed ◄──────┴────────────┘     Failed ──► Starting (restarted) | Stopped (not restarted)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Lifecycle {
    /// Made, or to be made; `started` has not returned.
    Starting,
    /// Handling messages.
    Running,
    /// Its end has begun: `stopped` runs, what it held is dropped.
    Stopping,
    /// An incarnation ended and the supervisor has not decided yet. Messages queue up.
    Failed,
    /// Gone; messages come back to their senders.
    Stopped,
}

impl Lifecycle {
    const ALL: [Lifecycle; 5] =
        [Lifecycle::Starting, Lifecycle::Running, Lifecycle::Stopping, Lifecycle::Failed, Lifecycle::Stopped];

    /// Whether `to` may follow.
    pub fn allows(self, to: Lifecycle) -> bool {
        use Lifecycle::{Failed, Running, Starting, Stopped, Stopping};
        matches!(
            (self, to),
            (Starting, Running | Stopping | Failed)
                | (Running, Stopping | Failed)
                | (Stopping, Failed | Stopped)
                | (Failed, Starting | Stopped)
        )
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lifecycle::Starting => "starting",
            Lifecycle::Running => "running",
            Lifecycle::Stopping => "stopping",
            Lifecycle::Failed => "failed",
            Lifecycle::Stopped => "stopped",
        })
    }
}

/// Requests in the control word, each a bit.
pub(crate) mod control {
    /// End without hooks.
    pub(crate) const KILL: u32 = 1;
    /// End now, before what is queued, with the reason `Shutdown`.
    pub(crate) const STOP: u32 = 2;
    /// Begin the next incarnation.
    pub(crate) const RESTART: u32 = 4;
    /// The parent will not restart it: end for good.
    pub(crate) const RELEASE: u32 = 8;
    /// Something more urgent than normal arrived: look before the next message.
    pub(crate) const URGENT: u32 = 16;
    /// It sent more than the receiver takes: rest after the current message.
    pub(crate) const MUTE: u32 = 32;
}

/// The words of one actor, written rarely.
///
/// The first 8 bytes lie in the line that senders write; what the owner reads with each message follows in the next one.
#[repr(C)]
pub(crate) struct Status {
    incarnation: AtomicU32,
    /// Whether a parent decides what follows the end of an incarnation.
    child: bool,
    control: AtomicU32,
    lifecycle: AtomicU8,
    traced: AtomicBool,
}

impl Status {
    /// Where the owner's part begins.
    #[cfg(not(loom))]
    pub(crate) const OWN: usize = std::mem::offset_of!(Status, control);

    pub(crate) fn new(child: bool) -> Self {
        Status {
            incarnation: AtomicU32::new(0),
            child,
            control: AtomicU32::new(0),
            lifecycle: AtomicU8::new(Lifecycle::Starting as u8),
            traced: AtomicBool::new(false),
        }
    }

    /// Asks for `bits`; true: at least one is new. The caller pushes a node afterwards so that the owner looks.
    pub(crate) fn request(&self, bits: u32) -> bool {
        // Release: pairs with the Acquire in `take`. Loading first spares a sender of urgent messages the exclusive
        // access to the owner's line while the bit is still up.
        self.control.load(Ordering::Relaxed) & bits != bits
            && self.control.fetch_or(bits, Ordering::Release) & bits != bits
    }

    /// Whether anything is asked for. Owner only.
    #[inline]
    pub(crate) fn has_request(&self) -> bool {
        // Relaxed: `take` acquires, and a request is followed by a push that the owner does not miss.
        self.control.load(Ordering::Relaxed) != 0
    }

    /// Takes the requests among `bits`. Owner only.
    pub(crate) fn take(&self, bits: u32) -> u32 {
        // Acquire: pairs with the Release in `request`.
        self.control.fetch_and(!bits, Ordering::Acquire) & bits
    }

    /// Takes requests back. For the parent of an actor that waits for it: what was asked of the incarnation that is
    /// over must not hit the next.
    pub(crate) fn withdraw(&self, bits: u32) {
        // Relaxed: nothing was handed over with a request that nobody saw.
        self.control.fetch_and(!bits, Ordering::Relaxed);
    }

    /// Whether every message handled makes an event.
    #[inline]
    pub(crate) fn is_traced(&self) -> bool {
        // Relaxed: a wish that takes hold soon.
        cfg!(feature = "events") && self.traced.load(Ordering::Relaxed)
    }

    pub(crate) fn trace(&self, on: bool) {
        // Relaxed: as above.
        self.traced.store(on, Ordering::Relaxed);
    }

    pub(crate) fn is_child(&self) -> bool {
        self.child
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        // Acquire: who sees a state sees what led to it; pairs with the Release in `advance`.
        Lifecycle::ALL[usize::from(self.lifecycle.load(Ordering::Acquire))]
    }

    /// Goes to the next state. Owner only.
    pub(crate) fn advance(&self, to: Lifecycle) {
        let from = self.lifecycle();
        debug_assert!(from.allows(to), "{from} does not lead to {to}");
        // Release: pairs with the Acquire in `lifecycle`.
        self.lifecycle.store(to as u8, Ordering::Release);
    }

    pub(crate) fn incarnation(&self) -> u32 {
        // Relaxed: a number for people and events.
        self.incarnation.load(Ordering::Relaxed)
    }

    /// Counts a new incarnation. Owner only.
    pub(crate) fn next_incarnation(&self) -> u32 {
        let next = self.incarnation().wrapping_add(1);
        // Relaxed: as above.
        self.incarnation.store(next, Ordering::Relaxed);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifecycle_has_these_steps_and_no_others() {
        let count = Lifecycle::ALL
            .iter()
            .flat_map(|from| Lifecycle::ALL.iter().filter(|to| from.allows(**to)))
            .count();
        assert_eq!(count, 9);
        assert!(!Lifecycle::Stopped.allows(Lifecycle::Starting));
        assert!(Lifecycle::ALL.iter().enumerate().all(|(at, state)| *state as usize == at));
    }

    #[test]
    fn a_request_is_new_once() {
        let status = Status::new(false);
        assert!(status.request(control::KILL) && !status.request(control::KILL));
        assert!(status.has_request());
        assert_eq!(status.take(control::STOP), 0);
        assert_eq!(status.take(control::KILL | control::STOP), control::KILL);
        assert!(!status.has_request());
    }
}
