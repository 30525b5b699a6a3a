//! `ab` and `gate`: a real regression is seen and is exit code 3, in stored runs and between alternating trials.

mod common;

use common::{Place, assert_refused, document, stderr, stdout};
use serde_json::Value;

/// Long enough that a delay of as much as a round trip takes stands out in every trial of a busy machine, where a round trip
/// may wait for the turns of others, a few milliseconds each.
const TRIALS: &str = "--allow-debug --warmup 1ms -t uds --mode rtt -s 64 -n 300 --trials 7 --quiet";

#[test]
fn a_delay_in_one_arm_is_a_regression_and_exit_code_3() {
    let place = Place::new();
    let line =
        format!("ab {TRIALS} --inject 25ms --gate --github --md cmp.md --html cmp.html --json=ab.json");
    let output = place.run(&line.replace("-n 300", "-n 20"));
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(3), "{}{text}", stderr(&output));
    assert!(text.contains("gate FAILED") && text.contains("REGRESSED"), "{text}");
    assert!(text.contains("::error title=ipc-bench: regressed::uds/rtt/64 p50"), "{text}");
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(read("cmp.md").contains("**regressed**"));
    assert!(read("cmp.html").contains("uds/rtt/64"));
    let run: Value = serde_json::from_str(&read("ab.json")).unwrap();
    let trials = |arm: &str| -> Vec<u64> {
        let id = format!("uds/rtt/64/arm={arm}");
        let cell = run["cells"].as_array().unwrap().iter().find(|cell| cell["id"] == *id).unwrap();
        cell["trials"].as_array().unwrap().iter().map(|trial| trial["order"].as_u64().unwrap()).collect()
    };
    // One run file holds both sides, whose trials alternate A B B A.
    let (a, b) = (trials("a"), trials("b"));
    let first: Vec<bool> = a.iter().zip(&b).map(|(a, b)| a < b).collect();
    assert_eq!(first, [true, false, true, false, true, false, true]);
    // The verdicts are rendered from that file again, without measuring.
    let again = place.run("compare ab.json");
    assert!(stdout(&again).contains("REGRESSED"), "{}", stdout(&again));
    assert_refused(
        &place.run("compare last~0 last --html x.html --md y.md --dir nowhere"),
        2,
        ["no run", "", "list"],
    );
}

#[test]
fn a_red_cell_is_measured_again_with_twice_the_trials_and_the_others_are_not() {
    let place = Place::new();
    // The second size may become as slow as it likes.
    let line = format!("ab {TRIALS} --inject 25ms --gate --confirm -o both --limit */rtt/128:p50=1000000%");
    let line =
        line.replace("--quiet", "--no-progress").replace("-n 300", "-n 20").replace("-s 64", "-s 64,128");
    let output = place.run(&line);
    let text = format!("{}{}", stderr(&output), stdout(&output));
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("confirm    1 of 1 red figures are red again"), "{text}");
    assert!(text.contains("gate FAILED"), "{text}");
    let again = std::fs::read_to_string(place.path().join("both/confirm.json")).unwrap();
    let again: Value = serde_json::from_str(&again).unwrap();
    let cells = again["cells"].as_array().unwrap();
    let ids: Vec<&str> = cells.iter().map(|cell| cell["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["uds/rtt/64/arm=a", "uds/rtt/64/arm=b"]);
    assert!(cells.iter().all(|cell| cell["trials"].as_array().unwrap().len() == 14), "{again}");
    // The file of the first look is as it was.
    let first = std::fs::read_to_string(place.path().join("both/run.json")).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["cells"].as_array().unwrap().len(), 4);
    assert_eq!(first["cells"][0]["trials"].as_array().unwrap().len(), 7);
    // What is not red is not measured again.
    let green = place
        .run(&format!("ab {TRIALS} --vary uds.sndbuf=64K,65K --limit p50=100000% --gate --confirm -o green"));
    assert_eq!(green.status.code(), Some(0), "{}{}", stderr(&green), stdout(&green));
    assert!(!place.path().join("green/confirm.json").exists());
}

