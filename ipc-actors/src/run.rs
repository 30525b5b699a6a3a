//! One turn of an actor: hooks, messages, commands, and the end of an incarnation.
//!
//! One `catch_unwind` lies around a whole turn; what runs after it (the end) guards each piece of the user's code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::actor::{Actor, ChildEvent, ChildState, ErrorAction, Signal};
use crate::asks::ASKS;
use crate::cell::Core;
use crate::command::Command;
use crate::ctx::{Cold, Ctx};
use crate::dead::DeadReason;
use crate::envelope::Extras;
use crate::event::{CrashReport, Event, What};
use crate::exit::{ExitReason, Phase};
use crate::fail;
use crate::id::ActorId;
use crate::inbox::{Content, Parcel, Popped};
use crate::local;
use crate::mailbox::{OnRestart, Overflow};
use crate::panics;
use crate::reply::AskError;
use crate::status::{Lifecycle, control};
use crate::supervisor::Ignore;
use crate::turn::Turn;

/// Where the counting of messages for a report ends.
const QUEUED_MAX: u32 = 10_000;

/// What the turn of an actor ended with.
pub(crate) enum Step {
    /// Nothing to do: it may rest.
    Drained,
    /// The turn is over and there may be more.
    Again,
    /// It sent more than the receiver takes, and is to rest.
    Muted,
    /// It is over.
    Gone,
}

/// The end of an incarnation.
struct End {
    reason: ExitReason,
    /// Whether `stopped` runs.
    hooks: bool,
    wish: Option<ErrorAction>,
    /// Whether it failed over the message it was handling.
    poisoned: bool,
}

impl End {
    fn orderly(reason: ExitReason) -> Self {
        End { reason, hooks: true, wish: None, poisoned: false }
    }

    fn abrupt(reason: ExitReason) -> Self {
        End { reason, hooks: false, wish: None, poisoned: false }
    }
}

/// What a turn leads to.
enum Flow {
    Step(Step),
    End(End),
}

/// Runs the actor for at most one turn.
pub(crate) fn run<A: Actor>(core: &Core, actor: &mut Option<A>, ctx: &mut Ctx<A>, turn: &mut Turn) -> Step {
    let now = core.system.stamp();
    if std::mem::take(&mut ctx.slow) {
        turn.watch_each(&core.system);
    }
    loop {
        let flow = catch_unwind(AssertUnwindSafe(|| drive(core, actor, ctx, turn)));
        ctx.last_message = now;
        let end = match flow {
            Ok(Flow::Step(step)) => return step,
            Ok(Flow::End(end)) => end,
            Err(payload) => {
                let reason = panics::describe(payload, ctx.phase);
                if ctx.phase == Phase::Handle {
                    core.system.dead_letter(core, DeadReason::Poison, ctx.sender);
                }
                let torn = !matches!(ctx.phase, Phase::Handle | Phase::Signal);
                if A::RESUME_AFTER_PANIC && !torn {
                    continue;
                }
                End { poisoned: ctx.phase == Phase::Handle, ..End::abrupt(reason) }
            }
        };
        if let Some(step) = finish(core, actor, ctx, end) {
            return step;
        }
    }
}

