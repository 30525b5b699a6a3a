//! Workloads of many processes.

mod common;

use common::{Place, assert_refused, document, kill, measuring, stderr};
use rustix::process::Signal;

/// What 300 messages per sender come to.
const DELIVERED: [(&str, u64); 5] =
    [("fan-out", 300), ("fan-in", 3 * 300), ("pipeline", 300), ("broadcast", 3 * 300), ("mesh", 3 * 300)];

#[test]
fn every_message_of_every_sender_arrives_over_every_transport() {
    for transport in ["uds", "tcp", "pipe", "shm", "shm-direct", "uds-seqpacket"] {
        let place = Place::new();
        let line = format!(
            "-t {transport} -s 128 --mode fan-out,fan-in,pipeline,broadcast,mesh --peers 3 --trials 1 -n 300 --json=-"
        );
        let output = place.measure(&line);
        assert_eq!(output.status.code(), Some(0), "{transport}: {}", stderr(&output));
        let document = document(&output);
        for (mode, delivered) in DELIVERED {
            let id = format!("{transport}/{mode}/128/peers=3");
            let cells = document["cells"].as_array().unwrap();
            let cell = cells.iter().find(|cell| cell["id"] == id.as_str()).unwrap();
            assert_eq!(cell["trials"][0]["messages"], delivered, "{id}");
            assert_eq!(cell["clients"], 3, "{id}");
            let fairness = cell["summary"]["measures"]["fairness_ratio"]["value"].as_f64().unwrap();
            assert!(fairness > 0.0 && fairness <= 1.0, "{id}: {fairness}");
            assert!(cell["summary"]["p50_ns"]["value"].as_f64().unwrap() > 0.0, "{id}");
        }
        place.assert_nothing_is_left();
    }
}

#[test]
fn a_killed_peer_fails_its_cell_by_name_and_takes_the_others_with_it() {
    let place = Place::new();
    let line = measuring("-t uds -s 64 --mode fan-in --peers 3 --trials 1 -d 1h");
    let child = place.command(&line).spawn().unwrap();
    kill(place.worker("peer 2", "uds/fan-in/64/peers=3"), Signal::KILL);
    let output = place.finish(child);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("the peer 2 of uds/fan-in/64/peers=3 died (signal 9"), "{text}");
    place.assert_nothing_is_left();
}

#[test]
fn a_pattern_that_cannot_be_here_says_why() {
    let place = Place::new();
    assert_refused(&place.measure("-t uds --mode mesh"), 2, ["no pattern", "needs 2 peers", "--peers 2"]);
    assert_refused(
        &place.measure("-t uds --mode fan-in --io async"),
        2,
        ["awaited", "wait in their calls", "--io sync"],
    );
    assert_refused(
        &place.measure("-t uds --mode fan-in --peers 300"),
        2,
        ["--peers 300", "more than 256", ""],
    );
}
