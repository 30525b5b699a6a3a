//! Children that do as they are told, and supervisors that tell what they do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipc_actors::{
    Actor, Addr, AnyAddr, Child, Counts, Ctx, ErrorAction, ExitReason, Health, Ignore, Message, Observer,
    Reply, RestartPolicy, Signal, Supervision, SupervisionEvent, Supervisor, SupervisorRef, System,
};

pub use crate::support::MANY;
use crate::support::{Log, PATIENCE};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Debug, PartialEq)]
pub struct Failure(pub &'static str);
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for Failure {}

/// How an incarnation begins.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Start {
    Up,
    Ignore,
    Refuse,
    PanicInFactory,
    Fail,
    Panic,
    /// Up, and deaf to every request to stop.
    Stubborn,
    /// Up, and panics in `stopped`.
    PanicInStopped,
    /// Up, and panics when dropped.
    PanicInDrop,
}

pub enum Do {
    Note(u64),
    Notes(Reply<Vec<u64>>),
    Incarnation(Reply<u32>),
    Keep(Reply<u64>),
    Panic,
    Fail,
    FailBy(ErrorAction),
    End(ExitReason),
    Health(Health),
    /// Runs this in the handler.
    Run(Box<dyn FnOnce() + Send>),
    PanicInSignal,
}
impl Message for Do {
    const MESSAGE_TYPE: &'static str = "test.kid/1";
}

pub struct Kid {
    start: Start,
    notes: Vec<u64>,
    kept: Vec<Reply<u64>>,
    action: ErrorAction,
    health: Health,
    panics_at_news: bool,
}

impl Kid {
    pub fn new(start: Start) -> Self {
        Kid {
            start,
            notes: Vec::new(),
            kept: Vec::new(),
            action: ErrorAction::Escalate,
            health: Health::Healthy,
            panics_at_news: false,
        }
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        if self.start == Start::PanicInDrop {
            panic!("in drop");
        }
    }
}

