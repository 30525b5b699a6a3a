//! Starting actors.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::actor::Actor;
use crate::addr::Addr;
use crate::cell;
use crate::ctx::{Factory, FactoryError};
use crate::dedicated::Seat;
use crate::exit::Phase;
use crate::id::ActorAddress;
use crate::mailbox::{Mailbox, OnRestart};
use crate::panics;
use crate::status::control;
use crate::supervisor::Parent;
use crate::system::Inner;

/// Why an actor was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// Another actor has the name.
    NameTaken(ActorAddress),
    /// The system has as many actors as it may have.
    Limit {
        /// How many that is.
        max: usize,
    },
    /// The system is shutting down.
    ShuttingDown,
    /// It was to have a thread of its own, which could not be started.
    Thread(io::Error),
    /// The factory failed; this is what it said.
    Factory(String),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NameTaken(holder) => write!(f, "the name belongs to {holder}"),
            SpawnError::Limit { max } => {
                write!(f, "the system has {max} actors, which is its limit; raise max_actors")
            }
            SpawnError::ShuttingDown => f.write_str("the system is shutting down"),
            SpawnError::Thread(error) => write!(f, "its thread could not be started: {error}"),
            SpawnError::Factory(error) => write!(f, "the factory failed: {error}"),
        }
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpawnError::Thread(error) => Some(error),
            _ => None,
        }
    }
}

/// What a spawn needs to know besides the instance.
pub(crate) struct Plan<A: Actor> {
    pub(crate) actor: Option<A>,
    pub(crate) factory: Option<Factory<A>>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) mailbox: Mailbox,
    pub(crate) parent: Option<Parent>,
    pub(crate) on_restart: OnRestart,
    /// Whether it gets a thread of its own.
    pub(crate) dedicated: bool,
}

impl Inner {
    pub(crate) fn spawn<A: Actor>(self: &Arc<Self>, actor: A) -> Result<Addr<A>, SpawnError> {
        self.start(Plan {
            actor: Some(actor),
            factory: None,
            name: None,
            mailbox: A::MAILBOX,
            parent: None,
            on_restart: OnRestart::Keep,
            dedicated: false,
        })
    }

    /// Starts an actor. Without an instance the factory makes it in the actor's first turn, so that a parent hears of
    /// a failure as it hears of every other.
    pub(crate) fn start<A: Actor>(self: &Arc<Self>, plan: Plan<A>) -> Result<Addr<A>, SpawnError> {
        if self.is_stopping() {
            return Err(SpawnError::ShuttingDown);
        }
        let Plan { actor, factory, name, mailbox, parent, on_restart, dedicated } = plan;
        let seat = if dedicated { self.seat().map_err(SpawnError::Thread)? } else { None };
        let child = parent.is_some();
        let parent_id = parent.as_ref().map(|parent| parent.addr.id());
        let made = self.table.insert(self.config.max_actors, |id| {
            let (task, addr, any) =
                cell::create(id, self.clone(), mailbox.limits, child, seat.is_some(), actor, |ctx| {
                    if factory.is_some() || child {
                        let cold = ctx.cold();
                        cold.factory = factory;
                        cold.parent = parent;
                        cold.on_restart = on_restart;
                    }
                });
            ((task, addr), any)
        });
        let Some((task, addr)) = made else {
            seat.into_iter().for_each(|seat| self.dedicated.retire(seat));
            return Err(SpawnError::Limit { max: self.config.max_actors });
        };
        if let Some(seat) = seat {
            self.dedicated.adopt(addr.id(), seat);
        }
        if let Some(parent) = parent_id {
            self.parents.lock().insert(addr.id(), parent);
        }
        if let Some(name) = name
            && let Err(holder) = self.names.register(name, addr.any())
        {
            self.dedicated.dismiss(addr.id());
            self.forget(addr.id());
            return Err(SpawnError::NameTaken(holder.address()));
        }
        self.schedule(task);
        if self.is_stopping() && !child {
            // The shutdown may have listed the actors before this one was among them.
            addr.any().demand(control::STOP);
        }
        Ok(addr)
    }
}

impl Inner {
    /// A thread for one actor; in a simulation there are none.
    fn seat(&self) -> io::Result<Option<Seat>> {
        self.simulation().is_none().then(|| Seat::start(&self.config.name)).transpose()
    }
}

