//! What a user writes: a tree of supervisors and children.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Observer;
use super::make::{ActorMaker, Make, SupervisorMaker, Template, TemplateOf};
use super::window::Backoff;
use crate::actor::Actor;
use crate::ctx::FactoryError;
use crate::exit::ExitReason;
use crate::health::HealthCheck;
use crate::mailbox::{Mailbox, OnRestart};
use crate::process::SecurityContext;

/// Which children are restarted when one fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SupervisionStrategy {
    /// That one.
    OneForOne,
    /// All of them: they are stopped in reverse order and started in order.
    OneForAll,
    /// That one and those that were started after it.
    RestForOne,
    /// That one; the children are made at run time from one template, in no order.
    Dynamic,
}

/// Whether a child that ended is restarted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Always.
    #[default]
    Permanent,
    /// When its end was not normal ([`ExitReason::is_normal`]).
    Transient,
    /// Never; its supervisor forgets it.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShutdownPolicy {
    /// It is asked to, and killed when it has not ended by then.
    Timeout(Duration),
    /// It is asked to, and waited for.
    Infinity,
    /// It is killed.
    Kill,
}

/// Whether a supervisor ends when significant children have ended by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AutoShutdown {
    /// No; then no child may be significant.
    #[default]
    Never,
    /// When one has.
    AnySignificant,
    /// When the last one has.
    AllSignificant,
}

/// What a child is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChildKind {
    /// An actor.
    Worker,
    /// A supervisor.
    Supervisor,
    /// A process of the operating system.
    Process,
}

/// What a factory returns as its error to say: this child is not needed, go on without it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ignore;

impl fmt::Display for Ignore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not needed")
    }
}

impl std::error::Error for Ignore {}

/// What holds for a child apart from how it is made.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) kind: ChildKind,
    pub(crate) restart: RestartPolicy,
    pub(crate) shutdown: ShutdownPolicy,
    pub(crate) significant: bool,
    pub(crate) health: Option<HealthCheck>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) on_restart: OnRestart,
    pub(crate) mailbox: Option<Mailbox>,
    pub(crate) dedicated: bool,
}

impl Policy {
    fn of(kind: ChildKind) -> Self {
        let shutdown = match kind {
            // The actor of a process has a patience of its own.
            ChildKind::Supervisor | ChildKind::Process => ShutdownPolicy::Infinity,
            ChildKind::Worker => ShutdownPolicy::Timeout(Duration::from_secs(5)),
        };
        Policy {
            kind,
            restart: RestartPolicy::Permanent,
            shutdown,
            significant: false,
            health: None,
            backoff: None,
            on_restart: OnRestart::Keep,
            mailbox: None,
            dedicated: false,
        }
    }
}

