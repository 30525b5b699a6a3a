//! Corners of the runtime that the other suites do not turn: each a promise of the documentation.

mod support;

use std::convert::Infallible;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use ipc_actors::{
    Actor, ActorPool, Addr, AskError, AutoShutdown, Backoff, Child, ChildStatus, Ctx, DeadReason, ExitReason,
    Health, HealthCheck, Ignore, Lifecycle, Mailbox, Message, Overflow, PoolStrategy, Reply, ShutdownPolicy,
    SpawnError, Supervision, Supervisor, System, TellError,
};
use support::{FEW, Log, MANY, PATIENCE, everywhere, simulated, threaded, until};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

enum Do {
    Note(u64),
    Sum(Reply<u64>),
    Refuse(Reply<u64>),
    Never(Reply<u64>),
    AskOf(Addr<Worker>, Duration),
    Answer(Result<u64, AskError>),
    Panic(PanicWith),
    Wait(std::sync::mpsc::Receiver<()>),
    Stop,
}
impl Message for Do {
    const MESSAGE_TYPE: &'static str = "test.edges/1";
}

/// What is thrown.
enum PanicWith {
    Text,
    LongText,
    Number,
    /// Panics again when it is dropped.
    Bomb,
}

struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("again");
        }
    }
}

#[derive(Debug, PartialEq)]
enum Told {
    Note(u64),
    Answer(Result<u64, AskError>),
}

struct Worker {
    log: Sender<Told>,
    sum: u64,
    kept: Vec<Reply<u64>>,
}

impl Worker {
    fn new(to: Sender<Told>) -> Self {
        Worker { log: to, sum: 0, kept: Vec::new() }
    }
}

impl Actor for Worker {
    type Msg = Do;
    type Error = Infallible;
    /// The message is lost, the actor goes on.
    const RESUME_AFTER_PANIC: bool = true;

    fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match message {
            Do::Note(n) => {
                self.sum += n;
                let _ = self.log.send(Told::Note(n));
            }
            Do::Sum(reply) => reply.send(self.sum),
            Do::Refuse(reply) => reply.fail(AskError::Full),
            Do::Never(reply) => self.kept.push(reply),
            Do::AskOf(whom, timeout) => ctx.ask(&whom, Do::Never, Do::Answer, timeout),
            Do::Answer(answer) => drop(self.log.send(Told::Answer(answer))),
            Do::Panic(PanicWith::Text) => panic!("as told"),
            Do::Panic(PanicWith::LongText) => panic!("{}", "ü".repeat(3_000)),
            Do::Panic(PanicWith::Number) => std::panic::panic_any(7_u32),
            Do::Panic(PanicWith::Bomb) => std::panic::panic_any(Bomb),
            Do::Wait(gate) => drop(gate.recv()),
            Do::Stop => ctx.stop(),
        }
        Ok(())
    }
}

fn spawn(system: &System, log: &Log<Told>) -> Addr<Worker> {
    system.spawn(Worker::new(log.to.clone())).expect("room for an actor")
}

#[test]
fn an_actor_that_resumes_after_panics_loses_only_the_messages() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let worker = spawn(system, &log);
        worker.tell(Do::Note(1)).expect("it lives");
        for what in [PanicWith::Text, PanicWith::LongText, PanicWith::Number, PanicWith::Bomb] {
            worker.tell(Do::Panic(what)).expect("it lives");
        }
        worker.tell(Do::Note(2)).expect("it lives");
        assert_eq!(worker.ask(Do::Sum, PATIENCE), Ok(3), "its state is as it was");
        assert_eq!(system.dead_letters(DeadReason::Poison), 4);
        let letters = system.latest_dead_letters();
        assert!(
            letters.iter().all(|letter| letter.to == worker.id() && letter.message_type == "test.edges/1")
        );
    });
}

/// Ends over what is thrown.
struct Fragile;
impl Actor for Fragile {
    type Msg = Do;
    type Error = Infallible;
    fn handle(&mut self, message: Do, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        match message {
            Do::Panic(PanicWith::LongText) => panic!("{}", "ü".repeat(3_000)),
            Do::Panic(PanicWith::Number) => std::panic::panic_any(7_u32),
            Do::Panic(PanicWith::Bomb) => std::panic::panic_any(Bomb),
            _ => Ok(()),
        }
    }
}

