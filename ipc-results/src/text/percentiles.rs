//! The percentiles that were asked for.

use crate::report::Report;

use super::Page;
use super::grid::{self, Column, Group};

/// One row per cell that has latencies.
pub(super) fn percentiles(page: &mut Page, report: &Report<'_>) {
    let (names, rows) = report.percentiles();
    if rows.is_empty() {
        return;
    }
    let group = |column| Group { title: String::new(), columns: vec![column] };
    let label = group(Column::left("", rows.iter().map(|(id, _)| (*id).to_owned()).collect()));
    let column = |(index, name): (usize, &String)| {
        group(Column::right(name.clone(), rows.iter().map(|(_, times)| times[index].clone()).collect()))
    };
    let columns = names.iter().enumerate().map(column).collect();
    page.heading("Percentiles asked for");
    for (index, block) in grid::blocks(&label, columns, page.style.width).iter().enumerate() {
        if index > 0 {
            page.line("");
        }
        // No group has a title of its own.
        for line in grid::lines(block).iter().skip(1) {
            page.line(line);
        }
    }
    if rows.iter().any(|(_, times)| times.iter().any(|time| time == "–")) {
        page.note("–: fewer than ten samples of a trial lie beyond it; longer trials have more");
    }
}
