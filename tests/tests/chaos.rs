//! The page of faults is what the ledger says.

use std::process::Command;

use ipc_tests::chaos::{guest, ledger};

#[test]
fn the_page_of_faults_is_made_from_the_ledger() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
    let read = |name: &str| std::fs::read_to_string(format!("{docs}/{name}")).expect("a file of the docs");
    let page = ledger::page(&read("faults.jsonl")).expect("lines of JSON");
    assert_eq!(read("faults.md"), page, "run: cargo xtask chaos --page");
}

#[test]
fn lines_of_several_runs_add_up_and_a_cell_without_a_line_is_not_tested() {
    let line = |rounds: u64, violations: u64| {
        format!(
            "{{\"time\":1,\"commit\":\"c\",\"kernel\":\"k\",\"cpus\":2,\"build\":\"b\",\"fault\":\"kill9\",\"mechanism\":\"shm\",\
             \"role\":\"sender\",\"rounds\":{rounds},\"violations\":{violations},\"missed\":0,\"seed\":7}}\n"
        )
    };
    let page = ledger::page(&(line(100, 0) + &line(50, 1))).expect("lines of JSON");
    assert!(page.contains("| shm | sender | 150 | 1 |"), "{page}");
    assert!(page.contains("| shm | receiver | not tested |"), "{page}");
    assert!(page.contains("| 1 | `c` | k | 2 | b | 2 |"), "{page}");
}

/// One round of a cell in a process of its own, as `cargo xtask chaos` runs it.
fn cell(fault: &str, mechanism: &str, role: &str, rounds: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["cell", fault, mechanism, role, rounds, "1"])
        .output();
    let output = output.expect("the program chaos");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// How many rounds of a line passed, and how many could not be played here.
fn passed_and_missed(line: &str) -> (u64, u64) {
    let number = |key: &str| {
        let digits = line.split_once(key).expect("a line of the ledger").1;
        digits.split(',').next().and_then(|digits| digits.parse().ok()).expect("a number")
    };
    (number("\"rounds\":"), number("\"missed\":"))
}

#[test]
fn each_step_of_a_cell_of_limits_is_met() {
    let line = cell("limits", "mq", "listener", "1");
    let (passed, missed) = passed_and_missed(&line);
    // A group with a processor quota cannot be made everywhere.
    let least = if guest::is_root() { 8 } else { 3 };
    assert!(passed >= least && passed + missed == 9, "{line}");
}

#[test]
fn limits_on_mappings_and_threads_are_met_without_any_rights() {
    let line = cell("limits", "shm", "listener", "1");
    assert!(line.contains("; mappings;") || line.contains("; mappings, skipped: vm.max_map_count"), "{line}");
    let line = cell("limits", "uds", "listener", "1");
    assert!(line.contains("; threads;"), "{line}");
}

#[test]
fn a_peer_with_other_clocks_is_served_and_its_death_is_told() {
    let line = cell("time-namespace", "shm", "sender", "1");
    let expected = if line.contains("skipped: ") { (0, 1) } else { (2, 0) };
    assert_eq!(passed_and_missed(&line), expected, "{line}");
}

#[test]
fn a_dead_peer_is_not_taken_for_the_process_that_has_its_number() {
    let line = cell("pid-reuse", "uds", "sender", "1");
    let expected = if line.contains("skipped: ") { (0, 1) } else { (1, 0) };
    assert_eq!(passed_and_missed(&line), expected, "{line}");
}

#[test]
fn another_user_is_not_let_in() {
    let line = cell("wrong-uid", "uds", "connector", "2");
    let met = if guest::is_root() { "\"rounds\":5" } else { "\"missed\":2" };
    assert!(line.contains(met), "{line}");
}

#[test]
fn a_table_of_attacks_is_survived() {
    let line = cell("hostile", "shm", "listener", "1");
    assert!(line.contains("Denied") && line.contains("Mismatch") && line.contains("HungUp"), "{line}");
}
