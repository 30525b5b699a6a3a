//! The text formats of HdrHistogram, for its plotters and log analysers.

use std::fmt::Write;

use crate::cell::{Cell, Interval, Trial};
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

/// Every trial with latencies in HdrHistogram's log format (version 1.3), one with a timeline as its intervals, any other as
/// one: its tag is the cell, its times are seconds since the first trial on the clock of the run, its maximum is in
/// milliseconds.
pub fn hlog(run: &Run) -> String {
    let trials = run.cells.iter().flat_map(|cell| cell.completed().map(move |trial| (cell, trial)));
    let mut lines: Vec<_> = trials.flat_map(|(cell, trial)| intervals(cell, trial)).collect();
    lines.sort_by_key(|line| line.start_ns);
    let first_ns = lines.first().map_or(0, |line| line.start_ns);
    let mut text = format!(
        "#[Histogram log format version 1.3]\n#[{}, {}: times since its first trial]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        run.run_id, run.started
    );
    for Line { cell, start_ns, elapsed_ns, max_ns, hdr } in lines {
        // A comma or a space would end the tag.
        let tag = cell.id.replace([',', ' '], "_");
        let _ = writeln!(
            text,
            "Tag={tag},{:.3},{:.3},{:.3},{hdr}",
            (start_ns - first_ns) as f64 / 1e9,
            elapsed_ns as f64 / 1e9,
            max_ns as f64 / 1e6,
        );
    }
    text
}

/// One line of a log.
struct Line<'a> {
    cell: &'a Cell,
    start_ns: u64,
    elapsed_ns: u64,
    max_ns: u64,
    hdr: &'a str,
}

fn intervals<'a>(cell: &'a Cell, trial: &'a Trial) -> Vec<Line<'a>> {
    let (Some(first_ns), Some(latency)) = (trial.first_send_ns, &trial.latency) else { return Vec::new() };
    let line = |start_ns, elapsed_ns, max_ns, hdr| Line { cell, start_ns, elapsed_ns, max_ns, hdr };
    let of = |own: &'a Interval| {
        Some(line(first_ns + own.start_ns, own.elapsed_ns, own.max_ns?, own.hdr.as_deref()?))
    };
    let lines: Vec<_> = trial.timeline.iter().filter_map(of).collect();
    if lines.is_empty() {
        vec![line(first_ns, trial.elapsed_ns, latency.max_ns, &latency.hdr)]
    } else {
        lines
    }
}
