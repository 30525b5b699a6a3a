//! Full mailboxes, resting senders, old messages.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_actors::{
    Actor, Addr, Child, Ctx, DeadReason, Envelope, Lifecycle, Mailbox, Message, Overflow, Reply, Supervisor,
    TellError,
};

use crate::kit::*;
use crate::support::{Log, MANY, PATIENCE, everywhere, simulated, threaded, until};

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
    everywhere(MANY, |system| {
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
    everywhere(MANY, |system| {
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

/// The same with a stop in order, from the supervisor: it does not wait until the receiver has caught up.
#[test]
fn a_muted_child_stops_with_its_supervisor() {
    threaded(|system| {
        let log = Log::new();
        let to = log.to.clone();
        let receiver = system.actor(move || Gate(to.clone()));
        let far = Mailbox::bounded(1, Overflow::Throttle { max_mute: PATIENCE });
        let receiver = receiver.mailbox(far).start().expect("it starts");
        let (open, gate) = std::sync::mpsc::channel::<()>();
        receiver.tell(Wait::Behind(gate)).expect("it lives");
        let to = receiver.clone();
        let root = Supervisor::one_for_one("root").child(Child::actor("pusher", move || Pusher(to.clone())));
        let root = system.start(root).expect("it starts");
        let pusher = root.child::<Pusher>("pusher").expect("it runs");
        pusher.tell(Job::Do(3)).expect("it lives");
        until(system, || system.inspect(pusher.id()).is_some_and(|seen| seen.muted));
        root.terminate_child("pusher").expect("it is there");
        until(system, || pusher.lifecycle() == Lifecycle::Stopped);
        assert!(log.rest().is_empty(), "the receiver still stands at its gate");
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
