//! Transport by size, coloured by distance from the best of each size.

use crate::export::escape;
use crate::metric::Metric;
use crate::report::{Report, Row, Table};
use crate::units::{self, size};

use super::page::{Page, named};

/// From this size on throughput is shown in bytes.
const BYTES_FROM: u64 = 4096;

pub(super) fn heat_maps(page: &mut Page, report: &Report<'_>) {
    if report.tables.is_empty() {
        return;
    }
    let lead = "In each column the best is the palest and colour deepens with the logarithm of the distance from it. A dash was not \
                measured or, for a percentile, is not supported by enough samples.";
    page.section("map", "Heat map", "Every transport at every size", lead);
    page.push("<div class=\"grid\">");
    for table in &report.tables {
        let metrics: &[(Metric, &str)] = if table.by_throughput {
            &[(Metric::MsgsPerS, "delivered per second")]
        } else {
            &[
                (Metric::P50, "median latency"),
                (Metric::P99, "99th percentile"),
                (Metric::CpuPerMsg, "processor time per message"),
            ]
        };
        for (metric, name) in metrics {
            page.push(&heat_map(report, table, *metric, name));
        }
    }
    page.push("</div>");
    page.end_section();
}

fn heat_map(report: &Report<'_>, table: &Table<'_>, metric: Metric, name: &str) -> String {
    let columns: Vec<Vec<Option<f64>>> = (0..table.sizes.len())
        .map(|column| table.rows.iter().map(|row| value(row, column, metric)).collect())
        .collect();
    let heads: String =
        table.sizes.iter().map(|bytes| format!("<th scope=\"col\">{}</th>", size(*bytes))).collect();
    let rows: String = table
        .rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let cells: String = columns
                .iter()
                .enumerate()
                .map(|(column, values)| cell(row, column, metric, values, values[index]))
                .collect();
            format!(
                "<tr class=\"n{}\"><th scope=\"row\">{}</th>{cells}</tr>",
                row.series,
                named(report, row.series)
            )
        })
        .collect();
    format!(
        "<figure><figcaption>{}: {name}</figcaption><div class=\"scroll\"><table class=\"heat\"><thead><tr><th></th>{heads}</tr>\
         </thead><tbody>{rows}</tbody></table></div></figure>",
        escape(&table.title())
    )
}

fn value(row: &Row<'_>, column: usize, metric: Metric) -> Option<f64> {
    Some(metric.in_summary(row.cells[column]?.summary.as_ref()?)?.value)
}

fn cell(row: &Row<'_>, column: usize, metric: Metric, values: &[Option<f64>], own: Option<f64>) -> String {
    let (Some(cell), Some(own)) = (row.cells[column], own) else {
        let why = row.cells[column]
            .and_then(|cell| cell.reason.as_deref())
            .unwrap_or("not measured, or too few samples");
        return format!("<td class=\"none\" title=\"{}\">–</td>", escape(why));
    };
    let known = || values.iter().flatten().copied();
    let (lo, hi) = (known().fold(f64::INFINITY, f64::min), known().fold(0.0, f64::max));
    let mut heat = if hi > lo { (own / lo).ln() / (hi / lo).ln() } else { 0.0 };
    if metric.higher_is_better() {
        heat = if hi > lo { 1.0 - heat } else { 0.0 };
    }
    // Where the work is per byte, bytes say more; in one column of one size they are in the same proportion.
    let shown =
        if metric == Metric::MsgsPerS && cell.size_bytes >= BYTES_FROM { Metric::BytesPerS } else { metric };
    let estimate = cell.summary.as_ref().and_then(|summary| shown.in_summary(summary));
    let own = estimate.map_or(own, |estimate| estimate.value);
    let error = estimate.and_then(|estimate| estimate.relative_error());
    let error = error.map(|error| format!("<small>{}</small>", units::error(error))).unwrap_or_default();
    format!(
        "<td style=\"--v:{:.0}%\" title=\"{}\">{}{error}</td>",
        heat * 100.0,
        escape(&cell.id),
        escape(&shown.format(own))
    )
}
