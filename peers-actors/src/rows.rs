//! The rows of the table: what is done, and what is counted.

use crate::fixture::{Clock, Fixture, Msg, Node, Role, work};
use crate::savina;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// One row.
pub struct Row {
    pub name: &'static str,
    /// What is measured; the first is what the row is about.
    pub measures: &'static [Measure],
    /// Whether a plain thread per actor can take part.
    pub for_threads: bool,
    /// Whether only libraries that restart an actor can take part.
    pub for_restarts: bool,
    /// Whether it runs only when it is named.
    pub on_demand: bool,
    pub what: &'static str,
}

/// One value of a row.
pub struct Measure {
    /// Its name in the result file, with its unit at the end.
    pub name: &'static str,
    /// What ours is held against.
    pub floor: Floor,
}

#[derive(Clone, Copy)]
pub enum Floor {
    /// At least this many times as good as the best peer.
    Ratio(f64),
    /// No less than this, whatever the peers do.
    AtLeast(f64),
    /// No more than this, whatever the peers do.
    AtMost(f64),
    /// To be read, less being better.
    None,
}

impl Measure {
    pub fn higher_is_better(&self) -> bool {
        matches!(self.floor, Ratio(_) | AtLeast(_))
    }
}

const fn row(name: &'static str, measures: &'static [Measure], what: &'static str) -> Row {
    Row { name, measures, for_threads: false, for_restarts: false, on_demand: false, what }
}

/// A row in which threads can take part.
const fn plain(name: &'static str, measures: &'static [Measure], what: &'static str) -> Row {
    Row { for_threads: true, ..row(name, measures, what) }
}

/// A row that runs only when it is named.
pub const fn on_demand(name: &'static str, measures: &'static [Measure], what: &'static str) -> Row {
    Row { on_demand: true, ..row(name, measures, what) }
}

const fn measure(name: &'static str, floor: Floor) -> Measure {
    Measure { name, floor }
}

use Floor::{AtLeast, AtMost, Ratio};

const MSGS_FLOOR: &[Measure] = &[measure("msgs_per_s", Ratio(1.5))];
pub const MSGS: &[Measure] = &[measure("msgs_per_s", Ratio(1.0))];
const ACTORS_FLOOR: &[Measure] = &[measure("actors_per_s", Ratio(1.5))];
const ACTORS: &[Measure] = &[measure("actors_per_s", Ratio(1.0))];
const ASKS_FLOOR: &[Measure] = &[measure("asks_per_s", Ratio(1.5))];
const ASKS: &[Measure] = &[measure("asks_per_s", Ratio(1.0))];
const MEMORY: &[Measure] = &[measure("bytes_per_actor", AtMost(512.0))];
const PANIC: &[Measure] = &[measure("p99_ns", AtMost(1e6)), measure("p50_ns", Floor::None)];
const WAKEUPS: &[Measure] = &[measure("wakeups_per_s", AtMost(0.0))];
const OVERHEAD: &[Measure] = &[measure("percent", AtMost(5.0))];
/// What holds whatever the peers do, with 10,000 actors alive.
const TEN_THOUSAND: &[Measure] = &[
    measure("msgs_per_s", AtLeast(1e6)),
    measure("delivery_p99_ns", AtMost(1e6)),
    measure("bytes_per_actor", AtMost(1_024.0)),
    measure("spawn_ns", AtMost(1e5)),
    measure("recovery_p99_ns", AtMost(1e7)),
    measure("shutdown_ns", AtMost(1e9)),
];

pub const ROWS: &[Row] = &[
    row("tell", MSGS_FLOOR, "a thread tells 100 actors in turn"),
    plain("flood", MSGS, "a thread tells one actor"),
    plain("ping-pong", MSGS_FLOOR, "two actors pass a ball"),
    row("ask", ASKS_FLOOR, "an actor asks another, one question at a time"),
    row("ask-outside", ASKS, "a thread asks an actor, one question at a time"),
    row("spawn", ACTORS_FLOOR, "start actors, each handles one message"),
    row("memory", MEMORY, "resident memory of an idle actor that handled one message"),
    plain("fan-in", MSGS, "8 actors tell one"),
    plain("fan-out", MSGS, "one actor tells 64 in turn"),
    plain("ring", MSGS, "100 actors in a ring pass a ball"),
    row("big", MSGS, "120 actors ping random others"),
    row("skynet", ACTORS, "a tree of 111,111 actors sums its leaves"),
    Row {
        for_restarts: true,
        ..row("panic", PANIC, "from a panic in a handler to the handler of the next message, supervised")
    },
    row("idle", WAKEUPS, "context switches of 10,000 idle actors"),
    plain("overhead", OVERHEAD, "CPU time above calling a 1 µs handler directly"),
    row("ten-thousand", TEN_THOUSAND, "10,000 actors: rate, delivery, memory, start, recovery, orderly end"),
];

