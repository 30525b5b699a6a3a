//! What the runtime asks of the system, of memory and of its own actors fails: nothing hangs, nothing is left behind, and
//! who asked is told. Each point of `src/fail.rs` is hit here. `cargo test -p ipc-actors --features __fail-points`
#![cfg(feature = "__fail-points")]

#[path = "failpoints/processes.rs"]
mod processes;
mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use ipc_actors::__fail::{Plan, arm};
use ipc_actors::{
    Actor, ActorPool, Addr, AskError, Broker, Child, Ctx, DeadReason, Envelope, Filter, InMemoryBroker,
    Message, OffloadError, PoolError, PoolStrategy, Published, Replay, Reply, SpawnError, Supervisor, System,
    TellError,
};
use rustix::io::Errno;
use support::{Log, PATIENCE, everywhere, threaded, until};

/// What a test has an actor do. The number tells one message from another.
enum Do {
    Note(u64),
    Sum(Reply<u64>),
    Relay(Addr<Kid>, u64),
    AskOf(Addr<Kid>),
    Answered(Result<u64, AskError>),
    Offload(Box<dyn FnOnce() -> u64 + Send>),
    Done(Result<u64, OffloadError>),
    Later(Duration, u64),
    News(Published<News>),
}
impl Message for Do {
    const MESSAGE_TYPE: &'static str = "test.do/1";
}
impl From<Published<News>> for Do {
    fn from(news: Published<News>) -> Do {
        Do::News(news)
    }
}
impl TryFrom<Do> for Published<News> {
    type Error = ();
    fn try_from(message: Do) -> Result<Self, ()> {
        if let Do::News(news) = message { Ok(news) } else { Err(()) }
    }
}

#[derive(Debug)]
struct News;
impl Message for News {
    const MESSAGE_TYPE: &'static str = "test.news/1";
}

#[derive(Debug, PartialEq)]
enum Told {
    Note(u64),
    Answered(Result<u64, AskError>),
    Done(Result<u64, OffloadError>),
    News,
}

struct Kid {
    log: Sender<Told>,
    sum: u64,
}

impl Actor for Kid {
    type Msg = Do;
    type Error = Infallible;

    fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        let told = match message {
            Do::Note(n) => {
                self.sum += n;
                Told::Note(n)
            }
            Do::Sum(reply) => {
                reply.send(self.sum);
                return Ok(());
            }
            Do::Relay(whom, n) => {
                whom.tell(Do::Note(n)).expect("it lives");
                return Ok(());
            }
            Do::AskOf(whom) => {
                ctx.ask(&whom, Do::Sum, Do::Answered, PATIENCE);
                return Ok(());
            }
            Do::Offload(work) => {
                ctx.offload(work, Do::Done);
                return Ok(());
            }
            Do::Later(delay, n) => {
                ctx.after(delay, Do::Note(n));
                return Ok(());
            }
            Do::Answered(answer) => Told::Answered(answer),
            Do::Done(done) => Told::Done(done),
            Do::News(_) => Told::News,
        };
        let _ = self.log.send(told);
        Ok(())
    }
}

fn kid(system: &System, log: &Log<Told>) -> Addr<Kid> {
    let to = log.to.clone();
    system.actor(move || Kid { log: to.clone(), sum: 0 }).start().expect("it starts")
}

/// A short name that no other thread of this process begins with.
fn unique() -> String {
    format!("f{:07x}", RandomState::new().build_hasher().finish() & 0xfff_ffff)
}

/// Names of the threads of this process that begin so.
fn threads(name: &str) -> BTreeSet<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    // A thread may end while it is looked at.
    let comm = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.flatten().filter_map(comm).map(|comm| comm.trim_end().to_owned());
    names.filter(|comm| comm.starts_with(name)).collect()
}

/// Waits until `done`, on no system.
fn eventually(mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < deadline, "not within {PATIENCE:?}");
        thread::yield_now();
    }
}

#[test]
fn a_system_that_cannot_be_built_says_why_and_leaves_no_thread() {
    for (point, after, errno) in [
        ("reactor.poller", 0, Errno::MFILE),
        ("reactor.poller", 0, Errno::NOMEM),
        ("thread.worker", 0, Errno::AGAIN),
        ("thread.worker", 2, Errno::AGAIN),
        ("thread.reactor", 0, Errno::AGAIN),
    ] {
        let plan = Plan { after, ..Plan::fails(point, 1, errno.raw_os_error()) };
        let armed = arm(&[plan]);
        let name = unique();
        let error = System::builder().name(&name).workers(3).build().expect_err("it cannot be built");
        assert_eq!((error.raw_os_error(), armed.failed(point)), (Some(errno.raw_os_error()), 1), "{point}");
        eventually(|| threads(&name).is_empty());
        let system = System::builder().name(&name).workers(3).build().expect("there is room again");
        eventually(|| threads(&name).len() == 4);
        drop(system);
        // Joined; the kernel takes a moment longer to forget them.
        eventually(|| threads(&name).is_empty());
    }
}

