//! Pools: several actors of one type behind one handle, and which of them a message goes to.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::actor::Actor;
use crate::addr::{Addr, TellError};
use crate::id::ActorId;
use crate::status::Lifecycle;

/// Which member of an [`ActorPool`] gets a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PoolStrategy {
    /// One after the other.
    RoundRobin,
    /// Any, drawn from this seed: the same seed gives the same choices to one sender.
    Random {
        /// Where the draw begins.
        seed: u64,
    },
    /// The one with the fewest queued messages; looks at every member.
    LeastLoaded,
    /// The less loaded of two drawn from this seed: nearly as even as `LeastLoaded` for two looks (Mitzenmacher, "The
    /// Power of Two Choices in Randomized Load Balancing", 2001).
    PowerOfTwo {
        /// Where the draw begins.
        seed: u64,
    },
}

/// Why a pool did not take a message.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError<M> {
    /// It has no members; here is the message.
    Empty(M),
    /// The member that was chosen did not take it.
    Refused(TellError<M>),
}

impl<M> PoolError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            PoolError::Empty(message) => message,
            PoolError::Refused(error) => error.into_message(),
        }
    }
}

impl<M> fmt::Debug for PoolError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Empty(_) => f.write_str("Empty(..)"),
            PoolError::Refused(error) => write!(f, "Refused({error:?})"),
        }
    }
}

impl<M> fmt::Display for PoolError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Empty(_) => f.write_str("the pool has no members"),
            PoolError::Refused(error) => error.fmt(f),
        }
    }
}

impl<M> std::error::Error for PoolError<M> {}

/// Several actors that do the same. Members stay members across restarts, because their addresses stay; one that is
/// gone for good is passed over and forgotten. Clones share the members and the turn.
///
/// The load of a member is the number of messages queued in its mailbox, which a bounded or
/// [counted](crate::Mailbox::counted) mailbox knows; in an unbounded one it is always 0, and then the two strategies
/// that go by load take the first they look at.
pub struct ActorPool<A: Actor> {
    shared: Arc<Shared<A>>,
}

struct Shared<A: Actor> {
    strategy: PoolStrategy,
    turn: AtomicU64,
    hash: std::hash::BuildHasherDefault<std::collections::hash_map::DefaultHasher>,
    /// Copied on every change, so that a sender never waits for more than the clone of an `Arc`.
    members: RwLock<Arc<[Addr<A>]>>,
}

impl<A: Actor> Clone for ActorPool<A> {
    fn clone(&self) -> Self {
        ActorPool { shared: self.shared.clone() }
    }
}

impl<A: Actor> fmt::Debug for ActorPool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorPool")
            .field("strategy", &self.shared.strategy)
            .field("members", &self.len())
            .finish()
    }
}

impl<A: Actor> ActorPool<A> {
    /// A pool of these actors.
    pub fn new(strategy: PoolStrategy, members: impl IntoIterator<Item = Addr<A>>) -> Self {
        let members = RwLock::new(members.into_iter().collect());
        let shared = Shared { strategy, turn: AtomicU64::new(0), hash: Default::default(), members };
        ActorPool { shared: Arc::new(shared) }
    }

    fn members(&self) -> Arc<[Addr<A>]> {
        self.shared.members.read().clone()
    }

    /// Members, those included that are gone and not forgotten yet.
    pub fn len(&self) -> usize {
        self.shared.members.read().len()
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a member; one that is there already stays there once.
    pub fn add(&self, member: Addr<A>) {
        let mut members = self.shared.members.write();
        if !members.contains(&member) {
            *members = members.iter().cloned().chain([member]).collect();
        }
    }

    /// Removes the member with this number; false: it was none.
    pub fn remove(&self, member: ActorId) -> bool {
        let mut members = self.shared.members.write();
        let before = members.len();
        *members = members.iter().filter(|known| known.id() != member).cloned().collect();
        members.len() < before
    }

    fn draw(&self, seed: u64) -> u64 {
        // Relaxed: the turns are distinct; nothing else is promised.
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        // SplitMix64 (Steele, Lea and Flood 2014) of a counter: no state to share but the counter.
        let mut z = seed.wrapping_add(turn.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn choose(&self, count: usize, load: impl Fn(usize) -> u32) -> usize {
        match self.shared.strategy {
            // Relaxed: as in `draw`.
            PoolStrategy::RoundRobin => self.shared.turn.fetch_add(1, Ordering::Relaxed) as usize % count,
            PoolStrategy::Random { seed } => self.draw(seed) as usize % count,
            PoolStrategy::LeastLoaded => (0..count).min_by_key(|index| load(*index)).unwrap_or(0),
            PoolStrategy::PowerOfTwo { seed } => {
                let drawn = self.draw(seed);
                let (one, other) = (drawn as u32 as usize % count, (drawn >> 32) as usize % count);
                if load(other) < load(one) { other } else { one }
            }
        }
    }

    /// Sends `message` to the member that the strategy chooses. When that member turns out to be gone, it is
    /// forgotten and another is chosen.
    ///
    /// # Errors
    /// Each gives the message back. `Empty`: no member is left. `Refused`: the chosen member's mailbox is full.
    pub fn tell(&self, message: A::Msg) -> Result<(), PoolError<A::Msg>> {
        self.tell_to(message, |members| {
            self.choose(members.len(), |index| members[index].any().core().queued())
        })
    }

    /// Sends `message` to the member that `key` belongs to: the same one for equal keys while the members stay the
    /// same. A change moves only the keys of the member that came or went (rendezvous hashing; Thaler and
    /// Ravishankar 1998).
    ///
    /// # Errors
    /// As for [`tell`](Self::tell).
    pub fn tell_by_key(&self, key: &impl Hash, message: A::Msg) -> Result<(), PoolError<A::Msg>> {
        let key = self.shared.hash.hash_one(key);
        self.tell_to(message, |members| {
            let weight = |member: &Addr<A>| self.shared.hash.hash_one((key, member.id()));
            (0..members.len()).max_by_key(|index| weight(&members[*index])).unwrap_or(0)
        })
    }

    fn tell_to(
        &self,
        mut message: A::Msg,
        choose: impl Fn(&[Addr<A>]) -> usize,
    ) -> Result<(), PoolError<A::Msg>> {
        loop {
            let members = self.members();
            if members.is_empty() {
                return Err(PoolError::Empty(message));
            }
            let chosen = &members[choose(&members)];
            match chosen.tell(message) {
                Ok(()) => return Ok(()),
                Err(TellError::Closed(back)) => {
                    message = back;
                    self.remove(chosen.id());
                }
                Err(full) => return Err(PoolError::Refused(full)),
            }
        }
    }

    /// Sends a clone of `message` to every member and answers how many took it. Members that are gone are forgotten.
    pub fn broadcast(&self, message: &A::Msg) -> usize
    where
        A::Msg: Clone,
    {
        let mut taken = 0;
        for member in self.members().iter() {
            match member.tell(message.clone()) {
                Ok(()) => taken += 1,
                Err(TellError::Closed(_)) => drop(self.remove(member.id())),
                Err(TellError::Full(_)) => {}
            }
        }
        taken
    }

    /// Members that are not gone.
    pub fn live(&self) -> Vec<Addr<A>> {
        let lives = |member: &&Addr<A>| member.any().lifecycle() != Lifecycle::Stopped;
        self.members().iter().filter(lives).cloned().collect()
    }
}
