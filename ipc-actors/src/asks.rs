//! Questions of actors: what an actor waits for, and how the wait ends.

use std::time::Duration;

use crate::actor::Actor;
use crate::addr::{Addr, TellError};
use crate::ctx::Ctx;
use crate::reply::{self, AskError, Failure, Reply};
use crate::timers::TimerKey;

/// The token of the one timer that watches all questions of an actor.
pub(crate) const ASKS: u64 = u64::MAX;

/// Pending questions. A correlation is a place and how often it was used, so an answer that comes late finds its
/// place taken by another generation.
pub(crate) struct Asks<M> {
    places: Vec<Place<M>>,
    free: Vec<u32>,
    /// The earliest deadline is not before this timer's.
    timer: Option<(TimerKey, Duration)>,
}

struct Place<M> {
    generation: u32,
    pending: Option<Pending<M>>,
}

struct Pending<M> {
    deadline: Duration,
    /// `None`: it has no deadline and is not failed by us.
    failure: Option<Failure<M>>,
}

impl<M> Default for Asks<M> {
    fn default() -> Self {
        Asks { places: Vec::new(), free: Vec::new(), timer: None }
    }
}

impl<M> Asks<M> {
    fn add(&mut self, pending: Pending<M>) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, pending: None });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        place.pending = Some(pending);
        u64::from(place.generation) << 32 | u64::from(index)
    }

    /// A place for one answer that comes whenever it comes.
    pub(crate) fn expect(&mut self) -> u64 {
        self.add(Pending { deadline: Duration::MAX, failure: None })
    }

    /// Whether the answer with this correlation is still waited for; it is no more after this.
    pub(crate) fn settle(&mut self, correlation: u64) -> bool {
        let (index, generation) = (correlation as u32, (correlation >> 32) as u32);
        let place = self.places.get_mut(index as usize).filter(|place| place.generation == generation);
        let settled = place.is_some_and(|place| place.pending.take().is_some());
        if settled {
            self.free.push(index);
        }
        settled
    }

    /// Forgets everything; answers that come are late. The timer is returned to be cancelled.
    pub(crate) fn clear(&mut self) -> Option<TimerKey> {
        for index in 0..self.places.len() {
            if self.places[index].pending.take().is_some() {
                self.free.push(index as u32);
            }
        }
        self.timer.take().map(|(key, _)| key)
    }
}

