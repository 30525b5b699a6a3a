//! The page of faults is what the ledger says.

use ipc_tests::chaos::ledger;

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
