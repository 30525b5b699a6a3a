//! Starting in order and stopping in reverse order: what a supervisor does with several children at once.

use super::actor::{Phase, SupervisorActor};
use super::admin::{Internal, Later, Request};
use super::children::{Cause, Key, State};
use super::spec::{RestartPolicy, SupervisionStrategy};
use crate::alarms::TimerRef;
use crate::ctx::Ctx;
use crate::exit::ExitReason;

/// What is being done with several children. Each step ends when a child has answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    Nothing,
    /// Starts the children from `at` on, one after the other.
    Start {
        at: Key,
    },
    /// Stops the children from `at` down to `from`, one after the other, and then does `then`.
    Stop {
        from: Key,
        at: Key,
        then: Then,
    },
    /// Waits before it starts the children from `from` on.
    Pause {
        from: Key,
        timer: TimerRef,
        serial: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Start { from: Key },
    End,
}

impl Plan {
    /// The first child that this plan will start.
    fn starts_from(self) -> Option<Key> {
        match self {
            Plan::Start { at: from }
            | Plan::Stop { then: Then::Start { from }, .. }
            | Plan::Pause { from, .. } => Some(from),
            _ => None,
        }
    }
}

type Context = Ctx<SupervisorActor>;

impl SupervisorActor {
    /// Whether this child's end belongs to a plan that stops and restarts it anyway.
    pub(super) fn is_in_restart(&self, key: Key) -> bool {
        match self.plan {
            Plan::Stop { from, then: Then::Start { .. }, .. } => key >= from,
            _ => false,
        }
    }

    /// A child failed under a strategy that restarts its siblings too.
    pub(super) fn restart_group(&mut self, failed: Key, ctx: &mut Context) {
        let (stop_from, start_from) = match self.spec.strategy {
            SupervisionStrategy::OneForAll => (0, 0),
            // A restart that is under way may have got stuck below this child.
            _ => (failed + 1, self.plan.starts_from().map_or(failed, |from| from.min(failed))),
        };
        self.cancel_pause(ctx);
        self.plan = Plan::Stop { from: stop_from, at: Key::MAX, then: Then::Start { from: start_from } };
        self.advance(ctx);
    }

    /// Stops everything, and then ends for this reason.
    pub(super) fn leave(&mut self, reason: ExitReason, ctx: &mut Context) {
        if matches!(self.phase, Phase::Leaving(_)) {
            return;
        }
        self.phase = Phase::Leaving(reason);
        self.cancel_pause(ctx);
        let keys: Vec<Key> = self.children.iter().map(|(key, _)| key).collect();
        for key in &keys {
            self.give_up_restart(*key, ctx);
        }
        if self.spec.strategy == SupervisionStrategy::Dynamic {
            // All at once: the whole takes as long as the slowest, not the sum.
            for key in keys {
                self.ask_to_stop(key, ctx);
            }
        }
        self.plan = Plan::Stop { from: 0, at: Key::MAX, then: Then::End };
        self.advance(ctx);
    }

    fn cancel_pause(&mut self, ctx: &mut Context) {
        if let Plan::Pause { timer, .. } = self.plan {
            ctx.cancel(timer);
        }
    }

    /// Goes on with the plan as far as it goes without waiting.
    pub(super) fn advance(&mut self, ctx: &mut Context) {
        loop {
            let goes_on = match self.plan {
                Plan::Nothing | Plan::Pause { .. } => false,
                Plan::Start { at } => self.start_next(at, ctx),
                Plan::Stop { from, at, then } => self.stop_next(from, at, then, ctx),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn start_next(&mut self, at: Key, ctx: &mut Context) -> bool {
        let Some(key) = self.children.from(at) else {
            self.plan = Plan::Nothing;
            self.attempts.runs(ctx.now());
            if matches!(self.phase, Phase::Starting) {
                self.phase = Phase::Running;
                self.announce(ctx);
            }
            return false;
        };
        let cause = if matches!(self.phase, Phase::Starting) { Cause::Initial } else { Cause::Restart };
        let Some(slot) = self.children.slot(key) else { return false };
        self.plan = Plan::Start { at: key };
        match slot.state {
            State::Starting(_) | State::Stopping { .. } => return false,
            State::Absent | State::Restarting if slot.wanted => {
                if let Err(reason) = self.begin(key, cause, ctx) {
                    self.start_failed(key, cause, reason, ctx);
                    return true;
                }
                return false;
            }
            _ => {}
        }
        self.plan = Plan::Start { at: key + 1 };
        true
    }

    fn stop_next(&mut self, from: Key, at: Key, then: Then, ctx: &mut Context) -> bool {
        let Some(key) = self.children.up_to(at).filter(|key| *key >= from) else {
            match then {
                Then::End => self.end(ctx),
                Then::Start { from } => {
                    let pause = self.attempts.next(&self.spec.backoff, ctx.now(), &mut self.random);
                    let pause = self.at_least_short(pause);
                    if pause.is_zero() {
                        self.plan = Plan::Start { at: from };
                        return true;
                    }
                    self.serial += 1;
                    let serial = self.serial;
                    let timer = ctx.after(pause, Request::Internal(Internal(Later::Plan { serial })));
                    self.plan = Plan::Pause { from, timer, serial };
                }
            }
            return false;
        };
        self.plan = Plan::Stop { from, at: key, then };
        let temporary =
            self.children.slot(key).is_some_and(|slot| slot.policy.restart == RestartPolicy::Temporary);
        if temporary && let Some(slot) = self.children.slot(key) {
            slot.wanted = false;
        }
        match self.children.slot(key).map(|slot| slot.state) {
            Some(State::Starting(_) | State::Running) => {
                self.ask_to_stop(key, ctx);
                return false;
            }
            Some(State::Stopping { .. }) => return false,
            _ => {}
        }
        match key.checked_sub(1) {
            Some(below) => self.plan = Plan::Stop { from, at: below, then },
            // The first child of all: nothing is below it, and `up_to` finds nothing from above either.
            None => self.plan = Plan::Stop { from: 1, at: 0, then },
        }
        true
    }

    /// The pause of the plan is over.
    pub(super) fn pause_over(&mut self, serial: u32, ctx: &mut Context) {
        if let Plan::Pause { from, serial: current, .. } = self.plan
            && current == serial
        {
            self.plan = Plan::Start { at: from };
            self.advance(ctx);
        }
    }
}
