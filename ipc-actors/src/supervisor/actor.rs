//! What an event of a child means to its supervisor.

use std::sync::Arc;
use std::time::Duration;

use super::admin::{AdminError, Later, Request, Started, SupervisorRef};
use super::children::{Cause, Children, Key, Slot, State, refused};
use super::event::{Observer, Supervision, SupervisionEvent};
use super::make::Surroundings;
use super::plan::Plan;
use super::post::Post;
use super::spec::{
    AutoShutdown, ChildKind, Ignore, Policy, RestartPolicy, Spec, StartError, SupervisionStrategy, Supervisor,
};
use super::window::{Attempts, Window};
use crate::actor::{Actor, ChildEvent, ChildState, ErrorAction, Signal};
use crate::ctx::Ctx;
use crate::event::Event;
use crate::exit::{self, ExitReason};
use crate::id::ActorId;
use crate::local;
use crate::mailbox::{Mailbox, OnRestart};
use crate::panics;
use crate::process::SecurityContext;
use crate::random::Random;
use crate::reply::{self, Reply};
use crate::spawn::{Plan as SpawnPlan, SpawnError};
use crate::system::System;

/// Where a supervisor is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its children are being started for the first time.
    Starting,
    Running,
    /// It stops its children and ends for this reason.
    Leaving(ExitReason),
}

/// A supervisor at work. It takes [`Request`]s.
pub struct SupervisorActor {
    pub(super) spec: Arc<Spec>,
    pub(super) post: Arc<Post>,
    pub(super) observer: Option<Observer>,
    pub(super) security: SecurityContext,
    pub(super) children: Children,
    pub(super) plan: Plan,
    pub(super) phase: Phase,
    /// Restarts of groups.
    pub(super) attempts: Attempts,
    pub(super) random: Random,
    /// What the pause of the plan was started for.
    pub(super) serial: u32,
    /// Whoever waits for the tree to stand.
    pub(super) starter: Option<Reply<Result<(), StartError>>>,
    /// The last start failed on the spot.
    pub(super) stalled: bool,
    /// That of all dynamic children, once there is one.
    pub(super) policy: Option<Arc<Policy>>,
}

impl std::fmt::Debug for SupervisorActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisorActor").field("path", &self.post.path).finish_non_exhaustive()
    }
}

type Context = Ctx<SupervisorActor>;

impl SupervisorActor {
    pub(super) fn new(
        spec: Arc<Spec>,
        path: Arc<str>,
        observer: Option<Observer>,
        security: SecurityContext,
    ) -> Self {
        let dynamic = spec.strategy == SupervisionStrategy::Dynamic;
        SupervisorActor {
            post: Post::new(path, Window::new(spec.intensity, spec.period)),
            observer,
            security,
            children: Children::new(dynamic),
            plan: Plan::Nothing,
            phase: Phase::Starting,
            attempts: Attempts::default(),
            random: Random::new(0),
            serial: 0,
            starter: None,
            stalled: false,
            policy: None,
            spec,
        }
    }

    pub(super) fn is_dynamic(&self) -> bool {
        self.spec.strategy == SupervisionStrategy::Dynamic
    }

    /// Tells the observer.
    pub(super) fn tell(&mut self, key: Key, what: Supervision, ctx: &Context) {
        self.record(key, &what, ctx);
        let Some(observer) = self.observer.clone() else { return };
        let Some(slot) = self.children.slot(key) else { return };
        observer.tell(&SupervisionEvent {
            at: ctx.now(),
            supervisor: self.post.path.clone(),
            child: slot.id.clone(),
            actor: slot.actor.as_ref().map(|actor| actor.id()),
            incarnation: slot.actor.as_ref().map_or(0, |actor| actor.incarnation()),
            kind: slot.policy.kind,
            what,
        });
    }

    /// Puts it into the system's events.
    fn record(&mut self, key: Key, what: &Supervision, ctx: &Context) {
        let (events, supervisor) = (&ctx.me.system.events, &self.post.path);
        if let Some(slot) = self.children.slot(key) {
            let actor = slot.actor.as_ref().map(|actor| actor.id());
            events.record(|| Event::supervised(actor, supervisor, &slot.id, what));
        }
    }

    fn tell_of_self(&self, what: Supervision, ctx: &Context) {
        let me = || Event::supervised(Some(ctx.id()), &self.post.path, &self.spec.name, &what);
        ctx.me.system.events.record(me);
        let Some(observer) = &self.observer else { return };
        observer.tell(&SupervisionEvent {
            at: ctx.now(),
            supervisor: self.post.path.clone(),
            child: self.spec.name.clone(),
            actor: Some(ctx.id()),
            incarnation: ctx.incarnation(),
            kind: ChildKind::Supervisor,
            what,
        });
    }

