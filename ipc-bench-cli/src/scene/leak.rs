//! What stays behind: connections opened and closed again and again, then messages over one that stays, with the memory
//! and the descriptors of both processes looked at between them.

use ipc_transports::{Address, Connection, Listener, Transport, Wait};

use super::idle::{Link, effective, holding};
use super::process::{Holding, slope};
use crate::clock::now_ns;
use crate::mechanism::{Ended, setup};
use crate::payload::{Incoming, Outgoing, Phase};
use crate::protocol::{Job, Outcome};
use crate::ways::Ways;
use crate::worker::{Session, Watch};
use crate::workload::{Blocking, Broken, Endpoint, Executor, Observer, PROGRESS_NS, Task, Work};

/// Looks at the process, evenly spread over the cycles.
const LOOKS: u64 = 20;

/// Connections opened and closed before the first look, if as many are asked for: allocators and caches fill, and pages of
/// the program are used for the first time.
const WARM_UP: u64 = 1000;

/// Messages per cycle asked for.
const MESSAGES: u64 = 10;

pub(crate) fn server<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    cycles: u64,
) -> Result<Outcome, Ended> {
    let failed = |error| setup(format!("{}: no connection", T::NAME), &error);
    let mut listener = T::listen(address, &T::Options::default()).map_err(failed)?;
    session.listening(listener.address());
    let kept = listener.accept(Wait::Forever).map_err(failed)?;
    session.ready(effective::<T>(&kept));
    let mut watch = session.watch_with_names();
    let mut opening = Looks::opening(cycles);
    let mut buf = Vec::with_capacity(job.work.size);
    for cycle in 0..warm_up(cycles) + cycles {
        let connection = listener.accept(Wait::Forever).map_err(failed)?;
        let echoes = Echoes { work: &job.work, count: 1, buf: &mut buf, after: |_| Ok(()) };
        over::<T, W, _>(&job.work, connection, echoes)?;
        opening.after(cycle, &mut watch)?;
    }
    let mut sending = Looks::sending(cycles);
    let after = |message| sending.after(message, &mut watch);
    let echoes = Echoes { work: &job.work, count: cycles * MESSAGES, buf: &mut buf, after };
    over::<T, W, _>(&job.work, kept, echoes)?;
    Ok(outcome(&opening, &sending))
}

/// Does `task` over a connection, which is closed then.
fn over<T: Transport, W: Ways<T>, K: Task<Output = Result<(), Ended>>>(
    work: &Work,
    connection: Link<T>,
    task: K,
) -> Result<(), Ended> {
    let Connection { tx, rx, .. } = connection;
    W::perform(work, Blocking { tx, rx }, task)?.1
}

/// Sends so many messages back.
struct Echoes<'a, A> {
    work: &'a Work,
    count: u64,
    buf: &'a mut Vec<u8>,
    after: A,
}

impl<A: FnMut(u64) -> Result<(), Ended>> Task for Echoes<'_, A> {
    type Output = Result<(), Ended>;

    fn over<E: Endpoint>(mut self, end: &mut E, executor: &mut impl Executor) -> Self::Output {
        let mut incoming = Incoming::new(self.work.size, self.work.seed);
        executor.run(async {
            for message in 0..self.count {
                echo(end, &mut incoming, self.buf).await.map_err(Ended::lost)?;
                (self.after)(message)?;
            }
            Ok(())
        })
    }
}

async fn echo<E: Endpoint>(end: &mut E, incoming: &mut Incoming, buf: &mut Vec<u8>) -> Result<(), Broken> {
    end.recv(buf).await?;
    if incoming.check(buf)?.is_inspected() {
        incoming.inspect(buf)?;
    }
    Ok(end.send(buf).await?)
}

pub(crate) fn client<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    cycles: u64,
) -> Result<Outcome, Ended> {
    let failed = |error| setup(format!("{}: no connection", T::NAME), &error);
    let connect = || T::connect(address, &T::Options::default(), Wait::Forever).map_err(failed);
    let kept = connect()?;
    session.ready(effective::<T>(&kept));
    let mut watch = session.watch_with_names();
    let mut opening = Looks::opening(cycles);
    let mut buf = Vec::with_capacity(job.work.size);
    let mut start_ns = now_ns();
    for cycle in 0..warm_up(cycles) + cycles {
        if cycle == warm_up(cycles) {
            start_ns = now_ns();
        }
        let calls = Calls { work: &job.work, count: 1, buf: &mut buf, after: |_| Ok(()) };
        over::<T, W, _>(&job.work, connect()?, calls)?;
        opening.after(cycle, &mut watch)?;
    }
    let opened_ns = now_ns();
    let mut sending = Looks::sending(cycles);
    let after = |message| sending.after(message, &mut watch);
    let calls = Calls { work: &job.work, count: cycles * MESSAGES, buf: &mut buf, after };
    over::<T, W, _>(&job.work, kept, calls)?;
    let mut outcome = outcome(&opening, &sending);
    outcome.measures.insert("open_close_ns".into(), (opened_ns - start_ns) as f64 / cycles as f64);
    // What is delivered is the messages over the connection that stays.
    let (messages, first) = (cycles * MESSAGES, Some(opened_ns));
    Ok(Outcome { messages, first_send_ns: first, last_recv_ns: Some(now_ns()), ..outcome })
}

