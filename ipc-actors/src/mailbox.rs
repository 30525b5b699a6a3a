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
        Mailbox { limits: Limits::new(u32::MAX, Overflow::Error) }
    }

    /// Holds `capacity` messages, `1..u32::MAX`; `overflow` says what happens to the next. A capacity of 0 is taken
    /// as 1.
    pub const fn bounded(capacity: u32, overflow: Overflow) -> Self {
        Mailbox { limits: Limits::new(if capacity == 0 { 1 } else { capacity }, overflow) }
    }

    /// Holds whatever comes, and counts it: for [`PoolStrategy::LeastLoaded`](crate::PoolStrategy::LeastLoaded) and
    /// for snapshots.
    pub const fn counted() -> Self {
        Mailbox { limits: Limits::new(u32::MAX - 1, Overflow::Error) }
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

/// A mailbox in the form that senders look at: 16 bytes, so that with all else that they read it is in one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Of `Block` and `Throttle`; 584 years at most.
    patience_nanos: u64,
    pub(crate) capacity: u32,
    policy: Policy,
}

/// An [`Overflow`] without its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Policy {
    Error,
    DropNewest,
    DropOldest,
    Block,
    Throttle,
}

impl Limits {
    const fn new(capacity: u32, overflow: Overflow) -> Self {
        let (policy, patience) = match overflow {
            Overflow::Error => (Policy::Error, Duration::ZERO),
            Overflow::DropNewest => (Policy::DropNewest, Duration::ZERO),
            Overflow::DropOldest => (Policy::DropOldest, Duration::ZERO),
            Overflow::Block(patience) => (Policy::Block, patience),
            Overflow::Throttle { max_mute } => (Policy::Throttle, max_mute),
        };
        let nanos = patience.as_nanos();
        let patience_nanos = if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 };
        Limits { patience_nanos, capacity, policy }
    }

    pub(crate) fn overflow(&self) -> Overflow {
        let patience = Duration::from_nanos(self.patience_nanos);
        match self.policy {
            Policy::Error => Overflow::Error,
            Policy::DropNewest => Overflow::DropNewest,
            Policy::DropOldest => Overflow::DropOldest,
            Policy::Block => Overflow::Block(patience),
            Policy::Throttle => Overflow::Throttle { max_mute: patience },
        }
    }

    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.capacity != u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_keep_what_was_asked_for() {
        let time = Duration::new(3, 7);
        let all = [
            Overflow::Error,
            Overflow::DropNewest,
            Overflow::DropOldest,
            Overflow::Block(time),
            Overflow::Throttle { max_mute: time },
        ];
        assert!(all.iter().all(|overflow| Limits::new(9, *overflow).overflow() == *overflow));
        let ever = Limits::new(9, Overflow::Block(Duration::MAX)).overflow();
        assert_eq!(ever, Overflow::Block(Duration::from_nanos(u64::MAX)));
    }
}
