//! Records from many producers, appended durably by one logger.
//!
//! The logger's main thread receives and puts records into a batch; its second thread writes the batch, calls
//! `fdatasync` and tells each producer how many of its records are durable. While one batch is on its way to the disk
//! the next one grows: the slower the disk, the larger the batches.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ipc_results::Recorder;
use ipc_transports::{RecvError, SendError, Sender};

use super::journal;
use crate::clock::now_ns;
use crate::error::Failure;
use crate::mechanism::Ended;
use crate::pattern::gather::Arriving;
use crate::pattern::party::{Inlet, Outlet, Part, Party};
use crate::payload::{Incoming, Outgoing, Phase, sent_ns};
use crate::protocol::Outcome;
use crate::worker::{Watch, histogram};
use crate::workload::{Broken, Observer, PROGRESS_NS, Work};

/// Bytes of a batch from which on the receiving thread waits for the disk.
const MOST_PENDING: usize = 4 << 20;

/// How long a call waits before the runner hears from us.
const SILENCE: Duration = Duration::from_secs(1);

/// In an acknowledgement: the last record is among those that are durable.
const ALL: u64 = 1 << 63;

/// The flag of a producer whose logger has gone.
pub(crate) const LOST: &str = "logger_lost";

/// Name of the count of records that the logger called durable.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged_count";

/// What is not on the disk yet.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Of each record: its connection, its stamp, and whether it is the last one there.
    records: Vec<(usize, u64, bool)>,
}

#[derive(Default)]
struct Pending {
    batch: Batch,
    /// Nothing will be added any more.
    over: bool,
    /// Why the second thread gave up.
    failed: Option<String>,
}

/// The batch between the two threads.
#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// Something was added, or it is over.
    more: Condvar,
    /// The batch was taken, or the disk failed.
    taken: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the second thread knows when it ends.
struct Written {
    durable: Recorder,
    syncs: u64,
    bytes: u64,
}

/// The logger: receives until every producer has sent its last record, and ends when all are durable.
pub(crate) struct Logging<'a, Tx> {
    pub(crate) path: &'a Path,
    /// Number of the producer at each connection.
    pub(crate) from: &'a [usize],
    /// To the producers, for acknowledgements: sent by the thread that waits for the disk, which nothing can await.
    pub(crate) txs: Vec<Tx>,
    pub(crate) work: &'a Work,
    pub(crate) watch: Watch<'a>,
}

impl<Tx: Sender> Part for Logging<'_, Tx> {
    type Output = Result<Outcome, Ended>;

    fn among(self, party: &mut impl Party) -> Self::Output {
        let Logging { path, from, mut txs, work, mut watch } = self;
        let mut file = journal::create(path).map_err(|error| {
            Failure::failed(format!("{} cannot be made", path.display()))
                .why(error)
                .fix("name another directory with --event-log DIR")
        })?;
        let shared = Shared::default();
        let mut receiving = Receiving {
            shared: &shared,
            numbers: from,
            incoming: vec![Incoming::new(work.size, work.seed); from.len()],
            per_edge: vec![0; from.len()],
            latency: Recorder::new(),
            last_recv_ns: 0,
            told: now_ns(),
            watch: &mut watch,
        };
        receiving.watch.boundary(false);
        let (gathered, written) = thread::scope(|scope| {
            let writing = scope.spawn(|| write(&mut file, &shared, &mut txs));
            let gathered = party.sink(async |_| (), &mut receiving);
            shared.lock().over = true;
            shared.more.notify_one();
            (gathered, writing.join())
        });
        let written = written.map_err(|_| Failure::failed("the writing thread panicked"))?;
        let written = written
            .map_err(|error| Failure::failed(format!("{} cannot be written", path.display())).why(error))?;
        gathered?;
        receiving.watch.boundary(true);
        Ok(outcome(receiving, &written))
    }
}

