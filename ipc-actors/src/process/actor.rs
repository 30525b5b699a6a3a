//! The actor that has a process: start, readiness, signals, end.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal as KernelSignal;

use super::command::{Cmd, Ready, SecurityContext};
use super::{Group, spawn};
use crate::actor::{Actor, ErrorAction, Signal};
use crate::alarms::TimerRef;
use crate::cell::AnyAddr;
use crate::ctx::Ctx;
use crate::exit::ExitReason;
use crate::fail;
use crate::health::Health;
use crate::reactor::Reactor;
use crate::reply::Reply;
use crate::spawn::SpawnError;
use crate::supervisor::{
    Child, ChildKind, Make, Observer, Policy, Supervision, SupervisionEvent, Surroundings, spawn_child,
};
use ipc_core::Message;

/// What the actor of a process understands.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessRequest {
    /// The process's number; `None`: it has ended.
    Pid(Reply<Option<u32>>),
    /// Sends the process this signal.
    Signal(i32),
    /// The actor's own.
    #[doc(hidden)]
    Internal(Internal),
}

impl Message for ProcessRequest {
    const MESSAGE_TYPE: &'static str = "ipc.actors.process/1";
}

/// What the reactor and the timers tell the actor of a process.
#[derive(Debug)]
pub struct Internal {
    incarnation: u32,
    news: News,
}

#[derive(Debug)]
enum News {
    /// The process has ended.
    Ended,
    /// There is something on the descriptor of its handshake.
    Handshake,
    /// The next look whether it is ready is due.
    Probe,
    /// It had its time to get ready.
    NotReady,
    /// It had its time to stop.
    Deaf,
}

/// The actor of a process child. A supervisor makes it: [`Child::process`].
pub struct Process {
    cmd: Arc<Cmd>,
    context: SecurityContext,
    observer: Option<Observer>,
    path: Arc<str>,
    child: Arc<str>,
    running: Option<Running>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("cmd", &self.cmd).finish_non_exhaustive()
    }
}

struct Running {
    group: Group,
    reactor: Arc<Reactor>,
    exit: usize,
    handshake: Option<(usize, Arc<OwnedFd>)>,
    /// The patience with its start or with its end.
    patience: Option<TimerRef>,
    ready: bool,
    stopping: bool,
    /// What its end will be put down to.
    verdict: Option<ExitReason>,
}

impl Process {
    fn tell(&self, what: Supervision, ctx: &Ctx<Self>) {
        let Some(observer) = &self.observer else { return };
        observer.tell(&SupervisionEvent {
            at: ctx.now(),
            supervisor: self.path.clone(),
            child: self.child.clone(),
            actor: Some(ctx.id()),
            incarnation: ctx.incarnation(),
            kind: ChildKind::Process,
            what,
        });
    }

    fn later(ctx: &mut Ctx<Self>, after: Duration, news: News) -> TimerRef {
        let incarnation = ctx.incarnation();
        ctx.after(after, ProcessRequest::Internal(Internal { incarnation, news }))
    }

    fn watch(ctx: &Ctx<Self>, reactor: &Reactor, fd: Arc<OwnedFd>, news: News) -> io::Result<usize> {
        let (me, incarnation) = (ctx.addr(), ctx.incarnation());
        reactor.watch(
            fd,
            Box::new(move |_| {
                // An actor that is gone has left the process to somebody else.
                let _ = me.tell(ProcessRequest::Internal(Internal { incarnation, news }));
            }),
        )
    }

    /// It counts as started.
    fn is_ready(&mut self, ctx: &mut Ctx<Self>) {
        let Some(running) = &mut self.running else { return };
        running.ready = true;
        if let Some((key, _)) = running.handshake.take() {
            running.reactor.unwatch(key);
        }
        if let Some(patience) = running.patience.take() {
            ctx.cancel(patience);
        }
        ctx.announce();
    }

    /// Kills it, for this reason.
    fn condemn(&mut self, reason: ExitReason, ctx: &Ctx<Self>) {
        let Some(running) = &mut self.running else { return };
        running.verdict.get_or_insert(reason);
        running.group.kill();
        self.tell(Supervision::Signaled { signal: KernelSignal::KILL.as_raw() }, ctx);
    }

