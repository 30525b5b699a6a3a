//! What only some workloads measure, codecs among it.

use crate::export::escape;
use crate::report::{Report, Sheet};

use super::page::{Page, named, table};

/// A table per workload and size: a column per measure, a row per cell.
pub(super) fn measures(page: &mut Page, report: &Report<'_>) {
    let lead = "Encoding and decoding are timed where they happen; transport is an exchange less what the receiver decoded; end to \
                end is all of it in one, measured by itself. Sorted by what encoding and decoding take together.";
    section(page, report, ("codecs", "Codecs", "Codecs"), lead, true);
    let lead = "Figures that only these workloads have: what an open endpoint costs while nothing comes, what stays behind, how \
                uneven loads are taken. Medians over trials.";
    section(page, report, ("measures", "Scenes", "Idle, leaks and uneven loads"), lead, false);
}

fn section(
    page: &mut Page,
    report: &Report<'_>,
    (id, short, title): (&'static str, &'static str, &str),
    lead: &str,
    codecs: bool,
) {
    let sheets: Vec<&Sheet<'_>> =
        report.sheets.iter().filter(|sheet| sheet.is_of_codecs() == codecs).collect();
    if sheets.is_empty() {
        return;
    }
    page.section(id, short, title, lead);
    for sheet in sheets {
        let words: Vec<String> = sheet.names.iter().map(|name| escape(&Sheet::words(name))).collect();
        let heads: Vec<&str> = [""].into_iter().chain(words.iter().map(String::as_str)).collect();
        let rows = sheet.cells.iter().map(|(series, cell)| {
            let figure =
                |name: &&str| Sheet::figure(cell, name).map_or_else(|| "–".to_owned(), |text| escape(&text));
            [named(report, *series)].into_iter().chain(sheet.names.iter().map(figure)).collect()
        });
        let sums =
            sheet.sums().map(|sums| format!("<p>{}.</p>", escape(&sums.to_string()))).unwrap_or_default();
        page.figure(&sheet.title(), &sums, &table("numbers sortable", &heads, rows));
    }
    page.end_section();
}