/// What a trial found.
pub struct Outcome {
    pub messages: u64,
    pub elapsed: Duration,
    /// One for each measure of the row; NaN: the library has none.
    pub values: Vec<f64>,
}

pub fn rate(messages: u64, elapsed: Duration) -> Outcome {
    one(messages, elapsed, per_second(messages, elapsed))
}

fn one(messages: u64, elapsed: Duration, value: f64) -> Outcome {
    Outcome { messages, elapsed, values: vec![value] }
}

fn per_second(messages: u64, elapsed: Duration) -> f64 {
    messages as f64 / elapsed.as_secs_f64()
}

pub struct Trial<F: Fixture> {
    library: F,
    done: Sender<u64>,
    told: Receiver<u64>,
}

impl<F: Fixture> Trial<F> {
    pub fn spawn(&self, role: Role<F>) -> F::Addr {
        self.library.spawn(Node::new(role, &self.done))
    }

    pub fn spawn_many(&self, count: usize, role: impl Fn(usize) -> Role<F>) -> Arc<[F::Addr]> {
        (0..count).map(|index| self.spawn(role(index))).collect()
    }

    pub fn wait(&self) -> u64 {
        self.told.recv().expect("the trial holds a sender too")
    }

    /// Sends `count` ticks of `rounds` in turn from this thread and waits for their end.
    fn tick(&self, to: &[F::Addr], count: u64, rounds: u64) -> Duration {
        let started = Instant::now();
        to.iter().cycle().take(count as usize).for_each(|peer| F::tell(peer, Msg::Tick(rounds)));
        self.wait();
        started.elapsed()
    }
}

/// Runs one trial of the row `name`.
pub fn run<F: Fixture>(name: &str) -> Outcome {
    let (done, told) = unbounded();
    let trial = Trial { library: F::start(), done, told };
    let outcome = match name {
        "tell" => tell(&trial),
        "flood" => flood(&trial),
        "ping-pong" => ring(&trial, 2, 400_000 / F::DIVISOR),
        "ask" => ask(&trial),
        "ask-outside" => ask_outside(&trial),
        "spawn" => spawn(&trial),
        "memory" => memory(&trial),
        "fan-in" => fan(&trial, 8, 1, 800_000),
        "fan-out" => fan(&trial, 1, 64, 800_000 / F::DIVISOR),
        "ring" => ring(&trial, 100, 400_000 / F::DIVISOR),
        "big" => big(&trial),
        "skynet" => skynet(&trial),
        "idle" => idle(&trial),
        "overhead" => overhead(&trial),
        "panic" => panic(&trial),
        "ten-thousand" => ten_thousand(&trial),
        _ => savina::run(&trial, name),
    };
    // Some libraries take seconds to say goodbye to 100,000 actors; the process ends here anyway.
    std::mem::forget(trial);
    outcome
}

fn tell<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 1_000_000;
    let warm = Arc::new(AtomicU64::new(COUNT / 10));
    trial.tick(&trial.spawn_many(100, |_| Role::Shared { left: warm.clone() }), COUNT / 10, 0);
    let per_sink = COUNT / 100;
    let started = Instant::now();
    let sinks = trial.spawn_many(100, |_| Role::Sink { left: per_sink });
    sinks.iter().cycle().take(COUNT as usize).for_each(|sink| F::tell(sink, Msg::Tick(0)));
    (0..100).for_each(|_| _ = trial.wait());
    rate(COUNT, started.elapsed())
}

fn flood<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 1_000_000;
    trial.tick(&[trial.spawn(Role::Sink { left: COUNT / 10 })], COUNT / 10, 0);
    rate(COUNT, trial.tick(&[trial.spawn(Role::Sink { left: COUNT })], COUNT, 0))
}

fn ring<F: Fixture>(trial: &Trial<F>, members: usize, hops: u64) -> Outcome {
    let players = trial.spawn_many(members, |_| Role::Player);
    for (index, player) in players.iter().enumerate() {
        let next = players[(index + 1) % members].clone();
        F::tell(player, Msg::Peers(Arc::new([next])));
    }
    F::tell(&players[0], Msg::Ball(hops / 10));
    trial.wait();
    let started = Instant::now();
    F::tell(&players[0], Msg::Ball(hops));
    trial.wait();
    rate(hops, started.elapsed())
}

