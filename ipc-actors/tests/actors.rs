//! Sending, asking, stopping and failing, on the simulator and on threads.

mod support;

use std::convert::Infallible;
use std::sync::mpsc::Sender;
use std::time::Duration;

use ipc_actors::{
    Actor, Addr, AskError, Ctx, DeadReason, ErrorAction, ExitReason, Lifecycle, Message, Reply, Signal,
    System, TellError,
};
use support::{FEW, Log, MANY, PATIENCE, everywhere, simulated, until};

#[derive(Debug, PartialEq)]
struct Failure(&'static str);
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for Failure {}

enum Do {
    Note(u64),
    Sum(Reply<u64>),
    Keep(Reply<u64>),
    Release(u64),
    DropKept,
    Fail(&'static str),
    Panic,
    Stop,
    Relay(Addr<Worker>, u64),
    AskOf(Addr<Worker>, Duration),
    Answer(Result<u64, AskError>),
    WatchIt(Addr<Worker>),
    LinkTo(Addr<Worker>),
    Trap,
    Blocking(Addr<Worker>),
}
impl Message for Do {
    const MESSAGE_TYPE: &'static str = "test.do/1";
}

#[derive(Debug, PartialEq)]
enum Told {
    Started(u32),
    Note(u64),
    From(u64),
    Answer(Result<u64, AskError>),
    Signal(Signal),
    Stopped(ExitReason),
}

struct Worker {
    log: Sender<Told>,
    sum: u64,
    kept: Vec<Reply<u64>>,
    action: ErrorAction,
}

impl Worker {
    fn new(log: &Log<Told>) -> Self {
        Worker { log: log.to.clone(), sum: 0, kept: Vec::new(), action: ErrorAction::Escalate }
    }

    fn tell(&self, told: Told) {
        let _ = self.log.send(told);
    }
}

impl Actor for Worker {
    type Msg = Do;
    type Error = Failure;

    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Failure> {
        self.tell(Told::Started(ctx.incarnation()));
        Ok(())
    }

    fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Failure> {
        match message {
            Do::Note(n) => {
                self.sum += n;
                self.tell(ctx.sender().map_or(Told::Note(n), |_| Told::From(n)));
            }
            Do::Sum(reply) => reply.send(self.sum),
            Do::Keep(reply) => self.kept.push(reply),
            Do::Release(n) => self.kept.drain(..).for_each(|reply| reply.send(n)),
            Do::DropKept => self.kept.clear(),
            Do::Fail(why) => return Err(Failure(why)),
            Do::Panic => panic!("as told"),
            Do::Stop => ctx.stop(),
            Do::Relay(to, n) => drop(to.tell(Do::Note(n))),
            Do::AskOf(whom, timeout) => ctx.ask(&whom, Do::Keep, Do::Answer, timeout),
            Do::Answer(answer) => self.tell(Told::Answer(answer)),
            Do::WatchIt(whom) => drop(ctx.monitor(&whom)),
            Do::LinkTo(whom) => ctx.link(&whom),
            Do::Trap => ctx.trap_exit(true),
            Do::Blocking(whom) => self.tell(Told::Answer(whom.ask(Do::Sum, PATIENCE))),
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal, _: &mut Ctx<Self>) -> Result<(), Failure> {
        self.tell(Told::Signal(signal));
        Ok(())
    }

    fn on_error(&mut self, _: &Failure, _: &mut Ctx<Self>) -> ErrorAction {
        self.action
    }

    fn stopped(&mut self, why: &ExitReason, _: &mut Ctx<Self>) {
        self.tell(Told::Stopped(why.clone()));
    }
}

fn spawn(system: &System, log: &Log<Told>) -> Addr<Worker> {
    let worker = system.spawn(Worker::new(log)).expect("room for an actor");
    assert_eq!(log.next(system), Told::Started(0));
    worker
}

#[test]
fn messages_of_one_sender_arrive_in_order() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let worker = spawn(system, &log);
        for n in 0..1000 {
            worker.tell(Do::Note(n)).unwrap();
        }
        let told = log.take(system, 1000);
        assert!(told.iter().enumerate().all(|(at, told)| *told == Told::Note(at as u64)));
        assert_eq!(worker.ask(Do::Sum, PATIENCE), Ok(499_500));
    });
}

