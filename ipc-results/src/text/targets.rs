//! Claimed, measured, verdict.

use crate::targets::{Finding, Judged};
use crate::units::figure;

use super::grid::{self, Column, Group};
use super::{Page, Style};

/// One row per target in the order of the file, the reasons of those that nothing measured, and a count of each verdict.
pub fn targets(judged: &[Judged], style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    let text = |cell: &dyn Fn(&Judged) -> String| judged.iter().map(cell).collect::<Vec<String>>();
    let columns = vec![
        Column::left("claim", text(&|row| row.target.claim.clone())),
        Column::right("claimed", text(&claimed)),
        Column::right("measured", text(&measured)),
        Column::left("verdict", text(&|row| verdict(row).to_owned())),
    ];
    for line in grid::lines(&[Group { title: String::new(), columns }]).iter().skip(1) {
        page.line(line);
    }
    for row in judged {
        if let Finding::NotMeasured { why } = &row.finding {
            page.note(&format!("{}: not measured: {why}", row.target.claim));
        }
    }
    let count = |wanted: &str| judged.iter().filter(|row| verdict(row) == wanted).count();
    page.line(&format!("{} met · {} missed · {} not measured", count("met"), count("MISSED"), count("–")));
    page.text
}

fn claimed(row: &Judged) -> String {
    let Some(value) = row.target.value else { return "–".to_owned() };
    format!("{} {}", row.target.op, figure(row.target.unit(), value))
}

fn measured(row: &Judged) -> String {
    match &row.finding {
        Finding::Met { measured, .. } | Finding::Missed { measured, .. } => {
            figure(row.target.unit(), measured.value)
        }
        Finding::NotMeasured { .. } => "–".to_owned(),
    }
}

fn verdict(row: &Judged) -> &'static str {
    match row.finding {
        Finding::Met { .. } => "met",
        Finding::Missed { .. } => "MISSED",
        Finding::NotMeasured { .. } => "–",
    }
}
