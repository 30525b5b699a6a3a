//! What one can ask of a running supervisor.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::actor::SupervisorActor;
use super::children::Key;
use super::spec::{Child, ChildKind, SpecError, StartError};
use crate::actor::Actor;
use crate::addr::Addr;
use crate::cell::AnyAddr;
use crate::id::{ActorAddress, ActorId};
use crate::reply::{AskError, Reply};
use crate::status::Lifecycle;
use ipc_core::Message;

/// The answer to a start: the child, or that its factory chose not to make it.
pub(super) type Started = Result<Option<AnyAddr>, AdminError>;

/// Where the answer to a start goes.
pub(super) type Answer = Reply<Started>;

/// What a supervisor understands. [`SupervisorRef`] asks from a thread; an actor asks with
/// [`Ctx::ask`](crate::Ctx::ask) and [`SupervisorRef::addr`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// Adds a child and starts it.
    StartChild(Box<Child>, Reply<Result<Option<AnyAddr>, AdminError>>),
    /// Starts a child of a dynamic supervisor with this argument.
    StartDynamic(Box<dyn Any + Send>, Reply<Result<Option<AnyAddr>, AdminError>>),
    /// Stops a child; its slot stays, unless it is temporary.
    TerminateChild(Arc<str>, Reply<Result<(), AdminError>>),
    /// Stops a child of a dynamic supervisor.
    Terminate(ActorId, Reply<Result<(), AdminError>>),
    /// Starts a child that is not running.
    RestartChild(Arc<str>, Reply<Result<Option<AnyAddr>, AdminError>>),
    /// Removes a child that is not running.
    DeleteChild(Arc<str>, Reply<Result<(), AdminError>>),
    /// Lists the children in the order of their start.
    WhichChildren(Reply<Vec<ChildInfo>>),
    /// One child.
    WhichChild(Arc<str>, Reply<Result<ChildInfo, AdminError>>),
    /// Counts the children.
    CountChildren(Reply<Counts>),
    /// The supervisor's own.
    #[doc(hidden)]
    Internal(Internal),
}

impl Message for Request {
    const MESSAGE_TYPE: &'static str = "ipc.actors.supervisor/1";
}

/// What a supervisor tells itself, later.
#[derive(Debug)]
pub struct Internal(pub(super) Later);

#[derive(Clone, Copy, Debug)]
pub(super) enum Later {
    /// The timer of a slot.
    Slot { key: Key, serial: u32 },
    /// The pause of the plan.
    Plan { serial: u32 },
    /// The next health check, or the end of the patience with the last one.
    Check { key: Key, serial: u32 },
}

/// Why a request was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such child here.
    NotFound,
    /// The child is running.
    Running,
    /// The child failed and is about to be restarted.
    Restarting,
    /// A child with this id is here, and not running.
    AlreadyPresent,
    /// It runs already, or another actor has its name: here.
    AlreadyStarted(ActorAddress),
    /// A dynamic supervisor's children have no ids and are made by its template.
    NotForDynamic,
    /// Only a dynamic supervisor does this.
    OnlyForDynamic,
    /// The child was not started.
    Start(StartError),
    /// The child cannot be here.
    Spec(SpecError),
    /// The supervisor has as many children as it may.
    TooManyChildren {
        /// How many that is.
        max: usize,
    },
    /// The argument is not of the type that the template takes, or the child not of the type expected.
    WrongType,
    /// The supervisor is about to end.
    ShuttingDown,
    /// It did not answer.
    Ask(AskError),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::NotFound => f.write_str("there is no such child"),
            AdminError::Running => f.write_str("the child is running"),
            AdminError::Restarting => f.write_str("the child is about to be restarted"),
            AdminError::AlreadyPresent => f.write_str("a child with this id is there, and not running"),
            AdminError::AlreadyStarted(address) => write!(f, "it runs already: {address}"),
            AdminError::NotForDynamic => {
                f.write_str("a dynamic supervisor's children have no ids; use their numbers, or start")
            }
            AdminError::OnlyForDynamic => f.write_str("only a dynamic supervisor does this"),
            AdminError::Start(error) => error.fmt(f),
            AdminError::Spec(error) => error.fmt(f),
            AdminError::TooManyChildren { max } => write!(f, "there are {max} children, which is the limit"),
            AdminError::WrongType => f.write_str("of another type than expected"),
            AdminError::ShuttingDown => f.write_str("the supervisor is shutting down"),
            AdminError::Ask(error) => write!(f, "the supervisor did not answer: {error}"),
        }
    }
}

impl std::error::Error for AdminError {}

/// Where a child is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChildStatus {
    /// Not running: it ended, was terminated, or its factory chose not to make it.
    Absent,
    /// Its start has begun.
    Starting,
    /// It runs.
    Running,
    /// It was asked to stop, or killed.
    Stopping,
    /// It failed and is about to be begun again.
    Restarting,
}

/// One child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildInfo {
    /// Its id; for a dynamic child the name of its supervisor.
    pub id: Arc<str>,
    /// Its actor; `None`: it has none now.
    pub actor: Option<AnyAddr>,
    /// What it is.
    pub kind: ChildKind,
    /// Where it is.
    pub status: ChildStatus,
    /// How often it was restarted.
    pub restarts: u32,
}

