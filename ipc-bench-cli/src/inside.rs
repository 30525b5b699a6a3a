//! Both sides of a trial in one process: a thread each, on a CPU each, over a transport that joins nothing else.

use std::sync::mpsc;
use std::thread;

use ipc_results::run::CpuUse;
use ipc_transports::{Address, Connection, Listener, Sender, Transport, Wait};

use crate::error::Failure;
use crate::mechanism::{Ended, counters, setup, too_long};
use crate::os;
use crate::pin::allowed_cpus;
use crate::protocol::{Job, Outcome, Ready, Role};
use crate::ways::Ways;
use crate::worker::{Serve, Session, broken_trial, pin};
use crate::workload::{Blocking, Observer, Work};

/// The client on this thread and the server on one of its own, on `far_cpu`.
pub(crate) fn work<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    far_cpu: Option<u32>,
) -> Result<Outcome, Ended> {
    let (listens, listening) = mpsc::channel();
    let (work, at) = (job.work, address.clone());
    let far = thread::Builder::new()
        .name("server".into())
        .spawn(move || serve::<T, W>(&work, &at, far_cpu, &listens))
        .map_err(|error| Failure::failed("no thread for the server").why(error))?;
    let Ok(far_cpus) = listening.recv() else { return join(far) };
    // A pair takes its ends for sharing a CPU when the first thread of the process, which this is, may run on one only.
    let shares_cpu = job.cpu.is_some() && job.cpu == far_cpu;
    pin(job.role, job.cpu.filter(|_| shares_cpu))?;
    let connection = T::connect(address, &T::Options::default(), Wait::Forever)
        .map_err(|error| setup(format!("{}: no connection", T::NAME), &error))?;
    pin(job.role, job.cpu)?;
    let Connection { tx, rx, effective, .. } = connection;
    if job.work.size > tx.max_message() {
        return Err(too_long(T::NAME, job.work.size, tx.max_message()).into());
    }
    let effective = effective.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    session.ready_knowing(Ready { effective, far_cpus, ..Ready::default() });
    match session.measure::<T, W>(Blocking { tx, rx }, job) {
        Ok((end, mut outcome)) => {
            // The server answers the last message, and may still look at the connection.
            let mut server = join(far)?;
            outcome.records.append(&mut server.records);
            Ok(Outcome { stats: counters::<T>(&end), peer: Some(Box::new(server)), ..outcome })
        }
        // By now this end is closed, so that the other one ends as well; what it has to say may be the better story.
        Err(ended) if ended.blames_the_peer => match join(far) {
            Err(theirs) if !theirs.blames_the_peer => Err(theirs),
            _ => Err(ended),
        },
        Err(ended) => Err(ended),
    }
}

fn join(server: thread::JoinHandle<Result<Outcome, Ended>>) -> Result<Outcome, Ended> {
    server.join().unwrap_or_else(|_| Err(Failure::failed("the thread of the server panicked").into()))
}

fn serve<T: Transport, W: Ways<T>>(
    work: &Work,
    address: &Address,
    cpu: Option<u32>,
    listens: &mpsc::Sender<Vec<u32>>,
) -> Result<Outcome, Ended> {
    pin(Role::Server, cpu)?;
    let no_connection = |error| setup(format!("{}: no connection", T::NAME), &error);
    let mut listener = T::listen(address, &T::Options::default()).map_err(no_connection)?;
    // The client is gone only if it has given up, which is its story.
    let _ = listens.send(allowed_cpus().unwrap_or_default());
    let Connection { tx, rx, .. } = listener.accept(Wait::Forever).map_err(no_connection)?;
    drop(listener);
    let mut moves = Moves::default();
    let (end, served) = W::perform(work, Blocking { tx, rx }, Serve { work, observer: &mut moves })?;
    let outcome = served.map_err(|broken| broken_trial(Role::Server, &broken))?;
    // All else is counted for the whole process, by the client.
    let cpu = CpuUse { migrations: moves.during, ..CpuUse::default() };
    Ok(Outcome { cpu: Some(cpu), stats: counters::<T>(&end), ..outcome })
}

/// How often this thread was moved to another CPU during the measured part.
#[derive(Debug, Default)]
struct Moves {
    before: Option<u64>,
    during: Option<u64>,
}

impl Observer for Moves {
    fn progress(&mut self, _: u64) {}

    fn boundary(&mut self, over: bool) {
        let now = os::moves();
        if over {
            self.during = now.zip(self.before).map(|(after, before)| after.saturating_sub(before));
        } else {
            self.before = now;
        }
    }
}
