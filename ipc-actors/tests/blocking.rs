//! Blocking work: actors with a thread of their own, and work that is offloaded.

mod support;

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ipc_actors::{
    Actor, Addr, AskError, Child, Ctx, DeadReason, Mailbox, Message, OffloadError, Overflow, Phase, Reply,
    SpawnError, Supervisor, System,
};
use support::{FEW, Log, MANY, PATIENCE, everywhere, simulated, threaded, until};

/// Work of a test's.
type Work = Box<dyn FnOnce() -> u64 + Send>;

enum Do {
    Thread(Reply<ThreadId>),
    Incarnation(Reply<u32>),
    /// Runs in the handler.
    Run(Work),
    /// Runs elsewhere.
    Offload(Work),
    OffloadThen(Work, fn(Result<u64, OffloadError>) -> Do),
    Done(Result<u64, OffloadError>),
    Panic,
    Flood(Addr<Worker>, u64),
}
impl Message for Do {
    const MESSAGE_TYPE: &'static str = "test.blocking/1";
}

struct Worker(Sender<Result<u64, OffloadError>>);

impl Actor for Worker {
    type Msg = Do;
    type Error = Infallible;

    fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match message {
            Do::Thread(reply) => reply.send(thread::current().id()),
            Do::Incarnation(reply) => reply.send(ctx.incarnation()),
            Do::Run(work) => {
                let done = work();
                let _ = self.0.send(Ok(done));
            }
            Do::Offload(work) => ctx.offload(work, Do::Done),
            Do::OffloadThen(work, map) => ctx.offload(work, map),
            Do::Done(result) => drop(self.0.send(result)),
            Do::Panic => panic!("as told"),
            Do::Flood(whom, count) => {
                (0..count).for_each(|n| whom.tell(run(move || n)).expect("an actor is always taken"));
            }
        }
        Ok(())
    }
}

fn run(work: impl FnOnce() -> u64 + Send + 'static) -> Do {
    Do::Run(Box::new(work))
}

fn offload(work: impl FnOnce() -> u64 + Send + 'static) -> Do {
    Do::Offload(Box::new(work))
}

type Results = Log<Result<u64, OffloadError>>;

fn worker(system: &System, log: &Results) -> Addr<Worker> {
    let to = log.to.clone();
    system.actor(move || Worker(to.clone())).start().expect("it starts")
}

fn dedicated(system: &System, log: &Results) -> Addr<Worker> {
    let to = log.to.clone();
    system.actor(move || Worker(to.clone())).dedicated().start().expect("it starts")
}

/// A function that returns once the test says so.
fn held() -> (Sender<()>, impl FnOnce() -> u64 + Send + 'static) {
    let (release, wait): (_, Receiver<()>) = channel();
    (release, move || {
        // An error is a test that has failed already.
        let _ = wait.recv();
        1
    })
}

#[test]
fn a_handler_that_blocks_a_dedicated_actor_blocks_no_worker() {
    let system = System::builder().workers(1).build().expect("threads");
    let log = Log::new();
    let (blocking, other) = (dedicated(&system, &log), worker(&system, &log));
    let (release, wait) = held();
    blocking.tell(run(wait)).expect("it lives");
    // The only worker answers although the dedicated actor does not return.
    let theirs = other.ask(Do::Thread, PATIENCE).expect("it answers");
    assert_eq!(blocking.ask(Do::Thread, Duration::from_millis(1)), Err(AskError::TimedOut));
    release.send(()).expect("it waits");
    let own = blocking.ask(Do::Thread, PATIENCE).expect("it answers");
    assert_ne!(own, theirs);
    assert_eq!(blocking.ask(Do::Thread, PATIENCE), Ok(own), "it stays on its thread");
    assert_eq!(log.next(&system), Ok(1));
    assert_eq!(system.shutdown(PATIENCE).killed, 0);
}

