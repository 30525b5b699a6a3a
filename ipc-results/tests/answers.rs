//! The recommendations that stored runs lead to.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod common;

use std::fmt::Write;

use ipc_results::report::Report;
use ipc_results::{Run, file};

/// Every answer of a run, with what stands for it.
fn answers(run: &Run) -> String {
    let report = Report::new(run).unwrap();
    let mut text = String::new();
    for answer in &report.answers {
        writeln!(text, "{} ({})", answer.question, answer.measure).unwrap();
        for entry in &answer.entries {
            let value = answer.figure.format(entry.estimate.value);
            let behind =
                entry.behind.map(|(times, separation)| format!(", {:.1}× {separation:?}", times.value));
            writeln!(text, "    {value} {}{}", entry.cell.id, behind.unwrap_or_default()).unwrap();
        }
    }
    text
}

#[test]
fn the_answers_of_an_invented_run() {
    insta::assert_snapshot!(answers(&common::invented()));
}

#[test]
fn patterns_idle_endpoints_and_codecs_have_answers_too() {
    let run = file::from_json(include_str!("fixtures/invented-scenes.v1.json")).unwrap();
    insta::assert_snapshot!(answers(&run));
}
