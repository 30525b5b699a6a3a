//! What the workloads of two sides measure, and what they refuse.

mod common;

use common::{Place, assert_refused, document, stderr, stdout};

#[test]
fn a_way_is_timed_by_the_receiver_and_its_messages_are_paced() {
    let place = Place::new();
    let output = place.measure("-t uds,shm -s 64 --mode oneway --io sync,async --trials 1 -n 200 --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let cells = document["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    for cell in cells {
        let trial = &cell["trials"][0];
        assert_eq!(cell["method"]["t0"], "before_send");
        assert_eq!(trial["messages"], 200, "{}", cell["id"]);
        assert!(trial["latency"]["min_ns"].as_u64().unwrap() > 0);
        assert!(trial["first_message_ns"].as_u64().unwrap() > 0);
        // 100 µs between two of them.
        assert!(trial["elapsed_ns"].as_u64().unwrap() >= 199 * 100_000, "{}", cell["id"]);
        assert!(trial["service"].is_null());
    }
    let slower = place.measure("-t uds -s 64 --mode oneway --pace 2ms --trials 1 -n 20 --json=-");
    let slower = common::document(&slower);
    assert_eq!(slower["cells"][0]["id"], "uds/oneway/64/pace=2ms");
    assert!(slower["cells"][0]["trials"][0]["elapsed_ns"].as_u64().unwrap() >= 19 * 2_000_000);
}

#[test]
fn an_open_loop_tells_response_and_service_and_what_was_achieved() {
    let place = Place::new();
    let line =
        "-t uds -s 64 --mode load --rate 2k/s,100Hz,10%,50% --arrivals constant,poisson --trials 1 -d 50ms";
    let output = place.measure(&format!("{line} --out here"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("Open loop") && text.contains("response") && text.contains("service"), "{text}");
    let saved = std::fs::read(place.path().join("here/run.json")).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&saved).unwrap();
    let ids: Vec<&str> =
        document["cells"].as_array().unwrap().iter().map(|cell| cell["id"].as_str().unwrap()).collect();
    let rates = ["r2k", "r100Hz", "r10%", "r50%"];
    let expected: Vec<String> = rates
        .iter()
        .flat_map(|rate| ["", "/arrivals=poisson"].map(|rest| format!("uds/load/64/{rate}{rest}")))
        .collect();
    assert_eq!(ids, expected);
    for cell in document["cells"].as_array().unwrap() {
        let (id, trial) = (&cell["id"], &cell["trials"][0]);
        assert!(trial["latency"].is_object() && trial["service"].is_object(), "{id}");
        assert!(trial["requested_rate"].as_f64() >= trial["achieved_rate"].as_f64(), "{id}");
        assert!(trial["achieved_rate"].as_f64().unwrap() > 0.0, "{id}");
        assert!(cell["summary"]["saturated"].is_boolean(), "{id}");
    }
    let cell = |index: usize| &document["cells"][index];
    assert_eq!((&cell(0)["rate"], &cell(2)["rate"]), (&"2k/s".into(), &"100Hz".into()));
    assert_eq!(cell(0)["trials"][0]["requested_rate"], 2000.0);
    // 50 ms at 2 kHz.
    assert_eq!(cell(0)["trials"][0]["messages"], 100);
    let maximum = cell(4)["params"]["maximum_msgs_per_s"].as_f64().unwrap();
    let tenth = cell(4)["trials"][0]["requested_rate"].as_f64().unwrap();
    assert!((tenth / (maximum / 10.0) - 1.0).abs() < 1e-3, "{tenth} of {maximum}");
    let html = std::fs::read_to_string(place.path().join("here/report.html")).unwrap();
    assert!(html.contains("id=\"load\""), "the curve is in the report");
}

#[test]
fn what_an_open_loop_cannot_keep_is_called_saturated() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64 --mode load --rate 500M/s --trials 1 -d 20ms --out here");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("saturated"), "{}", stdout(&output));
}

#[test]
fn an_open_loop_without_a_rate_and_a_rate_without_an_open_loop_are_refused() {
    let place = Place::new();
    let refused = |line: &str, words| assert_refused(&place.run(line), 2, words);
    refused("plan --mode load", ["needs a rate", "fixed in advance", "--rate 10%..95%+10%"]);
    refused("plan --mode rtt --rate 1k/s", ["--rate is for open loops", "the other", "--mode load"]);
    refused("plan --mode rtt --arrivals poisson", ["--arrivals is for", "the other", "--mode load"]);
    refused("plan --mode load --rate 10", ["--rate 10", "1k/s, 100Hz or 50%", "command line"]);
    refused(
        "plan -t uds --mode stream --pace 1ms",
        ["stream has no pace", "only rtt and oneway", "--mode load"],
    );
}

