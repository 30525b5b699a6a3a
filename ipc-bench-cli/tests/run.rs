//! What a run measures and leaves.

mod common;

use common::{Place, allowed, document, restless_cells, stderr, stdout, valid_run};

#[test]
fn round_trips_and_streams_are_measured_between_processes_and_saved() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64,4K --trials 2 -d 20ms --json=- --seed 7");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = valid_run(&output);
    assert_eq!(document["schema"], "ipc-bench/run");
    assert_eq!(document["status"], "complete");
    assert_eq!(document["manifest"]["seed"], 7);
    let ids: Vec<&str> =
        document["cells"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["uds/rtt/64", "uds/rtt/4096", "uds/stream/64", "uds/stream/4096"]);
    for cell in document["cells"].as_array().unwrap() {
        let trials = cell["trials"].as_array().unwrap();
        assert_eq!(trials.len(), 2);
        for trial in trials {
            let [first, last] = ["first_send_ns", "last_recv_ns"].map(|stamp| trial[stamp].as_u64().unwrap());
            assert_eq!(trial["elapsed_ns"], last - first);
            assert!(last - first >= 20_000_000);
            let rate = trial["messages"].as_f64().unwrap() * 1e9 / (last - first) as f64;
            let told = trial["throughput"]["msgs_per_s"].as_f64().unwrap();
            assert!((rate / told - 1.0).abs() < 1e-4, "{rate} {told}");
            for counted in ["would_block", "full_waits", "parks", "wakes", "max_occupancy_bytes"] {
                assert!(trial["stats"][counted].is_u64(), "{counted}: {}", trial["stats"]);
            }
        }
        let is_rtt = cell["mode"] == "rtt";
        // A starved machine may not get to the 20 messages in every trial that a median needs.
        let supported = is_rtt && trials.iter().all(|trial| trial["messages"].as_u64() >= Some(20));
        assert_eq!(cell["summary"]["p50_ns"]["value"].is_number(), supported);
        // Nor may a yardstick of 80 ms.
        let limited = supported && trials.iter().all(|trial| trial["limit"].is_object());
        assert_eq!(cell["summary"]["limit"]["ratio"].is_number(), limited, "{}", cell["summary"]);
        assert!(cell["summary"]["msgs_per_s"]["value"].as_f64().unwrap() > 0.0);
    }
    let limit = &document["cells"][0]["summary"]["limit"];
    assert!(limit.is_null() || limit["name"] == "unix_rtt_ns", "{limit}");
    for yardstick in ["clock_ns", "syscall_ns", "memcpy_bytes_per_s", "futex_rtt_ns", "pipe_rtt_ns"] {
        assert!(document["yardsticks"][yardstick]["value"].as_f64().unwrap() > 0.0, "{yardstick}");
    }
    let latest = place.path().join("results/latest/run.json");
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(latest).unwrap()).unwrap();
    assert_eq!(saved["run_id"], document["run_id"]);
}

