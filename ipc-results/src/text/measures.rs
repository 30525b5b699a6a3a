//! What only some workloads measure.

use crate::report::{Report, Sheet};

use super::Page;
use super::grid::{self, Column, Group};

/// What stands where there is no number.
const ABSENT: &str = "–";

/// One table per workload and size: a row per measure, for codecs a row per cell.
pub(super) fn measures(page: &mut Page, report: &Report<'_>) {
    for sheet in &report.sheets {
        page.heading(&sheet.title());
        let names = || sheet.cells.iter().map(|(series, _)| report.series[*series].clone());
        let (label, groups) = if sheet.is_of_codecs() {
            let columns = sheet.names.iter().map(|name| {
                let cells = sheet.cells.iter().map(|(_, cell)| text(Sheet::figure(cell, name)));
                group(Column::right(Sheet::words(name), cells.collect()))
            });
            (group(Column::left("", names().collect())), columns.collect::<Vec<_>>())
        } else {
            let words = sheet.names.iter().map(|name| Sheet::words(name)).collect();
            let columns = sheet.cells.iter().zip(names()).map(|((_, cell), series)| {
                let figures = sheet.names.iter().map(|name| text(Sheet::figure(cell, name)));
                group(Column::right(series, figures.collect()))
            });
            (group(Column::left("", words)), columns.collect::<Vec<_>>())
        };
        for (index, block) in grid::blocks(&label, groups, page.style.width).iter().enumerate() {
            if index > 0 {
                page.line("");
            }
            // No group has a title of its own.
            for line in grid::lines(block).iter().skip(1) {
                page.line(line);
            }
        }
        if sheet.is_of_codecs() {
            page.note(
                "sorted by what encoding and decoding take together; transport is an exchange less what the receiver \
                 decoded; end to end is measured by itself, not added up",
            );
            if let Some(sums) = sheet.sums() {
                page.note(&sums.to_string());
            }
        }
        for (cell, reason) in report.unmeasured().filter(|(cell, _)| {
            cell.mode == sheet.mode && cell.size_bytes == sheet.size_bytes && !report.has_a_table(cell)
        }) {
            page.note(&format!("{}: {reason}", cell.id));
        }
    }
}

fn text(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| ABSENT.to_owned())
}

fn group(column: Column) -> Group {
    Group { title: String::new(), columns: vec![column] }
}
