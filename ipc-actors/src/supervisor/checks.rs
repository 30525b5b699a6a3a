//! Health checks of a child: ask, wait, count.

use std::sync::Arc;

use super::actor::SupervisorActor;
use super::admin::{Internal, Later, Request};
use super::children::{Key, State};
use super::event::Supervision;
use crate::alarms::TimerRef;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::exit::ExitReason;
use crate::health::Health;

/// Where the checks of one child are.
#[derive(Debug, Default)]
pub(super) struct Checks {
    timer: Option<TimerRef>,
    serial: u32,
    /// A question is out.
    asked: bool,
    failures: u32,
    last: Option<Health>,
    /// It was killed for this.
    verdict: Option<Arc<str>>,
}

type Context = Ctx<SupervisorActor>;

impl SupervisorActor {
    /// Starts the time to the next check of a running child.
    pub(super) fn schedule_check(&mut self, key: Key, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        let Some(check) = slot.policy.health else { return };
        if slot.state != State::Running {
            return;
        }
        let checks = slot.checks.get_or_insert_default();
        checks.asked = false;
        start_timer(checks, key, check.interval, ctx);
    }

    /// The time to the next check, or the patience with the last one, is over.
    pub(super) fn check_due(&mut self, key: Key, serial: u32, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        let (Some(check), State::Running) = (slot.policy.health, slot.state) else { return };
        let Some(checks) = slot.checks.as_mut().filter(|checks| checks.serial == serial) else { return };
        checks.timer = None;
        if checks.asked {
            self.tell(key, Supervision::HealthTimeout, ctx);
            return self.unwell(key, &format!("no answer to a health check within {:?}", check.timeout), ctx);
        }
        checks.asked = true;
        start_timer(checks, key, check.timeout, ctx);
        if let Some(actor) = &slot.actor {
            // Gone: its end is on the way here.
            let _ = actor.urgent_command(Command::Health);
        }
    }

    /// A child has answered.
    pub(super) fn checked(&mut self, key: Key, health: Health, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        let Some(checks) = slot.checks.as_mut().filter(|checks| checks.asked) else { return };
        let changed = checks.last.as_ref().is_none_or(|last| *last != health);
        checks.last = Some(health.clone());
        if changed {
            self.tell(key, Supervision::Health(health.clone()), ctx);
        }
        if let Health::Failed(why) = health {
            return self.unwell(key, &why, ctx);
        }
        if let Some(checks) = self.children.slot(key).and_then(|slot| slot.checks.as_mut()) {
            checks.failures = 0;
        }
        self.schedule_check(key, ctx);
    }

    /// A check failed: one more and the child may be killed, which ends it as a failure.
    fn unwell(&mut self, key: Key, why: &str, ctx: &mut Context) {
        let Some(slot) = self.children.slot(key) else { return };
        let Some(check) = slot.policy.health else { return };
        let Some(checks) = &mut slot.checks else { return };
        checks.failures += 1;
        if checks.failures < check.threshold.max(1) {
            return self.schedule_check(key, ctx);
        }
        checks.verdict = Some(format!("unhealthy after {} checks: {why}", checks.failures).into());
        self.cancel_check(key, ctx);
        self.kill(key, ctx);
    }

    /// Why a child that ended was killed, if it was for its health.
    pub(super) fn unhealthy(&mut self, key: Key) -> Option<ExitReason> {
        let checks = self.children.slot(key)?.checks.as_mut()?;
        checks.failures = 0;
        checks.last = None;
        checks.verdict.take().map(ExitReason::Error)
    }

    pub(super) fn cancel_check(&mut self, key: Key, ctx: &mut Context) {
        let Some(checks) = self.children.slot(key).and_then(|slot| slot.checks.as_mut()) else { return };
        checks.serial = checks.serial.wrapping_add(1);
        checks.asked = false;
        if let Some(timer) = checks.timer.take() {
            ctx.cancel(timer);
        }
    }
}

fn start_timer(checks: &mut Checks, key: Key, after: std::time::Duration, ctx: &mut Context) {
    if let Some(timer) = checks.timer.take() {
        ctx.cancel(timer);
    }
    checks.serial = checks.serial.wrapping_add(1);
    let later = Later::Check { key, serial: checks.serial };
    checks.timer = Some(ctx.after(after, Request::Internal(Internal(later))));
}
