//! Ours beside theirs: per cell the median over trials of the ratio within one round of the same run.

use std::path::Path;
use std::process::ExitCode;

use ipc_results::figures::Figures;
use ipc_results::file::read_run;
use ipc_results::statistics::median;
use ipc_results::{Cell, Estimate};

/// A rival and our mechanism of the same kind.
const SAME_KIND: &[(&str, &str)] = &[
    ("aeron", "shm"),
    ("iceoryx2", "shm"),
    // Datagrams, as long as one of ours takes the message; longer ones it sends in pieces.
    ("ipc-channel", "uds-seqpacket"),
    ("ipc-channel", "uds"),
    ("interprocess", "uds"),
    ("tokio-uds", "uds"),
    ("zeromq", "uds"),
    ("zeromq", "pipe"),
    ("zeromq-tcp", "tcp"),
    ("zeromq", "uds-buffered"),
    ("zeromq-tcp", "tcp-buffered"),
];

pub fn main(paths: impl Iterator<Item = String>) -> ExitCode {
    print_head();
    for path in paths {
        if let Err(error) = print(Path::new(&path)) {
            eprintln!("error: {path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    println!("{FOOT}");
    ExitCode::SUCCESS
}

/// What stands below the rows.
pub const FOOT: &str = "ours is N× better: median over trials of the ratio within one round, with its interval; `equal` where that includes 1";

pub fn print_head() {
    println!("{:40} {:8} {:>8}  {:>14} {:>14}  ours is", "peer / ours", "mode", "bytes", "theirs", "ours");
}

/// One row, of the values of both per round: nanoseconds for `rtt`, else messages per second. Without any, `why`.
pub fn print_row(rival: &str, mode: &str, size: usize, theirs: &[f64], ours: &[f64], why: &str) {
    let latency = mode == "rtt";
    let ratio = |(theirs, ours): (&f64, &f64)| if latency { theirs / ours } else { ours / theirs };
    let ratios: Vec<f64> = theirs.iter().zip(ours).map(ratio).collect();
    let unit = |values: &[f64]| match median(values) {
        Some(Estimate { value, .. }) if latency => format!("{:.2} us", value / 1e3),
        Some(Estimate { value, .. }) => format!("{:.3} M/s", value / 1e6),
        None => "-".to_owned(),
    };
    let verdict = match median(&ratios) {
        Some(ratio) if ratio.lo > 1.0 => {
            format!("{:.2}x better ({:.2}-{:.2})", ratio.value, ratio.lo, ratio.hi)
        }
        Some(ratio) if ratio.hi < 1.0 => {
            format!("{:.2}x: BEHIND ({:.2}-{:.2})", ratio.value, ratio.lo, ratio.hi)
        }
        Some(ratio) => format!("{:.2}x: equal ({:.2}-{:.2})", ratio.value, ratio.lo, ratio.hi),
        None => why.to_owned(),
    };
    println!("{rival:40} {mode:8} {size:>8}  {:>14} {:>14}  {verdict}", unit(theirs), unit(ours));
}

fn print(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let run = read_run(path)?;
    for &(rival, kind) in SAME_KIND {
        for theirs in run.cells.iter().filter(|cell| cell.transport == rival) {
            let same = |cell: &&Cell| {
                (&*cell.transport, &cell.mode, cell.size_bytes) == (kind, &theirs.mode, theirs.size_bytes)
            };
            let Some(ours) = run.cells.iter().find(same) else { continue };
            let (their_values, our_values) = (values(theirs)?, values(ours)?);
            let why = theirs.reason.as_deref().or(ours.reason.as_deref()).unwrap_or("not measured");
            let name = format!("{rival} / {kind}{}", used(rival, ours));
            print_row(&name, &theirs.mode, theirs.size_bytes as usize, &their_values, &our_values, why);
        }
    }
    Ok(())
}

/// How ours was used in a cell, where that is not as the rival was: in batches, or one call of the kernel per message where a thread of
/// the rival gathers what has come meanwhile. Of that rival's kind is `BufSender`.
fn used(rival: &str, ours: &Cell) -> &'static str {
    match &*ours.mode {
        "stream" if ours.id.contains("/batch=") => ", batches",
        "stream" if rival.starts_with("zeromq") && !ours.transport.ends_with("-buffered") => ", one by one",
        _ => "",
    }
}

/// Median latency or rate of each trial, in the order of the rounds.
fn values(cell: &Cell) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let figures = Figures::of_cell(cell)?;
    let value = |trial: &Figures| match &*cell.mode {
        "rtt" => trial.percentiles_ns[0],
        _ => Some(trial.msgs_per_s),
    };
    Ok(figures.iter().filter_map(value).collect())
}