#[test]
fn whatever_is_thrown_makes_a_reason_of_bounded_length() {
    for (what, said, length) in [
        (PanicWith::LongText, "üüü", 1024),
        (PanicWith::Number, "a payload that is no text", 25),
        (PanicWith::Bomb, "a payload that is no text", 25),
    ] {
        let system = System::builder().simulated(1).events(100).build().expect("a simulation");
        let actor = system.spawn(Fragile).expect("room for an actor");
        actor.tell(Do::Panic(what)).expect("it lives");
        until(&system, || system.live() == 0);
        let reports: Vec<_> = system
            .events()
            .into_iter()
            .filter_map(|event| match event.what {
                ipc_actors::What::Crashed(report) => Some(report.reason),
                _ => None,
            })
            .collect();
        let [reason] = &reports[..] else { panic!("{reports:?}") };
        let message = reason.rsplit(": ").next().expect("it has a message");
        assert!(message.starts_with(said) && message.len() <= length, "{reason}");
    }
}

#[test]
fn a_panic_outside_of_actors_is_left_to_the_hook_that_was_there() {
    // A hook of this process's own, set before the runtime's: it must still see what is not an actor's.
    if std::env::var_os("IPC_ACTORS_ROLE").is_some() {
        std::panic::set_hook(Box::new(|info| eprintln!("the old hook saw: {info}")));
        let system = System::builder().simulated(1).build().expect("a simulation");
        let log = Log::new();
        let worker = spawn(&system, &log);
        worker.tell(Do::Panic(PanicWith::Text)).expect("it lives");
        system.simulation().expect("simulated").run();
        let outside = std::thread::spawn(|| panic!("of a thread of the test's")).join();
        assert!(outside.is_err());
        std::process::exit(0);
    }
    let test = "a_panic_outside_of_actors_is_left_to_the_hook_that_was_there";
    let mut again = std::process::Command::new(std::env::current_exe().expect("a path"));
    let output = again.args([test, "--exact", "--nocapture"]).env("IPC_ACTORS_ROLE", "hook").output();
    let output = output.expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("of a thread of the test's") && !said.contains("as told"), "{said}");
}

#[test]
fn a_reply_may_say_that_there_is_no_answer() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let worker = spawn(system, &log);
        assert_eq!(worker.ask(Do::Refuse, PATIENCE), Err(AskError::Full));
    });
}

#[test]
fn questions_with_different_deadlines_fail_each_at_its_own() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (asker, asked) = (spawn(system, &log), spawn(system, &log));
        // The later deadline first: the earlier one must not wait for it.
        for timeout in [ms(60), ms(20), PATIENCE] {
            asker.tell(Do::AskOf(asked.clone(), timeout)).expect("it lives");
        }
        assert_eq!(log.take(system, 2), [const { Told::Answer(Err(AskError::TimedOut)) }; 2]);
        assert!(log.rest().is_empty(), "the third has time");
        asked.kill();
        assert_eq!(log.next(system), Told::Answer(Err(AskError::ActorCrashed)));
    });
}

#[test]
fn a_thread_outside_waits_for_room_in_a_throttling_mailbox_and_not_longer() {
    threaded(|system| {
        let log = Log::new();
        let to = log.to.clone();
        let worker = system.actor(move || Worker::new(to.clone()));
        let worker = worker.mailbox(Mailbox::bounded(1, Overflow::Throttle { max_mute: ms(5) })).start();
        let worker = worker.expect("it starts");
        let (open, gate) = channel();
        worker.tell(Do::Wait(gate)).expect("there is room");
        // It is in its handler once the next one has room.
        until(system, || worker.tell(Do::Note(1)).is_ok());
        assert!(matches!(worker.tell(Do::Note(2)), Err(TellError::Full(Do::Note(2)))));
        open.send(()).expect("it waits");
        until(system, || worker.tell(Do::Note(3)).is_ok());
        assert_eq!(log.take(system, 2), [Told::Note(1), Told::Note(3)]);
    });
}

#[test]
fn a_pool_grows_and_a_full_member_misses_a_broadcast() {
    simulated(8, |system| {
        let log: Log<Told> = Log::new();
        let pool = ActorPool::new(PoolStrategy::RoundRobin, []);
        assert!(pool.is_empty() && pool.tell(Shared(0)).is_err());
        let spawn = |mailbox| {
            let to = log.to.clone();
            system.actor(move || Hearer(to.clone())).mailbox(mailbox).start().expect("it starts")
        };
        let (small, large) = (spawn(Mailbox::bounded(1, Overflow::Error)), spawn(Mailbox::unbounded()));
        for member in [&small, &large, &small] {
            pool.add(member.clone());
        }
        assert_eq!((pool.len(), pool.is_empty()), (2, false), "nobody is in it twice");
        small.tell(Shared(1)).expect("there is room");
        assert_eq!(pool.broadcast(&Shared(2)), 1, "one is full");
        let mut told = log.take(system, 2);
        told.sort_by_key(|told| matches!(told, Told::Note(2)));
        assert_eq!(told, [Told::Note(1), Told::Note(2)]);
    });
}

