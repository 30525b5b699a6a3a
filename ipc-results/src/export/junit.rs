//! JUnit XML, which every CI server shows.

use std::fmt::Write;

use crate::cell::CellStatus;
use crate::compare::Comparison;
use crate::run::Run;
use crate::units::change_interval;
use crate::verdict::Verdict;

use super::escape;

/// One test case per cell: passed when measured, skipped, or failed, with the reason.
pub fn junit_of_run(run: &Run) -> String {
    let cases = run.cells.iter().map(|cell| {
        let seconds = cell.trials.iter().map(|trial| trial.elapsed_ns).sum::<u64>() as f64 / 1e9;
        let reason = cell.reason.clone().unwrap_or_default();
        let outcome = match cell.status {
            CellStatus::Ok => Outcome::Passed,
            CellStatus::Skipped => Outcome::Skipped(reason),
            CellStatus::Failed => Outcome::Failed(reason),
        };
        Case { class: format!("{}.{}", cell.transport, cell.mode), name: cell.id.clone(), seconds, outcome }
    });
    suite(&run.run_id, cases.collect())
}

/// One test case per compared figure: failed when it regressed, skipped when it could not be judged; and one failed for each
/// cell that was not measured.
pub fn junit_of_gate(comparison: &Comparison) -> String {
    let compared = comparison.rows.iter().map(|row| {
        let change = change_interval(&row.ratio);
        let outcome = match row.verdict {
            Some(Verdict::Regressed) => Outcome::Failed(format!(
                "{} → {}, {change}, limit ±{:.1} %",
                row.metric.format(row.a.value),
                row.metric.format(row.b.value),
                row.limit.unwrap_or(0.0) * 100.0
            )),
            Some(Verdict::Inconclusive) | None => {
                let reason = row.reason.as_deref().unwrap_or("these trials do not tell");
                Outcome::Skipped(format!("{reason}: {change}"))
            }
            Some(Verdict::Improved | Verdict::Unchanged) => Outcome::Passed,
        };
        Case {
            class: row.cell.replace('/', "."),
            name: format!("{} {}", row.cell, row.metric),
            seconds: 0.0,
            outcome,
        }
    });
    let missing = comparison.only_a.iter().map(|cell| Case {
        class: cell.replace('/', "."),
        name: cell.clone(),
        seconds: 0.0,
        outcome: Outcome::Skipped(format!(
            "{} measured it, {} did not",
            comparison.a.name, comparison.b.name
        )),
    });
    suite(
        &format!("{} against {}", comparison.b.run_id, comparison.a.run_id),
        compared.chain(missing).collect(),
    )
}

struct Case {
    class: String,
    name: String,
    seconds: f64,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

fn suite(name: &str, cases: Vec<Case>) -> String {
    let count = |wanted: fn(&Outcome) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count();
    let failures = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let seconds: f64 = cases.iter().map(|case| case.seconds).sum();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{}\" tests=\"{}\" \
         failures=\"{failures}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">\n",
        escape(name),
        cases.len()
    );
    for Case { class, name, seconds, outcome } in &cases {
        let (class, name) = (escape(class), escape(name));
        let body = match outcome {
            Outcome::Passed => String::new(),
            Outcome::Skipped(reason) => format!("<skipped message=\"{}\"/>", escape(reason)),
            Outcome::Failed(reason) => format!("<failure message=\"{}\"/>", escape(reason)),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            xml,
            "<testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\">{body}</testcase>"
        );
    }
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}
