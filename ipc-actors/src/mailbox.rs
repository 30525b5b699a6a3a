//! How much a mailbox holds and what happens to what does not fit.

use std::time::Duration;

/// The size of a mailbox and its policy when full. Replies, signals and timers always fit: they are bounded by what
/// the actor itself asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mailbox {
    pub(crate) limits: Limits,
}

impl Mailbox {
    /// Holds whatever comes; costs nothing to count.
    pub const fn unbounded() -> Self {
        Mailbox { limits: Limits { capacity: u32::MAX, overflow: Overflow::Error } }
    }

    /// Holds `capacity` messages, `1..u32::MAX`; `overflow` says what happens to the next. A capacity of 0 is taken
    /// as 1.
    pub const fn bounded(capacity: u32, overflow: Overflow) -> Self {
        Mailbox { limits: Limits { capacity: if capacity == 0 { 1 } else { capacity }, overflow } }
    }

    /// Holds whatever comes, and counts it: for [`PoolStrategy::LeastLoaded`](crate::PoolStrategy::LeastLoaded) and
    /// for snapshots.
    pub const fn counted() -> Self {
        Mailbox { limits: Limits { capacity: u32::MAX - 1, overflow: Overflow::Error } }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Mailbox::unbounded()
    }
}

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Overflow {
    /// It comes back: [`TellError::Full`](crate::TellError::Full).
    Error,
    /// It becomes a dead letter, and the sender sees success.
    DropNewest,
    /// It is taken, and when the actor next runs it gives up its oldest messages until the rest fits. A mailbox whose
    /// actor does not run refuses at twice its capacity.
    DropOldest,
    /// A thread that is no worker waits for room this long, and then it comes back. An actor does not wait: for it
    /// this is [`Error`](Overflow::Error).
    Block(Duration),
    /// An actor's message is taken, and the actor rests after the message it is handling until the receiver has
    /// worked its mailbox down to a quarter of the capacity, or for `max_mute`, whichever is shorter. No worker waits.
    /// A receiver that is overloaded itself is not put to rest, so circles of senders do not stand still. A thread
    /// that is no worker waits for room up to `max_mute`, and then the message comes back.
    Throttle {
        /// The longest rest.
        max_mute: Duration,
    },
}

/// What happens to the messages that are queued when an actor is restarted. Questions among them get
/// [`AskError::ActorCrashed`](crate::AskError::ActorCrashed) when they are not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum OnRestart {
    /// The next incarnation handles them.
    #[default]
    Keep,
    /// They are dropped.
    Drop,
    /// They become dead letters.
    DeadLetter,
}

/// A mailbox in the form that senders look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    pub(crate) capacity: u32,
    pub(crate) overflow: Overflow,
}

impl Limits {
    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.capacity != u32::MAX
    }
}
