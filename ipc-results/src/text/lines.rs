//! The lines around the tables: machine, yardsticks, warnings.

use std::collections::BTreeMap;

use crate::environment::Environment;
use crate::estimate::Estimate;
use crate::report::Report;
use crate::run::{Level, Run, RunStatus};
use crate::units::{Charset, yardstick};

use super::Page;

/// The machine in one line: `AMD EPYC (kvm), 2 cpus, Linux 6.18.44, governor n/a, SMT not supported`.
pub fn machine(environment: &Environment, charset: Charset) -> String {
    let absent = || "n/a".to_owned();
    let model = environment.cpu.model.clone().unwrap_or_else(|| "unknown processor".into());
    let virt = environment.virt.as_ref().map(|virt| format!(" ({virt})")).unwrap_or_default();
    let threads = environment.cpu.threads.map_or_else(absent, |threads| threads.to_string());
    let kernel = environment.kernel.clone().unwrap_or_else(absent);
    let governor = environment.governor.clone().unwrap_or_else(absent);
    // The kernel writes it as one word.
    let smt =
        environment.smt.as_deref().map_or_else(absent, |smt| smt.replace("notsupported", "not supported"));
    charset.apply(&format!("{model}{virt}, {threads} cpus, Linux {kernel}, governor {governor}, SMT {smt}"))
}

/// The yardsticks in one line: `clock 24 ns · futex round trip 9.10 µs · memcpy 28.0 GB/s`.
pub fn yardsticks(yardsticks: &BTreeMap<String, Estimate>, charset: Charset) -> String {
    let part = |(name, estimate): (&String, &Estimate)| {
        let (words, value) = yardstick(name, estimate.value);
        format!("{words} {value}")
    };
    let parts: Vec<String> = yardsticks.iter().map(part).collect();
    charset.apply(&parts.join(" · "))
}

/// Why a run is not whole.
pub(super) fn failures(page: &mut Page, report: &Report<'_>) {
    let run = report.run;
    let planned = run.cells.len();
    let measured = run.cells.iter().filter(|cell| cell.summary.is_some()).count();
    match run.status {
        RunStatus::Complete => {}
        RunStatus::Partial => {
            page.heading(&format!("Not complete: {measured} of {planned} cells have results"));
        }
        RunStatus::Failed => page.heading(&format!("Failed: {measured} of {planned} cells have results")),
    }
    if let Some(error) = &run.error {
        page.wrapped("error:", 7, &error.message);
        for (label, text) in [("  why:", &error.why), ("  fix:", &error.fix)] {
            if let Some(text) = text {
                page.wrapped(label, 7, text);
            }
        }
    }
}

pub(super) fn warnings(page: &mut Page, run: &Run) {
    if !run.warnings.is_empty() {
        page.heading("Warnings");
        for warning in &run.warnings {
            page.wrapped(&format!("  {}", warning.code), 6, &warning.message);
        }
    }
    let mut findings: Vec<_> = run.doctor.iter().filter(|finding| finding.level > Level::Ok).collect();
    if findings.is_empty() {
        return;
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    page.heading("Notes");
    for finding in findings {
        let fix = finding.fix.as_ref().map(|fix| format!(" (fix: {fix})")).unwrap_or_default();
        page.wrapped(&format!("  {}", finding.id), 6, &format!("{}{fix}", finding.message));
    }
}
