//! Events, snapshots, metrics.

use std::collections::BTreeSet;
use std::convert::Infallible;

use ipc_actors::{
    Actor, Addr, Broker, Ctx, Filter, InMemoryBroker, Mailbox, Overflow, Replay, Severity, Source, System,
    What,
};

use crate::kit::*;
use crate::support::{Log, PATIENCE, everywhere, until};

#[test]
fn every_kind_of_event_is_recorded() {
    let system = System::builder().simulated(1).events(10_000).build().expect("a simulation");
    let simulation = system.simulation().expect("simulated");
    let log = Log::new();
    let all = members(&system, &log, 2);
    assert!(system.trace(all[1].id(), true));
    all[1].tell(Job::Do(1)).expect("it lives");
    all[0].tell(Job::Panic).expect("it lives");
    let broker = InMemoryBroker::<News>::new(&system, 0);
    let heard = Log::new();
    let (_, recipient) = hearer(&system, &heard);
    let subscription = broker.subscribe(Filter::all(), Replay::None, recipient);
    broker.unsubscribe(subscription);
    let receiver = {
        let to = log.to.clone();
        system.actor(move || Member { name: 9, log: to.clone() })
    };
    let receiver = receiver.mailbox(Mailbox::bounded(1, Overflow::Throttle { max_mute: PATIENCE })).start();
    let receiver = receiver.expect("it starts");
    let flooder = system.spawn(Flooder(receiver)).expect("it starts");
    flooder.tell(Job::Do(40)).expect("it lives");
    simulation.run();
    let tree = ipc_actors::Supervisor::one_for_one("root");
    let tree = tree.child(ipc_actors::Child::actor("child", {
        let to = log.to.clone();
        move || Member { name: 7, log: to.clone() }
    }));
    let tree = system.start(tree).expect("it starts");
    simulation.run();
    assert_eq!(system.snapshot().actors.iter().map(|root| root.children.len()).sum::<usize>(), 1);
    drop(tree);
    system.shutdown(PATIENCE);

    let events = system.events();
    // A simulation has no worker that could be stuck.
    let on_threads = stuck_once();
    let kinds: BTreeSet<_> = events
        .iter()
        .chain(&on_threads)
        .map(|event| {
            serde_json::to_value(&event.what).expect("JSON")["kind"].as_str().expect("a tag").to_owned()
        })
        .collect();
    let expected = [
        "running",
        "ended",
        "crashed",
        "gone",
        "supervised",
        "handled",
        "dead_letter",
        "muted",
        "unmuted",
        "subscribed",
        "unsubscribed",
        "system_started",
        "worker_stuck",
        "shutdown_began",
        "shutdown_ended",
    ];
    assert_eq!(kinds, expected.iter().map(ToString::to_string).collect());
    let sources: BTreeSet<_> = events.iter().map(|event| format!("{:?}", event.source())).collect();
    assert_eq!(sources.len(), 5, "{sources:?}");
    let crash = events.iter().find_map(|event| match &event.what {
        What::Crashed(report) => Some((event, report)),
        _ => None,
    });
    let (event, report) = crash.expect("one crashed");
    assert_eq!(
        (event.source(), event.severity(), event.actor),
        (Source::Actor, Severity::Error, Some(all[0].id()))
    );
    assert_eq!((report.poison, report.queued, report.incarnation), (Some("test.job/1"), 0, 0));
    assert!(report.reason.contains("as it was told"), "{}", report.reason);
    assert!(events.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
}

struct Flooder(Addr<Member>);

impl Actor for Flooder {
    type Msg = Job;
    type Error = Infallible;

    fn handle(&mut self, job: Job, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        if let Job::Do(count) = job {
            (0..count).for_each(|n| self.0.tell(Job::Do(n)).expect("an actor is always taken"));
        }
        Ok(())
    }
}

#[test]
fn a_system_that_nobody_watches_records_nothing() {
    let system = System::builder().simulated(1).build().expect("a simulation");
    let log = Log::new();
    drop(members(&system, &log, 3));
    system.shutdown(PATIENCE);
    assert!(system.events().is_empty());
}

#[test]
fn a_snapshot_is_json_and_a_scrape_is_open_metrics() {
    everywhere(2, |system| {
        let log = Log::new();
        let named = {
            let to = log.to.clone();
            system.actor(move || Member { name: 1, log: to.clone() }).name("seen").start().expect("it starts")
        };
        named.tell(Job::Do(1)).expect("it lives");
        log.next(system);
        let json = serde_json::to_value(system.snapshot()).expect("JSON");
        assert_eq!(json["live"], 1);
        assert_eq!(json["actors"][0]["name"], "seen");
        assert_eq!(json["actors"][0]["lifecycle"], "Running");
        assert_eq!(json["dead_letters"]["Poison"], 0);
        let metrics = system.open_metrics();
        assert!(metrics.contains("\nipc_actors_live 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(metrics.contains("ipc_actors_dead_letters_total{reason=\"Expired\"} 0"), "{metrics}");
    });
}

/// The events of a system on threads that has reported a stuck worker.
fn stuck_once() -> Vec<ipc_actors::Event> {
    let system = System::builder().workers(1).events(100).build().expect("threads");
    let (open, gate) = std::sync::mpsc::channel::<()>();
    system.spawn(Blocking).expect("it starts").tell(Gate(gate)).expect("it lives");
    until(&system, || system.events().iter().any(|event| matches!(event.what, What::WorkerStuck { .. })));
    drop(open);
    system.shutdown(PATIENCE);
    system.events()
}

#[test]
fn a_handler_that_blocks_its_worker_is_reported_once() {
    let system = System::builder().workers(2).events(100).build().expect("threads");
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let blocking = system.spawn(Blocking).expect("it starts");
    blocking.tell(Gate(gate)).expect("it lives");
    let stuck = || {
        let events = system.events().into_iter();
        events.filter(|event| matches!(event.what, What::WorkerStuck { .. })).collect::<Vec<_>>()
    };
    until(&system, || !stuck().is_empty());
    let first = stuck().remove(0);
    let event = &first;
    let What::WorkerStuck { worker, since } = event.what else { unreachable!("filtered") };
    assert!(worker < 2 && event.at >= since + std::time::Duration::from_millis(100), "{event:?}");
    assert_eq!((event.source(), event.severity(), event.actor), (Source::System, Severity::Warning, None));
    open.send(()).expect("it waits");
    assert_eq!(system.shutdown(PATIENCE).stuck, 0);
    // A machine that stands still may make others; of this turn there is no second.
    assert_eq!(stuck().iter().filter(|event| event.what == first.what).count(), 1);
}

struct Blocking;

struct Gate(std::sync::mpsc::Receiver<()>);

impl ipc_actors::Message for Gate {
    const MESSAGE_TYPE: &'static str = "test.gate/1";
}

impl Actor for Blocking {
    type Msg = Gate;
    type Error = Infallible;

    fn handle(&mut self, Gate(gate): Gate, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        // The test opens.
        let _ = gate.recv();
        Ok(())
    }
}
