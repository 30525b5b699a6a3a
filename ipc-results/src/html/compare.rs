//! The report of a comparison: verdicts, the changes as a forest of intervals, curves over each other, yardsticks.

use std::fmt::Write;

use crate::compare::{Change, Comparison, Side};
use crate::export::escape;
use crate::report::Report;
use crate::units::{change, change_interval, distance, probability, yardstick};
use crate::verdict::Verdict;

use super::axis::Axis;
use super::charts;
use super::page::{Page, table};
use super::strip::Rows;

/// Changed cells whose whole distributions are drawn, largest change first.
const MOST_CURVES: usize = 12;

/// The report of a comparison; the two runs supply the distributions.
pub fn comparison(comparison: &Comparison, a: &Report<'_>, b: &Report<'_>) -> String {
    let mut page = Page::new();
    header(&mut page, comparison);
    yardsticks(&mut page, comparison);
    let mut rows: Vec<&Change> = comparison.rows.iter().collect();
    rows.sort_by(|x, y| worse(y).total_cmp(&worse(x)));
    forest(&mut page, &rows);
    curves(&mut page, comparison, a, b);
    changes(&mut page, &rows);
    let json = serde_json::to_string(comparison).unwrap_or_default().replace('<', "\\u003c");
    let series = [format!("A {}", comparison.a.name), format!("B {}", comparison.b.name)];
    page.document(&format!("{} → {} – ipc-bench", comparison.a.name, comparison.b.name), &series, &json)
}

/// How much worse the new value is: positive is slower or fewer.
fn worse(row: &Change) -> f64 {
    let log = row.ratio.value.ln();
    if row.metric.higher_is_better() { -log } else { log }
}

fn header(page: &mut Page, comparison: &Comparison) {
    let count = |verdict| comparison.with(verdict).count();
    let headline = match (comparison.same_host, count(Verdict::Regressed), count(Verdict::Improved)) {
        _ if comparison.rows.is_empty() => "Nothing could be compared".to_owned(),
        (false, ..) => "Different machines: no verdicts".to_owned(),
        (true, 0, 0) => "No change is certain".to_owned(),
        (true, 0, improved) => format!("{improved} improved, none regressed"),
        (true, regressed, _) => format!("{regressed} regressed"),
    };
    let side = |letter: &str, side: &Side| {
        let version = side.version.as_deref().unwrap_or("no version");
        format!(
            "<b>{letter}</b> {} ({}, {}, up to {} trials)",
            escape(&side.name),
            escape(&side.started),
            escape(version),
            side.trials.1
        )
    };
    page.push(&format!(
        "<header><p class=\"over\">ipc-bench · comparison</p><h1>{headline}</h1><p class=\"sentences\">{} improved, {} regressed, \
         {} unchanged, {} inconclusive of {} figures.{}{}</p><p class=\"meta\">{} · {}</p></header>\n",
        count(Verdict::Improved),
        count(Verdict::Regressed),
        count(Verdict::Unchanged),
        count(Verdict::Inconclusive),
        comparison.rows.len(),
        match comparison.note().filter(|_| !comparison.rows.is_empty()) {
            Some(note) => format!(" Here {note}."),
            None if comparison.rows.is_empty() => format!(" {}.", comparison.nothing()),
            None => String::new(),
        },
        comparison.disturbance().map(|text| format!(" {}.", escape(&text))).unwrap_or_default(),
        side("A", &comparison.a),
        side("B", &comparison.b),
    ));
}

fn yardsticks(page: &mut Page, comparison: &Comparison) {
    if comparison.yardsticks.is_empty() {
        return;
    }
    let lead = "Limits of the machine, measured in both runs. Where one moved by more than 5 %, the machine changed and not the code.";
    page.section("yardsticks", "Machine", "Did the machine change", lead);
    let rows = comparison.yardsticks.iter().map(|own| {
        let verdict = if own.moved { "<span class=\"care\">moved</span>" } else { "" };
        vec![escape(&yardstick(&own.name, 1.0).0), change_interval(&own.ratio), verdict.to_owned()]
    });
    page.push(&table("numbers narrow", &["limit", "change", ""], rows));
    page.end_section();
}

/// Colours of the forest, as series of the palette: red, green, grey by verdict.
fn tone(verdict: Option<Verdict>) -> usize {
    match verdict {
        Some(Verdict::Regressed) => 1,
        Some(Verdict::Improved) => 2,
        Some(Verdict::Unchanged) => 0,
        Some(Verdict::Inconclusive) | None => 6,
    }
}

