//! Claims held against measurements.

mod common;

use std::fs;
use std::path::Path;

use common::{Place, assert_refused, document, stderr, stdout};

const TARGETS: &str = r#"
schema = 1
measure = ["-t uds -s 64 --mode rtt --trials 2 -n 200 --no-html"]
[[target]]
claim = "a round trip within a minute"
cell = "uds/rtt/*"
metric = "p50_ns"
op = "<="
value = 6e10
source = "this test"
[[target]]
claim = "a pipe too"
cell = "pipe/rtt/64"
metric = "p50_ns"
op = "<="
value = 6e10
source = "this test"
"#;

const IMPOSSIBLE: &str = r#"
[[target]]
claim = "in no time"
cell = "uds/rtt/64"
metric = "p50_ns"
op = "<"
value = 1
source = "this test"
"#;

#[test]
fn targets_are_measured_and_a_missed_one_is_exit_code_3() {
    let place = Place::new();
    fs::write(place.path().join("some.toml"), TARGETS).unwrap();
    let output = place.run("verify some.toml --allow-debug --md some.md");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("1 met · 0 missed · 1 not measured"), "{}", stdout(&output));
    assert!(stdout(&output).contains("a pipe too: not measured: no run has a cell pipe/rtt/64"));
    let page = fs::read_to_string(place.path().join("some.md")).unwrap();
    let first = page.lines().next().unwrap();
    assert!(first.starts_with("Measured 20") && first.contains(", Linux "), "{first}");
    assert!(page.contains("| met |") && page.contains("1 met, 0 missed, 1 not measured."), "{page}");

    // The run above is saved like any other, so this one measures nothing.
    fs::write(place.path().join("more.toml"), TARGETS.to_owned() + IMPOSSIBLE).unwrap();
    let output = place.run("verify more.toml last --json=-");
    assert_eq!(output.status.code(), Some(3));
    let verdicts: Vec<_> = document(&output)["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["verdict"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(verdicts, ["met", "not_measured", "missed"]);
    assert!(stderr(&output).contains("in no time (uds/rtt/64)"));

    // The pipe's cell comes from a run that was made before.
    place.measure("-t pipe -s 64 --mode rtt --trials 2 -n 200 --json=pipe.json --no-html");
    let output = place.run("verify some.toml --allow-debug --with pipe.json --quiet");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("2 met · 0 missed · 0 not measured"), "{}", stdout(&output));
}

#[test]
fn a_file_that_is_not_understood_is_refused_with_its_line() {
    let place = Place::new();
    fs::write(place.path().join("bad.toml"), TARGETS.replace("op = \"<=\"", "op = \"~\"")).unwrap();
    assert_refused(&place.run("verify bad.toml"), 2, ["bad.toml", "line 8", "targets/seeds.toml"]);
    fs::write(place.path().join("new.toml"), TARGETS.replace("schema = 1", "schema = 2")).unwrap();
    assert_refused(&place.run("verify new.toml"), 2, ["schema 2", "reads schema 1", "newer"]);
}

#[test]
fn the_committed_targets_can_be_planned() {
    let place = Place::new();
    for name in ["seeds", "limits", "scenes"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../targets").join(format!("{name}.toml"));
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
        let mut planned = 0;
        for line in lines {
            let output = place.run(&format!("plan {}", line.replace("--no-html", "")));
            assert_eq!(output.status.code(), Some(0), "{name}: {line}: {}", stderr(&output));
            planned += 1;
        }
        assert!(planned > 0, "{name}");
    }
}
