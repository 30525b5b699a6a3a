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

#[test]
fn the_most_clients_of_one_server_have_an_answer() {
    let mut run = common::invented();
    for (transport, clients) in [("shm", 2), ("shm", 4), ("uds", 4)] {
        let mut cell = run.cell(&format!("{transport}/rtt/64")).unwrap().clone();
        cell.id += &format!("/clients={clients}");
        cell.clients = clients;
        run.cells.push(cell);
    }
    let text = answers(&run);
    let question = "One server, many clients (round trips per second of 4 clients together, 64 B)\n";
    let (_, told) = text.split_once(question).unwrap_or_else(|| panic!("{text}"));
    assert!(told.lines().next().unwrap().contains("shm/rtt/64/clients=4"), "{told}");
    assert!(told.lines().nth(1).unwrap().contains("uds/rtt/64/clients=4"), "{told}");
    assert!(!told.contains("clients=2"), "{told}");
}

#[test]
fn a_ring_within_one_process_is_no_answer_however_fast_it_is() {
    let mut run = common::invented();
    let fastest = Report::new(&run).unwrap().answers[0].entries[0].cell.transport.clone();
    assert!(answers(&run).contains(&format!(" {fastest}/rtt/64")));
    run.cells.iter_mut().filter(|cell| cell.transport == fastest).for_each(|cell| cell.one_process = true);
    assert!(!answers(&run).contains(&format!(" {fastest}/")), "{}", answers(&run));
    assert!(Report::new(&run).unwrap().ranking.is_some(), "it stays in the tables");
}