fn forest(page: &mut Page, rows: &[&Change]) {
    let lead = "New over old with its interval, the worst at the top; to the right is more. Triangles improved, squares regressed, circles are \
                unchanged, flat bars are inconclusive. What is off the scale stands at its edge, with its value.";
    page.section("changes", "Changes", "What changed", lead);
    let away = |ratio: f64| ratio - 1.0;
    let reach = rows
        .iter()
        .flat_map(|row| [away(row.ratio.lo).abs(), away(row.ratio.hi).abs()])
        .fold(0.05, f64::max)
        .min(1.0);
    page.push("<div class=\"grid\">");
    // Columns of a readable length, and of the same.
    let columns = rows.len().div_ceil(16).max(1);
    for part in rows.chunks(rows.len().div_ceil(columns).max(1)) {
        let axis = Axis::around_zero("change", reach * 1.05);
        let mut drawing =
            Rows::with_long_labels("change of every figure with its interval", axis, part.len());
        for (index, row) in part.iter().enumerate() {
            let tone = tone(row.verdict);
            drawing.label(index, &format!("{} {}", row.cell, row.metric));
            drawing.interval(index, tone, away(row.ratio.lo).max(-reach), away(row.ratio.hi).min(reach));
            let text = format!("{} {}: {}", row.cell, row.metric, change_interval(&row.ratio));
            let value = away(row.ratio.value);
            drawing.point(index, tone, value.clamp(-reach, reach), false, &text);
            if value.abs() > reach {
                drawing.beyond(index, value.clamp(-reach, reach), &distance(row.ratio.value));
            }
        }
        let _ = write!(page, "<figure>{}</figure>", drawing.finish());
    }
    page.push("</div>");
    page.end_section();
}

fn curves(page: &mut Page, comparison: &Comparison, a: &Report<'_>, b: &Report<'_>) {
    let mut cells: Vec<&str> = Vec::new();
    let certain = |row: &&Change| matches!(row.verdict, Some(Verdict::Regressed | Verdict::Improved));
    for row in comparison.rows.iter().filter(certain) {
        if !cells.contains(&row.cell.as_str()) && cells.len() < MOST_CURVES {
            cells.push(&row.cell);
        }
    }
    let charts: Vec<(&str, (String, String, String))> = cells
        .into_iter()
        .filter_map(|cell| {
            let sides = [("A", a, &comparison.a), ("B", b, &comparison.b)];
            Some((
                cell,
                charts::overlaid(
                    sides.map(|(letter, report, side)| (format!("{letter} {}", side.name), report)),
                    cell,
                )?,
            ))
        })
        .collect();
    if charts.is_empty() {
        return;
    }
    page.section(
        "percentiles",
        "Distribution",
        "The distributions that changed",
        "The median trial of each run, and the band of all its trials.",
    );
    page.push("<div class=\"grid\">");
    for (cell, (logarithmic, linear, numbers)) in charts {
        page.figure(cell, &charts::switchable(&logarithmic, &linear), &numbers);
    }
    page.push("</div>");
    page.end_section();
}

fn changes(page: &mut Page, rows: &[&Change]) {
    page.section("table", "Table", "Every figure", "");
    let rows = rows.iter().map(|row| {
        let class = match row.verdict {
            Some(Verdict::Regressed) => "bad",
            Some(Verdict::Improved) => "good",
            _ => "",
        };
        let verdict =
            row.verdict.map_or_else(|| "–".to_owned(), |verdict| verdict.to_string().to_lowercase());
        let reason = row.reason.as_ref().map(|reason| format!(" ({})", escape(reason))).unwrap_or_default();
        let settle = row
            .trials_to_settle
            .map(|trials| format!(" (≈{trials} trials would settle it)"))
            .unwrap_or_default();
        vec![
            format!("<code>{}</code>", escape(&row.cell)),
            row.metric.to_string(),
            escape(&row.metric.format(row.a.value)),
            escape(&row.metric.format(row.b.value)),
            change_interval(&row.ratio),
            row.normalised.map_or_else(|| "–".into(), |own| change(own.value)),
            probability(row.p_holm),
            format!("<td class=\"{class}\">{verdict}{reason}{settle}</td>"),
        ]
    });
    let heads = ["cell", "metric", "A", "B", "change (95 % CI)", "against the limit", "p (Holm)", "verdict"];
    page.push(&table("numbers sortable filterable", &heads, rows));
    page.end_section();
}
