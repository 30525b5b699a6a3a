//! The slots of a supervisor: one per child, in the order they were added.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::admin::Answer;
use super::checks::Checks;
use super::make::Make;
use super::spec::{Child, Policy};
use super::window::Attempts;
use crate::alarms::TimerRef;
use crate::cell::AnyAddr;
use crate::exit::ExitReason;
use crate::id::ActorId;

/// A slot's number: grows with every child added, so the order of numbers is the order of starts.
pub(super) type Key = u64;

/// For whom a child is being started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// The supervisor starts.
    Initial,
    /// Somebody asked for it; `new`: with a slot of its own, which goes if the start fails.
    Asked { new: bool },
    /// It failed, or a sibling did.
    Restart,
}

/// Where a child is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// There is none: not started yet, ended, terminated or ignored.
    Absent,
    /// Its incarnation has begun and it has not said how its start went.
    Starting(Cause),
    Running,
    /// Asked to stop, or killed.
    Stopping {
        killed: bool,
    },
    /// Over, and to be begun again: after its pause, or when its turn in the plan comes.
    Restarting,
}

pub(super) struct Slot {
    pub(super) id: Arc<str>,
    pub(super) name: Option<Arc<str>>,
    pub(super) policy: Arc<Policy>,
    /// `None`: a temporary dynamic child, which is made once.
    pub(super) maker: Option<Arc<dyn Make>>,
    pub(super) actor: Option<AnyAddr>,
    pub(super) state: State,
    /// Whether it is to run: a plan starts it, a stop of it is followed by a start.
    pub(super) wanted: bool,
    /// The pause before its restart, or the patience with its stop.
    pub(super) timer: Option<TimerRef>,
    /// What the timer was started for: one that went off before it was cancelled has an older number.
    pub(super) serial: u32,
    pub(super) attempts: Attempts,
    pub(super) restarts: u32,
    pub(super) checks: Option<Box<Checks>>,
    /// Whoever waits for the end of its start.
    pub(super) starting: Option<Answer>,
    /// Whoever waits for its end.
    pub(super) ending: Vec<crate::reply::Reply<Result<(), super::admin::AdminError>>>,
}

impl Slot {
    pub(super) fn new(
        id: Arc<str>,
        name: Option<Arc<str>>,
        policy: Arc<Policy>,
        maker: Arc<dyn Make>,
    ) -> Self {
        Slot {
            id,
            name,
            policy,
            maker: Some(maker),
            actor: None,
            state: State::Absent,
            wanted: true,
            timer: None,
            serial: 0,
            attempts: Attempts::default(),
            restarts: 0,
            checks: None,
            starting: None,
            ending: Vec::new(),
        }
    }

    pub(super) fn of(child: &Child) -> Self {
        let policy = Arc::new(child.policy.clone());
        Slot::new(child.id.clone(), child.name.clone(), policy, child.maker.clone())
    }

    /// Whether it has, or is about to have, an incarnation.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Starting(_) | State::Running | State::Stopping { .. })
    }
}

pub(super) struct Children {
    slots: BTreeMap<Key, Slot>,
    by_actor: HashMap<ActorId, Key>,
    by_id: HashMap<Arc<str>, Key>,
    next: Key,
    /// Children that were killed, are still in their handlers, and were given up.
    pub(super) zombies: HashMap<ActorId, (Arc<str>, AnyAddr)>,
    /// Dynamic children have no ids.
    anonymous: bool,
}

impl Children {
    pub(super) fn new(anonymous: bool) -> Self {
        Children {
            slots: BTreeMap::new(),
            by_actor: HashMap::new(),
            by_id: HashMap::new(),
            next: 0,
            zombies: HashMap::new(),
            anonymous,
        }
    }

    pub(super) fn add(&mut self, slot: Slot) -> Key {
        let key = self.next;
        self.next += 1;
        if !self.anonymous {
            self.by_id.insert(slot.id.clone(), key);
        }
        self.slots.insert(key, slot);
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Slot> {
        let slot = self.slots.remove(&key)?;
        if !self.anonymous {
            self.by_id.remove(&slot.id);
        }
        if let Some(actor) = &slot.actor {
            self.by_actor.remove(&actor.id());
        }
        Some(slot)
    }

    pub(super) fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(&key)
    }

    pub(super) fn find(&self, id: &str) -> Option<Key> {
        self.by_id.get(id).copied()
    }

    pub(super) fn of_actor(&self, actor: ActorId) -> Option<Key> {
        self.by_actor.get(&actor).copied()
    }

    /// Notes which actor a child is.
    pub(super) fn put(&mut self, key: Key, actor: AnyAddr) {
        self.by_actor.insert(actor.id(), key);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.actor = Some(actor);
        }
    }

    /// Takes a child's actor out.
    pub(super) fn take(&mut self, key: Key) -> Option<AnyAddr> {
        let actor = self.slots.get_mut(&key)?.actor.take()?;
        self.by_actor.remove(&actor.id());
        Some(actor)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Key, &Slot)> {
        self.slots.iter().map(|(key, slot)| (*key, slot))
    }

    /// The first child from `key` on.
    pub(super) fn from(&self, key: Key) -> Option<Key> {
        self.slots.range(key..).next().map(|(key, _)| *key)
    }

    /// The last child up to `key`.
    pub(super) fn up_to(&self, key: Key) -> Option<Key> {
        self.slots.range(..=key).next_back().map(|(key, _)| *key)
    }
}

impl Drop for Children {
    /// The supervisor is gone, and not by its own plan if there are children left: they end by themselves, and their
    /// names are free for those of the next incarnation.
    fn drop(&mut self) {
        for slot in self.slots.values() {
            let Some(actor) = &slot.actor else { continue };
            actor.core().system.names.release(actor.id());
            match slot.state {
                State::Restarting | State::Absent => actor.release(),
                _ => actor.shutdown(),
            }
        }
    }
}

/// Why a child that could not be made ends.
pub(super) fn refused(error: &crate::spawn::SpawnError) -> ExitReason {
    ExitReason::Error(error.to_string().into())
}