#[test]
fn a_handler_sees_who_sent_the_message() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let (one, two) = (spawn(system, &log), spawn(system, &log));
        one.tell(Do::Relay(two.clone(), 7)).unwrap();
        assert_eq!(log.next(system), Told::From(7));
        two.tell(Do::Note(8)).unwrap();
        assert_eq!(log.next(system), Told::Note(8));
    });
}

#[test]
fn a_tell_to_a_stopped_actor_gives_the_message_back() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let worker = spawn(system, &log);
        worker.tell(Do::Note(1)).unwrap();
        worker.stop();
        assert_eq!(log.take(system, 2), [Told::Note(1), Told::Stopped(ExitReason::Normal)]);
        until(system, || worker.lifecycle() == Lifecycle::Stopped);
        until(system, || system.live() == 0);
        let Err(TellError::Closed(Do::Note(5))) = worker.tell(Do::Note(5)) else { panic!("it is gone") };
        assert_eq!(worker.ask(Do::Sum, PATIENCE), Err(AskError::Closed));
    });
}

#[test]
fn an_answer_may_come_later_and_a_dropped_question_is_answered_at_once() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (asker, asked) = (spawn(system, &log), spawn(system, &log));
        asker.tell(Do::AskOf(asked.clone(), PATIENCE)).unwrap();
        let first = log.next_answer(system, &asked, || Do::Release(9));
        assert_eq!(first, Ok(9));
        asker.tell(Do::AskOf(asked.clone(), PATIENCE)).unwrap();
        let second = log.next_answer(system, &asked, || Do::DropKept);
        assert_eq!(second, Err(AskError::NoReply));
    });
}

impl Log<Told> {
    /// Sends `nudge` until an answer is told: the question reaches the asked on its own way.
    fn next_answer(
        &self,
        system: &System,
        asked: &Addr<Worker>,
        nudge: impl Fn() -> Do,
    ) -> Result<u64, AskError> {
        let mut answer = None;
        until(system, || {
            let _ = asked.tell(nudge());
            answer = self.rest().into_iter().find_map(|told| match told {
                Told::Answer(answer) => Some(answer),
                _ => None,
            });
            answer.is_some()
        });
        answer.expect("an answer")
    }
}

#[test]
fn a_question_that_is_not_answered_in_time_fails_once_and_a_late_answer_is_dropped() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (asker, asked) = (spawn(system, &log), spawn(system, &log));
        asker.tell(Do::AskOf(asked.clone(), Duration::from_millis(5))).unwrap();
        assert_eq!(log.next(system), Told::Answer(Err(AskError::TimedOut)));
        asked.tell(Do::Release(1)).unwrap();
        until(system, || system.dead_letters(DeadReason::LateReply) == 1);
        assert_eq!(log.rest(), []);
    });
}

#[test]
fn asking_oneself_or_in_a_circle_does_not_deadlock() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let one = spawn(system, &log);
        one.tell(Do::AskOf(one.clone(), PATIENCE)).unwrap();
        let answer = log.next_answer(system, &one, || Do::Release(3));
        assert_eq!(answer, Ok(3));
    });
}

#[test]
fn a_question_to_an_actor_that_fails_or_is_gone_is_answered() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (asker, asked) = (spawn(system, &log), spawn(system, &log));
        asker.tell(Do::AskOf(asked.clone(), PATIENCE)).unwrap();
        let answer = log.next_answer(system, &asked, || Do::Panic);
        assert!(matches!(answer, Err(AskError::ActorCrashed | AskError::Closed)), "{answer:?}");
        until(system, || asked.lifecycle() == Lifecycle::Stopped);
        log.rest();
        asker.tell(Do::AskOf(asked.clone(), PATIENCE)).unwrap();
        assert_eq!(log.next(system), Told::Answer(Err(AskError::Closed)));
    });
}

#[test]
fn a_blocking_ask_from_a_handler_is_an_error_and_not_a_deadlock() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let (one, two) = (spawn(system, &log), spawn(system, &log));
        one.tell(Do::Blocking(two)).unwrap();
        assert_eq!(log.next(system), Told::Answer(Err(AskError::WouldBlockWorker)));
    });
}

