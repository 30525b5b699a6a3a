//! Comparisons and gates on the console.

use crate::compare::{Change, Comparison, Side};
use crate::policy::{Gate, Outcome};
use crate::statistics::TARGET_COVERAGE;
use crate::units::{change, change_interval, probability, yardstick};
use crate::verdict::Verdict;

use super::grid::{self, Column, Group};
use super::{Page, Style};

/// Inconclusive rows shown unless all are asked for: on a noisy machine they are most of the table.
const MOST_INCONCLUSIVE: usize = 20;

/// One comparison: both sides, the yardsticks, the changes worst first, a count of each verdict. Unchanged rows and the bulk of
/// the inconclusive ones are only counted unless `all`.
pub fn comparison(comparison: &Comparison, all: bool, style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    sides(&mut page, comparison);
    moved_yardsticks(&mut page, comparison);
    let mut rows: Vec<&Change> = comparison.rows.iter().collect();
    // Worst first, and of the same verdict the largest change first.
    rows.sort_by(|x, y| {
        let size = |row: &Change| row.ratio.value.ln().abs();
        severity(x.verdict).cmp(&severity(y.verdict)).then(size(y).total_cmp(&size(x)))
    });
    let mut inconclusive = 0;
    let shown = |row: &&Change| match row.verdict {
        Some(Verdict::Unchanged) => all,
        Some(Verdict::Inconclusive) => {
            inconclusive += 1;
            all || inconclusive <= MOST_INCONCLUSIVE
        }
        _ => true,
    };
    let rows: Vec<&Change> = rows.into_iter().filter(shown).collect();
    if !rows.is_empty() {
        page.line("");
        for line in grid::lines(&[table(&rows)]).iter().skip(1) {
            page.line(line);
        }
    }
    if rows.len() < comparison.rows.len() {
        let unchanged = comparison.with(Verdict::Unchanged).count();
        let more = inconclusive.saturating_sub(MOST_INCONCLUSIVE);
        let more = if more > 0 { format!("{more} more inconclusive and ") } else { String::new() };
        page.note(&format!("…  {more}{unchanged} unchanged hidden (--all)"));
    }
    for (cells, side) in [(&comparison.only_a, &comparison.a), (&comparison.only_b, &comparison.b)] {
        if !cells.is_empty() {
            page.wrapped("", 0, &format!("only in {}: {}", side.name, cells.join(", ")));
        }
    }
    if comparison.rows.iter().any(|row| row.ratio.coverage < TARGET_COVERAGE) {
        page.note("too few trials for an interval of 95 %: those shown span all that was compared");
    }
    if comparison.rows.is_empty() {
        page.wrapped("", 0, &comparison.nothing());
    }
    if let Some(disturbance) = comparison.disturbance() {
        page.wrapped("", 0, &disturbance);
    }
    page.line(&counts(comparison));
    page.text
}

/// Several runs against the first: one column of changes for each.
pub fn comparisons(comparisons: &[Comparison], style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    let Some(first) = comparisons.first() else { return page.text };
    page.line(&format!("{} is the reference", side("A", &first.a)));
    let rows: Vec<&Change> = first.rows.iter().collect();
    let label = Group {
        title: String::new(),
        columns: vec![
            Column::left("cell", rows.iter().map(|row| row.cell.clone()).collect()),
            Column::left("metric", rows.iter().map(|row| row.metric.to_string()).collect()),
            Column::right("A", rows.iter().map(|row| row.metric.format(row.a.value)).collect()),
        ],
    };
    let column = |comparison: &Comparison| {
        let same = |row: &&Change| {
            comparison.rows.iter().find(|other| other.cell == row.cell && other.metric == row.metric)
        };
        let absent = || "–".to_owned();
        let text = |cell: &dyn Fn(&Change) -> String| -> Vec<String> {
            rows.iter().map(|row| same(row).map_or_else(absent, cell)).collect()
        };
        let columns = vec![
            Column::right("", text(&|row| row.metric.format(row.b.value))),
            Column::right("change", text(&|row| change(row.ratio.value))),
            Column::left(
                "",
                text(&|row| row.verdict.map_or_else(String::new, |verdict| verdict.to_string())),
            ),
        ];
        Group { title: comparison.b.name.clone(), columns }
    };
    page.line("");
    for block in grid::blocks(&label, comparisons.iter().map(column).collect(), style.width) {
        for line in grid::lines(&block) {
            page.line(&line);
        }
        page.line("");
    }
    for comparison in comparisons {
        page.line(&format!("{}: {}", comparison.b.name, counts(comparison)));
    }
    page.text
}

