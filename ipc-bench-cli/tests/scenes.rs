//! Idling, opening and closing, and loads that are not even.

mod common;

use common::{Place, assert_refused, document, kill, measuring, stderr};
use rustix::process::Signal;
use serde_json::Value;

const ALL: &str = "uds,tcp,pipe,shm,shm-direct,mq,uds-seqpacket";

/// One trial per cell; the cells.
fn cells(place: &Place, line: &str) -> Vec<Value> {
    let output = place.measure(&format!("-s 64 --trials 1 --json=- {line}"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let Value::Array(cells) = document(&output)["cells"].clone() else { panic!("no cells") };
    cells.into_iter().filter(|cell| cell["status"] != "skipped").collect()
}

fn measure(cell: &Value, name: &str) -> f64 {
    let value = cell["summary"]["measures"][name]["value"].as_f64();
    value.unwrap_or_else(|| panic!("{}: no {name} in {}", cell["id"], cell["summary"]["measures"]))
}

#[test]
fn an_idle_endpoint_costs_little_memory_and_sleeps() {
    let place = Place::new();
    let cells =
        cells(&place, &format!("-t {ALL} --mode idle --io sync,async --observe 400ms -n 50 --wait park"));
    assert_eq!(cells.len(), 14);
    for cell in cells {
        let id = cell["id"].as_str().unwrap();
        let transport = cell["transport"].as_str().unwrap();
        assert!((1.0..=8.0).contains(&measure(&cell, "endpoint_fds")), "{id}");
        let shared = transport.starts_with("shm");
        let private = measure(&cell, "endpoint_private_bytes");
        assert!(private < f64::from(100 << 10), "{id}: {private} bytes");
        // Pages of the program that are first used here count as well, and there are few queues to share them.
        assert_eq!(measure(&cell, "endpoint_rss_bytes") > f64::from(512 << 10), shared, "{id}");
        // Whose calls wait in shared memory wakes up once, to go on waiting where the peer's end shows; a reactor waits there.
        let wakeups = measure(&cell, "idle_wakeups_per_s");
        assert!(
            if shared && cell["io"] == "sync" { wakeups <= 6.0 } else { wakeups == 0.0 },
            "{id}: {wakeups} wake-ups per second"
        );
        let processor = measure(&cell, "idle_cpu_percent");
        assert!(processor < 50.0, "{id}: {processor} %");
        assert_eq!(cell["trials"][0]["messages"], 50, "{id}");
        assert!(cell["summary"]["cpu_ns_per_msg"]["value"].as_f64().unwrap() > 0.0, "{id}");
    }
}

#[test]
fn nothing_stays_behind_connections_and_messages() {
    let place = Place::new();
    // Awaited, each connection has a reactor of its own, which has to be gone as well.
    let cells = cells(&place, &format!("-t {ALL} --mode leak --io sync,async --cycles 100"));
    assert_eq!(cells.len(), 14);
    for cell in cells {
        let id = &cell["id"];
        for what in ["open_close", "message"] {
            assert_eq!(measure(&cell, &format!("{what}_fds_delta")), 0.0, "{id}");
            let growth = measure(&cell, &format!("{what}_rss_growth_bytes"));
            assert!(growth <= f64::from(64 << 10), "{id}: {growth} bytes over the cycles");
        }
        assert_eq!(cell["trials"][0]["messages"], 1000, "{id}");
    }
}

#[test]
fn a_killed_runner_leaves_no_name_of_a_listener_that_stays() {
    let place = Place::new();
    let child =
        place.command(&measuring("-t uds -s 64 --mode leak --cycles 100000000 --trials 1")).spawn().unwrap();
    place.worker("client", "uds/leak/64/cycles=100000000");
    kill(child.id(), Signal::KILL);
    place.finish(child);
}

#[test]
fn every_message_of_a_shaped_load_arrives() {
    let place = Place::new();
    let line = "--mode burst,mixed --burst 20 --gap 1ms --sizes 100:40,1K:30,8K:5 -n 110";
    let mut all = cells(&place, &format!("-t {ALL} {line}"));
    // Every user has a fixed amount of memory for queues, which the tests beside this one need as well.
    all.extend(cells(&place, &format!("-t {ALL},-mq {line} --io async")));
    assert_eq!(all.len(), 14 + 12);
    for cell in &all {
        assert_eq!(cell["trials"][0]["messages"], 110, "{}", cell["id"]);
        if cell["mode"] == "burst" {
            assert!(measure(cell, "burst_drain_max_ns") > 0.0);
        } else {
            let bytes = cell["summary"]["bytes_per_s"]["value"].as_f64().unwrap();
            let mean = bytes / cell["summary"]["msgs_per_s"]["value"].as_f64().unwrap();
            assert!((101.0..8000.0).contains(&mean), "{}: {mean} bytes per message", cell["id"]);
            assert!(measure(cell, "size_1024_p50_ns") > 0.0);
        }
    }
}

#[test]
fn the_loads_of_a_ramp_are_told_apart() {
    let place = Place::new();
    let line = "-t uds,shm --mode ramp --profile high:40ms,idle:20ms,500:40ms --io sync,async";
    let cells = cells(&place, line);
    assert_eq!(cells.len(), 4);
    for cell in cells {
        let (high, low) = (measure(&cell, "step_1_high_msgs_per_s"), measure(&cell, "step_3_500_msgs_per_s"));
        // Whoever is paced may be late on a busy machine, and catches up, but is never early.
        assert!(high > 0.0 && low <= 560.0, "{}: {high} and {low}", cell["id"]);
        assert!(cell["summary"]["measures"].get("step_2_idle_msgs_per_s").is_none());
    }
}

#[test]
fn what_is_too_long_is_refused_and_everything_else_arrives() {
    let place = Place::new();
    let line = format!("-t {ALL} --mode burst --burst 50 --gap 1ms --oversize 10% -n 900");
    let cells = cells(&place, &format!("{line} --io sync,async"));
    assert_eq!(cells.len(), 14);
    for cell in cells {
        assert_eq!(cell["trials"][0]["messages"], 900, "{}", cell["id"]);
        assert_eq!(measure(&cell, "too_long_refused_count"), 100.0, "{}", cell["id"]);
    }
}

#[test]
fn a_steady_flow_is_looked_at_in_windows() {
    let place = Place::new();
    let cells = cells(&place, "-t uds,shm --mode stability --observe 200ms --io sync,async");
    assert_eq!(cells.len(), 4);
    for cell in &cells {
        assert_eq!(measure(cell, "window_ns"), 20e6);
        assert_eq!(measure(cell, "error_percent"), 0.0);
        let variation = measure(cell, "throughput_cv_percent");
        let flags = cell["trials"][0]["flags"].as_array().unwrap();
        assert_eq!(flags.iter().any(|flag| flag == "unstable"), variation > 20.0);
    }
}

#[test]
fn what_a_scene_cannot_do_is_told_before_it_is_tried() {
    let place = Place::new();
    let refused = |line: &str, words| assert_refused(&place.measure(line), 2, words);
    refused("-t uds --mode rtt --burst 5", ["--burst 5 changes nothing", "--mode burst", "drop it"]);
    refused("-t uds --mode ramp --profile fast:1s", ["--profile fast:1s", "high, med, low, idle", "help"]);
    refused("-t mq -s 64 --mode idle --endpoints 500", ["mq cannot hold 501", "room for", "--endpoints"]);
}
