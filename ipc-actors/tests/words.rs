//! What the runtime says to people: every error is one lower-case sentence, and what is printed for debugging names the
//! thing and not its bytes.

mod support;

use std::convert::Infallible;
use std::time::Duration;

use ipc_actors::{
    Actor, ActorPool, Addr, AdminError, AskError, Child, Cmd, Ctx, ExitReason, Filter, Health, HealthCheck,
    Ignore, InMemoryBroker, Lifecycle, Mailbox, Message, MessageId, Observer, OffloadError, Overflow, Phase,
    PoolError, PoolStrategy, Process, Ready, Reply, SpawnError, StartError, Supervisor, System, TellError,
};
use support::PATIENCE;

struct Question(Reply<u32>);
impl Message for Question {
    const MESSAGE_TYPE: &'static str = "test.question/1";
}

struct Quiet;
impl Actor for Quiet {
    type Msg = Question;
    type Error = Infallible;
    fn handle(&mut self, Question(reply): Question, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        reply.send(7);
        Ok(())
    }
}

struct Text;
impl Message for Text {
    const MESSAGE_TYPE: &'static str = "test.text/1";
}

/// One sentence for a person: lower case, one line, no full stop.
fn sentence(error: &dyn std::fmt::Display) {
    let said = error.to_string();
    let first = said.chars().next().expect("it says something");
    assert!(!first.is_uppercase(), "{said}");
    assert!(!said.ends_with('.') && !said.contains('\n'), "{said}");
    assert!(said.split(' ').count() >= 2, "{said}");
}

fn simulated() -> System {
    System::builder().simulated(1).name("words").build().expect("a simulation")
}

#[test]
fn every_error_is_a_sentence_for_a_person() {
    let system = simulated();
    let address = system.spawn(Quiet).expect("room for an actor").address();
    let start = StartError { child: "reader".into(), cause: ExitReason::Error("no such device".into()) };
    for error in [
        AskError::Closed,
        AskError::Full,
        AskError::TimedOut,
        AskError::NoReply,
        AskError::ActorCrashed,
        AskError::WouldBlockWorker,
    ] {
        sentence(&error);
        sentence(&AdminError::Ask(error));
    }
    sentence(&TellError::Closed(1));
    sentence(&TellError::Full(1));
    sentence(&PoolError::Empty(1));
    sentence(&PoolError::Refused(TellError::Full(1)));
    sentence(&OffloadError::NoThread("try again".into()));
    sentence(&OffloadError::ShutDown);
    sentence(&SpawnError::NameTaken(address.clone()));
    sentence(&SpawnError::ShuttingDown);
    sentence(&SpawnError::Factory("no such device".into()));
    assert!(std::error::Error::source(&SpawnError::ShuttingDown).is_none());
    assert_eq!(
        SpawnError::Limit { max: 7 }.to_string(),
        "the system has 7 actors, which is its limit; raise max_actors"
    );
    for error in [
        AdminError::NotFound,
        AdminError::Running,
        AdminError::Restarting,
        AdminError::AlreadyPresent,
        AdminError::AlreadyStarted(address),
        AdminError::NotForDynamic,
        AdminError::OnlyForDynamic,
        AdminError::TooManyChildren { max: 3 },
        AdminError::WrongType,
        AdminError::ShuttingDown,
    ] {
        sentence(&error);
    }
    assert_eq!(AdminError::Start(start.clone()).to_string(), start.to_string());
    assert_eq!(start.to_string(), "reader did not start: error: no such device");
    sentence(&Ignore);
    let twice = Supervisor::one_for_one("root").child(Child::actor("a", || Quiet));
    let twice = twice.child(Child::actor("a", || Quiet)).check().expect_err("two have one id");
    assert_eq!(AdminError::Spec(twice.clone()).to_string(), twice.to_string());
    sentence(&twice);
    for reason in [ExitReason::NoActor, ExitReason::Ignored, ExitReason::Exited(3), ExitReason::Signaled(9)] {
        sentence(&reason);
    }
    system.shutdown(PATIENCE);
}

#[test]
fn a_message_that_was_not_taken_is_in_the_error() {
    assert_eq!(TellError::Closed(7).into_message(), 7);
    assert_eq!(PoolError::Refused(TellError::Full(8)).into_message(), 8);
    assert_eq!(PoolError::Empty(9).into_message(), 9);
}

#[test]
fn the_states_of_an_actor_have_names() {
    let names = [
        (Lifecycle::Starting, "starting"),
        (Lifecycle::Running, "running"),
        (Lifecycle::Stopping, "stopping"),
        (Lifecycle::Failed, "failed"),
        (Lifecycle::Stopped, "stopped"),
    ];
    assert!(names.iter().all(|(state, name)| state.to_string() == *name));
    let phases = [
        (Phase::Factory, "its factory"),
        (Phase::Started, "started"),
        (Phase::Handle, "handle"),
        (Phase::Signal, "signal"),
        (Phase::OnError, "on_error"),
        (Phase::Health, "health"),
        (Phase::Stopped, "stopped"),
        (Phase::Drop, "drop"),
        (Phase::Offload, "offloaded work"),
    ];
    assert!(phases.iter().all(|(phase, name)| phase.to_string() == *name));
    let healths = [Health::Healthy, Health::Degraded("slow".into()), Health::Failed("gone".into())];
    assert_eq!(healths.map(|health| health.to_string()), ["healthy", "degraded: slow", "failed: gone"]);
}

