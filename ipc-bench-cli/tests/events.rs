//! Records that one process logs durably for many.

mod common;

use std::fs;

use common::{Place, assert_cleaned_up_at_once, assert_refused, document, kill, measuring, stderr, wait_for};
use rustix::process::Signal;

#[test]
fn every_record_is_received_logged_and_read_back() {
    let place = Place::new();
    let line = "-t uds,shm,pipe -s 128 --mode events --io sync,async --peers 3 --event-rate 2000 --trials 1 -n 200 --json=-";
    let output = place.measure(line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    assert_eq!(document["cells"].as_array().unwrap().len(), 6);
    for cell in document["cells"].as_array().unwrap() {
        let id = &cell["id"];
        assert_eq!(cell["trials"][0]["messages"], 600, "{id}");
        let measures = &cell["trials"][0]["measures"];
        // A record in the file: length, checksum, producer, message.
        assert_eq!(measures["journal_bytes"], 600.0 * (12.0 + 128.0), "{id}");
        let syncs = measures["fdatasync_count"].as_f64().unwrap();
        assert!((1.0..=600.0).contains(&syncs), "{id}: {syncs}");
        let durable = measures["durable_p50_ns"].as_f64().unwrap();
        let receipt = cell["summary"]["p50_ns"]["value"].as_f64().unwrap();
        assert!(durable > receipt && receipt > 0.0, "{id}: {durable} after {receipt}");
    }
    assert!(journals(&place).is_empty());
}

/// Files of records in the directory of results, with their lengths.
fn journals(place: &Place) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(place.path().join("results")) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok());
    let logs = names.filter(|entry| entry.file_name().to_string_lossy().starts_with("events-"));
    logs.filter_map(|entry| Some(entry.metadata().ok()?.len())).collect()
}

#[test]
fn what_was_acknowledged_survives_the_loggers_death() {
    for (io, id) in [
        ("sync", "shm/events/64/event-rate=20000/peers=3"),
        ("async", "shm/events/64/event-rate=20000/io=async/peers=3"),
    ] {
        let place = Place::new();
        let line =
            format!("-t shm -s 64 --mode events --io {io} --peers 3 --event-rate 20000 --trials 1 -d 1h");
        let child = place.command(&measuring(&line)).spawn().unwrap();
        let logger = place.worker("peer 0", id);
        // Many times what a disk takes in one go, however busy it is: some of it is durable and was acknowledged.
        wait_for("records in the file", || journals(&place).first().filter(|len| **len > 1_000_000).copied());
        kill(logger, Signal::KILL);
        let output = place.finish(child);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains(&format!("{id}: the logger (peer 0) died (signal 9")), "{text}");
        let why = text.lines().find(|line| line.contains("read back")).unwrap();
        assert!(why.contains("that were called durable are among them") && !why.contains("MISSING"), "{why}");
        assert!(!why.contains("all 0 that"), "nothing was acknowledged: {why}");
        assert!(journals(&place).is_empty());
    }
}

#[test]
fn a_killed_producer_is_named() {
    let place = Place::new();
    let id = "uds/events/64/peers=2";
    let line = measuring("-t uds -s 64 --mode events --peers 2 --trials 1 -d 1h --keep-awake no --json=-");
    let child = place.command(&line).spawn().unwrap();
    kill(place.worker("peer 2", id), Signal::KILL);
    let output = place.finish(child);
    assert_eq!(output.status.code(), Some(1));
    assert_cleaned_up_at_once(&document(&output)["cells"][0]);
    assert!(stderr(&output).contains(&format!("the peer 2 of {id} died (signal 9")), "{}", stderr(&output));
}

#[test]
fn a_directory_in_memory_is_no_place_for_events() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64 --mode events --event-log /dev/shm/nowhere");
    assert_refused(&output, 2, ["keeps files in memory", "nothing there is durable", "--event-log DIR"]);
}
