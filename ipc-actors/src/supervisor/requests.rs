//! What a supervisor does for whoever asks.

use std::any::Any;
use std::sync::Arc;

use super::actor::{Phase, SupervisorActor};
use super::admin::{AdminError, Answer, ChildInfo, ChildStatus, Counts, Request};
use super::children::{Cause, Key, Slot, State};
use super::spec::{Child, ChildKind, RestartPolicy, SpecError};
use crate::ctx::Ctx;
use crate::reply::Reply;

type Context = Ctx<SupervisorActor>;
type Done = Reply<Result<(), AdminError>>;

impl SupervisorActor {
    pub(super) fn request(&mut self, request: Request, ctx: &mut Context) {
        match request {
            Request::StartChild(child, reply) => self.start_child(&child, reply, ctx),
            Request::StartDynamic(argument, reply) => self.start_dynamic(argument, reply, ctx),
            Request::TerminateChild(id, reply) => match self.named(&id) {
                Ok(key) => self.terminate(key, reply, ctx),
                Err(error) => reply.send(Err(error)),
            },
            Request::Terminate(actor, reply) => match self.children.of_actor(actor) {
                _ if !self.is_dynamic() => reply.send(Err(AdminError::OnlyForDynamic)),
                Some(key) => self.terminate(key, reply, ctx),
                None => reply.send(Err(AdminError::NotFound)),
            },
            Request::RestartChild(id, reply) => match self.idle(&id) {
                Ok(key) => self.start_asked(key, false, reply, ctx),
                Err(error) => reply.send(Err(error)),
            },
            Request::DeleteChild(id, reply) => {
                let removed = self.idle(&id).map(|key| drop(self.children.remove(key)));
                reply.send(removed);
            }
            Request::WhichChildren(reply) => {
                reply.send(self.children.iter().map(|(_, slot)| info(slot)).collect());
            }
            Request::WhichChild(id, reply) => {
                let found = self.named(&id);
                reply.send(found.and_then(|key| {
                    self.children.slot(key).map(|slot| info(slot)).ok_or(AdminError::NotFound)
                }));
            }
            Request::CountChildren(reply) => reply.send(self.count()),
            Request::Internal(_) => unreachable!("the supervisor's own are not requests"),
        }
    }

    fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving(_))
    }

    fn named(&self, id: &str) -> Result<Key, AdminError> {
        if self.is_dynamic() {
            return Err(AdminError::NotForDynamic);
        }
        self.children.find(id).ok_or(AdminError::NotFound)
    }

    /// A child that is not running.
    fn idle(&mut self, id: &str) -> Result<Key, AdminError> {
        if self.is_leaving() {
            return Err(AdminError::ShuttingDown);
        }
        let key = self.named(id)?;
        match self.children.slot(key).map(|slot| (slot.state, slot.wanted)) {
            Some((State::Restarting, _)) => Err(AdminError::Restarting),
            // Its turn in the first start comes.
            Some((State::Absent, true)) => Err(AdminError::Restarting),
            Some((State::Absent, false)) => Ok(key),
            Some(_) => Err(AdminError::Running),
            None => Err(AdminError::NotFound),
        }
    }

    fn start_child(&mut self, child: &Child, reply: Answer, ctx: &mut Context) {
        let refusal = if self.is_dynamic() {
            Some(AdminError::NotForDynamic)
        } else if self.is_leaving() {
            Some(AdminError::ShuttingDown)
        } else if let Some(key) = self.children.find(&child.id) {
            let running =
                self.children.slot(key).filter(|slot| slot.is_up()).and_then(|slot| slot.actor.clone());
            Some(
                running
                    .map_or(AdminError::AlreadyPresent, |actor| AdminError::AlreadyStarted(actor.address())),
            )
        } else {
            let wrong = |what| SpecError { supervisor: self.spec.name.clone(), what };
            let here =
                self.spec.allows(&child.policy).map_err(|what| wrong(format!("child {}: {what}", child.id)));
            here.and_then(|()| child.maker.check()).err().map(AdminError::Spec)
        };
        if let Some(refusal) = refusal {
            return reply.send(Err(refusal));
        }
        let key = self.children.add(Slot::of(child));
        self.start_asked(key, true, reply, ctx);
    }

    fn start_dynamic(&mut self, argument: Box<dyn Any + Send>, reply: Answer, ctx: &mut Context) {
        let Some(template) = self.spec.template.clone() else {
            return reply.send(Err(AdminError::OnlyForDynamic));
        };
        if self.is_leaving() {
            return reply.send(Err(AdminError::ShuttingDown));
        }
        let max = self.spec.max_children;
        if self.children.len() >= max {
            return reply.send(Err(AdminError::TooManyChildren { max }));
        }
        let keep = self.spec.policy.restart != RestartPolicy::Temporary;
        let Some(maker) = template.with(argument, keep) else {
            return reply.send(Err(AdminError::WrongType));
        };
        let policy = self.shared_policy();
        let key = self.children.add(Slot::new(self.spec.name.clone(), None, policy, maker));
        self.start_asked(key, true, reply, ctx);
    }

    fn start_asked(&mut self, key: Key, new: bool, reply: Answer, ctx: &mut Context) {
        if let Some(slot) = self.children.slot(key) {
            slot.starting = Some(reply);
        }
        let cause = Cause::Asked { new };
        if let Err(reason) = self.begin(key, cause, ctx) {
            self.start_failed(key, cause, reason, ctx);
        }
    }

    fn terminate(&mut self, key: Key, reply: Done, ctx: &mut Context) {
        let dynamic = self.is_dynamic();
        let Some(slot) = self.children.slot(key) else { return };
        slot.wanted = false;
        let temporary = slot.policy.restart == RestartPolicy::Temporary;
        match slot.state {
            State::Absent => reply.send(Ok(())),
            State::Restarting => {
                slot.ending.push(reply);
                self.cancel_slot_timer(key, ctx);
                self.settle(key, temporary || dynamic);
                self.advance(ctx);
            }
            State::Stopping { .. } => slot.ending.push(reply),
            State::Starting(_) | State::Running => {
                slot.ending.push(reply);
                self.ask_to_stop(key, ctx);
            }
        }
    }

    fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, slot) in self.children.iter() {
            counts.specs += 1;
            counts.active += usize::from(slot.is_up());
            let supervisor = slot.policy.kind == ChildKind::Supervisor;
            counts.supervisors += usize::from(supervisor);
            counts.workers += usize::from(!supervisor);
        }
        counts
    }
}

fn info(slot: &Slot) -> ChildInfo {
    let status = match slot.state {
        State::Absent if slot.wanted => ChildStatus::Starting,
        State::Absent => ChildStatus::Absent,
        State::Starting(_) => ChildStatus::Starting,
        State::Running => ChildStatus::Running,
        State::Stopping { .. } => ChildStatus::Stopping,
        State::Restarting => ChildStatus::Restarting,
    };
    ChildInfo {
        id: slot.id.clone(),
        actor: slot.actor.clone(),
        kind: slot.policy.kind,
        status,
        restarts: slot.restarts,
    }
}

impl SupervisorActor {
    /// The one policy of all dynamic children.
    fn shared_policy(&mut self) -> Arc<super::spec::Policy> {
        let spec = &self.spec;
        self.policy.get_or_insert_with(|| Arc::new(spec.policy.clone())).clone()
    }
}