#[test]
fn a_slowed_cell_of_a_stored_run_fails_the_gate() {
    let place = Place::new();
    // A cell slowed by this much as a run of its own, which is what an earlier and a later build would have left. Against
    // the delay of even the fast one, what a busy machine adds is little; and neither file says how fast the machine was,
    // since a yardstick that moved between the two would excuse the cell, which has tests of its own.
    let slowed = |delay: &str, name: &str| {
        let line = format!("ab {TRIALS} --inject {delay} --json={name}").replace("-n 300", "-n 20");
        let both = place.run(&line);
        assert_eq!(both.status.code(), Some(0), "{}", stderr(&both));
        let mut run: Value =
            serde_json::from_str(&std::fs::read_to_string(place.path().join(name)).unwrap()).unwrap();
        let cells = run["cells"].as_array_mut().unwrap();
        cells.retain(|cell| cell["id"] == "uds/rtt/64/arm=b");
        cells[0]["id"] = "uds/rtt/64".into();
        for trial in cells[0]["trials"].as_array_mut().unwrap() {
            assert!(trial.as_object_mut().unwrap().remove("limit").is_some());
        }
        std::fs::write(place.path().join(name), run.to_string()).unwrap();
    };
    slowed("5ms", "fast.json");
    slowed("50ms", "slow.json");

    let gate = place.run("gate slow.json --baseline fast.json --md gate.md --github");
    let said = stdout(&gate);
    assert_eq!(gate.status.code(), Some(3), "{said}{}", stderr(&gate));
    assert!(said.contains("gate FAILED") && said.contains("ipc-bench run -t uds"), "{said}");
    assert!(said.contains("::error title=ipc-bench: regressed::"), "{said}");
    assert!(std::fs::read_to_string(place.path().join("gate.md")).unwrap().contains("uds/rtt/64"));
    assert_eq!(place.run("gate fast.json --baseline fast.json").status.code(), Some(0));
    // Measured again, without the delay, nothing is so slow: the red was an accident. And what is not repeated is no baseline.
    let line = "gate slow.json --baseline fast.json --confirm --allow-debug --limit p50=100%,p99=100000%";
    let again = place.run(line);
    assert_eq!(again.status.code(), Some(0), "{}{}", stdout(&again), stderr(&again));
    assert!(stderr(&again).contains("confirm    0 of 1 red figures are red again"), "{}", stderr(&again));
    let kept = place.run("baseline save slow slow.json --validate --allow-debug --quiet");
    assert_refused(&kept, 1, ["slow.json is not kept: 1 figures differ", "uds/rtt/64 p50", "doctor"]);
    assert_eq!(stdout(&place.run("baseline list")), "");
    // The same from a file beside the sources: it names the baseline, and limits that forgive everything.
    let forgiving = "schema = 1\n[gate]\nbaseline = \"fast.json\"\nlimits = { p50 = \"10000000%\" }\n";
    std::fs::write(place.path().join("policy.toml"), forgiving).unwrap();
    let lenient = place.run("gate slow.json --policy policy.toml");
    assert_eq!(lenient.status.code(), Some(0), "{}{}", stdout(&lenient), stderr(&lenient));
    assert_refused(&place.run("gate slow.json"), 2, ["does not know", "under [gate]", "--baseline NAME"]);
    std::fs::write(place.path().join("ipc-bench.toml"), forgiving.replace("fast", "slow")).unwrap();
    assert_eq!(place.run("gate slow.json").status.code(), Some(0));
    std::fs::write(place.path().join("empty.toml"), "schema = 1\n").unwrap();
    let line = "gate slow.json --policy empty.toml";
    assert_refused(&place.run(line), 2, ["no [gate] in it", "stand in that table", "docs/ci.md"]);
}

