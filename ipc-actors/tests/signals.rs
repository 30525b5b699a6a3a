//! Monitors, links, timers and what is put aside: each promise on the simulator and on threads.

mod support;

use std::convert::Infallible;
use std::sync::mpsc::Sender;
use std::time::Duration;

use ipc_actors::{
    Actor, Addr, Child, Ctx, DeadReason, Envelope, ExitReason, Message, MonitorRef, Priority, Reply, Signal,
    Supervisor, System, TimerRef,
};
use support::{FEW, Log, MANY, PATIENCE, everywhere, simulated, until};

/// Runs in the handler, with the actor and its context.
type Step = Box<dyn FnOnce(&mut Worker, &mut Ctx<Worker>) + Send>;

enum Do {
    Note(u64),
    Run(Step),
    /// Answered when everything sent before is handled.
    Sync(Reply<()>),
    Fail,
}
impl Message for Do {
    const MESSAGE_TYPE: &'static str = "test.signals/1";
}

#[derive(Debug, PartialEq)]
enum Told {
    Note(u64),
    Signal(Signal),
    Is(bool),
    Stopped(ExitReason),
}

struct Worker {
    log: Sender<Told>,
    monitor: Option<MonitorRef>,
    timer: Option<TimerRef>,
}

impl Worker {
    fn new(to: Sender<Told>) -> Self {
        Worker { log: to, monitor: None, timer: None }
    }

    fn tell(&self, told: Told) {
        let _ = self.log.send(told);
    }
}

impl Actor for Worker {
    type Msg = Do;
    type Error = Infallible;

    fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match message {
            Do::Note(n) => self.tell(Told::Note(n)),
            Do::Run(step) => step(self, ctx),
            Do::Sync(reply) => reply.send(()),
            Do::Fail => panic!("as told"),
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        self.tell(Told::Signal(signal));
        Ok(())
    }

    fn stopped(&mut self, why: &ExitReason, _: &mut Ctx<Self>) {
        self.tell(Told::Stopped(why.clone()));
    }
}

fn spawn(system: &System, log: &Log<Told>) -> Addr<Worker> {
    system.spawn(Worker::new(log.to.clone())).expect("room for an actor")
}

fn run(actor: &Addr<Worker>, step: impl FnOnce(&mut Worker, &mut Ctx<Worker>) + Send + 'static) {
    actor.tell(Do::Run(Box::new(step))).expect("it lives");
}

/// Waits until what was sent to it before is handled.
fn sync(actor: &Addr<Worker>) {
    actor.ask(Do::Sync, PATIENCE).expect("it answers");
}

fn down(told: &Told) -> Option<(&ExitReason, MonitorRef)> {
    match told {
        Told::Signal(Signal::Down { reason, monitor, .. }) => Some((reason, *monitor)),
        _ => None,
    }
}

#[test]
fn every_monitor_of_an_actor_is_told_once() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (watcher, victim) = (spawn(system, &log), spawn(system, &log));
        let whom = victim.clone();
        run(&watcher, move |_, ctx| {
            assert_ne!(ctx.monitor(&whom), ctx.monitor(&whom));
        });
        sync(&watcher);
        sync(&victim);
        victim.kill();
        let told = log.take(system, 2);
        let downs: Vec<_> = told.iter().filter_map(down).collect();
        assert!(matches!(downs[..], [(ExitReason::Killed, one), (ExitReason::Killed, two)] if one != two));
        sync(&watcher);
        assert!(log.rest().is_empty(), "there is no third");
    });
}

#[test]
fn a_monitor_that_is_taken_back_tells_nothing_any_more() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (watcher, victim) = (spawn(system, &log), spawn(system, &log));
        let whom = victim.clone();
        run(&watcher, move |worker, ctx| worker.monitor = Some(ctx.monitor(&whom)));
        // Whether the end or the demonitoring comes first is the seed's choice.
        victim.stop();
        run(&watcher, |worker, ctx| {
            let taken_back = ctx.demonitor(worker.monitor.take().expect("set before"));
            worker.tell(Told::Is(taken_back));
        });
        until(system, || system.live() == 1);
        sync(&watcher);
        let told = log.rest();
        let taken_back = told.contains(&Told::Is(true));
        assert_eq!(told.iter().filter_map(down).count(), usize::from(!taken_back), "{told:?}");
    });
}

#[test]
fn a_monitor_outlives_restarts_and_tells_of_them_where_asked() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let to = log.to.clone();
        let child = Child::actor("it", move || Worker::new(to.clone())).name("it").transient();
        let tree = system.start(Supervisor::one_for_one("root").child(child)).expect("it starts");
        let victim = system.find::<Worker>("it").expect("it has its name");
        let (plain, curious) = (spawn(system, &log), spawn(system, &log));
        let whom = victim.clone();
        run(&plain, move |_, ctx| {
            let _ = ctx.monitor(&whom);
        });
        let whom = victim.clone();
        run(&curious, move |_, ctx| {
            let _ = ctx.monitor_restarts(&whom);
        });
        [&plain, &curious, &victim].into_iter().for_each(sync);
        for incarnation in 1..=2 {
            victim.tell(Do::Fail).expect("its address stays");
            let told = log.next(system);
            let Told::Signal(Signal::Restarted { incarnation: now, actor, .. }) = told else {
                panic!("{told:?}")
            };
            assert_eq!((now, actor), (incarnation, victim.id()));
        }
        victim.stop();
        let told = log.take(system, 3);
        assert_eq!(told[0], Told::Stopped(ExitReason::Normal));
        let downs: Vec<_> = told.iter().filter_map(down).collect();
        assert!(matches!(downs[..], [(ExitReason::Normal, one), (ExitReason::Normal, two)] if one != two));
        drop(tree);
    });
}