#[test]
fn batches_and_loans_are_dimensions_and_the_report_tells_their_gain() {
    let place = Place::new();
    let line = "-t shm,uds -s 64,1K --mode rtt,stream --batch 1,32 --access copy,loan --trials 2 -n 700";
    let output = place.measure(&format!("{line} --out here"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("With and without") && text.contains("batch=32"), "{text}");
    assert!(text.contains("access=loan"), "{text}");
    let saved = std::fs::read(place.path().join("here/run.json")).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&saved).unwrap();
    let ok: Vec<&str> = document["cells"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|cell| cell["status"] == "ok")
        .map(|cell| {
            assert_eq!(cell["trials"][0]["messages"], 700, "{}", cell["id"]);
            cell["id"].as_str().unwrap()
        })
        .collect();
    let of_64: Vec<&&str> = ok.iter().filter(|id| id.split('/').nth(2) == Some("64")).collect();
    let expected = [
        "shm/rtt/64",
        "shm/rtt/64/access=loan",
        "uds/rtt/64",
        "shm/stream/64",
        "shm/stream/64/access=loan",
        "shm/stream/64/batch=32",
        "uds/stream/64",
        "uds/stream/64/batch=32",
    ];
    assert_eq!(of_64, expected.iter().collect::<Vec<_>>());
    let refused = |line: &str, words| assert_refused(&place.run(line), 2, words);
    refused("plan --batch 65", ["--batch 65", "more than 64", "command line"]);
    refused("plan -t uds --access loan", ["uds cannot lend here", "no memory that both", "-t all,-uds"]);
    refused("plan -t shm --mode rtt --batch 8", ["rtt has no batches", "several messages", "--mode stream"]);
}

#[test]
fn the_first_message_is_apart_unless_it_is_asked_to_count() {
    let place = Place::new();
    for mode in ["rtt", "oneway", "load --rate 2k/s"] {
        let samples = |flag: &str| {
            let line = format!("-t uds -s 64 --mode {mode} --trials 1 -n 50 --json=- {flag}");
            let output = place.measure(&line);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let trial = document(&output)["cells"][0]["trials"][0].clone();
            let latency: ipc_results::run::Latency =
                serde_json::from_value(trial["latency"].clone()).unwrap();
            let first = trial["first_message_ns"].as_u64().unwrap();
            (latency.recorder().unwrap().len(), first, latency.max_ns)
        };
        let (apart, first, _) = samples("");
        assert!(apart == 50 && first > 0, "{mode}");
        let (together, first, longest) = samples("--include-first");
        assert_eq!(together, 51, "{mode}");
        assert!(longest >= first - first / 500, "{mode}: {longest} ns without the first, which took {first}");
    }
}

