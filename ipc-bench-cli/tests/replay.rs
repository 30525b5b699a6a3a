//! Watching a run and doing it again.

mod common;

use common::{Place, assert_refused, document, stderr, stdout};
use serde_json::Value;

#[test]
fn events_are_json_lines_between_trials() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64 --mode rtt --trials 2 -n 50 --quiet --events=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(names.first(), Some(&"plan"));
    assert_eq!(names.last(), Some(&"summary"));
    let trials: Vec<&Value> = lines.iter().filter(|line| line["event"] == "trial_done").collect();
    assert_eq!(trials.len(), 2);
    assert!(trials.iter().all(|trial| trial["cell"] == "uds/rtt/64" && trial["messages"] == 50));
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/events.v1.schema.json");
    let schema = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    compiler.add_resource("events.json", schema).unwrap();
    let schema = compiler.compile("events.json", &mut schemas).unwrap();
    for line in &lines {
        schemas.validate(line, schema).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let mut other = lines[0].clone();
    other["trials"] = "many".into();
    assert!(schemas.validate(&other, schema).is_err());
    assert!(names.contains(&"warning"), "a debug build has one: {names:?}");
    let to_file =
        place.measure("-t uds -s 64 --mode rtt --trials 1 -n 50 --quiet --events=here.jsonl --json=-");
    assert_eq!(document(&to_file)["status"], "complete");
    let text = std::fs::read_to_string(place.path().join("here.jsonl")).unwrap();
    assert!(text.lines().count() >= 3 && text.ends_with('\n'), "{text}");
    assert_refused(&place.measure("-t uds --events --json"), 2, ["stdout", "the other", "--events=FILE"]);
    assert_refused(&place.measure("-t uds --events=no/where"), 2, ["no/where", "", "--events=FILE"]);
}

#[test]
fn a_run_is_replayed_from_its_file() {
    let place = Place::new();
    let line = "-t uds -s 96 --mode rtt --trials 2 -n 50 --quiet -L uds.sndbuf=64K --seed 12 -o first";
    assert_eq!(place.measure(line).status.code(), Some(0));
    let again = place.run("run --allow-debug --quiet --manifest first/run.json --json=-");
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let again = document(&again);
    let first: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path().join("first/run.json")).unwrap()).unwrap();
    for key in ["seed", "preset", "config_toml", "order"] {
        assert_eq!(again["manifest"][key], first["manifest"][key], "{key}");
    }
    assert_eq!(again["cells"][0]["id"], "uds/rtt/96/uds.sndbuf=64K");
    let plan = place.run("plan --manifest first/run.json --trials 3");
    assert!(
        stdout(&plan).contains("first/run.json") && stdout(&plan).contains("command line"),
        "{}",
        stdout(&plan)
    );
    assert_refused(&place.run("plan --manifest nowhere.json"), 2, ["nowhere.json", "No such file", ""]);
}

#[test]
fn a_cell_has_the_command_that_measures_it_alone() {
    let place = Place::new();
    let line = "-t uds,tcp --wait park,spin -L uds.sndbuf=64K,1M --trials 2 -n 50 --warmup 1ms --seed 7";
    let cell = "uds/rtt/4096/uds.sndbuf=1M/wait=spin";
    let output = place.run(&format!("run {line} --repro {cell}"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let command = stdout(&output).trim().to_owned();
    let (program, rest) = command.split_once(' ').unwrap();
    assert_eq!(program, "ipc-bench");
    let alone = document(&place.run(&format!("{rest} --allow-debug --quiet --json=-")));
    assert_eq!(alone["cells"].as_array().unwrap().len(), 1, "{command}");
    assert_eq!(alone["cells"][0]["id"], cell);
    assert_eq!(alone["cells"][0]["trials"].as_array().unwrap().len(), 2);
    assert_eq!(alone["manifest"]["seed"], 7);
    let near = place.run(&format!("run {line} --repro uds/rtt/4095/uds.sndbuf=1M/wait=spin"));
    assert_refused(&near, 2, ["no such cell", "it has ", "did you mean"]);
}
