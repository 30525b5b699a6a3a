//! The traps of those who measured before (`predecessors.md`), as a user of the program would fall into them. Those that
//! concern the measuring loops alone are in `src/workload/traps.rs`.

#![allow(clippy::unwrap_used, reason = "clippy knows only the tests themselves, not their helpers")]

mod common;

use std::process::Stdio;

use common::{Place, allowed, document, kill, measuring, stderr, wait_for};
use ipc_results::Run;
use rustix::process::Signal;
use serde_json::Value;

/// The one document on stdout, as its own type.
fn run_of(output: &std::process::Output) -> Run {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    ipc_results::file::from_json(common::stdout(output)).unwrap()
}

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

#[test]
fn trap_03_so_many_peers_are_so_many_processes_at_once_and_exactly_their_messages_arrive() {
    let place = Place::new();
    let line = "-t uds -s 64 --mode fan-in --peers 3 --trials 1 --json=-";
    // They run at the same time, each a process of its own: all are there while the trial lasts.
    let child = place.command(&measuring(&format!("{line} -d 1h"))).spawn().unwrap();
    let mut pids: Vec<u32> =
        (0..4).map(|number| place.worker(&format!("peer {number}"), "uds/fan-in/64/peers=3")).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 4, "the receiver and three senders");
    kill(child.id(), Signal::INT);
    assert_eq!(place.finish(child).status.code(), Some(130));

    let run = run_of(&place.measure(&format!("{line} -n 500")));
    let trial = &run.cells[0].trials[0];
    assert_eq!((run.cells[0].clients, trial.messages), (3, 1500));
    // Every latency is in the one histogram.
    assert_eq!(trial.latency.as_ref().unwrap().recorder().unwrap().len(), 1500);
    common::assert_refused(
        &place.measure("-t uds --mode fan-in --peers 0"),
        2,
        ["--peers 0: not understood", "", "command line"],
    );
}

#[test]
fn trap_08_only_the_worker_that_is_meant_is_pinned_by_the_number_of_the_cpu() {
    let place = Place::new();
    // The last one: an index into the set of allowed CPUs would be another number where the set has gaps.
    let cpu = *allowed().last().unwrap();
    let id = "uds/rtt/64/background=cpu:1";
    let line = format!(
        "-t uds -s 64 --mode rtt --trials 1 -d 1h --background cpu:1 --keep-awake no --pin {cpu}:{cpu}"
    );
    let mut child = place.command(&measuring(&line)).spawn().unwrap();
    let mask = |pid: u32| -> Vec<u32> {
        let set = rustix::thread::sched_getaffinity(rustix::process::Pid::from_raw(pid as i32)).unwrap();
        (0..1024).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect()
    };
    for role in ["client", "server"] {
        let pid = place.worker(role, id);
        wait_for("the pinned mask", || (mask(pid) == [cpu]).then_some(()));
    }
    // Neither the one that started them nor what works beside them.
    assert_eq!(mask(child.id()), allowed());
    assert_eq!(mask(place.worker("hog", id)), allowed());
    kill(child.id(), Signal::INT);
    child.wait().unwrap();
    place.assert_nothing_is_left();
    let run = run_of(
        &place.measure(&format!("-t uds -s 64 --mode rtt --trials 1 -n 50 --pin {cpu}:{cpu} --json=-")),
    );
    assert_eq!((run.cells[0].pin["client"], run.cells[0].pin["server"]), (cpu, cpu));
    let run = run_of(&place.measure("-t uds -s 64 --mode rtt --trials 1 -n 50 --pin none --json=-"));
    if allowed().len() > 1 {
        assert!(run.cells[0].pin.is_empty(), "{:?}", run.cells[0].pin);
    }
}