fn drive<A: Actor>(core: &Core, slot: &mut Option<A>, ctx: &mut Ctx<A>, turn: &mut Turn) -> Flow {
    match core.status.lifecycle() {
        Lifecycle::Running => {}
        Lifecycle::Failed => return wait_for_parent(core, ctx),
        _ => {
            if let Some(end) = begin(core, slot, ctx) {
                return Flow::End(end);
            }
        }
    }
    let Some(actor) = slot else { unreachable!("a running actor has an instance") };
    // Once: it lies in the line that senders write, and what is read there with each message has to be fetched from them.
    let bounded = core.limits.is_bounded();
    loop {
        if core.status.has_request() {
            let requests = core.status.take(control::KILL | control::STOP | control::URGENT | control::MUTE);
            if requests & control::KILL != 0 {
                return Flow::End(End::abrupt(ExitReason::Killed));
            }
            if requests & control::URGENT != 0 {
                core.inbox.grab(&mut ctx.lists);
            }
            if requests & control::STOP != 0
                && let Some(end) = stop(actor, ctx, ExitReason::Shutdown)
            {
                return Flow::End(end);
            }
            if requests & control::MUTE != 0 && !core.is_overloaded() && !ctx.leaving {
                return Flow::Step(Step::Muted);
            }
        }
        if ctx.leaving {
            return Flow::End(End::orderly(leaving(ctx)));
        }
        if turn.is_used_up() {
            return Flow::Step(Step::Again);
        }
        let node = match ctx.lists.pop() {
            Popped::Node(node) => node,
            Popped::Nothing if core.inbox.grab(&mut ctx.lists) => continue,
            Popped::Nothing => return Flow::Step(Step::Drained),
            // Its sender was interrupted between two instructions; others have their turn until it goes on.
            Popped::NotYet => return Flow::Step(Step::Again),
        };
        turn.count();
        let end = match node.open() {
            Content::Message { sender, message } => {
                if bounded && !core.take_from_bounded(sender) {
                    continue;
                }
                handle(actor, ctx, sender, message)
            }
            Content::Parcel { sender, parcel } => parcel_arrived(core, actor, ctx, sender, parcel),
            Content::Unstashed { message } => handle(actor, ctx, None, message),
            Content::Reply { correlation, message } => {
                ctx.returned.add();
                if ctx.cold.as_mut().is_some_and(|cold| cold.asks.settle(correlation)) {
                    handle(actor, ctx, None, message)
                } else {
                    core.system.dead_letter(core, DeadReason::LateReply, None);
                    None
                }
            }
            Content::Command(command) => obey(actor, ctx, command),
        };
        if let Some(end) = end {
            return Flow::End(end);
        }
        if turn.is_overtime(&core.system) {
            ctx.slow = true;
            return Flow::Step(Step::Again);
        }
    }
}

/// Makes the instance if there is none, and starts it.
fn begin<A: Actor>(core: &Core, slot: &mut Option<A>, ctx: &mut Ctx<A>) -> Option<End> {
    if slot.is_none() {
        ctx.phase = Phase::Factory;
        let factory = ctx.cold.as_mut().and_then(|cold| cold.factory.as_mut());
        let made = match factory {
            Some(factory) => factory(),
            None => Err("it has no factory".into()),
        };
        match made {
            Ok(made) => *slot = Some(made),
            Err(error) => return Some(End::abrupt(refusal(error.as_ref()))),
        }
    }
    let Some(actor) = slot else { unreachable!("made above") };
    ctx.phase = Phase::Started;
    if let Err(error) = actor.started(ctx) {
        return Some(End::abrupt(ExitReason::Error(error.to_string().into())));
    }
    core.status.advance(Lifecycle::Running);
    let incarnation = core.status.incarnation();
    core.system.events.record(|| Event::about(core.id, What::Running { incarnation }));
    if let Some(cold) = &ctx.cold {
        if !cold.unannounced {
            tell_parent(core, cold, ChildState::Running);
        }
        for watcher in cold.watch.watchers.iter().filter(|watcher| watcher.restarts && incarnation > 0) {
            watcher.tell(Signal::Restarted { monitor: watcher.monitor, actor: core.id, incarnation });
        }
    }
    None
}

/// Tells the parent, if there is one. One that is gone is noticed when this incarnation ends.
pub(crate) fn tell_parent<A: Actor>(core: &Core, cold: &Cold<A>, what: ChildState) {
    if let Some(parent) = &cold.parent {
        let event = ChildEvent { child: core.id, incarnation: core.status.incarnation(), what };
        let _ = parent.addr.command(Command::Child(Box::new(event)));
    }
}

