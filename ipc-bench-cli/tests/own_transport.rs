//! The program measures a transport it has never heard of.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod common;

use common::{Place, document, stderr};

/// Cargo builds the examples together with all tests of this package.
fn program() -> std::path::PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples/own_transport");
    assert!(program.exists(), "build it first: cargo build -p ipc-bench-cli --examples");
    program
}

#[test]
fn a_transport_of_the_users_is_measured_beside_ours() {
    let place = Place::new();
    let run = |line: &str| {
        let ours = place.command(line);
        let mut theirs = std::process::Command::new(program());
        theirs.args(ours.get_args()).current_dir(place.path()).stdin(std::process::Stdio::null());
        theirs.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        theirs.output().unwrap()
    };
    let output = run("run --allow-debug -t veiled,uds --mode rtt -s 64 --trials 2 -n 500 --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let cells = document["cells"].as_array().unwrap();
    assert_eq!(cells[0]["id"], "veiled/rtt/64");
    assert!(cells.iter().all(|cell| cell["status"] == "ok" && cell["trials"][0]["messages"] == 500));
    // It has no descriptor to wait on, and says so instead of measuring something else.
    let output = run("run --allow-debug -t veiled --io async -s 64 --trials 1 -n 500");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("veiled cannot be awaited"), "{}", stderr(&output));
}