#[derive(Clone)]
struct Shared(u64);
impl Message for Shared {
    const MESSAGE_TYPE: &'static str = "test.shared/1";
}
struct Hearer(Sender<Told>);
impl Actor for Hearer {
    type Msg = Shared;
    type Error = Infallible;
    fn handle(&mut self, Shared(n): Shared, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        let _ = self.0.send(Told::Note(n));
        Ok(())
    }
}

#[test]
fn a_factory_that_fails_or_panics_is_an_error_of_the_spawn() {
    everywhere(4, |system| {
        let refused = system.try_actor(|| Err::<Worker, _>("no such device")).start();
        assert!(matches!(refused, Err(SpawnError::Factory(why)) if why == "no such device"));
        let panicked = system.actor(|| -> Worker { panic!("no factory") }).start();
        let Err(SpawnError::Factory(why)) = panicked else { panic!("it made one") };
        assert!(why.starts_with("panic in its factory at ") && why.ends_with("no factory"), "{why}");
        assert_eq!(system.live(), 0);
    });
}

#[test]
fn a_system_is_empty_when_its_last_actor_has_ended() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let worker = spawn(system, &log);
        assert_eq!(system.lookup(worker.id()), Some(worker.clone().into_any()));
        assert!(!system.wait_until_empty(ms(1)), "it lives");
        worker.tell(Do::Stop).expect("it lives");
        assert!(system.wait_until_empty(PATIENCE));
        assert_eq!(system.lookup(worker.id()), None);
    });
}

/// Up, with what its factory is told, and deaf where it is told.
struct Patient {
    deaf: bool,
    health: Health,
}
impl Actor for Patient {
    type Msg = Do;
    type Error = Infallible;
    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        ctx.trap_stop(self.deaf);
        Ok(())
    }
    fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        if let Do::Stop = message {
            ctx.stop_with(ExitReason::Error("as told".into()));
        }
        Ok(())
    }
    fn health(&mut self, _: &mut Ctx<Self>) -> Health {
        self.health.clone()
    }
}

#[test]
fn every_line_of_an_activity_log_says_what_happened_to_whom() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("activity.jsonl");
    let log = ipc_actors::ActivityLog::append(&path).expect("it opens");
    assert_eq!(format!("{log:?}"), "ActivityLog { lost: 0, .. }");
    simulated(1, |system| {
        let patient = |deaf, health: Health| move || Patient { deaf, health: health.clone() };
        let check = HealthCheck { interval: ms(10), timeout: ms(10), threshold: 1_000 };
        let ill = Child::actor("ill", patient(false, Health::Failed("fever".into()))).health(check);
        let deaf = Child::actor("deaf", patient(true, Health::Healthy));
        let absent = Child::try_actor("absent", || Err::<Patient, _>(Ignore));
        let root = Supervisor::one_for_one("ward").observe(log.observer()).intensity(0, PATIENCE);
        let root = root.child(ill).child(absent).child(deaf.shutdown(ShutdownPolicy::Timeout(ms(50))));
        let tree = system.start(root).expect("it starts");
        system.simulation().expect("simulated").advance(ms(100));
        // One restart more than none: the supervisor gives up, and kills the one that does not listen.
        tree.child::<Patient>("ill").expect("it runs").tell(Do::Stop).expect("it lives");
        until(system, || system.live() == 0);

        let significant = Child::actor("last", patient(false, Health::Healthy)).temporary().significant();
        let root = Supervisor::one_for_one("auto").observe(log.observer());
        let root = root.auto_shutdown(AutoShutdown::AnySignificant).child(significant);
        let tree = system.start(root).expect("it starts");
        tree.child::<Patient>("last").expect("it runs").tell(Do::Stop).expect("it lives");
        until(system, || system.live() == 0);

        let refused = Child::try_actor("refused", || Err::<Patient, _>("no bed"));
        system.start(Supervisor::one_for_one("full").observe(log.observer()).child(refused)).expect_err("no");
    });
    let text = std::fs::read_to_string(path).expect("it is there");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said = |event: &str, child: &str| {
        lines.iter().find(|line| line["event"] == event && line["child"] == child).cloned()
    };
    for (event, child) in [("start", "ill"), ("ready", "ill"), ("ignore", "absent"), ("kill", "deaf")] {
        assert!(said(event, child).is_some(), "{event} of {child}: {text}");
    }
    let field = |event: &str, child: &str, field: &str| {
        let line = said(event, child).unwrap_or_else(|| panic!("{event} of {child}: {text}"));
        line[field].as_str().map(str::to_owned).unwrap_or_else(|| panic!("{field}: {line}"))
    };
    assert_eq!(field("health", "ill", "health"), "failed: fever");
    assert_eq!(field("exit", "ill", "reason"), "error: as told");
    assert!(field("start_failed", "refused", "reason").contains("no bed"));
    assert!(!field("give_up", "ward", "reason").is_empty());
    assert!(said("auto_shutdown", "auto").is_some() || said("auto_shutdown", "last").is_some(), "{text}");
    assert_eq!(log.lost(), 0);
}

