//! Who an actor is: its number, its node's number, and both with a name as a value that can be stored and sent.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// An actor's number in its system: a slot and how often the slot was used. It is not reused within 2³² actors of one
/// slot, stays the same when the actor is restarted, and is never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorId(NonZeroU64);

impl ActorId {
    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        let number = NonZeroU64::new(u64::from(generation) << 32 | u64::from(slot));
        let Some(number) = number else { unreachable!("generations begin with 1") };
        ActorId(number)
    }

    pub(crate) fn slot(self) -> u32 {
        self.number() as u32
    }

    pub(crate) fn generation(self) -> u32 {
        (self.number() >> 32) as u32
    }

    /// The number itself; never zero.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    #[inline]
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(ActorId)
    }

    #[inline]
    pub(crate) fn number_of(id: Option<ActorId>) -> u64 {
        id.map_or(0, ActorId::number)
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot(), self.generation())
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One system in one process, told apart from every other by a random number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where an actor is, as a value: it can be compared, stored, put in an envelope and sent elsewhere. To send to it,
/// [`resolve`](crate::System::resolve) it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ActorAddress {
    /// The system it lives in.
    pub node: NodeId,
    /// Its number there.
    pub id: ActorId,
    /// Its name, when it has one.
    pub name: Option<Arc<str>>,
}

impl fmt::Display for ActorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}{}", self.id),
            None => self.id.fmt(f),
        }
    }
}

/// The number of one message, for whoever must tell two messages apart: a deduplicating receiver, a log. It is paid for
/// by asking for it only; plain messages carry none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MessageId(u64);

impl MessageId {
    /// A number that this process has not given out before.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: the numbers are distinct; nothing else is promised.
        MessageId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number, as [`Envelope::correlated`](ipc_core::Envelope::correlated) takes it.
    pub fn number(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_slot_and_a_generation_and_never_zero() {
        let id = ActorId::new(7, 3);
        assert_eq!((id.slot(), id.generation(), id.to_string()), (7, 3, "#7.3".to_string()));
        assert_eq!(ActorId::from_number(id.number()), Some(id));
        assert_eq!(ActorId::from_number(0), None);
        assert_ne!(MessageId::next(), MessageId::next());
    }
}
