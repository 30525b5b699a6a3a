//! What is built on actors: pools, the broker, throttling, events, snapshots. On the simulator and on threads.

mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_actors::{
    Actor, ActorPool, Addr, Broker, Ctx, DeadReason, Delivery, Envelope, Filter, InMemoryBroker, Mailbox,
    Message, Overflow, PoolError, PoolStrategy, Published, Recipient, Replay, Reply, Severity, Source,
    Subscription, System, TellError, What,
};
use support::{Log, PATIENCE, everywhere, simulated, threaded, until};

/// Passes on what it gets, when it is let.
struct Member {
    name: u32,
    log: std::sync::mpsc::Sender<(u32, u64)>,
}

#[derive(Clone)]
enum Job {
    Do(u64),
    Panic,
}

impl Message for Job {
    const MESSAGE_TYPE: &'static str = "test.job/1";
}

impl Actor for Member {
    type Msg = Job;
    type Error = Infallible;

    fn handle(&mut self, job: Job, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        match job {
            Job::Do(work) => self.log.send((self.name, work)).expect("the test listens"),
            Job::Panic => panic!("as it was told"),
        }
        Ok(())
    }
}

fn members(system: &System, log: &Log<(u32, u64)>, count: u32) -> Vec<Addr<Member>> {
    let spawn = |name| {
        let to = log.to.clone();
        let make = move || Member { name, log: to.clone() };
        system.actor(make).mailbox(Mailbox::counted()).start().expect("it starts")
    };
    (0..count).map(spawn).collect()
}

