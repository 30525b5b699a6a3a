//! What an open endpoint costs while nothing comes: memory, descriptors, wake-ups and processor time of a thread that
//! waits on it; then what a message costs among so many open endpoints.
//!
//! ```text
//! client                                   server
//!   |  one connection, one message back and forth  |   both: what the process holds now
//!   |  N more of the same                          |   both: what it holds now, the difference ÷ N
//!   |                                              |   N wait, each on a thread of its own or all on one reactor,
//!   |                                              |   and the main thread looks at the threads that wait
//!   |  <------------------ observed (first one)    |
//!   |  round trips over the second, then a last message over each of the others
//! ```

use std::thread;
use std::time::Duration;

use ipc_results::Recorder;
use ipc_transports::{Address, Connection, Listener, RecvError, Sender, Transport, Wait};

use super::process::{Doing, Holding};
use crate::clock::now_ns;
use crate::error::Failure;
use crate::mechanism::{Ended, setup};
use crate::payload::{Incoming, Outgoing, Phase};
use crate::protocol::{Job, Outcome, Role};
use crate::ways::Ways;
use crate::worker::{Session, Watch, histogram};
use crate::workload::{Blocking, Broken, Crowd, Crowded, Endpoint, Observer, PROGRESS_NS, Work};

/// Between two words to the runner that we are alive.
const SILENCE: Duration = Duration::from_secs(1);

/// Longest time for threads that were just started to come to rest, before they are looked at.
const SETTLING: Duration = Duration::from_millis(200);

pub(crate) type Link<T> = Connection<<T as Transport>::Tx, <T as Transport>::Rx>;

pub(crate) fn run<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    endpoints: usize,
    observe: Duration,
) -> Result<Outcome, Ended> {
    W::crowd(&job.work, Side { session, job, address, endpoints, observe })?
}

/// One side, which does not know yet how its endpoints wait.
struct Side<'a> {
    session: &'a mut Session,
    job: &'a Job,
    address: &'a Address,
    endpoints: usize,
    observe: Duration,
}

impl<T: Transport> Crowded<T> for Side<'_> {
    type Output = Result<Outcome, Ended>;

    fn with(self, crowd: &mut impl Crowd<T::Tx, T::Rx>) -> Self::Output {
        match self.job.role {
            Role::Server => server::<T, _>(self, crowd),
            _ => client::<T, _>(self, crowd),
        }
    }
}

fn server<T: Transport, C: Crowd<T::Tx, T::Rx>>(side: Side<'_>, crowd: &mut C) -> Result<Outcome, Ended> {
    let Side { session, job, address, endpoints, observe } = side;
    let failed = |error| setup(format!("{}: no connection", T::NAME), &error);
    let mut listener = T::listen(address, &T::Options::default()).map_err(failed)?;
    session.listening(listener.address());
    let mut accept = || listener.accept(Wait::Forever).map_err(failed);
    let first = accept()?;
    let effective = effective::<T>(&first);
    let Waiter { end, buf, .. } = Waiter::greet(first, &job.work, crowd)?;
    // It waits for nothing any more, and what it says is said while the others wait.
    let mut first = crowd.detach(end);
    let before = holding()?;
    let mut others = Vec::with_capacity(endpoints);
    for _ in 0..endpoints {
        others.push(Waiter::greet(accept()?, &job.work, crowd)?);
    }
    let cost = cost(before, holding()?, endpoints);
    drop(listener);
    session.ready(effective);
    let mut watch = session.watch();
    let (idle, waited) = crowd.beside(&mut others, Waiter::serve, |threads| {
        let idle = look(threads, endpoints, observe, &mut watch);
        watch.boundary(false);
        (idle, first.tx.send(&buf))
    });
    watch.boundary(true);
    let (idle, told) = idle;
    told.map_err(|error| Ended::lost(error.into()))?;
    waited.map_err(Ended::lost)?;
    let idle = idle.map_err(unreadable)?;
    let cpu = watch.during;
    let measures = cost.into_iter().chain(idle).collect();
    Ok(Outcome { cpu, measures, ..Outcome::default() })
}