    fn news(&mut self, news: News, ctx: &mut Ctx<Self>) {
        let Some(running) = &mut self.running else { return };
        match news {
            News::Ended => self.ended(ctx),
            News::Handshake => {
                let Some((_, fd)) = running.handshake.take() else { return };
                let mut bytes = [0; 64];
                let read = fail::errno("process.read").and_then(|()| rustix::io::read(&*fd, &mut bytes));
                match read {
                    Ok(count) if bytes[..count].contains(&b'\n') => self.is_ready(ctx),
                    Ok(0) => self.condemn(error("it closed its descriptor without being ready"), ctx),
                    Ok(_) | Err(rustix::io::Errno::INTR) => {
                        match Process::watch(ctx, &running.reactor, fd.clone(), News::Handshake) {
                            Ok(key) => running.handshake = Some((key, fd)),
                            Err(why) => self.condemn(error(&why.to_string()), ctx),
                        }
                    }
                    Err(why) => self.condemn(error(&why.to_string()), ctx),
                }
            }
            News::Probe => {
                let Ready::Probe { check, interval, .. } = &self.cmd.ready else { return };
                if running.ready || running.stopping {
                    return;
                }
                if check(running.group.pid()) {
                    self.is_ready(ctx);
                } else {
                    Process::later(ctx, *interval, News::Probe);
                }
            }
            News::NotReady if !running.ready && !running.stopping => {
                running.patience = None;
                self.condemn(error("it was not ready in time"), ctx);
            }
            News::Deaf => {
                running.patience = None;
                running.group.kill();
                self.tell(Supervision::Signaled { signal: KernelSignal::KILL.as_raw() }, ctx);
            }
            News::NotReady => {}
        }
    }

    /// The process has ended: kills what it left behind, reaps it, and ends for the same reason.
    fn ended(&mut self, ctx: &mut Ctx<Self>) {
        let Some(running) = self.running.take() else { return };
        if let Some((key, _)) = running.handshake {
            running.reactor.unwatch(key);
        }
        running.group.kill();
        let reason = running.group.reap();
        // One that was about to end by itself when it was condemned keeps its own reason.
        let by_us = reason == ExitReason::Signaled(KernelSignal::KILL.as_raw());
        ctx.stop_with(running.verdict.filter(|_| by_us).unwrap_or(reason));
    }
}

fn error(text: &str) -> ExitReason {
    ExitReason::Error(text.into())
}

impl Actor for Process {
    type Msg = ProcessRequest;
    type Error = io::Error;

