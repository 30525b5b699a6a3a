//! Programs in which many want the same thing and one actor has it.

use super::What::{self, Done, End, Full, Go, Item, Ready};
use super::{Play, Stage, Word, cast, next, perform};
use crate::fixture::{Fixture, work};
use crate::rows::{Outcome, Trial};
use std::collections::{HashMap, VecDeque};

struct Mall {
    left: u64,
    waiting: Option<(u32, u64)>,
    creatures: u32,
    met: u64,
}

impl<F: Fixture> Play<F> for Mall {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Ready if self.left == 0 => stage.tell(word.from as usize, End, 0, 0),
            Ready => match self.waiting.take() {
                None => self.waiting = Some((word.from, word.value)),
                Some((other, colour)) => {
                    self.left -= 1;
                    stage.tell(other as usize, Item, 0, word.value);
                    stage.tell(word.from as usize, Item, 0, colour);
                }
            },
            _ => {
                self.met += word.value;
                self.creatures -= 1;
            }
        }
        (self.creatures == 0).then_some(self.met)
    }
}

struct Creature {
    me: u32,
    colour: u64,
    met: u64,
}

impl<F: Fixture> Play<F> for Creature {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            End => {
                stage.tell(0, What::Result, self.me, self.met);
                return None;
            }
            Item => {
                self.met += 1;
                // The third colour, unless they are the same.
                self.colour =
                    if word.value == self.colour { self.colour } else { 3 - word.value - self.colour };
            }
            _ => {}
        }
        stage.tell(0, Ready, self.me, self.colour);
        None
    }
}

pub(super) fn chameneos<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const MEETINGS: u64 = 200_000;
    const CREATURES: u32 = 100;
    let mut all: Vec<Box<dyn Play<F>>> =
        vec![Box::new(Mall { left: MEETINGS, waiting: None, creatures: CREATURES, met: 0 })];
    all.extend(cast(1, CREATURES, |me| Creature { me, colour: u64::from(me % 3), met: 0 }));
    perform(trial, all, 1..=CREATURES as usize, 4 * MEETINGS, 2 * MEETINGS)
}

struct Arbitrator {
    forks: Vec<bool>,
    meals: u64,
    at_table: u32,
}

impl<F: Fixture> Play<F> for Arbitrator {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        let (left, right) = (word.from as usize - 1, word.from as usize % self.forks.len());
        match word.what {
            Ready if self.forks[left] || self.forks[right] => stage.tell(word.from as usize, Full, 0, 0),
            Ready => {
                (self.forks[left], self.forks[right]) = (true, true);
                self.meals += 1;
                stage.tell(word.from as usize, Item, 0, 0);
            }
            Done => (self.forks[left], self.forks[right]) = (false, false),
            _ => self.at_table -= 1,
        }
        (self.at_table == 0).then_some(self.meals)
    }
}

struct Philosopher {
    me: u32,
    meals: u64,
}

impl<F: Fixture> Play<F> for Philosopher {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        if word.what == Item {
            self.meals -= 1;
            stage.tell(0, Done, self.me, 0);
        }
        stage.tell(0, if self.meals == 0 { End } else { Ready }, self.me, 0);
        None
    }
}

pub(super) fn philosophers<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const MEALS: u64 = 2_000;
    const COUNT: u32 = 20;
    let arbitrator = Arbitrator { forks: vec![false; COUNT as usize], meals: 0, at_table: COUNT };
    let mut all: Vec<Box<dyn Play<F>>> = vec![Box::new(arbitrator)];
    all.extend(cast(1, COUNT, |me| Philosopher { me, meals: MEALS }));
    let meals = MEALS * u64::from(COUNT);
    perform(trial, all, 1..=COUNT as usize, 3 * meals, meals)
}

const BUFFER: usize = 50;
const MAKERS: u32 = 40;

/// The manager of the buffer.
#[derive(Default)]
struct Buffer {
    items: VecDeque<u64>,
    most: usize,
    makers: Vec<u32>,
    eaters: Vec<u32>,
    ended: u32,
    sum: u64,
}

