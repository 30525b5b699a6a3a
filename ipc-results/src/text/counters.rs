//! What the kernel and the processor counted.

use crate::report::Report;

use super::Page;
use super::grid::{self, Column, Group};

pub(super) fn counters(page: &mut Page, report: &Report<'_>) {
    let Some(counts) = &report.counts else { return };
    page.heading("Counted per message, all workers together");
    let group = |column| Group { title: String::new(), columns: vec![column] };
    let label = group(Column::left("cell", counts.rows.iter().map(|(cell, _)| cell.id.clone()).collect()));
    let columns = counts.heads.iter().enumerate().map(|(index, head)| {
        group(Column::right(*head, counts.rows.iter().map(|(_, texts)| texts[index].clone()).collect()))
    });
    for (index, block) in grid::blocks(&label, columns.collect(), page.style.width).iter().enumerate() {
        if index > 0 {
            page.line("");
        }
        // No group has a title of its own.
        for line in grid::lines(block).iter().skip(1) {
            page.line(line);
        }
    }
    for reason in counts.reasons() {
        page.note(&reason);
    }
    page.note("counting has its price: times of a run with --perf are not those of a run without");
}
