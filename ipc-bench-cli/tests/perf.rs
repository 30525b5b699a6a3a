//! What the kernel and the processor count, held against what else is known of the same part.
#![allow(clippy::unwrap_used, reason = "helpers of tests: clippy knows only the tests themselves")]

mod common;

use std::process::{Command, Output, Stdio};

use common::{Place, allowed, assert_refused, measuring, stderr, stdout, valid_run};
use serde_json::Value;

const MESSAGES: u64 = 400;

fn line(transports: &str) -> String {
    // On one CPU no message is there before its receiver has slept.
    let cpu = allowed()[0];
    measuring(&format!(
        "-t {transports} -s 64 --mode rtt --pin {cpu}:{cpu} --trials 1 -n {MESSAGES} --perf --out here"
    ))
}

/// The program, started by another one that takes its words as its last arguments.
fn through(place: &Place, words: &[&str], line: &str) -> Option<Output> {
    let program = place.command(line);
    let (starter, arguments) = words.split_first().unwrap();
    let mut command = Command::new(starter);
    command.args(arguments).arg(program.get_program()).args(program.get_args()).current_dir(place.path());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    Some(place.finish(child))
}

/// In a mount namespace of its own, in which something else is mounted where the kernel has its tracepoints.
fn with_mounted(place: &Place, kind: &str, line: &str) -> Option<Output> {
    let mount = format!("mount -t {kind} nodev /sys/kernel/tracing || exit 77; exec \"$@\"");
    let output = through(place, &["unshare", "-m", "--", "sh", "-c", &mount, "sh"], line);
    let done =
        output.filter(|output| output.status.code() != Some(77) && !stderr(output).contains("unshare:"));
    if done.is_none() {
        eprintln!(
            "skipped: {kind} cannot be mounted here (unshare -m mount -t {kind} nodev /sys/kernel/tracing)"
        );
    }
    done
}

/// The cells of the run that was saved.
fn cells(place: &Place, output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let text = std::fs::read_to_string(place.path().join("here/run.json")).unwrap();
    let run = valid_run(&Output { stdout: text.into_bytes(), ..output.clone() });
    run["cells"].as_array().unwrap().clone()
}

/// How often it was counted; `None`, and a line, when this process may not.
fn counted(cell: &Value, name: &str) -> Option<u64> {
    let count = cell["trials"][0]["counters"][name].as_u64();
    // Either a number or a reason, never both and never neither.
    let reason = cell["uncounted"][name].as_str();
    assert_eq!(count.is_some(), reason.is_none(), "{name}: {cell}");
    if let Some(reason) = reason {
        eprintln!("skipped: {name}: {reason}");
    }
    count
}

#[test]
fn what_the_kernel_counts_is_what_the_usage_says_of_the_same_part() {
    let place = Place::new();
    let output = place.run(&line("uds,pipe,tcp"));
    for cell in cells(&place, &output) {
        let of = |name: &str| cell["trials"][0]["cpu"][name].as_u64().unwrap();
        if let Some(switches) = counted(&cell, "context_switches") {
            let usage = of("vcsw") + of("ivcsw");
            assert!(
                switches + 20 >= 2 * MESSAGES && switches.abs_diff(usage) <= 40,
                "{switches} and {usage}: {cell}"
            );
            let per_message =
                cell["summary"]["counters_per_msg"]["context_switches"]["value"].as_f64().unwrap();
            assert!((per_message - switches as f64 / MESSAGES as f64).abs() < 0.001, "{cell}");
        }
        if let Some(faults) = counted(&cell, "page_faults") {
            let usage = of("minflt") + of("majflt");
            assert!(faults.abs_diff(usage) <= 64, "{faults} and {usage}: {cell}");
        }
        if let Some(ns) = counted(&cell, "task_clock_ns") {
            let usage = of("user_ns") + of("sys_ns");
            assert!(ns > 0 && ns < 4 * usage.max(ns / 4), "{ns} and {usage}: {cell}");
        }
        for name in ["instructions", "cycles", "cache_misses", "branch_misses", "cpu_migrations", "syscalls"]
        {
            counted(&cell, name);
        }
    }
    let without = place.run(&line("uds").replace(" --perf", ""));
    let cell = &cells(&place, &without)[0];
    assert!(cell.get("uncounted").is_none() && cell["trials"][0].get("counters").is_none(), "{cell}");
    assert!(!stdout(&without).contains("Counted per message"));
}