#[test]
fn the_messages_of_a_dedicated_actor_arrive_in_order() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let actor = dedicated(system, &log);
        (0..1_000).for_each(|n| actor.tell(run(move || n)).expect("it lives"));
        assert_eq!(log.take(system, 1_000), (0..1_000).map(Ok).collect::<Vec<_>>());
        actor.stop();
        until(system, || system.live() == 0);
    });
}

#[test]
fn a_dedicated_child_is_restarted_on_its_thread_with_its_mailbox() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let to = log.to.clone();
        let child = Child::actor("own", move || Worker(to.clone())).name("own").dedicated();
        let tree = system.start(Supervisor::one_for_one("root").child(child)).expect("it starts");
        let actor = system.find::<Worker>("own").expect("it has its name");
        let before = actor.ask(Do::Thread, PATIENCE).expect("it answers");
        actor.tell(Do::Panic).expect("it lives");
        actor.tell(run(|| 7)).expect("its address stays");
        assert_eq!(log.next(system), Ok(7));
        assert_eq!(actor.ask(Do::Thread, PATIENCE), Ok(before));
        assert_eq!(actor.ask(Do::Incarnation, PATIENCE), Ok(1));
        drop(tree);
    });
}

#[test]
fn a_dedicated_actor_rests_for_a_slow_receiver_and_goes_on() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let to = log.to.clone();
        let slow = system.actor(move || Worker(to.clone()));
        let slow = slow.mailbox(Mailbox::bounded(4, Overflow::Throttle { max_mute: PATIENCE }));
        let slow = slow.dedicated().start().expect("it starts");
        let fast = dedicated(system, &log);
        (0..10).for_each(|_| fast.tell(Do::Flood(slow.clone(), 20)).expect("it lives"));
        let told = log.take(system, 200);
        assert_eq!(told, (0..10).flat_map(|_| (0..20).map(Ok)).collect::<Vec<_>>());
    });
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// Tells when its thread ends.
struct Last(Sender<()>);

impl Drop for Last {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn the_thread_of_a_dedicated_actor_ends_with_it() {
    let system = System::builder().workers(1).build().expect("threads");
    let log = Log::new();
    let (to, ended) = channel();
    for stop in [Addr::<Worker>::stop, Addr::<Worker>::kill] {
        let actor = dedicated(&system, &log);
        let to = to.clone();
        let mark = move || LAST.with(|last| last.replace(Some(Last(to))).map_or(0, |_| 1));
        actor.tell(run(mark)).expect("it lives");
        assert_eq!(log.next(&system), Ok(0));
        assert!(ended.try_recv().is_err(), "its thread lives as long as it");
        stop(&actor);
        ended.recv_timeout(PATIENCE).expect("its thread ends");
    }
}

#[test]
fn a_dedicated_actor_that_is_refused_leaves_no_thread() {
    let system = System::builder().workers(1).max_actors(2).build().expect("threads");
    let log: Results = Log::new();
    let spawn = |name: &str| {
        let to = log.to.clone();
        system.actor(move || Worker(to.clone())).name(name).dedicated().start()
    };
    let first = spawn("one").expect("it starts");
    assert!(matches!(spawn("one"), Err(SpawnError::NameTaken(taken)) if taken == first.address()));
    let _second = spawn("two").expect("it starts");
    assert!(matches!(spawn("three"), Err(SpawnError::Limit { max: 2 })));
    // It joins every thread that was started, so one that does not end hangs here.
    drop(system);
}

#[test]
fn offloaded_work_comes_back_as_messages() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let actor = worker(system, &log);
        (0..20).for_each(|n| actor.tell(offload(move || n * n)).expect("it lives"));
        let mut squares: Vec<_> =
            log.take(system, 20).into_iter().map(|done| done.expect("it returns")).collect();
        squares.sort_unstable();
        assert_eq!(squares, (0..20).map(|n| n * n).collect::<Vec<_>>());
    });
}