#[test]
fn a_dedicated_actor_without_a_thread_is_not_started() {
    let armed = arm(&[Plan::fails("thread.dedicated", 2, Errno::AGAIN.raw_os_error())]);
    threaded(|system| {
        let log: Log<Told> = Log::new();
        let start = || {
            let to = log.to.clone();
            system.actor(move || Kid { log: to.clone(), sum: 0 }).name("own").dedicated().start()
        };
        let refused = start().expect_err("there is no thread");
        assert!(matches!(&refused, SpawnError::Thread(_)), "{refused}");
        assert!(refused.to_string().starts_with("its thread could not be started: "), "{refused}");
        assert!(std::error::Error::source(&refused).is_some());
        assert_eq!((system.live(), system.names().len()), (0, 0), "nothing is left of it");

        let to = log.to.clone();
        let child = Child::actor("own", move || Kid { log: to.clone(), sum: 0 }).dedicated();
        let error = system.start(Supervisor::one_for_one("root").child(child)).expect_err("no thread");
        assert!(error.to_string().contains("its thread could not be started"), "{error}");
        until(system, || system.live() == 0);

        start().expect("there is room again").tell(Do::Note(1)).expect("it lives");
        assert_eq!(log.next(system), Told::Note(1));
        assert_eq!(armed.failed("thread.dedicated"), 2);
    });
}

#[test]
fn offloaded_work_without_a_thread_is_refused_or_waits_for_another() {
    let armed = arm(&[Plan::fails("thread.offload", 1, Errno::AGAIN.raw_os_error())]);
    threaded(|system| {
        let log = Log::new();
        let actor = kid(system, &log);
        let offload =
            |work: Box<dyn FnOnce() -> u64 + Send>| actor.tell(Do::Offload(work)).expect("it lives");
        offload(Box::new(|| 1));
        let Told::Done(Err(OffloadError::NoThread(why))) = log.next(system) else {
            panic!("there was a thread")
        };
        assert!(why.contains("os error 11"), "{why}");
        assert_eq!(armed.failed("thread.offload"), 1);

        let (release, held) = channel();
        offload(Box::new(move || held.recv().map_or(0, |()| 2)));
        // It runs on the only thread there is; a second cannot be started.
        until(system, || system.open_metrics().contains("\nipc_actors_offload_threads 1\n"));
        armed.plan(&[Plan::fails("thread.offload", 1, Errno::AGAIN.raw_os_error())]);
        offload(Box::new(|| 3));
        until(system, || armed.failed("thread.offload") == 1);
        assert!(log.rest().is_empty(), "it waits");
        release.send(()).expect("it waits");
        assert_eq!(log.take(system, 2), [Told::Done(Ok(2)), Told::Done(Ok(3))]);
    });
}

