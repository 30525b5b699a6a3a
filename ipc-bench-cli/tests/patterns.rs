//! Workloads of many processes.

mod common;

/// Every transport that connects processes, each with the options that leave room for 56 connections on a machine as it is
/// delivered: queues of the default length would take all that a user may have of them.
const ALL: [(&str, &str); 7] = [
    ("uds", ""),
    ("tcp", ""),
    ("pipe", ""),
    ("shm", ""),
    ("shm-direct", ""),
    ("mq", "mq.max_message=256"),
    ("uds-seqpacket", ""),
];

/// The same process, once it has computed for longer than it takes to start and to connect: it is in the middle of its messages.
fn at_work(pid: u32) -> u32 {
    wait_for("a peer at work", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
        // utime and stime, in hundredths of a second: the twelfth and the thirteenth field behind the name.
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let times = behind.split_whitespace().skip(11).take(2);
        let used: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
        (used >= 5).then_some(())
    });
    pid
}

/// The option as an argument, and where it stands in the id of a cell.
fn with(option: &str) -> (String, String) {
    match option {
        "" => Default::default(),
        option => (format!("-L {option}"), format!("/{option}")),
    }
}

use common::{
    Place, assert_cleaned_up_at_once, assert_refused, document, kill, measuring, stderr, stdout, wait_for,
};
use rustix::process::Signal;

/// How often 80 messages per sender arrive among so many peers.
fn delivered(mode: &str, peers: u64) -> u64 {
    if matches!(mode, "fan-out" | "pipeline") { 80 } else { peers * 80 }
}

#[test]
fn every_message_of_every_sender_arrives_over_every_transport() {
    for (transport, option) in ALL {
        let place = Place::new();
        let (flag, set) = with(option);
        let line = format!(
            "-t {transport} -s 128 --mode fan-out,fan-in,pipeline,broadcast,mesh --peers 2,4,8 --trials 1 -n 80 {flag} --json=-"
        );
        let output = place.measure(&line);
        assert_eq!(output.status.code(), Some(0), "{transport}: {}", stderr(&output));
        let document = document(&output);
        let modes = ["fan-out", "fan-in", "pipeline", "broadcast", "mesh"];
        for (mode, peers) in modes.iter().flat_map(|mode| [2, 4, 8].map(|peers| (mode, peers))) {
            let id = format!("{transport}/{mode}/128{set}/peers={peers}");
            let cells = document["cells"].as_array().unwrap();
            let cell = cells.iter().find(|cell| cell["id"] == id.as_str()).unwrap();
            assert_eq!(cell["trials"][0]["messages"], delivered(mode, peers), "{id}");
            assert_eq!(cell["clients"], peers, "{id}");
            let fairness = cell["summary"]["measures"]["fairness_ratio"]["value"].as_f64().unwrap();
            assert!(fairness > 0.0 && fairness <= 1.0, "{id}: {fairness}");
            for figure in ["p50_ns", "msgs_per_s", "cpu_ns_per_msg"] {
                assert!(cell["summary"][figure]["value"].as_f64().unwrap() > 0.0, "{id}: {figure}");
            }
        }
        place.assert_nothing_is_left();
    }
}

#[test]
fn how_a_pattern_scales_is_told_against_one_peer() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64 --mode fan-out --peers 1,2,4 --trials 2 -n 400");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let table = text.split("With and without").nth(1).unwrap_or_else(|| panic!("{text}"));
    for setting in ["peers=2", "peers=4"] {
        let row = table.lines().find(|line| line.contains("uds/fan-out/64") && line.contains(setting));
        assert!(row.is_some_and(|row| row.contains("msg/s") && row.contains('×')), "{text}");
    }
}