fn ask<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 100_000;
    let quiet: Arc<[F::Addr]> = Arc::new([trial.spawn(Role::Quiet)]);
    let asker = trial.spawn(Role::Asker { count: COUNT });
    F::tell(&asker, Msg::Peers(quiet));
    let mut elapsed = Duration::ZERO;
    // The first round warms up.
    for _ in 0..2 {
        let started = Instant::now();
        F::tell(&asker, Msg::Go);
        trial.wait();
        elapsed = started.elapsed();
    }
    rate(COUNT, elapsed)
}

fn ask_outside<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 10_000;
    let quiet = trial.spawn(Role::Quiet);
    trial.library.ask_outside(&quiet, COUNT / 10);
    let started = Instant::now();
    trial.library.ask_outside(&quiet, COUNT);
    rate(COUNT, started.elapsed())
}

fn spawn<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 50_000;
    let started = Instant::now();
    let left = Arc::new(AtomicU64::new(COUNT));
    let actors = trial.spawn_many(COUNT as usize, |_| Role::Shared { left: left.clone() });
    actors.iter().for_each(|actor| F::tell(actor, Msg::Tick(0)));
    trial.wait();
    rate(COUNT, started.elapsed())
}

fn memory<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 50_000;
    let mut actors = Vec::with_capacity(COUNT as usize);
    actors.resize(COUNT as usize, None);
    // One of them first, so that threads and their stacks are there.
    trial.tick(&[trial.spawn(Role::Sink { left: 1 })], 1, 0);
    let (before, started) = (resident(), Instant::now());
    for slot in &mut actors {
        let actor = trial.spawn(Role::Sink { left: 1 });
        F::tell(&actor, Msg::Tick(0));
        *slot = Some(actor);
        // One at a time: what counts is an idle actor, not how many messages may be under way.
        trial.wait();
    }
    let elapsed = started.elapsed();
    let value = resident().saturating_sub(before) as f64 / COUNT as f64;
    one(COUNT, elapsed, value)
}

/// Resident bytes of this process.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("two numbers");
    pages * rustix::param::page_size() as u64
}

fn fan<F: Fixture>(trial: &Trial<F>, sources: usize, sinks: usize, count: u64) -> Outcome {
    let left = Arc::new(AtomicU64::new(0));
    let to = trial.spawn_many(sinks, |_| Role::Shared { left: left.clone() });
    let share = count / sources as u64;
    let from = trial.spawn_many(sources, |_| Role::Source { count: share, work: 0 });
    from.iter().for_each(|source| F::tell(source, Msg::Peers(to.clone())));
    let mut elapsed = Duration::ZERO;
    for _ in 0..2 {
        left.store(share * sources as u64, std::sync::atomic::Ordering::Release);
        let started = Instant::now();
        from.iter().for_each(|source| F::tell(source, Msg::Go));
        trial.wait();
        elapsed = started.elapsed();
    }
    rate(share * sources as u64, elapsed)
}

fn big<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const ACTORS: usize = 120;
    const PINGS: u64 = 2_000;
    let running = Arc::new(AtomicU64::new(ACTORS as u64));
    let all = trial.spawn_many(ACTORS, |index| Role::Big {
        me: index as u32,
        left: PINGS,
        seed: index as u64,
        running: running.clone(),
    });
    all.iter().for_each(|actor| F::tell(actor, Msg::Peers(all.clone())));
    let started = Instant::now();
    all.iter().for_each(|actor| F::tell(actor, Msg::Go));
    trial.wait();
    rate(ACTORS as u64 * PINGS * 2, started.elapsed())
}

fn skynet<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const LEAVES: u64 = 100_000;
    let started = Instant::now();
    let root = trial.spawn(Role::Sky { parent: None, waiting: 0, sum: 0 });
    F::tell(&root, Msg::Grow { first: 0, leaves: LEAVES, parent: None });
    assert_eq!(trial.wait(), LEAVES * (LEAVES - 1) / 2, "every leaf is counted once");
    rate(111_111, started.elapsed())
}

