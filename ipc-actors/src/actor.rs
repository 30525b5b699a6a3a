//! What an actor is: its messages, its handler and its hooks.

use crate::ctx::Ctx;
use crate::exit::ExitReason;
use crate::health::Health;
use crate::id::ActorId;
use crate::mailbox::Mailbox;
use ipc_core::Message;

/// A unit of state that is touched by one message at a time.
///
/// Everything is synchronous: a handler runs to its end on one worker, and what it waits for comes back as a message
/// ([`Ctx::ask`], [`Ctx::after`]). A handler that blocks its thread blocks a worker.
///
/// ```
/// use ipc_actors::{Actor, Ctx, Message, Reply, System};
/// use std::{convert::Infallible, time::Duration};
///
/// enum Count { Add(u64), Total(Reply<u64>) }
/// impl Message for Count {
///     const MESSAGE_TYPE: &'static str = "example.count/1";
/// }
///
/// #[derive(Default)]
/// struct Counter(u64);
/// impl Actor for Counter {
///     type Msg = Count;
///     type Error = Infallible;
///     fn handle(&mut self, message: Count, _: &mut Ctx<Self>) -> Result<(), Infallible> {
///         match message {
///             Count::Add(n) => self.0 += n,
///             Count::Total(reply) => reply.send(self.0),
///         }
///         Ok(())
///     }
/// }
///
/// let system = System::builder().workers(1).build()?;
/// let counter = system.spawn(Counter::default())?;
/// counter.tell(Count::Add(2))?;
/// counter.tell(Count::Add(3))?;
/// assert_eq!(counter.ask(Count::Total, Duration::from_secs(10))?, 5);
/// # system.shutdown(Duration::from_secs(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Actor: Sized + Send + 'static {
    /// What it understands, usually an enum. Messages of up to 40 bytes share a cache line with their header.
    type Msg: Message;

    /// What its hooks and its handler fail with.
    type Error: std::error::Error + Send + 'static;

    /// How much its mailbox holds, unless the spawn says otherwise.
    const MAILBOX: Mailbox = Mailbox::unbounded();

    /// Whether a panic in `handle` or `signal` only costs the message: the actor goes on with the next. The state may
    /// be torn in the middle of a change, so the default is no: a panic ends the incarnation.
    const RESUME_AFTER_PANIC: bool = false;

    /// Runs before the first message, again in every incarnation.
    ///
    /// # Errors
    /// An error here ends the incarnation without asking `on_error`.
    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Self::Error> {
        let _ = ctx;
        Ok(())
    }

    /// Handles one message.
    ///
    /// # Errors
    /// An error goes to [`on_error`](Actor::on_error).
    fn handle(&mut self, message: Self::Msg, ctx: &mut Ctx<Self>) -> Result<(), Self::Error>;

    /// Handles news about other actors. By default an exit that was trapped, a child's exit and the end of a watched
    /// actor are ignored.
    ///
    /// # Errors
    /// An error goes to [`on_error`](Actor::on_error).
    fn signal(&mut self, signal: Signal, ctx: &mut Ctx<Self>) -> Result<(), Self::Error> {
        let _ = (signal, ctx);
        Ok(())
    }

    /// Says how it is, when its supervisor asks ([`Child::health`](crate::Child::health)). The question comes before
    /// queued messages, so an answer that does not come means a handler that does not return.
    fn health(&mut self, ctx: &mut Ctx<Self>) -> Health {
        let _ = ctx;
        Health::Healthy
    }

    /// Decides what an error of `handle` or `signal` means.
    fn on_error(&mut self, error: &Self::Error, ctx: &mut Ctx<Self>) -> ErrorAction {
        let _ = (error, ctx);
        ErrorAction::Escalate
    }

    /// Runs when the incarnation ends, unless it panicked or was killed: then its state is not to be trusted, or not
    /// to be waited for.
    fn stopped(&mut self, why: &ExitReason, ctx: &mut Ctx<Self>) {
        let _ = (why, ctx);
    }
}

/// What to do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorAction {
    /// End for good, whatever the restart policy says.
    Stop,
    /// Go on with the next message.
    Resume,
    /// Go on with a fresh instance, whatever the restart policy says; it counts against the supervisor's intensity.
    /// An actor without a factory stops.
    Restart,
    /// Fail: the supervisor decides. An actor without a supervisor stops.
    Escalate,
}

/// News about other actors.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Signal {
    /// A linked actor ended, and this one traps exits ([`Ctx::trap_exit`]).
    Exit {
        /// Who ended.
        from: ActorId,
        /// Why.
        reason: ExitReason,
    },
    /// A monitored actor ended for good. Comes once per monitor, after every message that actor had sent here.
    Down {
        /// What [`Ctx::monitor`] returned.
        monitor: MonitorRef,
        /// Who ended.
        actor: ActorId,
        /// Why; [`ExitReason::NoActor`] when it was gone before the monitor reached it.
        reason: ExitReason,
    },
    /// A monitored actor was restarted ([`Ctx::monitor_restarts`]).
    Restarted {
        /// What [`Ctx::monitor_restarts`] returned.
        monitor: MonitorRef,
        /// Who was restarted; its address stays what it was.
        actor: ActorId,
        /// Which incarnation it is now; the first is 0.
        incarnation: u32,
    },
    /// A child that was started with this actor as its parent started or ended.
    Child(ChildEvent),
    /// Somebody ends this actor, and it takes its end into its own hands ([`Ctx::trap_stop`]): it has to call
    /// [`Ctx::stop_with`] with this reason when it is ready.
    Stop(ExitReason),
}

/// One monitor, as [`Ctx::monitor`] returned it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MonitorRef(pub(crate) u64);

/// What a child tells its parent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildEvent {
    /// The child.
    pub child: ActorId,
    /// Its incarnation; the first is 0.
    pub incarnation: u32,
    /// What happened.
    pub what: ChildState,
}

/// What became of a child.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ChildState {
    /// `started` returned `Ok`.
    Running,
    /// What it said of its health.
    Health(Health),
    /// The incarnation ended. The address and the mailbox are kept until the parent restarts or releases the child.
    Exited {
        /// Why.
        reason: ExitReason,
        /// Whether it had not got past `started`.
        starting: bool,
        /// What the child's own `on_error` asks for, where it asks.
        wish: Option<ErrorAction>,
    },
}