#[test]
fn offloaded_work_blocks_neither_its_actor_nor_a_worker() {
    let system = System::builder().workers(1).build().expect("threads");
    let log = Log::new();
    let actor = worker(&system, &log);
    let (release, wait) = held();
    actor.tell(offload(wait)).expect("it lives");
    actor.tell(run(|| 2)).expect("it lives");
    assert_eq!(log.next(&system), Ok(2), "the actor went on");
    release.send(()).expect("it waits");
    assert_eq!(log.next(&system), Ok(1));
}

#[test]
fn the_seed_decides_when_offloaded_work_is_done() {
    let order = |seed| {
        let system = System::builder().simulated(seed).build().expect("a simulation");
        let log = Log::new();
        let actor = worker(&system, &log);
        (0..8).for_each(|n| actor.tell(offload(move || n)).expect("it lives"));
        log.take(&system, 8)
    };
    let orders: Vec<_> = (0..20).map(order).collect();
    assert!(orders.iter().any(|other| *other != orders[0]), "every seed has the same order");
    assert_eq!((0..20).map(order).collect::<Vec<_>>(), orders, "a seed replays");
}

#[test]
fn a_panic_of_offloaded_work_is_an_error_that_says_where() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let actor = worker(system, &log);
        actor.tell(offload(|| panic!("no such disk"))).expect("it lives");
        let Err(OffloadError::Panicked(panic)) = log.next(system) else { panic!("it returned") };
        assert_eq!((panic.message.as_str(), panic.during), ("no such disk", Phase::Offload));
        assert!(panic.location.contains("blocking.rs:"), "{panic}");
        assert!(panic.to_string().starts_with("panic in offloaded work at "), "{panic}");
        assert_eq!(actor.ask(Do::Incarnation, PATIENCE), Ok(0), "the actor is none the worse");
    });
}

#[test]
fn a_panic_of_the_function_that_makes_the_message_is_told_if_it_can_be() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let actor = worker(system, &log);
        let only_errors = |done: Result<u64, OffloadError>| match done {
            Ok(_) => panic!("it wants errors"),
            Err(error) => Do::Done(Err(error)),
        };
        actor.tell(Do::OffloadThen(Box::new(|| 1), only_errors)).expect("it lives");
        assert!(matches!(log.next(system), Err(OffloadError::Panicked(_))));
        actor.tell(Do::OffloadThen(Box::new(|| 1), |_| panic!("it wants nothing"))).expect("it lives");
        actor.tell(offload(|| 3)).expect("it lives");
        assert_eq!(log.next(system), Ok(3));
    });
}

#[test]
fn work_of_an_incarnation_that_is_over_is_done_and_its_result_dropped() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let to = log.to.clone();
        let child = Child::actor("it", move || Worker(to.clone())).name("it");
        let tree = system.start(Supervisor::one_for_one("root").child(child)).expect("it starts");
        let actor = system.find::<Worker>("it").expect("it has its name");
        let (told, done) = channel();
        let (release, wait) = channel();
        if system.simulation().is_some() {
            // Nobody can hold up the simulating thread. That the actor fails first is the other order.
            release.send(()).expect("this thread listens");
        }
        let wait = Mutex::new(wait);
        let work = move || {
            let _ = wait.lock().expect("one thread").recv();
            told.send(()).expect("the test listens");
            1
        };
        actor.tell(offload(work)).expect("it lives");
        actor.tell(Do::Panic).expect("it lives");
        assert_eq!(actor.ask(Do::Incarnation, PATIENCE), Ok(1));
        let _ = release.send(());
        until(system, || done.try_recv().is_ok());
        until(system, || system.dead_letters(DeadReason::LateReply) == 1 || !log.rest().is_empty());
        if system.simulation().is_none() {
            assert_eq!(system.dead_letters(DeadReason::LateReply), 1);
        }
        // A correlation of the old incarnation does not settle work of the new one.
        actor.tell(offload(|| 2)).expect("it lives");
        assert_eq!(log.next(system), Ok(2));
        drop(tree);
    });
}

