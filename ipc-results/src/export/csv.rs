//! Tidy tables for spreadsheets and data frames.

use crate::cell::{Cell, CellStatus, Trial};
use crate::estimate::Estimate;
use crate::figures::Figures;
use crate::report::Report;
use crate::summary::PERCENTILES;

/// One row per trial, failed ones too; times in nanoseconds, an empty field for what was not measured.
pub fn csv_of_trials(report: &Report<'_>) -> String {
    let percentiles = PERCENTILES.map(|percent| format!("p{percent}_ns"));
    let mut header: Vec<&str> = CELL.to_vec();
    header.extend([
        "trial",
        "order",
        "flags",
        "error",
        "messages",
        "elapsed_ns",
        "first_message_ns",
        "min_ns",
    ]);
    header.extend(percentiles.iter().map(String::as_str));
    header.extend(["max_ns", "mean_ns", "stddev_ns", "msgs_per_s", "bytes_per_s"]);
    header.extend([
        "cpu_user_ns",
        "cpu_sys_ns",
        "vcsw",
        "ivcsw",
        "minflt",
        "majflt",
        "migrations",
        "steal_ns",
    ]);
    header.extend(["requested_rate", "achieved_rate", "limit_name", "limit_value"]);
    let rows = report.run.cells.iter().flat_map(|cell| {
        let figures = report.figures(&cell.id);
        cell.trials.iter().map(move |trial| {
            let own = figures.iter().find(|figures| figures.index == trial.index);
            (cell, trial, own.filter(|_| trial.error.is_none()))
        })
    });
    table(&header, rows.map(|(cell, trial, figures)| trial_row(report, cell, trial, figures)))
}

/// One row per cell, with the interval of every median; skipped and failed cells have their reason.
pub fn csv_of_cells(report: &Report<'_>) -> String {
    let figures = [
        "p50_ns",
        "p90_ns",
        "p95_ns",
        "p99_ns",
        "p99.9_ns",
        "p99.99_ns",
        "min_ns",
        "max_ns",
        "mean_ns",
        "msgs_per_s",
        "bytes_per_s",
        "cpu_ns_per_msg",
        "ctxsw_per_msg",
    ];
    let header: Vec<String> = CELL
        .into_iter()
        .chain(["status", "reason", "trials"])
        .map(str::to_owned)
        .chain(
            figures
                .iter()
                .flat_map(|figure| [figure.to_string(), format!("{figure}_lo"), format!("{figure}_hi")]),
        )
        .chain(["limit_name", "limit_ratio", "limit_ratio_lo", "limit_ratio_hi"].map(str::to_owned))
        .collect();
    table(&header, report.run.cells.iter().map(|cell| cell_row(report, cell)))
}

const CELL: [&str; 10] =
    ["run_id", "cell", "transport", "mode", "size_bytes", "rate", "io", "wait", "codec", "clients"];

fn cell_fields(report: &Report<'_>, cell: &Cell) -> Vec<String> {
    vec![
        report.run.run_id.clone(),
        cell.id.clone(),
        cell.transport.clone(),
        cell.mode.clone(),
        cell.size_bytes.to_string(),
        cell.rate.clone().unwrap_or_default(),
        cell.io.clone(),
        cell.wait.clone(),
        cell.codec.clone(),
        cell.clients.to_string(),
    ]
}

fn trial_row(report: &Report<'_>, cell: &Cell, trial: &Trial, figures: Option<&Figures>) -> Vec<String> {
    let mut row = cell_fields(report, cell);
    let latency = trial.latency.as_ref();
    row.extend([
        trial.index.to_string(),
        trial.order.to_string(),
        trial.flags.join(";"),
        trial.error.clone().unwrap_or_default(),
        trial.messages.to_string(),
        trial.elapsed_ns.to_string(),
        text(trial.first_message_ns),
        text(latency.map(|latency| latency.min_ns)),
    ]);
    row.extend(
        (0..PERCENTILES.len()).map(|index| decimal(figures.and_then(|own| own.percentiles_ns[index]))),
    );
    row.extend([
        text(latency.map(|latency| latency.max_ns)),
        decimal(figures.and_then(|own| own.mean_ns)),
        decimal(figures.and_then(|own| own.stddev_ns)),
        decimal(Some(trial.throughput.msgs_per_s)),
        decimal(Some(trial.throughput.bytes_per_s)),
        text(trial.cpu.map(|cpu| cpu.user_ns)),
        text(trial.cpu.map(|cpu| cpu.sys_ns)),
        text(trial.cpu.map(|cpu| cpu.vcsw)),
        text(trial.cpu.map(|cpu| cpu.ivcsw)),
        text(trial.cpu.map(|cpu| cpu.minflt)),
        text(trial.cpu.map(|cpu| cpu.majflt)),
        text(trial.cpu.and_then(|cpu| cpu.migrations)),
        text(trial.steal_ns),
        decimal(trial.requested_rate),
        decimal(trial.achieved_rate),
        trial.limit.as_ref().map(|limit| limit.name.clone()).unwrap_or_default(),
        decimal(trial.limit.as_ref().map(|limit| limit.value)),
    ]);
    row
}

fn cell_row(report: &Report<'_>, cell: &Cell) -> Vec<String> {
    let mut row = cell_fields(report, cell);
    let status = match cell.status {
        CellStatus::Ok => "ok",
        CellStatus::Skipped => "skipped",
        CellStatus::Failed => "failed",
    };
    row.extend([
        status.to_owned(),
        cell.reason.clone().unwrap_or_default(),
        cell.completed().count().to_string(),
    ]);
    let summary = cell.summary.clone().unwrap_or_default();
    let latency = &summary.latency;
    let figures: [Option<Estimate>; 13] = [
        latency.p50_ns,
        latency.p90_ns,
        latency.p95_ns,
        latency.p99_ns,
        latency.p999_ns,
        latency.p9999_ns,
        latency.min_ns,
        latency.max_ns,
        latency.mean_ns,
        summary.msgs_per_s,
        summary.bytes_per_s,
        summary.cpu_ns_per_msg,
        summary.ctxsw_per_msg,
    ];
    row.extend(figures.into_iter().flat_map(|figure| {
        [figure.map(|own| own.value), figure.map(|own| own.lo), figure.map(|own| own.hi)].map(decimal)
    }));
    let limit = summary.limit.as_ref();
    row.push(limit.map(|limit| limit.name.clone()).unwrap_or_default());
    row.extend([
        decimal(limit.map(|limit| limit.ratio)),
        decimal(limit.map(|limit| limit.lo)),
        decimal(limit.map(|limit| limit.hi)),
    ]);
    row
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// At most three decimals, and none when the number is whole.
fn decimal(value: Option<f64>) -> String {
    let Some(value) = value else { return String::new() };
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn table<H: AsRef<[u8]>>(header: &[H], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // A vector takes every write, and all rows have the length of the header: there is no error to report.
    let _ = writer.write_record(header);
    for row in rows {
        debug_assert_eq!(row.len(), header.len());
        let _ = writer.write_record(row);
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