impl<A: Actor> Ctx<A> {
    /// Asks another actor: `make` puts the [`Reply`] into a message for it; the answer, or why there is none within
    /// `timeout`, becomes a message for this actor by `map`, usually a variant of its enum. Never waits. Exactly one
    /// message comes back in any case, unless this incarnation ends first.
    pub fn ask<B: Actor, T: Send + 'static>(
        &mut self,
        whom: &Addr<B>,
        make: impl FnOnce(Reply<T>) -> B::Msg,
        map: fn(Result<T, AskError>) -> A::Msg,
        timeout: Duration,
    ) {
        let deadline = self.me.system.deadline(timeout);
        let failure = Some(Failure::of(map));
        let correlation = self.cold().asks.add(Pending { deadline, failure });
        let asker = self.me.addr_for_reply(&mut self.returned);
        let message = make(reply::to_actor(asker, map, correlation));
        match whom.tell(message) {
            Ok(()) => self.watch_deadline(deadline),
            Err(refused) => {
                let error = match &refused {
                    TellError::Closed(_) => AskError::Closed,
                    TellError::Full(_) => AskError::Full,
                };
                // Queued before the refused message is dropped: its reply will answer too, and the first counts.
                self.fail_ask(correlation, error);
                drop(refused);
            }
        }
    }

    fn fail_ask(&mut self, correlation: u64, error: AskError) {
        let place = &self.cold().asks.places[correlation as u32 as usize];
        if let Some(failure) = place.pending.as_ref().and_then(|pending| pending.failure.as_ref()) {
            let message = failure.message(error);
            self.me.addr_for_reply(&mut self.returned).push_reply(message, correlation);
        }
    }

    /// Has the timer go off by `deadline`. It is left running when the question is answered: the next one with a later
    /// deadline, which is the usual one, then needs none.
    fn watch_deadline(&mut self, deadline: Duration) {
        let earlier = self.cold().asks.timer;
        if earlier.is_some_and(|(_, at)| at <= deadline) {
            return;
        }
        if let Some((key, _)) = earlier {
            self.me.system.timers.cancel(key);
        }
        let me = self.addr().into_any();
        let key = self.me.system.start_timer(deadline, me, ASKS);
        self.cold().asks.timer = Some((key, deadline));
    }

    /// The timer went off: fails what is overdue and watches the rest.
    pub(crate) fn asks_due(&mut self) {
        let now = self.now();
        let asks = &mut self.cold().asks;
        asks.timer = None;
        let (mut overdue, mut next) = (Vec::new(), None::<Duration>);
        for (index, place) in asks.places.iter().enumerate() {
            let Some(pending) = place.pending.as_ref().filter(|pending| pending.failure.is_some()) else {
                continue;
            };
            if pending.deadline <= now {
                overdue.push(u64::from(place.generation) << 32 | index as u64);
            } else {
                next = Some(next.map_or(pending.deadline, |next| next.min(pending.deadline)));
            }
        }
        for correlation in overdue {
            self.fail_ask(correlation, AskError::TimedOut);
        }
        if let Some(next) = next {
            self.watch_deadline(next);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::System;
    use std::convert::Infallible;

    /// Answers at once, or keeps the right to.
    struct Oracle(Vec<Reply<u8>>);

    enum Question {
        Now(Reply<u8>),
        Later(Reply<u8>),
        Forget,
    }

    impl ipc_core::Message for Question {
        const MESSAGE_TYPE: &'static str = "test.question/1";
    }

    impl Actor for Oracle {
        type Msg = Question;
        type Error = Infallible;

        fn handle(&mut self, question: Question, _: &mut Ctx<Self>) -> Result<(), Infallible> {
            match question {
                Question::Now(reply) => reply.send(1),
                Question::Later(reply) => self.0.push(reply),
                Question::Forget => self.0.clear(),
            }
            Ok(())
        }
    }

    struct Asker(Addr<Oracle>);

    enum Order {
        Ask(fn(Reply<u8>) -> Question),
        Offload,
        Answered,
        Leave,
    }

    impl ipc_core::Message for Order {
        const MESSAGE_TYPE: &'static str = "test.order/1";
    }

    impl Actor for Asker {
        type Msg = Order;
        type Error = Infallible;

        fn handle(&mut self, order: Order, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
            match order {
                Order::Ask(make) => ctx.ask(&self.0, make, |_| Order::Answered, Duration::from_secs(1)),
                Order::Offload => ctx.offload(|| (), |_| Order::Answered),
                Order::Answered => {}
                Order::Leave => ctx.stop(),
            }
            Ok(())
        }
    }

    #[test]
    fn whatever_became_of_its_questions_nothing_refers_to_an_asker_that_is_gone() {
        for seed in 0..100 {
            let system = System::builder().simulated(seed).build().unwrap();
            let oracle = system.spawn(Oracle(Vec::new())).unwrap();
            let asker = system.spawn(Asker(oracle.clone())).unwrap();
            let simulation = system.simulation().unwrap();
            for make in [Question::Now, Question::Later, Question::Now, Question::Now] {
                asker.tell(Order::Ask(make)).unwrap();
            }
            // On even seeds all answers that come are handled, on odd ones some are in the mailbox or on their way.
            if seed % 2 == 0 {
                simulation.run();
            }
            asker.tell(Order::Ask(Question::Now)).unwrap();
            asker.tell(Order::Leave).unwrap();
            simulation.run();
            oracle.tell(Question::Forget).unwrap();
            simulation.advance(Duration::from_secs(2));
            assert_eq!((system.live(), asker.any().core().references()), (1, 1), "seed {seed}");
        }
    }

    #[test]
    fn references_to_an_asker_do_not_pile_up_while_it_lives() {
        let system = System::builder().simulated(0).build().unwrap();
        let simulation = system.simulation().unwrap();
        let (oracle, gone) = (Oracle(Vec::new()), system.spawn(Oracle(Vec::new())).unwrap());
        let oracle = system.spawn(oracle).unwrap();
        gone.any().shutdown();
        simulation.run();
        for whom in [gone, oracle] {
            let asker = system.spawn(Asker(whom.clone())).unwrap();
            for _ in 0..100 {
                // To one that is gone all are refused; of the other some come too late, and some are never answered.
                for order in [Order::Ask(Question::Now), Order::Ask(Question::Later), Order::Offload] {
                    asker.tell(order).unwrap();
                }
                simulation.run();
            }
            let _ = whom.tell(Question::Forget);
            simulation.advance(Duration::from_secs(2));
            // As many as there were questions at a time, which were a hundred that nobody answered; 300 were asked or done.
            assert!(asker.any().core().references() <= 120, "{}", asker.any().core().references());
        }
    }
}
