//! Commands that look at the machine.

mod common;

use common::{Place, assert_refused, document, stderr, stdout, wait_for};

#[test]
fn the_doctor_names_its_checks_and_changes_nothing() {
    let place = Place::new();
    let output = place.run("doctor");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for words in ["CPU & noise", "C1  cpus", "Message queues", "Suitable for:", "--fix-script"] {
        assert!(stdout(&output).contains(words), "{words}: {}", stdout(&output));
    }
    let diagnosis = document(&place.run("doctor --json=- --probe 10ms"));
    assert_eq!(diagnosis["schema"], "ipc-bench/doctor");
    assert!(diagnosis["checks"].as_array().unwrap().len() > 15);
    assert_eq!(diagnosis["probe"]["elapsed_ns"], 10_000_000);
    let line = place.run("doctor --probe 100ms");
    let line =
        stdout(&line).lines().find(|line| line.starts_with("Probe (0.1 s on cpus ")).unwrap().to_owned();
    if diagnosis["probe"]["cpus"].as_array().unwrap().len() > 1 {
        assert!(diagnosis["probe"]["cache_line"]["rtt_ns"].as_f64().unwrap() > 0.0, "{diagnosis}");
        assert!(line.contains(" · cache-line jitter ") && line.contains(" % of "), "{line}");
    } else {
        assert!(line.contains("cache-line jitter – (needs two cpus)"), "{line}");
    }
    let few = place.run("doctor --for latency");
    assert!(stdout(&few).lines().count() <= stdout(&output).lines().count());
    assert_refused(&place.run("doctor --for latancy"), 2, ["unknown preset", "there are: quick", "latency"]);
    // This test runs a debug build, which is a failure of its own.
    assert_refused(&place.run("doctor --strict"), 5, ["--strict", "list above", "--fix-script"]);
    let script = place.run("doctor --fix-script");
    assert!(stdout(&script).starts_with("#!/bin/sh\n") && stdout(&script).contains("\nundo)\n"));
    let myself = place.run(&format!("doctor --peer {}", std::process::id()));
    assert!(stdout(&myself).contains("shares every namespace"), "{}", stdout(&myself));
    assert_eq!(document(&place.run("schema doctor"))["title"], "Diagnosis");
}

#[test]
fn live_endpoints_are_listed_and_dead_ones_cleaned() {
    let place = Place::new();
    let mut server = place.command("server uds:alive").spawn().unwrap();
    let rows = wait_for("the endpoint", || {
        let output = place.command("ls --json=-").output().unwrap();
        Some(document(&output)).filter(|rows| rows[0]["address"] == "uds:alive")
    });
    assert!(rows[0]["pids"].as_array().unwrap().contains(&server.id().into()));
    server.kill().unwrap();
    server.wait().unwrap();
    let left = place.command("ls").output().unwrap();
    assert_eq!(stdout(&left), "");
    assert!(stderr(&left).contains("--clean"), "{}", stderr(&left));
    let cleaned = place.run("doctor --clean");
    assert!(stderr(&cleaned).contains("uds.alive"), "{}", stderr(&cleaned));
}

#[test]
fn a_run_keeps_what_the_doctor_found() {
    let place = Place::new();
    let run = document(&place.measure("-t uds -s 64 --mode rtt --trials 1 -n 100 --json=-"));
    let found = run["doctor"].as_array().unwrap();
    assert!(found.iter().any(|finding| finding["id"] == "B1"), "{found:?}");
}

#[test]
fn limits_holds_ours_against_the_bare_loops() {
    let place = Place::new();
    let rows = "shm rtt 48 spin,shm rtt 48 Any,shm stream 4K,shm stream 48 batch 32,uds stream 64 batch,mq rtt 8K,pipe idle";
    let output = place
        .command("limits --rounds 1 -d 5ms --idle 50ms --allow-debug --json=- --only")
        .arg(rows)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let measured = document["rows"].as_array().unwrap();
    // The first row has a line for its tail, too, the stream that is copied one for sides that trust each other, and both
    // streams have one against a sealed ring.
    assert_eq!(measured.len(), 11, "{document:#}");
    for row in measured.iter().filter(|row| row["figure"] != "p99_ns") {
        assert!(row["ratio"]["value"].as_f64().unwrap() > 0.0, "{row:#}");
        assert_eq!(row["ratio"]["trials"], 1);
    }
    assert_eq!(document["idle"][0]["name"], "pipe idle");
    assert_eq!(document["idle"][0]["wakeups_per_s"], 0.0);
    assert_refused(
        &place.run("limits --allow-debug --only carrier-pigeon"),
        2,
        ["no row", "shm rtt 48 spin", "--only \"shm rtt\""],
    );
    assert_refused(&place.run("limits"), 5, ["debug build", "measures itself", "--allow-debug"]);
}