#[test]
fn an_ask_from_outside_times_out() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let worker = spawn(system, &log);
        assert_eq!(worker.ask(Do::Keep, Duration::from_millis(1)), Err(AskError::TimedOut));
        worker.tell(Do::Release(1)).unwrap();
        assert_eq!(worker.ask(Do::Sum, PATIENCE), Ok(0));
    });
}

#[test]
fn on_error_decides_what_an_error_means() {
    everywhere(FEW, |system| {
        let log = Log::new();
        for action in [ErrorAction::Resume, ErrorAction::Stop, ErrorAction::Escalate, ErrorAction::Restart] {
            let to = log.to.clone();
            let worker = system
                .actor(move || Worker { log: to.clone(), sum: 0, kept: Vec::new(), action })
                .start()
                .unwrap();
            worker.tell(Do::Note(1)).unwrap();
            worker.tell(Do::Fail("so")).unwrap();
            // On threads it may be gone already.
            let _ = worker.tell(Do::Note(2));
            assert_eq!(log.take(system, 2), [Told::Started(0), Told::Note(1)]);
            let stopped = Told::Stopped(ExitReason::Error("so".into()));
            match action {
                ErrorAction::Resume => assert_eq!(log.next(system), Told::Note(2)),
                ErrorAction::Restart => {
                    assert_eq!(log.take(system, 3), [stopped, Told::Started(1), Told::Note(2)]);
                    assert_eq!(worker.ask(Do::Sum, PATIENCE), Ok(2));
                }
                _ => {
                    assert_eq!(log.next(system), stopped);
                    until(system, || worker.lifecycle() == Lifecycle::Stopped);
                }
            }
            worker.kill();
            until(system, || system.live() == 0);
            log.rest();
        }
    });
}

#[test]
fn a_panic_ends_its_actor_and_nobody_else() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (watcher, victim) = (spawn(system, &log), spawn(system, &log));
        watcher.tell(Do::WatchIt(victim.clone())).unwrap();
        watcher.ask(Do::Sum, PATIENCE).unwrap();
        victim.tell(Do::Panic).unwrap();
        let Told::Signal(Signal::Down { actor, reason: ExitReason::Panic(panic), .. }) = log.next(system)
        else {
            panic!("the watcher is told")
        };
        assert_eq!(actor, victim.id());
        assert_eq!(panic.message, "as told");
        assert!(panic.location.contains("actors.rs"), "{}", panic.location);
        assert_eq!(system.dead_letters(DeadReason::Poison), 1);
        assert_eq!(watcher.ask(Do::Sum, PATIENCE), Ok(0));
    });
}

#[test]
fn a_monitor_of_an_actor_that_is_gone_answers_at_once() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let (watcher, victim) = (spawn(system, &log), spawn(system, &log));
        victim.kill();
        until(system, || victim.lifecycle() == Lifecycle::Stopped);
        watcher.tell(Do::WatchIt(victim.clone())).unwrap();
        let told = log.next(system);
        assert!(
            matches!(
                told,
                Told::Signal(Signal::Down { reason: ExitReason::NoActor | ExitReason::Killed, .. })
            ),
            "{told:?}"
        );
    });
}

#[test]
fn down_comes_after_the_last_message_of_the_dead() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (watcher, victim) = (spawn(system, &log), spawn(system, &log));
        watcher.tell(Do::WatchIt(victim.clone())).unwrap();
        watcher.ask(Do::Sum, PATIENCE).unwrap();
        for n in 0..20 {
            victim.tell(Do::Relay(watcher.clone(), n)).unwrap();
        }
        victim.tell(Do::Stop).unwrap();
        let mut told = log.take(system, 22);
        told.retain(|told| !matches!(told, Told::Stopped(_)));
        assert!(told[..20].iter().enumerate().all(|(at, told)| *told == Told::From(at as u64)), "{told:?}");
        assert!(matches!(told[20], Told::Signal(Signal::Down { reason: ExitReason::Normal, .. })));
    });
}

