//! The live actors of a system by number, and by name.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::cell::AnyAddr;
use crate::id::ActorId;
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// Shards of both tables, a power of two: spawning threads rarely meet.
const SHARDS: usize = 16;

/// Slots hold the one reference that keeps a live actor; a slot used again has the next generation.
pub(crate) struct Table<R = AnyAddr> {
    shards: [Mutex<Shard<R>>; SHARDS],
    live: AtomicUsize,
    next_shard: AtomicUsize,
}

struct Shard<R> {
    slots: Vec<Slot<R>>,
    free: Vec<u32>,
}

struct Slot<R> {
    generation: u32,
    actor: Option<R>,
}

impl<R: Clone> Table<R> {
    pub(crate) fn new() -> Self {
        Table {
            shards: std::array::from_fn(|_| Mutex::new(Shard { slots: Vec::new(), free: Vec::new() })),
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
    pub(crate) fn insert<T>(&self, max: usize, make: impl FnOnce(ActorId) -> (T, R)) -> Option<T> {
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
    pub(crate) fn remove(&self, id: ActorId) -> Option<R> {
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
    pub(crate) fn find(&self, id: ActorId) -> Option<R> {
        let shard = self.shards[id.slot() as usize % SHARDS].lock();
        let slot = shard.slots.get(id.slot() as usize / SHARDS)?;
        slot.actor.clone().filter(|_| slot.generation == id.generation())
    }
}

impl Table {
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

/// An actor that is found by its number while it ends, explored by loom: `cargo xtask loom`.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::cell::References;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// An actor reduced to its references: loom fails the model when its memory is used and destroyed at a time.
    struct Actor {
        references: References,
        memory: UnsafeCell<()>,
        destroyed: std::sync::atomic::AtomicU32,
    }

    impl Actor {
        fn new() -> Arc<Actor> {
            let (references, memory) = (References::new(1), UnsafeCell::new(()));
            Arc::new(Actor { references, memory, destroyed: 0.into() })
        }

        /// Uses the memory. How often it was destroyed.
        fn destroyed(&self) -> u32 {
            self.memory.with(|_| self.destroyed.load(Ordering::SeqCst))
        }
    }

    /// An address, which counts as `AnyAddr` does.
    struct Held(Arc<Actor>);

    impl Held {
        /// The first, for the table.
        fn first(actor: &Arc<Actor>) -> Held {
            Held(actor.clone())
        }
    }

    impl Clone for Held {
        fn clone(&self) -> Held {
            self.0.references.retain();
            Held(self.0.clone())
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            if self.0.references.give_up(1) {
                self.0.memory.with_mut(|_| self.0.destroyed.fetch_add(1, Ordering::SeqCst));
            }
        }
    }

    /// Runs a model with a table and an actor in it, and its number.
    fn with_one(model: fn(&Arc<Table<Held>>, &Arc<Actor>, ActorId)) {
        loom::model(move || {
            let table = Arc::new(Table::new());
            let actor = Actor::new();
            let number = table.insert(9, |id| (id, Held::first(&actor)));
            model(&table, &actor, number.unwrap());
        });
    }

    #[test]
    fn an_actor_that_is_found_while_it_ends_keeps_its_memory_for_whoever_found_it() {
        with_one(|table, actor, id| {
            let theirs = table.clone();
            let ends = thread::spawn(move || drop(theirs.remove(id)));
            if let Some(found) = table.find(id) {
                assert_eq!(found.0.destroyed(), 0);
            }
            ends.join().unwrap();
            assert_eq!(actor.destroyed(), 1);
            assert_eq!(table.live(), 0);
        });
    }

    #[test]
    fn a_number_never_finds_the_next_actor_of_its_slot() {
        with_one(|table, actor, id| {
            let theirs = table.clone();
            let ends = thread::spawn(move || {
                drop(theirs.remove(id));
                // The shards go around: the one of the first again.
                for _ in 1..SHARDS {
                    theirs.skip();
                }
                let next = Actor::new();
                theirs.insert(9, |id| (id, Held::first(&next))).unwrap()
            });
            if let Some(found) = table.find(id) {
                assert!(Arc::ptr_eq(&found.0, actor), "the next one");
            }
            let next = ends.join().unwrap();
            assert_eq!((next.slot(), next.generation()), (id.slot(), id.generation() + 1));
            assert!(table.find(id).is_none());
            drop(table.remove(next));
        });
    }

    impl Table<Held> {
        fn skip(&self) {
            self.next_shard.fetch_add(1, Ordering::Relaxed);
        }
    }
}
