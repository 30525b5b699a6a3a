//! One hot path, so often, in one thread: the workloads of `cargo xtask callgrind`, which counts their instructions.
//!
//! `hot_paths NAME ROUNDS`; without arguments: the names.
use std::io::IoSlice;

use ipc_transports::{
    InProc, Loan, LoanSender, Mq, Options, Pair, PeekReceiver, Pipe, Receiver, Sender, SetupError, Shm,
    ShmDirect, Transport, Uds, Wait,
};

type Failure = Box<dyn std::error::Error>;

/// A name, and what is done `rounds` times.
type Workload = (&'static str, fn(u64) -> Result<(), Failure>);

const WORKLOADS: &[Workload] = &[
    ("shm_48_closed_loop", |rounds| closed_loop::<Shm>(48, rounds)),
    ("shm_64_closed_loop", |rounds| closed_loop::<Shm>(64, rounds)),
    ("shm_1024_closed_loop", |rounds| closed_loop::<Shm>(1024, rounds)),
    ("shm_48_ring", |rounds| ring(48, rounds)),
    ("shm_48_batch_32", |rounds| batch(48, rounds)),
    ("shm_4096_loan", |rounds| loan(4096, rounds)),
    ("shm_direct_48", |rounds| closed_loop::<ShmDirect>(48, rounds)),
    ("inproc_48", |rounds| closed_loop::<InProc>(48, rounds)),
    ("uds_64", |rounds| closed_loop::<Uds>(64, rounds)),
    ("pipe_64", |rounds| closed_loop::<Pipe>(64, rounds)),
    ("mq_64", |rounds| closed_loop::<Mq>(64, rounds)),
];

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(rounds)) = (args.next(), args.next()) else {
        WORKLOADS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    let found = WORKLOADS.iter().find(|(known, _)| *known == name);
    let (_, work) = found.ok_or_else(|| format!("no workload {name}"))?;
    work(rounds.parse()?)
}

/// Both ends, spinning where they can: nothing here ever waits.
fn pair<T: Transport>() -> Result<Pair<T>, SetupError> {
    let mut options = T::Options::default();
    // A transport that cannot spin waits as it does.
    let _ = options.fill("wait", "spin");
    T::pair(&options)
}

/// One message at a time, from one end to the other.
fn closed_loop<T: Transport>(size: usize, rounds: u64) -> Result<(), Failure> {
    let (mut one, mut other) = pair::<T>()?;
    let (mut message, mut received) = (vec![1; size], Vec::with_capacity(size));
    for round in 0..rounds {
        message[..8].copy_from_slice(&round.to_le_bytes());
        one.tx.send(&message)?;
        other.rx.recv(&mut received)?;
        assert_eq!(received, message);
    }
    Ok(())
}

/// Sixteen messages at a time are on their way.
fn ring(size: usize, rounds: u64) -> Result<(), Failure> {
    let (mut one, mut other) = pair::<Shm>()?;
    let (message, mut received) = (vec![1; size], Vec::with_capacity(size));
    for _ in 0..rounds {
        for _ in 0..16 {
            one.tx.send(&message)?;
        }
        for _ in 0..16 {
            other.rx.recv(&mut received)?;
        }
    }
    Ok(())
}

fn batch(size: usize, rounds: u64) -> Result<(), Failure> {
    let (mut one, mut other) = pair::<Shm>()?;
    let message = vec![1; size];
    let messages = [IoSlice::new(&message); 32];
    for _ in 0..rounds {
        let (mut sent, mut received) = (0, 0);
        while sent < messages.len() {
            sent += one.tx.send_batch(&messages[sent..], Wait::Never)?;
        }
        while received < messages.len() {
            received += other.rx.recv_each(32, Wait::Never, |message| assert_eq!(message.len(), size))?;
        }
    }
    Ok(())
}

fn loan(size: usize, rounds: u64) -> Result<(), Failure> {
    let (mut one, mut other) = pair::<Shm>()?;
    for round in 0..rounds {
        let mut message = one.tx.loan(size, Wait::Never)?;
        message[0] = round as u8;
        message.commit()?;
        let message = other.rx.recv_ref(Wait::Never)?;
        assert_eq!((message.len(), message[0]), (size, round as u8));
    }
    Ok(())
}