/// Why a factory made nothing.
fn refusal(error: &(dyn std::error::Error + 'static)) -> ExitReason {
    if error.is::<Ignore>() { ExitReason::Ignored } else { ExitReason::Error(error.to_string().into()) }
}

/// The turn of an actor whose incarnation ended and whose parent has not decided, or decides now.
fn wait_for_parent<A: Actor>(core: &Core, ctx: &mut Ctx<A>) -> Flow {
    // Before the requests: one that comes after the look at them is followed by a node that is not taken here, so the actor
    // does not come to rest over it.
    core.inbox.grab(&mut ctx.lists);
    // A stop or a kill that is not part of a restart was meant for the incarnation that is over.
    let requests = core.status.take(u32::MAX);
    if requests & control::RELEASE != 0 {
        let reason = leaving(ctx);
        return Flow::Step(bury(core, ctx, &reason));
    }
    if requests & control::RESTART != 0 {
        core.status.request(requests & (control::STOP | control::KILL));
        leaving(ctx);
        forget_mail(core, ctx);
        core.status.next_incarnation();
        core.status.advance(Lifecycle::Starting);
        return Flow::Step(Step::Again);
    }
    Flow::Step(Step::Drained)
}

fn leaving<A: Actor>(ctx: &mut Ctx<A>) -> ExitReason {
    ctx.leaving = false;
    ctx.cold.as_mut().and_then(|cold| cold.leaving.take()).unwrap_or(ExitReason::Normal)
}

/// Does what the restart is to do with what is queued.
fn forget_mail<A: Actor>(core: &Core, ctx: &mut Ctx<A>) {
    let policy = ctx.cold.as_ref().map_or(OnRestart::Keep, |cold| cold.on_restart);
    if policy == OnRestart::Keep {
        return;
    }
    core.inbox.grab(&mut ctx.lists);
    let letter = |sender| {
        if policy == OnRestart::DeadLetter {
            core.system.dead_letter(core, DeadReason::Restarted, sender);
        }
    };
    let Ctx { lists, returned, .. } = ctx;
    local::dropping_as(AskError::ActorCrashed, || {
        lists.take_messages(|content| {
            let message = match content {
                Content::Message { sender, message }
                | Content::Parcel { sender, parcel: Parcel { message, .. } } => {
                    if core.limits.is_bounded() && !core.take_from_bounded(sender) {
                        return;
                    }
                    letter(sender);
                    message
                }
                Content::Unstashed { message } => message,
                // Answers to the incarnation that is over are late anyway.
                Content::Reply { message, .. } => {
                    returned.add();
                    message
                }
                Content::Command(_) => unreachable!("commands stay"),
            };
            let _ = panics::guard(Phase::Drop, || drop(message));
        });
    });
}

/// Somebody stops the actor.
#[cold]
fn stop<A: Actor>(actor: &mut A, ctx: &mut Ctx<A>, reason: ExitReason) -> Option<End> {
    if ctx.cold.as_ref().is_some_and(|cold| cold.watch.trap_stop) {
        return signal(actor, ctx, Signal::Stop(reason));
    }
    Some(End::orderly(reason))
}

#[inline]
fn handle<A: Actor>(
    actor: &mut A,
    ctx: &mut Ctx<A>,
    sender: Option<ActorId>,
    message: A::Msg,
) -> Option<End> {
    ctx.phase = Phase::Handle;
    ctx.sender = sender;
    ctx.handled += 1;
    if ctx.me.status.is_traced() {
        trace(ctx);
    }
    if fail::now("handle.panic", || ctx.me.actor_name()) {
        panic!("injected at message {}", ctx.handled);
    }
    match actor.handle(message, ctx) {
        Ok(()) => None,
        Err(error) => failed(actor, ctx, &error),
    }
}

#[cold]
fn trace<A: Actor>(ctx: &Ctx<A>) {
    let message_type = ctx.me.message_type();
    let what = || What::Handled { message_type, sender: ctx.sender, count: ctx.handled };
    ctx.me.system.events.record(|| Event::about(ctx.id(), what()));
}

fn signal<A: Actor>(actor: &mut A, ctx: &mut Ctx<A>, signal: Signal) -> Option<End> {
    ctx.phase = Phase::Signal;
    ctx.sender = None;
    match actor.signal(signal, ctx) {
        Ok(()) => None,
        Err(error) => failed(actor, ctx, &error),
    }
}

#[cold]
fn failed<A: Actor>(actor: &mut A, ctx: &mut Ctx<A>, error: &A::Error) -> Option<End> {
    let poisoned = ctx.phase == Phase::Handle;
    ctx.phase = Phase::OnError;
    let action = actor.on_error(error, ctx);
    if action == ErrorAction::Resume {
        return None;
    }
    let wish = (action != ErrorAction::Escalate).then_some(action);
    Some(End { reason: ExitReason::Error(error.to_string().into()), hooks: true, wish, poisoned })
}

#[cold]
fn parcel_arrived<A: Actor>(
    core: &Core,
    actor: &mut A,
    ctx: &mut Ctx<A>,
    sender: Option<ActorId>,
    parcel: Parcel<A::Msg>,
) -> Option<End> {
    let Parcel { extras, message } = parcel;
    if core.limits.is_bounded() && !core.take_from_bounded(sender) {
        return None;
    }
    if extras.deadline.is_some_and(|deadline| deadline < core.system.now()) {
        core.system.dead_letter(core, DeadReason::Expired, sender);
        return None;
    }
    let plain = Extras { deadline: None, ..extras };
    ctx.extras = Some(Box::new(plain));
    let end = handle(actor, ctx, sender, message);
    ctx.extras = None;
    end
}

#[cold]
fn obey<A: Actor>(actor: &mut A, ctx: &mut Ctx<A>, command: Command) -> Option<End> {
    match command {
        Command::Kick => {}
        Command::Stop(reason) => return stop(actor, ctx, reason),
        Command::Timer(ASKS) => ctx.asks_due(),
        Command::Timer(token) => {
            ctx.phase = Phase::Handle;
            let message = ctx.alarm_due(token)?;
            return handle(actor, ctx, None, message);
        }
        Command::Exit { from, reason } => {
            let watch = &mut ctx.cold().watch;
            if !watch.unlink(from) {
                return None;
            }
            if watch.trap_exit {
                return signal(actor, ctx, Signal::Exit { from, reason });
            }
            if !reason.is_normal() {
                return stop(actor, ctx, reason);
            }
        }
        Command::Link { peer } => {
            let links = &mut ctx.cold().watch.links;
            if !links.contains(&peer) {
                links.push(peer);
            }
        }
        Command::Unlink { peer } => {
            ctx.cold().watch.unlink(peer);
        }
        Command::Monitor { watcher, monitor, restarts } => {
            ctx.cold().watch.watchers.push(crate::watch::Watcher { who: watcher, monitor, restarts });
        }
        Command::Demonitor { watcher, monitor } => {
            ctx.cold().watch.watchers.retain(|known| known.monitor != monitor || known.who.id() != watcher)
        }
        Command::Watched(news) => {
            if ctx.cold().watch.wants(&news) {
                return signal(actor, ctx, *news);
            }
        }
        Command::Child(event) => return signal(actor, ctx, Signal::Child(*event)),
        Command::Health => {
            ctx.phase = Phase::Health;
            let health = actor.health(ctx);
            if let Some(cold) = &ctx.cold {
                tell_parent(&ctx.me, cold, ChildState::Health(health));
            }
        }
    }
    None
}

/// Ends the incarnation. `None`: the next one begins at once.
fn finish<A: Actor>(core: &Core, slot: &mut Option<A>, ctx: &mut Ctx<A>, end: End) -> Option<Step> {
    let End { mut reason, hooks, wish, poisoned } = end;
    let was = core.status.lifecycle();
    let unannounced = ctx.cold.as_mut().is_some_and(|cold| std::mem::take(&mut cold.unannounced));
    let starting = unannounced || was == Lifecycle::Starting;
    core.status.advance(Lifecycle::Stopping);
    if let (true, Some(actor)) = (hooks, slot.as_mut()) {
        ctx.phase = Phase::Stopped;
        if let Err(panic) = panics::guard(Phase::Stopped, || actor.stopped(&reason, ctx)) {
            reason = if reason.is_normal() { panic } else { reason };
        }
    }
    core.system.events.record(|| ending(core, ctx, was, &reason, poisoned));
    let answer = if reason.is_normal() { AskError::Closed } else { AskError::ActorCrashed };
    local::dropping_as(answer, || {
        let instance = slot.take();
        // A panic while dropping has nobody left to be told of but the panic hook.
        let _ = panics::guard(Phase::Drop, || drop(instance));
        forget_own(core, ctx);
    });
    ctx.leaving = false;
    ctx.extras = None;
    ctx.forget_others(&reason);
    let Some(cold) = &mut ctx.cold else { return Some(bury(core, ctx, &reason)) };
    if let Some(parent) = &cold.parent {
        let what = ChildState::Exited { reason: reason.clone(), starting, wish };
        let event = ChildEvent { child: core.id, incarnation: core.status.incarnation(), what };
        if parent.addr.command(Command::Child(Box::new(event))).is_ok() {
            cold.leaving = Some(reason);
            core.status.advance(Lifecycle::Failed);
            return Some(Step::Again);
        }
    } else if wish == Some(ErrorAction::Restart) && cold.factory.is_some() {
        core.status.next_incarnation();
        core.status.advance(Lifecycle::Failed);
        core.status.advance(Lifecycle::Starting);
        return None;
    }
    Some(bury(core, ctx, &reason))
}

/// What is said about the end of an incarnation.
#[cold]
fn ending<A: Actor>(
    core: &Core,
    ctx: &mut Ctx<A>,
    was: Lifecycle,
    reason: &ExitReason,
    poisoned: bool,
) -> Event {
    let reason_text = reason.to_string();
    if reason.is_normal() {
        return Event::about(core.id, What::Ended { reason: reason_text });
    }
    let queued = if core.limits.is_bounded() {
        core.queued()
    } else {
        core.inbox.grab(&mut ctx.lists);
        ctx.lists.messages(QUEUED_MAX)
    };
    let parent = ctx.cold.as_ref().and_then(|cold| cold.parent.as_ref());
    let report = CrashReport {
        address: ctx.address(),
        actor_type: core.actor_name(),
        incarnation: core.status.incarnation(),
        reason: reason_text,
        was,
        poison: poisoned.then(|| core.message_type()),
        queued,
        supervisor: parent.map(|parent| parent.post.path.clone()),
        child: parent.map(|parent| parent.child.clone()),
        restarts_left: parent.map(|parent| parent.post.restarts_left(core.system.now())),
        supervisors: core.system.supervisors_of(core.id),
    };
    Event::about(core.id, What::Crashed(report))
}

/// Drops what belonged to the incarnation: questions, timers, what was put aside.
fn forget_own<A: Actor>(core: &Core, ctx: &mut Ctx<A>) {
    let Some(cold) = &mut ctx.cold else { return };
    for key in cold.asks.clear().into_iter().chain(cold.alarms.clear()) {
        core.system.timers.cancel(key);
    }
    for message in std::mem::take(&mut cold.stash) {
        core.system.dead_letter(core, DeadReason::ActorEnded, None);
        let _ = panics::guard(Phase::Drop, || drop(message));
    }
}

/// Ends the actor for good.
fn bury<A: Actor>(core: &Core, ctx: &mut Ctx<A>, reason: &ExitReason) -> Step {
    core.system.names.release(core.id);
    core.inbox.close(&mut ctx.lists);
    // Last: who sees it stopped gets messages back.
    core.status.advance(Lifecycle::Stopped);
    let mut cold: Option<Box<Cold<A>>> = ctx.cold.take();
    local::dropping_as(AskError::Closed, || {
        while let Some(node) = ctx.lists.take() {
            let content = node.open();
            if let Content::Reply { .. } = content {
                ctx.returned.add();
            }
            match content {
                Content::Command(command) => last_command(core, command, reason),
                Content::Message { sender, message }
                | Content::Parcel { sender, parcel: Parcel { message, .. } } => {
                    core.system.dead_letter(core, DeadReason::ActorEnded, sender);
                    let _ = panics::guard(Phase::Drop, || drop(message));
                }
                Content::Unstashed { message } | Content::Reply { message, .. } => {
                    core.system.dead_letter(core, DeadReason::ActorEnded, None);
                    let _ = panics::guard(Phase::Drop, || drop(message));
                }
            }
        }
    });
    ctx.me.give_up(&mut ctx.returned);
    for watcher in cold.iter_mut().flat_map(|cold| cold.watch.watchers.drain(..)) {
        watcher.tell(Signal::Down { monitor: watcher.monitor, actor: core.id, reason: reason.clone() });
    }
    // The factory is the user's, and so is its drop.
    let _ = panics::guard(Phase::Drop, || drop(cold));
    core.system.room_made(core);
    core.system.forget_mutes(core);
    core.system.events.record(|| Event::about(core.id, What::Gone));
    Step::Gone
}

/// What was still asked of an actor that is over.
fn last_command(core: &Core, command: Command, reason: &ExitReason) {
    match command {
        Command::Monitor { watcher, monitor, .. } => {
            let down = Signal::Down { monitor, actor: core.id, reason: reason.clone() };
            let _ = watcher.command(Command::Watched(Box::new(down)));
        }
        Command::Link { peer } => {
            let _ = peer.command(Command::Exit { from: core.id, reason: reason.clone() });
        }
        Command::Child(event) if matches!(event.what, ChildState::Exited { .. }) => {
            if let Some(child) = core.system.table.find(event.child) {
                child.demand(control::RELEASE);
            }
        }
        _ => {}
    }
}

impl Core {
    /// Accounts for a message taken from a bounded mailbox; false: it is given up for the newer ones.
    fn take_from_bounded(&self, sender: Option<ActorId>) -> bool {
        let before = self.uncount();
        if self.limits.overflow() == Overflow::DropOldest && before > self.limits.capacity {
            self.system.dead_letter(self, DeadReason::Overflow, sender);
            return false;
        }
        if matches!(self.limits.overflow(), Overflow::Block(_) | Overflow::Throttle { .. }) {
            self.system.room_made(self);
        }
        true
    }
}
