//! Timers of actors: messages to oneself, later.

use std::time::Duration;

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::timers::TimerKey;

/// One timer of an actor, for [`Ctx::cancel`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerRef(u64);

/// Running timers. As with questions, a token is a place and its generation.
pub(crate) struct Alarms<M> {
    places: Vec<Place<M>>,
    free: Vec<u32>,
}

struct Place<M> {
    generation: u32,
    alarm: Option<Alarm<M>>,
}

struct Alarm<M> {
    key: TimerKey,
    due: Duration,
    what: What<M>,
}

enum What<M> {
    Once(M),
    Every { period: Duration, make: Box<dyn FnMut() -> M + Send> },
}

impl<M> Default for Alarms<M> {
    fn default() -> Self {
        Alarms { places: Vec::new(), free: Vec::new() }
    }
}

impl<M> Alarms<M> {
    fn reserve(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, alarm: None });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        u64::from(place.generation) << 32 | u64::from(index)
    }

    fn place(&mut self, token: u64) -> Option<&mut Place<M>> {
        let generation = (token >> 32) as u32;
        self.places.get_mut(token as u32 as usize).filter(|place| place.generation == generation)
    }

    fn remove(&mut self, token: u64) -> Option<Alarm<M>> {
        let alarm = self.place(token)?.alarm.take()?;
        self.free.push(token as u32);
        Some(alarm)
    }

    /// Forgets everything; the keys are returned to be cancelled.
    pub(crate) fn clear(&mut self) -> Vec<TimerKey> {
        let running = self.places.iter_mut().enumerate();
        let keys = running.filter_map(|(index, place)| {
            let alarm = place.alarm.take()?;
            self.free.push(index as u32);
            Some(alarm.key)
        });
        keys.collect()
    }
}

impl<A: Actor> Ctx<A> {
    /// Sends this actor `message` after `delay`, to the millisecond and never early. The end of the incarnation
    /// cancels it.
    pub fn after(&mut self, delay: Duration, message: A::Msg) -> TimerRef {
        self.start_alarm(delay, What::Once(message))
    }

    /// Sends this actor what `make` makes every `period`, first after one period. The due times are multiples of the
    /// period: a late one does not delay the next, and those missed altogether are left out. A period below 1 ms is
    /// taken as 1 ms.
    pub fn every(&mut self, period: Duration, make: impl FnMut() -> A::Msg + Send + 'static) -> TimerRef {
        let period = period.max(Duration::from_millis(1));
        self.start_alarm(period, What::Every { period, make: Box::new(make) })
    }

    /// Cancels a timer. True: its message did not come and will not. False: it has come, or was cancelled before.
    pub fn cancel(&mut self, timer: TimerRef) -> bool {
        let alarm = self.cold.as_mut().and_then(|cold| cold.alarms.remove(timer.0));
        let Some(alarm) = alarm else { return false };
        self.me.system.timers.cancel(alarm.key);
        true
    }

    fn start_alarm(&mut self, delay: Duration, what: What<A::Msg>) -> TimerRef {
        let due = self.now().saturating_add(delay);
        let token = self.cold().alarms.reserve();
        let key = self.me.system.start_timer(due, self.addr().into_any(), token);
        if let Some(place) = self.cold().alarms.place(token) {
            place.alarm = Some(Alarm { key, due, what });
        }
        TimerRef(token)
    }

    /// The message of a timer that went off; `None`: it was cancelled meanwhile.
    pub(crate) fn alarm_due(&mut self, token: u64) -> Option<A::Msg> {
        let mut alarm = self.cold.as_mut()?.alarms.place(token)?.alarm.take()?;
        let message = match alarm.what {
            What::Once(message) => {
                self.cold().alarms.free.push(token as u32);
                return Some(message);
            }
            What::Every { period, ref mut make } => {
                let missed = self.now().saturating_sub(alarm.due).as_nanos() / period.as_nanos();
                alarm.due +=
                    period.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1));
                make()
            }
        };
        alarm.key = self.me.system.start_timer(alarm.due, self.addr().into_any(), token);
        if let Some(place) = self.cold().alarms.place(token) {
            place.alarm = Some(alarm);
        }
        Some(message)
    }
}

/// A timer that its actor cancels while it goes off, explored by loom: `cargo xtask loom`.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::Mutex;
    use crate::timers::Timers;
    use loom::sync::Arc;
    use loom::thread;

    const DUE: Duration = Duration::from_millis(1);

    /// The timers, and what an actor is told of their tokens: its mailbox has models of its own.
    struct Clock {
        timers: Timers<u64>,
        told: Mutex<Vec<u64>>,
    }

    impl Clock {
        fn new() -> Arc<Clock> {
            Arc::new(Clock { timers: Timers::new(), told: Mutex::new(Vec::new()) })
        }

        /// As `Timers::fire`, by the reactor.
        fn fire(&self, now: Duration) -> Option<Duration> {
            let (due, next) = self.timers.take_due(now);
            for token in due {
                self.told.lock().push(token);
            }
            next
        }

        /// As `Ctx::start_alarm`.
        fn start(&self, alarms: &mut Alarms<char>, due: Duration, message: char) -> u64 {
            let token = alarms.reserve();
            let (key, _) = self.timers.insert(due, token);
            if let Some(place) = alarms.place(token) {
                place.alarm = Some(Alarm { key, due, what: What::Once(message) });
            }
            token
        }

        /// As `Ctx::cancel`.
        fn cancel(&self, alarms: &mut Alarms<char>, token: u64) -> bool {
            let Some(alarm) = alarms.remove(token) else { return false };
            self.timers.cancel(alarm.key);
            true
        }

        /// What the tokens in the mailbox are for, as `Ctx::alarm_due`.
        fn handled(&self, alarms: &mut Alarms<char>) -> Vec<char> {
            let tokens = std::mem::take(&mut *self.told.lock());
            let mut told = Vec::new();
            for token in tokens {
                let alarm = alarms.remove(token);
                if let Some(Alarm { what: What::Once(message), .. }) = alarm {
                    told.push(message);
                }
            }
            told
        }
    }

    #[test]
    fn a_timer_is_cancelled_or_goes_off_and_its_successor_is_not_taken_for_it() {
        loom::model(|| {
            let (clock, mut alarms) = (Clock::new(), Alarms::default());
            let first = clock.start(&mut alarms, DUE, 'a');
            let reactor = clock.clone();
            let fires = thread::spawn(move || _ = reactor.fire(DUE));
            // Handled, cancelled, or cancelled on its way.
            let mut told = clock.handled(&mut alarms);
            let cancelled = clock.cancel(&mut alarms, first);
            let second = clock.start(&mut alarms, 2 * DUE, 'b');
            assert_ne!(first, second);
            fires.join().unwrap();
            told.extend(clock.handled(&mut alarms));
            assert_eq!(told, if cancelled { vec![] } else { vec!['a'] });
            clock.fire(2 * DUE);
            assert_eq!(clock.handled(&mut alarms), ['b']);
            assert_eq!(clock.timers.len(), 0);
        });
    }

    #[test]
    fn whoever_drives_the_timers_does_not_sleep_past_one_that_is_started_meanwhile() {
        loom::model(|| {
            let clock = Clock::new();
            let theirs = clock.clone();
            let starts = thread::spawn(move || theirs.timers.insert(DUE, 1).1);
            // It sleeps until this, unless it is woken.
            let next = clock.fire(Duration::ZERO);
            let woken = starts.join().unwrap();
            assert!(woken || next.is_some_and(|next| next <= DUE));
        });
    }
}