/// What a gate found, one line per violation; `repro` gives the command that measures a cell again.
pub fn gate(gate: &Gate<'_>, repro: impl Fn(&str) -> String, style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    let outcome = match gate.outcome {
        Outcome::Passed => "gate passed",
        Outcome::Regressed => "gate FAILED",
        Outcome::Undecided => "gate undecided",
    };
    page.line(&format!(
        "{outcome}: {} regressed, {} inconclusive, {} missing",
        gate.regressed.len(),
        gate.inconclusive.len(),
        gate.missing.len()
    ));
    if let Some(needs) = gate.needs {
        page.wrapped("", 2, &format!("the gate {needs}"));
    }
    for row in &gate.regressed {
        let values = format!("{} → {}", row.metric.format(row.a.value), row.metric.format(row.b.value));
        page.line(&format!("  {} {} {values}  {}", row.cell, row.metric, change_interval(&row.ratio)));
        page.command(&repro(&row.cell));
    }
    // A red that was taken back costs nobody a build, and is told all the same.
    for (row, reason) in gate.taken_back() {
        let change = change_interval(&row.ratio);
        page.line(&format!("  {} {} {change}  inconclusive ({reason})", row.cell, row.metric));
        page.command(&repro(&row.cell));
    }
    for cell in &gate.missing {
        page.line(&format!("  {cell} was not measured"));
        page.command(&repro(cell));
    }
    page.text
}

fn sides(page: &mut Page, comparison: &Comparison) {
    let (a, b) = (&comparison.a, &comparison.b);
    page.line(&side("A", a));
    page.line(&side("B", b));
    let host = |side: &Side| side.hostname.clone().unwrap_or_else(|| "unnamed".into());
    if comparison.same_host {
        let kernel = if a.kernel == b.kernel { "same kernel" } else { "DIFFERENT kernels" };
        page.line(&format!("host {} (same machine, {kernel})", host(b)));
        if let Some(note) = comparison.note() {
            page.wrapped("", 0, note);
        }
    } else {
        page.line(&format!("hosts {} and {}: different machines, no verdicts", host(a), host(b)));
    }
}

fn side(letter: &str, side: &Side) -> String {
    let day = side.started.split('T').next().unwrap_or_default();
    let version = side.version.as_deref().unwrap_or("no version");
    let trials = match side.trials {
        (fewest, most) if fewest == most => format!("{most} trials"),
        (fewest, most) => format!("{fewest} to {most} trials"),
    };
    format!("{letter} {}  {day}  {version}  {trials}", side.name)
}

fn moved_yardsticks(page: &mut Page, comparison: &Comparison) {
    if comparison.yardsticks.is_empty() {
        return;
    }
    let name = |name: &str| yardstick(name, 1.0).0;
    let changes: Vec<String> = comparison
        .yardsticks
        .iter()
        .map(|yardstick| format!("{} {}", name(&yardstick.name), change(yardstick.ratio.value)))
        .collect();
    let moved: Vec<String> = comparison
        .yardsticks
        .iter()
        .filter(|yardstick| yardstick.moved)
        .map(|yardstick| name(&yardstick.name))
        .collect();
    let judgement = if moved.is_empty() {
        "comparable".to_owned()
    } else {
        format!("machine changed: {}", moved.join(", "))
    };
    page.wrapped("yardsticks: ", 12, &format!("{} → {judgement}", changes.join(" · ")));
}

fn table(rows: &[&Change]) -> Group {
    let text = |cell: &dyn Fn(&Change) -> String| rows.iter().map(|row| cell(row)).collect::<Vec<String>>();
    let columns = vec![
        Column::left("cell", text(&|row| row.cell.clone())),
        Column::left("metric", text(&|row| row.metric.to_string())),
        Column::right("A", text(&|row| row.metric.format(row.a.value))),
        Column::right("B", text(&|row| row.metric.format(row.b.value))),
        Column::left("change (95 % CI)", text(&|row| change_interval(&row.ratio))),
        Column::left("p(Holm)", text(&|row| probability(row.p_holm))),
        Column::left("verdict", text(&answer)),
    ];
    Group { title: String::new(), columns }
}

/// The verdict and what is to be said about it.
fn answer(row: &Change) -> String {
    let Some(verdict) = row.verdict else {
        return row
            .normalised
            .map_or_else(|| "–".to_owned(), |ratio| format!("{} of the limit", change_interval(&ratio)));
    };
    let limit = row.limit.map(|limit| format!(" ±{:.2}", limit * 100.0)).unwrap_or_default();
    let limit = limit.trim_end_matches('0').trim_end_matches('.');
    match (&row.reason, row.trials_to_settle) {
        (Some(reason), _) => format!("{verdict} ({reason})"),
        (None, Some(trials)) => format!("{verdict} (≈{trials} trials settle{limit} %)"),
        (None, None) => verdict.to_string(),
    }
}

/// Worst first.
fn severity(verdict: Option<Verdict>) -> u8 {
    match verdict {
        Some(Verdict::Regressed) => 0,
        Some(Verdict::Improved) => 1,
        Some(Verdict::Inconclusive) => 2,
        Some(Verdict::Unchanged) | None => 3,
    }
}

fn counts(comparison: &Comparison) -> String {
    if !comparison.same_host {
        return format!("{} figures, no verdicts between different machines", comparison.rows.len());
    }
    let count = |verdict: Verdict| {
        format!("{} {}", comparison.with(verdict).count(), verdict.to_string().to_lowercase())
    };
    [Verdict::Improved, Verdict::Regressed, Verdict::Unchanged, Verdict::Inconclusive].map(count).join(" · ")
}