/// Sends so many messages and waits for the answer to each.
struct Calls<'a, A> {
    work: &'a Work,
    count: u64,
    buf: &'a mut Vec<u8>,
    after: A,
}

impl<A: FnMut(u64) -> Result<(), Ended>> Task for Calls<'_, A> {
    type Output = Result<(), Ended>;

    fn over<E: Endpoint>(mut self, end: &mut E, executor: &mut impl Executor) -> Self::Output {
        let mut outgoing = Outgoing::new(self.work.size, self.work.seed);
        executor.run(async {
            for message in 0..self.count {
                call(end, &mut outgoing, self.buf).await.map_err(Ended::lost)?;
                (self.after)(message)?;
            }
            Ok(())
        })
    }
}

async fn call<E: Endpoint>(end: &mut E, outgoing: &mut Outgoing, buf: &mut Vec<u8>) -> Result<(), Broken> {
    let marks = outgoing.stamp(Phase::Measured, false, now_ns());
    end.send(outgoing.bytes()).await?;
    end.recv(buf).await?;
    if marks.is_inspected() {
        outgoing.refill();
    }
    Ok(())
}

/// Connections that are opened and closed before those that are asked for.
pub(crate) fn warm_up(cycles: u64) -> u64 {
    cycles.min(WARM_UP)
}

/// What the process held, now and then.
struct Looks {
    /// How many come before the first look.
    warm_up: u64,
    every: u64,
    seen: Vec<(u64, Holding)>,
    told: u64,
}

impl Looks {
    /// Between connections.
    fn opening(cycles: u64) -> Looks {
        Looks::new(warm_up(cycles), cycles)
    }

    /// Between messages, of which a fifth warms up what the connections have left cold.
    fn sending(cycles: u64) -> Looks {
        let messages = cycles * MESSAGES;
        Looks::new(messages / 5, messages - messages / 5)
    }

    fn new(warm_up: u64, count: u64) -> Looks {
        Looks { warm_up, every: (count / LOOKS).max(1), seen: Vec::with_capacity(64), told: now_ns() }
    }

    fn after(&mut self, cycle: u64, watch: &mut Watch<'_>) -> Result<(), Ended> {
        let now = now_ns();
        if now - self.told >= PROGRESS_NS {
            watch.progress(cycle);
            self.told = now;
        }
        let Some(cycle) = (cycle + 1).checked_sub(self.warm_up) else { return Ok(()) };
        if cycle == 0 {
            // Pages of the program that a look itself uses for the first time are not what is looked for; the kernel maps
            // sixteen around each (64 KiB).
            holding()?;
        }
        if cycle.is_multiple_of(self.every) && self.seen.len() < self.seen.capacity() {
            self.seen.push((cycle, holding()?));
        }
        Ok(())
    }

    fn growth(&self, figure: impl Fn(&Holding) -> u64) -> f64 {
        match (self.seen.first(), self.seen.last()) {
            (Some(first), Some(last)) => figure(&last.1) as f64 - figure(&first.1) as f64,
            _ => 0.0,
        }
    }

    fn slope(&self) -> f64 {
        let point = |(cycle, holding): &(u64, Holding)| (*cycle as f64, holding.rss_bytes as f64);
        slope(&self.seen.iter().map(point).collect::<Vec<_>>())
    }
}

fn outcome(opening: &Looks, sending: &Looks) -> Outcome {
    let measures = [
        ("open_close_fds_delta", opening.growth(|holding| holding.fds)),
        ("open_close_rss_growth_bytes", opening.growth(|holding| holding.rss_bytes)),
        ("open_close_rss_slope_bytes", opening.slope()),
        ("message_fds_delta", sending.growth(|holding| holding.fds)),
        ("message_rss_growth_bytes", sending.growth(|holding| holding.rss_bytes)),
        ("message_rss_slope_bytes", sending.slope()),
    ];
    let measures = measures.map(|(name, value)| (name.to_owned(), value));
    Outcome { measures: measures.into(), ..Outcome::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_with_every_cycle_shows() {
        let look =
            |cycle: u64, rss_bytes: u64, fds| (cycle, Holding { rss_bytes, fds, ..Holding::default() });
        let mut leaking = Looks::new(0, 20);
        leaking.seen.extend((0..16).map(|cycle| look(cycle, 1000 + cycle * 40, cycle)));
        assert_eq!((leaking.slope(), leaking.growth(|h| h.fds)), (40.0, 15.0));
        let mut steady = Looks::new(0, 20);
        steady.seen.extend((0..16).map(|cycle| look(cycle, 1000, 9)));
        assert_eq!((steady.slope(), steady.growth(|h| h.rss_bytes)), (0.0, 0.0));
    }

    #[test]
    fn the_first_look_is_after_the_warm_up_and_the_last_after_the_last_cycle() {
        let (mut out, mut looks) = (tempfile::tempfile().unwrap(), Looks::opening(40));
        let mut watch = Watch::to(&mut out);
        for cycle in 0..warm_up(40) + 40 {
            looks.after(cycle, &mut watch).unwrap();
        }
        let seen: Vec<u64> = looks.seen.iter().map(|(cycle, _)| *cycle).collect();
        assert_eq!(seen, (0..=40).step_by(2).collect::<Vec<u64>>());
        assert_eq!((warm_up(40), warm_up(30_000)), (40, WARM_UP));
    }
}