impl<F: Fixture> Play<F> for Buffer {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Item => {
                match self.eaters.pop() {
                    Some(eater) => stage.tell(eater as usize, Item, 0, word.value),
                    None => self.items.push_back(word.value),
                }
                self.most = self.most.max(self.items.len());
                // Each maker may have one on its way.
                if self.items.len() + MAKERS as usize > BUFFER {
                    self.makers.push(word.from);
                } else {
                    stage.tell(word.from as usize, Ready, 0, 0);
                }
            }
            Ready => {
                self.sum += word.value;
                match self.items.pop_front() {
                    Some(item) => {
                        stage.tell(word.from as usize, Item, 0, item);
                        if let Some(maker) = self.makers.pop() {
                            stage.tell(maker as usize, Ready, 0, 0);
                        }
                    }
                    None => self.eaters.push(word.from),
                }
            }
            _ => self.ended += 1,
        }
        let over = self.ended == MAKERS && self.eaters.len() == MAKERS as usize;
        over.then(|| if self.most <= BUFFER { self.sum } else { 0 })
    }
}

struct Maker {
    me: u32,
    left: u64,
}

impl<F: Fixture> Play<F> for Maker {
    fn on(&mut self, _: Word, stage: &Stage<'_, F>) -> Option<u64> {
        if self.left == 0 {
            stage.tell(0, End, self.me, 0);
            return None;
        }
        work(20);
        stage.tell(0, Item, self.me, self.left);
        self.left -= 1;
        None
    }
}

struct Eater(u32);

impl<F: Fixture> Play<F> for Eater {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        work(20);
        stage.tell(0, Ready, self.0, word.value);
        None
    }
}

pub(super) fn bounded_buffer<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const ITEMS: u64 = 1_000;
    let mut all: Vec<Box<dyn Play<F>>> = vec![Box::new(Buffer::default())];
    all.extend(cast(1, MAKERS, |me| Maker { me, left: ITEMS }));
    all.extend(cast(1 + MAKERS, MAKERS, Eater));
    let makers = u64::from(MAKERS);
    perform(trial, all, 1..=2 * MAKERS as usize, 4 * makers * ITEMS, makers * ITEMS * (ITEMS + 1) / 2)
}

const ROOM: usize = 1_000;

#[derive(Default)]
struct WaitingRoom {
    chairs: VecDeque<u32>,
    busy: bool,
}

impl WaitingRoom {
    const PLACE: usize = 0;
    const BARBER: usize = 1;
    const STREET: usize = 2;
}

impl<F: Fixture> Play<F> for WaitingRoom {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Ready if self.chairs.len() == ROOM => stage.tell(word.from as usize, Full, 0, 0),
            Ready => self.chairs.push_back(word.from),
            _ => self.busy = false,
        }
        if !self.busy
            && let Some(customer) = self.chairs.pop_front()
        {
            self.busy = true;
            stage.tell(Self::BARBER, Item, customer, 0);
        }
        None
    }
}

struct Barber;

impl<F: Fixture> Play<F> for Barber {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        work(50);
        stage.tell(word.from as usize, Done, 0, 0);
        stage.tell(WaitingRoom::PLACE, Done, 0, 0);
        None
    }
}

/// Sends customers in, and those again that were sent away.
struct Street {
    customers: u32,
    shorn: u64,
}

impl<F: Fixture> Play<F> for Street {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Go => (3..3 + self.customers).for_each(|customer| stage.tell(customer as usize, Go, 0, 0)),
            Full => stage.tell(word.from as usize, Go, 0, 0),
            _ => self.shorn += 1,
        }
        (self.shorn == u64::from(self.customers)).then_some(self.shorn)
    }
}

struct Customer(u32);

impl<F: Fixture> Play<F> for Customer {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Go => stage.tell(WaitingRoom::PLACE, Ready, self.0, 0),
            what => stage.tell(WaitingRoom::STREET, what, self.0, 0),
        }
        None
    }
}

pub(super) fn barber<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const CUSTOMERS: u32 = 5_000;
    let street = Street { customers: CUSTOMERS, shorn: 0 };
    let mut all: Vec<Box<dyn Play<F>>> =
        vec![Box::new(WaitingRoom::default()), Box::new(Barber), Box::new(street)];
    all.extend(cast(3, CUSTOMERS, Customer));
    let customers = u64::from(CUSTOMERS);
    perform(trial, all, [WaitingRoom::STREET], 6 * customers, customers)
}

const ACCOUNTS: u32 = 1_000;
const BALANCE: u64 = 1_000_000;

struct Teller {
    transfers: u64,
    open: u64,
    told: u32,
    sum: u64,
}

impl<F: Fixture> Play<F> for Teller {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Go => {
                let mut seed = 1;
                for _ in 0..self.transfers {
                    let from = next(&mut seed) % u64::from(ACCOUNTS);
                    let to = (from + 1 + next(&mut seed) % u64::from(ACCOUNTS - 1)) % u64::from(ACCOUNTS);
                    stage.tell(1 + from as usize, Item, 1 + to as u32, next(&mut seed) % 1_000);
                }
                self.open = self.transfers;
            }
            Done => {
                self.open -= 1;
                if self.open == 0 {
                    (1..=ACCOUNTS).for_each(|account| stage.tell(account as usize, End, 0, 0));
                }
            }
            _ => {
                self.sum = self.sum.wrapping_add(word.value);
                self.told += 1;
            }
        }
        (self.told == ACCOUNTS).then_some(self.sum)
    }
}