#[test]
fn a_linked_actor_ends_with_its_peer_unless_it_traps_or_the_end_was_normal() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (one, two, three) = (spawn(system, &log), spawn(system, &log), spawn(system, &log));
        three.tell(Do::Trap).unwrap();
        for peer in [&one, &three] {
            peer.tell(Do::LinkTo(two.clone())).unwrap();
            peer.ask(Do::Sum, PATIENCE).unwrap();
        }
        two.ask(Do::Sum, PATIENCE).unwrap();
        two.tell(Do::Fail("together")).unwrap();
        let told = log.take(system, 3);
        let why = ExitReason::Error("together".into());
        assert_eq!(told.iter().filter(|told| **told == Told::Stopped(why.clone())).count(), 2, "{told:?}");
        assert!(told.contains(&Told::Signal(Signal::Exit { from: two.id(), reason: why })));
        until(system, || one.lifecycle() == Lifecycle::Stopped && two.lifecycle() == Lifecycle::Stopped);

        let four = spawn(system, &log);
        four.tell(Do::LinkTo(three.clone())).unwrap();
        four.ask(Do::Sum, PATIENCE).unwrap();
        three.ask(Do::Sum, PATIENCE).unwrap();
        three.stop();
        assert_eq!(log.next(system), Told::Stopped(ExitReason::Normal));
        assert_eq!(four.ask(Do::Sum, PATIENCE), Ok(0));
    });
}

#[test]
fn a_kill_runs_no_hook_and_what_is_queued_becomes_dead_letters() {
    simulated(MANY, |system| {
        let log = Log::new();
        let worker = spawn(system, &log);
        for n in 0..5 {
            worker.tell(Do::Note(n)).unwrap();
        }
        worker.kill();
        until(system, || worker.lifecycle() == Lifecycle::Stopped);
        assert_eq!(log.rest(), []);
        assert_eq!(system.dead_letters(DeadReason::ActorEnded), 5);
    });
}

#[test]
fn a_shutdown_ends_ten_thousand_actors() {
    everywhere(1, |system| {
        let log = Log::new();
        for _ in 0..10_000 {
            system.spawn(Worker::new(&log)).unwrap();
        }
        let began = std::time::Instant::now();
        let end = system.shutdown(PATIENCE);
        let on = if system.simulation().is_some() { "the simulator" } else { "threads" };
        eprintln!("10,000 actors shut down in {:?} on {on}", began.elapsed());
        assert_eq!((end.actors, end.killed, end.stuck), (10_000, 0, 0));
        let told = log.rest();
        assert_eq!(told.iter().filter(|told| **told == Told::Stopped(ExitReason::Shutdown)).count(), 10_000);
        let refused = system.spawn(Worker::new(&log)).map(drop);
        assert!(matches!(refused, Err(ipc_actors::SpawnError::ShuttingDown)));
    });
}

struct Quiet;
impl Message for u64Message {
    const MESSAGE_TYPE: &'static str = "test.u64/1";
}
#[allow(non_camel_case_types, reason = "a number with a name")]
struct u64Message(u64);
impl Actor for Quiet {
    type Msg = u64Message;
    type Error = Infallible;
    fn handle(&mut self, message: u64Message, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        assert!(message.0 < u64::MAX);
        Ok(())
    }
}

#[test]
fn an_idle_actor_takes_less_than_half_a_kilobyte() {
    assert!(ipc_actors::actor_footprint::<Quiet>() <= 192, "{}", ipc_actors::actor_footprint::<Quiet>());
    let system = System::builder().simulated(0).build().unwrap();
    let quiet = system.actor(|| Quiet).name("quiet").start().unwrap();
    quiet.tell(u64Message(1)).unwrap();
    assert_eq!(system.find::<Quiet>("quiet"), Some(quiet.clone()));
    assert_eq!(system.find::<Worker>("quiet"), None);
    assert_eq!(system.resolve::<Quiet>(&quiet.address()), Some(quiet));
    let taken = system.actor(|| Quiet).name("quiet").start().map(drop);
    assert!(matches!(taken, Err(ipc_actors::SpawnError::NameTaken(_))));
    assert_eq!(system.live(), 1);
}