    fn started(&mut self, ctx: &mut Ctx<Self>) -> io::Result<()> {
        let Some(reactor) = ctx.me.system.reactor().cloned() else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a simulation runs no processes"));
        };
        ctx.trap_stop(true);
        let (group, handshake) = spawn(&self.cmd, &self.context)?;
        let exit = match Process::watch(ctx, &reactor, group.pidfd.clone(), News::Ended) {
            Ok(exit) => exit,
            Err(error) => {
                group.kill();
                group.reap();
                return Err(error);
            }
        };
        let pid = group.pid();
        self.running = Some(Running {
            group,
            reactor: reactor.clone(),
            exit,
            handshake: None,
            patience: None,
            ready: false,
            stopping: false,
            verdict: None,
        });
        self.tell(Supervision::Spawned { pid }, ctx);
        let timeout = match &self.cmd.ready {
            Ready::Spawned => {
                if let Some(running) = &mut self.running {
                    running.ready = true;
                }
                return Ok(());
            }
            Ready::Handshake(timeout) => *timeout,
            Ready::Probe { timeout, .. } => *timeout,
        };
        ctx.cold().unannounced = true;
        if let Some(fd) = handshake {
            let fd = Arc::new(fd);
            let key = Process::watch(ctx, &reactor, fd.clone(), News::Handshake)?;
            if let Some(running) = &mut self.running {
                running.handshake = Some((key, fd));
            }
        } else {
            Process::later(ctx, Duration::ZERO, News::Probe);
        }
        let patience = Process::later(ctx, timeout, News::NotReady);
        if let Some(running) = &mut self.running {
            running.patience = Some(patience);
        }
        Ok(())
    }

    fn handle(&mut self, request: ProcessRequest, ctx: &mut Ctx<Self>) -> io::Result<()> {
        match request {
            ProcessRequest::Pid(reply) => {
                reply.send(self.running.as_ref().map(|running| running.group.pid()))
            }
            ProcessRequest::Signal(number) => {
                if let (Some(running), Some(signal)) = (&self.running, KernelSignal::from_named_raw(number)) {
                    running.group.signal(signal)?;
                    self.tell(Supervision::Signaled { signal: number }, ctx);
                }
            }
            ProcessRequest::Internal(internal) if internal.incarnation == ctx.incarnation() => {
                self.news(internal.news, ctx);
            }
            ProcessRequest::Internal(_) => {}
        }
        Ok(())
    }

    fn on_error(&mut self, _: &io::Error, _: &mut Ctx<Self>) -> ErrorAction {
        // A signal that could not be sent: its end, if that is why, is on the way.
        ErrorAction::Resume
    }

    fn signal(&mut self, signal: Signal, ctx: &mut Ctx<Self>) -> io::Result<()> {
        let Signal::Stop(reason) = signal else { return Ok(()) };
        let Some(running) = &mut self.running else {
            ctx.stop_with(reason);
            return Ok(());
        };
        if std::mem::replace(&mut running.stopping, true) {
            return Ok(());
        }
        if let Some(patience) = running.patience.take() {
            ctx.cancel(patience);
        }
        running.patience = Some(Process::later(ctx, self.cmd.kill_after, News::Deaf));
        running.group.signal(KernelSignal::TERM)?;
        self.tell(Supervision::Signaled { signal: KernelSignal::TERM.as_raw() }, ctx);
        Ok(())
    }

    fn health(&mut self, _: &mut Ctx<Self>) -> Health {
        match (&self.running, &self.cmd.health) {
            (Some(running), Some(check)) => check(running.group.pid()),
            _ => Health::Healthy,
        }
    }
}

impl Drop for Process {
    /// The actor was killed, or failed while it had a process: the process goes with it, and the reactor reaps it.
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let Running { group, reactor, exit, handshake, .. } = running;
        for key in [Some(exit), handshake.map(|(key, _)| key)].into_iter().flatten() {
            reactor.unwatch(key);
        }
        group.kill();
        let pidfd = group.pidfd.clone();
        let reap = move |_| {
            // What it started between the kill and its death.
            group.kill();
            group.reap();
        };
        // Without room for a descriptor in the poller nobody reaps it; it is dead all the same.
        let _ = reactor.watch(pidfd, Box::new(reap));
    }
}

/// Makes the actors of a process child.
struct ProcessMaker(Arc<Cmd>);

impl Make for ProcessMaker {
    fn spawn(
        &self,
        around: Surroundings<'_>,
        name: Option<Arc<str>>,
        policy: &Policy,
    ) -> Result<AnyAddr, SpawnError> {
        let (cmd, context) = (self.0.clone(), self.0.context.within(around.security));
        let (observer, path, child) =
            (around.observer.cloned(), around.post.path.clone(), around.child.clone());
        let factory = move || {
            Ok(Process {
                cmd: cmd.clone(),
                context: context.clone(),
                observer: observer.clone(),
                path: path.clone(),
                child: child.clone(),
                running: None,
            })
        };
        spawn_child(around, name, policy, Box::new(factory))
    }
}

impl Child {
    /// A process. Its end is the end of the child: exit code 0 is normal, every other code and every signal is not.
    /// It is stopped by SIGTERM, and after [`Cmd::kill_after`] by SIGKILL for its whole group; the shutdown policy only
    /// counts where it is more impatient than that. Its actor is a [`Process`].
    pub fn process(id: &str, cmd: Cmd) -> Child {
        Child::made_by(id, ChildKind::Process, ProcessMaker(Arc::new(cmd)))
    }
}