#[test]
fn what_is_printed_for_debugging_names_the_thing() {
    let system = simulated();
    let spawn = system.actor(|| Quiet).name("quiet").mailbox(Mailbox::bounded(3, Overflow::Error));
    let shown = format!("{spawn:?}");
    assert!(shown.contains("quiet") && shown.contains("capacity: 3"), "{shown}");
    let actor: Addr<Quiet> = spawn.start().expect("it starts");
    let id = actor.id();
    assert_eq!(format!("{actor:?}"), format!("Addr({} {id})", std::any::type_name::<Quiet>()));
    let recipient = actor.recipient::<Question>();
    assert_eq!(format!("{recipient:?}"), format!("Recipient({} {id})", std::any::type_name::<Quiet>()));
    assert_eq!(
        (recipient.any().id(), format!("{:?}", actor.clone().into_any())),
        (id, format!("AnyAddr({id})"))
    );
    let pool = ActorPool::new(PoolStrategy::RoundRobin, [actor.clone()]);
    assert_eq!(format!("{:?}", pool.clone()), "ActorPool { strategy: RoundRobin, members: 1 }");
    let broker = InMemoryBroker::<Text>::new(&system, 3);
    assert_eq!(format!("{broker:?}"), "InMemoryBroker { topics: 0, subscribers: 0 }");
    let filter = Filter::<Text>::topic("news").of_type(|_| true);
    assert_eq!(format!("{filter:?}"), "Filter { topic: Some(\"news\"), sender: None, accept: true }");
    let (said, log) = std::sync::mpsc::channel();
    let asked = actor.ask(
        move |reply| {
            said.send(format!("{reply:?}")).expect("the test listens");
            Question(reply)
        },
        PATIENCE,
    );
    assert_eq!(asked, Ok(7));
    assert!(log.recv().expect("it was made").starts_with("Reply { correlation: "));
    assert_eq!(format!("{system:?}"), "System { name: \"words\", live: 1, .. }");
    let simulation = system.simulation().expect("simulated");
    assert_eq!(simulation.seed(), 1);
    assert!(format!("{simulation:?}").contains("seed: 1"));
    assert_eq!(format!("{:?}", TellError::Full(Text)), "Full(..)");
    assert_eq!(format!("{:?}", TellError::Closed(Text)), "Closed(..)");
    assert_eq!(format!("{:?}", PoolError::Empty(Text)), "Empty(..)");
    assert_eq!(format!("{:?}", PoolError::Refused(TellError::Full(Text))), "Refused(Full(..))");
    assert_eq!(format!("{:?}", Observer::new(|_| ())), "Observer(..)");
    let probe = Ready::Probe { check: std::sync::Arc::new(|_| true), interval: PATIENCE, timeout: PATIENCE };
    for (ready, shown) in [
        (Ready::Spawned, "Spawned"),
        (Ready::Handshake(Duration::from_secs(2)), "Handshake(2s)"),
        (probe, "Probe { interval: 30s, timeout: 30s, .. }"),
    ] {
        let cmd = format!("{:?}", Cmd::new("encoder").arg("--serve").ready(ready));
        assert!(cmd.contains("\"encoder\"") && cmd.contains(shown), "{cmd}");
    }
    let child = Child::process("encoder", Cmd::new("encoder"));
    assert!(format!("{child:?}").starts_with("Child { id: \"encoder\""), "{child:?}");
    system.shutdown(PATIENCE);
}

#[test]
fn addresses_and_numbers_are_printed_so_that_people_can_tell_them_apart() {
    let system = simulated();
    let named = system.actor(|| Quiet).name("quiet").start().expect("it starts");
    let nameless = system.spawn(Quiet).expect("room for an actor");
    assert_eq!(named.address().to_string(), format!("quiet{}", named.id()));
    assert_eq!(nameless.address().to_string(), nameless.id().to_string());
    assert_eq!(format!("{:?}", named.id()), named.id().to_string());
    assert_eq!(format!("{:?}", named.address().node).len(), 16, "sixteen hexadecimal digits");
    let (one, two) = (MessageId::next(), MessageId::next());
    assert!(one.number() < two.number());
    let check = HealthCheck::default();
    assert!(check.timeout < check.interval && check.threshold > 1, "an overloaded child is given a chance");
    assert_eq!(Mailbox::default(), Mailbox::unbounded());
    // A simulation has no processes, and says so.
    let error = system.start(Supervisor::one_for_one("root").child(Child::process("p", Cmd::new("true"))));
    let error = error.expect_err("it does not start").to_string();
    assert!(error.contains("a simulation runs no processes"), "{error}");
    assert!(system.find::<Process>("p").is_none());
    system.shutdown(PATIENCE);
}
