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

/// The first looks are the warm-up: allocators and caches fill.
const WARMING: usize = 4;

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
    let mut opening = Looks::new(cycles);
    let mut buf = Vec::with_capacity(job.work.size);
    for cycle in 0..cycles {
        let connection = listener.accept(Wait::Forever).map_err(failed)?;
        let echoes = Echoes { work: &job.work, count: 1, buf: &mut buf, after: |_| Ok(()) };
        over::<T, W, _>(&job.work, connection, echoes)?;
        opening.after(cycle, &mut watch)?;
    }
    let mut sending = Looks::new(cycles * MESSAGES);
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
    let mut opening = Looks::new(cycles);
    let mut buf = Vec::with_capacity(job.work.size);
    let start_ns = now_ns();
    for cycle in 0..cycles {
        let calls = Calls { work: &job.work, count: 1, buf: &mut buf, after: |_| Ok(()) };
        over::<T, W, _>(&job.work, connect()?, calls)?;
        opening.after(cycle, &mut watch)?;
    }
    let opened_ns = now_ns();
    let mut sending = Looks::new(cycles * MESSAGES);
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

/// What the process held, now and then.
struct Looks {
    every: u64,
    seen: Vec<(u64, Holding)>,
    told: u64,
}

impl Looks {
    fn new(cycles: u64) -> Looks {
        Looks { every: (cycles / LOOKS).max(1), seen: Vec::with_capacity(64), told: now_ns() }
    }

    fn after(&mut self, cycle: u64, watch: &mut Watch<'_>) -> Result<(), Ended> {
        let now = now_ns();
        if now - self.told >= PROGRESS_NS {
            watch.progress(cycle);
            self.told = now;
        }
        if (cycle + 1).is_multiple_of(self.every) && self.seen.len() < self.seen.capacity() {
            self.seen.push((cycle + 1, holding()?));
        }
        Ok(())
    }

    /// Looks after the warm-up, or all where there are few.
    fn settled(&self) -> &[(u64, Holding)] {
        self.seen.get(WARMING..).filter(|rest| rest.len() > 1).unwrap_or(&self.seen)
    }

    fn growth(&self, figure: impl Fn(&Holding) -> u64) -> f64 {
        match (self.settled().first(), self.settled().last()) {
            (Some(first), Some(last)) => figure(&last.1) as f64 - figure(&first.1) as f64,
            _ => 0.0,
        }
    }

    fn slope(&self) -> f64 {
        let point = |(cycle, holding): &(u64, Holding)| (*cycle as f64, holding.rss_bytes as f64);
        slope(&self.settled().iter().map(point).collect::<Vec<_>>())
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
    fn what_grows_with_every_cycle_shows_and_what_only_warms_up_does_not() {
        let look =
            |cycle: u64, rss_bytes: u64, fds| (cycle, Holding { rss_bytes, fds, ..Holding::default() });
        let with = |seen| Looks { every: 1, seen, told: 0 };
        let leaking = with((1..=20).map(|cycle| look(cycle, 1000 + cycle * 40, cycle)).collect());
        assert_eq!((leaking.slope(), leaking.growth(|h| h.fds)), (40.0, 15.0));
        let warming = with((1..=20).map(|cycle| look(cycle, 1000 * cycle.min(4), 9)).collect());
        assert_eq!((warming.slope(), warming.growth(|h| h.rss_bytes)), (0.0, 0.0));
    }
}
