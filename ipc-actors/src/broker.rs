//! Publish and subscribe: topics, filters, and a history that late subscribers can have replayed.
//!
//! A question and its answer do not go through a broker: [`Addr::ask`](crate::Addr::ask) is typed and knows when there is
//! no answer.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::addr::{Recipient, TellError};
use crate::event::{Event, Events, What};
use crate::id::ActorId;
use crate::local;
use crate::system::System;
use ipc_core::Message;

/// One publication, as subscribers get it. The payload is shared, not copied.
#[derive(Debug)]
pub struct Published<M> {
    /// Where it was published.
    pub topic: Arc<str>,
    /// Which actor did it; `None`: no actor.
    pub sender: Option<ActorId>,
    /// Its number in the topic, from 0: what a subscriber missed shows as a gap.
    pub number: u64,
    /// What was published.
    pub message: Arc<M>,
}

impl<M> Clone for Published<M> {
    fn clone(&self) -> Self {
        Published { topic: self.topic.clone(), message: self.message.clone(), ..*self }
    }
}

impl<M: Message + Sync> Message for Published<M> {
    const MESSAGE_TYPE: &'static str = M::MESSAGE_TYPE;
    const PRIORITY: ipc_core::Priority = M::PRIORITY;

    fn priority(&self) -> ipc_core::Priority {
        self.message.priority()
    }
}

/// What a subscriber wants to hear of.
#[derive(Clone)]
pub struct Filter<M> {
    topic: Option<Arc<str>>,
    sender: Option<ActorId>,
    accept: Option<Arc<Accept<M>>>,
}

type Accept<M> = dyn Fn(&M) -> bool + Send + Sync;

impl<M> fmt::Debug for Filter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("topic", &self.topic)
            .field("sender", &self.sender)
            .field("accept", &self.accept.is_some())
            .finish()
    }
}

impl<M> Filter<M> {
    /// Everything.
    pub fn all() -> Self {
        Filter { topic: None, sender: None, accept: None }
    }

    /// What is published in this topic, and in no other.
    pub fn topic(topic: &str) -> Self {
        Filter { topic: Some(topic.into()), ..Filter::all() }
    }

    /// Only what this actor publishes.
    #[must_use]
    pub fn from_sender(self, sender: ActorId) -> Self {
        Filter { sender: Some(sender), ..self }
    }

    /// Only the messages that `accept` takes: usually the variants of an enum that are of interest. It runs in the
    /// publisher, so it should be short.
    #[must_use]
    pub fn of_type(self, accept: impl Fn(&M) -> bool + Send + Sync + 'static) -> Self {
        Filter { accept: Some(Arc::new(accept)), ..self }
    }

    /// Whether it lets `published` through.
    pub fn accepts(&self, published: &Published<M>) -> bool {
        self.topic.as_ref().is_none_or(|topic| *topic == published.topic)
            && self.sender.is_none_or(|sender| Some(sender) == published.sender)
            && self.accept.as_ref().is_none_or(|accept| accept(&published.message))
    }
}

/// One subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subscription(u64);

/// How much of the past a new subscriber is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Replay {
    /// Nothing.
    None,
    /// The latest publications that its filter lets through, at most this many of each topic.
    Last(usize),
    /// All that is kept.
    All,
}

/// What was told about one publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delivery {
    /// Subscribers that took it.
    pub delivered: usize,
    /// Subscribers whose mailboxes were full.
    pub full: usize,
    /// Subscribers that were gone and were removed.
    pub removed: usize,
}

/// Carries publications to whoever subscribed. [`InMemoryBroker`] does within a process.
///
/// # Order
/// Publications of one sender in one topic reach each subscriber in the order they were published, and a replay comes
/// before everything published after the subscription.
pub trait Broker<M: Message + Sync>: Send + Sync {
    /// Publishes `message` in `topic`.
    fn publish(&self, topic: &str, message: M) -> Delivery;

    /// Has `subscriber` told what `filter` lets through.
    fn subscribe(
        &self,
        filter: Filter<M>,
        replay: Replay,
        subscriber: Recipient<Published<M>>,
    ) -> Subscription;

    /// Ends a subscription; false: there is none (any more).
    fn unsubscribe(&self, subscription: Subscription) -> bool;
}

/// A broker within one process. Clones are the same broker.
pub struct InMemoryBroker<M> {
    shared: Arc<Shared<M>>,
}

struct Shared<M> {
    /// Publications kept per topic.
    history: usize,
    next: AtomicU64,
    state: Mutex<State<M>>,
    events: Arc<Events>,
}

struct State<M> {
    topics: HashMap<Arc<str>, Topic<M>>,
    subscribers: Vec<Subscriber<M>>,
}

struct Topic<M> {
    next: u64,
    kept: VecDeque<Published<M>>,
}