/// Which member did each of the jobs.
fn who_did(log: &Log<(u32, u64)>, system: &System, jobs: usize) -> Vec<u32> {
    let mut done = log.take(system, jobs);
    done.sort_by_key(|(_, job)| *job);
    done.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn round_robin_goes_around_and_passes_over_who_is_gone() {
    everywhere(32, |system| {
        let log = Log::new();
        let all = members(system, &log, 3);
        let pool = ActorPool::new(PoolStrategy::RoundRobin, all.clone());
        (0..6).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
        assert_eq!(who_did(&log, system, 6), [0, 1, 2, 0, 1, 2]);
        all[1].stop();
        until(system, || pool.live().len() == 2);
        (0..30).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
        let did = who_did(&log, system, 30);
        assert!(!did.contains(&1) && did.contains(&0) && did.contains(&2), "{did:?}");
        assert_eq!(pool.len(), 2, "who is gone is forgotten");
        all.iter().for_each(Addr::stop);
        until(system, || pool.live().is_empty());
        assert!(matches!(pool.tell(Job::Do(9)), Err(PoolError::Empty(Job::Do(9)))));
    });
}

#[test]
fn a_random_pool_makes_the_same_choices_from_the_same_seed_and_uses_everybody() {
    simulated(8, |system| {
        let choices = |seed| {
            let log = Log::new();
            let pool = ActorPool::new(PoolStrategy::Random { seed }, members(system, &log, 4));
            (0..64).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
            who_did(&log, system, 64)
        };
        let did = choices(7);
        assert_eq!(did, choices(7));
        assert_ne!(did, choices(8));
        assert_eq!(did.iter().collect::<BTreeSet<_>>().len(), 4);
    });
}

#[test]
fn the_strategies_that_go_by_load_avoid_who_has_much_to_do() {
    // Simulated: nobody runs while the test sends, so the queues are what was sent.
    simulated(8, |system| {
        for strategy in [PoolStrategy::LeastLoaded, PoolStrategy::PowerOfTwo { seed: 3 }] {
            let log = Log::new();
            let all = members(system, &log, 2);
            (0..100).for_each(|job| all[0].tell(Job::Do(job)).expect("room"));
            let pool = ActorPool::new(strategy, all);
            (100..150).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
            let did = who_did(&log, system, 150);
            let to_the_idle = did[100..].iter().filter(|name| **name == 1).count();
            let least = if strategy == PoolStrategy::LeastLoaded { 50 } else { 25 };
            assert!(to_the_idle >= least, "{strategy:?}: {to_the_idle}");
        }
    });
}

#[test]
fn a_key_belongs_to_one_member_and_moves_only_with_it() {
    everywhere(16, |system| {
        let log = Log::new();
        let all = members(system, &log, 4);
        let pool = ActorPool::new(PoolStrategy::RoundRobin, all.clone());
        let owners = |pool: &ActorPool<Member>| {
            (0..40).for_each(|key| pool.tell_by_key(&key, Job::Do(key)).expect("room"));
            who_did(&log, system, 40)
        };
        let before = owners(&pool);
        assert_eq!(before, owners(&pool));
        assert!(pool.remove(all[2].id()) && !pool.remove(all[2].id()));
        for (then, now) in before.iter().zip(owners(&pool)) {
            assert!(now == *then || *then == 2, "a key of {then} moved to {now}");
        }
    });
}

#[test]
fn a_broadcast_reaches_every_living_member_and_forgets_the_dead() {
    everywhere(32, |system| {
        let log = Log::new();
        let all = members(system, &log, 5);
        let pool = ActorPool::new(PoolStrategy::RoundRobin, all.clone());
        all[3].tell(Job::Panic).expect("it lives");
        until(system, || pool.live().len() == 4);
        assert_eq!(pool.broadcast(&Job::Do(1)), 4);
        let told: BTreeSet<_> = log.take(system, 4).into_iter().map(|(name, _)| name).collect();
        assert_eq!(told, BTreeSet::from([0, 1, 2, 4]));
        assert_eq!(pool.len(), 4);
    });
}

/// One of two racing claimants gets a name, and it is free when its holder is gone.
#[test]
fn two_claim_one_name_and_one_gets_it() {
    everywhere(16, |system| {
        let log: Log<(u32, u64)> = Log::new();
        for round in 0..50 {
            let name = format!("claimed-{round}");
            let claim = || {
                let to = log.to.clone();
                system.actor(move || Member { name: 0, log: to.clone() }).name(&name).start()
            };
            let claims = if system.simulation().is_some() {
                vec![claim(), claim()]
            } else {
                std::thread::scope(|scope| {
                    let other = scope.spawn(claim);
                    vec![claim(), other.join().expect("no panic")]
                })
            };
            assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1);
            let holder = claims.into_iter().flatten().next().expect("one has it");
            assert_eq!(system.find::<Member>(&name).as_ref(), Some(&holder));
            holder.tell(Job::Panic).expect("it lives");
            until(system, || system.find::<Member>(&name).is_none());
        }
    });
}

/// Hears publications.
struct Hearer(std::sync::mpsc::Sender<(String, u64, u64)>);

impl Actor for Hearer {
    type Msg = Published<News>;
    type Error = Infallible;

    fn handle(&mut self, news: Published<News>, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        let said = match &*news.message {
            News::Good(n) | News::Bad(n) => *n,
        };
        self.0.send((news.topic.to_string(), news.number, said)).expect("the test listens");
        Ok(())
    }
}

#[derive(Debug)]
enum News {
    Good(u64),
    Bad(u64),
}

impl Message for News {
    const MESSAGE_TYPE: &'static str = "test.news/1";
}

fn hearer(system: &System, log: &Log<(String, u64, u64)>) -> (Addr<Hearer>, Recipient<Published<News>>) {
    let addr = system.spawn(Hearer(log.to.clone())).expect("it starts");
    let recipient = addr.recipient();
    (addr, recipient)
}

fn told(topic: &str, number: u64, said: u64) -> (String, u64, u64) {
    (topic.into(), number, said)
}

