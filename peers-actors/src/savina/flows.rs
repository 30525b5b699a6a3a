//! Programs in which messages flow one way, or actors grow as a tree or a chain.

use super::What::{self, End, Go, Item};
use super::{Play, Stage, Word, cast, next, perform, tell};
use crate::fixture::{Fixture, Role, work};
use crate::rows::{Outcome, Trial, rate};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

struct Counter(u64);

impl<F: Fixture> Play<F> for Counter {
    fn on(&mut self, word: Word, _: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            End => Some(self.0),
            _ => {
                self.0 += 1;
                None
            }
        }
    }
}

struct Producer(u64);

impl<F: Fixture> Play<F> for Producer {
    fn on(&mut self, _: Word, stage: &Stage<'_, F>) -> Option<u64> {
        (0..self.0).for_each(|_| stage.tell(0, Item, 0, 0));
        stage.tell(0, End, 0, 0);
        None
    }
}

pub(super) fn counting<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 1_000_000;
    perform(trial, vec![Box::new(Counter(0)), Box::new(Producer(COUNT))], [1], COUNT, COUNT)
}

/// Does a little work with each word; the last of all is told.
struct Forked(Arc<AtomicU64>);

impl<F: Fixture> Play<F> for Forked {
    fn on(&mut self, word: Word, _: &Stage<'_, F>) -> Option<u64> {
        work(word.value);
        (self.0.fetch_sub(1, Ordering::AcqRel) == 1).then_some(0)
    }
}

pub(super) fn fork_join<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const ACTORS: u64 = 60;
    const COUNT: u64 = 600_000;
    let left = Arc::new(AtomicU64::new(COUNT));
    let actors = trial.spawn_many(ACTORS as usize, |_| Role::Play(Box::new(Forked(left.clone()))));
    let started = Instant::now();
    actors.iter().cycle().take(COUNT as usize).for_each(|actor| tell::<F>(actor, Item, 0, 10));
    trial.wait();
    rate(COUNT, started.elapsed())
}

pub(super) fn fork_create<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 40_000;
    let left = Arc::new(AtomicU64::new(COUNT));
    let started = Instant::now();
    for _ in 0..COUNT {
        tell::<F>(&trial.spawn(Role::Play(Box::new(Forked(left.clone())))), Item, 0, 10);
    }
    trial.wait();
    rate(COUNT, started.elapsed())
}

/// One call.
struct Fib<F: Fixture> {
    parent: Option<F::Addr>,
    waiting: u32,
    sum: u64,
}

impl<F: Fixture> Play<F> for Fib<F> {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Go if word.value > 2 => {
                self.waiting = 2;
                for below in [word.value - 1, word.value - 2] {
                    let child = Fib { parent: Some((stage.me)()), waiting: 0, sum: 0 };
                    tell::<F>(&(stage.start)(Box::new(child)), Go, 0, below);
                }
                return None;
            }
            Go => self.sum = 1,
            _ => {
                self.sum += word.value;
                self.waiting -= 1;
            }
        }
        if self.waiting > 0 {
            return None;
        }
        match &self.parent {
            Some(parent) => tell::<F>(parent, What::Result, 0, self.sum),
            None => return Some(self.sum),
        }
        None
    }
}

pub(super) fn fibonacci<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const FIB_22: u64 = 17_711;
    let root = trial.spawn(Role::Play(Box::new(Fib { parent: None, waiting: 0, sum: 0 })));
    let started = Instant::now();
    tell::<F>(&root, Go, 0, 22);
    let (result, elapsed) = (trial.wait(), started.elapsed());
    assert_eq!(result, FIB_22);
    // A call is told to begin and tells its value.
    rate(2 * (2 * FIB_22 - 1), elapsed)
}

const NUMBERS: u64 = 100_000;

/// Holds so many primes, and passes on what none of them divides.
struct Filter<F: Fixture> {
    primes: Vec<u64>,
    next: Option<F::Addr>,
}

impl<F: Fixture> Filter<F> {
    const PRIMES: usize = 1_000;

    fn new() -> Self {
        Filter { primes: Vec::new(), next: None }
    }
}

impl<F: Fixture> Play<F> for Filter<F> {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        if word.what == End {
            let count = word.value + self.primes.len() as u64;
            let Some(next) = &self.next else { return Some(count) };
            tell::<F>(next, End, 0, count);
            return None;
        }
        let mut primes = self.primes.iter().take_while(|prime| *prime * *prime <= word.value);
        if primes.any(|prime| word.value.is_multiple_of(*prime)) {
            return None;
        }
        if self.primes.len() < Self::PRIMES {
            self.primes.push(word.value);
            return None;
        }
        let next = self.next.get_or_insert_with(|| (stage.start)(Box::new(Self::new())));
        tell::<F>(next, Item, 0, word.value);
        None
    }
}

struct Numbers;