#[test]
fn work_of_an_actor_that_is_gone_is_done_all_the_same() {
    threaded(|system| {
        let log = Log::new();
        let actor = worker(system, &log);
        let (told, done) = channel();
        let (release, wait) = held();
        actor
            .tell(offload(move || {
                let value = wait();
                told.send(value).expect("the test listens");
                value
            }))
            .expect("it lives");
        actor.stop();
        until(system, || system.live() == 0);
        release.send(()).expect("it waits");
        assert_eq!(done.recv_timeout(PATIENCE), Ok(1));
        assert!(log.rest().is_empty());
    });
}

#[test]
fn offloaded_work_may_ask_and_a_handler_may_not() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let (actor, other, own) = (worker(system, &log), worker(system, &log), dedicated(system, &log));
        let ask = move |whom: &Addr<Worker>| u64::from(whom.ask(Do::Incarnation, PATIENCE) == Ok(0));
        let refused = |whom: &Addr<Worker>| {
            u64::from(whom.ask(Do::Incarnation, PATIENCE) == Err(AskError::WouldBlockWorker))
        };
        let whom = other.clone();
        actor.tell(offload(move || ask(&whom))).expect("it lives");
        assert_eq!(log.next(system), Ok(1));
        for asker in [actor, own] {
            let whom = other.clone();
            asker.tell(run(move || refused(&whom))).expect("it lives");
            assert_eq!(log.next(system), Ok(1));
        }
    });
}

#[test]
fn no_more_work_is_done_at_a_time_than_there_may_be_threads() {
    let system = System::builder().workers(1).offload_threads(2).build().expect("threads");
    let log = Log::new();
    let actor = worker(&system, &log);
    let (began, begins) = channel();
    let releases: Vec<_> = (0..5)
        .map(|_| {
            let (release, wait) = held();
            let began = began.clone();
            let work = move || {
                began.send(()).expect("the test listens");
                wait()
            };
            actor.tell(offload(work)).expect("it lives");
            release
        })
        .collect();
    // All five are submitted once the actor answers.
    actor.ask(Do::Incarnation, PATIENCE).expect("it answers");
    (0..2).for_each(|_| begins.recv_timeout(PATIENCE).expect("two begin"));
    let metrics = system.open_metrics();
    assert!(metrics.contains("\nipc_actors_offload_threads 2\n"), "{metrics}");
    assert!(metrics.contains("\nipc_actors_offload_waiting 3\n"), "{metrics}");
    assert!(begins.try_recv().is_err(), "a third began");
    drop(releases);
    assert_eq!(log.take(&system, 5), vec![Ok(1); 5]);
}

#[test]
fn work_that_was_not_begun_is_dropped_with_the_system() {
    let system = System::builder().workers(1).offload_threads(1).build().expect("threads");
    let log = Log::new();
    let actor = worker(&system, &log);
    let (began, begins) = channel();
    let (release, wait) = held();
    let first = move || {
        began.send(()).expect("the test listens");
        wait()
    };
    let held = Arc::new(());
    let theirs = held.clone();
    actor.tell(offload(first)).expect("it lives");
    actor.tell(offload(move || Arc::strong_count(&theirs) as u64)).expect("it lives");
    actor.ask(Do::Incarnation, PATIENCE).expect("it answers");
    begins.recv_timeout(PATIENCE).expect("the first begins");
    // It does not wait for the first, which is still at it.
    drop(system);
    assert_eq!(Arc::strong_count(&held), 1);
    release.send(()).expect("it waits");

    simulated(1, |system| {
        let log = Log::new();
        let (actor, theirs) = (worker(system, &log), held.clone());
        actor.tell(offload(move || Arc::strong_count(&theirs) as u64)).expect("it lives");
        system
            .simulation()
            .expect("simulated")
            .run_until(PATIENCE, || system.open_metrics().contains("\nipc_actors_offload_waiting 1\n"));
        actor.kill();
    });
    assert_eq!(Arc::strong_count(&held), 1);
}
