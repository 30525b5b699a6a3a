//! What the program says and how it ends when something is wrong.

mod common;

use std::time::Instant;

use common::{
    Place, assert_cleaned_up_at_once, assert_refused, document, kill, measuring, stderr, stdout, valid_run,
    within_a_second,
};
use ipc_transports::{Mq, MqOptions, Transport};
use rustix::process::Signal;

#[test]
fn an_unknown_transport_is_answered_with_the_list_and_the_nearest_name() {
    let place = Place::new();
    assert_refused(&place.measure("-t udz"), 2, ["unknown transport \"udz\"", "uds, ", "did you mean uds?"]);
    assert_refused(&place.measure("-t bluetooth"), 2, ["unknown transport", "uds, ", "choose one of them"]);
    assert_refused(&place.measure("-t uds,-uds"), 2, ["leaves no transport", "taken out", "-t all,-tcp"]);
}

#[test]
fn sizes_that_are_none_are_refused_with_what_would_be_one() {
    let place = Place::new();
    for size in ["0", "15", "-1", "64Q", "", "64..8"] {
        let output = place.finish({
            let mut command = place.command(&measuring("-t uds"));
            command.arg(format!("--size={size}")).spawn().unwrap()
        });
        assert_refused(&output, 2, [&format!("--size {size}: not understood"), "", "command line"]);
    }
}

#[test]
fn a_message_over_the_maximum_is_refused_before_anything_is_measured() {
    let place = Place::new();
    let output = place.measure("-t uds -s 17M");
    assert_refused(
        &output,
        2,
        ["uds cannot carry 17825792-byte messages here", "at most 16777216", "16777216"],
    );
}

#[test]
fn every_transport_refuses_messages_over_the_most_it_can_be_made_to_carry() {
    let place = Place::new();
    for (line, max) in [
        ("-t pipe -s 17M", "16777216"),
        ("-t tcp -s 17M", "16777216"),
        ("-t shm -s 512M", "536870904"),
        ("-t shm-direct -s 2G", "1073741824"),
        ("-t shm -s 64K -L shm.capacity=64K", "32760"),
        ("-t uds -s 64K -L uds.max_message=1K", "1024"),
    ] {
        assert_refused(&place.measure(line), 2, ["cannot carry", &format!("at most {max}"), max]);
    }
    let output = place.measure("-t shm -s 64 -L shm.capacity=5000");
    assert_refused(&output, 2, ["shm cannot be used", "a power of two from 4096", "-L"]);
}