/// A child of a supervisor. Permanent, stopped within 5 s and then killed, not significant, unless said.
#[derive(Clone)]
pub struct Child {
    pub(super) id: Arc<str>,
    pub(super) name: Option<Arc<str>>,
    pub(super) policy: Policy,
    pub(super) maker: Arc<dyn Make>,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id).field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Child {
    /// An actor whose instances `factory` makes, in the actor's own turn. `id` tells it from its siblings.
    pub fn actor<A: Actor>(id: &str, factory: impl FnMut() -> A + Send + 'static) -> Child {
        let mut factory = factory;
        Child::made_by(id, ChildKind::Worker, ActorMaker::new(move || Ok(factory())))
    }

    /// The same with a factory that can fail, or answer [`Ignore`].
    pub fn try_actor<A: Actor, E: Into<FactoryError>>(
        id: &str,
        factory: impl FnMut() -> Result<A, E> + Send + 'static,
    ) -> Child {
        let mut factory = factory;
        Child::made_by(
            id,
            ChildKind::Worker,
            ActorMaker::new(move || factory().map_err(Into::<FactoryError>::into)),
        )
    }

    pub(crate) fn made_by(id: &str, kind: ChildKind, maker: impl Make + 'static) -> Child {
        Child { id: id.into(), name: None, policy: Policy::of(kind), maker: Arc::new(maker) }
    }

    /// Registers it under this name, by which [`System::find`](crate::System::find) finds it.
    #[must_use]
    pub fn name(self, name: &str) -> Child {
        Child { name: Some(name.into()), ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut Policy)) -> Child {
        change(&mut self.policy);
        self
    }

    /// Sets the restart policy.
    #[must_use]
    pub fn restart(self, restart: RestartPolicy) -> Child {
        self.with(|policy| policy.restart = restart)
    }

    /// Restarted whenever it ends.
    #[must_use]
    pub fn permanent(self) -> Child {
        self.restart(RestartPolicy::Permanent)
    }

    /// Restarted when it fails.
    #[must_use]
    pub fn transient(self) -> Child {
        self.restart(RestartPolicy::Transient)
    }

    /// Not restarted.
    #[must_use]
    pub fn temporary(self) -> Child {
        self.restart(RestartPolicy::Temporary)
    }

    /// Sets how it is stopped.
    #[must_use]
    pub fn shutdown(self, shutdown: ShutdownPolicy) -> Child {
        self.with(|policy| policy.shutdown = shutdown)
    }

    /// Makes its end matter to its supervisor: [`Supervisor::auto_shutdown`].
    #[must_use]
    pub fn significant(self) -> Child {
        self.with(|policy| policy.significant = true)
    }

    /// Has its health checked ([`Actor::health`]).
    #[must_use]
    pub fn health(self, check: HealthCheck) -> Child {
        self.with(|policy| policy.health = Some(check))
    }

    /// Sets the pauses before its restarts; those of its supervisor unless said.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Child {
        self.with(|policy| policy.backoff = Some(backoff))
    }

    /// Sets what a restart does with queued messages.
    #[must_use]
    pub fn on_restart(self, on_restart: OnRestart) -> Child {
        self.with(|policy| policy.on_restart = on_restart)
    }

    /// Gives it another mailbox than [`Actor::MAILBOX`].
    #[must_use]
    pub fn mailbox(self, mailbox: Mailbox) -> Child {
        self.with(|policy| policy.mailbox = Some(mailbox))
    }

    /// Gives it a thread of its own, as [`Spawn::dedicated`](crate::Spawn::dedicated) does. One that cannot be started
    /// is a child that does not start.
    #[must_use]
    pub fn dedicated(self) -> Child {
        self.with(|policy| policy.dedicated = true)
    }
}

/// A supervisor to be: a strategy and children. Start it with [`System::start`](crate::System::start), or put it below
/// another one.
#[derive(Clone, Debug)]
pub struct Supervisor {
    pub(super) spec: Spec,
}

