//! What one process of a pattern does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ipc_results::Recorder;
use ipc_transports::{
    Address, Connection, Listener, Receiver, Sender, SetupError, SetupErrorKind, Transport, Wait,
};

use super::gather::Arriving;
use super::party::{Inlet, Outlet, Part, Party};
use super::{Duty, Node};
use crate::clock::now_ns;
use crate::error::Failure;
use crate::mechanism::{Ended, setup, too_long};
use crate::payload::{Incoming, Outgoing, Phase, sent_ns};
use crate::protocol::{Job, Journal, Link, Outcome, Role};
use crate::scene::events::{Logging, Producing};
use crate::ways::Ways;
use crate::worker::{Session, Watch, histogram};
use crate::workload::{Broken, Length, Observer, PROGRESS_NS, Work};

/// How long a process waits for connections before it looks whether its own ones failed.
const LOOK: Duration = Duration::from_millis(100);

/// A connection and the number of the process at its other end.
type Edge<T> = (usize, Connection<<T as Transport>::Tx, <T as Transport>::Rx>);

/// Listens, connects, waits for the start and does its duty.
pub(crate) fn run<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    node: &Node,
    looks: u32,
) -> Result<Outcome, Ended> {
    let Role::Node(own) = job.role else {
        return Err(Failure::failed(format!("the {} is no part of a pattern", job.role.name())).into());
    };
    let options = T::Options::default();
    let failed = |error: SetupError| setup(format!("{}: no connection", T::NAME), &error);
    let mut listener =
        (node.inbound > 0).then(|| T::listen(address, &options)).transpose().map_err(failed)?;
    if let Some(listener) = &listener {
        session.listening(listener.address());
    }
    let peers = session.peers();
    let gave_up = AtomicBool::new(false);
    // Both at once: in a mesh everybody connects to somebody who is connecting.
    let (came, went) = thread::scope(|scope| {
        let coming = scope.spawn(|| accept::<T>(listener.as_mut(), node.inbound, &gave_up));
        let went = connect::<T>(&peers, own.into());
        gave_up.store(went.is_err(), Ordering::Relaxed);
        (coming.join(), went)
    });
    let went = went?;
    let came = came.map_err(|_| Failure::failed("the accepting thread panicked"))?.map_err(failed)?;
    // Its names are gone before the first message.
    drop(listener);
    let connections = || came.iter().chain(&went).map(|(_, connection)| connection);
    for connection in connections() {
        if job.work.size > connection.tx.max_message() {
            return Err(too_long(T::NAME, job.work.size, connection.tx.max_message()).into());
        }
    }
    let effective = connections().next().map(|connection| &connection.effective);
    let effective = effective.into_iter().flatten().map(|(name, value)| ((*name).to_owned(), *value));
    session.ready(effective.collect());
    work::<T, W>(session, job, node, looks, came, went)
}