/// How many children there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Children, running or not.
    pub specs: usize,
    /// Those that have an actor.
    pub active: usize,
    /// Supervisors among all.
    pub supervisors: usize,
    /// Others among all.
    pub workers: usize,
}

/// A running supervisor. Its methods wait for the answer, 30 s unless said, and are for threads outside; an actor asks
/// with [`addr`](Self::addr).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SupervisorRef {
    addr: Addr<SupervisorActor>,
    patience: Duration,
}

impl SupervisorRef {
    pub(super) fn new(addr: Addr<SupervisorActor>) -> Self {
        SupervisorRef { addr, patience: Duration::from_secs(30) }
    }

    /// Sets how long its methods wait.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        SupervisorRef { patience, ..self }
    }

    /// The supervisor as an actor, which takes [`Request`]s.
    pub fn addr(&self) -> &Addr<SupervisorActor> {
        &self.addr
    }

    fn ask<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<Result<T, AdminError>>) -> Request,
    ) -> Result<T, AdminError> {
        self.addr.ask(make, self.patience).map_err(AdminError::Ask)?
    }

    /// Adds a child and starts it. `None`: its factory chose not to make it; it stays in the list unless it is
    /// temporary.
    ///
    /// # Errors
    /// `AlreadyPresent`, `AlreadyStarted`, `NotForDynamic`, `Spec`; `Start`: it is not added.
    pub fn start_child(&self, child: impl Into<Child>) -> Result<Option<AnyAddr>, AdminError> {
        let child = Box::new(child.into());
        self.ask(|reply| Request::StartChild(child, reply))
    }

    /// Starts a child of a dynamic supervisor. `None`: its factory chose not to make it.
    ///
    /// # Errors
    /// `OnlyForDynamic`, `TooManyChildren`, `Start`; `WrongType`: the template makes no `A`, or not from a `P`.
    pub fn start<A: Actor>(
        &self,
        argument: impl Clone + Send + 'static,
    ) -> Result<Option<Addr<A>>, AdminError> {
        let argument = Box::new(argument);
        match self.ask(|reply| Request::StartDynamic(argument, reply))? {
            None => Ok(None),
            Some(child) => child.downcast().map(Some).ok_or(AdminError::WrongType),
        }
    }

    /// Stops a child, by its shutdown policy. It stays in the list, not running, unless it is temporary. A child that
    /// is not running is no error.
    ///
    /// # Errors
    /// `NotFound`, `NotForDynamic`.
    pub fn terminate_child(&self, id: &str) -> Result<(), AdminError> {
        self.ask(|reply| Request::TerminateChild(id.into(), reply))
    }

    /// Stops a child of a dynamic supervisor, which then forgets it.
    ///
    /// # Errors
    /// `NotFound`: it is no child of this supervisor, and nothing happened to it. `OnlyForDynamic`.
    pub fn terminate(&self, child: ActorId) -> Result<(), AdminError> {
        self.ask(|reply| Request::Terminate(child, reply))
    }

    /// Starts a child that is not running. `None`: its factory chose not to make it.
    ///
    /// # Errors
    /// `NotFound`, `Running`, `Restarting`, `NotForDynamic`; `Start`: it stays in the list.
    pub fn restart_child(&self, id: &str) -> Result<Option<AnyAddr>, AdminError> {
        self.ask(|reply| Request::RestartChild(id.into(), reply))
    }

    /// Removes a child that is not running.
    ///
    /// # Errors
    /// `NotFound`, `Running`, `Restarting`, `NotForDynamic`.
    pub fn delete_child(&self, id: &str) -> Result<(), AdminError> {
        self.ask(|reply| Request::DeleteChild(id.into(), reply))
    }

    /// The children in the order of their start.
    ///
    /// # Errors
    /// `Ask`.
    pub fn which_children(&self) -> Result<Vec<ChildInfo>, AdminError> {
        self.addr.ask(Request::WhichChildren, self.patience).map_err(AdminError::Ask)
    }

    /// One child.
    ///
    /// # Errors
    /// `NotFound`, `NotForDynamic`.
    pub fn which_child(&self, id: &str) -> Result<ChildInfo, AdminError> {
        self.ask(|reply| Request::WhichChild(id.into(), reply))
    }

    /// Counts the children.
    ///
    /// # Errors
    /// `Ask`.
    pub fn count_children(&self) -> Result<Counts, AdminError> {
        self.addr.ask(Request::CountChildren, self.patience).map_err(AdminError::Ask)
    }

    /// The address of a child.
    ///
    /// # Errors
    /// `NotFound`: also for a child that has no actor now. `WrongType`: it is no `A`.
    pub fn child<A: Actor>(&self, id: &str) -> Result<Addr<A>, AdminError> {
        let actor = self.which_child(id)?.actor.ok_or(AdminError::NotFound)?;
        actor.downcast().ok_or(AdminError::WrongType)
    }

    /// A supervisor below this one.
    ///
    /// # Errors
    /// As for [`child`](Self::child).
    pub fn supervisor(&self, id: &str) -> Result<SupervisorRef, AdminError> {
        self.child(id).map(|addr| SupervisorRef { addr, patience: self.patience })
    }

    /// Stops the supervisor: its children in reverse order, then itself. Does not wait.
    pub fn stop(&self) {
        self.addr.any().shutdown();
    }

    /// Where it is in its life; `Running` also while it stops its children.
    pub fn lifecycle(&self) -> Lifecycle {
        self.addr.lifecycle()
    }
}