#[test]
fn subscribers_hear_their_topic_in_order_and_the_past_first() {
    everywhere(32, |system| {
        let broker = InMemoryBroker::new(system, 2);
        for n in 0..3 {
            broker.publish("a", News::Good(n));
        }
        broker.publish("b", News::Good(10));
        assert_eq!(broker.history("a").len(), 2, "the history is bounded");
        let log = Log::new();
        let (_hearer, recipient) = hearer(system, &log);
        let subscription = broker.subscribe(Filter::topic("a"), Replay::All, recipient);
        assert_eq!(broker.publish("a", News::Good(3)), Delivery { delivered: 1, full: 0, removed: 0 });
        assert_eq!(broker.publish("b", News::Good(11)).delivered, 0);
        assert_eq!(log.take(system, 3), [told("a", 1, 1), told("a", 2, 2), told("a", 3, 3)]);
        assert!(broker.unsubscribe(subscription) && !broker.unsubscribe(subscription));
        assert_eq!(broker.publish("a", News::Good(4)).delivered, 0);
        let last = broker.subscribe(Filter::all(), Replay::Last(1), hearer(system, &log).1);
        assert_eq!(log.take(system, 2), [told("a", 4, 4), told("b", 1, 11)]);
        assert!(broker.unsubscribe(last));
    });
}

/// Publishes what it is told to.
struct Publisher(InMemoryBroker<News>);

impl Actor for Publisher {
    type Msg = Job;
    type Error = Infallible;

    fn handle(&mut self, job: Job, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        if let Job::Do(n) = job {
            self.0.publish("p", News::Good(n));
        }
        Ok(())
    }
}

#[test]
fn filters_go_by_kind_and_sender_and_the_closed_are_removed() {
    everywhere(32, |system| {
        let broker = InMemoryBroker::new(system, 0);
        let publisher = system.spawn(Publisher(broker.clone())).expect("it starts");
        let (bad, from_it, gone) = (Log::new(), Log::new(), Log::new());
        let only_bad = Filter::all().of_type(|news| matches!(news, News::Bad(_)));
        broker.subscribe(only_bad, Replay::None, hearer(system, &bad).1);
        let filter = Filter::topic("p").from_sender(publisher.id());
        broker.subscribe(filter, Replay::None, hearer(system, &from_it).1);
        let (closed, recipient) = hearer(system, &gone);
        broker.subscribe(Filter::all(), Replay::None, recipient);
        closed.stop();
        until(system, || closed.clone().into_any().lifecycle() == ipc_actors::Lifecycle::Stopped);
        let delivery = broker.publish("p", News::Bad(1));
        assert_eq!((delivery.delivered, delivery.removed, broker.subscriptions()), (1, 1, 2));
        publisher.tell(Job::Do(2)).expect("it lives");
        assert_eq!(bad.next(system).2, 1);
        assert_eq!(from_it.next(system).2, 2);
        assert!(bad.rest().is_empty() && from_it.rest().is_empty() && gone.rest().is_empty());
    });
}

/// The second implementor: it keeps what is published and delivers nothing.
#[derive(Default)]
struct Recorded(std::sync::Mutex<Vec<String>>);

impl Broker<News> for Recorded {
    fn publish(&self, topic: &str, _: News) -> Delivery {
        self.0.lock().expect("no panic").push(topic.into());
        Delivery::default()
    }

    fn subscribe(&self, _: Filter<News>, _: Replay, _: Recipient<Published<News>>) -> Subscription {
        unreachable!("nobody subscribes to a record")
    }

    fn unsubscribe(&self, _: Subscription) -> bool {
        false
    }
}

#[test]
fn whoever_publishes_can_be_tested_with_a_double() {
    fn report(broker: &dyn Broker<News>) {
        broker.publish("reports", News::Good(1));
    }
    let double = Recorded::default();
    report(&double);
    assert_eq!(*double.0.lock().expect("no panic"), ["reports"]);
}

/// Sends each job on to the next, `fan` times.
struct Relay {
    to: Option<Addr<Relay>>,
    fan: u64,
    handled: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

enum Flow {
    Next(Addr<Relay>),
    Load(u32),
    Queued(Reply<u64>),
}

impl Message for Flow {
    const MESSAGE_TYPE: &'static str = "test.flow/1";
}

impl Actor for Relay {
    type Msg = Flow;
    type Error = Infallible;

