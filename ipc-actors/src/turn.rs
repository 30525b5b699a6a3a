//! How long one turn of an actor may be: so many messages, or so much time.

use std::time::Duration;

use crate::system::Inner;

/// Messages an actor may handle before others get their turn.
pub(crate) const MESSAGES: u32 = 64;
/// Time after which its turn ends behind the message it is at.
const TIME: Duration = Duration::from_micros(200);
/// Messages between two looks at the clock, which costs as much as handling one that does little. A power of two.
const STRIDE: u32 = 16;

/// What is left of one turn.
///
/// The clock is read after 16, 32 and 48 messages, so short turns do not read it, and the time before the first reading does
/// not count: slow handlers have a turn of 32 messages. Then the actor is known to be slow, and in its following turns, for as
/// long as they end by time, the clock is read when they begin and after each message.
pub(crate) struct Turn {
    left: u32,
    /// The clock is read whenever `left` has none of these bits.
    stride_mask: u32,
    /// The first reading.
    since: Option<Duration>,
}

impl Turn {
    pub(crate) fn new() -> Turn {
        Turn::of(MESSAGES)
    }

    /// A turn of at most this many messages.
    pub(crate) fn of(messages: u32) -> Turn {
        Turn { left: messages, stride_mask: STRIDE - 1, since: None }
    }

    /// Whether all its messages are used up.
    #[inline]
    pub(crate) fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// Looks at the clock now and after each message: the actor is known to be slow.
    #[cold]
    pub(crate) fn watch_each(&mut self, system: &Inner) {
        self.stride_mask = 0;
        self.since = Some(system.now());
    }

    /// Counts one message.
    #[inline]
    pub(crate) fn count(&mut self) {
        self.left -= 1;
    }

    /// After a message: whether the time is over.
    #[inline]
    pub(crate) fn is_overtime(&mut self, system: &Inner) -> bool {
        self.left & self.stride_mask == 0 && self.look(system)
    }

    #[cold]
    fn look(&mut self, system: &Inner) -> bool {
        let now = system.now();
        now.saturating_sub(*self.since.get_or_insert(now)) >= TIME
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, Addr, Ctx, Ignore, Lifecycle, Message, System};
    use std::iter::repeat_n;
    use std::sync::mpsc::{Sender, channel};

    /// Messages that a turn has when each takes `time`, on the virtual clock.
    fn messages(mut turn: Turn, system: &Inner, time: Duration) -> u32 {
        let clock = system.simulation().unwrap();
        let handled = (1..).find(|_| {
            turn.count();
            clock.set_now(clock.now() + time);
            turn.is_overtime(system) || turn.is_used_up()
        });
        handled.unwrap()
    }

    #[test]
    fn a_turn_ends_by_messages_or_by_time() {
        let system = System::builder().simulated(0).build().unwrap();
        let system = system.inner();
        let us = Duration::from_micros;
        let unwatched = |time| messages(Turn::new(), system, time);
        assert_eq!([us(0), us(1), us(6), us(7), us(13), us(500)].map(unwatched), [64, 64, 64, 48, 32, 32]);
        assert_eq!(messages(Turn::of(5), system, us(500)), 5);
        let watched = |time| {
            let mut turn = Turn::new();
            turn.watch_each(system);
            messages(turn, system, time)
        };
        assert_eq!([us(1), us(10), us(199), us(200)].map(watched), [64, 20, 2, 1]);
    }

    enum Do {
        Begin([Addr<Slow>; 2]),
        Work,
    }

    impl Message for Do {
        const MESSAGE_TYPE: &'static str = "test.do/1";
    }

    /// Each piece of its work takes as long as a turn may.
    struct Slow {
        name: char,
        told: Sender<char>,
    }

    impl Actor for Slow {
        type Msg = Do;
        type Error = Ignore;

        fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
            match message {
                Do::Begin(workers) => {
                    // None of it is begun before all is queued: there is one thread, and this is on it.
                    workers.iter().for_each(|worker| (0..40).for_each(|_| worker.tell(Do::Work).unwrap()));
                }
                Do::Work => {
                    let begun = ctx.now();
                    while ctx.now() < begun + TIME {}
                    self.told.send(self.name).unwrap();
                }
            }
            Ok(())
        }
    }

    #[test]
    fn slow_actors_take_turns_by_time() {
        let system = System::builder().workers(1).build().unwrap();
        let (told, order) = channel();
        let spawn = |name| system.spawn(Slow { name, told: told.clone() }).unwrap();
        let workers = [spawn('a'), spawn('b')];
        // One that waits to be started would be found behind the turns of the other.
        while workers.iter().any(|worker| worker.lifecycle() != Lifecycle::Running) {
            std::thread::yield_now();
        }
        spawn('-').tell(Do::Begin(workers)).unwrap();
        let order: Vec<_> = order.iter().take(80).collect();
        let [one, other] = [order[0], order[32]];
        // Until it is known that they are slow, and then one message each.
        let mut expected: Vec<_> = repeat_n(one, 32).chain(repeat_n(other, 32)).collect();
        (0..8).for_each(|_| expected.extend([one, other]));
        assert_eq!(order, expected);
        assert_ne!(one, other);
    }
}
