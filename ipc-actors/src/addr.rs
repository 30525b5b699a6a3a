//! Addresses one can send to.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::cell::{AnyAddr, Core};
use crate::command::Command;
use crate::dead::DeadReason;
use crate::envelope::{Envelope, Extras};
use crate::exit::ExitReason;
use crate::fail;
use crate::id::{ActorAddress, ActorId};
use crate::inbox::{Node, Parcel};
use crate::local;
use crate::mailbox::Overflow;
use crate::reply::{self, AskError, Reply};
use crate::status::{Lifecycle, control};
use ipc_core::{Message, Priority};

/// An actor one can send to. A clone costs one atomic increment; the address stays good across restarts and keeps the
/// actor's memory, not the actor.
pub struct Addr<A: Actor> {
    any: AnyAddr,
    marker: PhantomData<fn(A::Msg)>,
}

impl<A: Actor> Clone for Addr<A> {
    fn clone(&self) -> Self {
        Addr::from_any(self.any.clone())
    }
}

impl<A: Actor> PartialEq for Addr<A> {
    fn eq(&self, other: &Self) -> bool {
        self.any == other.any
    }
}

impl<A: Actor> Eq for Addr<A> {}

impl<A: Actor> fmt::Debug for Addr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addr({} {})", self.any.core().actor_name(), self.id())
    }
}

impl<A: Actor> Addr<A> {
    /// `any` is known to be an `A`.
    pub(crate) fn from_any(any: AnyAddr) -> Self {
        debug_assert!(any.is::<A>());
        Addr { any, marker: PhantomData }
    }

    pub(crate) fn any(&self) -> &AnyAddr {
        &self.any
    }

    fn core(&self) -> &Core {
        self.any.core()
    }

    /// The actor's number.
    pub fn id(&self) -> ActorId {
        self.core().id
    }

    /// The same actor, its type forgotten.
    pub fn into_any(self) -> AnyAddr {
        self.any
    }

    /// Sends `message`. Never waits, except as a mailbox of [`Overflow::Block`] says.
    ///
    /// # Errors
    /// Each gives the message back. `Closed`: the actor is gone. `Full`: its mailbox is.
    #[inline]
    pub fn tell(&self, message: A::Msg) -> Result<(), TellError<A::Msg>> {
        self.any.fetch();
        let priority = message.priority();
        let sender = local::current_actor();
        self.enqueue(message, priority, |message| {
            if priority == Priority::Normal {
                return self.push_message(message, sender);
            }
            self.push(Node::message(message, priority, sender)).map_err(Node::into_message)
        })
    }

    /// Sends a message in an envelope: with another priority, a time to live, an address to answer to, a correlation.
    ///
    /// # Errors
    /// As for [`tell`](Self::tell); the message comes back without its envelope.
    pub fn send(&self, envelope: Envelope<A::Msg>) -> Result<(), TellError<A::Msg>> {
        let priority = envelope.priority;
        let sender = envelope.sender.as_ref().map(|sender| sender.id).or_else(local::current_actor);
        let deadline = envelope.ttl.and_then(|ttl| self.core().system.now().checked_add(ttl));
        let extras = Extras { reply_to: envelope.reply_to, correlation: envelope.correlation, deadline };
        self.enqueue(envelope.message, priority, |message| {
            self.push(Node::parcel(Parcel { extras, message }, priority, sender)).map_err(Node::into_message)
        })
    }

    #[inline]
    fn enqueue(
        &self,
        message: A::Msg,
        priority: Priority,
        push: impl FnOnce(A::Msg) -> Result<(), A::Msg>,
    ) -> Result<(), TellError<A::Msg>> {
        let core = self.core();
        if fail::now("mailbox.full", || core.actor_name()) {
            return Err(TellError::Full(message));
        }
        if core.limits.is_bounded() {
            match core.reserve() {
                Room::Taken => {}
                Room::Refused => return Err(TellError::Full(message)),
                Room::Dropped => {
                    core.system.dead_letter(core, DeadReason::Overflow, local::current_actor());
                    return Ok(());
                }
            }
        }
        push(message).map_err(TellError::Closed)?;
        if priority > Priority::Normal {
            core.status.request(control::URGENT);
        }
        Ok(())
    }

