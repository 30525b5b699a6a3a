//! Latency and throughput by transport and size.

use crate::cell::{Cell, CellStatus};
use crate::estimate::Estimate;
use crate::recorder::samples_needed;
use crate::report::{Report, Row, Table};
use crate::summary::Summary;
use crate::units::{Scale, count, ratio, size};

use super::Page;
use super::grid::{self, Column, Group};

/// What stands where there is no number; a line below the table says why.
const ABSENT: &str = "–";

/// From this size on throughput is shown in bytes: below it the work is per message, above it per byte.
const BYTES_FROM: u64 = 4096;

/// Length of the longest bar, in characters.
const BAR: usize = 8;

pub(super) fn table(page: &mut Page, report: &Report<'_>, table: &Table<'_>) {
    let label = Group {
        title: String::new(),
        columns: vec![
            Column::left("transport", table.rows.iter().map(|row| row.name.clone()).collect()),
            Column::left("wait", table.rows.iter().map(|row| row.wait.to_owned()).collect()),
        ],
    };
    let (title, groups) = if table.by_throughput { throughput(table) } else { latency(table) };
    page.heading(&title);
    for (index, block) in grid::blocks(&label, groups, page.style.width).iter().enumerate() {
        if index > 0 {
            page.line("");
        }
        for line in grid::lines(block) {
            page.line(&line);
        }
    }
    for note in notes(report, table) {
        page.note(&note);
    }
}

fn latency(table: &Table<'_>) -> (String, Vec<Group>) {
    let p50 = |summary: &Summary| summary.latency.p50_ns;
    let all = table.rows.iter().flat_map(|row| &row.cells);
    let unit = Scale::time(all.filter_map(|cell| Some(p50(summary(*cell)?)?.value)));
    let group = |(index, bytes): (usize, &u64)| {
        let times = |header: &str, figure: &dyn Fn(&Summary) -> Option<Estimate>| {
            let scale = unit.for_column(figures(table, index, figure).into_iter().flatten());
            column(table, index, header, &|summary| Some(scale.format(figure(summary)?.value)))
        };
        let mut columns = vec![times("p50", &p50)];
        if index == 0 {
            let error = |summary: &Summary| Some(error(p50(summary)?.relative_error()?));
            let limit = |summary: &Summary| Some(format!("{}×", ratio(summary.limit.as_ref()?.ratio)));
            columns.push(column(table, index, "±CI", &error));
            columns.push(column(table, index, "×limit", &limit));
        }
        columns.push(times("p99", &|summary| summary.latency.p99_ns));
        if index == 0 {
            let switches = |summary: &Summary| Some(format!("{:.1}", summary.ctxsw_per_msg?.value));
            columns.push(times("cpu/msg", &|summary| summary.cpu_ns_per_msg));
            columns.push(column(table, index, "ctxsw/msg", &switches));
        }
        Group { title: size(*bytes), columns }
    };
    let groups = table.sizes.iter().enumerate().map(group).collect();
    (format!("{} ({})", table.title(), unit.unit), groups)
}

fn throughput(table: &Table<'_>) -> (String, Vec<Group>) {
    let group = |(index, bytes): (usize, &u64)| {
        let in_bytes = *bytes >= BYTES_FROM;
        let figure = |summary: &Summary| if in_bytes { summary.bytes_per_s } else { summary.msgs_per_s };
        let values = figures(table, index, &figure);
        let known = || values.iter().flatten().copied();
        let scale = if in_bytes { Scale::bytes(known()) } else { Scale::messages(known()) };
        let most = known().fold(0.0, f64::max);
        let bars =
            values.iter().map(|value| value.map(|value| bar(value / most)).unwrap_or_default()).collect();
        let number = column(table, index, scale.unit, &|summary| Some(scale.format(figure(summary)?.value)));
        Group { title: size(*bytes), columns: vec![number, Column::left(" ".repeat(BAR), bars)] }
    };
    (table.title(), table.sizes.iter().enumerate().map(group).collect())
}

/// Half the width of an interval relative to the value.
fn error(fraction: f64) -> String {
    match fraction {
        small if small < 0.005 => "±<1%".to_owned(),
        // A percentage of five digits says less than the factor, and pushes the columns apart.
        large if large >= 9.995 => format!("±{large:.0}×"),
        usual => format!("±{:.0}%", usual * 100.0),
    }
}

/// A bar of up to [`BAR`] characters for a share in `0.0..=1.0`, to an eighth of a character.
fn bar(share: f64) -> String {
    let eighths = (share * (BAR * 8) as f64).round().clamp(1.0, (BAR * 8) as f64) as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]);
    bar
}

fn summary(cell: Option<&Cell>) -> Option<&Summary> {
    cell?.summary.as_ref()
}

/// A figure of every row at one size.
fn figures(
    table: &Table<'_>,
    column: usize,
    figure: &dyn Fn(&Summary) -> Option<Estimate>,
) -> Vec<Option<f64>> {
    table.rows.iter().map(|row| Some(figure(summary(row.cells[column])?)?.value)).collect()
}

fn column(
    table: &Table<'_>,
    index: usize,
    header: &str,
    text: &dyn Fn(&Summary) -> Option<String>,
) -> Column {
    let cell = |row: &Row<'_>| summary(row.cells[index]).and_then(text).unwrap_or_else(|| ABSENT.into());
    Column::right(header, table.rows.iter().map(cell).collect())
}

/// Why cells show [`ABSENT`], and what the interval covers.
fn notes(report: &Report<'_>, table: &Table<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let measured = || table.rows.iter().flat_map(|row| &row.cells).filter_map(|cell| summary(*cell));
    if !table.by_throughput {
        if let Some(estimate) = measured().find_map(|summary| summary.latency.p50_ns)
            && estimate.trials > 1
        {
            notes.push(format!(
                "±CI: interval of the median over {} trials, covers {:.1} %",
                estimate.trials,
                estimate.coverage * 100.0
            ));
        }
        if measured().any(|summary| summary.latency.p50_ns.is_none()) {
            let needed = samples_needed(50.0);
            notes.push(format!("p50 needs ≥ {needed} samples in every trial: measure longer with -d"));
        }
        if measured().any(|summary| summary.latency.p50_ns.is_some() && summary.latency.p99_ns.is_none()) {
            notes.push(format!("p99 needs ≥ {} samples in every trial", count(samples_needed(99.0))));
        }
    }
    let awake = table.rows.iter().flat_map(|row| row.cells.iter().flatten());
    if let Some(cell) =
        awake.filter(|cell| cell.status == CellStatus::Ok).find(|cell| !cell.kept_awake.is_empty())
    {
        let cpus: Vec<String> = cell.kept_awake.iter().map(u32::to_string).collect();
        notes.push(format!(
            "cpu {} kept from halting by an idle loop in trials that sleep, and in those of their limit (--keep-awake)",
            cpus.join(" and ")
        ));
    }
    for (cell, reason) in report.unmeasured().filter(|(cell, _)| cell.mode == table.mode) {
        let what = if cell.status == CellStatus::Skipped { "skipped" } else { "failed" };
        notes.push(format!("{} {}: {reason} ({what})", cell.transport, size(cell.size_bytes)));
    }
    if table.rows.iter().any(|row| row.cells.contains(&None)) {
        notes.push("a – without a reason here was not in the plan".to_owned());
    }
    notes
}