/// Takes `count` connections; the first message of each says who it is.
fn accept<T: Transport>(
    listener: Option<&mut T::Listener>,
    count: usize,
    gave_up: &AtomicBool,
) -> Result<Vec<Edge<T>>, SetupError> {
    let mut came = Vec::with_capacity(count);
    let Some(listener) = listener else { return Ok(came) };
    while came.len() < count && !gave_up.load(Ordering::Relaxed) {
        match listener.accept(Wait::within(LOOK)) {
            Ok(mut connection) => {
                let mut name = Vec::new();
                // One that says nothing has died, which its runner notices before anybody.
                if connection.rx.recv(&mut name).is_ok() {
                    let number = name.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                    came.push((number as usize, connection));
                }
            }
            Err(error) if matches!(error.kind, SetupErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(came)
}

fn connect<T: Transport>(peers: &[(usize, String)], own: usize) -> Result<Vec<Edge<T>>, Ended> {
    let connect = |(number, address): &(usize, String)| {
        let address: Address = address.parse().map_err(Failure::failed)?;
        let mut connection = T::connect(&address, &T::Options::default(), Wait::Forever)
            .map_err(|error| setup(format!("no connection to peer {number}"), &error))?;
        connection.tx.send(&(own as u64).to_le_bytes()).map_err(|error| Ended::lost(error.into()))?;
        Ok((*number, connection))
    };
    peers.iter().map(connect).collect()
}

fn work<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    node: &Node,
    looks: u32,
    came: Vec<Edge<T>>,
    went: Vec<Edge<T>>,
) -> Result<Outcome, Ended> {
    let work = &job.work;
    let watch = session.watch();
    // The halves that only a journal uses stay open: their end would be the connection's.
    let (from, (rxs, back)): (Vec<_>, (Vec<_>, Vec<_>)) =
        came.into_iter().map(|(number, connection)| (number, (connection.rx, connection.tx))).unzip();
    let (to, (txs, forth)): (Vec<_>, (Vec<_>, Vec<_>)) =
        went.into_iter().map(|(number, connection)| (number, (connection.tx, connection.rx))).unzip();
    if let Link::Node { journal: Some(journal), .. } = &job.link {
        let Journal { path, rate } = journal;
        return if node.is_sink() {
            W::among(work, rxs, txs, looks, Logging { path, from: &from, txs: back, work, watch })?
        } else {
            W::among(work, forth, txs, looks, Producing { rate: *rate, work, watch })?
        };
    }
    W::among(work, rxs, txs, looks, Doing { work, node, from, to, watch })?
}

/// The duty of a node whose connections lead to these processes.
struct Doing<'a> {
    work: &'a Work,
    node: &'a Node,
    from: Vec<usize>,
    to: Vec<usize>,
    watch: Watch<'a>,
}

impl Part for Doing<'_> {
    type Output = Result<Outcome, Ended>;

    fn among(self, party: &mut impl Party) -> Self::Output {
        let Doing { work, node, from, to, mut watch } = self;
        let duty = node.duty;
        let mut outcome = Outcome::default();
        if duty == Duty::Relay {
            party
                .run(async |rxs, txs| relay(&mut rxs[0], &mut txs[0], work, &mut watch).await)
                .map_err(Ended::lost)?;
        } else if node.is_sink() {
            let mut arrivals = Arrivals::new(from.len(), work, &mut watch);
            let made = party.sink(async |txs| make(txs, duty, work, &mut Nobody).await, &mut arrivals)?;
            outcome.messages = arrivals.per_edge.iter().sum();
            outcome.last_recv_ns = Some(arrivals.last_recv_ns);
            outcome.latency = Some(histogram(&arrivals.latency));
            outcome.got_from = from.into_iter().zip(arrivals.per_edge).collect();
            if let Some(made) = made {
                describe(&mut outcome, to, made.map_err(Ended::lost)?);
            }
        } else if duty == Duty::Rest {
            let made = party.run(async |_, txs| rest(&mut txs[0], work, &mut watch).await);
            outcome.flags.push(RESTED.into());
            describe(&mut outcome, to, made.map_err(Ended::lost)?);
        } else {
            let made = party.run(async |_, txs| make(txs, duty, work, &mut watch).await);
            describe(&mut outcome, to, made.map_err(Ended::lost)?);
        }
        outcome.cpu = watch.during;
        Ok(outcome)
    }
}

fn describe(outcome: &mut Outcome, to: Vec<usize>, made: Made) {
    outcome.first_send_ns = Some(made.first_send_ns);
    outcome.made_for = to.into_iter().zip(made.per_edge).collect();
}

/// The observer of a thread whose process is watched by another.
struct Nobody;

impl Observer for Nobody {
    fn progress(&mut self, _messages: u64) {}

    fn boundary(&mut self, _over: bool) {}
}

/// What a process that makes messages knows.
#[derive(Debug)]
pub(crate) struct Made {
    /// Right before the first measured send.
    pub(crate) first_send_ns: u64,
    /// Measured messages over each connection.
    pub(crate) per_edge: Vec<u64>,
}