    /// Delivers an answer; an asker that is gone does not miss it. This reference goes with the answer, back into
    /// [`Returned`](crate::cell::Returned).
    #[inline]
    pub(crate) fn push_reply(self, message: A::Msg, correlation: u64) {
        let priority = message.priority();
        // From the push on this reference is the answer's, and the actor may run to its end with it while this thread is still
        // about to wake a worker for it. A worker has what it needs for that; others hold on to the system.
        let system = &self.core().system;
        let _kept = (!system.is_here()).then(|| system.clone());
        match self.push(Node::reply(message, priority, correlation)) {
            Ok(()) => std::mem::forget(self),
            Err(node) => drop(node.open()),
        }
    }

    /// Asks and waits: `make` puts the [`Reply`] into a message, this thread waits for what is sent through it.
    ///
    /// # Errors
    /// [`AskError`] says why there is no answer. From an actor's handler always `WouldBlockWorker`, without asking.
    pub fn ask<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> A::Msg,
        timeout: Duration,
    ) -> Result<T, AskError> {
        if local::must_not_block() {
            return Err(AskError::WouldBlockWorker);
        }
        let (waiter, reply) = reply::to_thread();
        match self.tell(make(reply)) {
            Err(TellError::Closed(_)) => return Err(AskError::Closed),
            Err(TellError::Full(_)) => return Err(AskError::Full),
            Ok(()) => {}
        }
        let system = &self.core().system;
        match system.simulation() {
            Some(simulation) => {
                simulation.run_until(system, Some(timeout), || waiter.is_done());
                waiter.take()
            }
            None => waiter.wait(Instant::now().checked_add(timeout), system.config.ask_spin),
        }
    }

    /// Asks the actor to stop once everything sent to it before is handled; the reason will be
    /// [`ExitReason::Normal`]. A supervisor may restart it. A stopped actor does not mind.
    pub fn stop(&self) {
        self.any.stop();
    }

    /// Ends the actor after the message it is handling: no hook runs, what is queued becomes dead letters.
    pub fn kill(&self) {
        self.any.kill();
    }

    /// Where it is in its life.
    pub fn lifecycle(&self) -> Lifecycle {
        self.any.lifecycle()
    }

    /// Its address as a value.
    pub fn address(&self) -> ActorAddress {
        self.any.address()
    }

    /// The part of it that takes an `M`.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        M: Send + 'static,
        A::Msg: From<M> + TryInto<M>,
    {
        Recipient { any: self.any.clone(), push: push_as::<A, M> }
    }
}

impl AnyAddr {
    /// The actor's number.
    pub fn id(&self) -> ActorId {
        self.core().id
    }

    /// The same actor with its type, if it is an `A`.
    pub fn downcast<A: Actor>(&self) -> Option<Addr<A>> {
        self.is::<A>().then(|| Addr::from_any(self.clone()))
    }

    /// Where it is in its life.
    pub fn lifecycle(&self) -> Lifecycle {
        self.core().status.lifecycle()
    }

    /// Its incarnation: how often it was restarted.
    pub fn incarnation(&self) -> u32 {
        self.core().status.incarnation()
    }

    /// Its address as a value.
    pub fn address(&self) -> ActorAddress {
        let core = self.core();
        ActorAddress { node: core.system.node, id: core.id, name: core.system.names.name_of(core.id) }
    }

    /// Asks the actor to stop once everything sent to it before is handled.
    pub fn stop(&self) {
        // Gone already: that is what was asked for.
        let _ = self.command(Command::Stop(ExitReason::Normal));
    }

    /// Ends the actor after the message it is handling, without hooks.
    pub fn kill(&self) {
        self.demand(control::KILL);
    }

    /// Ends the actor after the message it is handling, with `stopped` and the reason [`ExitReason::Shutdown`].
    pub fn shutdown(&self) {
        self.demand(control::STOP);
    }

    /// Begins the next incarnation of a child that waits for its parent, who calls this.
    pub(crate) fn restart(&self) {
        self.core().status.withdraw(control::STOP | control::KILL);
        self.demand(control::RESTART);
    }