#[test]
fn one_setting_is_varied_and_the_cells_are_twins() {
    let place = Place::new();
    let output = place
        .run(&format!("ab {TRIALS} --vary uds.sndbuf=64K,1M --trials 2 --json=-").replace("--trials 7", ""));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = document(&output);
    let ids: Vec<&str> =
        run["cells"].as_array().unwrap().iter().map(|cell| cell["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["uds/rtt/64/arm=a", "uds/rtt/64/arm=b"]);
    assert_eq!(run["tags"]["arm.a"], "uds.sndbuf=64K");
    let granted = |cell: usize| run["cells"][cell]["effective"]["sndbuf"].as_u64();
    assert_ne!(granted(0), granted(1));
    for (line, words) in [
        ("ab --vary pin=auto,none", ["not understood", "belongs to the whole run", "shm.wait"]),
        ("ab --vary io=sync", ["not understood", "not two", "shm.wait"]),
        ("ab --vary shm=1,2", ["not understood", "no setting", "shm.wait"]),
        ("ab", ["does not know", "neither", "--vary"]),
        ("ab --vary io=sync,async --repro uds/rtt/64", ["--repro has no place", "one run", "ipc-bench run"]),
        ("ab --vary io=sync,async --manifest x", ["--manifest has no place", "one run", "ipc-bench run"]),
        ("ab --vary io=sync,async --trials 2..4", ["fixed number", "alternate", "--trials N"]),
    ] {
        assert_refused(&place.run(&format!("{line} --allow-debug")), 2, words);
    }
}

#[test]
fn two_programs_are_measured_against_each_other_and_a_base_without_one_is_only_noted() {
    let place = Place::new();
    let own = env!("CARGO_BIN_EXE_ipc-bench");
    let output =
        place.run(&format!("ab {TRIALS} --a {own} --b {own} --trials 2 --json=-").replace("--trials 7", ""));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(document(&output)["tags"]["arm.b"], own);
    for base in ["/nowhere/ipc-bench", "/bin/false"] {
        let output =
            place.run(&format!("ab {TRIALS} --a {base} --b {own} --gate --github --md note.md --json=-"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("nothing to compare with"), "{}", stderr(&output));
        assert!(std::fs::read_to_string(place.path().join("note.md")).unwrap().contains(base));
        let line = format!("ab {TRIALS} --a {base} --b {own} --gate --fail-on missing");
        assert_eq!(place.run(&line).status.code(), Some(4));
        assert_refused(&place.run(&format!("ab {TRIALS} --a {own} --b {base}")), 2, ["--b", base, ""]);
    }
}

#[test]
fn more_and_shorter_trials_are_made_than_the_preset_says_unless_somebody_says_otherwise() {
    let place = Place::new();
    let plan = |line: &str| {
        let output = place.run(&format!("ab --vary uds.sndbuf=64K,1M --dry-run --json=- {line}"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let plan = document(&output);
        let setting = |name: &str| {
            let told = &plan["settings"][name];
            format!("{} from {}", told["value"].as_str().unwrap(), told["origin"].as_str().unwrap())
        };
        (setting("trials"), setting("duration"))
    };
    // 7 trials of 500 ms in the preset.
    let pairs = |value: &str| format!("{value} from ab: more and shorter trials");
    assert_eq!(plan(""), (pairs("21"), pairs("166ms")));
    assert_eq!(plan("-d 80ms"), (pairs("21"), "80ms from command line".into()));
    assert_eq!(plan("--trials 9").0, "9 from command line");
    assert_eq!(plan("--trials 9").1, "500ms from preset ci");
    assert_eq!(plan("-p soak").1, pairs("8571ms"));
    // A budget shortens them before there are too few to show anything.
    let cut = document(&place.run(
        "ab --vary uds.sndbuf=64K,1M --dry-run --json=- -s 64 --mode rtt --time-budget 6s --trials 50 -d 1s",
    ));
    assert_eq!(cut["trials_per_cell"], 7, "two figures of a pair of cells need seven pairs");
}

#[test]
fn a_share_of_what_a_message_takes_is_put_into_one_side() {
    let place = Place::new();
    // Enough pairs that a machine which is busy elsewhere may cut three of them in two.
    let line = format!("ab {TRIALS} --inject 300% --gate --json=-")
        .replace("-n 300 --trials 7", "-n 40 --trials 15");
    let output = place.run(&line);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let run = document(&output);
    assert_eq!(run["tags"]["arm.b"], "+ 300% per message");
    let p50 = |cell: usize| run["cells"][cell]["summary"]["p50_ns"]["value"].as_f64().unwrap();
    assert!(p50(1) > 1.5 * p50(0), "{} and {}", p50(0), p50(1));
    for wrong in ["0%", "x%", "-5%", "nan%", "1001%"] {
        let refused = place.run(&format!("ab {TRIALS} --inject={wrong}"));
        assert_refused(
            &refused,
            2,
            [&format!("--inject {wrong}"), "above 0 % and at most 1000 %", "--inject 10%"],
        );
    }
}