#[test]
fn a_transport_that_is_missing_here_is_skipped_with_its_reason() {
    let place = Place::new();
    let run =
        |line: &str| place.finish(place.command(line).env("IPC_DENY_FEATURES", "mq,seals").spawn().unwrap());
    let output = run(&measuring("-t uds,mq,shm,shm-direct -s 64 --mode rtt --trials 1 -n 10 --json=-"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    for cell in document["cells"].as_array().unwrap() {
        let reason = cell["reason"].as_str().unwrap_or_default();
        match cell["transport"].as_str().unwrap() {
            "uds" => assert_eq!(cell["status"], "ok"),
            name => {
                assert_eq!(cell["status"], "skipped", "{name}");
                assert!(reason.starts_with(&format!("{name} is not available here")), "{reason}");
            }
        }
    }
    assert_refused(
        &run(&measuring("-t mq -s 64")),
        2,
        ["mq is not available", "the feature mq", "unset IPC_DENY_FEATURES, which is mq,seals"],
    );
    let output = run("list transports");
    assert!(stdout(&output).contains("not available here"), "{}", stdout(&output));
}

#[test]
fn a_size_that_fits_is_measured_beside_one_that_is_skipped_with_its_reason() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64,17M --mode rtt --trials 1 -n 10 --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    assert_eq!(document["cells"][0]["status"], "ok");
    assert_eq!(document["cells"][1]["status"], "skipped");
    assert!(document["cells"][1]["reason"].as_str().unwrap().contains("16777216"));
}

#[test]
fn queues_that_are_too_small_are_named_with_the_limit_and_its_fix() {
    let place = Place::new();
    let limit: usize =
        std::fs::read_to_string("/proc/sys/fs/mqueue/msgsize_max").unwrap().trim().parse().unwrap();
    if limit >= 65536 {
        eprintln!("skipped: fs.mqueue.msgsize_max is {limit}, so 64K fits");
        return;
    }
    let why = format!("fs.mqueue.msgsize_max is {limit}");
    let what = "mq cannot carry 65536-byte messages here";
    assert_refused(&place.measure("-t mq -s 64K"), 2, [what, &why, "sysctl -w fs.mqueue.msgsize_max=65536"]);
    let output = place.measure("-t mq,uds -s 64K --mode rtt --trials 1 -n 10 --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    assert_eq!(document["cells"][0]["reason"], format!("{what}: {why}"));
    assert_eq!(document["cells"][1]["status"], "ok");
}

#[test]
fn a_queue_budget_used_up_by_someone_else_fails_mq_alone_and_names_the_limit() {
    let place = Place::new();
    let mut command = place.command(&measuring("-t mq,uds -s 64 --mode rtt --trials 1 -n 10 --json=-"));
    // This process is the someone else. What it holds is more than the whole budget that the program is given, of which
    // the program alone would need a fifth; the budget of other tests stays as it is.
    let held: Vec<_> = (0..2).map(|_| Mq::pair(&MqOptions::default()).unwrap()).collect();
    println!("held: two connections with {:?}", held[0].0.effective);
    command.arg("--no-progress");
    let limited = std::process::Command::new("prlimit")
        .arg("--msgqueue=100000")
        .arg(command.get_program())
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .current_dir(place.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(limited) = limited else {
        eprintln!("skipped: prlimit is not installed");
        return;
    };
    let output = place.finish(limited);
    assert_refused(&output, 1, ["mq/rtt/64: mq: no connection", "RLIMIT_MSGQUEUE", "ulimit -q"]);
    let document = document(&output);
    assert_eq!(document["cells"][0]["status"], "failed");
    assert_eq!(document["cells"][1]["status"], "ok");
    drop(held);
}

#[test]
fn whatever_is_denied_or_absent_every_transport_works_or_is_refused_by_name() {
    let line = measuring("-t all -s 64 --mode rtt --trials 1 -n 10 --json=-");
    let check = |what: &str, place: &Place, child: std::process::Child, may_be_skipped: bool| {
        let output = place.finish(child);
        assert_eq!(output.status.code(), Some(0), "{what}: {}", stderr(&output));
        for cell in document(&output)["cells"].as_array().unwrap() {
            let (name, reason) =
                (cell["transport"].as_str().unwrap(), cell["reason"].as_str().unwrap_or_default());
            let named = reason.starts_with(&format!("{name} is not available here")) && reason.contains(what);
            let fine = cell["status"] == "ok" || may_be_skipped && cell["status"] == "skipped" && named;
            assert!(fine, "{what}: {cell}");
        }
    };
    for (feature, ..) in ipc_transports::feature_list() {
        let place = Place::new();
        let child = place.command(&line).env("IPC_DENY_FEATURES", feature).spawn().unwrap();
        check(feature, &place, child, true);
    }
    for runtime in [None, Some("absent")] {
        let place = Place::new();
        let mut command = place.command(&line);
        command.env("TMPDIR", place.path());
        match runtime {
            Some(absent) => command.env("XDG_RUNTIME_DIR", place.path().join(absent)),
            None => command.env_remove("XDG_RUNTIME_DIR"),
        };
        check("XDG_RUNTIME_DIR", &place, command.spawn().unwrap(), false);
    }
    let place = Place::new();
    let command = place.command(&line);
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let cpu = (0..1024).find(|cpu| allowed.is_set(*cpu)).unwrap();
    let mut alone = std::process::Command::new("taskset");
    alone.args(["-c", &cpu.to_string()]).arg(command.get_program()).args(command.get_args());
    alone.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?)))).current_dir(place.path());
    alone.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    match alone.spawn() {
        Ok(child) => check("one CPU", &place, child, false),
        Err(error) => eprintln!("one CPU skipped: taskset: {error}"),
    }
}