    /// Ends a child that waits for its parent, who calls this, for good.
    pub(crate) fn release(&self) {
        self.demand(control::RELEASE);
    }

    /// Sets a request in the control word and has the owner look at it.
    pub(crate) fn demand(&self, request: u32) {
        if self.core().status.request(request) {
            // Gone: there is nobody to demand it of.
            let _ = self.command(Command::Kick);
            self.core().system.unmute(self.id(), false);
        }
    }
}

/// Whether a bounded mailbox takes a message.
enum Room {
    Taken,
    Refused,
    Dropped,
}

impl Core {
    #[inline]
    fn try_reserve(&self, limit: u32) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        // Relaxed: a count; the node's own exchange orders the message.
        if self.queued.fetch_add(1, Relaxed) < limit {
            return true;
        }
        self.queued.fetch_sub(1, Relaxed);
        false
    }

    fn reserve(&self) -> Room {
        let capacity = self.limits.capacity;
        let taken = |taken| if taken { Room::Taken } else { Room::Refused };
        match self.limits.overflow() {
            Overflow::Error => taken(self.try_reserve(capacity)),
            Overflow::DropNewest if self.try_reserve(capacity) => Room::Taken,
            Overflow::DropNewest => Room::Dropped,
            Overflow::DropOldest => taken(self.try_reserve(capacity.saturating_mul(2))),
            Overflow::Throttle { max_mute } => {
                taken(self.reserve_throttled(local::current_actor(), max_mute))
            }
            Overflow::Block(patience) => taken(
                self.try_reserve(capacity)
                    || self.system.wait_for_room(self, patience, || self.try_reserve(capacity)),
            ),
        }
    }
}

fn push_as<A: Actor, M: Send + 'static>(any: &AnyAddr, message: M) -> Result<(), TellError<M>>
where
    A::Msg: From<M> + TryInto<M>,
{
    let addr = Addr::<A>::from_any(any.clone());
    addr.tell(A::Msg::from(message)).map_err(|error| {
        error.map(|message| match message.try_into() {
            Ok(message) => message,
            Err(_) => panic!("{}: TryInto does not undo From", std::any::type_name::<A::Msg>()),
        })
    })
}

/// Whoever takes an `M`: an address without the actor's type. `M` is the actor's message type, or one that converts
/// into it and back (`From` and `TryInto`, which must undo each other: a failed send gives the message back).
pub struct Recipient<M> {
    any: AnyAddr,
    push: fn(&AnyAddr, M) -> Result<(), TellError<M>>,
}

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Recipient { any: self.any.clone(), push: self.push }
    }
}

impl<M> fmt::Debug for Recipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({} {})", self.any.core().actor_name(), self.any.id())
    }
}

impl<M> Recipient<M> {
    /// Sends `message`.
    ///
    /// # Errors
    /// As for [`Addr::tell`].
    pub fn tell(&self, message: M) -> Result<(), TellError<M>> {
        (self.push)(&self.any, message)
    }

    /// Sends `message` and does not wait, whatever the mailbox's policy is.
    pub(crate) fn tell_now(&self, message: M) -> Result<(), TellError<M>> {
        local::without_waiting(|| self.tell(message))
    }

    /// The actor, its type forgotten.
    pub fn any(&self) -> &AnyAddr {
        &self.any
    }
}

/// A message that was not taken.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TellError<M> {
    /// The actor is gone; here is the message.
    Closed(M),
    /// The mailbox is full; here is the message.
    Full(M),
}

impl<M> TellError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            TellError::Closed(message) | TellError::Full(message) => message,
        }
    }

    fn map<N>(self, change: impl FnOnce(M) -> N) -> TellError<N> {
        match self {
            TellError::Closed(message) => TellError::Closed(change(message)),
            TellError::Full(message) => TellError::Full(change(message)),
        }
    }
}

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TellError::Closed(_) => "Closed(..)",
            TellError::Full(_) => "Full(..)",
        })
    }
}

impl<M> fmt::Display for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TellError::Closed(_) => "the actor is gone",
            TellError::Full(_) => "the actor's mailbox is full",
        })
    }
}

impl<M> std::error::Error for TellError<M> {}