impl Actor for Kid {
    type Msg = Do;
    type Error = Failure;

    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Failure> {
        match self.start {
            Start::Fail => Err(Failure("does not start")),
            Start::Panic => panic!("in started"),
            Start::Stubborn => {
                ctx.trap_stop(true);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Failure> {
        match message {
            Do::Note(n) => self.notes.push(n),
            Do::Notes(reply) => reply.send(self.notes.clone()),
            Do::Incarnation(reply) => reply.send(ctx.incarnation()),
            Do::Keep(reply) => self.kept.push(reply),
            Do::Panic => panic!("as told"),
            Do::Fail => return Err(Failure("as told")),
            Do::FailBy(action) => {
                self.action = action;
                return Err(Failure("as told"));
            }
            Do::End(reason) => ctx.stop_with(reason),
            Do::Health(health) => self.health = health,
            Do::Run(run) => run(),
            Do::PanicInSignal => {
                let peer = ctx.spawn(Kid::new(Start::Up)).expect("room");
                ctx.monitor(&peer);
                peer.stop();
                self.panics_at_news = true;
            }
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal, _: &mut Ctx<Self>) -> Result<(), Failure> {
        assert!(!(self.panics_at_news && matches!(signal, Signal::Down { .. })), "in signal");
        Ok(())
    }

    fn health(&mut self, _: &mut Ctx<Self>) -> Health {
        self.health.clone()
    }

    fn on_error(&mut self, _: &Failure, _: &mut Ctx<Self>) -> ErrorAction {
        self.action
    }

    fn stopped(&mut self, _: &ExitReason, _: &mut Ctx<Self>) {
        if self.start == Start::PanicInStopped {
            panic!("in stopped");
        }
    }
}

/// A child whose incarnations begin like this, one after the other, and then well.
pub fn scripted(id: &str, starts: &[Start]) -> Child {
    by_script(id, starts, Start::Up)
}

/// A child that begins well.
pub fn kid(id: &str) -> Child {
    scripted(id, &[])
}

/// A child whose incarnations begin like `starts`, and then like `ever`.
pub fn by_script(id: &str, starts: &[Start], ever: Start) -> Child {
    let script = Mutex::new(VecDeque::from(starts.to_vec()));
    Child::try_actor(id, move || {
        let start = script.lock().unwrap().pop_front().unwrap_or(ever);
        make(start)
    })
}

pub fn make(start: Start) -> Result<Kid, Box<dyn std::error::Error + Send + Sync>> {
    match start {
        Start::Ignore => Err(Ignore.into()),
        Start::Refuse => Err(Failure("refused").into()),
        Start::PanicInFactory => panic!("in the factory"),
        start => Ok(Kid::new(start)),
    }
}

/// Dynamic kids, started with how they begin.
pub fn dynamic(restart: RestartPolicy) -> Supervisor {
    Supervisor::try_dynamic("pool", make).children(|child| child.restart(restart))
}

/// A supervisor under test, and what it and those below it tell.
pub struct Tree<'a> {
    pub system: &'a System,
    pub sup: SupervisorRef,
    pub log: Log<String>,
}

impl Tree<'_> {
    pub fn kid(&self, id: &str) -> Addr<Kid> {
        self.sup.child(id).unwrap()
    }

    pub fn counts(&self) -> Counts {
        self.sup.count_children().unwrap()
    }

    pub fn take(&self, count: usize) -> Vec<String> {
        self.log.take(self.system, count)
    }

    /// Reads up to and with the line `last`.
    pub fn read_until(&self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != last) {
            lines.push(self.log.next(self.system));
        }
        lines
    }

    pub fn start(&self, start: Start) -> Addr<Kid> {
        self.sup.start::<Kid>(start).unwrap().expect("a child")
    }

    /// Waits until the supervisor has ended.
    pub fn gone(&self) {
        crate::support::until(self.system, || self.sup.lifecycle() == ipc_actors::Lifecycle::Stopped);
    }
}

/// An event in a few words; the start of a start is left out.
fn line(event: &SupervisionEvent) -> Option<String> {
    let brief = |reason: &ExitReason| match reason {
        ExitReason::Panic(panic) => format!("panic in {}", panic.during),
        reason => reason.to_string(),
    };
    let what = match &event.what {
        Supervision::Starting => return None,
        Supervision::Started => "up".into(),
        Supervision::Ignored => "ignored".into(),
        Supervision::StartFailed(reason) => format!("no start: {}", brief(reason)),
        Supervision::Exited { reason, .. } => format!("ended: {}", brief(reason)),
        Supervision::Restarting { .. } => "again".into(),
        Supervision::Stopping => "stopping".into(),
        Supervision::Killing => "killing".into(),
        Supervision::Zombie => "zombie".into(),
        Supervision::Reaped => "reaped".into(),
        Supervision::Health(health) => health.to_string(),
        Supervision::HealthTimeout => "no answer".into(),
        Supervision::GivingUp(_) => "gives up".into(),
        Supervision::AutoShutdown => "shuts itself down".into(),
        other => format!("{other:?}"),
    };
    Some(format!("{} {what}", event.child))
}

pub fn observe(log: &Log<String>) -> Observer {
    let to = Mutex::new(log.to.clone());
    Observer::new(move |event| {
        if let Some(line) = line(event) {
            let _ = to.lock().unwrap().send(line);
        }
    })
}

/// Starts a tree; what its start told is read and dropped.
pub fn tree(system: &System, root: Supervisor) -> Tree<'_> {
    let log = Log::new();
    let sup = system.start(root.observe(observe(&log))).expect("a tree");
    log.rest();
    Tree { system, sup, log }
}

pub fn incarnation(kid: &Addr<Kid>) -> u32 {
    kid.ask(Do::Incarnation, PATIENCE).unwrap()
}

pub fn ids(tree: &Tree<'_>) -> Vec<String> {
    tree.sup.which_children().unwrap().iter().map(|child| child.id.to_string()).collect()
}

/// An actor outside every tree.
pub fn outsider(system: &System, name: &str) -> AnyAddr {
    system.actor(|| Kid::new(Start::Up)).name(name).start().unwrap().into_any()
}

/// A gate that a handler can wait at, for tests on threads.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, std::sync::Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let guard = self.0.0.lock().unwrap();
        let (_guard, timeout) = self.0.1.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap();
        assert!(!timeout.timed_out(), "nobody opened the gate");
    }
}

/// Has a kid wait at the gate, and returns when it does: a request to stop would be obeyed before a queued message.
pub fn hang(kid: &Addr<Kid>, gate: &Gate) {
    let (entered, wait) = (Gate::default(), gate.clone());
    let at_the_gate = entered.clone();
    let run = move || {
        at_the_gate.open();
        wait.pass();
    };
    kid.tell(Do::Run(Box::new(run))).unwrap();
    entered.pass();
}
