//! What every library is asked to do, and the one program of actors that all of them run.
//!
//! The behaviour of an actor ([`Node`]) is written once; a library only carries messages to it. So two libraries differ in
//! what is measured and in nothing else.

use crate::savina::{Play, Stage, Word};
use crossbeam_channel::Sender;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One actor library, or a channel that stands for none.
pub trait Fixture: Sized + Send + 'static {
    /// An actor one can send to.
    type Addr: Clone + Send + Sync + 'static;
    /// What a question carries to be answered by, where the library's messages carry it.
    type Reply: Send + 'static;
    /// What an actor needs to start another.
    type Env;

    /// Starts the library on two threads, where it takes a number.
    fn start() -> Self;
    /// Starts an actor from a thread outside.
    fn spawn(&self, node: Node<Self>) -> Self::Addr;
    /// Starts an actor from an actor.
    fn spawn_within(env: &Self::Env, node: Node<Self>) -> Self::Addr;
    /// Sends without waiting.
    fn tell(to: &Self::Addr, message: Msg<Self>);
    /// Answers a question.
    fn answer(reply: Self::Reply, value: u64);
    /// Asks `count` questions from a thread outside, one after the other.
    fn ask_outside(&self, whom: &Self::Addr, count: u64);

    /// The part of a row's messages that is sent, as its divisor: a thread that wakes another with each message takes
    /// seconds for what the others do in 20 ms.
    const DIVISOR: u64 = 1;

    /// Whether the library starts an actor again that has panicked.
    const RESTARTS: bool = false;

    /// Ends all actors in order, and returns when they have ended; false: not asked of this library.
    fn shut_down(&self) -> bool {
        false
    }

    /// Starts an actor that `make` makes now and after each of its panics. What is returned has it panic, and has it
    /// handle [`Msg::Alive`] as soon after that as the library allows.
    fn fragile(&self, _make: Make<Self>) -> Box<dyn FnMut()> {
        unreachable!("the rows that need it are for libraries that restart")
    }
}

/// Makes the instances of an actor.
pub type Make<F> = Arc<dyn Fn() -> Node<F> + Send + Sync>;

/// The time of a trial, and when an actor of it panicked, in nanoseconds.
pub struct Clock {
    began: Instant,
    panicked: AtomicU64,
}

impl Clock {
    pub fn start() -> Arc<Clock> {
        Arc::new(Clock { began: Instant::now(), panicked: AtomicU64::new(0) })
    }

    pub fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

/// The message of every actor.
pub enum Msg<F: Fixture> {
    /// Count this, after as many rounds of [`work`].
    Tick(u64),
    /// Begin.
    Go,
    /// Pass it on this many times.
    Ball(u64),
    /// Answer, please.
    Question(F::Reply),
    /// What was asked; for libraries whose answers are messages.
    Answered,
    /// The others.
    Peers(Arc<[F::Addr]>),
    /// Answer with `Pong`.
    Ping(u32),
    Pong,
    /// Be the root of a tree of this many leaves, the first with this number.
    Grow {
        first: u64,
        leaves: u64,
        parent: Option<F::Addr>,
    },
    /// The sum of a subtree.
    Sum(u64),
    /// Say how long ago this was on the clock.
    Probe(u64),
    Panic,
    /// Say how long ago the panic was.
    Alive,
    /// For the programs of Savina.
    Word(Word),
}

impl<F: Fixture> fmt::Debug for Msg<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Msg")
    }
}

/// What an actor is for.
pub enum Role<F: Fixture> {
    /// Counts down to the end of the trial.
    Sink { left: u64 },
    /// Counts down a number that all share.
    Shared { left: Arc<AtomicU64> },
    /// Sends `count` ticks to the peers in turn.
    Source { count: u64, work: u64 },
    /// Passes the ball to its one peer.
    Player,
    /// Pings a random peer, `left` times, one after the other.
    Big { me: u32, left: u64, seed: u64, running: Arc<AtomicU64> },
    /// Asks its one peer, `count` times.
    Asker { count: u64 },
    /// Counts down like `Shared`, and knows the time.
    Timed { left: Arc<AtomicU64>, clock: Arc<Clock> },
    /// A node of the tree of Skynet.
    Sky { parent: Option<F::Addr>, waiting: u32, sum: u64 },
    /// Answers, or only exists.
    Quiet,
    /// An actor of a program of Savina.
    Play(Box<dyn Play<F>>),
}

/// Questions that the library shall ask in its own way, one after the other.
pub struct Asking<F: Fixture> {
    pub whom: F::Addr,
    pub count: u64,
    pub done: Sender<u64>,
}

/// One actor.
pub struct Node<F: Fixture> {
    role: Role<F>,
    peers: Arc<[F::Addr]>,
    done: Sender<u64>,
}

