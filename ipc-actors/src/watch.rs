//! Links and monitors: how actors learn of each other's end.
//!
//! Both are requests that travel to the other actor through its mailbox, so they keep their place among the messages
//! of the same sender, and there is no lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::actor::{Actor, MonitorRef, Signal};
use crate::addr::Addr;
use crate::cell::AnyAddr;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::exit::ExitReason;
use crate::id::ActorId;

/// An actor's relations.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) links: Vec<AnyAddr>,
    pub(crate) watchers: Vec<Watcher>,
    monitors: Vec<(MonitorRef, AnyAddr)>,
    pub(crate) trap_exit: bool,
    pub(crate) trap_stop: bool,
}

/// Somebody who wants to know of our end.
pub(crate) struct Watcher {
    pub(crate) who: AnyAddr,
    pub(crate) monitor: MonitorRef,
    pub(crate) restarts: bool,
}

impl Watcher {
    /// Tells it; a watcher that is gone does not miss it.
    pub(crate) fn tell(&self, signal: Signal) {
        let _ = self.who.command(Command::Watched(Box::new(signal)));
    }
}

impl Watch {
    /// Removes the link; true: there was one.
    pub(crate) fn unlink(&mut self, peer: ActorId) -> bool {
        let before = self.links.len();
        self.links.retain(|link| link.id() != peer);
        self.links.len() < before
    }

    /// Whether a signal of this monitor is still wanted; a `Down` is its last.
    pub(crate) fn wants(&mut self, signal: &Signal) -> bool {
        let (monitor, last) = match signal {
            Signal::Down { monitor, .. } => (*monitor, true),
            Signal::Restarted { monitor, .. } => (*monitor, false),
            _ => return true,
        };
        let Some(at) = self.monitors.iter().position(|(known, _)| *known == monitor) else { return false };
        if last {
            self.monitors.swap_remove(at);
        }
        true
    }
}

impl<A: Actor> Ctx<A> {
    /// Ties this actor's end to `peer`'s and the other way round: when one ends for a reason that is not normal, the
    /// other ends for the same reason, unless it traps exits. A second link to the same actor changes nothing.
    pub fn link<B: Actor>(&mut self, peer: &Addr<B>) {
        let peer = peer.any();
        let me = self.addr().into_any();
        if *peer == me || self.cold().watch.links.contains(peer) {
            return;
        }
        self.cold().watch.links.push(peer.clone());
        if peer.command(Command::Link { peer: me.clone() }).is_err() {
            let _ = me.command(Command::Exit { from: peer.id(), reason: ExitReason::NoActor });
        }
    }

    /// Takes a link back. An exit of `peer` that is on its way is ignored.
    pub fn unlink<B: Actor>(&mut self, peer: &Addr<B>) {
        if self.cold().watch.unlink(peer.id()) {
            let _ = peer.any().command(Command::Unlink { peer: self.id() });
        }
    }

    /// Whether exits of linked actors come as [`Signal::Exit`] instead of ending this one.
    pub fn trap_exit(&mut self, trap: bool) {
        self.cold().watch.trap_exit = trap;
    }

    /// Whether a stop, by whomever but [`Addr::kill`](crate::Addr::kill), comes as [`Signal::Stop`] instead of ending
    /// this actor: for an actor whose end takes several turns. It ends when it calls [`stop_with`](Self::stop_with),
    /// or when who stops it loses patience and kills it. Holds for this incarnation.
    pub fn trap_stop(&mut self, trap: bool) {
        self.cold().watch.trap_stop = trap;
    }

    /// Has this actor told of `target`'s end for good, once: [`Signal::Down`]. Restarts are no end.
    pub fn monitor<B: Actor>(&mut self, target: &Addr<B>) -> MonitorRef {
        self.watch(target.any(), false)
    }

    /// The same, and [`Signal::Restarted`] for each restart before.
    pub fn monitor_restarts<B: Actor>(&mut self, target: &Addr<B>) -> MonitorRef {
        self.watch(target.any(), true)
    }

    /// Monitors an actor whose type is not known here; `restarts`: also its restarts.
    pub(crate) fn watch(&mut self, target: &AnyAddr, restarts: bool) -> MonitorRef {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: the numbers are distinct; nothing else is promised.
        let monitor = MonitorRef(NEXT.fetch_add(1, Ordering::Relaxed));
        let me = self.addr().into_any();
        self.cold().watch.monitors.push((monitor, target.clone()));
        if target.command(Command::Monitor { watcher: me.clone(), monitor, restarts }).is_err() {
            let down = Signal::Down { monitor, actor: target.id(), reason: ExitReason::NoActor };
            let _ = me.command(Command::Watched(Box::new(down)));
        }
        monitor
    }

    /// Takes a monitor back. True: none of its signals will come any more. False: its `Down` has come.
    pub fn demonitor(&mut self, monitor: MonitorRef) -> bool {
        let monitors = &mut self.cold().watch.monitors;
        let Some(at) = monitors.iter().position(|(known, _)| *known == monitor) else { return false };
        let (_, target) = monitors.swap_remove(at);
        let _ = target.command(Command::Demonitor { watcher: self.id(), monitor });
        true
    }

    /// Drops this actor's own monitors and links, telling the other ends.
    pub(crate) fn forget_others(&mut self, reason: &ExitReason) {
        let id = self.id();
        let Some(cold) = &mut self.cold else { return };
        for (monitor, target) in cold.watch.monitors.drain(..) {
            let _ = target.command(Command::Demonitor { watcher: id, monitor });
        }
        for peer in cold.watch.links.drain(..) {
            let _ = peer.command(Command::Exit { from: id, reason: reason.clone() });
        }
        cold.watch.trap_exit = false;
        cold.watch.trap_stop = false;
    }
}
