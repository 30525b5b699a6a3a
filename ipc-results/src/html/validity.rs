//! What to know before believing a number.

use crate::export::escape;
use crate::report::Report;
use crate::run::{Level, RunStatus};
use crate::units::{self, yardstick};

use super::page::{Page, table};

pub(super) fn validity(page: &mut Page, report: &Report<'_>) {
    let run = report.run;
    page.section("validity", "Trust", "Can these numbers be trusted", "");
    page.push("<div class=\"validity\">");
    page.push(&format!("<ul class=\"facts\">{}</ul>", facts(report).concat()));
    if let Some(error) = &run.error {
        let why = error.why.as_ref().map(|why| format!("<br>why: {}", escape(why))).unwrap_or_default();
        let fix = error
            .fix
            .as_ref()
            .map(|fix| format!("<br>fix: <code>{}</code>", escape(fix)))
            .unwrap_or_default();
        page.push(&format!("<p class=\"bad\"><b>error:</b> {}{why}{fix}</p>", escape(&error.message)));
    }
    let warnings = run.warnings.iter().map(|warning| vec![escape(&warning.code), escape(&warning.message)]);
    let findings = run.doctor.iter().filter(|finding| finding.level > Level::Ok).map(|finding| {
        let fix = finding
            .fix
            .as_ref()
            .map(|fix| format!("<br>fix: <code>{}</code>", escape(fix)))
            .unwrap_or_default();
        vec![escape(&finding.id), format!("{}{fix}", escape(&finding.message))]
    });
    let remarks: Vec<Vec<String>> = warnings.chain(findings).collect();
    if !remarks.is_empty() {
        page.push(&table("remarks", &["", "remark"], remarks.into_iter()));
    }
    let unmeasured: Vec<Vec<String>> = report
        .unmeasured()
        .map(|(cell, reason)| vec![format!("<code>{}</code>", escape(&cell.id)), escape(reason)])
        .collect();
    if !unmeasured.is_empty() {
        page.push(&table("remarks", &["not measured", "why"], unmeasured.into_iter()));
    }
    yardsticks(page, report);
    page.push("</div>");
    page.end_section();
}

/// One line each on the things that make or break a run.
fn facts(report: &Report<'_>) -> Vec<String> {
    let run = report.run;
    let fact = |good: bool, text: String| {
        let (class, sign) = if good { ("good", "✓") } else { ("care", "!") };
        format!("<li class=\"{class}\"><i aria-hidden=\"true\">{sign}</i><span>{}</span></li>", escape(&text))
    };
    let measured = run.cells.iter().filter(|cell| cell.summary.is_some()).count();
    let trials: usize = run.cells.iter().map(|cell| cell.completed().count()).sum();
    let flagged = report.figures.iter().flatten().filter(|figures| figures.flagged).count();
    let doctor = |level: Level| run.doctor.iter().filter(|finding| finding.level == level).count();
    let mut facts = vec![
        fact(
            run.status == RunStatus::Complete,
            match run.status {
                RunStatus::Complete => {
                    format!("complete: {measured} cells, {trials} trials in fresh processes")
                }
                RunStatus::Partial => {
                    format!("interrupted: {measured} of {} cells have results", run.cells.len())
                }
                RunStatus::Failed => format!("failed: {measured} of {} cells have results", run.cells.len()),
            },
        ),
        fact(
            flagged * 20 <= trials,
            match flagged {
                0 => "no trial was disturbed".to_owned(),
                flagged => {
                    format!("{flagged} of {trials} trials were disturbed; they are drawn hollow and kept")
                }
            },
        ),
        fact(
            run.tool.dirty != Some(true),
            match (&run.tool.git, run.tool.dirty) {
                (Some(git), Some(true)) => format!("built from {git} with uncommitted changes"),
                (Some(git), _) => format!("built from {git}"),
                (None, _) => "built outside a checkout".to_owned(),
            },
        ),
    ];
    if !run.doctor.is_empty() {
        let (fail, warn) = (doctor(Level::Fail), doctor(Level::Warn));
        facts.push(fact(
            fail + warn == 0,
            format!("machine check: failed {fail}, warnings {warn}, notes {}", doctor(Level::Note)),
        ));
    }
    let median = report.run.cells.iter().find_map(|cell| cell.summary.as_ref()?.msgs_per_s);
    if let Some(estimate) = median {
        facts.push(fact(
            estimate.coverage >= crate::statistics::TARGET_COVERAGE,
            format!(
                "{} trials a cell: intervals of a median cover {:.1} %",
                estimate.trials,
                estimate.coverage * 100.0
            ),
        ));
    }
    facts
}

fn yardsticks(page: &mut Page, report: &Report<'_>) {
    if report.run.yardsticks.is_empty() {
        return;
    }
    page.push(
        "<h3>Yardsticks</h3><p class=\"lead\">Physical limits of this machine, measured in this run by the same loop with the same \
         clock. If they move between two runs, the machine changed and not the code.</p>",
    );
    // Those that every run has come first, then those of single transports and sizes.
    let standard = |name: &str| {
        ["clock_ns", "syscall_ns", "cacheline_rtt_ns", "futex_rtt_ns", "pipe_rtt_ns", "memcpy_bytes_per_s"]
            .iter()
            .position(|known| *known == name)
            .unwrap_or(usize::MAX)
    };
    let mut yardsticks: Vec<_> = report.run.yardsticks.iter().collect();
    yardsticks.sort_by_key(|(name, _)| standard(name));
    let rows = yardsticks.into_iter().map(|(name, estimate)| {
        let (words, value) = yardstick(name, estimate.value);
        let error = estimate.relative_error().map(units::error).unwrap_or_default();
        vec![escape(&words), escape(&value), error, format!("<code>{}</code>", escape(name))]
    });
    page.push(&table("numbers narrow", &["limit", "median", "interval", "field"], rows));
}