struct Account {
    me: u32,
    balance: u64,
}

impl<F: Fixture> Play<F> for Account {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            // Debit here, credit there.
            Item => {
                self.balance = self.balance.wrapping_sub(word.value);
                stage.tell(word.from as usize, Ready, self.me, word.value);
            }
            Ready => {
                self.balance = self.balance.wrapping_add(word.value);
                stage.tell(word.from as usize, Done, self.me, 0);
            }
            Done => stage.tell(0, Done, self.me, 0),
            _ => stage.tell(0, What::Result, self.me, self.balance),
        }
        None
    }
}

pub(super) fn banking<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const TRANSFERS: u64 = 50_000;
    let mut all: Vec<Box<dyn Play<F>>> =
        vec![Box::new(Teller { transfers: TRANSFERS, open: 0, told: 0, sum: 0 })];
    all.extend(cast(1, ACCOUNTS, |me| Account { me, balance: BALANCE }));
    perform(trial, all, [0], 4 * TRANSFERS, u64::from(ACCOUNTS) * BALANCE)
}

const READERS: u32 = 20;

#[derive(Default)]
struct Dictionary {
    entries: HashMap<u64, u64>,
    handled: u64,
    ended: u32,
}

impl<F: Fixture> Play<F> for Dictionary {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        let found = match word.what {
            Item => self.entries.insert(word.value, u64::from(word.from)),
            Ready => self.entries.get(&word.value).copied(),
            _ => {
                self.ended += 1;
                return (self.ended == READERS).then_some(self.handled);
            }
        };
        self.handled += 1;
        stage.tell(word.from as usize, What::Result, 0, found.unwrap_or(0));
        None
    }
}

struct Reader {
    me: u32,
    left: u64,
    seed: u64,
}

impl<F: Fixture> Play<F> for Reader {
    fn on(&mut self, _: Word, stage: &Stage<'_, F>) -> Option<u64> {
        if self.left == 0 {
            stage.tell(0, End, self.me, 0);
            return None;
        }
        self.left -= 1;
        let (dice, key) = (next(&mut self.seed) % 100, next(&mut self.seed) % 512);
        stage.tell(0, if dice < 10 { Item } else { Ready }, self.me, key);
        None
    }
}

pub(super) fn dictionary<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const EACH: u64 = 10_000;
    let mut all: Vec<Box<dyn Play<F>>> = vec![Box::new(Dictionary::default())];
    all.extend(cast(1, READERS, |me| Reader { me, left: EACH, seed: u64::from(me) }));
    let handled = EACH * u64::from(READERS);
    perform(trial, all, 1..=READERS as usize, 2 * handled, handled)
}

const SMOKERS: u32 = 200;

struct Arbiter {
    rounds: u64,
    seed: u64,
    told: u32,
    smoked: u64,
}

impl<F: Fixture> Play<F> for Arbiter {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        if word.what == What::Result {
            self.told += 1;
            self.smoked += word.value;
            return (self.told == SMOKERS).then_some(self.smoked);
        }
        if self.rounds == 0 {
            (1..=SMOKERS).for_each(|smoker| stage.tell(smoker as usize, End, 0, 0));
            return None;
        }
        self.rounds -= 1;
        let smoker = 1 + next(&mut self.seed) % u64::from(SMOKERS);
        stage.tell(smoker as usize, Item, 0, next(&mut self.seed) % 20);
        None
    }
}

struct Smoker {
    me: u32,
    smoked: u64,
}

impl<F: Fixture> Play<F> for Smoker {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        if word.what == End {
            stage.tell(0, What::Result, self.me, self.smoked);
            return None;
        }
        self.smoked += 1;
        stage.tell(0, Done, self.me, 0);
        work(word.value);
        None
    }
}

pub(super) fn smokers<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const ROUNDS: u64 = 50_000;
    let arbiter = Arbiter { rounds: ROUNDS, seed: 1, told: 0, smoked: 0 };
    let mut all: Vec<Box<dyn Play<F>>> = vec![Box::new(arbiter)];
    all.extend(cast(1, SMOKERS, |me| Smoker { me, smoked: 0 }));
    perform(trial, all, [0], 2 * ROUNDS, ROUNDS)
}