#[test]
fn awaited_calls_are_measured_by_the_same_loops_beside_the_waiting_ones() {
    let place = Place::new();
    let output = place.measure(
        "-t uds,tcp,pipe,shm,shm-direct,mq,uds-seqpacket -s 64 --io sync,async --trials 1 -n 500 --json=-",
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let cells = document["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 28);
    for pair in cells.chunks(2) {
        let [sync, awaited] = pair else { panic!("{pair:?}") };
        assert_eq!(format!("{}/io=async", sync["id"].as_str().unwrap()), awaited["id"].as_str().unwrap());
        assert_eq!((sync["io"].as_str(), awaited["io"].as_str()), (Some("sync"), Some("async")));
        for cell in pair {
            assert_eq!(cell["status"], "ok", "{}", cell["id"]);
            assert_eq!(cell["trials"][0]["messages"], 500, "{}", cell["id"]);
            assert!(cell["trials"][0]["cpu"]["user_ns"].is_number());
        }
    }
}

#[test]
fn any_size_is_measured_over_rings_that_hold_it_and_pipes_as_the_kernel_makes_them() {
    let place = Place::new();
    let output = place.measure("-t all -s 300K --trials 1 -n 20 --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let cells = document["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 12);
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let of_the_kernel = rustix::pipe::fcntl_getpipe_size(&pipe).unwrap();
    for cell in cells {
        let effective = &cell["effective"];
        match cell["transport"].as_str().unwrap() {
            "mq" => {
                assert_eq!(cell["status"], "skipped");
                continue;
            }
            "shm" | "shm-direct" => assert_eq!(effective["capacity"], 2 << 20),
            "pipe" => assert_eq!(effective["send_capacity"], of_the_kernel),
            _ => {}
        }
        assert_eq!(
            (&cell["status"], &cell["trials"][0]["messages"]),
            (&"ok".into(), &20.into()),
            "{}",
            cell["id"]
        );
    }
}

#[test]
fn a_warm_up_until_the_state_is_steady_says_whether_it_was() {
    let place = Place::new();
    let line = "-t uds,shm -s 64 --mode rtt,stream,oneway --trials 2 -n 200 --json=-";
    let output = place.run(&format!("run --allow-debug --warmup auto {line}"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = valid_run(&output);
    // Which of them were is the machine's affair; that those and no others are warned of is ours.
    restless_cells(&run);
    for cell in run["cells"].as_array().unwrap() {
        for trial in cell["trials"].as_array().unwrap() {
            let (id, warmup) = (&cell["id"], &trial["warmup"]);
            assert!(warmup["messages"].as_u64().unwrap() > 0, "{id}: {warmup}");
            // Where the pace is given, windows of it would agree at once and mean nothing.
            let compared = cell["mode"] != "oneway";
            assert_eq!(warmup["steady"].is_boolean(), compared, "{id}: {warmup}");
            if compared {
                let shortest = 3 * 25_000_000;
                assert!(warmup["elapsed_ns"].as_u64().unwrap() >= shortest, "{id}: {warmup}");
            }
        }
    }
    let run = document(&place.measure("-t uds -s 64 --mode rtt --trials 1 -n 20 --json=-"));
    assert!(run["cells"][0]["trials"][0]["warmup"]["steady"].is_null(), "a given length compares nothing");
}

#[test]
fn exactly_the_messages_asked_for_are_delivered() {
    let place = Place::new();
    for flag in ["-n", "--messages", "-i"] {
        let output = place.measure(&format!("-t uds -s 100 --trials 1 {flag} 777 --json=-"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        for cell in document(&output)["cells"].as_array().unwrap() {
            assert_eq!(cell["trials"][0]["messages"], 777);
        }
    }
}

#[test]
fn workers_run_where_they_were_pinned() {
    let place = Place::new();
    let cpu = *allowed().last().unwrap();
    let output =
        place.measure(&format!("-t uds -s 64 --mode rtt --trials 1 -n 100 --pin {cpu}:{cpu} --json=-"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    assert_eq!(document["cells"][0]["pin"], serde_json::json!({ "client": cpu, "server": cpu }));
}

#[test]
fn files_go_where_they_are_told_to() {
    let place = Place::new();
    let output =
        place.measure("-t uds -s 64 --mode rtt --trials 1 -n 100 --out here --json=copy.json --quiet");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((stdout(&output), stderr(&output)), ("", ""));
    let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
    assert_eq!(read("here/run.json"), read("copy.json"));
    assert!(!read("here/summary.md").is_empty());
    assert!(read("here/report.html").starts_with(b"<!doctype html>"));
    assert!(!place.path().join("results").exists());
    place.measure("-t uds -s 64 --mode rtt --trials 1 -n 100 --out bare --no-html");
    assert!(place.path().join("bare/summary.md").exists() && !place.path().join("bare/report.html").exists());
}

#[test]
fn what_there_is_can_be_listed() {
    let place = Place::new();
    assert!(stdout(&place.run("list transports")).starts_with("uds "));
    assert!(stdout(&place.run("list presets")).contains("quick"));
    assert_eq!(stdout(&place.run("list runs")), "");
    let document = document(&place.run("list transports --json=-"));
    assert_eq!(document[0]["name"], "uds");
    place.measure("-t uds -s 64 --mode rtt --trials 1 -n 100");
    assert_eq!(stdout(&place.run("list runs")).lines().count(), 1);
}

#[test]
fn the_order_and_the_waiting_policy_are_part_of_the_result() {
    let place = Place::new();
    let run = |flags: &str| {
        let output = place.measure(&format!("-t uds -s 64,128 --mode rtt --trials 2 -n 50 --json=- {flags}"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        document(&output)
    };
    let orders = |document: &serde_json::Value| -> Vec<Vec<u64>> {
        let trials = |cell: &serde_json::Value| {
            cell["trials"].as_array().unwrap().iter().map(|trial| trial["order"].as_u64().unwrap()).collect()
        };
        document["cells"].as_array().unwrap().iter().map(trials).collect()
    };
    let interleaved = orders(&run(""));
    assert!(interleaved[0][1] > interleaved[1][0]);
    let grouped = orders(&run("--order grouped"));
    assert!(grouped[0][1] < grouped[1][0]);
    if allowed().len() > 1 {
        let document = run("--wait park,spin");
        let ids: Vec<&str> =
            document["cells"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["uds/rtt/64", "uds/rtt/64/wait=spin", "uds/rtt/128", "uds/rtt/128/wait=spin"]);
        // A starved machine may not get to the 20 round trips that the median of the limit needs.
        let limit = &document["cells"][1]["summary"]["limit"]["name"];
        assert!(limit.is_null() || limit == "unix_spin_rtt_ns", "{limit}");
    }
}

#[test]
fn a_run_is_written_compared_and_kept_under_a_name_in_one_go() {
    let place = Place::new();
    let line = "-t uds -s 64 --mode rtt --trials 2 -n 200";
    let first = place.measure(&format!("{line} --save-baseline main --html a.html --md a.md --csv a.csv"));
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(read("a.html").contains("<html") && read("a.md").contains("### Round trip"));
    assert_eq!(read("a.csv").lines().count(), 1 + 2, "a row per trial");
    assert_eq!(stdout(&place.run("list baselines")), "main\n");
    let kept = read("results/baselines/main.json");
    // Without names they have the usual ones, here.
    let second =
        place.measure(&format!("{line} --baseline main --save-baseline main --html --md --csv --no-html"));
    assert!(read("report.html").contains("<html") && read("summary.md").contains("### Round trip"));
    assert_eq!(read("trials.csv").lines().count(), 1 + 2);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    let text = stdout(&second);
    assert!(text.contains("A main") && text.contains("B this run"), "{text}");
    assert_ne!(read("results/baselines/main.json"), kept, "the name stands for the new run");
    for (flag, told) in [
        ("--save-baseline last", ["no name of a baseline", "look like last", "letters"]),
        ("--baseline nobody", ["\"nobody\" is no run", "no baseline", "baseline list"]),
        ("--html no/where/a.html", ["a.html cannot be written", "No such file", "--html FILE"]),
        ("--md -", ["--md needs the name of a file", "only one writer", "report last --format md"]),
    ] {
        let refused = place.measure(&format!("{line} {flag}"));
        common::assert_refused(&refused, 2, told);
    }
}

#[test]
fn the_reference_of_a_run_is_kept_with_it_and_has_to_be_one_of_its_cells() {
    let place = Place::new();
    let line = "-t uds,pipe -s 64 --mode rtt,stream --trials 1 -n 50";
    let output = place.measure(&format!("{line} --reference pipe/rtt/64 --json=-"));
    assert_eq!(document(&output)["manifest"]["reference"], "pipe/rtt/64");
    for wrong in ["tcp/rtt/64", "uds/stream/64"] {
        let refused = place.measure(&format!("{line} --reference {wrong}"));
        common::assert_refused(
            &refused,
            2,
            [&format!("unknown reference \"{wrong}\""), "there are: uds/rtt/64", ""],
        );
    }
}