impl<F: Fixture> Node<F> {
    /// An actor that tells `done` when its part is over.
    pub fn new(role: Role<F>, done: &Sender<u64>) -> Self {
        Node { role, peers: Arc::new([]), done: done.clone() }
    }

    fn finish(&self, value: u64) {
        // The trial waits for it.
        let _ = self.done.send(value);
    }

    /// Handles one message; `me` makes this actor's own address.
    #[inline]
    pub fn handle(&mut self, message: Msg<F>, me: impl Fn() -> F::Addr, env: &F::Env) -> Option<Asking<F>> {
        match message {
            Msg::Tick(rounds) => {
                work(rounds);
                let last = match &mut self.role {
                    Role::Sink { left } => {
                        *left -= 1;
                        *left == 0
                    }
                    Role::Shared { left } | Role::Timed { left, .. } => {
                        left.fetch_sub(1, Ordering::AcqRel) == 1
                    }
                    _ => false,
                };
                if last {
                    self.finish(0);
                }
            }
            Msg::Ball(0) => self.finish(0),
            Msg::Ball(left) => F::tell(&self.peers[0], Msg::Ball(left - 1)),
            Msg::Question(reply) => F::answer(reply, 1),
            Msg::Answered => {}
            Msg::Peers(peers) => self.peers = peers,
            Msg::Go => return self.go(),
            Msg::Probe(sent) => self.tell_time(|clock| clock.now().saturating_sub(sent)),
            Msg::Panic => {
                if let Role::Timed { clock, .. } = &self.role {
                    clock.panicked.store(clock.now(), Ordering::Release);
                }
                panic!("as it was told");
            }
            Msg::Alive => {
                self.tell_time(|clock| clock.now().saturating_sub(clock.panicked.load(Ordering::Acquire)))
            }
            Msg::Word(word) => self.play(word, &me, env),
            Msg::Ping(from) => F::tell(&self.peers[from as usize], Msg::Pong),
            Msg::Pong => self.ping_next(),
            Msg::Grow { first, leaves, parent } => self.grow(first, leaves, parent, me, env),
            Msg::Sum(part) => {
                if let Role::Sky { waiting, sum, .. } = &mut self.role {
                    *sum += part;
                    *waiting -= 1;
                    if *waiting == 0 {
                        self.sum_up();
                    }
                }
            }
        }
        None
    }

    fn play(&mut self, word: Word, me: &dyn Fn() -> F::Addr, env: &F::Env) {
        let Node { role: Role::Play(play), peers, done } = self else { return };
        let start = |play| F::spawn_within(env, Node::new(Role::Play(play), done));
        if let Some(result) = play.on(word, &Stage { peers, me, start: &start }) {
            // The trial waits for it.
            let _ = done.send(result);
        }
    }

    fn tell_time(&self, value: impl FnOnce(&Clock) -> u64) {
        if let Role::Timed { clock, .. } = &self.role {
            self.finish(value(clock));
        }
    }

    fn go(&mut self) -> Option<Asking<F>> {
        match &self.role {
            Role::Source { count, work } => {
                let peers = self.peers.iter().cycle();
                peers.take(*count as usize).for_each(|peer| F::tell(peer, Msg::Tick(*work)));
            }
            Role::Asker { count } => {
                return Some(Asking { whom: self.peers[0].clone(), count: *count, done: self.done.clone() });
            }
            _ => self.ping_next(),
        }
        None
    }

    fn ping_next(&mut self) {
        let Role::Big { me, left, seed, running } = &mut self.role else { return };
        if *left == 0 {
            if running.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.finish(0);
            }
            return;
        }
        *left -= 1;
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let peer = &self.peers[(*seed >> 33) as usize % self.peers.len()];
        F::tell(peer, Msg::Ping(*me));
    }

    fn grow(
        &mut self,
        first: u64,
        leaves: u64,
        parent: Option<F::Addr>,
        me: impl Fn() -> F::Addr,
        env: &F::Env,
    ) {
        if leaves == 1 {
            self.role = Role::Sky { parent, waiting: 0, sum: first };
            return self.sum_up();
        }
        self.role = Role::Sky { parent, waiting: 10, sum: 0 };
        let part = leaves / 10;
        for child in 0..10 {
            let role = Role::Sky { parent: None, waiting: 0, sum: 0 };
            let child_addr = F::spawn_within(env, Node::new(role, &self.done));
            let message = Msg::Grow { first: first + child * part, leaves: part, parent: Some(me()) };
            F::tell(&child_addr, message);
        }
    }

    fn sum_up(&self) {
        if let Role::Sky { parent, sum, .. } = &self.role {
            match parent {
                Some(parent) => F::tell(parent, Msg::Sum(*sum)),
                None => self.finish(*sum),
            }
        }
    }
}

/// Takes as long as `rounds` rounds of arithmetic that no compiler removes.
#[inline]
pub fn work(rounds: u64) {
    let mut x = rounds;
    for _ in 0..rounds {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x = std::hint::black_box(x);
    }
}