#[test]
fn a_link_that_is_taken_back_ends_nobody() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (one, two) = (spawn(system, &log), spawn(system, &log));
        let peer = two.clone();
        run(&one, move |_, ctx| {
            ctx.link(&peer);
            // A second one changes nothing, nor does one to oneself.
            ctx.link(&peer);
            ctx.link(&ctx.addr());
            ctx.unlink(&peer);
            ctx.unlink(&peer);
        });
        two.tell(Do::Fail).expect("it lives");
        until(system, || system.live() == 1);
        sync(&one);
        assert!(log.rest().is_empty());
        let peer = two.clone();
        run(&one, move |_, ctx| {
            ctx.trap_exit(true);
            ctx.link(&peer);
        });
        let gone = Signal::Exit { from: two.id(), reason: ExitReason::NoActor };
        assert_eq!(log.next(system), Told::Signal(gone), "there is nobody to link to");
    });
}

#[test]
fn ten_thousand_actors_linked_in_a_ring_end_with_one_of_them() {
    everywhere(2, |system| {
        let log = Log::new();
        let actors: Vec<_> = (0..10_000).map(|_| spawn(system, &log)).collect();
        for (at, actor) in actors.iter().enumerate() {
            let next = actors[(at + 1) % actors.len()].clone();
            run(actor, move |_, ctx| ctx.link(&next));
        }
        actors.iter().for_each(sync);
        actors[5_000].tell(Do::Fail).expect("it lives");
        until(system, || system.live() == 0);
        let told = log.rest();
        let with_it = |told: &&Told| matches!(told, Told::Stopped(ExitReason::Panic(panic)) if panic.message == "as told");
        assert_eq!(told.iter().filter(with_it).count(), 9_999);
    });
}

#[test]
fn a_kill_goes_before_a_shutdown_and_both_before_what_is_queued() {
    simulated(MANY, |system| {
        let log = Log::new();
        for (kill, reason) in [(true, ExitReason::Killed), (false, ExitReason::Shutdown)] {
            let (watcher, actor) = (spawn(system, &log), spawn(system, &log));
            let watched = actor.clone();
            run(&watcher, move |_, ctx| {
                ctx.monitor(&watched);
            });
            [&watcher, &actor].into_iter().for_each(sync);
            actor.tell(Do::Note(1)).expect("it lives");
            actor.clone().into_any().shutdown();
            if kill {
                actor.kill();
            }
            actor.clone().into_any().shutdown();
            let hooks = if kill { Vec::new() } else { vec![Told::Stopped(ExitReason::Shutdown)] };
            assert_eq!(log.take(system, hooks.len()), hooks);
            assert_eq!(down(&log.next(system)).map(|(why, _)| why.clone()), Some(reason));
            assert!(log.rest().is_empty());
            watcher.kill();
        }
    });
}

#[test]
fn what_is_put_aside_comes_back_in_order_and_before_what_is_queued() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let actor = spawn(system, &log);
        run(&actor, |_, ctx| (0..3).for_each(|n| ctx.stash(Do::Note(n))));
        run(&actor, |_, ctx| {
            ctx.addr().tell(Do::Note(3)).expect("it lives");
            ctx.unstash_all();
        });
        assert_eq!(log.take(system, 4), (0..4).map(Told::Note).collect::<Vec<_>>());
        run(&actor, |_, ctx| ctx.stash(Do::Note(9)));
        run(&actor, |_, ctx| ctx.stop());
        assert_eq!(log.next(system), Told::Stopped(ExitReason::Normal));
        until(system, || system.live() == 0);
        assert_eq!(system.dead_letters(DeadReason::ActorEnded), 1, "what was put aside");
    });
}

#[test]
fn a_timer_that_is_cancelled_never_goes_off_and_one_that_went_off_cannot_be() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let actor = spawn(system, &log);
        run(&actor, |worker, ctx| worker.timer = Some(ctx.after(Duration::from_millis(1), Do::Note(1))));
        // By now it may be due, its message even queued: the answer says what will be.
        if let Some(simulation) = system.simulation() {
            simulation.advance(Duration::from_micros(990 + simulation.seed() % 20));
        }
        run(&actor, |worker, ctx| {
            let cancelled = ctx.cancel(worker.timer.expect("set before"));
            worker.tell(Told::Is(cancelled));
            assert!(!ctx.cancel(worker.timer.expect("set before")), "once");
        });
        sync(&actor);
        if let Some(simulation) = system.simulation() {
            simulation.advance(Duration::from_millis(10));
        }
        let told = log.rest();
        let expected = if told.contains(&Told::Is(true)) { 0 } else { 1 };
        assert_eq!(told.iter().filter(|told| **told == Told::Note(1)).count(), expected, "{told:?}");
    });
}

