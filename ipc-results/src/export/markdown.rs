//! GitHub-flavoured Markdown, short enough for a comment or a job summary.

use crate::cell::Cell;
use crate::compare::{Change, Comparison};
use crate::report::{Report, Separation, Sheet, Table};
use crate::run::{Run, Tool};
use crate::targets::{Finding, Judged, Target};
use crate::text::machine;
use crate::units::{
    self, Charset, change, change_interval, figure as figure_of, probability, rate, ratio, size, time,
};
use crate::verdict::Verdict;

/// Longest document, in bytes: GitHub takes 65,536 characters of a comment.
const MOST_BYTES: usize = 60_000;

/// The tables of a run, who is fastest, what was not measured and the warnings.
pub fn markdown_of_run(report: &Report<'_>) -> String {
    let run = report.run;
    let mut page = Page::new();
    page.block(&format!("## {}\n\n{}\n", inline(&run.run_id), inline(&run.label)));
    if let Some(ranking) = &report.ranking {
        let mut text =
            format!("\n**{}** is fastest at {}", inline(&ranking.ranked[0].name), size(ranking.size_bytes));
        let reference = inline(&ranking.ranked[ranking.reference].name);
        for other in &ranking.ranked {
            let Some((times, word, separation)) = other.times() else { continue };
            let note = if separation == Separation::Separated { "" } else { ", not separable" };
            let (times, name) = (ratio(times.value), inline(&other.name));
            text += &match ranking.reference {
                0 => format!("; {times}× faster than {name}{note}"),
                _ => format!("; {name} is {times}× {word} than {reference}{note}"),
            };
        }
        page.block(&format!("{text}.\n"));
    }
    for table in &report.tables {
        let rows = table.rows.iter().map(|row| {
            let cells = row.cells.iter().map(|cell| figure(*cell, table)).collect::<Vec<_>>().join(" | ");
            format!("| {} | {} | {cells} |\n", inline(&row.name), inline(row.wait))
        });
        let sizes = table.sizes.iter().map(|bytes| size(*bytes)).collect::<Vec<_>>().join(" | ");
        let what = if table.by_throughput { "msg/s" } else { "p50 ± interval (p99)" };
        let header = format!(
            "\n### {}: {what}\n\n| transport | wait | {sizes} |\n|---|---|{}\n",
            table.title(),
            "--:|".repeat(table.sizes.len())
        );
        page.table(&header, rows);
    }
    let (names, rows) = report.percentiles();
    let rows = rows.iter().map(|(id, times)| format!("| `{id}` | {} |\n", times.join(" | ")));
    let header = format!(
        "\n### Percentiles asked for\n\n| cell | {} |\n|---|{}\n",
        names.join(" | "),
        "--:|".repeat(names.len())
    );
    page.table(&header, rows);
    if let Some(counts) = &report.counts {
        let header = format!(
            "\n### Counted per message, all workers together\n\n| cell | {} |\n|---|{}\n",
            counts.heads.join(" | "),
            "--:|".repeat(counts.heads.len())
        );
        page.table(
            &header,
            counts.rows.iter().map(|(cell, texts)| format!("| `{}` | {} |\n", cell.id, texts.join(" | "))),
        );
        page.table("\n", counts.reasons().map(|reason| format!("* {}\n", inline(&reason))));
    }
    for sheet in &report.sheets {
        let words = sheet.names.iter().map(|name| Sheet::words(name)).collect::<Vec<_>>().join(" | ");
        let header =
            format!("\n### {}\n\n| | {words} |\n|---|{}\n", sheet.title(), "--:|".repeat(sheet.names.len()));
        let rows = sheet.cells.iter().map(|(series, cell)| {
            let figure = |name: &&str| Sheet::figure(cell, name).unwrap_or_else(|| "–".to_owned());
            let figures = sheet.names.iter().map(figure).collect::<Vec<_>>().join(" | ");
            format!("| {} | {figures} |\n", inline(&report.series[*series]))
        });
        page.table(&header, rows);
    }
    let unmeasured =
        report.unmeasured().map(|(cell, reason)| format!("* `{}`: {}\n", cell.id, inline(reason)));
    page.table("\nNot measured:\n", unmeasured);
    let warnings =
        run.warnings.iter().map(|warning| format!("* {} {}\n", warning.code, inline(&warning.message)));
    page.table("\nWarnings:\n", warnings);
    page.text
}

/// When and where `runs` were made, then claimed, measured, verdict: one row per target.
pub fn markdown_of_targets(judged: &[Judged], runs: &[Run]) -> String {
    let mut page = Page::new();
    let mut sources: Vec<String> = runs.iter().map(source_of).collect();
    sources.dedup();
    sources.iter().for_each(|source| page.block(source));
    let count = |is: fn(&Finding) -> bool| judged.iter().filter(|row| is(&row.finding)).count();
    page.block(&format!(
        "\n{} met, {} missed, {} not measured.\n\n",
        count(|finding| matches!(finding, Finding::Met { .. })),
        count(|finding| matches!(finding, Finding::Missed { .. })),
        count(|finding| matches!(finding, Finding::NotMeasured { .. })),
    ));
    let rows = judged.iter().map(|row| {
        let Target { claim, op, value, source, .. } = &row.target;
        let unit = row.target.unit();
        let (measured, verdict) = match &row.finding {
            Finding::Met { worst, measured } => {
                (format!("{} `{worst}`", figure_of(unit, measured.value)), "met".to_owned())
            }
            Finding::Missed { worst, measured } => {
                (format!("{} `{worst}`", figure_of(unit, measured.value)), "**missed**".to_owned())
            }
            Finding::NotMeasured { why } => ("–".to_owned(), format!("not measured: {}", inline(why))),
        };
        let claimed = value.map_or("–".to_owned(), |value| format!("{op} {}", figure_of(unit, value)));
        format!("| {} | {} | {claimed} | {measured} | {verdict} |\n", inline(claim), inline(source))
    });
    page.table("| claim | source | claimed | measured | verdict |\n|---|---|--:|--:|---|\n", rows);
    page.text
}

