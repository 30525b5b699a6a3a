//! Rows on demand: programs of the Savina suite (Imam and Sarkar, "Savina – An Actor Benchmark Suite", AGERE! 2014; default
//! sizes from its repository, smaller where a trial would take longer than a few seconds), chosen among those that are about
//! messages and actors more than about arithmetic. Each is written once, as state machines that every library runs, and ends
//! with a number that is known beforehand.

mod flows;
mod shared;

use crate::fixture::{Fixture, Msg, Role};
use crate::rows::{MSGS, Outcome, Row, Trial, on_demand, rate};
use std::sync::Arc;
use std::time::Instant;

pub const ROWS: &[Row] = &[
    on_demand("counting", MSGS, "Savina: an actor counts what another tells it"),
    on_demand(
        "fork-join",
        MSGS,
        "Savina fjthrput: a thread tells 60 actors in turn, each does a little work",
    ),
    on_demand(
        "fork-create",
        MSGS,
        "Savina fjcreate: a thread starts 40,000 actors that do a little work each",
    ),
    on_demand("fibonacci", MSGS, "Savina: an actor per call of fib(22)"),
    on_demand("chameneos", MSGS, "Savina: 100 creatures meet 200,000 times in one mall"),
    on_demand(
        "philosophers",
        MSGS,
        "Savina: 20 philosophers eat 2,000 times each, one arbitrator has the forks",
    ),
    on_demand("bounded-buffer", MSGS, "Savina: 40 producers, 40 consumers, a buffer of 50"),
    on_demand("barber", MSGS, "Savina: 5,000 customers, a barber, a waiting room of 1,000"),
    on_demand("banking", MSGS, "Savina: 50,000 transfers among 1,000 accounts"),
    on_demand("dictionary", MSGS, "Savina: 20 actors read and write one dictionary 10,000 times each"),
    on_demand("smokers", MSGS, "Savina: 200 smokers, 50,000 rounds of one arbiter"),
    on_demand("sieve", MSGS, "Savina: primes below 100,000 in a chain of filters of 1,000 primes"),
    on_demand("radix-sort", MSGS, "Savina: 20,000 numbers through a chain of 30 sorters"),
    on_demand("queens", MSGS, "Savina: 10 queens, 20 workers under one master"),
];

/// The message of these programs.
pub struct Word {
    what: What,
    from: u32,
    value: u64,
}

/// What a word is about. One alphabet for all programs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Go,
    Item,
    Done,
    Ready,
    Full,
    Result,
    End,
}

/// One actor of such a program.
pub trait Play<F: Fixture>: Send {
    /// Handles a word. What is returned is told to the trial.
    fn on(&mut self, word: Word, stage: &Stage<'_, F>) -> Option<u64>;
}

/// What an actor of such a program can do.
pub struct Stage<'a, F: Fixture> {
    pub peers: &'a [F::Addr],
    pub me: &'a dyn Fn() -> F::Addr,
    pub start: &'a dyn Fn(Box<dyn Play<F>>) -> F::Addr,
}

fn tell<F: Fixture>(to: &F::Addr, what: What, from: u32, value: u64) {
    F::tell(to, Msg::Word(Word { what, from, value }));
}

impl<F: Fixture> Stage<'_, F> {
    fn tell(&self, peer: usize, what: What, from: u32, value: u64) {
        tell::<F>(&self.peers[peer], what, from, value);
    }
}

/// Numbers of which everybody has the same.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Runs the program `name`, and holds it to what must come out.
pub fn run<F: Fixture>(trial: &Trial<F>, name: &str) -> Outcome {
    match name {
        "counting" => flows::counting(trial),
        "fork-join" => flows::fork_join(trial),
        "fork-create" => flows::fork_create(trial),
        "fibonacci" => flows::fibonacci(trial),
        "chameneos" => shared::chameneos(trial),
        "philosophers" => shared::philosophers(trial),
        "bounded-buffer" => shared::bounded_buffer(trial),
        "barber" => shared::barber(trial),
        "banking" => shared::banking(trial),
        "dictionary" => shared::dictionary(trial),
        "smokers" => shared::smokers(trial),
        "sieve" => flows::sieve(trial),
        "radix-sort" => flows::radix_sort(trial),
        "queens" => flows::queens(trial),
        _ => panic!("no row {name}"),
    }
}

/// Starts these actors, which know each other by their place, has those in `first` begin, and waits for the result.
fn perform<F: Fixture>(
    trial: &Trial<F>,
    cast: Vec<Box<dyn Play<F>>>,
    first: impl IntoIterator<Item = usize>,
    messages: u64,
    expected: u64,
) -> Outcome {
    let actors: Arc<[F::Addr]> = cast.into_iter().map(|play| trial.spawn(Role::Play(play))).collect();
    actors.iter().for_each(|actor| F::tell(actor, Msg::Peers(actors.clone())));
    let started = Instant::now();
    first.into_iter().for_each(|actor| tell::<F>(&actors[actor], What::Go, 0, 0));
    let result = trial.wait();
    let elapsed = started.elapsed();
    assert_eq!(result, expected, "the result of the program");
    rate(messages, elapsed)
}

/// `count` of the same, numbered from `from`.
fn cast<F: Fixture, P: Play<F> + 'static>(
    from: u32,
    count: u32,
    make: impl Fn(u32) -> P,
) -> impl Iterator<Item = Box<dyn Play<F>>> {
    (from..from + count).map(move |number| Box::new(make(number)) as Box<dyn Play<F>>)
}
