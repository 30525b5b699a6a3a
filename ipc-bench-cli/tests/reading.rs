//! Commands that read saved runs.

mod common;

use common::{Place, assert_refused, document, stderr, stdout};

#[test]
fn saved_runs_are_rendered_compared_and_gated_without_measuring() {
    let place = Place::new();
    for _ in 0..2 {
        let output = place.measure("-t uds -s 64 --trials 2 -n 200 --quiet");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    // What `last` stood for is told to who asks.
    let told = place.run("report last --ascii -v");
    assert!(stderr(&told).contains("last is ") && stderr(&told).contains("run.json: "), "{}", stderr(&told));
    assert_eq!(stderr(&place.run("report last --ascii")), "");
    for (format, words) in [
        ("text", "Round trip"),
        ("md", "uds"),
        ("html", "<!doctype html>"),
        ("csv", "uds/rtt/64"),
        ("csv --summary", "uds/rtt/64"),
        ("junit", "<testsuite"),
        ("hlog", "StartTimestamp"),
        ("bmf", "latency"),
    ] {
        let output = place.run(&format!("report last --format {format}"));
        assert_eq!(output.status.code(), Some(0), "{format}: {}", stderr(&output));
        assert!(stdout(&output).contains(words), "{format}: {}", stdout(&output));
    }
    assert_eq!(document(&place.run("report last~1 --format json"))["schema"], "ipc-bench/run");
    place.run("report --format md --output here.md");
    assert!(place.path().join("here.md").is_file());
    place.run("report --format gha --output points");
    for ending in ["smaller", "bigger"] {
        assert!(place.path().join(format!("points.{ending}.json")).is_file());
    }
    place.run("report --format hgrm --output curves");
    assert!(place.path().join("curves/uds_rtt_64.hgrm").is_file());
    assert_refused(&place.run("report --format hgrm"), 2, ["more than one file", "only one", "--output"]);
    // A page carries its run, so it can stand where a run can.
    place.run("report last --format html --output page.html");
    assert_eq!(document(&place.run("report page.html --format json"))["schema"], "ipc-bench/run");

    assert_eq!(place.run("baseline save main last~1").status.code(), Some(0));
    assert_eq!(stdout(&place.run("baseline list")), "main\n");
    assert_eq!(stdout(&place.run("baseline show main")), stdout(&place.run("report main")));
    assert_refused(&place.run("baseline show nobody"), 2, ["no baseline nobody", "", "baseline list"]);
    let output = place.run("compare main last --all");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("uds/rtt/64"));
    assert_eq!(document(&place.run("compare main last --json=-"))["schema"], "ipc-bench/compare");
    let output = place.run("compare main page.html --html both.html --md both.md");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for name in ["both.html", "both.md"] {
        assert!(std::fs::read_to_string(place.path().join(name)).unwrap().contains("uds/rtt/64"));
    }
    assert_refused(&place.run("compare main last main --html x.html"), 2, ["--html", "", "two"]);
    // Two trials cannot show a regression, and the gate says so instead of passing silently.
    let output = place.run("gate --baseline main");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("--trials"), "{}", stdout(&output));
    assert_eq!(place.run("gate --baseline main --fail-on inconclusive").status.code(), Some(4));
    assert_refused(
        &place.run("gate --baseline main --limit p50"),
        2,
        ["--limit: not understood", "no limit", "p50=5%"],
    );
    // One that belongs to the sources outlives what cargo clean removes.
    assert_eq!(place.run("baseline save kept last --commit-dir").status.code(), Some(0));
    assert_eq!(stdout(&place.run("baseline list")), "kept\nmain\n");
    assert!(place.path().join("bench/baselines/kept.json").is_file());
    std::fs::rename(place.path().join("results"), place.path().join("cleaned")).unwrap();
    assert_eq!(stdout(&place.run("baseline list")), "kept\n");
    assert_eq!(stdout(&place.run("baseline show kept")), stdout(&place.run("report kept")));
    assert_eq!(place.run("baseline rm kept").status.code(), Some(0));
    assert!(!place.path().join("bench/baselines/kept.json").exists());
    std::fs::rename(place.path().join("cleaned"), place.path().join("results")).unwrap();
    assert_eq!(place.run("baseline rm main").status.code(), Some(0));
    assert_refused(&place.run("report main"), 2, ["\"main\" is no run", "no baseline", "list runs"]);
    assert_refused(&place.run("report last~9"), 2, ["no run last~9", "has 2 runs", "list runs"]);
    assert_refused(&place.run("baseline save last"), 2, ["no name", "file's name", "letters"]);
}

#[test]
fn runs_are_joined_and_words_explained() {
    let place = Place::new();
    for name in ["one", "two"] {
        let output = place.measure(&format!("-t uds -s 64 --mode rtt --trials 2 -n 200 --quiet -o {name}"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let joined = document(&place.run("merge one two --json=-"));
    assert_eq!(joined["cells"][0]["trials"].as_array().unwrap().len(), 4);
    assert_eq!(joined["warnings"].as_array().unwrap().last().unwrap()["code"], "W10");
    assert_eq!(place.run("merge one two --output both.json").status.code(), Some(0));
    assert!(stdout(&place.run("report both.json")).contains("Round trip"));
    assert!(stdout(&place.run("explain p99")).contains("99 of 100"));
    assert!(stdout(&place.run("explain")).contains("W03"));
    assert_refused(&place.run("explain p98"), 2, ["no topic", "trial, ", "did you mean"]);
    assert_refused(&place.run("compare one"), 2, ["itself", "not made by ab", "second run"]);
}
