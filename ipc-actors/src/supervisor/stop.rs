//! Stopping one child: ask, kill, give up.

use super::actor::{Phase, SupervisorActor};
use super::admin::{AdminError, Internal, Later, Request};
use super::children::{Key, State};
use super::event::Supervision;
use super::spec::{RestartPolicy, ShutdownPolicy, StartError};
use crate::ctx::Ctx;
use crate::exit::ExitReason;
use crate::status::control;
use std::time::Duration;

type Context = Ctx<SupervisorActor>;

impl SupervisorActor {
    /// Begins a child's end by its shutdown policy. Nothing happens to one that has no incarnation.
    pub(super) fn ask_to_stop(&mut self, key: Key, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        if !matches!(slot.state, State::Starting(_) | State::Running) {
            return;
        }
        let Some(actor) = slot.actor.clone() else { return };
        match slot.policy.shutdown {
            ShutdownPolicy::Kill => return self.kill(key, ctx),
            ShutdownPolicy::Timeout(patience) => {
                slot.state = State::Stopping { killed: false };
                self.tell(key, Supervision::Stopping, ctx);
                self.start_slot_timer(key, patience, ctx);
            }
            ShutdownPolicy::Infinity => {
                slot.state = State::Stopping { killed: false };
                self.cancel_slot_timer(key, ctx);
                self.tell(key, Supervision::Stopping, ctx);
            }
        }
        actor.demand(control::STOP);
    }

    pub(super) fn kill(&mut self, key: Key, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        let Some(actor) = slot.actor.clone() else { return };
        slot.state = State::Stopping { killed: true };
        self.tell(key, Supervision::Killing, ctx);
        let patience = self.spec.zombie_after;
        self.start_slot_timer(key, patience, ctx);
        actor.kill();
    }

    /// A killed child has not come out of its handler: goes on without it.
    fn give_up(&mut self, key: Key, ctx: &mut Context) {
        self.tell(key, Supervision::Zombie, ctx);
        if let Some(actor) = self.children.take(key) {
            let id = self.children.slot(key).map_or_else(|| self.spec.name.clone(), |slot| slot.id.clone());
            actor.core().system.names.release(actor.id());
            self.children.zombies.insert(actor.id(), (id, actor));
        }
        let wanted = self.children.slot(key).is_some_and(|slot| slot.wanted);
        match self.unhealthy(key).filter(|_| wanted) {
            Some(why) => self.ended_by_itself(key, &why, None, ctx),
            None => self.stopped(key),
        }
        self.advance(ctx);
    }

    /// A child that was asked to stop has ended.
    pub(super) fn stopped(&mut self, key: Key) {
        let leaving = matches!(self.phase, Phase::Leaving(_));
        let Some(slot) = self.children.slot(key) else { return };
        let temporary = slot.policy.restart == RestartPolicy::Temporary;
        let again = slot.wanted && !leaving && !temporary;
        slot.state = if again { State::Restarting } else { State::Absent };
        if again {
            return;
        }
        self.settle(key, temporary || self.is_dynamic());
    }

    /// Lets go of a child's actor and answers whoever waits; `forget`: of its slot too.
    pub(super) fn settle(&mut self, key: Key, forget: bool) {
        if let Some(actor) = self.children.take(key) {
            // At once, not in the child's own turn: whoever is told of the end may start another with the name.
            actor.core().system.names.release(actor.id());
            actor.release();
        }
        let Some(slot) = self.children.slot(key) else { return };
        slot.state = State::Absent;
        slot.wanted = false;
        slot.checks = None;
        let (id, starting) = (slot.id.clone(), slot.starting.take());
        let ending = std::mem::take(&mut slot.ending);
        if forget {
            self.children.remove(key);
        }
        if let Some(reply) = starting {
            reply.send(Err(AdminError::Start(StartError { child: id, cause: ExitReason::Shutdown })));
        }
        for reply in ending {
            reply.send(Ok(()));
        }
    }

    /// A child that waits for its restart does not get it.
    pub(super) fn give_up_restart(&mut self, key: Key, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        slot.wanted = false;
        if slot.state == State::Restarting {
            let forget = slot.policy.restart == RestartPolicy::Temporary || self.is_dynamic();
            self.cancel_slot_timer(key, ctx);
            self.settle(key, forget);
        }
    }

    /// Starts the one timer of a slot instead of the one that runs.
    pub(super) fn start_slot_timer(&mut self, key: Key, after: Duration, ctx: &mut Context) {
        self.cancel_slot_timer(key, ctx);
        let Some(slot) = self.children.slot(key) else { return };
        let serial = slot.serial;
        slot.timer = Some(ctx.after(after, Request::Internal(Internal(Later::Slot { key, serial }))));
    }

    pub(super) fn cancel_slot_timer(&mut self, key: Key, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        slot.serial = slot.serial.wrapping_add(1);
        if let Some(timer) = slot.timer.take() {
            ctx.cancel(timer);
        }
    }

    /// The timer of a slot went off.
    pub(super) fn slot_timer(&mut self, key: Key, serial: u32, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key).filter(|slot| slot.serial == serial) else { return };
        slot.timer = None;
        match slot.state {
            State::Stopping { killed: false } => self.kill(key, ctx),
            State::Stopping { killed: true } => self.give_up(key, ctx),
            State::Restarting => self.restart_one(key, ctx),
            _ => {}
        }
    }

    /// The reason a supervisor that reached its limit ends for: its children were shut down, and this is why.
    pub(super) fn limit_reached(&self, child: &str, reason: &ExitReason) -> ExitReason {
        let text = format!(
            "more than {} restarts in {:?}; the last was of {child}: {reason}",
            self.spec.intensity, self.spec.period
        );
        ExitReason::ShutdownWith(text.into())
    }
}