#[test]
fn a_broadcast_over_shared_memory_goes_through_one_ring_as_well() {
    let place = Place::new();
    let line = "-t shm,uds -s 128 --mode broadcast --peers 2,4,8 --trials 1 -n 80 --json=-";
    let output = place.measure(line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let cells = document["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 9, "three of uds, three of a ring each, three of one ring");
    for peers in [2, 4, 8] {
        let id = format!("shm/broadcast/128/peers={peers}/ring=shared");
        let cell = cells.iter().find(|cell| cell["id"] == id.as_str()).unwrap();
        assert_eq!(cell["trials"][0]["messages"], peers * 80, "{id}");
        assert_eq!(cell["clients"], peers, "{id}");
        assert_eq!(cell["summary"]["measures"]["fairness_ratio"]["value"], 1.0, "{id}");
        for figure in ["p50_ns", "msgs_per_s", "cpu_ns_per_msg"] {
            assert!(cell["summary"][figure]["value"].as_f64().unwrap() > 0.0, "{id}: {figure}");
        }
    }
    place.assert_nothing_is_left();
}

#[test]
fn every_message_arrives_where_each_process_awaits_its_connections_on_one_reactor() {
    for (transport, option) in ALL {
        let place = Place::new();
        let (flag, set) = with(option);
        let line = format!(
            "-t {transport} -s 128 --mode fan-out,fan-in,pipeline,broadcast,mesh --peers 3 --io async --trials 1 -n 3000 {flag} --json=-"
        );
        let output = place.measure(&line);
        assert_eq!(output.status.code(), Some(0), "{transport}: {}", stderr(&output));
        let document = document(&output);
        let cells = document["cells"].as_array().unwrap();
        let shared = (transport == "shm").then_some(("broadcast", "/ring=shared"));
        let modes = ["fan-out", "fan-in", "pipeline", "broadcast", "mesh"].map(|mode| (mode, ""));
        for (mode, ring) in modes.into_iter().chain(shared) {
            let id = format!("{transport}/{mode}/128/io=async{set}/peers=3{ring}");
            let cell = cells.iter().find(|cell| cell["id"] == id.as_str()).unwrap();
            let all = if matches!(mode, "fan-out" | "pipeline") { 3000 } else { 9000 };
            assert_eq!(cell["trials"][0]["messages"], all, "{id}");
        }
        place.assert_nothing_is_left();
    }
}

#[test]
fn a_killed_peer_fails_its_cell_by_name_and_takes_the_others_with_it() {
    for (mode, victim) in [("fan-out", 1), ("fan-in", 2), ("pipeline", 2), ("broadcast", 0), ("mesh", 1)] {
        let place = Place::new();
        let peer = format!("peer {victim}");
        let mut ids = Vec::new();
        for io in ["", "io=async/"] {
            ids.push(format!("shm/{mode}/64/{io}peers=3"));
            if mode == "broadcast" {
                ids.push(format!("shm/{mode}/64/{io}peers=3/ring=shared"));
            }
        }
        // Far longer than it takes to find and kill the peer, and over by itself should this test be killed first.
        let line = format!(
            "-t shm -s 64 --mode {mode} --peers 3 --io sync,async --trials 1 -d 5m --keep-awake no --order grouped --json=-"
        );
        let child = place.command(&measuring(&line)).spawn().unwrap();
        for id in &ids {
            kill(place.worker(&peer, id), Signal::KILL);
        }
        let output = place.finish(child);
        assert_eq!(output.status.code(), Some(1));
        let document = document(&output);
        for (cell, id) in document["cells"].as_array().unwrap().iter().zip(&ids) {
            assert_eq!((&cell["id"], &cell["status"]), (&id.as_str().into(), &"failed".into()));
            let reason = cell["reason"].as_str().unwrap();
            assert!(reason.contains(&format!("the {peer} of {id} died (signal 9")), "{reason}");
            assert_cleaned_up_at_once(cell);
        }
        place.assert_nothing_is_left();
    }
}

#[test]
fn a_killed_peer_is_named_over_every_transport_and_among_two_four_and_eight() {
    let modes = ["fan-out", "fan-in", "pipeline", "broadcast", "mesh"];
    for (transport, option) in ALL {
        let place = Place::new();
        let (flag, set) = with(option);
        for (mode, peers) in modes.iter().flat_map(|mode| [2, 4, 8].map(|peers| (mode, peers))) {
            let (peer, id) =
                (format!("peer {}", peers - 1), format!("{transport}/{mode}/64{set}/peers={peers}"));
            let line = format!(
                "-t {transport} -s 64 --mode {mode} --peers {peers} --trials 1 -d 5m {flag} --keep-awake no --json=-"
            );
            let child = place.command(&measuring(&line)).spawn().unwrap();
            kill(at_work(place.worker(&peer, &id)), Signal::KILL);
            // Such a broadcast is two cells: connections, and one ring.
            if (transport, *mode) == ("shm", "broadcast") {
                kill(at_work(place.worker(&peer, &format!("{id}/ring=shared"))), Signal::KILL);
            }
            let output = place.finish(child);
            assert_eq!(output.status.code(), Some(1), "{id}: {}", stderr(&output));
            let document = document(&output);
            let cell = &document["cells"][0];
            assert_eq!((&cell["id"], &cell["status"]), (&id.as_str().into(), &"failed".into()));
            let reason = cell["reason"].as_str().unwrap();
            assert!(reason.contains(&format!("the {peer} of {id} died (signal 9")), "{reason}");
            assert_cleaned_up_at_once(cell);
        }
    }
}

#[test]
fn a_receiver_of_silent_peers_sleeps_and_the_silent_ones_send_next_to_nothing() {
    let place = Place::new();
    let line =
        "-t shm,uds -s 64 --mode fan-in --peers 8 --hot 0 --io sync,async --trials 1 -d 500ms --json=-";
    for cell in document(&place.measure(line))["cells"].as_array().unwrap() {
        assert_eq!(cell["trials"][0]["messages"], 16, "{}", cell["id"]);
        let busy = cell["summary"]["measures"]["receiver_cpu_percent"]["value"].as_f64().unwrap();
        // Spinning would be 100; what it is on a machine of its own, `targets/limits.toml` says.
        assert!(busy < 25.0, "{}: {busy} %", cell["id"]);
    }
    let line = "-t shm -s 64 --mode fan-in --peers 4 --hot 1 --trials 1 -n 5000 --json=-";
    let one = document(&place.measure(line));
    assert_eq!(one["cells"][0]["id"], "shm/fan-in/64/hot=1/peers=4");
    assert_eq!(one["cells"][0]["trials"][0]["messages"], 5000 + 3 * 2);
    assert_refused(&place.measure("-t shm --mode rtt --hot 1"), 2, ["--hot", "fan-in", "drop it"]);
}

#[test]
fn a_pattern_that_cannot_be_here_says_why() {
    let place = Place::new();
    assert_refused(&place.measure("-t uds --mode mesh"), 2, ["no pattern", "needs 2 peers", "--peers 2"]);
    assert_refused(
        &place.measure("-t uds --mode fan-in --peers 300"),
        2,
        ["--peers 300", "more than 256", ""],
    );
}

#[test]
fn several_pairs_and_several_clients_of_one_server_are_measured_at_once() {
    for (transport, option) in ALL {
        let place = Place::new();
        let (flag, set) = with(option);
        let line = format!(
            "-t {transport} -s 64 --mode rtt,stream,oneway,load --rate 2k/s --pairs 2 --clients 1,3 --trials 1 -n 60 {flag} --json=-"
        );
        let output = place.measure(&line);
        assert_eq!(output.status.code(), Some(0), "{transport}: {}", stderr(&output));
        let document = document(&output);
        let cells = document["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 12);
        for (mode, rate) in [("rtt", ""), ("stream", ""), ("oneway", ""), ("load", "/r2k")] {
            for (crowd, count) in [("/pairs=2", 2), ("", 1), ("/clients=3", 3)] {
                // In the order of their names.
                let mut settings = [crowd, set.as_str()];
                settings.sort_unstable();
                let id = format!("{transport}/{mode}/64{rate}{}", settings.concat());
                let cell = cells.iter().find(|cell| cell["id"] == id.as_str()).unwrap();
                let trial = &cell["trials"][0];
                assert_eq!(
                    (&trial["messages"], &cell["clients"]),
                    (&(count * 60).into(), &count.into()),
                    "{id}"
                );
                assert!(
                    trial["cpu"]["user_ns"].is_number() && trial["first_message_ns"].is_number()
                        || mode == "stream"
                );
                let fair = &cell["summary"]["measures"]["fairness_ratio"]["value"];
                assert_eq!(fair.as_f64(), (count > 1).then_some(1.0), "{id}: as many messages each");
                if mode == "load" {
                    assert_eq!(trial["requested_rate"], 2000.0, "{id}: of all together");
                }
            }
        }
        place.assert_nothing_is_left();
    }
    let place = Place::new();
    for (line, told) in [
        ("-t uds --mode fan-in --clients 2", ["--clients 2 changes nothing here", "rtt, oneway", "drop it"]),
        ("-t uds --mode rtt --pairs 300", ["--pairs 300", "more than 256", ""]),
    ] {
        assert_refused(&place.measure(line), 2, told);
    }
}

#[test]
fn a_killed_client_among_several_fails_the_cell_at_once_and_takes_the_others_with_it() {
    for (crowd, victim) in [("pairs=2", 3), ("clients=3", 2), ("clients=3", 0)] {
        let place = Place::new();
        let id = format!("shm/rtt/64/{crowd}");
        let flag = crowd.replace('=', " ");
        let line = format!("-t shm -s 64 --mode rtt --{flag} --trials 1 -d 5m --keep-awake no --json=-");
        let child = place.command(&measuring(&line)).spawn().unwrap();
        kill(place.worker(&format!("peer {victim}"), &id), Signal::KILL);
        let output = place.finish(child);
        assert_eq!(output.status.code(), Some(1), "{id}");
        let cell = &document(&output)["cells"][0];
        let reason = cell["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("the peer {victim} of {id} died (signal 9")), "{reason}");
        assert_cleaned_up_at_once(cell);
        place.assert_nothing_is_left();
    }
}