#[test]
fn a_refused_run_leaves_no_directory_of_results() {
    let place = Place::new();
    for line in ["-t uds --mode rtt --json=absent/x", "-t uds --mode rtt --stream-csv=absent/x"] {
        assert_eq!(place.measure(line).status.code(), Some(2), "{line}");
        assert!(!place.path().join("results").exists(), "{line}");
    }
}

#[test]
fn a_cpu_that_does_not_exist_is_refused_with_those_that_do() {
    let place = Place::new();
    let output = place.measure("-t uds --pin 0:4095");
    assert_refused(&output, 2, ["cpu 4095 cannot be used", "may use cpu", "--pin auto"]);
    assert_refused(
        &place.measure("-t uds --pin 7"),
        2,
        ["--pin 7: not understood", "CLIENT:SERVER", "command line"],
    );
}

#[test]
fn what_could_not_mean_anything_is_refused_before_anything_starts() {
    let place = Place::new();
    for (line, told) in [
        ("plan -t uds -d 0s", ["--duration 0s: not understood", "no time at all", "command line"]),
        (
            "plan -t uds --mode fan-in --peers 3 --hot 3",
            ["--hot 3 leaves no peer silent", "3 at most", "--peers"],
        ),
        ("server uds:nobody --pin 4095", ["cpu 4095 cannot be used", "may use cpu", "leave --pin out"]),
        ("doctor --peer 4194305", ["there is no such process", "namespaces", "pgrep"]),
        (
            "ab --vary uds.wait=park,spin --md no/x.md --allow-debug",
            ["no/x.md cannot", "No such", "--md FILE"],
        ),
        ("run -d 1s -n 5", ["cannot both be given", "decides", "leave one"]),
        ("rnu", ["unknown command", "there are: run, ", "did you mean run?"]),
        (
            "verify absent.toml --allow-debug",
            ["absent.toml cannot be read", "No such file", "targets/seeds.toml"],
        ),
    ] {
        assert_refused(&place.run(line), 2, told);
    }
    if !cfg!(feature = "codecs") {
        let told = ["preset codec is not in this program", "without codecs", "--features codecs"];
        assert_refused(&place.run("plan -p codec"), 2, told);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let place = Place::new();
    std::fs::write(place.path().join("file"), "").unwrap();
    assert_refused(
        &place.measure("-t uds --out file/x"),
        2,
        ["file/x cannot be written to", "irectory", "--out DIR"],
    );
    let output = place.measure("-t uds --json=no/such/place.json");
    assert_refused(&output, 2, ["no/such/place.json cannot be written", "No such file", "--json=-"]);
    assert_refused(&place.measure("-t uds --json=."), 2, [". cannot be written", "directory", "--json=FILE"]);
}

#[test]
fn a_debug_build_refuses_to_measure() {
    let place = Place::new();
    if cfg!(debug_assertions) {
        let output = place.run("run -t uds");
        assert_refused(&output, 5, ["this is a debug build", "measures itself", "--allow-debug"]);
    }
}

#[test]
fn a_failure_leaves_one_document_on_stdout_when_it_was_asked_for() {
    let place = Place::new();
    for (line, code, words) in [
        ("-t udz --json=-", 2, "unknown transport"),
        ("-t uds --pin 0:4095 --json", 2, "cpu 4095"),
        ("--no-such-flag --json=-", 2, "--no-such-flag"),
    ] {
        let output = place.measure(line);
        assert_eq!(output.status.code(), Some(code), "{line}");
        let document = valid_run(&output);
        assert_eq!(document["status"], "failed");
        assert!(document["error"]["message"].as_str().unwrap().contains(words), "{document}");
    }
}

#[test]
fn a_killed_server_fails_its_cell_and_the_others_go_on() {
    let place = Place::new();
    let line = measuring("-t uds -s 64,128 --mode rtt --trials 1 -d 2s --keep-awake no --json=-");
    let child = place.command(&line).spawn().unwrap();
    kill(place.worker("server", "uds/rtt/64"), Signal::KILL);
    let output = place.finish(child);
    assert_refused_with_reason(&output);
    let document = valid_run(&output);
    assert_eq!(document["status"], "failed");
    assert_eq!(document["error"]["cell"], "uds/rtt/64");
    assert_eq!(document["cells"][0]["status"], "failed");
    assert!(document["cells"][0]["trials"][0]["error"].as_str().unwrap().contains("signal 9"));
    assert_cleaned_up_at_once(&document["cells"][0]);
    assert_eq!(document["cells"][1]["status"], "ok");
}

fn assert_refused_with_reason(output: &std::process::Output) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("the server of uds/rtt/64 died (signal 9"), "{text}");
    assert!(text.contains("1 of 2 cells saved in"), "{text}");
}