/// Whether a supervisor is needed, as its user says.
type Needed = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct Spec {
    pub(super) name: Arc<str>,
    pub(super) strategy: SupervisionStrategy,
    pub(super) intensity: u32,
    pub(super) period: Duration,
    pub(super) backoff: Backoff,
    pub(super) auto_shutdown: AutoShutdown,
    pub(super) zombie_after: Duration,
    pub(super) max_children: usize,
    pub(super) observer: Option<Observer>,
    pub(super) security: SecurityContext,
    pub(super) children: Vec<Child>,
    pub(super) template: Option<Arc<dyn Template>>,
    /// Whether there is to be an incarnation; `None`: always.
    pub(super) needed: Option<Needed>,
    /// Of the template's children.
    pub(super) policy: Policy,
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("name", &self.name)
            .field("strategy", &self.strategy)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor with this strategy, for static children: at most 3 restarts in 5 s, the default [`Backoff`], no
    /// automatic shutdown.
    pub fn new(name: &str, strategy: SupervisionStrategy) -> Supervisor {
        Supervisor {
            spec: Spec {
                name: name.into(),
                strategy,
                intensity: 3,
                period: Duration::from_secs(5),
                backoff: Backoff::default(),
                auto_shutdown: AutoShutdown::Never,
                zombie_after: Duration::from_secs(1),
                max_children: usize::MAX,
                observer: None,
                security: SecurityContext::new(),
                children: Vec::new(),
                template: None,
                needed: None,
                policy: Policy::of(ChildKind::Worker),
            },
        }
    }

    /// Restarts the child that failed.
    pub fn one_for_one(name: &str) -> Supervisor {
        Supervisor::new(name, SupervisionStrategy::OneForOne)
    }

    /// Restarts all children when one fails.
    pub fn one_for_all(name: &str) -> Supervisor {
        Supervisor::new(name, SupervisionStrategy::OneForAll)
    }

    /// Restarts the child that failed and those after it.
    pub fn rest_for_one(name: &str) -> Supervisor {
        Supervisor::new(name, SupervisionStrategy::RestForOne)
    }

    /// Starts children at run time, each made by `factory` from an argument ([`SupervisorRef::start`]). The policies of
    /// the children are those set here by [`children`](Self::children).
    ///
    /// The argument is kept for restarts, except for temporary children, whose argument goes with the first instance.
    ///
    /// [`SupervisorRef::start`]: crate::SupervisorRef::start
    pub fn dynamic<A: Actor, P: Clone + Send + 'static>(
        name: &str,
        factory: impl Fn(P) -> A + Send + Sync + 'static,
    ) -> Supervisor {
        Supervisor::try_dynamic(name, move |argument| Ok::<A, Ignore>(factory(argument)))
    }

    /// The same with a factory that can fail, or answer [`Ignore`].
    pub fn try_dynamic<A: Actor, P: Clone + Send + 'static, E: Into<FactoryError>>(
        name: &str,
        factory: impl Fn(P) -> Result<A, E> + Send + Sync + 'static,
    ) -> Supervisor {
        let mut supervisor = Supervisor::new(name, SupervisionStrategy::Dynamic);
        let make = move |argument| factory(argument).map_err(Into::<FactoryError>::into);
        supervisor.spec.template = Some(Arc::new(TemplateOf::new(make)));
        supervisor
    }

    fn with(mut self, change: impl FnOnce(&mut Spec)) -> Supervisor {
        change(&mut self.spec);
        self
    }

    /// Adds a child; children are started in this order.
    #[must_use]
    pub fn child(self, child: impl Into<Child>) -> Supervisor {
        self.with(|spec| spec.children.push(child.into()))
    }

    /// Sets the policies of a dynamic supervisor's children: `change` is given a child to call its setters on.
    #[must_use]
    pub fn children(self, change: impl FnOnce(Child) -> Child) -> Supervisor {
        self.with(|spec| {
            let template = Child { policy: spec.policy.clone(), ..Child::actor("template", || Unmade) };
            spec.policy = change(template).policy;
        })
    }

    /// Allows `restarts` restarts within `period`; one more and the supervisor stops its children and ends.
    #[must_use]
    pub fn intensity(self, restarts: u32, period: Duration) -> Supervisor {
        self.with(|spec| (spec.intensity, spec.period) = (restarts, period))
    }

    /// Sets the pauses before restarts.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Supervisor {
        self.with(|spec| spec.backoff = backoff)
    }

    /// Sets whether the end of significant children ends the supervisor.
    #[must_use]
    pub fn auto_shutdown(self, auto_shutdown: AutoShutdown) -> Supervisor {
        self.with(|spec| spec.auto_shutdown = auto_shutdown)
    }

    /// Sets how long a killed child has to get out of its handler before the supervisor goes on without it, 1 s unless
    /// said.
    #[must_use]
    pub fn zombie_after(self, patience: Duration) -> Supervisor {
        self.with(|spec| spec.zombie_after = patience)
    }

    /// Limits the children of a dynamic supervisor.
    #[must_use]
    pub fn max_children(self, max_children: usize) -> Supervisor {
        self.with(|spec| spec.max_children = max_children)
    }

    /// Tells `observer` what happens here and below, unless a supervisor below has its own.
    #[must_use]
    pub fn observe(self, observer: Observer) -> Supervisor {
        self.with(|spec| spec.observer = Some(observer))
    }

    /// Sets what processes here and below may, unless they or a supervisor below say otherwise.
    #[must_use]
    pub fn security(self, security: SecurityContext) -> Supervisor {
        self.with(|spec| spec.security = security)
    }

    /// Has `needed` asked before each incarnation of this supervisor. Where it says no there is none: the supervisor is a
    /// child like one whose factory answers [`Ignore`], its siblings go on, and a request to restart it asks again. A root
    /// that is not needed does not start, because of [`ExitReason::Ignored`].
    ///
    /// Like a factory it runs in the turn of the child, not of the supervisor above; that of a root runs in
    /// [`System::start`](crate::System::start).
    #[must_use]
    pub fn only_if(self, needed: impl Fn() -> bool + Send + Sync + 'static) -> Supervisor {
        self.with(|spec| spec.needed = Some(Arc::new(needed)))
    }

    /// Whether this tree can be started.
    ///
    /// # Errors
    /// The first thing that contradicts another.
    pub fn check(&self) -> Result<(), SpecError> {
        let spec = &self.spec;
        let of = |what| SpecError { supervisor: spec.name.clone(), what };
        if spec.period.is_zero() {
            return Err(of("the period of the restart intensity is zero".into()));
        }
        let backoff = spec.backoff;
        if !(0.0..=1.0).contains(&backoff.jitter) || !backoff.factor.is_finite() || backoff.factor < 1.0 {
            return Err(of("a back-off needs a jitter in 0..=1 and a factor of at least 1".into()));
        }
        let dynamic = spec.strategy == SupervisionStrategy::Dynamic;
        if dynamic != spec.template.is_some() {
            return Err(
                of("the strategy dynamic and a template go together: use Supervisor::dynamic".into()),
            );
        }
        if dynamic && !spec.children.is_empty() {
            return Err(of("a dynamic supervisor has no static children".into()));
        }
        let mut ids = HashSet::new();
        for child in &spec.children {
            if !ids.insert(&child.id) {
                return Err(of(format!("two children are called {}", child.id)));
            }
            spec.allows(&child.policy).map_err(|what| of(format!("child {}: {what}", child.id)))?;
            child.maker.check()?;
        }
        spec.allows(&spec.policy).map_err(|what| of(what.into()))
    }
}