struct Subscriber<M> {
    subscription: Subscription,
    filter: Filter<M>,
    to: Recipient<Published<M>>,
}

impl<M> Clone for InMemoryBroker<M> {
    fn clone(&self) -> Self {
        InMemoryBroker { shared: self.shared.clone() }
    }
}

impl<M> fmt::Debug for InMemoryBroker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("InMemoryBroker")
            .field("topics", &state.topics.len())
            .field("subscribers", &state.subscribers.len())
            .finish()
    }
}

impl<M: Message + Sync> InMemoryBroker<M> {
    /// A broker that keeps the latest `history` publications of each topic, and says in the events of `system` who
    /// subscribes.
    pub fn new(system: &System, history: usize) -> Self {
        let state = Mutex::new(State { topics: HashMap::new(), subscribers: Vec::new() });
        let events = system.inner().events.clone();
        InMemoryBroker { shared: Arc::new(Shared { history, next: AtomicU64::new(0), state, events }) }
    }

    /// Subscriptions in force.
    pub fn subscriptions(&self) -> usize {
        self.shared.state.lock().subscribers.len()
    }

    /// The kept publications of a topic, oldest first.
    pub fn history(&self, topic: &str) -> Vec<Published<M>> {
        let state = self.shared.state.lock();
        state.topics.get(topic).map_or_else(Vec::new, |topic| topic.kept.iter().cloned().collect())
    }

    fn say(&self, actor: ActorId, what: impl FnOnce() -> What) {
        self.shared.events.record(|| Event::about(actor, what()));
    }
}

impl<M: Message + Sync> Broker<M> for InMemoryBroker<M> {
    fn publish(&self, topic: &str, message: M) -> Delivery {
        let mut delivery = Delivery::default();
        let mut gone = Vec::new();
        {
            // Held while the messages are pushed, which never waits: two publishers of one topic would otherwise
            // overtake each other between taking a number and pushing.
            let mut guard = self.shared.state.lock();
            let State { topics, subscribers } = &mut *guard;
            let (name, kept) = match topics.get_key_value(topic) {
                Some((name, _)) => (name.clone(), topics.get_mut(topic)),
                None => {
                    let name: Arc<str> = topic.into();
                    topics.insert(name.clone(), Topic { next: 0, kept: VecDeque::new() });
                    (name, topics.get_mut(topic))
                }
            };
            let Some(kept) = kept else { unreachable!("found or inserted") };
            let published = Published {
                topic: name,
                sender: local::current_actor(),
                number: kept.next,
                message: Arc::new(message),
            };
            kept.next += 1;
            subscribers.retain(|subscriber| {
                if !subscriber.filter.accepts(&published) {
                    return true;
                }
                match subscriber.to.tell_now(published.clone()) {
                    Ok(()) => delivery.delivered += 1,
                    Err(TellError::Full(_)) => delivery.full += 1,
                    Err(TellError::Closed(_)) => {
                        delivery.removed += 1;
                        gone.push(subscriber.to.clone());
                        return false;
                    }
                }
                true
            });
            if self.shared.history > 0 {
                if kept.kept.len() == self.shared.history {
                    kept.kept.pop_front();
                }
                kept.kept.push_back(published);
            }
        }
        for gone in gone {
            self.say(gone.any().id(), || What::Unsubscribed);
        }
        delivery
    }

    fn subscribe(&self, filter: Filter<M>, replay: Replay, to: Recipient<Published<M>>) -> Subscription {
        // Relaxed: the numbers are distinct; nothing else is promised.
        let subscription = Subscription(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let id = to.any().id();
        {
            let mut state = self.shared.state.lock();
            // In the order of their names: a hash map's would differ from run to run.
            let mut topics: Vec<_> = state.topics.iter().collect();
            topics.sort_by(|one, other| one.0.cmp(other.0));
            for (_, topic) in topics {
                let wanted: Vec<_> = topic.kept.iter().filter(|kept| filter.accepts(kept)).collect();
                let skip = match replay {
                    Replay::None => wanted.len(),
                    Replay::Last(count) => wanted.len().saturating_sub(count),
                    Replay::All => 0,
                };
                for published in wanted.into_iter().skip(skip) {
                    // A subscriber that is gone or full now is found so by the next publication.
                    let _ = to.tell_now(published.clone());
                }
            }
            state.subscribers.push(Subscriber { subscription, filter, to });
        }
        self.say(id, || What::Subscribed);
        subscription
    }

    fn unsubscribe(&self, subscription: Subscription) -> bool {
        let removed = {
            let mut state = self.shared.state.lock();
            let at = state.subscribers.iter().position(|known| known.subscription == subscription);
            at.map(|at| state.subscribers.remove(at))
        };
        if let Some(subscriber) = &removed {
            self.say(subscriber.to.any().id(), || What::Unsubscribed);
        }
        removed.is_some()
    }
}