#[test]
fn a_row_per_message_is_written_as_csv_and_json() {
    let place = Place::new();
    let line = "-t uds,shm -s 64 --mode rtt,oneway,stream,load --rate 5k/s --trials 2 -n 40 --json=-";
    let output = place.measure(&format!("{line} --stream-csv rows.csv --stream-json rows.jsonl"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = document(&output);
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    let csv = read("rows.csv");
    let mut table = csv.lines();
    assert_eq!(
        table.next(),
        Some("timestamp_ns,message_id,transport,size_bytes,one_way_ns,round_trip_ns,cell,trial")
    );
    let rows: Vec<serde_json::Value> =
        read("rows.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Two transports, three modes that time messages, two trials.
    assert_eq!((table.count(), rows.len()), (2 * 3 * 2 * 40, 2 * 3 * 2 * 40));
    for row in &rows {
        let cell = run["cells"].as_array().unwrap().iter().find(|cell| cell["id"] == row["cell"]).unwrap();
        let trial = &cell["trials"][row["trial"].as_u64().unwrap() as usize];
        let (first, last) =
            (trial["first_send_ns"].as_u64().unwrap(), trial["last_recv_ns"].as_u64().unwrap());
        let sent = row["timestamp_ns"].as_u64().unwrap();
        assert!((first..=last).contains(&sent), "{row} between {first} and {last}");
        let way = row["one_way_ns"].as_u64().unwrap();
        match cell["mode"].as_str().unwrap() {
            // The echo carries the moment of arrival, so both are of the same message.
            "rtt" => assert!(row["round_trip_ns"].as_u64().unwrap() >= way, "{row}"),
            _ => assert!(row["round_trip_ns"].is_null(), "{row}"),
        }
    }
    let refused = |line: &str, words| assert_refused(&place.measure(line), 2, words);
    refused("-t uds --stream-csv -", ["do not go to stdout", "only one", "name a file"]);
    refused(
        "-t uds --mode stream --stream-csv x",
        ["nothing is to be written", "timed by itself", "--mode rtt"],
    );
    refused(
        "-t uds --stream-json nowhere/x",
        ["nowhere/x cannot be written", "No such file", "another file"],
    );
}

#[test]
fn a_trial_is_told_in_intervals_in_the_report_and_in_the_log() {
    let place = Place::new();
    let line =
        "-t uds -s 64 --mode rtt,load --rate 2k/s --pairs 1,2 --trials 1 -d 100ms --interval 20ms --out here";
    let output = place.measure(line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let saved = std::fs::read(place.path().join("here/run.json")).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&saved).unwrap();
    let mut intervals = 0;
    for cell in document["cells"].as_array().unwrap() {
        let (id, trial) = (&cell["id"], &cell["trials"][0]);
        let timeline = trial["timeline"].as_array().unwrap();
        assert!((1..=5).contains(&timeline.len()), "{id}: {}", timeline.len());
        let sum = |field: &str| timeline.iter().map(|own| own[field].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("messages"), trial["messages"].as_u64().unwrap(), "{id}");
        assert!(sum("elapsed_ns") >= 80_000_000, "{id}");
        assert!(
            timeline.iter().enumerate().all(|(at, own)| own["start_ns"] == at as u64 * 20_000_000),
            "{id}"
        );
        intervals += timeline.iter().filter(|own| own["hdr"].is_string()).count();
    }
    let log = stdout(&place.run("report here --format hlog")).to_owned();
    assert_eq!(log.lines().filter(|line| line.starts_with("Tag=")).count(), intervals);
    let page = std::fs::read_to_string(place.path().join("here/report.html")).unwrap();
    assert!(page.contains("id=\"timeline\""), "the page has no timeline");
    for (line, told) in [
        ("-t uds --mode stream --interval 10ms", ["--interval 10ms changes nothing here", "rtt", "drop it"]),
        ("-t uds --mode rtt -n 10 --interval 10ms", ["--interval 10ms", "-d instead of -n", ""]),
        ("-t uds --mode rtt -d 1s --interval 1us", ["--interval 1us", "2 to 1000", ""]),
    ] {
        assert_refused(&place.measure(line), 2, told);
    }
}

#[test]
fn the_counter_of_the_processor_can_be_the_clock_of_all_processes() {
    let place = Place::new();
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let trusted = std::fs::read_to_string(source).is_ok_and(|source| source.trim() == "tsc");
    let line = "-t uds -s 64 --mode rtt,oneway,fan-in --peers 2 --trials 2 -n 500 --json=-";
    if !trusted || !cfg!(target_arch = "x86_64") {
        assert_refused(&place.measure(&format!("{line} --clock tsc")), 2, ["--clock tsc", "", ""]);
    }
    let output = place.measure(&format!("{line} --clock auto"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let clock = if trusted && cfg!(target_arch = "x86_64") { "tsc" } else { "monotonic" };
    let whole = document["elapsed_ns"].as_u64().unwrap();
    for cell in document["cells"].as_array().unwrap() {
        assert_eq!(cell["method"]["clock"], clock);
        for trial in cell["trials"].as_array().unwrap() {
            // Stamps of one process are subtracted from those of another: a clock that differs between them, or runs at
            // another speed, shows as nothing or as more than the run took.
            let [min, max] = ["min_ns", "max_ns"].map(|field| trial["latency"][field].as_u64().unwrap());
            assert!(min > 100 && max < whole, "{}: {min} to {max} of {whole}", cell["id"]);
            assert!((1..whole).contains(&trial["elapsed_ns"].as_u64().unwrap()), "{}", cell["id"]);
        }
    }
    assert!(document["yardsticks"]["clock_ns"]["value"].as_f64().unwrap() > 0.0);
    assert_refused(&place.measure("-t uds --clock hpet"), 2, ["--clock hpet", "monotonic, tsc, auto", ""]);
}

#[test]
fn a_sender_that_waits_for_room_is_told_of_in_every_trial() {
    let place = Place::new();
    let waits = |mode: &str, capacity: &str| -> Vec<u64> {
        let line =
            format!("-t shm -s 1K --mode {mode} -L shm.capacity={capacity} --trials 2 -n 20000 --json=-");
        let output = place.measure(&line);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let trials = document(&output)["cells"][0]["trials"].clone();
        let full_waits = |trial: &serde_json::Value| trial["stats"]["full_waits"].as_u64().unwrap();
        trials.as_array().unwrap().iter().map(full_waits).collect()
    };
    // A thousand messages have room where one is under way, and three where as many are sent as fit.
    assert_eq!(waits("rtt", "1M"), [0, 0]);
    let full = waits("stream", "4096");
    assert!(full.len() == 2 && full.iter().all(|waits| *waits > 0), "{full:?}");
}
