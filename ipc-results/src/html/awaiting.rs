//! Awaited calls against waiting ones: the same cell, the ratio, and what each costs.

use crate::cell::Cell;
use crate::export::escape;
use crate::report::Report;
use crate::units::{ratio, time};

use super::page::{Page, table};

/// How a cell of awaited calls is told from its twin.
pub(super) const SETTING: &str = "io=async";

pub(super) fn awaiting(page: &mut Page, report: &Report<'_>) {
    let gains: Vec<_> = report.gains.iter().filter(|gain| gain.setting == SETTING).collect();
    if gains.is_empty() {
        return;
    }
    let lead = "Each row is one cell measured twice by the same loops over the same transport: with calls that wait, and with awaited \
                calls on a reactor driven by the measuring thread. Processor time is that of both sides together, per message.";
    page.section("sync-async", "Sync and async", "What awaiting costs", lead);
    let cpu = |cell: &Cell| {
        let cost = report.costs.iter().find(|cost| cost.cell.id == cell.id);
        cost.map_or_else(|| "–".to_owned(), |cost| time(cost.cpu_ns.value))
    };
    let rows = gains.into_iter().map(|gain| {
        vec![
            format!("<code>{}</code>", escape(&gain.base.id)),
            gain.metric.to_string(),
            escape(&gain.metric.format(gain.without.value)),
            escape(&gain.metric.format(gain.with.value)),
            format!("{}× ({} … {})", ratio(gain.ratio.value), ratio(gain.ratio.lo), ratio(gain.ratio.hi)),
            cpu(gain.base),
            cpu(gain.cell),
        ]
    });
    let heads = ["cell", "metric", "sync", "async", "async ÷ sync (95 % CI)", "cpu, sync", "cpu, async"];
    page.push(&table("numbers sortable", &heads, rows));
    page.end_section();
}