#[test]
fn a_killed_client_is_named_as_the_one_that_died() {
    let place = Place::new();
    let line = measuring("-t uds -s 64 --mode stream --trials 1 -d 2s --keep-awake no --json=-");
    let child = place.command(&line).spawn().unwrap();
    kill(place.worker("client", "uds/stream/64"), Signal::KILL);
    let output = place.finish(child);
    assert_eq!(output.status.code(), Some(1));
    assert_cleaned_up_at_once(&document(&output)["cells"][0]);
    assert!(stderr(&output).contains("the client of uds/stream/64 died (signal 9"), "{}", stderr(&output));
}

/// `IPC_ORPHAN_ROUNDS` asks for more rounds, and shows how long workers outlive their runner.
#[test]
fn a_killed_runner_takes_its_workers_and_names_with_it() {
    const TRANSPORTS: [&str; 7] = ["uds", "shm", "pipe", "shm-direct", "tcp", "uds-seqpacket", "mq"];
    let rounds: usize =
        std::env::var("IPC_ORPHAN_ROUNDS").map_or(TRANSPORTS.len(), |rounds| rounds.parse().unwrap());
    let mut took = Vec::new();
    for round in 0..rounds {
        let transport = TRANSPORTS[round % TRANSPORTS.len()];
        within_a_second(&format!("until the workers of {transport} were gone"), || {
            let place = Place::new();
            // What keeps CPUs awake and measures nothing is in a_killed_runner_leaves_no_background_process.
            let line = format!("-t {transport} -s 64 --mode rtt --trials 1 -d 1h --keep-awake no");
            let line = measuring(&line);
            let mut child = place.command(&line).spawn().unwrap();
            place.worker("client", &format!("{transport}/rtt/64"));
            let began = Instant::now();
            kill(child.id(), Signal::KILL);
            child.wait().unwrap();
            place.wait_for_no_workers();
            let one = began.elapsed();
            place.assert_nothing_is_left();
            took.push(began.elapsed());
            one
        });
    }
    took.sort_unstable();
    let killed = took.len();
    println!(
        "{killed} runners killed; all gone after {:?} (median), {:?} (most)",
        took[killed / 2],
        took[killed - 1]
    );
}

#[test]
fn an_interrupt_keeps_what_was_measured() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let place = Place::new();
        let line = measuring("-t uds -s 64,128 --mode rtt --trials 1000 -n 100 --json=-");
        let child = place.command(&line).spawn().unwrap();
        // The trial of the second cell: the one of the first is done.
        place.worker("client", "uds/rtt/128");
        kill(child.id(), signal);
        let output = place.finish(child);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let document = valid_run(&output);
        assert_eq!(document["status"], "partial");
        let cell = &document["cells"][0];
        assert_eq!(cell["trials"][0]["messages"], 100);
        assert!(cell["summary"]["p50_ns"]["value"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn nothing_is_said_on_stdout_by_a_failure() {
    let place = Place::new();
    assert_eq!(stdout(&place.measure("-t udz")), "");
}