fn idle<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 10_000;
    let left = Arc::new(AtomicU64::new(COUNT));
    let actors = trial.spawn_many(COUNT as usize, |_| Role::Shared { left: left.clone() });
    actors.iter().for_each(|actor| F::tell(actor, Msg::Tick(0)));
    trial.wait();
    // What is still settling has its time: not a handshake but the time that is measured, as below.
    std::thread::sleep(Duration::from_millis(500));
    let (before, started) = (switches(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let elapsed = started.elapsed();
    // One switch is this thread's own sleep.
    let woken = (switches() - before).saturating_sub(1);
    one(COUNT, elapsed, per_second(woken, elapsed))
}

/// Voluntary context switches of all threads so far.
fn switches() -> u64 {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task").expect("proc is mounted").flatten() {
        let text = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    sum
}

fn overhead<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 100_000;
    const ROUNDS: usize = 3;
    let rounds = rounds_per_microsecond();
    let round = || {
        let source = trial.spawn(Role::Source { count: COUNT, work: rounds });
        F::tell(&source, Msg::Peers(Arc::new([trial.spawn(Role::Sink { left: COUNT })])));
        let before = direct(COUNT, rounds);
        let (cpu, started) = (cpu(), Instant::now());
        F::tell(&source, Msg::Go);
        trial.wait();
        let (cpu, elapsed) = (self::cpu() - cpu, started.elapsed());
        let direct = (before + direct(COUNT, rounds)) / 2;
        ((cpu.as_secs_f64() / direct.as_secs_f64() - 1.0) * 100.0, elapsed)
    };
    // All of it once before: memory for that many messages is there when it counts.
    round();
    let mut found: Vec<(f64, Duration)> = (0..ROUNDS).map(|_| round()).collect();
    found.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (value, elapsed) = found[ROUNDS / 2];
    one(COUNT, elapsed, value)
}

/// Nanoseconds from each of `count` panics to the handler of the message after it, sorted.
fn recoveries<F: Fixture>(trial: &Trial<F>, count: u64) -> Vec<f64> {
    let (clock, done) = (Clock::start(), trial.done.clone());
    let left = Arc::new(AtomicU64::new(0));
    let role = move || Role::Timed { left: left.clone(), clock: clock.clone() };
    let mut panic = trial.library.fragile(Arc::new(move || Node::new(role(), &done)));
    let mut found: Vec<f64> = (0..count)
        .map(|_| {
            panic();
            trial.wait() as f64
        })
        .collect();
    found.sort_by(f64::total_cmp);
    found
}

/// The value at this part of sorted ones.
fn at(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

fn panic<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 2_000;
    let started = Instant::now();
    let found = recoveries(trial, COUNT);
    Outcome { messages: COUNT, elapsed: started.elapsed(), values: vec![at(&found, 0.99), at(&found, 0.5)] }
}

fn ten_thousand<F: Fixture>(trial: &Trial<F>) -> Outcome {
    const COUNT: u64 = 10_000;
    const TOLD: u64 = 1_000_000;
    /// Time between the probes: 20,000 messages/s.
    const EVERY: u64 = 50_000;
    let (clock, left) = (Clock::start(), Arc::new(AtomicU64::new(COUNT)));
    let timed = |_| Role::Timed { left: left.clone(), clock: clock.clone() };
    trial.tick(&trial.spawn_many(1, |_| Role::Sink { left: 1 }), 1, 0);
    let (before, started) = (resident(), Instant::now());
    let actors = trial.spawn_many(COUNT as usize, timed);
    trial.tick(&actors, COUNT, 0);
    let spawn_ns = started.elapsed().as_nanos() as f64 / COUNT as f64;
    let bytes = resident().saturating_sub(before) as f64 / COUNT as f64;

    left.store(TOLD, std::sync::atomic::Ordering::Release);
    let elapsed = trial.tick(&actors, TOLD, 0);

    let begin = clock.now() + EVERY;
    for (turn, actor) in actors.iter().enumerate() {
        // Measured from when it was due, so that a late sender does not hide what it is late for.
        let due = begin + turn as u64 * EVERY;
        while clock.now() < due {
            std::hint::spin_loop();
        }
        F::tell(actor, Msg::Probe(due));
    }
    let mut delivery: Vec<f64> = (0..COUNT).map(|_| trial.wait() as f64).collect();
    delivery.sort_by(f64::total_cmp);

    let recovery = if F::RESTARTS { at(&recoveries(trial, 500), 0.99) } else { f64::NAN };
    let started = Instant::now();
    let shutdown = if trial.library.shut_down() { started.elapsed().as_nanos() as f64 } else { f64::NAN };
    let values = vec![per_second(TOLD, elapsed), at(&delivery, 0.99), bytes, spawn_ns, recovery, shutdown];
    Outcome { messages: TOLD, elapsed, values }
}

fn rounds_per_microsecond() -> u64 {
    const ROUNDS: u64 = 10_000_000;
    work(ROUNDS / 10);
    let started = Instant::now();
    work(ROUNDS);
    (ROUNDS as f64 / (started.elapsed().as_secs_f64() * 1e6)).round() as u64
}

/// CPU time of calling the handler's work directly.
fn direct(count: u64, rounds: u64) -> Duration {
    let before = cpu();
    (0..count).for_each(|_| work(std::hint::black_box(rounds)));
    cpu() - before
}

/// CPU time of all threads of this process so far.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