#[test]
fn a_child_has_the_mailbox_and_the_pauses_that_are_said_of_it() {
    simulated(8, |system| {
        let make = || Patient { deaf: false, health: Health::Healthy };
        let pauses = Backoff { base: ms(100), ..Backoff::default() };
        let child = Child::actor("small", make).mailbox(Mailbox::bounded(1, Overflow::Error));
        let child = child.backoff(pauses).permanent();
        let tree = system.start(Supervisor::one_for_one("root").child(child)).expect("it starts");
        let small = tree.child::<Patient>("small").expect("it runs");
        small.tell(Do::Note(1)).expect("there is room");
        assert!(matches!(small.tell(Do::Note(2)), Err(TellError::Full(_))));
        let simulation = system.simulation().expect("simulated");
        let fail = || {
            until(system, || small.tell(Do::Stop).is_ok());
            simulation.run();
            tree.which_child("small").expect("it is known").status
        };
        assert_eq!(fail(), ChildStatus::Running, "the first pause is none");
        assert_eq!(fail(), ChildStatus::Restarting);
        simulation.advance(ms(79));
        assert_eq!(tree.which_child("small").expect("it is known").status, ChildStatus::Restarting);
        simulation.advance(ms(42));
        assert_eq!(tree.which_child("small").expect("it is known").status, ChildStatus::Running);
        drop(tree);
    });
}

/// Has no hook of its own.
struct Plain;
#[derive(Debug)]
struct Failure;
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it failed")
    }
}
impl std::error::Error for Failure {}
enum Plainly {
    Watch(Addr<Worker>),
    Fail,
}
impl Message for Plainly {
    const MESSAGE_TYPE: &'static str = "test.plainly/1";
}
impl Actor for Plain {
    type Msg = Plainly;
    type Error = Failure;
    fn handle(&mut self, message: Plainly, ctx: &mut Ctx<Self>) -> Result<(), Failure> {
        match message {
            Plainly::Watch(whom) => {
                ctx.monitor(&whom);
                Ok(())
            }
            Plainly::Fail => Err(Failure),
        }
    }
}

#[test]
fn an_actor_without_hooks_is_healthy_ignores_news_and_fails_by_its_errors() {
    simulated(16, |system| {
        let (events, log) = channel();
        let tell = ipc_actors::Observer::new(move |event| drop(events.send(event.what.clone())));
        let check = HealthCheck { interval: ms(5), timeout: ms(5), threshold: 1 };
        let child = Child::actor("plain", || Plain).health(check);
        let tree =
            system.start(Supervisor::one_for_one("root").observe(tell).child(child)).expect("it starts");
        let plain = tree.child::<Plain>("plain").expect("it runs");
        let watched = spawn(system, &Log::new());
        plain.tell(Plainly::Watch(watched.clone())).expect("it lives");
        let simulation = system.simulation().expect("simulated");
        simulation.run();
        watched.stop();
        simulation.advance(ms(50));
        let said: Vec<_> = log.try_iter().collect();
        assert!(said.contains(&Supervision::Health(Health::Healthy)), "{said:?}");
        assert!(!said.iter().any(|what| matches!(what, Supervision::Exited { .. })), "{said:?}");
        plain.tell(Plainly::Fail).expect("it lives");
        simulation.run();
        let reason = log.try_iter().find_map(|what| match what {
            Supervision::Exited { reason, .. } => Some(reason),
            _ => None,
        });
        assert_eq!(reason, Some(ExitReason::Error("it failed".into())));
        assert_eq!(tree.which_child("plain").expect("it is known").restarts, 1);
    });
}

#[test]
fn an_actor_that_is_seen_stopped_takes_nothing() {
    threaded(|system| {
        let log = Log::new();
        for _ in 0..500 {
            let worker = spawn(system, &log);
            worker.stop();
            while worker.lifecycle() != Lifecycle::Stopped {
                std::hint::spin_loop();
            }
            assert!(matches!(worker.tell(Do::Note(1)), Err(TellError::Closed(Do::Note(1)))));
        }
    });
}