fn outcome(received: Receiving<'_, '_>, written: &Written) -> Outcome {
    let messages: u64 = received.per_edge.iter().sum();
    let percentile = |percent| written.durable.percentile_ns(percent).map(|ns| ns as f64);
    let measures = [
        ("durable_p50_ns", percentile(50.0)),
        ("durable_p95_ns", percentile(95.0)),
        ("durable_p99_ns", percentile(99.0)),
        ("durable_max_ns", written.durable.max_ns().map(|ns| ns as f64)),
        ("fdatasync_count", Some(written.syncs as f64)),
        ("records_per_fdatasync", Some(messages as f64 / written.syncs.max(1) as f64)),
        ("journal_bytes", Some(written.bytes as f64)),
    ];
    let measures = measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Outcome {
        messages,
        last_recv_ns: Some(received.last_recv_ns),
        latency: Some(histogram(&received.latency)),
        got_from: received.numbers.iter().copied().zip(received.per_edge).collect(),
        measures: measures.collect(),
        cpu: received.watch.during,
        ..Outcome::default()
    }
}

/// Makes batches durable, one after the other, until there will be no more.
fn write<Tx: Sender>(file: &mut File, shared: &Shared, txs: &mut [Tx]) -> std::io::Result<Written> {
    let mut written = Written { durable: Recorder::new(), syncs: 0, bytes: 0 };
    let mut durable = vec![0u64; txs.len()];
    let mut batch = Batch::default();
    loop {
        {
            let mut pending = shared.lock();
            while pending.batch.records.is_empty() && !pending.over {
                pending = shared.more.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            if pending.batch.records.is_empty() {
                return Ok(written);
            }
            std::mem::swap(&mut pending.batch, &mut batch);
        }
        shared.taken.notify_one();
        if let Err(error) = journal::commit(file, &batch.bytes) {
            shared.lock().failed = Some(error.to_string());
            shared.taken.notify_one();
            return Err(error);
        }
        let now = now_ns();
        written.syncs += 1;
        written.bytes += batch.bytes.len() as u64;
        let mut touched = vec![None; txs.len()];
        for (edge, stamp, last) in batch.records.drain(..) {
            written.durable.record(now.saturating_sub(stamp));
            durable[edge] += 1;
            touched[edge] = Some(last);
        }
        batch.bytes.clear();
        for (edge, touched) in touched.into_iter().enumerate() {
            let Some(last) = touched else { continue };
            let count = durable[edge] | if last { ALL } else { 0 };
            // A producer that has gone is for the receiving thread to notice.
            let _ = txs[edge].send(&count.to_le_bytes());
        }
    }
}

/// The receiving thread's part.
pub(crate) struct Receiving<'a, 'w> {
    shared: &'a Shared,
    /// Number of the producer at each connection.
    numbers: &'a [usize],
    incoming: Vec<Incoming>,
    per_edge: Vec<u64>,
    /// From the stamp of a record to its receipt.
    latency: Recorder,
    last_recv_ns: u64,
    told: u64,
    watch: &'a mut Watch<'w>,
}

impl Arriving for Receiving<'_, '_> {
    fn take(&mut self, edge: usize, message: &[u8]) -> Result<bool, Broken> {
        let marks = self.incoming[edge].check(message)?;
        let now = now_ns();
        let stamp = sent_ns(message);
        self.latency.record(now.saturating_sub(stamp));
        self.per_edge[edge] += 1;
        self.last_recv_ns = now;
        if now - self.told >= PROGRESS_NS {
            self.idle();
        }
        if marks.is_inspected() {
            self.incoming[edge].inspect(message)?;
        }
        let mut pending = self.shared.lock();
        while pending.batch.bytes.len() > MOST_PENDING && pending.failed.is_none() {
            pending = self.shared.taken.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = &pending.failed {
            return Err(RecvError::Io(std::io::Error::other(error.clone())).into());
        }
        journal::add(&mut pending.batch.bytes, self.numbers[edge] as u32, message);
        pending.batch.records.push((edge, stamp, marks.last));
        drop(pending);
        self.shared.more.notify_one();
        Ok(marks.last)
    }

    fn idle(&mut self) {
        self.watch.progress(self.per_edge.iter().sum());
        self.told = now_ns();
    }
}

/// A producer: sends `rate` records per second and hears which are durable. When the logger dies it ends well and says
/// what was acknowledged, so that somebody can look whether that is true.
pub(crate) struct Producing<'a> {
    pub(crate) rate: u64,
    pub(crate) work: &'a Work,
    pub(crate) watch: Watch<'a>,
}

impl Part for Producing<'_> {
    type Output = Result<Outcome, Ended>;

    fn among(self, party: &mut impl Party) -> Self::Output {
        let Producing { rate, work, mut watch } = self;
        let (mut acknowledged, gave_up) = (0, AtomicBool::new(false));
        watch.boundary(false);
        let first_send_ns = now_ns();
        // The last record is acknowledged, or the connection ends: hearing ends with either.
        let (sent, heard) = party.beside(
            async |txs| {
                let made = make(&mut txs[0], rate, work, &mut watch).await;
                gave_up.store(made.is_err(), Ordering::Relaxed);
                made
            },
            async |rxs| hear(&mut rxs[0], &mut acknowledged, &gave_up).await,
        )?;
        watch.boundary(true);
        let mut outcome =
            Outcome { first_send_ns: Some(first_send_ns), cpu: watch.during, ..Outcome::default() };
        let (count, gone) = sent.map_err(Ended::lost)?;
        match heard {
            Ok(()) => {}
            Err(broken) if broken.blames_the_peer() => outcome.flags.push(LOST.into()),
            Err(broken) => return Err(Ended::lost(broken)),
        }
        if gone && outcome.flags.is_empty() {
            outcome.flags.push(LOST.into());
        }
        outcome.made_for = vec![(0, count)];
        outcome.measures.insert(ACKNOWLEDGED.into(), acknowledged as f64);
        Ok(outcome)
    }
}

