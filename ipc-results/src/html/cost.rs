//! Processor time, sleeps and interruptions per message.

use crate::export::escape;
use crate::report::{Cost, Report, Table};
use crate::units::{percent, size, time};

use super::axis::{Axis, time_tick};
use super::page::{Page, named, table};
use super::strip::Rows;

pub(super) fn cost(page: &mut Page, report: &Report<'_>) {
    let charts: Vec<(String, String, String)> =
        report.tables.iter().filter_map(|table| chart(report, table)).collect();
    if charts.is_empty() && report.counts.is_none() {
        return;
    }
    let lead = "Processor time of both sides together at the smallest size: the full colour is spent inside the kernel, the pale part \
                outside. A transport that spins pays with time that nobody else can use. System calls and what the processor counts are \
                told of a run with --perf: counting has its price.";
    page.section("cost", "Cost", "What a message costs", lead);
    page.push("<div class=\"grid\">");
    for (caption, svg, numbers) in charts {
        page.figure(&caption, &svg, &numbers);
    }
    page.push("</div>");
    counts(page, report);
    page.end_section();
}

/// What was counted, a row per cell.
fn counts(page: &mut Page, report: &Report<'_>) {
    let Some(counts) = &report.counts else { return };
    let heads: Vec<&str> = [""].into_iter().chain(counts.heads.iter().copied()).collect();
    let rows = counts.rows.iter().map(|(cell, texts)| {
        [escape(&cell.id)].into_iter().chain(texts.iter().map(|text| escape(text))).collect()
    });
    let reasons: String = counts.reasons().map(|reason| format!("<p>{}.</p>", escape(&reason))).collect();
    page.figure(
        "Counted per message, all workers together",
        &reasons,
        &table("numbers sortable", &heads, rows),
    );
}

fn chart(report: &Report<'_>, cells: &Table<'_>) -> Option<(String, String, String)> {
    let costs: Vec<&Cost<'_>> = cells
        .rows
        .iter()
        .filter_map(|row| {
            let cell = row.cells[0]?;
            report.costs.iter().find(|cost| cost.cell.id == cell.id)
        })
        .collect();
    let axis = Axis::linear("per message", costs.iter().map(|cost| cost.cpu_ns.value), time_tick)?;
    let mut drawing = Rows::new("processor time per message", axis, costs.len());
    for (row, cost) in costs.iter().enumerate() {
        let label = &report.series[cost.series];
        drawing.label(row, label);
        let (share, all) = (cost.kernel.value, cost.cpu_ns.value);
        let text = format!("{label}: {}, {} of it in the kernel", time(all), percent(share));
        drawing.bar(row, cost.series, share * all, all, &text);
    }
    let rows = costs.iter().map(|cost| {
        let busy = format!("{:.2}", cost.cores.value);
        vec![
            named(report, cost.series),
            time(cost.cpu_ns.value),
            percent(cost.kernel.value),
            format!("{:.3}", cost.voluntary.value),
            format!("{:.4}", cost.involuntary.value),
            if cost.burns_cpu { format!("<span class=\"care\">{busy} spinning</span>") } else { busy },
        ]
    });
    let heads = ["", "cpu", "in the kernel", "sleeps", "interruptions", "cores busy"];
    let caption = format!("{}, {}", cells.title(), size(cells.sizes[0]));
    Some((caption, drawing.finish(), table("numbers", &heads, rows)))
}