/// One endpoint and what is expected of it.
struct Waiter<E> {
    end: E,
    incoming: Incoming,
    buf: Vec<u8>,
}

impl<E: Endpoint> Waiter<E> {
    /// Makes a connection one of the crowd's and sends its first message back.
    fn greet<Tx, Rx>(
        connection: Connection<Tx, Rx>,
        work: &Work,
        crowd: &mut impl Crowd<Tx, Rx, End = E>,
    ) -> Result<Waiter<E>, Ended> {
        let Connection { tx, rx, .. } = connection;
        let end = crowd.attach(Blocking { tx, rx });
        let incoming = Incoming::new(work.size, work.seed);
        let mut waiter = Waiter { end, incoming, buf: Vec::with_capacity(work.size) };
        crowd.run(waiter.echo()).map_err(Ended::lost)?;
        Ok(waiter)
    }

    /// Sends one message back; whether it was the last.
    async fn echo(&mut self) -> Result<bool, Broken> {
        self.end.recv(&mut self.buf).await?;
        let marks = self.incoming.check(&self.buf)?;
        if marks.is_inspected() {
            self.incoming.inspect(&self.buf)?;
        }
        self.end.send(&self.buf).await?;
        Ok(marks.last && marks.phase == Phase::Measured)
    }

    async fn serve(&mut self) -> Result<(), Broken> {
        while !self.echo().await? {}
        Ok(())
    }
}

/// What the waiting threads did meanwhile, per endpoint.
fn look(
    threads: &[i32],
    endpoints: usize,
    observe: Duration,
    watch: &mut Watch<'_>,
) -> std::io::Result<Vec<(String, f64)>> {
    let all = || threads.iter().map(|tid| Doing::of_thread(*tid)).collect::<Result<Vec<_>, _>>();
    rest(SETTLING.min(observe / 5), watch);
    let (before, start_ns) = (all()?, now_ns());
    rest(observe, watch);
    let (after, end_ns) = (all()?, now_ns());
    let pairs = || before.iter().zip(&after);
    let sleeps: u64 = pairs().map(|(before, after)| after.sleeps - before.sleeps).sum();
    let cpu_ns: u64 = pairs().map(|(before, after)| after.cpu_ns - before.cpu_ns).sum();
    let time_ns = (end_ns - start_ns) as f64;
    let each = endpoints as f64;
    Ok(vec![
        ("idle_wakeups_per_s".to_owned(), sleeps as f64 * 1e9 / time_ns / each),
        ("idle_cpu_percent".to_owned(), cpu_ns as f64 * 100.0 / time_ns / each),
        ("observed_ns".to_owned(), time_ns),
    ])
}

/// Lets time pass and tells the runner so.
fn rest(time: Duration, watch: &mut Watch<'_>) {
    let end_ns = now_ns() + time.as_nanos() as u64;
    while let Some(left) = end_ns.checked_sub(now_ns()).filter(|left| *left > 0) {
        // Not a handshake: this time is what is looked at.
        thread::sleep(Duration::from_nanos(left).min(SILENCE));
        watch.progress(0);
    }
}

fn client<T: Transport, C: Crowd<T::Tx, T::Rx>>(side: Side<'_>, crowd: &mut C) -> Result<Outcome, Ended> {
    let Side { session, job, address, endpoints, .. } = side;
    let connect = || {
        T::connect(address, &T::Options::default(), Wait::Forever)
            .map_err(|error| setup(format!("{}: no connection", T::NAME), &error))
    };
    let first = connect()?;
    let effective = effective::<T>(&first);
    let mut first = Caller::greet(first, &job.work, crowd)?;
    let before = holding()?;
    let mut others = Vec::with_capacity(endpoints);
    for _ in 0..endpoints {
        others.push(Caller::greet(connect()?, &job.work, crowd)?);
    }
    let cost = cost(before, holding()?, endpoints);
    session.ready(effective);
    let mut watch = session.watch();
    loop {
        match crowd.run(first.end.recv_within(&mut first.buf, SILENCE)) {
            Ok(()) => break,
            Err(RecvError::TimedOut) => watch.progress(0),
            Err(error) => return Err(Ended::lost(error.into())),
        }
    }
    let Some((busy, rest)) = others.split_first_mut() else {
        return Err(Failure::failed("no endpoint to measure").into());
    };
    watch.boundary(false);
    let outcome = crowd.run(round_trips(busy, &job.work, &mut watch)).map_err(Ended::lost)?;
    watch.boundary(true);
    for caller in rest {
        crowd.run(caller.call(Phase::Measured, true, now_ns())).map_err(Ended::lost)?;
    }
    Ok(Outcome { cpu: watch.during, measures: cost.into_iter().collect(), ..outcome })
}