/// Makes messages for all connections: one each, then the warm-up, then the measured part, which ends with a message
/// marked as the last over each connection.
pub(crate) async fn make<Tx: Outlet>(
    txs: &mut [Tx],
    duty: Duty,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<Made, Broken> {
    let copies = duty == Duty::Copy;
    // What goes to everybody is made once.
    let messages = if copies { 1 } else { txs.len() };
    let mut maker = Maker {
        outgoing: (0..messages).map(|_| Outgoing::new(work.size, work.seed)).collect(),
        copies,
        told: now_ns(),
    };
    maker.phase(txs, Phase::First, Length::Messages(0), observer).await?;
    maker.phase(txs, Phase::WarmUp, Length::Time(work.warmup.about()), observer).await?;
    observer.boundary(false);
    let first_send_ns = now_ns();
    let per_edge = maker.phase(txs, Phase::Measured, work.length, observer).await?;
    observer.boundary(true);
    Ok(Made { first_send_ns, per_edge })
}

/// The flag of a process that was told to send next to nothing.
pub(crate) const RESTED: &str = "rested";

/// Sends what begins and what ends the measured part, and nothing between.
async fn rest<Tx: Outlet>(tx: &mut Tx, work: &Work, observer: &mut impl Observer) -> Result<Made, Broken> {
    let mut outgoing = Outgoing::new(work.size, work.seed);
    observer.boundary(false);
    let first_send_ns = now_ns();
    let over_ns =
        first_send_ns + if let Length::Time(time) = work.length { time.as_nanos() as u64 } else { 0 };
    outgoing.stamp(Phase::Measured, false, first_send_ns);
    tx.put(outgoing.bytes()).await?;
    while let Some(left) = over_ns.checked_sub(now_ns()).filter(|left| *left > 0) {
        tx.pause(Duration::from_nanos(left.min(PROGRESS_NS))).await;
        observer.progress(1);
    }
    outgoing.stamp(Phase::Measured, true, now_ns());
    tx.put(outgoing.bytes()).await?;
    observer.boundary(true);
    Ok(Made { first_send_ns, per_edge: vec![2] })
}

struct Maker {
    /// Of each connection, or one for all.
    outgoing: Vec<Outgoing>,
    copies: bool,
    told: u64,
}

impl Maker {
    /// A phase in which each connection gets one message at least.
    async fn phase<Tx: Outlet>(
        &mut self,
        txs: &mut [Tx],
        phase: Phase,
        length: Length,
        observer: &mut impl Observer,
    ) -> Result<Vec<u64>, Broken> {
        let turns = self.outgoing.len();
        let mut per_edge = vec![0; txs.len()];
        let (ends_at_ns, mut left) = match length {
            Length::Time(time) => (now_ns() + time.as_nanos() as u64, None),
            Length::Messages(messages) => (u64::MAX, Some((messages as usize).max(turns))),
        };
        for turn in (0..turns).cycle() {
            let now = now_ns();
            if left.is_none() && now >= ends_at_ns {
                left = Some(turns);
            }
            if left == Some(0) {
                break;
            }
            if now - self.told >= PROGRESS_NS {
                observer.progress(per_edge.iter().sum());
                self.told = now;
            }
            let outgoing = &mut self.outgoing[turn];
            let marks = outgoing.stamp(phase, left.is_some_and(|left| left <= turns), now);
            let edges = if self.copies { 0..txs.len() } else { turn..turn + 1 };
            for edge in edges {
                txs[edge].put(outgoing.bytes()).await?;
                per_edge[edge] += 1;
            }
            if marks.is_inspected() {
                outgoing.refill();
            }
            left = left.map(|left| left - 1);
        }
        Ok(per_edge)
    }
}

/// Passes on every message, checked, until the last.
pub(crate) async fn relay<Rx: Inlet, Tx: Outlet>(
    rx: &mut Rx,
    tx: &mut Tx,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<(), Broken> {
    let mut incoming = Incoming::new(work.size, work.seed);
    let mut buf = Vec::with_capacity(work.size);
    let mut measuring = false;
    loop {
        rx.next(&mut buf).await?;
        let marks = incoming.check(&buf)?;
        if marks.phase == Phase::Measured && !measuring {
            measuring = true;
            observer.boundary(false);
        }
        if marks.is_inspected() {
            incoming.inspect(&buf)?;
        }
        tx.put(&buf).await?;
        if marks.last && marks.phase == Phase::Measured {
            observer.boundary(true);
            return Ok(());
        }
    }
}

/// What arrived, by connection.
#[derive(Debug)]
pub(crate) struct Arrivals<'a, O> {
    incoming: Vec<Incoming>,
    /// Measured messages over each connection.
    pub(crate) per_edge: Vec<u64>,
    /// From the stamp of the process that made the message to its arrival here.
    pub(crate) latency: Recorder,
    pub(crate) last_recv_ns: u64,
    open: usize,
    measuring: bool,
    told: u64,
    observer: &'a mut O,
}

impl<'a, O: Observer> Arrivals<'a, O> {
    pub(crate) fn new(edges: usize, work: &Work, observer: &'a mut O) -> Arrivals<'a, O> {
        Arrivals {
            incoming: vec![Incoming::new(work.size, work.seed); edges],
            per_edge: vec![0; edges],
            latency: Recorder::new(),
            last_recv_ns: 0,
            open: edges,
            measuring: false,
            told: now_ns(),
            observer,
        }
    }
}

impl<O: Observer> Arriving for Arrivals<'_, O> {
    fn take(&mut self, edge: usize, message: &[u8]) -> Result<bool, Broken> {
        let marks = self.incoming[edge].check(message)?;
        if marks.phase == Phase::Measured {
            let now = now_ns();
            if !self.measuring {
                self.measuring = true;
                self.observer.boundary(false);
            }
            self.latency.record(now.saturating_sub(sent_ns(message)));
            self.per_edge[edge] += 1;
            self.last_recv_ns = now;
            if now - self.told >= PROGRESS_NS {
                self.idle();
            }
        }
        if marks.is_inspected() {
            self.incoming[edge].inspect(message)?;
        }
        let over = marks.last && marks.phase == Phase::Measured;
        if over {
            self.open -= 1;
            if self.open == 0 {
                self.observer.boundary(true);
            }
        }
        Ok(over)
    }

    fn idle(&mut self) {
        self.observer.progress(self.per_edge.iter().sum());
        self.told = now_ns();
    }
}
