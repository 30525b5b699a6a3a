//! How a child of each kind is made.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::Mutex;

use super::actor::SupervisorActor;
use super::event::Observer;
use super::post::{Parent, Post};
use super::spec::{Ignore, Policy, SpecError, Supervisor};
use crate::actor::Actor;
use crate::cell::AnyAddr;
use crate::ctx::{Factory, FactoryError};
use crate::process::SecurityContext;
use crate::spawn::{Plan, SpawnError};
use crate::system::Inner;

/// What a supervisor gives to whoever makes a child of it.
pub(crate) struct Surroundings<'a> {
    pub(crate) system: &'a Arc<Inner>,
    pub(crate) parent: AnyAddr,
    pub(crate) post: &'a Arc<Post>,
    /// The child's id.
    pub(crate) child: &'a Arc<str>,
    pub(crate) security: &'a SecurityContext,
    pub(crate) observer: Option<&'a Observer>,
}

/// Makes actors for a child, one after the other.
pub(crate) trait Make: Send + Sync {
    /// Starts an actor that tells the parent how its start goes.
    fn spawn(
        &self,
        around: Surroundings<'_>,
        name: Option<Arc<str>>,
        policy: &Policy,
    ) -> Result<AnyAddr, SpawnError>;

    /// Whether what is below contradicts itself.
    fn check(&self) -> Result<(), SpecError> {
        Ok(())
    }
}

/// Starts an actor as a child.
pub(crate) fn spawn_child<A: Actor>(
    around: Surroundings<'_>,
    name: Option<Arc<str>>,
    policy: &Policy,
    factory: Factory<A>,
) -> Result<AnyAddr, SpawnError> {
    let parent = Parent { addr: around.parent, post: around.post.clone(), child: around.child.clone() };
    let plan = Plan {
        actor: None,
        factory: Some(factory),
        name,
        mailbox: policy.mailbox.unwrap_or(A::MAILBOX),
        parent: Some(parent),
        on_restart: policy.on_restart,
        dedicated: policy.dedicated,
    };
    around.system.start(plan).map(|addr| addr.into_any())
}

type Shared<A> = Arc<Mutex<dyn FnMut() -> Result<A, FactoryError> + Send>>;

/// Makes an actor with a factory of the user's.
pub(super) struct ActorMaker<A>(Shared<A>);

impl<A: Actor> ActorMaker<A> {
    pub(super) fn new(factory: impl FnMut() -> Result<A, FactoryError> + Send + 'static) -> Self {
        ActorMaker(Arc::new(Mutex::new(factory)))
    }
}

impl<A: Actor> Make for ActorMaker<A> {
    fn spawn(
        &self,
        around: Surroundings<'_>,
        name: Option<Arc<str>>,
        policy: &Policy,
    ) -> Result<AnyAddr, SpawnError> {
        let shared = self.0.clone();
        let factory = move || match shared.try_lock() {
            Some(mut factory) => factory(),
            // Waiting would hang a second worker with the zombie that is in there.
            None => Err("its factory has not returned from an earlier call".into()),
        };
        spawn_child(around, name, policy, Box::new(factory))
    }
}

/// Makes a supervisor.
pub(super) struct SupervisorMaker(Arc<Supervisor>);

impl SupervisorMaker {
    pub(super) fn new(supervisor: Supervisor) -> Self {
        SupervisorMaker(Arc::new(supervisor))
    }
}

impl Make for SupervisorMaker {
    fn spawn(
        &self,
        around: Surroundings<'_>,
        name: Option<Arc<str>>,
        policy: &Policy,
    ) -> Result<AnyAddr, SpawnError> {
        let spec = Arc::new(self.0.spec.clone());
        let path: Arc<str> = format!("{}/{}", around.post.path, spec.name).into();
        let observer = spec.observer.as_ref().or(around.observer).cloned();
        let security = spec.security.within(around.security);
        let factory = move || {
            if !spec.is_needed() {
                return Err(Ignore.into());
            }
            Ok(SupervisorActor::new(spec.clone(), path.clone(), observer.clone(), security.clone()))
        };
        spawn_child(around, name, policy, Box::new(factory))
    }

    fn check(&self) -> Result<(), SpecError> {
        self.0.check()
    }
}

/// Makes the maker of one dynamic child.
pub(crate) trait Template: Send + Sync {
    /// `None`: the argument is of another type.
    fn with(&self, argument: Box<dyn Any + Send>, keep: bool) -> Option<Arc<dyn Make>>;
}

type TemplateFn<A, P> = Arc<dyn Fn(P) -> Result<A, FactoryError> + Send + Sync>;

/// A template whose factory takes a `P`.
pub(super) struct TemplateOf<A, P> {
    make: TemplateFn<A, P>,
    marker: PhantomData<fn(P)>,
}

impl<A: Actor, P: Clone + Send + 'static> TemplateOf<A, P> {
    pub(super) fn new(make: impl Fn(P) -> Result<A, FactoryError> + Send + Sync + 'static) -> Self {
        TemplateOf { make: Arc::new(make), marker: PhantomData }
    }
}

impl<A: Actor, P: Clone + Send + 'static> Template for TemplateOf<A, P> {
    fn with(&self, argument: Box<dyn Any + Send>, keep: bool) -> Option<Arc<dyn Make>> {
        let argument = *argument.downcast::<P>().ok()?;
        let make = self.make.clone();
        if keep {
            return Some(Arc::new(ActorMaker::new(move || make(argument.clone()))));
        }
        let mut once = Some(argument);
        Some(Arc::new(ActorMaker::new(move || match once.take() {
            Some(argument) => make(argument),
            None => Err("a temporary child has no argument for a second incarnation".into()),
        })))
    }
}