    /// The tree stands: tells whoever waits for it.
    pub(super) fn announce(&mut self, ctx: &mut Context) {
        if let Some(starter) = self.starter.take() {
            starter.send(Ok(()));
        }
        ctx.announce();
    }

    /// A pause, and after a start that failed on the spot at least a short one: or the next would follow from within
    /// the last, without end.
    pub(super) fn at_least_short(&mut self, pause: Duration) -> Duration {
        if std::mem::take(&mut self.stalled) { pause.max(Duration::from_millis(1)) } else { pause }
    }

    /// Everything is stopped: ends.
    pub(super) fn end(&mut self, ctx: &mut Context) {
        self.plan = Plan::Nothing;
        let Phase::Leaving(reason) = &self.phase else { return };
        let reason = reason.clone();
        if let (Some(starter), ExitReason::StartFailed(error)) = (self.starter.take(), &reason) {
            starter.send(Err(StartError::clone(error)));
        }
        ctx.stop_with(reason);
    }

    /// Begins an incarnation of a child.
    pub(super) fn begin(&mut self, key: Key, cause: Cause, ctx: &mut Context) -> Result<(), ExitReason> {
        let Some(slot) = self.children.slot(key) else { return Ok(()) };
        slot.state = State::Starting(cause);
        slot.wanted = true;
        if cause == Cause::Restart {
            slot.restarts += 1;
        }
        if let Some(actor) = &slot.actor {
            actor.restart();
        } else {
            let Some(maker) = slot.maker.clone() else {
                return Err(ExitReason::Error("a temporary child is made once".into()));
            };
            let (name, policy, id) = (slot.name.clone(), slot.policy.clone(), slot.id.clone());
            let around = Surroundings {
                system: &ctx.me.system,
                parent: ctx.addr().into_any(),
                post: &self.post,
                child: &id,
                security: &self.security,
                observer: self.observer.as_ref(),
            };
            match maker.spawn(around, name, &policy) {
                Ok(actor) => self.children.put(key, actor),
                Err(error) => {
                    // Whoever asked wants to know who has the name.
                    if let (SpawnError::NameTaken(holder), Some(slot)) = (&error, self.children.slot(key))
                        && let Some(reply) = slot.starting.take()
                    {
                        reply.send(Err(AdminError::AlreadyStarted(holder.clone())));
                    }
                    self.stalled = true;
                    return Err(refused(&error));
                }
            }
        }
        self.tell(key, Supervision::Starting, ctx);
        Ok(())
    }

    /// Restarts one child, whose siblings are left alone.
    pub(super) fn restart_one(&mut self, key: Key, ctx: &mut Context) {
        if let Err(reason) = self.begin(key, Cause::Restart, ctx) {
            self.start_failed(key, Cause::Restart, reason, ctx);
        }
    }

    fn child_event(&mut self, event: ChildEvent, ctx: &mut Context) {
        let Some(key) = self.children.of_actor(event.child) else {
            if matches!(event.what, ChildState::Exited { .. }) {
                self.stranger_ended(event.child, ctx);
            }
            return;
        };
        match event.what {
            ChildState::Running => self.child_runs(key, ctx),
            ChildState::Health(health) => self.checked(key, health, ctx),
            ChildState::Exited { reason, wish, .. } => self.child_ended(key, reason, wish, ctx),
        }
    }

    /// A zombie came back, or a child of an incarnation of this supervisor that was killed.
    fn stranger_ended(&mut self, child: ActorId, ctx: &Context) {
        let known = self.children.zombies.remove(&child);
        let actor = known.as_ref().map(|(_, actor)| actor.clone());
        if let Some(actor) = actor.or_else(|| ctx.me.system.table.find(child)) {
            actor.release();
        }
        if let (Some((id, actor)), Some(observer)) = (known, &self.observer) {
            observer.tell(&SupervisionEvent {
                at: ctx.now(),
                supervisor: self.post.path.clone(),
                child: id,
                actor: Some(child),
                incarnation: actor.incarnation(),
                kind: ChildKind::Worker,
                what: Supervision::Reaped,
            });
        }
    }

