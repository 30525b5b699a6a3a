//! Publications.

use std::convert::Infallible;

use ipc_actors::{
    Actor, Broker, Ctx, Delivery, Filter, InMemoryBroker, Published, Recipient, Replay, Subscription,
};

use crate::kit::*;
use crate::support::{FEW, Log, MANY, everywhere, until};

#[test]
fn subscribers_hear_their_topic_in_order_and_the_past_first() {
    everywhere(MANY, |system| {
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
    everywhere(FEW, |system| {
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
