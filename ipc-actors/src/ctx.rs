//! What an actor's hooks and handler can see and do: the part about the actor itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Actor, ChildState};
use crate::addr::Addr;
use crate::alarms::Alarms;
use crate::asks::Asks;
use crate::cell::{Me, Returned};
use crate::envelope::Extras;
use crate::exit::{ExitReason, Phase};
use crate::id::{ActorAddress, ActorId};
use crate::inbox::Lists;
use crate::mailbox::OnRestart;
use crate::run::tell_parent;
use crate::status::Lifecycle;
use crate::supervisor::Parent;
use crate::system::{SpawnError, Stamp, System};
use crate::watch::Watch;

/// Why a factory made nothing.
pub(crate) type FactoryError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the instance of each incarnation.
pub(crate) type Factory<A> = Box<dyn FnMut() -> Result<A, FactoryError> + Send>;

/// The context of an actor: who it is, what it is handling, and what it may ask of the runtime.
pub struct Ctx<A: Actor> {
    pub(crate) me: Me<A>,
    pub(crate) lists: Lists<A::Msg>,
    pub(crate) sender: Option<ActorId>,
    /// Messages handled by all incarnations.
    pub(crate) handled: u64,
    pub(crate) last_message: Stamp,
    pub(crate) extras: Option<Box<Extras>>,
    pub(crate) cold: Option<Box<Cold<A>>>,
    pub(crate) returned: Returned,
    pub(crate) phase: Phase,
    /// The incarnation is to end: `cold.leaving` says why.
    pub(crate) leaving: bool,
    /// Its last turn ended by time.
    pub(crate) slow: bool,
}

/// What most actors never need, allocated when first used.
pub(crate) struct Cold<A: Actor> {
    pub(crate) factory: Option<Factory<A>>,
    pub(crate) parent: Option<Parent>,
    pub(crate) leaving: Option<ExitReason>,
    /// `started` has returned, and its parent is told only when the actor says so.
    pub(crate) unannounced: bool,
    pub(crate) on_restart: OnRestart,
    pub(crate) stash: VecDeque<A::Msg>,
    pub(crate) asks: Asks<A::Msg>,
    pub(crate) alarms: Alarms<A::Msg>,
    pub(crate) watch: Watch,
}

impl<A: Actor> fmt::Debug for Ctx<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("id", &self.id()).field("handled", &self.handled).finish_non_exhaustive()
    }
}

impl<A: Actor> Ctx<A> {
    pub(crate) fn new(me: Me<A>) -> Self {
        Ctx {
            me,
            lists: Lists::new(),
            sender: None,
            handled: 0,
            last_message: Stamp::default(),
            extras: None,
            cold: None,
            returned: Returned::default(),
            phase: Phase::Started,
            leaving: false,
            slow: false,
        }
    }

    pub(crate) fn cold(&mut self) -> &mut Cold<A> {
        self.cold.get_or_insert_with(|| {
            Box::new(Cold {
                factory: None,
                parent: None,
                leaving: None,
                unannounced: false,
                on_restart: OnRestart::Keep,
                stash: VecDeque::new(),
                asks: Asks::default(),
                alarms: Alarms::default(),
                watch: Watch::default(),
            })
        })
    }

    /// Tells the parent of an actor that took its time that it runs now.
    pub(crate) fn announce(&mut self) {
        // Inside `started` the return of it tells the parent.
        if std::mem::take(&mut self.cold().unannounced)
            && self.me.status.lifecycle() == Lifecycle::Running
            && let Some(cold) = &self.cold
        {
            tell_parent(&self.me, cold, ChildState::Running);
        }
    }

    /// This actor's number.
    pub fn id(&self) -> ActorId {
        self.me.id
    }

    /// This actor.
    pub fn addr(&self) -> Addr<A> {
        self.me.addr()
    }

    /// This actor's address as a value.
    pub fn address(&self) -> ActorAddress {
        ActorAddress { node: self.me.system.node, id: self.id(), name: self.name() }
    }

    /// This actor's name, if it was given one.
    pub fn name(&self) -> Option<Arc<str>> {
        self.me.system.names.name_of(self.id())
    }

    /// The system it lives in.
    pub fn system(&self) -> System {
        System::of(self.me.system.clone())
    }

    /// Who sent the message being handled; `None`: no actor did, or it is an answer.
    pub fn sender(&self) -> Option<ActorId> {
        self.sender
    }

    /// Where the message being handled wants its answer, as its envelope says.
    pub fn reply_to(&self) -> Option<&ActorAddress> {
        self.extras.as_ref()?.reply_to.as_ref()
    }

    /// The correlation in the envelope of the message being handled.
    pub fn correlation(&self) -> Option<u64> {
        self.extras.as_ref()?.correlation
    }

    /// Messages handled so far, this one included, by every incarnation.
    pub fn message_count(&self) -> u64 {
        self.handled
    }

    /// When the batch began in which the last message before this one was handled, in the system's time
    /// ([`System::now`]); zero: there was none. The worker reads the clock once per run of the actor.
    pub fn last_message_at(&self) -> Duration {
        self.me.system.time_of(self.last_message)
    }

    /// How often this actor was restarted.
    pub fn incarnation(&self) -> u32 {
        self.me.status.incarnation()
    }

    /// Time since the system started; virtual in a simulation.
    pub fn now(&self) -> Duration {
        self.me.system.now()
    }

    /// Ends this incarnation after the current message, with the reason [`ExitReason::Normal`].
    pub fn stop(&mut self) {
        self.stop_with(ExitReason::Normal);
    }

    /// Ends this incarnation after the current message, with this reason.
    pub fn stop_with(&mut self, reason: ExitReason) {
        self.cold().leaving = Some(reason);
        self.leaving = true;
    }

    /// Starts another actor. It is nobody's child: to have it restarted and stopped with this one, start it below a
    /// supervisor; to end with it, [`link`](Self::link).
    ///
    /// # Errors
    /// As for [`System::spawn`].
    pub fn spawn<B: Actor>(&self, actor: B) -> Result<Addr<B>, SpawnError> {
        self.me.system.spawn(actor)
    }

    /// Puts a message aside for [`unstash_all`](Self::unstash_all). The end of the incarnation makes it a dead letter.
    pub fn stash(&mut self, message: A::Msg) {
        self.cold().stash.push_back(message);
    }

    /// Has what was put aside handled next, in the order it was put aside, before what is queued with the same
    /// priority.
    pub fn unstash_all(&mut self) {
        let Some(cold) = &mut self.cold else { return };
        let stash = std::mem::take(&mut cold.stash);
        self.lists.prepend(stash.into_iter());
    }
}