#[test]
fn trap_11_histograms_of_all_receivers_are_merged_and_no_figure_mixes_workloads() {
    let place = Place::new();
    let line = "-t uds -s 64 --mode broadcast,rtt,oneway --peers 3 --trials 1 -n 400 --json=-";
    let run = run_of(&place.measure(line));
    let cell = |mode: &str| run.cells.iter().find(|cell| cell.mode == mode).unwrap();
    let samples = |mode: &str| cell(mode).trials[0].latency.as_ref().unwrap().recorder().unwrap().len();
    // Three receivers of 400 messages each, not the percentiles of one of them.
    assert_eq!(samples("broadcast"), 1200);
    // One way and there and back are two cells, each with its own samples.
    assert_eq!((samples("rtt"), samples("oneway")), (400, 400));
    for mode in ["rtt", "oneway"] {
        let mean = cell(mode).trials[0].latency.as_ref().unwrap().recorder().unwrap().mean_ns().unwrap();
        let told = cell(mode).summary.as_ref().unwrap().latency.mean_ns.unwrap().value;
        assert!((told - mean).abs() <= 1.0, "{mode}: {told} for {mean}");
    }
}

#[test]
fn trap_14_what_is_said_of_the_machine_and_of_processor_time_was_read_from_it() {
    let place = Place::new();
    let read = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let line = measuring("-t uds -s 64 --mode rtt --trials 1 -n 20 --json=-");
    let measure = |files: u64| {
        // The limit is lowered for this program alone: a constant would not know.
        let program = place.command(&line);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("ulimit -S -n {files}; exec \"$0\" \"$@\"")]);
        shell.arg(program.get_program()).args(program.get_args()).current_dir(place.path());
        shell.envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        run_of(&place.finish(shell.spawn().unwrap()))
    };
    for files in [200, 300] {
        let environment = measure(files).environment;
        assert_eq!(environment.limits["nofile"], Some(files));
        assert_eq!(environment.kernel.unwrap(), read("/proc/sys/kernel/osrelease"));
        assert_eq!(environment.hostname.unwrap(), read("/proc/sys/kernel/hostname"));
        assert_eq!(environment.boot_id.unwrap(), read("/proc/sys/kernel/random/boot_id"));
        let kib: u64 = read("/proc/meminfo").split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(environment.memory_bytes, Some(kib * 1024));
        assert_eq!(environment.cpu.allowed, Some(allowed()));
    }
    if allowed().len() < 2 {
        return;
    }
    // A side that spins uses its CPU, one that mostly pauses does not.
    let busy = |flags: &str| {
        let run = run_of(&place.measure(&format!("-t uds -s 64 --mode rtt --trials 1 --json=- {flags}")));
        let trial = &run.cells[0].trials[0];
        let cpu = trial.cpu.unwrap();
        (cpu.user_ns + cpu.sys_ns) as f64 / trial.elapsed_ns as f64
    };
    let (spinning, pausing) = (busy("--wait spin -d 100ms"), busy("--wait park --pace 10ms -n 20"));
    assert!(spinning > pausing, "{spinning} {pausing}");
}

/// That no source file sleeps in the place of a handshake is held by `cargo xtask tidy`.
#[test]
fn trap_15_a_handshake_waits_for_the_other_side_however_long_that_takes() {
    let place = Place::new();
    let line = measuring("-t uds -s 64 --mode rtt --trials 1 -n 100 --events=seen.jsonl --json=-");
    let child = place.command(&line).spawn().unwrap();
    let server = place.worker("server", "uds/rtt/64");
    kill(server, Signal::STOP);
    // The client is there and waits to be told where to go: a sleep would be over, and nobody would listen.
    let client = place.worker("client", "uds/rtt/64");
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    wait_for("a client that waits", || (state(client) == Some('S')).then_some(()));
    let told = std::fs::read_to_string(place.path().join("seen.jsonl")).unwrap();
    assert!(!told.contains("trial_done"), "{told}");
    kill(server, Signal::CONT);
    let run = run_of(&place.finish(child));
    assert_eq!(run.cells[0].trials[0].messages, 100);
}
