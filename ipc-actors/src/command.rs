//! What the runtime says to an actor through its mailbox, in order with the messages of the same sender.

use crate::actor::{ChildEvent, MonitorRef, Signal};
use crate::cell::AnyAddr;
use crate::exit::ExitReason;
use crate::id::ActorId;

pub(crate) enum Command {
    /// Look at the control word.
    Kick,
    /// Stop, once everything sent before this is handled.
    Stop(ExitReason),
    /// The timer with this token is due.
    Timer(u64),
    /// A linked actor, or one that pretends to be, ended.
    Exit { from: ActorId, reason: ExitReason },
    /// Link to `peer`; it has linked to us already.
    Link { peer: AnyAddr },
    /// Forget the link to this actor.
    Unlink { peer: ActorId },
    /// Tell `watcher` when it is over.
    Monitor { watcher: AnyAddr, monitor: MonitorRef, restarts: bool },
    /// Forget this monitor of this actor.
    Demonitor { watcher: ActorId, monitor: MonitorRef },
    /// `Down` or `Restarted`: a signal for the actor if it still has the monitor.
    Watched(Box<Signal>),
    /// A child started or ended.
    Child(Box<ChildEvent>),
    /// The parent asks how it is.
    Health,
}