#[test]
fn a_round_trip_takes_the_system_calls_that_it_is_known_to_take() {
    let place = Place::new();
    // Each side sends and receives.
    for (transport, calls) in [("uds", 4), ("pipe", 4), ("tcp", 4)] {
        let Some(output) = with_mounted(&place, "tracefs", &line(transport)) else { return };
        let cell = &cells(&place, &output)[0];
        let Some(counted) = counted(cell, "syscalls") else { return };
        // What ends the counting is a call, and so is a word to the runner.
        assert!((calls * MESSAGES..=calls * MESSAGES + 40).contains(&counted), "{transport}: {counted}");
        assert!(stdout(&output).contains("Counted per message"), "{}", stdout(&output));
    }
}

#[test]
fn a_counter_that_cannot_be_had_is_no_number_and_the_reason_is_told() {
    let place = Place::new();
    let Some(output) = with_mounted(&place, "tmpfs", &line("uds")) else { return };
    let cell = &cells(&place, &output)[0];
    assert!(counted(cell, "syscalls").is_none());
    let reason = cell["uncounted"]["syscalls"].as_str().unwrap();
    assert!(reason.contains("sudo mount -t tracefs nodev /sys/kernel/tracing"), "{reason}");
    assert!(cell["summary"]["counters_per_msg"].get("syscalls").is_none());
    assert!(stdout(&output).contains("– syscalls: no tracepoints"), "{}", stdout(&output));
    for file in ["report.html", "summary.md"] {
        let text = std::fs::read_to_string(place.path().join("here").join(file)).unwrap();
        assert!(text.contains("– syscalls: no tracepoints") && text.contains("task clock"), "{file}");
    }
}

#[test]
fn without_the_permission_nothing_is_counted_and_the_fix_is_told() {
    let place = Place::new();
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let Some(level) = paranoid.trim().parse::<i64>().ok().filter(|level| *level > 1) else {
        eprintln!("skipped: perf_event_paranoid is {}: everybody may count", paranoid.trim());
        return;
    };
    let words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"];
    let output = if rustix::process::geteuid().is_root() {
        let Some(output) = through(&place, &words, &line("uds")) else {
            eprintln!("skipped: no setpriv (apt-get install util-linux)");
            return;
        };
        output
    } else {
        place.run(&line("uds"))
    };
    let cell = &cells(&place, &output)[0];
    for name in ["context_switches", "page_faults", "task_clock_ns"] {
        assert!(counted(cell, name).is_none(), "{cell}");
        let reason = cell["uncounted"][name].as_str().unwrap();
        assert!(reason.contains(&format!("perf_event_paranoid is {level} and 1 is needed")), "{reason}");
    }
    assert!(stdout(&output).contains("W13 --perf counted nothing"), "{}", stdout(&output));
    assert!(stdout(&output).contains("sudo sysctl"), "{}", stdout(&output));
}

#[test]
fn what_has_no_measured_part_on_both_sides_is_not_counted_by_halves() {
    let place = Place::new();
    let line = "-t uds -s 64 --mode rtt --clients 2 --pin none --trials 1 -n 20 --perf --out here";
    let cell = &cells(&place, &place.measure(line))[0];
    let reason = cell["uncounted"]["page_faults"].as_str().unwrap();
    assert!(reason.contains("several clients") || reason.contains("not permitted"), "{reason}");
    // Two pairs are four processes that are counted.
    let pairs = &cells(&place, &place.measure(&line.replace("--clients", "--pairs")))[0];
    if let Some(switches) = counted(pairs, "context_switches") {
        assert!(switches > MESSAGES / 20, "{switches}");
    }
    assert_refused(
        &place.measure("-t uds --perf=perhaps"),
        2,
        ["--perf perhaps: not understood", "yes or no", "command line"],
    );
}