    fn child_runs(&mut self, key: Key, ctx: &mut Context) {
        let now = ctx.now();
        let Some(slot) = self.children.slot(key) else { return };
        if !matches!(slot.state, State::Starting(_)) {
            return;
        }
        slot.state = State::Running;
        slot.attempts.runs(now);
        if self.spec.strategy == SupervisionStrategy::Dynamic
            && slot.policy.restart == RestartPolicy::Temporary
        {
            slot.maker = None;
        }
        let answer: Started = Ok(slot.actor.clone());
        let starting = slot.starting.take();
        self.tell(key, Supervision::Started, ctx);
        if let Some(reply) = starting {
            reply.send(answer);
        }
        self.schedule_check(key, ctx);
        self.advance(ctx);
    }

    fn child_ended(&mut self, key: Key, reason: ExitReason, wish: Option<ErrorAction>, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        let (state, wanted) = (slot.state, slot.wanted);
        let verdict = self.unhealthy(key).filter(|_| wanted);
        let expected = matches!(state, State::Stopping { .. }) && verdict.is_none();
        let reason = verdict.unwrap_or(reason);
        self.cancel_slot_timer(key, ctx);
        self.cancel_check(key, ctx);
        match state {
            State::Starting(cause) => self.start_failed(key, cause, reason, ctx),
            State::Stopping { .. } if expected => {
                self.tell(key, Supervision::Exited { reason, expected }, ctx);
                self.stopped(key);
            }
            _ => {
                self.tell(key, Supervision::Exited { reason: reason.clone(), expected }, ctx);
                self.ended_by_itself(key, &reason, wish, ctx);
            }
        }
        self.advance(ctx);
    }

    /// A child ended that nobody had asked to.
    pub(super) fn ended_by_itself(
        &mut self,
        key: Key,
        reason: &ExitReason,
        wish: Option<ErrorAction>,
        ctx: &mut Context,
    ) {
        let leaving = matches!(self.phase, Phase::Leaving(_));
        let dynamic = self.is_dynamic();
        let in_restart = self.is_in_restart(key);
        let Some(slot) = self.children.slot(key) else { return };
        let policy = slot.policy.clone();
        let temporary = policy.restart == RestartPolicy::Temporary;
        if leaving {
            return self.settle(key, temporary || dynamic);
        }
        let again = match (wish, policy.restart) {
            (Some(ErrorAction::Stop), _) => false,
            (Some(ErrorAction::Restart), _) | (_, RestartPolicy::Permanent) => true,
            (_, RestartPolicy::Transient) => !reason.is_normal(),
            (_, RestartPolicy::Temporary) => false,
        };
        if in_restart && !temporary {
            // The plan would have stopped it next, and starts it again.
            slot.state = State::Restarting;
            return;
        }
        if again {
            return self.failed(key, reason, ctx);
        }
        self.settle(key, temporary || dynamic);
        if policy.significant {
            self.significant_ended(ctx);
        }
    }

    fn significant_ended(&mut self, ctx: &mut Context) {
        let due = match self.spec.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => {
                !self.children.iter().any(|(_, slot)| slot.policy.significant && slot.state != State::Absent)
            }
        };
        if due {
            self.tell_of_self(Supervision::AutoShutdown, ctx);
            self.leave(ExitReason::Shutdown, ctx);
        }
    }

    /// A child that is to be restarted has ended, or did not start.
    fn failed(&mut self, key: Key, reason: &ExitReason, ctx: &mut Context) {
        let now = ctx.now();
        let Some(slot) = self.children.slot(key) else { return };
        slot.state = State::Restarting;
        let id = slot.id.clone();
        if !self.post.window.lock().record(now) {
            let why = self.limit_reached(&id, reason);
            self.tell_of_self(Supervision::GivingUp(why.clone()), ctx);
            return self.leave(why, ctx);
        }
        let left = self.post.restarts_left(now);
        let alone =
            matches!(self.spec.strategy, SupervisionStrategy::OneForOne | SupervisionStrategy::Dynamic);
        if !alone {
            self.tell(key, Supervision::Restarting { pause: Duration::ZERO, left }, ctx);
            return self.restart_group(key, ctx);
        }
        let Some(slot) = self.children.slot(key) else { return };
        let backoff = slot.policy.backoff.unwrap_or(self.spec.backoff);
        let pause = slot.attempts.next(&backoff, now, &mut self.random);
        let pause = self.at_least_short(pause);
        self.tell(key, Supervision::Restarting { pause, left }, ctx);
        if pause.is_zero() {
            self.restart_one(key, ctx);
        } else {
            self.start_slot_timer(key, pause, ctx);
        }
    }

    /// A child did not start.
    pub(super) fn start_failed(&mut self, key: Key, cause: Cause, reason: ExitReason, ctx: &mut Context) {
        let dynamic = self.is_dynamic();
        let ignored = reason == ExitReason::Ignored;
        let what = if ignored { Supervision::Ignored } else { Supervision::StartFailed(reason.clone()) };
        self.tell(key, what, ctx);
        let Some(slot) = self.children.slot(key) else { return };
        let (id, temporary) = (slot.id.clone(), slot.policy.restart == RestartPolicy::Temporary);
        let forget = temporary || dynamic;
        if ignored {
            let starting = slot.starting.take();
            self.settle(key, forget);
            if let Some(reply) = starting {
                reply.send(Ok(None));
            }
            return;
        }
        if matches!(self.phase, Phase::Leaving(_)) {
            return self.settle(key, forget);
        }
        match cause {
            Cause::Initial => {
                self.settle(key, forget);
                let error = StartError { child: id, cause: reason };
                self.leave(ExitReason::StartFailed(Arc::new(error)), ctx);
            }
            Cause::Asked { new } => {
                let starting = slot.starting.take();
                self.settle(key, new || forget);
                if let Some(reply) = starting {
                    reply.send(Err(AdminError::Start(StartError { child: id, cause: reason })));
                }
            }
            Cause::Restart if self.is_in_restart(key) => {
                if let Some(slot) = self.children.slot(key) {
                    slot.state = State::Restarting;
                }
            }
            Cause::Restart => self.failed(key, &reason, ctx),
        }
    }
}