async fn round_trips<E: Endpoint>(
    caller: &mut Caller<E>,
    work: &Work,
    watch: &mut Watch<'_>,
) -> Result<Outcome, Broken> {
    let mut latency = Recorder::new();
    let start_ns = now_ns();
    let end = work.length.from(start_ns);
    let (mut now, mut told, mut messages) = (start_ns, start_ns, 0);
    loop {
        let last = end.is_next(messages, now);
        caller.call(Phase::Measured, last, now).await?;
        messages += 1;
        let answered = now_ns();
        latency.record(answered - now);
        now = answered;
        if last {
            break;
        }
        if now - told >= PROGRESS_NS {
            watch.progress(messages);
            told = now;
        }
    }
    Ok(Outcome {
        messages,
        first_send_ns: Some(start_ns),
        last_recv_ns: Some(now),
        latency: Some(histogram(&latency)),
        ..Outcome::default()
    })
}

struct Caller<E> {
    end: E,
    outgoing: Outgoing,
    answers: Incoming,
    buf: Vec<u8>,
}

impl<E: Endpoint> Caller<E> {
    /// Makes a connection one of the crowd's, over which one message goes there and back.
    fn greet<Tx, Rx>(
        connection: Connection<Tx, Rx>,
        work: &Work,
        crowd: &mut impl Crowd<Tx, Rx, End = E>,
    ) -> Result<Caller<E>, Ended> {
        let Connection { tx, rx, .. } = connection;
        let mut caller = Caller {
            end: crowd.attach(Blocking { tx, rx }),
            outgoing: Outgoing::new(work.size, work.seed),
            answers: Incoming::new(work.size, work.seed),
            buf: Vec::with_capacity(work.size),
        };
        crowd.run(caller.call(Phase::First, false, now_ns())).map_err(Ended::lost)?;
        Ok(caller)
    }

    /// One message there and back.
    async fn call(&mut self, phase: Phase, last: bool, now: u64) -> Result<(), Broken> {
        let marks = self.outgoing.stamp(phase, last, now);
        self.end.send(self.outgoing.bytes()).await?;
        self.end.recv(&mut self.buf).await?;
        self.answers.check(&self.buf)?;
        if marks.is_inspected() {
            self.answers.inspect(&self.buf)?;
            self.outgoing.refill();
        }
        Ok(())
    }
}

pub(crate) fn effective<T: Transport>(connection: &Link<T>) -> Vec<(String, u64)> {
    connection.effective.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

pub(crate) fn holding() -> Result<Holding, Ended> {
    Holding::now().map_err(unreadable)
}

pub(crate) fn unreadable(error: std::io::Error) -> Ended {
    Failure::failed("what this process uses cannot be read").why(error).into()
}

/// What one endpoint added.
fn cost(before: Holding, after: Holding, endpoints: usize) -> Vec<(String, f64)> {
    let each = |after: u64, before: u64| (after as f64 - before as f64) / endpoints as f64;
    vec![
        ("endpoint_rss_bytes".to_owned(), each(after.rss_bytes, before.rss_bytes)),
        ("endpoint_pss_bytes".to_owned(), each(after.pss_bytes, before.pss_bytes)),
        ("endpoint_private_bytes".to_owned(), each(after.private_bytes, before.private_bytes)),
        ("endpoint_fds".to_owned(), each(after.fds, before.fds)),
        ("process_rss_bytes".to_owned(), after.rss_bytes as f64),
        ("process_private_bytes".to_owned(), after.private_bytes as f64),
    ]
}
