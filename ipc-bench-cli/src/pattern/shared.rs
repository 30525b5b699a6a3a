//! A broadcast through one ring of shared memory: each message is written once and read there by everybody.

use ipc_transports::broadcast::{BroadcastOptions, Reader, Writer};
use ipc_transports::{Address, Sender, Wait};

use super::Duty;
use super::gather;
use super::node::{Arrivals, make};
use super::party::{Futures, Party};
use crate::error::Failure;
use crate::mechanism::{Ended, setup, too_long};
use crate::protocol::{Job, Outcome};
use crate::ways::reactor;
use crate::worker::{Session, histogram};
use crate::workload::{Executor, InPlace, Io};

/// Lets `readers` in, waits for the start and makes messages for all of them.
pub(crate) fn publish(
    session: &mut Session,
    job: &Job,
    address: &Address,
    readers: usize,
) -> Result<Outcome, Ended> {
    let mut writer = Writer::listen(address, &BroadcastOptions::default())
        .map_err(|error| setup("broadcast: no ring".into(), &error))?;
    session.listening(writer.address().unwrap_or(address));
    // It connects to nobody.
    session.peers();
    for _ in 0..readers {
        // One that does not come has died, which its runner notices before anybody.
        writer.accept(Wait::Forever).map_err(|error| setup("broadcast: no reader".into(), &error))?;
    }
    if job.work.size > writer.max_message() {
        return Err(too_long("broadcast", job.work.size, writer.max_message()).into());
    }
    session.ready(Vec::new());
    let mut watch = session.watch();
    let work = &job.work;
    let made = match work.io {
        Io::Sync => InPlace.run(make(std::slice::from_mut(&mut writer), Duty::Copy, work, &mut watch)),
        Io::Async => Futures::new(reactor()?, Vec::<Reader>::new(), vec![writer])
            .run(async |_, txs| make(txs, Duty::Copy, work, &mut watch).await),
    };
    let made = made.map_err(Ended::lost)?;
    Ok(Outcome {
        first_send_ns: Some(made.first_send_ns),
        // Each of them was made for everybody.
        made_for: (1..=readers).map(|reader| (reader, made.per_edge[0])).collect(),
        cpu: watch.during,
        ..Outcome::default()
    })
}

/// Joins the broadcast, waits for the start and reads all of it.
pub(crate) fn subscribe(session: &mut Session, job: &Job) -> Result<Outcome, Ended> {
    let peers = session.peers();
    let [(writer, address)] = &peers[..] else {
        return Err(Failure::failed(format!("a broadcast has {} writers", peers.len())).into());
    };
    let address = address.parse().map_err(Failure::failed)?;
    let mut reader = Reader::connect(&address, &BroadcastOptions::default(), Wait::Forever)
        .map_err(|error| setup(format!("broadcast: no connection to peer {writer}"), &error))?;
    session.ready(Vec::new());
    let mut watch = session.watch();
    let mut arrivals = Arrivals::new(1, &job.work, &mut watch);
    match job.work.io {
        Io::Sync => gather::one(&mut reader, &mut arrivals).map_err(Ended::lost)?,
        Io::Async => Futures::new(reactor()?, vec![reader], Vec::<Writer>::new())
            .sink(async |_| (), &mut arrivals)
            .map(drop)?,
    }
    Ok(Outcome {
        messages: arrivals.per_edge[0],
        last_recv_ns: Some(arrivals.last_recv_ns),
        latency: Some(histogram(&arrivals.latency)),
        got_from: vec![(*writer, arrivals.per_edge[0])],
        cpu: watch.during,
        ..Outcome::default()
    })
}