impl Actor for SupervisorActor {
    type Msg = Request;
    type Error = Ignore;

    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
        ctx.trap_stop(true);
        ctx.cold().unannounced = true;
        // The node's number is drawn from the seed in a simulation, and from the kernel otherwise.
        let incarnation = u64::from(ctx.incarnation()) << 48;
        self.random = Random::new(ctx.me.system.node.0 ^ ctx.id().number() ^ incarnation);
        let spec = self.spec.clone();
        for child in &spec.children {
            self.children.add(Slot::of(child));
        }
        self.plan = Plan::Start { at: 0 };
        self.advance(ctx);
        Ok(())
    }

    fn handle(&mut self, request: Request, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
        match request {
            Request::Internal(later) => match later.0 {
                Later::Slot { key, serial } => self.slot_timer(key, serial, ctx),
                Later::Plan { serial } => self.pause_over(serial, ctx),
                Later::Check { key, serial } => self.check_due(key, serial, ctx),
            },
            request => self.request(request, ctx),
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
        match signal {
            Signal::Child(event) => self.child_event(event, ctx),
            Signal::Stop(reason) => self.leave(reason, ctx),
            _ => {}
        }
        Ok(())
    }
}

impl System {
    /// Starts a tree, its children in order, and waits until all of them run. Nobody restarts the root: when it
    /// reaches its limit the tree ends. [`System::shutdown`] stops it.
    ///
    /// # Errors
    /// The child that did not start and why; what was started before it has been stopped in reverse order. A tree
    /// that contradicts itself ([`Supervisor::check`]) or is not needed ([`Supervisor::only_if`]) starts nothing.
    pub fn start(&self, root: Supervisor) -> Result<SupervisorRef, StartError> {
        let name = root.spec.name.clone();
        let failed = |text: String| StartError { child: name.clone(), cause: ExitReason::Error(text.into()) };
        root.check().map_err(|error| failed(error.to_string()))?;
        if local::must_not_block() {
            return Err(failed(
                "started from a worker's thread, where waiting could stop its children".into(),
            ));
        }
        match local::as_guest(|| panics::guard(exit::Phase::Factory, || root.spec.is_needed())) {
            Ok(true) => {}
            Ok(false) => return Err(StartError { child: name, cause: ExitReason::Ignored }),
            Err(panic) => return Err(StartError { child: name, cause: panic }),
        }
        let (waiter, starter) = reply::to_thread();
        let observer = root.spec.observer.clone();
        let security = root.spec.security.clone();
        let mut actor = SupervisorActor::new(Arc::new(root.spec), name.clone(), observer, security);
        actor.starter = Some(starter);
        let inner = self.inner();
        let addr = inner
            .start(SpawnPlan {
                actor: Some(actor),
                factory: None,
                name: None,
                mailbox: Mailbox::unbounded(),
                parent: None,
                on_restart: OnRestart::Keep,
                dedicated: false,
            })
            .map_err(|error| failed(error.to_string()))?;
        let stands = match inner.simulation() {
            Some(simulation) => {
                simulation.run_until(inner, Some(Duration::MAX), || waiter.is_done());
                waiter.take()
            }
            None => waiter.wait(None, inner.config.ask_spin),
        };
        match stands {
            Ok(Ok(())) => Ok(SupervisorRef::new(addr)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(failed("it was stopped before its children were started".into())),
        }
    }
}
