//! Looking at a live system: a snapshot of its tree, one actor, counters for a scraper, and traces.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cell::AnyAddr;
use crate::dead::DeadReason;
use crate::event::Event;
use crate::id::{ActorId, NodeId};
use crate::status::Lifecycle;
use crate::system::System;

/// A system at one moment, with its actors as a tree. Actors go on while it is taken, so two of them may be seen a few
/// microseconds apart. It is `Serialize`: its JSON is what a monitoring page wants.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Snapshot {
    /// The system's name.
    pub name: String,
    /// The system's number.
    pub node: NodeId,
    /// When, in the system's time.
    pub at: Duration,
    /// Live actors.
    pub live: usize,
    /// Running timers.
    pub timers: usize,
    /// Actors that rest because they sent more than the receiver takes.
    pub muted: usize,
    /// Messages that no handler saw.
    pub dead_letters: BTreeMap<DeadReason, u64>,
    /// The actors that nobody supervises, each with those below it.
    pub actors: Vec<ActorSnapshot>,
}

/// One actor at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ActorSnapshot {
    /// Its number.
    pub id: ActorId,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its type.
    pub actor_type: &'static str,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// How often it was restarted.
    pub incarnation: u32,
    /// Messages queued, where its mailbox counts them.
    pub queued: Option<u32>,
    /// Whether it rests because it sent more than the receiver takes.
    pub muted: bool,
    /// Those it supervises.
    pub children: Vec<ActorSnapshot>,
}

impl System {
    /// The system as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        let mut children: BTreeMap<Option<ActorId>, Vec<AnyAddr>> = BTreeMap::new();
        {
            let all = inner.table.all();
            let parents = inner.parents.lock();
            for actor in all {
                children.entry(parents.get(&actor.id()).copied()).or_default().push(actor);
            }
        }
        Snapshot {
            name: inner.config.name.clone(),
            node: inner.node,
            at: self.now(),
            live: self.live(),
            timers: self.timers(),
            muted: inner.mutes.resting(),
            dead_letters: DeadReason::ALL.iter().map(|why| (*why, self.dead_letters(*why))).collect(),
            actors: self.below(None, &mut children),
        }
    }

    fn below(
        &self,
        parent: Option<ActorId>,
        all: &mut BTreeMap<Option<ActorId>, Vec<AnyAddr>>,
    ) -> Vec<ActorSnapshot> {
        let actors = all.remove(&parent).unwrap_or_default();
        let with_children = |actor: AnyAddr| {
            let children = self.below(Some(actor.id()), all);
            ActorSnapshot { children, ..self.seen(&actor) }
        };
        actors.into_iter().map(with_children).collect()
    }

    fn seen(&self, actor: &AnyAddr) -> ActorSnapshot {
        let (inner, core) = (self.inner(), actor.core());
        ActorSnapshot {
            id: core.id,
            name: inner.names.name_of(core.id),
            actor_type: core.actor_name(),
            lifecycle: core.status.lifecycle(),
            incarnation: core.status.incarnation(),
            queued: core.limits.is_bounded().then(|| core.queued()),
            muted: inner.mutes.is_resting(core.id),
            children: Vec::new(),
        }
    }

    /// One live actor as it is now, without those below it.
    pub fn inspect(&self, id: ActorId) -> Option<ActorSnapshot> {
        self.inner().table.find(id).map(|actor| self.seen(&actor))
    }

    /// Has every message that this actor handles from now on make an [`Event`], or no more; false: there is no such
    /// actor. For a look at one actor of a live system: it costs every message of that actor a lock.
    pub fn trace(&self, id: ActorId, on: bool) -> bool {
        let actor = self.inner().table.find(id);
        actor.is_some_and(|actor| {
            actor.core().status.trace(on);
            true
        })
    }

    /// The latest events, oldest first; empty unless the system was built with
    /// [`Builder::events`](crate::Builder::events) and the crate with its feature `events`.
    pub fn events(&self) -> Vec<Event> {
        self.inner().events.kept()
    }

    /// Counters in the text form of OpenMetrics 1.0, for a scraper.
    pub fn open_metrics(&self) -> String {
        let inner = self.inner();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
            let suffix = if kind == "counter" { "_total" } else { "" };
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{suffix}{labels} {value}");
            }
        };
        let one = |value: u64| vec![(String::new(), value)];
        family("ipc_actors_live", "gauge", "Live actors.", &one(self.live() as u64));
        family("ipc_actors_timers", "gauge", "Running timers.", &one(self.timers() as u64));
        family(
            "ipc_actors_muted",
            "gauge",
            "Actors that rest for a receiver.",
            &one(inner.mutes.resting() as u64),
        );
        family("ipc_actors_mutes", "counter", "Times an actor was put to rest.", &one(inner.mutes.total()));
        family("ipc_actors_events", "counter", "Events recorded.", &one(inner.events.count()));
        let (threads, waiting) = inner.offload_load();
        family("ipc_actors_offload_threads", "gauge", "Threads for offloaded work.", &one(threads as u64));
        let help = "Offloaded work that waits for a thread.";
        family("ipc_actors_offload_waiting", "gauge", help, &one(waiting as u64));
        let dead: Vec<_> = DeadReason::ALL
            .iter()
            .map(|why| (format!("{{reason=\"{why:?}\"}}"), self.dead_letters(*why)))
            .collect();
        family("ipc_actors_dead_letters", "counter", "Messages that no handler saw.", &dead);
        let turns: Vec<_> = inner
            .turns()
            .into_iter()
            .enumerate()
            .map(|(worker, turns)| (format!("{{worker=\"{worker}\"}}"), turns))
            .collect();
        family("ipc_actors_turns", "counter", "Turns of actors that a worker ran.", &turns);
        text.push_str("# EOF\n");
        text
    }
}