/// An actor about to be started. From [`System::actor`](crate::System::actor).
#[must_use = "nothing is started before `start`"]
pub struct Spawn<A: Actor> {
    system: Arc<Inner>,
    factory: Factory<A>,
    name: Option<Arc<str>>,
    mailbox: Mailbox,
    dedicated: bool,
}

impl<A: Actor> fmt::Debug for Spawn<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn")
            .field("name", &self.name)
            .field("mailbox", &self.mailbox)
            .finish_non_exhaustive()
    }
}

impl<A: Actor> Spawn<A> {
    pub(crate) fn new(system: Arc<Inner>, factory: Factory<A>) -> Self {
        Spawn { system, factory, name: None, mailbox: A::MAILBOX, dedicated: false }
    }

    /// Gives it a name, by which [`System::find`](crate::System::find) finds it while it lives.
    pub fn name(self, name: &str) -> Self {
        Spawn { name: Some(name.into()), ..self }
    }

    /// Gives it another mailbox than [`Actor::MAILBOX`].
    pub fn mailbox(self, mailbox: Mailbox) -> Self {
        Spawn { mailbox, ..self }
    }

    /// Gives it a thread of its own, on which its handler and its hooks run and may block: no worker waits, and the
    /// watchdog does not mind. For the few actors that sit on a device, a socket or a library that blocks; for a
    /// blocking call now and then there is [`Ctx::offload`](crate::Ctx::offload).
    ///
    /// A message to it costs a wake-up of its thread when it rests. In everything else it is an actor like others:
    /// its sends never wait, and asking from its handler is still an error. In a simulation it has no thread.
    ///
    /// ```
    /// use ipc_actors::{Actor, Ctx, Message, Reply, System};
    /// use std::{convert::Infallible, io::Read, net::TcpStream, time::Duration};
    ///
    /// struct ReadByte(Reply<std::io::Result<u8>>);
    /// impl Message for ReadByte {
    ///     const MESSAGE_TYPE: &'static str = "example.read/1";
    /// }
    ///
    /// struct Socket(TcpStream);
    /// impl Actor for Socket {
    ///     type Msg = ReadByte;
    ///     type Error = Infallible;
    ///     fn handle(&mut self, ReadByte(reply): ReadByte, _: &mut Ctx<Self>) -> Result<(), Infallible> {
    ///         let mut byte = [0];
    ///         reply.send(self.0.read_exact(&mut byte).map(|()| byte[0]));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    /// # let address = listener.local_addr()?;
    /// # let peer = std::thread::spawn(move || std::io::Write::write_all(&mut listener.accept()?.0, b"x"));
    /// let system = System::builder().workers(1).build()?;
    /// let socket = system.try_actor(move || TcpStream::connect(address).map(Socket)).dedicated().start()?;
    /// assert_eq!(socket.ask(ReadByte, Duration::from_secs(10))??, b'x');
    /// # peer.join().expect("the peer")?;
    /// # system.shutdown(Duration::from_secs(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dedicated(self) -> Self {
        Spawn { dedicated: true, ..self }
    }

    /// Makes the first instance here and starts it.
    ///
    /// # Errors
    /// [`SpawnError`]; `Factory` also for a factory that panicked.
    pub fn start(mut self) -> Result<Addr<A>, SpawnError> {
        let made = panics::guard(Phase::Factory, &mut self.factory);
        let actor = match made {
            Ok(Ok(actor)) => actor,
            Ok(Err(error)) => return Err(SpawnError::Factory(error.to_string())),
            Err(panic) => return Err(SpawnError::Factory(panic.to_string())),
        };
        self.system.start(Plan {
            actor: Some(actor),
            factory: Some(self.factory),
            name: self.name,
            mailbox: self.mailbox,
            parent: None,
            on_restart: OnRestart::Keep,
            dedicated: self.dedicated,
        })
    }
}

/// Boxes what users write as a factory.
pub(crate) fn factory<A: Actor>(mut make: impl FnMut() -> A + Send + 'static) -> Factory<A> {
    Box::new(move || Ok::<A, FactoryError>(make()))
}

/// The same for one that can fail.
pub(crate) fn fallible<A: Actor, E: Into<FactoryError>>(
    mut make: impl FnMut() -> Result<A, E> + Send + 'static,
) -> Factory<A> {
    Box::new(move || make().map_err(Into::into))
}