#[test]
fn a_repeated_timer_does_not_drift_and_skips_what_it_missed() {
    simulated(FEW, |system| {
        let log = Log::new();
        let actor = spawn(system, &log);
        let simulation = system.simulation().expect("simulated");
        run(&actor, |worker, ctx| {
            worker.timer = Some(ctx.every(Duration::from_millis(10), || Do::Note(0)));
        });
        sync(&actor);
        simulation.advance(Duration::from_secs(1));
        let ticks = log.rest().len();
        assert!((99..=100).contains(&ticks), "{ticks} in 100 periods");
        run(&actor, |worker, ctx| {
            assert!(ctx.cancel(worker.timer.take().expect("set before")));
        });
        simulation.advance(Duration::from_secs(1));
        assert!(log.rest().is_empty());
    });
}

#[test]
fn a_million_timers_go_off_in_order_and_half_of_them_do_not() {
    simulated(1, |system| {
        let log = Log::new();
        let actor = spawn(system, &log);
        let simulation = system.simulation().expect("simulated");
        run(&actor, |_, ctx| {
            let due = |n| n * 7919 % 1_000_000;
            let timers: Vec<_> = (0..1_000_000_u64)
                .map(|n| ctx.after(Duration::from_millis(due(n)), Do::Note(due(n))))
                .collect();
            for timer in timers.into_iter().step_by(2) {
                assert!(ctx.cancel(timer));
            }
        });
        sync(&actor);
        simulation.advance(Duration::from_secs(1001));
        let told = log.rest();
        assert_eq!(told.len(), 500_000);
        let due = |told: &Told| match told {
            Told::Note(ms) => *ms,
            other => panic!("{other:?}"),
        };
        assert!(told.windows(2).all(|pair| due(&pair[0]) < due(&pair[1])), "out of order");
        assert_eq!(system.timers(), 0);
    });
}

#[test]
fn an_envelope_tells_its_receiver_what_it_says() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let (one, two) = (spawn(system, &log), spawn(system, &log));
        let (from, back) = (one.address(), two.address());
        let (sender, expected) = (from.id, back.clone());
        let look: Step = Box::new(move |worker, ctx| {
            let seen = (ctx.sender(), ctx.reply_to().cloned(), ctx.correlation());
            worker.tell(Told::Is(seen == (Some(sender), Some(expected), Some(7))));
        });
        let envelope = Envelope::new(Do::Run(look)).from(from).reply_to(back).correlated(7);
        one.send(envelope.urgent(Priority::Critical).expiring(PATIENCE)).expect("it lives");
        assert_eq!(log.next(system), Told::Is(true));
        let plain: Step = Box::new(|worker, ctx| {
            let seen = (ctx.sender(), ctx.reply_to().cloned(), ctx.correlation());
            worker.tell(Told::Is(seen == (None, None, None)));
        });
        one.tell(Do::Run(plain)).expect("it lives");
        assert_eq!(log.next(system), Told::Is(true), "the next message has no envelope");
    });
}

#[test]
fn a_context_knows_its_actor() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let to = log.to.clone();
        let actor = system.actor(move || Worker::new(to.clone())).name("known").start().expect("it starts");
        let (id, address) = (actor.id(), actor.address());
        run(&actor, move |worker, ctx| {
            let same = ctx.id() == id && ctx.address() == address && ctx.name().as_deref() == Some("known");
            worker.tell(Told::Is(same && ctx.incarnation() == 0 && ctx.message_count() == 1));
            assert!(format!("{ctx:?}").starts_with("Ctx { id: "), "{ctx:?}");
        });
        assert_eq!(log.next(system), Told::Is(true));
        run(&actor, |worker, ctx| {
            let other = ctx.spawn(Worker::new(worker.log.clone())).expect("room for an actor");
            other.tell(Do::Note(ctx.message_count())).expect("it lives");
            assert!(ctx.last_message_at() <= ctx.now() && ctx.system().find::<Worker>("known").is_some());
            ctx.stop_with(ExitReason::ShutdownWith("enough".into()));
        });
        let told = log.take(system, 2);
        assert!(told.contains(&Told::Note(2)), "{told:?}");
        assert!(told.contains(&Told::Stopped(ExitReason::ShutdownWith("enough".into()))), "{told:?}");
        until(system, || system.find::<Worker>("known").is_none());
        assert!(system.resolve::<Worker>(&address_of(&log, system)).is_none());
    });
}

/// The address of an actor that is gone.
fn address_of(log: &Log<Told>, system: &System) -> ipc_actors::ActorAddress {
    let actor = spawn(system, log);
    let address = actor.address();
    assert_eq!(system.resolve::<Worker>(&address), Some(actor.clone()));
    actor.kill();
    until(system, || system.lookup(actor.id()).is_none());
    address
}
