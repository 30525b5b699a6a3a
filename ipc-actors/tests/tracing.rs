//! The bridge to `tracing`: events of a system reach whoever subscribed.
#![cfg(feature = "tracing")]

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipc_actors::{Actor, Ctx, Message, System};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// One event as the subscriber saw it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    level: Level,
    target: String,
    actor: String,
    what: String,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

struct Fields<'a>(&'a mut Seen);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "actor" => self.0.actor = format!("{value:?}"),
            "what" => self.0.what = format!("{value:?}"),
            other => panic!("no field is called {other}"),
        }
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        unreachable!("there are no spans")
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let mut seen = Seen {
            level: *metadata.level(),
            target: metadata.target().into(),
            actor: String::new(),
            what: String::new(),
        };
        event.record(&mut Fields(&mut seen));
        self.0.lock().expect("one thread").push(seen);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Panic;
impl Message for Panic {
    const MESSAGE_TYPE: &'static str = "test.panic/1";
}

struct Fragile;
impl Actor for Fragile {
    type Msg = Panic;
    type Error = Infallible;
    fn handle(&mut self, _: Panic, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        panic!("as told")
    }
}

#[test]
fn a_subscriber_sees_every_event_at_its_level() {
    let collector = Collector::default();
    let (system, actor) = tracing::subscriber::with_default(collector.clone(), || {
        // A simulation runs on this thread, where the subscriber is.
        let system = System::builder().simulated(1).events(100).build().expect("a simulation");
        let actor = system.spawn(Fragile).expect("it starts");
        let id = actor.id();
        assert!(system.trace(id, true));
        actor.tell(Panic).expect("it lives");
        system.simulation().expect("simulated").run();
        system.shutdown(Duration::from_secs(1));
        (system, id)
    });
    let seen = collector.0.lock().expect("one thread").clone();
    assert_eq!(seen.len(), system.events().len(), "{seen:#?}");
    assert!(seen.iter().all(|event| event.target == "ipc_actors"));
    for (level, about, what) in [
        (Level::INFO, "", "SystemStarted"),
        (Level::INFO, &*actor.to_string(), "Running"),
        (Level::DEBUG, &*actor.to_string(), "Handled"),
        (Level::WARN, &*actor.to_string(), "DeadLetter"),
        (Level::ERROR, &*actor.to_string(), "Crashed"),
        (Level::INFO, &*actor.to_string(), "Gone"),
        (Level::INFO, "", "ShutdownEnded"),
    ] {
        let as_said =
            |event: &&Seen| event.level == level && event.actor == about && event.what.starts_with(what);
        assert_eq!(seen.iter().filter(as_said).count(), 1, "{level} {what}: {seen:#?}");
    }
    let crash = seen.iter().find(|event| event.level == Level::ERROR).expect("counted above");
    assert!(crash.what.contains("as told") && crash.what.contains("test.panic/1"), "{crash:?}");
}
