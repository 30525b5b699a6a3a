//! Commands around a run and conditions of its processes, percentiles of one's own choice.

mod common;

use common::{Place, assert_refused, document, kill, measuring, stderr, stdout, wait_for};
use rustix::process::Signal;

/// A short run with a hook, which may have spaces.
fn command(place: &Place, line: &str, hooks: &[(&str, &str)]) -> std::process::Command {
    let mut command = place.command(&measuring(line));
    for (flag, text) in hooks {
        command.arg(flag).arg(text);
    }
    command
}

const LINE: &str = "-t uds -s 64,128 --mode rtt --trials 2 -n 20 --no-html --json=-";

#[test]
fn commands_run_before_the_run_before_each_trial_and_after_it() {
    let place = Place::new();
    let hooks = [
        ("--setup", "echo setup >> seen; echo not on stdout"),
        ("--prepare", "echo $IPC_BENCH_CELL $IPC_BENCH_TRIAL >> seen"),
        ("--cleanup", "echo cleanup >> seen"),
    ];
    let output = place.finish(command(&place, LINE, &hooks).spawn().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(document(&output)["status"], "complete");
    assert!(stderr(&output).contains("not on stdout"));
    let seen = std::fs::read_to_string(place.path().join("seen")).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    let trials = ["uds/rtt/64 0", "uds/rtt/128 0", "uds/rtt/64 1", "uds/rtt/128 1"];
    assert_eq!(lines, [&["setup"][..], &trials, &["cleanup"]].concat());
    // A file of results runs nothing by itself.
    let again = place.run("run --allow-debug --manifest results/latest/run.json");
    assert_refused(&again, 2, ["would run a command", "may be anybody's", "--setup"]);
    let saved = std::fs::read_to_string(place.path().join("seen")).unwrap();
    assert_eq!(saved, seen);
}

#[test]
fn a_prepare_that_fails_fails_its_cell_and_the_others_go_on() {
    let place = Place::new();
    let hooks = [("--prepare", "test $IPC_BENCH_CELL != uds/rtt/64"), ("--cleanup", "touch cleaned")];
    let output = place.finish(command(&place, LINE, &hooks).spawn().unwrap());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: uds/rtt/64: --prepare failed (exit status: 1)"), "{text}");
    assert!(text.contains("   why: it was: test $IPC_BENCH_CELL"), "{text}");
    let document = document(&output);
    assert_eq!(
        (&document["cells"][0]["status"], &document["cells"][1]["status"]),
        (&"failed".into(), &"ok".into())
    );
    assert!(place.path().join("cleaned").exists());
}

#[test]
fn a_setup_that_fails_ends_the_run_and_a_cleanup_that_fails_does_not_pass_unseen() {
    let place = Place::new();
    let hooks = [("--setup", "exit 7"), ("--prepare", "touch prepared"), ("--cleanup", "touch cleaned")];
    let output = place.finish(command(&place, LINE, &hooks).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(document(&output)["error"]["message"], "the run: --setup failed (exit status: 7)");
    assert!(place.path().join("cleaned").exists() && !place.path().join("prepared").exists());
    let output = place.finish(command(&place, LINE, &[("--cleanup", "exit 7")]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let document = document(&output);
    assert_eq!(document["error"]["message"], "the run: --cleanup failed (exit status: 7)");
    assert_eq!(document["cells"][1]["trials"].as_array().unwrap().len(), 2);
}

#[test]
fn an_interrupt_ends_a_command_with_all_it_started_and_cleans_up() {
    let place = Place::new();
    let hooks = [("--prepare", "sleep 1000 & touch begun; wait"), ("--cleanup", "touch cleaned")];
    let child = command(&place, LINE, &hooks).spawn().unwrap();
    wait_for("the command to begin", || place.path().join("begun").exists().then_some(()));
    kill(child.id(), Signal::INT);
    // No process of this place may be left: the sleep is one.
    let output = place.finish(child);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(document(&output)["status"], "partial");
    assert!(place.path().join("cleaned").exists());
}

#[test]
fn percentiles_of_ones_own_choice_are_in_the_file_and_in_the_report() {
    let place = Place::new();
    let line = "-t uds -s 64 --mode rtt --trials 2 -n 3000 --percentiles 75,99.5,99.99 -o here";
    let output = place.measure(line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("Percentiles asked for") && text.contains("p75") && text.contains("p99.5"),
        "{text}"
    );
    let run = ipc_results::file::read_run(&place.path().join("here/run.json")).unwrap();
    let latency = &run.cells[0].summary.as_ref().unwrap().latency;
    let told = &latency.percentiles_ns;
    let [p50, p75, p99_5] = [latency.p50_ns, told["75"], told["99.5"]].map(|told| told.unwrap().value);
    assert!(p50 <= p75 && p75 <= p99_5, "{p50} {p75} {p99_5}");
    // 3,000 messages do not support it, and it is not invented.
    assert_eq!(told["99.99"], None);
    let markdown = std::fs::read_to_string(place.path().join("here/summary.md")).unwrap();
    assert!(markdown.contains("| cell | p75 | p99.5 | p99.99 |"), "{markdown}");
    assert_refused(
        &place.measure("-t uds --percentiles 50,101"),
        2,
        ["--percentiles 50,101: not understood", "above 0 and below 100", "command line"],
    );
}

#[test]
fn priority_and_locked_memory_are_read_back_and_a_refusal_is_told() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64 --mode rtt --trials 1 -n 20 --sched fifo:3 --mlock --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let effective = &document["cells"][0]["effective"];
    let (priority, locked) =
        (effective["sched_fifo"].as_u64().unwrap(), effective["locked_bytes"].as_u64().unwrap());
    assert!(priority == 3 || priority == 0, "{priority}");
    let warned =
        document["warnings"].as_array().unwrap().iter().filter(|warning| warning["code"] == "W11").count();
    assert_eq!(warned, usize::from(priority == 0) + usize::from(locked == 0), "{effective}");
    let without = place.measure("-t uds -s 64 --mode rtt --trials 1 -n 20 --json=-");
    assert!(common::document(&without)["cells"][0]["effective"].get("sched_fifo").is_none());
    for value in ["fifo:0", "fifo:100", "rr:3"] {
        assert_refused(
            &place.measure(&format!("-t uds --sched {value}")),
            2,
            [&format!("--sched {value}: not understood"), "fifo:N with N from 1 to 99", "command line"],
        );
    }
}

#[test]
fn a_run_can_end_with_the_first_cell_that_fails() {
    let place = Place::new();
    let hooks = [("--prepare", "test $IPC_BENCH_CELL != uds/rtt/64")];
    let line = format!("{LINE} --fail-fast --order grouped");
    let output = place.finish(command(&place, &line, &hooks).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let document = document(&output);
    assert_eq!(document["cells"][0]["status"], "failed");
    assert_eq!(document["cells"][1]["trials"], serde_json::json!([]), "the second cell was never begun");
}

#[test]
fn a_required_transport_that_is_not_supported_here_is_exit_code_6() {
    let place = Place::new();
    let run = |flags: &str| {
        let line = measuring(&format!("-t uds,mq -s 64 --mode rtt --trials 1 -n 10 --quiet {flags}"));
        place.finish(place.command(&line).env("IPC_DENY_FEATURES", "mq").spawn().unwrap())
    };
    assert_eq!(run("").status.code(), Some(0));
    assert_eq!(run("--require uds").status.code(), Some(0));
    for flags in ["--require mq", "--require uds,mq", "--require all"] {
        assert_refused(&run(flags), 6, ["mq is required, and mq is not available", "", ""]);
    }
    assert_refused(&run("--require shm"), 2, ["it is not measured", "of -t", "add shm to -t"]);
}
