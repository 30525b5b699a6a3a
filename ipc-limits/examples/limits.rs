//! Prints every limit of this machine: round trip and stream of each kind, two processes pinned to CPU 0 and
//! CPU 1 (or to the two CPUs given), and the costs one thread pays.
//!
//! ```text
//! cargo run --profile bench -p ipc-limits --example limits -- [CPU CPU [KIND…]]
//! ```
//! A look at the machine, not a measurement to keep: three trials per cell, no statistics. `ipc-bench limits`
//! runs the same loops in the driver that measures the transports.

use ipc_limits::{Bare, Driver, End, Kind, Params, cost, create};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::{
    env, io,
    process::Command,
    time::{Duration, Instant},
};

/// How long one trial measures.
const TRIAL: Duration = Duration::from_millis(60);
/// Messages timed at most per trial.
const SAMPLES: usize = 200_000;
const TRIALS: usize = 3;

/// The sequence number that tells the peer to stop: larger than any other, unlike the word of an unused line.
const STOP: u64 = u64::MAX - 1;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [part, cpu, spec] = &arguments[..]
        && part == "peer"
    {
        return peer(number(cpu)?, spec);
    }
    let cpus = match &arguments[..] {
        [near, far, ..] => [number(near)?, number(far)?],
        _ => [0, 1],
    };
    let kinds = match arguments.get(2..) {
        Some(names) if !names.is_empty() => {
            names.iter().map(|name| name.parse()).collect::<io::Result<Vec<Kind>>>()?
        }
        _ => Kind::ALL.to_vec(),
    };
    pin(cpus[0])?;
    print_costs();
    println!(
        "{:<18}{:>8}{:>12}{:>12}{:>12}{:>16}",
        "limit", "bytes", "p50 ns", "lowest", "p99 ns", "stream msg/s"
    );
    for kind in kinds {
        let sizes: &[usize] = match kind {
            Kind::Cacheline => &[8],
            Kind::Mq(_) => &[64, 1024, 8192],
            _ => &[16, 48, 56, 64, 1024, 4096, 65536],
        };
        for &size in sizes {
            match cell(&Params::new(kind, size), cpus) {
                Ok(row) => println!("{row}"),
                Err(error) => println!("{:<18}{size:>8}  {error}", kind.to_string()),
            }
        }
        if kind == Kind::Ring {
            for (slots, batch) in [(1024, 1), (1024, 32), (16384, 1), (16384, 32)] {
                let params = Params { slots, batch, ..Params::new(kind, 48) };
                println!("{}   {slots} slots, batch {batch}", cell(&params, cpus)?);
            }
        }
    }
    Ok(())
}

fn number(text: &str) -> io::Result<usize> {
    text.parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("CPU {text:?}: {error}")))
}

fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

fn print_costs() {
    let median = |mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    println!("clock {:.1} ns", median(cost::clock(101)));
    println!("syscall {:.1} ns", median(cost::syscall(101)));
    println!("futex wake {:.1} ns", median(cost::futex_wake(101)));
    for bytes in [4096, 65536, 1 << 20, 16 << 20] {
        let ns = median(cost::memcpy(bytes, 21));
        println!("memcpy {bytes} bytes {:.1} GB/s", bytes as f64 / ns);
    }
}

/// One row: the median trial of the round trip, and of the stream where there is one.
fn cell(params: &Params, cpus: [usize; 2]) -> io::Result<String> {
    let mut trips = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..TRIALS {
        let (near, mut peer) = start(params, cpus[1])?;
        trips.push(near.open()?.drive(RoundTrip { size: params.size })?);
        peer.wait()?;
        if params.kind.streams() {
            let (near, mut peer) = start(params, cpus[1])?;
            streams.push(near.open()?.drive(Stream { size: params.size })? as u64);
            peer.wait()?;
        }
    }
    trips.sort_unstable();
    streams.sort_unstable();
    let [p50, lowest, p99] = trips[TRIALS / 2];
    let stream = streams.get(TRIALS / 2).map_or("-".to_owned(), u64::to_string);
    let (kind, size) = (params.kind.to_string(), params.size);
    Ok(format!("{kind:<18}{size:>8}{p50:>12}{lowest:>12}{p99:>12}{stream:>16}"))
}

fn start(params: &Params, cpu: usize) -> io::Result<(End, std::process::Child)> {
    let (near, far) = create(params)?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["peer", &cpu.to_string(), &far.to_string()]);
    far.pass_to(&mut command);
    let peer = command.spawn()?;
    Ok((near, peer))
}

fn peer(cpu: usize, spec: &str) -> io::Result<()> {
    pin(cpu)?;
    let end = End::inherited(spec)?;
    let size = end.params().size;
    end.open()?.drive(Echo { size })
}

fn stamp(message: &mut [u8], sequence: u64) {
    message[..8].copy_from_slice(&sequence.to_le_bytes());
}

fn stamped(message: &[u8]) -> u64 {
    u64::from_le_bytes(*message.first_chunk().expect("messages have at least 8 bytes"))
}

/// Answers odd numbers with themselves, takes even ones silently, until told to stop.
struct Echo {
    size: usize,
}

impl Driver for Echo {
    type Output = io::Result<()>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<()> {
        let mut message = vec![0; self.size];
        let mut answer = vec![0; self.size];
        loop {
            link.recv(&mut message)?;
            let sequence = stamped(&message);
            if sequence == STOP || sequence % 2 == 1 {
                stamp(&mut answer, sequence);
                link.send(&answer)?;
                link.flush()?;
            }
            if sequence == STOP {
                return Ok(());
            }
        }
    }
}

/// Median, lowest and 99th percentile of the round trip in nanoseconds.
struct RoundTrip {
    size: usize,
}

impl Driver for RoundTrip {
    type Output = io::Result<[u64; 3]>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<[u64; 3]> {
        let mut message = vec![0; self.size];
        let mut answer = vec![0; self.size];
        let mut samples = vec![0_u32; SAMPLES];
        let mut trip = |sequence: u64| {
            stamp(&mut message, sequence);
            link.send(&message)?;
            link.flush()?;
            link.recv(&mut answer)?;
            assert_eq!(stamped(&answer), sequence, "message lost");
            io::Result::Ok(())
        };
        let (mut sequence, mut taken) = (1, 0);
        let started = Instant::now();
        while started.elapsed() < TRIAL / 4 {
            trip(sequence)?;
            sequence += 2;
        }
        let started = Instant::now();
        let mut last = started;
        while taken < SAMPLES && last - started < TRIAL {
            trip(sequence)?;
            let now = Instant::now();
            samples[taken] = (now - last).as_nanos() as u32;
            (last, taken, sequence) = (now, taken + 1, sequence + 2);
        }
        trip(STOP)?;
        let samples = &mut samples[..taken];
        samples.sort_unstable();
        Ok([samples[taken / 2].into(), samples[0].into(), samples[taken * 99 / 100].into()])
    }
}

/// Messages per second, from the first send until the peer has the last one.
struct Stream {
    size: usize,
}

impl Driver for Stream {
    type Output = io::Result<f64>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<f64> {
        let mut message = vec![0; self.size];
        let started = Instant::now();
        let mut sent = 0;
        while started.elapsed() < TRIAL {
            for _ in 0..256 {
                sent += 2;
                stamp(&mut message, sent);
                link.send(&message)?;
            }
        }
        stamp(&mut message, STOP);
        link.send(&message)?;
        link.flush()?;
        link.recv(&mut message)?;
        Ok((sent / 2) as f64 / started.elapsed().as_secs_f64())
    }
}