#[test]
fn an_interrupted_wait_loses_no_timer() {
    let armed = arm(&[Plan::fails("reactor.wait", 5, Errno::INTR.raw_os_error())]);
    threaded(|system| {
        let log = Log::new();
        let actor = kid(system, &log);
        (0..20).for_each(|n| actor.tell(Do::Later(Duration::from_millis(n), n)).expect("it lives"));
        let told: BTreeSet<u64> = (0..20)
            .map(|_| match log.next(system) {
                Told::Note(n) => n,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, (0..20).collect());
        assert_eq!(armed.failed("reactor.wait"), 5);
    });
}

#[test]
fn every_way_to_send_says_that_the_mailbox_is_full() {
    let armed = arm(&[]);
    everywhere(8, |system| {
        armed.plan(&[]);
        let log = Log::new();
        let (actor, asker) = (kid(system, &log), kid(system, &log));
        let full = || armed.plan(&[Plan { whom: "Kid", ..Plan::fails("mailbox.full", 1, 0) }]);
        let refused = || assert_eq!(armed.failed("mailbox.full"), 1);

        full();
        assert!(matches!(actor.tell(Do::Note(1)), Err(TellError::Full(Do::Note(1)))));
        refused();
        full();
        assert!(matches!(actor.send(Envelope::new(Do::Note(2))), Err(TellError::Full(Do::Note(2)))));
        refused();
        full();
        assert_eq!(actor.ask(Do::Sum, PATIENCE), Err(AskError::Full));
        refused();
        full();
        assert!(matches!(actor.recipient::<Do>().tell(Do::Note(3)), Err(TellError::Full(Do::Note(3)))));
        refused();
        let pool = ActorPool::new(PoolStrategy::RoundRobin, [actor.clone()]);
        full();
        let answer = pool.tell(Do::Note(4));
        assert!(matches!(answer, Err(PoolError::Refused(TellError::Full(Do::Note(4))))));
        refused();
        let broker = InMemoryBroker::<News>::new(system, 0);
        let subscription = broker.subscribe(Filter::all(), Replay::None, actor.recipient());
        full();
        let delivery = broker.publish("topic", News);
        assert_eq!((delivery.full, delivery.delivered, delivery.removed), (1, 0, 0));
        refused();
        broker.unsubscribe(subscription);
        // The question of an actor is the second send: the first tells it to ask.
        armed.plan(&[Plan { whom: "Kid", after: 1, ..Plan::fails("mailbox.full", 1, 0) }]);
        asker.tell(Do::AskOf(actor.clone())).expect("it lives");
        assert_eq!(log.next(system), Told::Answered(Err(AskError::Full)));
        refused();
        // Nothing that was refused arrives, and nothing is broken.
        armed.plan(&[]);
        actor.tell(Do::Note(5)).expect("it lives");
        assert_eq!(actor.ask(Do::Sum, PATIENCE), Ok(5));
        assert_eq!(log.next(system), Told::Note(5));
        assert!(log.rest().is_empty());
    });
}

#[test]
fn what_a_stuck_worker_was_to_run_next_is_run_by_another() {
    let armed = arm(&[]);
    let system = System::builder().workers(2).build().expect("threads");
    let log = Log::new();
    let (first, second) = (kid(&system, &log), kid(&system, &log));
    for actor in [&first, &second] {
        actor.ask(Do::Sum, PATIENCE).expect("it answers");
    }
    armed.plan(&[Plan::fails("worker.stuck", 1, 0)]);
    // A worker stays at the point after a turn that left something in its slot: here the second actor.
    // (Unless that one is still in the turn before, and needs no other.)
    let mut relayed = 0;
    while armed.failed("worker.stuck") == 0 {
        first.tell(Do::Relay(second.clone(), 7)).expect("it lives");
        assert_eq!(log.next(&system), Told::Note(7));
        relayed += 1;
    }
    assert_eq!(second.ask(Do::Sum, PATIENCE), Ok(7 * relayed), "and it goes on without that worker");
    armed.release();
    assert_eq!(system.shutdown(PATIENCE).stuck, 0);
}

#[test]
fn a_panic_at_any_message_costs_that_message_alone() {
    const MESSAGES: u64 = 12;
    let armed = arm(&[]);
    for poisoned in 0..MESSAGES {
        everywhere(8, |system| {
            let plan = Plan::fails("handle.panic", 1, 0);
            armed.plan(&[Plan { whom: "Kid", after: poisoned, ..plan }]);
            let log = Log::new();
            let to = log.to.clone();
            let child = Child::actor("kid", move || Kid { log: to.clone(), sum: 0 }).name("kid");
            let tree = system.start(Supervisor::one_for_one("root").child(child)).expect("it starts");
            let actor = system.find::<Kid>("kid").expect("it has its name");
            (0..MESSAGES).for_each(|n| actor.tell(Do::Note(n)).expect("its address stays"));
            let expected: Vec<_> = (0..MESSAGES).filter(|n| *n != poisoned).map(Told::Note).collect();
            assert_eq!(log.take(system, expected.len()), expected);
            // The incarnation after the failure has seen what came after the poison and nothing before.
            let after: u64 = (poisoned + 1..MESSAGES).sum();
            assert_eq!(actor.ask(Do::Sum, PATIENCE), Ok(after));
            assert_eq!(system.dead_letters(DeadReason::Poison), 1);
            assert_eq!(armed.failed("handle.panic"), 1);
            drop(tree);
        });
    }
}

#[test]
fn a_panic_over_a_question_answers_it() {
    let armed = arm(&[]);
    everywhere(8, |system| {
        armed.plan(&[Plan { whom: "Kid", ..Plan::fails("handle.panic", 1, 0) }]);
        let log = Log::new();
        let actor = kid(system, &log);
        assert_eq!(actor.ask(Do::Sum, PATIENCE), Err(AskError::ActorCrashed));
        assert_eq!(armed.failed("handle.panic"), 1);
    });
}

const ROLE: &str = "IPC_ACTORS_ROLE";

#[test]
fn without_memory_the_process_says_so_and_aborts() {
    if std::env::var_os(ROLE).is_some() {
        let _armed = arm(&[Plan::fails("alloc.chunk", u64::MAX, 0)]);
        let system = System::builder().simulated(1).build().expect("it needs no chunk");
        let _ = kid(&system, &Log::new());
        unreachable!("an actor needs memory");
    }
    let test = "without_memory_the_process_says_so_and_aborts";
    let mut again = Command::new(std::env::current_exe().expect("a path"));
    let output =
        again.args([test, "--exact", "--nocapture"]).env(ROLE, "hungry").output().expect("it starts");
    assert_eq!(output.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("memory allocation of 65536 bytes failed"), "{said}");
}
