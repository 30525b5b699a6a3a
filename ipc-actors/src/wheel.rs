//! A hierarchical timing wheel: six levels of 64 slots, a slot of the lowest being one millisecond. (Varghese and
//! Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987; the level arithmetic is that of tokio's
//! `runtime/time/wheel`.)
//!
//! Pure data: it is told what time it is.

use std::time::Duration;

const LEVELS: usize = 6;
const SLOTS: usize = 64;
/// No entry.
const NONE: u32 = u32::MAX;
/// The farthest a tick may lie ahead: 63 slots of the top level, two years, so that none laps the current slot. What
/// is later waits there and goes on.
const FARTHEST: u64 = (63 << 30) - 1;

/// One entry of a wheel; stays distinct from later ones in the same place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

struct Entry<T> {
    generation: u32,
    next: u32,
    previous: u32,
    /// Level and slot, `level * SLOTS + slot`.
    place: u16,
    tick: u64,
    value: Option<T>,
}

/// Values with the time each is due, in ticks of one millisecond.
pub(crate) struct Wheel<T> {
    now: u64,
    heads: [u32; LEVELS * SLOTS],
    occupied: [u64; LEVELS],
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

/// The first tick that is not before `time`.
fn tick_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Wheel {
            now: 0,
            heads: [NONE; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Entries that are not due and not cancelled.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Adds `value`, due at `time`.
    pub(crate) fn insert(&mut self, time: Duration, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                next: NONE,
                previous: NONE,
                place: 0,
                tick: 0,
                value: None,
            });
            self.entries.len() as u32 - 1
        });
        let entry = &mut self.entries[index as usize];
        entry.tick = tick_of(time);
        entry.value = Some(value);
        let generation = entry.generation;
        self.link(index);
        Key { index, generation }
    }

    /// Takes the entry out, if it is still there.
    pub(crate) fn cancel(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation != key.generation || entry.value.is_none() {
            return None;
        }
        self.unlink(key.index);
        Some(self.release(key.index))
    }

    /// When something is due next or must be moved to a finer level; never later than the first due time.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.next_slot().map(|(_, tick)| Duration::from_millis(tick))
    }

    /// The values due at `time`, each handed to `fire` in the order of their ticks.
    pub(crate) fn advance(&mut self, time: Duration, mut fire: impl FnMut(T)) {
        let now = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        while let Some((place, tick)) = self.next_slot().filter(|(_, tick)| *tick <= now) {
            self.now = self.now.max(tick);
            let mut at = std::mem::replace(&mut self.heads[place], NONE);
            self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
            // A slot is a stack; what was inserted first for a tick fires first.
            let mut indices = Vec::new();
            while at != NONE {
                indices.push(at);
                at = self.entries[at as usize].next;
            }
            for index in indices.into_iter().rev() {
                if self.entries[index as usize].tick <= self.now {
                    fire(self.release(index));
                } else {
                    self.link(index);
                }
            }
        }
        self.now = self.now.max(now);
    }

    fn release(&mut self, index: u32) -> T {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
        match entry.value.take() {
            Some(value) => value,
            None => unreachable!("a linked entry has a value"),
        }
    }

    fn link(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick.clamp(self.now, self.now.saturating_add(FARTHEST));
        // The highest group of six bits in which the tick differs from now: the level.
        let differs = (tick ^ self.now) | (SLOTS as u64 - 1);
        let level = ((63 - differs.leading_zeros() as usize) / 6).min(LEVELS - 1);
        let slot = (tick >> (6 * level)) as usize % SLOTS;
        let place = level * SLOTS + slot;
        let head = std::mem::replace(&mut self.heads[place], index);
        let entry = &mut self.entries[index as usize];
        (entry.next, entry.previous, entry.place) = (head, NONE, place as u16);
        if head != NONE {
            self.entries[head as usize].previous = index;
        }
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, place, .. } = self.entries[index as usize];
        let place = usize::from(place);
        match previous {
            NONE => self.heads[place] = next,
            previous => self.entries[previous as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if self.heads[place] == NONE {
            self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
        }
    }

    /// The first occupied slot and the tick at which it begins. Lower levels come first: whatever is in one is due
    /// before the current slot of the next ends.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|occupied| *occupied != 0)?;
        let current = (self.now >> (6 * level)) as u32 % SLOTS as u32;
        let slot =
            (current + self.occupied[level].rotate_right(current).trailing_zeros()) as u64 % SLOTS as u64;
        let turn = 1u64 << (6 * level + 6);
        let mut tick = (self.now & !(turn - 1)) + (slot << (6 * level));
        if tick < self.now && (slot as u32) < current {
            // Only the top level wraps: its slots behind the current one belong to the next turn.
            tick += turn;
        }
        Some((level * SLOTS + slot as usize, tick.max(self.now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Drives the wheel from one expiry to the next, as the reactor does.
    fn run(wheel: &mut Wheel<u64>, until: u64) -> Vec<(u64, u64)> {
        let mut fired = Vec::new();
        while let Some(next) = wheel.next().filter(|next| *next <= ms(until)) {
            wheel.advance(next, |value| fired.push((next.as_millis() as u64, value)));
        }
        wheel.advance(ms(until), |value| fired.push((until, value)));
        fired
    }

    #[test]
    fn each_value_comes_at_its_tick_and_in_order() {
        let mut wheel = Wheel::new();
        let times =
            [0, 1, 63, 64, 65, 4095, 4096, 4097, 262_144, 1_000_000_007, (1 << 36) + 5, (1 << 37) + 1];
        for time in times {
            wheel.insert(ms(time), time);
        }
        assert_eq!(run(&mut wheel, 1 << 38), times.map(|time| (time, time)));
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_random_mix_of_inserts_and_cancels_agrees_with_a_sorted_list() {
        let mut random = crate::random::Random::new(7);
        for _ in 0..50 {
            let (mut wheel, mut model, mut now) = (Wheel::new(), Vec::new(), 0);
            for value in 0..200 {
                let time = now + (random.next() >> (random.next() % 50 + 14)) % (1 << 30);
                model.push((time, value, wheel.insert(ms(time), value)));
                if random.next().is_multiple_of(3) {
                    let (_, value, key) = model.swap_remove(random.below(model.len()));
                    assert_eq!(wheel.cancel(key), Some(value));
                    assert_eq!(wheel.cancel(key), None);
                }
                if random.next().is_multiple_of(5) {
                    now += random.next() % 10_000;
                    let mut due: Vec<_> = model.extract_if(.., |(time, ..)| *time <= now).collect();
                    due.sort_by_key(|(time, value, _)| (*time, *value));
                    let due: Vec<_> = due.into_iter().map(|(time, value, _)| (time, value)).collect();
                    let mut fired = run(&mut wheel, now);
                    fired.sort();
                    assert_eq!(fired, due);
                }
            }
            assert_eq!(wheel.len(), model.len());
        }
    }

    #[test]
    fn nothing_is_due_early() {
        let mut wheel = Wheel::new();
        wheel.insert(Duration::from_nanos(1_000_001), 1);
        wheel.advance(Duration::from_nanos(1_999_999), |_| panic!("due at 2 ms"));
        assert_eq!(wheel.next(), Some(ms(2)));
    }
}
