//! The text formats of HdrHistogram, for its plotters and log analysers.

use std::fmt::Write;

use crate::cell::Cell;
use crate::recorder::{DecodeError, Recorder};
use crate::run::Run;

/// Percentile lines per halving of the tail, as the other implementations print by default.
const TICKS: u32 = 5;

/// The percentile distribution of a cell in the `.hgrm` format: values in nanoseconds, all completed trials pooled.
///
/// Pooling is for the shape of the curve only; every statistic elsewhere is over trials. `None` when the cell has no
/// latencies.
///
/// # Errors
/// [`DecodeError`] when a histogram is damaged.
pub fn hgrm(cell: &Cell) -> Result<Option<String>, DecodeError> {
    let mut pooled = Recorder::new();
    for latency in cell.completed().filter_map(|trial| trial.latency.as_ref()) {
        pooled.merge(&latency.recorder()?);
    }
    let (Some(mean), Some(stddev), Some(max)) = (pooled.mean_ns(), pooled.stddev_ns(), pooled.max_ns())
    else {
        return Ok(None);
    };
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for (ns, share, count) in pooled.tail(TICKS) {
        let value = ns as f64;
        // Writing to a string cannot fail, here and below.
        let _ = if share < 1.0 {
            writeln!(text, "{value:12.3} {share:2.12} {count:10} {:14.2}", 1.0 / (1.0 - share))
        } else {
            writeln!(text, "{value:12.3} {share:2.12} {count:10}")
        };
    }
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {stddev:12.3}]");
    let _ = writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", max as f64, pooled.len());
    let trials = cell.completed().count();
    let _ = writeln!(text, "# {}: {trials} trials pooled for the shape of the curve, values in ns", cell.id);
    Ok(Some(text))
}

/// Name of a cell's `.hgrm` file: its id with every slash replaced by an underscore.
pub fn hgrm_name(cell: &Cell) -> String {
    format!("{}.hgrm", cell.id.replace('/', "_"))
}

/// Every trial with latencies as an interval in HdrHistogram's log format (version 1.3): its tag is the cell, its times are
/// seconds since the first trial on the clock of the run, its maximum is in milliseconds.
pub fn hlog(run: &Run) -> String {
    let mut intervals: Vec<_> = run
        .cells
        .iter()
        .flat_map(|cell| cell.completed().map(move |trial| (cell, trial)))
        .filter_map(|(cell, trial)| Some((trial.first_send_ns?, cell, trial, trial.latency.as_ref()?)))
        .collect();
    intervals.sort_by_key(|(start_ns, ..)| *start_ns);
    let first_ns = intervals.first().map_or(0, |(start_ns, ..)| *start_ns);
    let mut text = format!(
        "#[Histogram log format version 1.3]\n#[{}, {}: times since its first trial]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        run.run_id, run.started
    );
    for (start_ns, cell, trial, latency) in intervals {
        // A comma or a space would end the tag.
        let tag = cell.id.replace([',', ' '], "_");
        let _ = writeln!(
            text,
            "Tag={tag},{:.3},{:.3},{:.3},{}",
            (start_ns - first_ns) as f64 / 1e9,
            trial.elapsed_ns as f64 / 1e9,
            latency.max_ns as f64 / 1e6,
            latency.hdr
        );
    }
    text
}