impl Spec {
    pub(super) fn is_needed(&self) -> bool {
        self.needed.as_ref().is_none_or(|needed| needed())
    }

    /// Whether a child with this policy can be here.
    pub(super) fn allows(&self, policy: &Policy) -> Result<(), &'static str> {
        if policy.significant && policy.restart == RestartPolicy::Permanent {
            return Err("a significant child is never permanent: it could not end by itself");
        }
        if policy.significant && self.auto_shutdown == AutoShutdown::Never {
            return Err("a significant child needs a supervisor with automatic shutdown");
        }
        Ok(())
    }
}

/// The actor of a template that only carries policies.
struct Unmade;

impl Actor for Unmade {
    type Msg = Never;
    type Error = Ignore;
    fn handle(&mut self, message: Never, _: &mut crate::Ctx<Self>) -> Result<(), Ignore> {
        match message {}
    }
}

enum Never {}

impl ipc_core::Message for Never {
    const MESSAGE_TYPE: &'static str = "ipc.actors.never/1";
}

impl From<Supervisor> for Child {
    /// A supervisor below another one. Its `id` is its name; it is permanent, and waited for when it is stopped.
    fn from(supervisor: Supervisor) -> Child {
        let name = supervisor.spec.name.clone();
        Child::made_by(&name, ChildKind::Supervisor, SupervisorMaker::new(supervisor))
    }
}

/// A tree that contradicts itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpecError {
    /// The supervisor at fault.
    pub supervisor: Arc<str>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "supervisor {}: {}", self.supervisor, self.what)
    }
}

impl std::error::Error for SpecError {}

/// A child did not start. When the child is a supervisor, the cause is often another one of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError {
    /// The child.
    pub child: Arc<str>,
    /// Why.
    pub cause: ExitReason,
}

impl StartError {
    /// The last of the chain: the child that failed by itself.
    pub fn root(&self) -> &StartError {
        let mut at = self;
        while let ExitReason::StartFailed(below) = &at.cause {
            at = below;
        }
        at
    }
}

/// Links of a chain that are written out.
const DEPTH: usize = 8;
/// Bytes of the last cause that are written out.
const LENGTH: usize = 512;

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = self;
        for depth in 0.. {
            let ExitReason::StartFailed(below) = &at.cause else { break };
            if depth < DEPTH {
                write!(f, "{}/", at.child)?;
            } else if depth == DEPTH {
                f.write_str(".../")?;
            }
            at = below;
        }
        let mut cause = at.cause.to_string();
        if cause.len() > LENGTH {
            cause.truncate(cause.floor_char_boundary(LENGTH));
            cause.push_str("...");
        }
        write!(f, "{} did not start: {cause}", at.child)
    }
}

impl std::error::Error for StartError {}