impl<F: Fixture> Play<F> for Numbers {
    fn on(&mut self, _: Word, stage: &Stage<'_, F>) -> Option<u64> {
        (3..NUMBERS).step_by(2).for_each(|number| stage.tell(0, Item, 0, number));
        // With the 2.
        stage.tell(0, End, 0, 1);
        None
    }
}

pub(super) fn sieve<F: Fixture>(trial: &Trial<F>) -> Outcome {
    perform(trial, vec![Box::new(Filter::<F>::new()), Box::new(Numbers)], [1], NUMBERS / 2, 9_592)
}

const SORTED: usize = 20_000;
const BITS: u32 = 30;

/// The numbers to be sorted.
fn unsorted() -> impl Iterator<Item = u64> {
    let mut seed = 1;
    (0..SORTED).map(move |_| next(&mut seed) & ((1 << BITS) - 1))
}

struct Unsorted;

impl<F: Fixture> Play<F> for Unsorted {
    fn on(&mut self, _: Word, stage: &Stage<'_, F>) -> Option<u64> {
        unsorted().for_each(|number| stage.tell(1, Item, 0, number));
        None
    }
}

/// Passes on what does not have its bit, and then what has.
struct Sorter {
    me: u32,
    seen: usize,
    kept: Vec<u64>,
}

impl<F: Fixture> Play<F> for Sorter {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        let next = self.me as usize + 1;
        if word.value & (1 << (self.me - 1)) == 0 {
            stage.tell(next, Item, 0, word.value);
        } else {
            self.kept.push(word.value);
        }
        self.seen += 1;
        if self.seen == SORTED {
            self.kept.drain(..).for_each(|number| stage.tell(next, Item, 0, number));
        }
        None
    }
}

#[derive(Default)]
struct Validator {
    seen: usize,
    last: u64,
    sum: u64,
}

impl<F: Fixture> Play<F> for Validator {
    fn on(&mut self, word: Word, _: &Stage<'_, F>) -> Option<u64> {
        self.seen += 1;
        self.sum = if word.value < self.last { u64::MAX } else { self.sum.saturating_add(word.value) };
        self.last = word.value;
        (self.seen == SORTED).then_some(self.sum)
    }
}

pub(super) fn radix_sort<F: Fixture>(trial: &Trial<F>) -> Outcome {
    let mut all: Vec<Box<dyn Play<F>>> = vec![Box::new(Unsorted)];
    all.extend(cast(1, BITS, |me| Sorter { me, seen: 0, kept: Vec::new() }));
    all.push(Box::new(Validator::default()));
    perform(trial, all, [0], SORTED as u64 * u64::from(BITS + 1), unsorted().sum())
}

const QUEENS: u32 = 10;
const HANDS: u32 = 20;

struct Master {
    open: u64,
    turn: u32,
    solutions: u64,
}

impl<F: Fixture> Play<F> for Master {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        match word.what {
            Go | Item => {
                self.open += 1;
                self.turn = (self.turn + 1) % HANDS;
                stage.tell(1 + self.turn as usize, Item, word.from, word.value);
            }
            _ => {
                self.open -= 1;
                self.solutions += word.value;
            }
        }
        (self.open == 0).then_some(self.solutions)
    }
}

/// Columns where a queen may stand in row `row` of a board that has four bits for each row above.
fn free(board: u64, row: u32) -> impl Iterator<Item = u64> {
    (0..u64::from(QUEENS)).filter(move |column| {
        (0..row).all(|above| {
            let at = board >> (4 * above) & 15;
            at != *column && at.abs_diff(*column) != u64::from(row - above)
        })
    })
}

fn solve(board: u64, row: u32) -> u64 {
    if row == QUEENS {
        return 1;
    }
    free(board, row).map(|column| solve(board | column << (4 * row), row + 1)).sum()
}

struct Hand;

impl<F: Fixture> Play<F> for Hand {
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64> {
        const ROWS_AS_MESSAGES: u32 = 4;
        let (board, row) = (word.value, word.from);
        let mut solutions = 0;
        if row < ROWS_AS_MESSAGES {
            free(board, row).for_each(|column| stage.tell(0, Item, row + 1, board | column << (4 * row)));
        } else {
            solutions = solve(board, row);
        }
        stage.tell(0, What::Result, 0, solutions);
        None
    }
}

/// Boards with this many rows that are handed out.
fn boards(board: u64, row: u32, rows: u32) -> u64 {
    if row == rows {
        return 1;
    }
    1 + free(board, row).map(|column| boards(board | column << (4 * row), row + 1, rows)).sum::<u64>()
}

pub(super) fn queens<F: Fixture>(trial: &Trial<F>) -> Outcome {
    let mut all: Vec<Box<dyn Play<F>>> = vec![Box::new(Master { open: 0, turn: 0, solutions: 0 })];
    all.extend(cast(1, HANDS, |_| Hand));
    perform(trial, all, [0], 3 * boards(0, 0, 4), 724)
}
