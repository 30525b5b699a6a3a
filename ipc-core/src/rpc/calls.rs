//! The calls of one client that are under way: a table whose places, and their buffers, are used again.

use super::{Kind, Lost};

/// What is known about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    /// The reply is in the place's buffer.
    Replied,
    Refused,
    Lost(Lost),
}

#[derive(Debug)]
struct Place {
    /// Upper half of the call's number; changes each time the place is given away, so that a late reply finds nobody.
    generation: u32,
    state: Option<State>,
    message: Vec<u8>,
}

/// The table. A call's number is its place in the lower half and the place's generation in the upper.
#[derive(Debug, Default)]
pub(super) struct Calls {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Calls {
    /// A number for a new call.
    pub(super) fn open(&mut self) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, state: None, message: Vec::new() });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[at as usize];
        place.state = Some(State::Waiting);
        u64::from(place.generation) << 32 | u64::from(at)
    }

    fn place(&mut self, call: u64) -> Option<&mut Place> {
        let place = self.places.get_mut(call as u32 as usize)?;
        (place.generation == (call >> 32) as u32 && place.state.is_some()).then_some(place)
    }

    /// What is known about `call`; `None` if there is no such call.
    pub(super) fn state(&mut self, call: u64) -> Option<State> {
        self.place(call)?.state
    }

    /// The whole reply to `call`.
    pub(super) fn message(&self, call: u64) -> &[u8] {
        &self.places[call as u32 as usize].message
    }

    /// Forgets `call`; false if there was no such call.
    pub(super) fn close(&mut self, call: u64) -> bool {
        let Some(place) = self.place(call) else { return false };
        place.state = None;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(call as u32);
        true
    }

    /// Files an answer to `call`, taking `message` in exchange for the place's old buffer. False: nobody waits for it.
    pub(super) fn answer(&mut self, call: u64, kind: Kind, message: &mut Vec<u8>) -> bool {
        match self.place(call) {
            Some(place) if place.state == Some(State::Waiting) => {
                std::mem::swap(&mut place.message, message);
                place.state = Some(if kind == Kind::Refused { State::Refused } else { State::Replied });
                true
            }
            _ => false,
        }
    }

    /// No more answers will come to those that wait.
    pub(super) fn lose_all(&mut self, lost: Lost) {
        for place in &mut self.places {
            if place.state == Some(State::Waiting) {
                place.state = Some(State::Lost(lost));
            }
        }
    }

    /// Calls that are neither taken nor cancelled.
    pub(super) fn open_calls(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_reach_the_next_call_in_its_place() {
        let mut calls = Calls::default();
        let first = calls.open();
        assert!(calls.close(first) && !calls.close(first));
        let second = calls.open();
        assert_eq!((first as u32, calls.open_calls()), (second as u32, 1));
        assert!(!calls.answer(first, Kind::Reply, &mut vec![1]));
        assert!(calls.answer(second, Kind::Reply, &mut vec![2]));
        assert!(!calls.answer(second, Kind::Reply, &mut vec![3]), "a second answer is none");
        assert_eq!((calls.state(second), calls.message(second)), (Some(State::Replied), &[2][..]));
        assert!(!calls.answer(99, Kind::Reply, &mut vec![]) && calls.state(99).is_none());
    }

    #[test]
    fn only_waiting_calls_are_lost() {
        let mut calls = Calls::default();
        let (answered, waiting) = (calls.open(), calls.open());
        calls.answer(answered, Kind::Refused, &mut Vec::new());
        calls.lose_all(Lost::PeerDied);
        assert_eq!(calls.state(answered), Some(State::Refused));
        assert_eq!(calls.state(waiting), Some(State::Lost(Lost::PeerDied)));
    }
}
