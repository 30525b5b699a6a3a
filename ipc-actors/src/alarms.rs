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
