//! The live actors of a system by number, and by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::cell::AnyAddr;
use crate::id::ActorId;

/// Shards of both tables, a power of two: spawning threads rarely meet.
const SHARDS: usize = 16;

/// Slots hold the one reference that keeps a live actor; a slot used again has the next generation.
pub(crate) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    live: AtomicUsize,
    next_shard: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    actor: Option<AnyAddr>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table {
            shards: std::array::from_fn(|_| Mutex::default()),
            live: AtomicUsize::new(0),
            next_shard: AtomicUsize::new(0),
        }
    }

    /// Live actors.
    pub(crate) fn live(&self) -> usize {
        // Acquire: who sees zero sees the ends of all actors; pairs with the AcqRel in `remove`.
        self.live.load(Ordering::Acquire)
    }

    /// Adds the actor that `make` makes for its number; `None`: there are `max` already.
    pub(crate) fn insert<R>(&self, max: usize, make: impl FnOnce(ActorId) -> (R, AnyAddr)) -> Option<R> {
        // Relaxed: a limit on a number, no order. Counted first, so that two racing spawns do not both take the last.
        if self.live.fetch_add(1, Ordering::Relaxed) >= max {
            self.live.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        // Relaxed: only spreads the load.
        let shard_index = self.next_shard.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let mut guard = self.shards[shard_index].lock();
        let shard = &mut *guard;
        let index = shard.free.pop().unwrap_or_else(|| {
            shard.slots.push(Slot { generation: 0, actor: None });
            shard.slots.len() as u32 - 1
        });
        let slot = &mut shard.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1).max(1);
        let (result, actor) = make(ActorId::new(index * SHARDS as u32 + shard_index as u32, slot.generation));
        slot.actor = Some(actor);
        Some(result)
    }

    /// Takes the actor out. The caller drops it outside the lock.
    pub(crate) fn remove(&self, id: ActorId) -> Option<AnyAddr> {
        let index = id.slot() / SHARDS as u32;
        let mut shard = self.shards[id.slot() as usize % SHARDS].lock();
        let slot = shard.slots.get_mut(index as usize).filter(|slot| slot.generation == id.generation())?;
        let actor = slot.actor.take()?;
        shard.free.push(index);
        drop(shard);
        // AcqRel: the Release half publishes this actor's end to whoever reads `live`.
        self.live.fetch_sub(1, Ordering::AcqRel);
        Some(actor)
    }

    /// The live actor with this number.
    pub(crate) fn find(&self, id: ActorId) -> Option<AnyAddr> {
        let shard = self.shards[id.slot() as usize % SHARDS].lock();
        let slot = shard.slots.get(id.slot() as usize / SHARDS)?;
        slot.actor.clone().filter(|_| slot.generation == id.generation())
    }

    /// Every live actor, by slot.
    pub(crate) fn all(&self) -> Vec<AnyAddr> {
        let mut all: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| {
                shard.lock().slots.iter().filter_map(|slot| slot.actor.clone()).collect::<Vec<_>>()
            })
            .collect();
        all.sort_by_key(|actor| actor.id().slot());
        all
    }
}

/// Names and who has them.
pub(crate) struct Names {
    shards: [RwLock<HashMap<Arc<str>, AnyAddr>>; SHARDS],
    by_id: RwLock<HashMap<ActorId, Arc<str>>>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Names { shards: std::array::from_fn(|_| RwLock::default()), by_id: RwLock::default() }
    }

    fn shard(&self, name: &str) -> &RwLock<HashMap<Arc<str>, AnyAddr>> {
        // FNV-1a; the map inside hashes properly.
        let hash =
            name.bytes().fold(0xCBF2_9CE4u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
        &self.shards[hash as usize % SHARDS]
    }

    /// Gives `actor` this name.
    ///
    /// # Errors
    /// Who has it.
    pub(crate) fn register(&self, name: Arc<str>, actor: &AnyAddr) -> Result<(), AnyAddr> {
        let mut shard = self.shard(&name).write();
        if let Some(holder) = shard.get(&name) {
            return Err(holder.clone());
        }
        self.by_id.write().insert(actor.id(), name.clone());
        shard.insert(name, actor.clone());
        Ok(())
    }

    /// Frees the name of this actor.
    pub(crate) fn release(&self, id: ActorId) {
        let Some(name) = self.by_id.write().remove(&id) else { return };
        let holder = self.shard(&name).write().remove(&name);
        // Dropped after the lock: it may be the last reference.
        drop(holder);
    }

    pub(crate) fn find(&self, name: &str) -> Option<AnyAddr> {
        self.shard(name).read().get(name).cloned()
    }

    pub(crate) fn name_of(&self, id: ActorId) -> Option<Arc<str>> {
        self.by_id.read().get(&id).cloned()
    }

    /// Every name, sorted.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, ActorId)> {
        let mut all: Vec<_> = self.by_id.read().iter().map(|(id, name)| (name.clone(), *id)).collect();
        all.sort();
        all
    }
}