    fn handle(&mut self, flow: Flow, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match flow {
            Flow::Next(to) => self.to = Some(to),
            Flow::Load(hops) => {
                self.handled.fetch_add(1, Ordering::Relaxed);
                let seen = ctx.system().inspect(ctx.id()).and_then(|me| me.queued).unwrap_or(0);
                self.most.fetch_max(u64::from(seen), Ordering::Relaxed);
                if let (Some(to), true) = (&self.to, hops > 0) {
                    (0..self.fan)
                        .for_each(|_| to.tell(Flow::Load(hops - 1)).expect("an actor is always taken"));
                }
            }
            Flow::Queued(reply) => reply.send(self.most.load(Ordering::Relaxed)),
        }
        Ok(())
    }
}

const THROTTLED: Mailbox = Mailbox::bounded(8, Overflow::Throttle { max_mute: Duration::from_millis(100) });

#[test]
fn a_fast_sender_rests_until_the_slow_receiver_has_caught_up_and_nothing_is_lost() {
    everywhere(64, |system| {
        let (handled, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let relay = |fan, mailbox| {
            let (handled, most) = (handled.clone(), most.clone());
            let make = move || Relay { to: None, fan, handled: handled.clone(), most: most.clone() };
            system.actor(make).mailbox(mailbox).start().expect("it starts")
        };
        let receiver = relay(0, THROTTLED);
        let sender = relay(2, Mailbox::unbounded());
        sender.tell(Flow::Next(receiver.clone())).expect("it lives");
        (0..500).for_each(|_| sender.tell(Flow::Load(1)).expect("it lives"));
        until(system, || handled.load(Ordering::Relaxed) == 1_500);
        let most = receiver.ask(Flow::Queued, PATIENCE).expect("an answer");
        // What one handler sends above the capacity; the sender does not run again before the receiver has.
        assert!(most <= 8 + 2, "{most} were queued");
        assert_eq!(DeadReason::ALL.iter().map(|why| system.dead_letters(*why)).sum::<u64>(), 0);
    });
}

#[test]
fn a_circle_of_full_mailboxes_that_all_send_two_for_one_goes_on() {
    everywhere(64, |system| {
        let handled = Arc::new(AtomicU64::new(0));
        let ring: Vec<_> = (0..4)
            .map(|_| {
                let handled = handled.clone();
                let make = move || Relay { to: None, fan: 2, handled: handled.clone(), most: Arc::default() };
                system.actor(make).mailbox(THROTTLED).start().expect("it starts")
            })
            .collect();
        for (index, member) in ring.iter().enumerate() {
            member.tell(Flow::Next(ring[(index + 1) % 4].clone())).expect("it lives");
        }
        ring[0].tell(Flow::Load(9)).expect("it lives");
        until(system, || handled.load(Ordering::Relaxed) == (1 << 10) - 1);
        until(system, || system.snapshot().muted == 0);
    });
}

/// The receiver's handler sees that the sender rests; then the sender is killed.
#[test]
fn a_muted_actor_can_be_killed() {
    threaded(|system| {
        let far = Mailbox::bounded(1, Overflow::Throttle { max_mute: PATIENCE });
        let log = Log::new();
        let receiver = system
            .actor({
                let to = log.to.clone();
                move || Gate(to.clone())
            })
            .mailbox(far)
            .start()
            .expect("it starts");
        let (open, gate) = std::sync::mpsc::channel::<()>();
        receiver.tell(Wait::Behind(gate)).expect("it lives");
        let sender = system.spawn(Pusher(receiver.clone())).expect("it starts");
        sender.tell(Job::Do(3)).expect("it lives");
        until(system, || system.inspect(sender.id()).is_some_and(|seen| seen.muted));
        sender.kill();
        until(system, || system.inspect(sender.id()).is_none());
        drop(open);
        log.take(system, 3);
    });
}

struct Gate(std::sync::mpsc::Sender<()>);

enum Wait {
    Behind(std::sync::mpsc::Receiver<()>),
    Count,
}

impl Message for Wait {
    const MESSAGE_TYPE: &'static str = "test.wait/1";
}

impl Actor for Gate {
    type Msg = Wait;
    type Error = Infallible;

    fn handle(&mut self, wait: Wait, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        match wait {
            // Blocks its worker until the test opens; there is a second one.
            Wait::Behind(gate) => drop(gate.recv()),
            Wait::Count => self.0.send(()).expect("the test listens"),
        }
        Ok(())
    }
}

struct Pusher(Addr<Gate>);

impl Actor for Pusher {
    type Msg = Job;
    type Error = Infallible;

    fn handle(&mut self, job: Job, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        if let Job::Do(count) = job {
            (0..count).for_each(|_| self.0.tell(Wait::Count).expect("an actor is always taken"));
        }
        Ok(())
    }
}

#[test]
fn every_overflow_policy_does_what_it_says() {
    simulated(4, |system| {
        let send = |overflow, count: u64| {
            let log = Log::new();
            let to = log.to.clone();
            let mailbox = Mailbox::bounded(2, overflow);
            let actor = system.actor(move || Member { name: 0, log: to.clone() }).mailbox(mailbox);
            let actor = actor.start().expect("it starts");
            let taken = (0..count).map(|job| actor.tell(Job::Do(job)).is_ok()).collect::<Vec<_>>();
            until(system, || actor.clone().into_any().id() == actor.id());
            system.simulation().expect("simulated").run();
            (taken, log.rest().into_iter().map(|(_, job)| job).collect::<Vec<_>>())
        };
        assert_eq!(send(Overflow::Error, 3), (vec![true, true, false], vec![0, 1]));
        assert_eq!(send(Overflow::DropNewest, 3), (vec![true, true, true], vec![0, 1]));
        assert_eq!(send(Overflow::DropOldest, 3), (vec![true, true, true], vec![1, 2]));
        // The simulation runs the receiver while the thread waits for room.
        let block = Overflow::Block(Duration::from_secs(1));
        assert_eq!(send(block, 4), (vec![true; 4], vec![0, 1, 2, 3]));
        assert_eq!(system.dead_letters(DeadReason::Overflow), 2);
    });
}

#[test]
fn a_message_that_is_too_old_is_a_dead_letter() {
    threaded(|system| {
        let log = Log::new();
        let actor = system.spawn(Gate(log.to.clone())).expect("it starts");
        let (open, gate) = std::sync::mpsc::channel();
        actor.tell(Wait::Behind(gate)).expect("it lives");
        let sent = system.now();
        let envelope = |ttl| Envelope::new(Wait::Count).expiring(ttl);
        actor.send(envelope(Duration::from_nanos(1))).expect("it lives");
        actor.send(envelope(PATIENCE)).expect("it lives");
        until(system, || system.now() > sent + Duration::from_millis(1));
        drop(open);
        log.next(system);
        assert_eq!(system.dead_letters(DeadReason::Expired), 1);
        assert!(log.rest().is_empty());
    });
}

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
    let kinds: BTreeSet<_> = events
        .iter()
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
    assert_eq!((report.poison, report.queued, report.incarnation), (Some("test.job/1"), Some(0), 0));
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

#[test]
fn a_full_mailbox_gives_the_message_back() {
    simulated(4, |system| {
        let log = Log::new();
        let to = log.to.clone();
        let actor = system.actor(move || Member { name: 0, log: to.clone() });
        let actor = actor.mailbox(Mailbox::bounded(1, Overflow::Error)).start().expect("it starts");
        actor.tell(Job::Do(1)).expect("room");
        assert!(matches!(actor.tell(Job::Do(2)), Err(TellError::Full(Job::Do(2)))));
    });
}
