//! Actors on plain threads: state that is touched by one message at a time, run by a few workers, supervised, and
//! simulated on one thread when a test wants the same order twice.
//!
//! Nothing here is async. A handler is a function that runs to its end; what it would wait for comes back as a message.
//!
//! * [`Actor`] is what a user writes; [`System`] runs it; [`Addr`] sends to it; [`Ctx`] is what its code can do.
//! * A failed [`tell`](Addr::tell) gives the message back. An [`ask`](Addr::ask) always ends: with an answer, or with
//!   why there is none.
//! * A panic ends one incarnation of one actor. A restart keeps the address and the mailbox.
//! * [`Builder::simulated`] runs the same actors on one thread, in an order drawn from a seed, on a virtual clock.
//!
//! ## What is guaranteed about order
//!
//! Messages and signals from one sender to one receiver with the same priority arrive in the order they were sent.
//! Between senders there is no order. A message of a higher priority may overtake; [`Addr::kill`] overtakes everything.
//! [`Signal::Down`] comes after everything that the dead actor had sent to the watcher, and when its name is free.
//!
//! The guide with the other guarantees is `docs/actors.md`.
#![deny(unsafe_code)]

mod activity;
mod actor;
mod addr;
mod alarms;
mod asks;
mod broker;
mod cell;
mod command;
mod ctx;
mod dead;
mod dedicated;
mod envelope;
mod event;
mod exit;
mod fail;
mod health;
mod id;
mod idle;
mod inbox;
mod inspect;
mod local;
mod mailbox;
#[cfg(all(test, loom))]
mod models;
mod mute;
mod offload;
mod panics;
mod pool;
mod process;
mod random;
mod reactor;
mod reply;
mod routing;
mod run;
mod sched;
mod sim;
mod spawn;
mod status;
mod supervisor;
mod sync;
mod system;
mod table;
mod timers;
mod turn;
mod watch;
mod watchdog;
mod wheel;

pub use activity::ActivityLog;
pub use actor::{Actor, ChildEvent, ChildState, ErrorAction, MonitorRef, Signal};
pub use addr::{Addr, Recipient, TellError};
pub use alarms::TimerRef;
pub use broker::{Broker, Delivery, Filter, InMemoryBroker, Published, Replay, Subscription};
pub use cell::AnyAddr;
pub use ctx::Ctx;
pub use dead::{DeadLetter, DeadReason};
pub use envelope::Envelope;
pub use event::{CrashReport, Event, Severity, Source, What};
pub use exit::{ExitReason, Panic, Phase};
#[cfg(feature = "__fail-points")]
#[doc(hidden)]
pub use fail::points as __fail;
pub use health::{Health, HealthCheck};
pub use id::{ActorAddress, ActorId, MessageId, NodeId};
pub use inspect::{ActorSnapshot, Snapshot};
pub use ipc_core::{Message, Priority};
pub use mailbox::{Mailbox, OnRestart, Overflow};
pub use offload::OffloadError;
pub use process::{Cmd, Limit, Output, Process, ProcessRequest, Ready, SecurityContext, announce_ready};
pub use reply::{AskError, Reply};
pub use routing::{ActorPool, PoolError, PoolStrategy};
pub use sim::Simulation;
pub use status::Lifecycle;
pub use supervisor::{
    AdminError, AutoShutdown, Backoff, Child, ChildInfo, ChildKind, ChildStatus, Counts, Ignore, Observer,
    Request, RestartPolicy, ShutdownPolicy, SpecError, StartError, Supervision, SupervisionEvent,
    SupervisionStrategy, Supervisor, SupervisorRef,
};
pub use system::{Builder, Shutdown, Spawn, SpawnError, System};

/// Bytes that one idle actor of type `A` takes: its state, its mailbox and what the runtime knows of it, in the units
/// the pool gives out. 16 bytes of table come on top.
pub const fn actor_footprint<A: Actor>() -> usize {
    cell::footprint::<A>()
}

/// The guide, whose examples are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/actors.md")]
mod guide {}