/// The day, the program and the machine of a run, in one line.
fn source_of(run: &Run) -> String {
    let day = run.started.split('T').next().unwrap_or_default();
    let Tool { version, git, dirty, profile, .. } = &run.tool;
    let commit = git.as_deref().map_or_else(String::new, |git| {
        format!(" ({git}{})", if *dirty == Some(true) { ", changed" } else { "" })
    });
    let profile = profile.as_deref().unwrap_or("unknown");
    let machine = inline(&machine(&run.environment, Charset::Unicode));
    format!("Measured {day} by ipc-bench {version}{commit}, profile {profile}, on {machine}.\n")
}

/// The changes that matter, worst first, and a count of the rest.
pub fn markdown_of_comparison(comparison: &Comparison) -> String {
    let count = |verdict| comparison.with(verdict).count();
    let mut page = Page::new();
    let headline = if !comparison.same_host {
        "Different machines: no verdicts".to_owned()
    } else {
        match count(Verdict::Regressed) {
            0 => "No regression".to_owned(),
            regressed => format!("{regressed} regressed"),
        }
    };
    page.block(&format!(
        "## {headline}\n\n{} → {}: {} improved, {} regressed, {} unchanged, {} inconclusive\n",
        inline(&comparison.a.name),
        inline(&comparison.b.name),
        count(Verdict::Improved),
        count(Verdict::Regressed),
        count(Verdict::Unchanged),
        count(Verdict::Inconclusive)
    ));
    if let Some(note) = comparison.note() {
        page.block(&format!("\n{note}\n"));
    }
    if let Some(disturbance) = comparison.disturbance() {
        page.block(&format!("\n{disturbance}\n"));
    }
    let moved = comparison.yardsticks.iter().filter(|yardstick| yardstick.moved);
    let moved: Vec<String> =
        moved.map(|yardstick| format!("`{}` {}", yardstick.name, change(yardstick.ratio.value))).collect();
    if !moved.is_empty() {
        page.block(&format!("\nThe machine changed between the runs: {}\n", moved.join(", ")));
    }
    let header = "\n| cell | metric | A | B | change (95 % CI) | p (Holm) | verdict |\n|---|---|--:|--:|---|--:|---|\n";
    let order = [Some(Verdict::Regressed), Some(Verdict::Improved), Some(Verdict::Inconclusive), None];
    let rows =
        order.iter().flat_map(|verdict| comparison.rows.iter().filter(move |row| row.verdict == *verdict));
    page.table(header, rows.map(comparison_row));
    let missing = comparison.only_a.iter().map(|cell| format!("* `{cell}`\n"));
    page.table("\nNot measured any more:\n", missing);
    page.text
}

fn comparison_row(row: &Change) -> String {
    let verdict = match row.verdict {
        Some(Verdict::Regressed) => "**regressed**".to_owned(),
        Some(verdict) => verdict.to_string(),
        None => "–".to_owned(),
    };
    let reason = row.reason.as_ref().map(|reason| format!(" ({})", inline(reason))).unwrap_or_default();
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {verdict}{reason} |\n",
        row.cell,
        row.metric,
        row.metric.format(row.a.value),
        row.metric.format(row.b.value),
        change_interval(&row.ratio),
        probability(row.p_holm)
    )
}

fn figure(cell: Option<&Cell>, table: &Table<'_>) -> String {
    let absent = || "–".to_owned();
    let Some(summary) = cell.and_then(|cell| cell.summary.as_ref()) else { return absent() };
    let estimate = if table.by_throughput { summary.msgs_per_s } else { summary.latency.p50_ns };
    let Some(estimate) = estimate else { return absent() };
    let error =
        estimate.relative_error().map(|error| format!(" {}", units::error(error))).unwrap_or_default();
    if table.by_throughput {
        return format!("{}{error}", rate(estimate.value));
    }
    let p99 = summary.latency.p99_ns.map_or_else(absent, |p99| time(p99.value));
    format!("{}{error} ({p99})", time(estimate.value))
}

/// Text that cannot end a table cell or start markup.
fn inline(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '|' | '*' | '_' | '`' | '<' | '[' | '\\') {
            plain.push('\\');
        }
        plain.push(if character == '\n' { ' ' } else { character });
    }
    plain
}

/// A document that stops growing before it is too long.
struct Page {
    text: String,
}

impl Page {
    fn new() -> Self {
        Self { text: String::new() }
    }

    fn block(&mut self, text: &str) {
        if self.text.len() + text.len() <= MOST_BYTES {
            self.text += text;
        }
    }

    /// A header and its rows, as many as fit; nothing when there are none.
    fn table(&mut self, header: &str, rows: impl Iterator<Item = String>) {
        let (mut first, mut left_out) = (true, 0);
        for row in rows {
            let header = if first { header } else { "" };
            first = false;
            if left_out > 0 || self.text.len() + header.len() + row.len() > MOST_BYTES {
                left_out += 1;
                continue;
            }
            self.text += header;
            self.text += &row;
        }
        if left_out > 0 {
            self.text += &format!("\n… {left_out} more rows in the artifact\n");
        }
    }
}
