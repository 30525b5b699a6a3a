//! Round trips through the layers above the blocking halves, beside the loops they are judged against, interleaved in one
//! run: `cargo bench -p ipc-tests --bench library [-- --rows TEXT] [--rounds N]`. Every ratio is one of the same round;
//! printed are medians over rounds, with their intervals of 95 % and more. Of itself it ends within a minute.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails has no result")]

mod trips;

use std::collections::HashMap;
use std::process::ExitCode;

use ipc_async::{Reactor, ReactorThread};
use ipc_results::estimate::Estimate;
use ipc_results::statistics::median;
use ipc_transports::{Shm, Uds};
use trips::{Sample, TRIPS};

/// Rounds unless asked otherwise, and the fewest that judge: of nine, the interval leaves out the outermost two.
const ROUNDS: usize = 31;
const FEWEST: usize = 9;

const BARE_UDS: Row = Row("uds: bare epoll, recv, send", trips::bare_socket);
const ASYNC_UDS: Row = Row("uds: ipc-async, caller-driven", || trips::adapter::<Uds, _>(Reactor::new));
const TOKIO: Row = Row("uds: tokio UnixStream, current thread", trips::tokio_socket);
const THREAD_UDS: Row =
    Row("uds: ipc-async, reactor thread", || trips::adapter::<Uds, _>(ReactorThread::start));
const BARE_SHM: Row = Row("shm: bare epoll, eventfd, slot", trips::bare_slot);
const ASYNC_SHM: Row = Row("shm: ipc-async, caller-driven", || trips::adapter::<Shm, _>(Reactor::new));
const THREAD_SHM: Row =
    Row("shm: ipc-async, reactor thread", || trips::adapter::<Shm, _>(ReactorThread::start));
const RAW: Row = Row("shm: raw, spin, 69 bytes", trips::raw_trip);
const CODEC: Row = Row("codec: a request and a reply, mean", trips::codec_time);
const TYPED: Row = Row("shm: typed call, spin, 69 bytes", trips::typed_call);

/// What is measured: its name, and one sample of it.
#[derive(Clone, Copy)]
struct Row(&'static str, fn() -> Sample);

/// `row` against the sum of `floor`; without a limit it is only reported.
struct Judged {
    row: Row,
    floor: &'static [Row],
    limit: Option<f64>,
}

const JUDGED: [Judged; 7] = [
    Judged { row: ASYNC_UDS, floor: &[BARE_UDS], limit: Some(1.25) },
    Judged { row: ASYNC_UDS, floor: &[TOKIO], limit: Some(1.0) },
    Judged { row: TOKIO, floor: &[BARE_UDS], limit: None },
    Judged { row: THREAD_UDS, floor: &[BARE_UDS], limit: None },
    Judged { row: ASYNC_SHM, floor: &[BARE_SHM], limit: Some(1.15) },
    Judged { row: THREAD_SHM, floor: &[BARE_SHM], limit: None },
    Judged { row: TYPED, floor: &[RAW, CODEC], limit: Some(1.1) },
];

fn main() -> ExitCode {
    match asked() {
        Ok((rows, rounds)) => {
            measure_and_judge(&rows, rounds);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// The text that a judged row must have in its name, and how many rounds.
fn asked() -> Result<(String, usize), String> {
    let (mut rows, mut rounds) = (String::new(), ROUNDS);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            // Said by cargo.
            "--bench" => {}
            "--rows" => {
                rows = value()?;
                if !JUDGED.iter().any(|judged| judged.row.0.contains(&rows)) {
                    let mut names: Vec<_> = JUDGED.iter().map(|judged| judged.row.0).collect();
                    names.dedup();
                    return Err(format!("no row has {rows:?} in its name; rows are {}", names.join("; ")));
                }
            }
            "--rounds" => {
                let given = value()?;
                rounds = given.parse().ok().filter(|rounds| *rounds >= FEWEST).ok_or_else(|| {
                    format!("--rounds {given}: fewer than {FEWEST} judge nothing; give {FEWEST} or more")
                })?;
            }
            _ => return Err(format!("{argument} is unknown; known are --rows TEXT and --rounds N")),
        }
    }
    Ok((rows, rounds))
}

fn measure_and_judge(rows: &str, rounds: usize) {
    let judged: Vec<&Judged> = JUDGED.iter().filter(|judged| judged.row.0.contains(rows)).collect();
    let mut needed: Vec<Row> = Vec::new();
    for row in judged.iter().flat_map(|judged| judged.floor.iter().chain([&judged.row])) {
        if !needed.iter().any(|known| known.0 == row.0) {
            needed.push(*row);
        }
    }
    let mut samples: HashMap<&str, Vec<Sample>> = HashMap::new();
    for round in 0..rounds {
        // There and back: what drifts on the machine falls on both ends of a ratio.
        let order: Vec<&Row> =
            if round % 2 == 0 { needed.iter().collect() } else { needed.iter().rev().collect() };
        for row in order {
            samples.entry(row.0).or_default().push((row.1)());
        }
    }
    let times = |row: &Row| samples[row.0].iter().map(|sample| sample.p50_ns);

    println!(
        "{rounds} rounds of {TRIPS} round trips each\n\n| Round trip | p50, ns | interval |\n|---|--:|---|"
    );
    for row in &needed {
        let p50 = median(&times(row).collect::<Vec<_>>()).unwrap();
        println!("| {} | {:.0} | {:.0}–{:.0} |", row.0, p50.value, p50.lo, p50.hi);
    }
    println!("\n| Ratio | to | is | interval | wanted | |\n|---|---|--:|---|---|---|");
    for Judged { row, floor, limit } in judged {
        let mut sums = vec![0.0; rounds];
        floor.iter().for_each(|part| sums.iter_mut().zip(times(part)).for_each(|(sum, time)| *sum += time));
        let ratios: Vec<f64> = times(row).zip(sums).map(|(time, floor)| time / floor).collect();
        let ratio = median(&ratios).unwrap();
        let names: Vec<_> = floor.iter().map(|part| part.0).collect();
        let (wanted, verdict) = judge(&ratio, *limit);
        let (name, floor) = (row.0, names.join(" + "));
        println!(
            "| {name} | {floor} | {:.2} | {:.2}–{:.2} | {wanted} | {verdict} |",
            ratio.value, ratio.lo, ratio.hi
        );
    }
    if let Some(calls) = samples.get(TYPED.0) {
        let allocations: u64 = calls.iter().filter_map(|sample| sample.allocations).sum();
        println!("\nallocations of the caller in {} timed typed calls: {allocations}", rounds * TRIPS);
    }
}

/// What was wanted, and whether the whole interval says so.
fn judge(ratio: &Estimate, limit: Option<f64>) -> (String, &'static str) {
    let Some(limit) = limit else { return ("reported".into(), "") };
    let verdict = match (ratio.lo <= limit, ratio.hi <= limit) {
        (_, true) => "met",
        (true, false) => "open: the interval holds the limit",
        (false, false) => "missed",
    };
    (format!("≤ {limit:.2}"), verdict)
}
