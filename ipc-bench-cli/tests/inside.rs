//! Both sides of a trial in one process.

mod common;

use common::{Place, allowed, assert_refused, kill, measuring, stderr, stdout, valid_run, wait_for};

#[test]
fn two_threads_of_one_process_are_measured_by_the_same_loops_with_the_same_checks() {
    let place = Place::new();
    let line =
        "-t inproc,shm -s 64,4K --mode rtt,oneway,stream,load --rate 2k/s --io sync,async --trials 1 -n 50";
    let output = place.measure(&format!("{line} --json=-"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = valid_run(&output);
    let cells = run["cells"].as_array().unwrap();
    let ids = |transport: &str| -> Vec<String> {
        let of = cells.iter().filter(|cell| cell["transport"] == transport);
        of.map(|cell| cell["id"].as_str().unwrap().replacen(transport, "", 1)).collect()
    };
    assert_eq!(ids("inproc"), ids("shm"), "the same matrix");
    for cell in cells {
        let (inside, trial) = (cell["transport"] == "inproc", &cell["trials"][0]);
        assert_eq!((&cell["status"], &trial["messages"]), (&"ok".into(), &50.into()), "{cell}");
        assert_eq!(cell.get("one_process").is_some(), inside, "{cell}");
        assert!(trial["last_recv_ns"].as_u64() > trial["first_send_ns"].as_u64(), "{cell}");
        if allowed().len() > 1 {
            let cpus = cell["pin"].as_object().unwrap();
            assert!(
                cpus["client"].is_u64() && cpus["server"].is_u64() && cpus["client"] != cpus["server"],
                "{cell}"
            );
        }
        if cell["mode"] == "rtt" && cell["io"] == "sync" {
            let of_shm = cells.iter().find(|other| {
                other["transport"] == "shm"
                    && other["id"] == cell["id"].as_str().unwrap().replace("inproc", "shm")
            });
            assert_eq!(trial["limit"]["name"], of_shm.unwrap()["trials"][0]["limit"]["name"], "{cell}");
        }
    }
    let warning =
        run["warnings"].as_array().unwrap().iter().find(|warning| warning["code"] == "W14").unwrap();
    assert!(warning["message"].as_str().unwrap().contains("one process, two threads"));
    assert_eq!(warning["cells"].as_array().unwrap().len(), cells.len() / 2);
}

#[test]
fn what_both_threads_use_is_counted_and_a_loan_needs_no_copy() {
    let place = Place::new();
    let cpu = allowed()[0];
    let line =
        format!("-t inproc -s 64 --mode rtt,stream --wait park --access copy,loan --pin {cpu}:{cpu} --perf");
    let output = place.measure(&format!("{line} --trials 1 -n 400 --json=-"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = valid_run(&output);
    let cells = run["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    for cell in cells.iter().filter(|cell| cell["mode"] == "rtt") {
        // On one CPU a message is a change to the other side and one back, but for those at the ends. Whoever goes has
        // fallen asleep, or has just been sent away by the one it woke: the kernel's choice.
        let cpu = &cell["trials"][0]["cpu"];
        let changes = cpu["vcsw"].as_u64().unwrap() + cpu["ivcsw"].as_u64().unwrap();
        // Counted twice it would be 1600; others that want the CPU add a few.
        assert!((780..1500).contains(&changes), "{cell}");
        match cell["trials"][0]["counters"]["context_switches"].as_u64() {
            // Of the same threads between the same two moments of the client, so the same whatever else runs.
            Some(counted) => {
                let apart = counted.abs_diff(changes);
                assert!(
                    counted >= 780 && apart < 100.max(changes * 15 / 100),
                    "{counted}, {changes}: {cell}"
                );
            }
            None => assert!(cell["uncounted"]["context_switches"].is_string(), "{cell}"),
        }
    }
}

#[test]
fn a_trial_inside_is_one_process_and_its_death_fails_the_cell() {
    let place = Place::new();
    let line = measuring("-t inproc -s 64 --mode rtt --trials 1 -d 1h --no-progress --quiet");
    let runner = place.command(&line).spawn().unwrap();
    let worker = place.worker("client", "inproc/rtt/64");
    let threads = || std::fs::read_dir(format!("/proc/{worker}/task")).map_or(0, Iterator::count);
    // The two sides, and the one that notices the runner's death.
    wait_for("both sides", || (threads() == 3).then_some(()));
    assert!(!place.processes().iter().any(|(_, line)| line.iter().any(|word| word == "server")));
    kill(worker, rustix::process::Signal::KILL);
    let output = place.finish(runner);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("inproc/rtt/64 died (signal 9"), "{}", stderr(&output));
}

#[test]
fn what_needs_processes_of_their_own_is_refused_inside_one() {
    let place = Place::new();
    for (flags, what) in [
        ("--mode fan-in --peers 2", "fan-in"),
        ("--mode mesh --peers 2", "mesh"),
        ("--mode idle", "idle"),
        ("--mode leak", "leak"),
        ("--mode burst", "burst"),
        ("--mode rtt --pairs 2", "pairs"),
        ("--mode rtt --clients 2", "clients"),
    ] {
        let (what, why) = (format!("inproc has no {what}"), format!("{what} is about processes"));
        let output = place.measure(&format!("-t inproc -s 64 {flags}"));
        assert_refused(&output, 2, [&what, &why, "use --mode rtt,oneway,stream,load"]);
    }
    for command in ["server", "client"] {
        let words = ["inproc:x has no server and no client", "names are known there only", "shm:NAME"];
        assert_refused(&place.run(&format!("{command} inproc:x")), 2, words);
    }
    let all = place.run("plan -t all --pin none --list");
    assert!(!stdout(&all).contains("inproc"), "by name only: {}", stdout(&all));
}
