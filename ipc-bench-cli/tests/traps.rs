//! The traps of those who measured before (`predecessors.md`), as a user of the program would fall into them. Those that
//! concern the measuring loops alone are in `src/workload/traps.rs`.

mod common;

use std::process::Stdio;

use common::{Place, document, stderr};
use serde_json::Value;

#[test]
fn trap_02_a_rate_is_what_was_delivered_between_the_first_send_and_the_last_receive() {
    let place = Place::new();
    let output = place
        .measure("-t uds,shm -s 64 --mode rtt,oneway,stream,load --rate 5k/s --trials 1 -n 300 --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    for cell in document["cells"].as_array().unwrap() {
        let trial = &cell["trials"][0];
        let number = |name: &str| trial[name].as_u64().unwrap();
        let elapsed = number("last_recv_ns") - number("first_send_ns");
        assert_eq!(number("elapsed_ns"), elapsed, "{}", cell["id"]);
        let rate = trial["throughput"]["msgs_per_s"].as_f64().unwrap();
        let want = 300.0 * 1e9 / elapsed as f64;
        assert!((rate / want - 1.0).abs() < 1e-3, "{}: {rate} for {want}", cell["id"]);
    }
}

#[test]
fn trap_07_warm_up_is_on_the_measured_connection_and_the_first_message_is_told() {
    let place = Place::new();
    let address = format!("uds:{}", place.path().join("names/server").display());
    // A server for one connection: were the warm-up on another, there would be nobody left to measure with.
    let mut command = place.command(&format!("server {address} --once"));
    let server = command.stdout(Stdio::null()).spawn().unwrap();
    let line =
        format!("client {address} --allow-debug -s 64 --mode rtt --trials 1 -n 100 --warmup 5ms --json=-");
    let client = place.command(&line).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(client.status.code(), Some(0), "{}", stderr(&client));
    let server = server.wait_with_output().unwrap();
    assert_eq!(server.status.code(), Some(0), "{}", stderr(&server));
    let document = document(&client);
    let trial = &document["cells"][0]["trials"][0];
    assert!(trial["warmup"]["messages"].as_u64().unwrap() > 0, "{trial}");
    assert!(trial["first_message_ns"].as_u64().unwrap() > 0, "{trial}");
    assert_eq!(trial["messages"], 100);
}

#[test]
fn trap_12_sizes_of_buffers_and_pins_are_recorded_and_the_same_in_every_mode() {
    let place = Place::new();
    let output = place.measure(
        "-t uds,tcp,pipe,shm,shm-direct,mq -s 64 --mode rtt,oneway,stream,load --rate 2k/s --trials 1 -n 50 --json=-",
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    for transport in ["uds", "tcp", "pipe", "shm", "shm-direct", "mq"] {
        let of_it: Vec<&Value> = document["cells"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|cell| cell["transport"] == transport)
            .collect();
        assert_eq!(of_it.len(), 4);
        assert!(!of_it[0]["effective"].as_object().unwrap().is_empty(), "{transport}");
        for cell in &of_it[1..] {
            assert_eq!(cell["effective"], of_it[0]["effective"], "{}", cell["id"]);
            assert_eq!(cell["pin"], of_it[0]["pin"], "{}", cell["id"]);
            assert_eq!(cell["params"], of_it[0]["params"], "{}", cell["id"]);
        }
    }
}