/// Sends until the length is over or nobody is there any more; how many were taken, and which of the two it was.
async fn make<Tx: Outlet>(
    tx: &mut Tx,
    rate: u64,
    work: &Work,
    watch: &mut Watch<'_>,
) -> Result<(u64, bool), Broken> {
    let mut outgoing = Outgoing::new(work.size, work.seed);
    let start_ns = now_ns();
    let end = work.length.from(start_ns);
    let (mut count, mut told) = (0, start_ns);
    loop {
        let due = start_ns + count * 1_000_000_000 / rate;
        while let Some(left) = due.checked_sub(now_ns()).filter(|left| *left > 0) {
            tx.pause(Duration::from_nanos(left).min(SILENCE)).await;
        }
        let now = now_ns();
        if now - told >= PROGRESS_NS {
            watch.progress(count);
            told = now;
        }
        let last = end.is_next(count, now);
        let marks = outgoing.stamp(Phase::Measured, last, now);
        loop {
            match tx.put_within(outgoing.bytes(), SILENCE).await {
                Ok(()) => break,
                Err(SendError::TimedOut) => watch.progress(count),
                Err(error) => {
                    let broken = Broken::from(error);
                    return if broken.blames_the_peer() { Ok((count, true)) } else { Err(broken) };
                }
            }
        }
        if marks.is_inspected() {
            outgoing.refill();
        }
        count += 1;
        if last {
            return Ok((count, false));
        }
    }
}

/// Takes acknowledgements until the one of the last record.
async fn hear<Rx: Inlet>(rx: &mut Rx, acknowledged: &mut u64, gave_up: &AtomicBool) -> Result<(), Broken> {
    let mut buf = Vec::new();
    loop {
        match rx.next_within(&mut buf, SILENCE).await {
            Ok(()) => {
                let count = buf.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                *acknowledged = count & !ALL;
                if count & ALL != 0 {
                    return Ok(());
                }
            }
            // Relaxed: it says that there is nothing to wait for, and nothing else.
            Err(RecvError::TimedOut) if gave_up.load(Ordering::Relaxed) => return Ok(()),
            Err(RecvError::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
