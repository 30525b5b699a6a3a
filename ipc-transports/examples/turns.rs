//! One trial of one workload between two processes: what `cargo xtask against COMMIT` builds with the transports of two
//! commits, so it keeps to what every commit has.
//!
//! ```text
//! turns rtt|stream ADDRESS SIZE MILLIS CPU CPU    nanoseconds per message, on stdout
//! turns awake CPU                                 keeps that CPU from halting, until it is ended
//! ```
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipc_transports::{
    Address, Connection, Listener, Mq, Pipe, Receiver, Sender, Shm, ShmDirect, Tcp, Transport, Uds,
    UdsSeqpacket, Wait,
};
use rustix::thread::{CpuSet, sched_setaffinity};

type Failure = Box<dyn std::error::Error>;

/// First bytes of a message: what the server does with it.
const ECHO: u8 = 0;
const TAKE: u8 = 1;
const COUNT: u8 = 2;

/// Messages of a stream between two looks at the clock.
const BURST: u64 = 256;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["awake", cpu] => {
            pin(cpu)?;
            loop {
                std::hint::spin_loop();
            }
        }
        [_, address, ..] => match address.split(':').next() {
            Some("uds") => side::<Uds>(&args),
            Some("uds-seqpacket") => side::<UdsSeqpacket>(&args),
            Some("tcp") => side::<Tcp>(&args),
            Some("pipe") => side::<Pipe>(&args),
            Some("mq") => side::<Mq>(&args),
            Some("shm") => side::<Shm>(&args),
            Some("shm-direct") => side::<ShmDirect>(&args),
            _ => Err(format!("no transport for {address}").into()),
        },
        _ => Err(USAGE.into()),
    }
}

const USAGE: &str = "usage: turns rtt|stream ADDRESS SIZE MILLIS CPU CPU, or turns awake CPU";

/// One of the two processes of a trial.
fn side<T: Transport>(args: &[String]) -> Result<(), Failure> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address, cpu] => serve::<T>(&address.parse()?, cpu),
        [workload @ ("rtt" | "stream"), address, size, millis, near, far] => {
            let time = Duration::from_millis(millis.parse()?);
            println!("{:.2}", measure::<T>(workload, address, size.parse()?, time, near, far)?);
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

fn pin(cpu: &str) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(cpu.parse()?);
    Ok(sched_setaffinity(None, &set)?)
}

fn serve<T: Transport>(address: &Address, cpu: &str) -> Result<(), Failure> {
    pin(cpu)?;
    let mut listener = T::listen(address, &T::Options::default())?;
    println!("{}", listener.address());
    let Connection { mut tx, mut rx, .. } = listener.accept(Wait::Forever)?;
    let (mut message, mut taken) = (Vec::new(), 0u64);
    while rx.recv(&mut message).is_ok() {
        match message[0] {
            ECHO => tx.send(&message)?,
            TAKE => taken += 1,
            _ => tx.send(&taken.to_le_bytes())?,
        }
    }
    Ok(())
}

fn measure<T: Transport>(
    workload: &str,
    address: &str,
    size: usize,
    time: Duration,
    near: &str,
    far: &str,
) -> Result<f64, Failure> {
    let mut server = Command::new(std::env::current_exe()?)
        .args(["serve", address, far])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut at = String::new();
    BufReader::new(server.stdout.take().ok_or("no stdout")?).read_line(&mut at)?;
    pin(near)?;
    let Connection { mut tx, mut rx, .. } =
        T::connect(&at.trim().parse()?, &T::Options::default(), Wait::Forever)?;
    let (mut message, mut answer) = (vec![ECHO; size], Vec::new());
    let mut round_trips = |least: Duration| -> Result<f64, Failure> {
        let (start, mut count) = (Instant::now(), 0u64);
        while start.elapsed() < least {
            for _ in 0..16 {
                tx.send(&message)?;
                rx.recv(&mut answer)?;
                count += 1;
            }
        }
        Ok(start.elapsed().as_nanos() as f64 / count as f64)
    };
    round_trips(time / 5)?;
    let cost = if workload == "rtt" {
        round_trips(time)?
    } else {
        message[0] = TAKE;
        let (start, mut sent) = (Instant::now(), 0u64);
        while start.elapsed() < time {
            for _ in 0..BURST {
                tx.send(&message)?;
            }
            sent += BURST;
        }
        message[0] = COUNT;
        tx.send(&message)?;
        rx.recv(&mut answer)?;
        let taken = u64::from_le_bytes(answer[..8].try_into()?);
        if taken != sent {
            return Err(format!("{taken} of {sent} messages arrived").into());
        }
        start.elapsed().as_nanos() as f64 / sent as f64
    };
    drop((tx, rx));
    std::io::stdout().flush()?;
    server.wait()?;
    Ok(cost)
}
