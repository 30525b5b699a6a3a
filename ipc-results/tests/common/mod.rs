//! An invented run and ways to change it.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "shared by several tests, each using a part"
)]

use ipc_results::cell::{Latency, Throughput};
use ipc_results::{Recorder, Run, file, summarise};

/// The run of `examples/invented_run.rs`.
pub fn invented() -> Run {
    file::from_json(include_str!("../fixtures/invented-run.v1.json")).unwrap()
}

/// Makes a cell slower by `factor`: every latency longer, every rate lower.
pub fn slow_down(run: &mut Run, id: &str, factor: f64) {
    let cell = run.cells.iter_mut().find(|cell| cell.id == id).unwrap();
    for trial in &mut cell.trials {
        if let Some(latency) = &trial.latency {
            let (old, mut new, mut before) = (latency.recorder().unwrap(), Recorder::new(), 0.0);
            for (ns, share) in old.curve() {
                let count = ((share - before) * old.len() as f64).round() as u64;
                (0..count).for_each(|_| new.record((ns as f64 * factor).round() as u64));
                before = share;
            }
            trial.latency = Latency::of(&new);
        }
        let Throughput { msgs_per_s, bytes_per_s } = trial.throughput;
        trial.throughput = Throughput { msgs_per_s: msgs_per_s / factor, bytes_per_s: bytes_per_s / factor };
    }
    cell.summary = summarise(cell).unwrap();
}

/// Makes the limit measured beside every trial of a cell slower by `factor`.
pub fn slow_limit(run: &mut Run, id: &str, factor: f64) {
    let cell = run.cells.iter_mut().find(|cell| cell.id == id).unwrap();
    for limit in cell.trials.iter_mut().filter_map(|trial| trial.limit.as_mut()) {
        limit.value *= factor;
    }
    cell.summary = summarise(cell).unwrap();
}

/// Keeps the first `trials` trials of every cell.
pub fn shorten(run: &mut Run, trials: usize) {
    for cell in &mut run.cells {
        cell.trials.truncate(trials);
        cell.summary = summarise(cell).unwrap();
    }
}
