//! Backpressure between actors without a blocked worker: who sends more than the receiver takes rests until the receiver
//! has caught up (the muting of Pony, `ponyc/src/libponyrt/actor/actor.c`).
//!
//! A muted actor's task is kept here instead of in a run queue, so its mailbox stays BUSY and nobody schedules it. It
//! cannot deadlock: an overloaded actor is never muted, so in every circle of muted actors somebody runs; and after
//! `max_mute` everybody does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::cell::{AnyAddr, Core, Task};
use crate::event::{Event, What};
use crate::id::ActorId;
use crate::mailbox::Overflow;
use crate::status::control;
use crate::system::Inner;
use crate::timers::TimerKey;

#[derive(Default)]
pub(crate) struct Mutes {
    total: AtomicU64,
    state: Mutex<State>,
}

/// Ordered maps: a simulation must go through them in the same order every time.
#[derive(Default)]
struct State {
    /// Senders that are to rest after their current message, and for whom.
    wanted: BTreeMap<ActorId, (AnyAddr, Duration)>,
    resting: BTreeMap<ActorId, Resting>,
}

struct Resting {
    task: Task,
    receiver: AnyAddr,
    timer: TimerKey,
}

impl Mutes {
    /// Actors that rest now.
    pub(crate) fn resting(&self) -> usize {
        self.state.lock().resting.len()
    }

    pub(crate) fn is_resting(&self, actor: ActorId) -> bool {
        self.state.lock().resting.contains_key(&actor)
    }

    /// How often an actor was put to rest.
    pub(crate) fn total(&self) -> u64 {
        // Relaxed: a statistic.
        self.total.load(Ordering::Relaxed)
    }
}

impl Core {
    /// Whether more is queued than the mailbox is for. Only a throttling one lets that happen.
    pub(crate) fn is_overloaded(&self) -> bool {
        matches!(self.limits.overflow(), Overflow::Throttle { .. }) && self.queued() > self.limits.capacity
    }

    /// The count below which an overloaded actor has caught up.
    fn low_water(&self) -> u32 {
        self.limits.capacity / 4
    }

    /// Counts a message for a throttling mailbox. Actors are always taken from, and rest afterwards; true: taken.
    pub(crate) fn reserve_throttled(&self, sender: Option<ActorId>, max_mute: Duration) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let capacity = self.limits.capacity;
        // Relaxed: a count; the node's own exchange orders the message.
        if self.queued.fetch_add(1, Relaxed) < capacity {
            return true;
        }
        match sender {
            Some(sender) => {
                if sender != self.id {
                    self.system.want_rest(self, sender, max_mute);
                }
                true
            }
            None => {
                self.uncount();
                let reserve = || {
                    let taken = self.queued.fetch_add(1, Relaxed) < capacity;
                    if !taken {
                        self.uncount();
                    }
                    taken
                };
                self.system.wait_for_room(self, max_mute, reserve)
            }
        }
    }

    /// Counts one message less and answers how many there were. Whoever takes a throttling mailbox down to its low
    /// water, and every way down passes it, wakes the senders that rest for it.
    pub(crate) fn uncount(&self) -> u32 {
        // Relaxed: a count; the lock in `release_senders` orders it with the look in `rest`.
        let before = self.queued.fetch_sub(1, Ordering::Relaxed);
        if matches!(self.limits.overflow(), Overflow::Throttle { .. }) && before == self.low_water() + 1 {
            self.system.release_senders(self.id);
        }
        before
    }
}

impl Inner {
    /// Has `sender`, who runs on this thread, rest after its current message.
    #[cold]
    fn want_rest(&self, receiver: &Core, sender: ActorId, max_mute: Duration) {
        let (Some(sender), Some(receiver)) = (self.table.find(sender), self.table.find(receiver.id)) else {
            return;
        };
        let before = self.mutes.state.lock().wanted.insert(sender.id(), (receiver, max_mute));
        // Dropped outside the lock: it may be the last reference.
        drop(before);
        sender.core().status.request(control::MUTE);
    }

    /// Takes the task of an actor that is to rest, or schedules it when there is no reason any more.
    pub(crate) fn rest(&self, task: Task) {
        let sender = task.core().id;
        let mut state = self.mutes.state.lock();
        let Some((receiver, max_mute)) = state.wanted.remove(&sender) else {
            drop(state);
            return self.schedule(task);
        };
        let core = receiver.core();
        let caught_up = core.queued() <= core.low_water() || core.inbox.is_closed();
        // Looked at under the lock that `unmute` takes after it has set a request: one of the two sees the other.
        if caught_up || task.core().status.has_request() {
            drop(state);
            return self.schedule(task);
        }
        let (id, due) = (receiver.id(), self.now().saturating_add(max_mute));
        let Some(me) = self.table.find(sender) else { unreachable!("a scheduled actor is in the table") };
        let timer = self.start_timer(due, me, crate::timers::UNMUTE);
        state.resting.insert(sender, Resting { task, receiver, timer });
        drop(state);
        // Relaxed: a statistic.
        self.mutes.total.fetch_add(1, Ordering::Relaxed);
        self.events.record(|| Event::about(sender, What::Muted { receiver: id }));
    }

    /// Has an actor that rests go on, because somebody wants something of it or because `max_mute` is over.
    pub(crate) fn unmute(&self, sender: ActorId, overdue: bool) {
        let resting = self.mutes.state.lock().resting.remove(&sender);
        if let Some(resting) = resting {
            self.go_on(sender, resting, overdue);
        }
    }

    /// Has everybody go on who rests for this receiver.
    pub(crate) fn release_senders(&self, receiver: ActorId) {
        let released: Vec<_> = {
            let mut state = self.mutes.state.lock();
            let for_it = |(_, resting): &(&ActorId, &Resting)| resting.receiver.id() == receiver;
            let senders: Vec<_> = state.resting.iter().filter(for_it).map(|(sender, _)| *sender).collect();
            let take = |sender| state.resting.remove(&sender).map(|resting| (sender, resting));
            senders.into_iter().filter_map(take).collect()
        };
        for (sender, resting) in released {
            self.go_on(sender, resting, false);
        }
    }

    fn go_on(&self, sender: ActorId, resting: Resting, overdue: bool) {
        self.timers.cancel(resting.timer);
        self.events.record(|| Event::about(sender, What::Unmuted { overdue }));
        self.schedule(resting.task);
    }

    /// An actor is over: nobody waits for it, and it does not rest any more.
    pub(crate) fn forget_mutes(&self, actor: &Core) {
        let wanted = self.mutes.state.lock().wanted.remove(&actor.id);
        drop(wanted);
        if matches!(actor.limits.overflow(), Overflow::Throttle { .. }) {
            self.release_senders(actor.id);
        }
    }
}
