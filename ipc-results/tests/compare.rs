//! Comparisons and gates of invented runs.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod common;

use common::{invented, shorten, slow_down, slow_limit};
use ipc_results::compare::{CompareError, Comparison, Session};
use ipc_results::metric::Metric;
use ipc_results::policy::{FailOn, Outcome, Policy, Rule};
use ipc_results::text::{self, Style};
use ipc_results::verdict::Verdict;
use ipc_results::{Run, export, schema};

fn compare(a: &Run, b: &Run) -> Comparison {
    Comparison::new(("main", a), ("last", b), &Policy::default(), Session::Apart, false).unwrap()
}

fn verdict(comparison: &Comparison, cell: &str, metric: Metric) -> Option<Verdict> {
    comparison.rows.iter().find(|row| row.cell == cell && row.metric == metric).unwrap().verdict
}

/// A run in which one cell improved, one regressed and one was not measured.
fn changed() -> Run {
    let mut run = invented();
    run.run_id = "20261122-090000-invented-77aa".into();
    run.started = "2026-11-22T09:00:00Z".into();
    run.tool.git = Some("8be022".into());
    run.tool.dirty = Some(true);
    slow_down(&mut run, "uds/rtt/64", 0.85);
    slow_down(&mut run, "pipe/stream/4096", 1.15);
    run.cells.retain(|cell| cell.id != "tcp/rtt/4096");
    run
}

#[test]
fn a_comparison_of_nothing_says_why() {
    let mut run = invented();
    run.cells.retain(|cell| cell.id == "uds/rtt/64");
    assert!(!text::comparison(&compare(&run, &run), true, &Style::default()).contains("No figure"));
    run.cells[0].trials.iter_mut().for_each(|trial| trial.latency = None);
    run.cells[0].summary = ipc_results::summarise(&run.cells[0]).unwrap();
    let comparison = compare(&run, &run);
    let text = text::comparison(&comparison, true, &Style::default());
    assert!(text.contains("No figure is in both") && text.contains("needs 20 in a trial"), "{text}");
    let report = ipc_results::report::Report::new(&run).unwrap();
    let page = ipc_results::html::comparison(&comparison, &report, &report);
    assert!(page.contains("<h1>Nothing could be compared</h1>") && page.contains("longer with -d."));
}

#[test]
fn the_changes_of_an_invented_run() {
    let comparison = compare(&invented(), &changed());
    assert_eq!(verdict(&comparison, "uds/rtt/64", Metric::P50), Some(Verdict::Improved));
    assert_eq!(verdict(&comparison, "pipe/stream/4096", Metric::MsgsPerS), Some(Verdict::Regressed));
    assert_eq!(comparison.only_a, ["tcp/rtt/4096"]);
    insta::assert_snapshot!(text::comparison(&comparison, false, &Style::default()));
}

#[test]
fn several_runs_are_held_against_the_first() {
    let (a, b) = (invented(), changed());
    let only_rtt = Policy { ignore: vec!["*/stream/*".into(), "*/load/*".into()], ..Policy::default() };
    let against = |name, run: &Run| {
        Comparison::new(("main", &a), (name, run), &only_rtt, Session::Apart, false).unwrap()
    };
    let all = [against("again", &a), against("last", &b)];
    insta::assert_snapshot!(text::comparisons(&all, &Style::default()));
}

#[test]
fn a_verdict_that_rests_on_disturbed_trials_says_so() {
    let mut quiet = invented();
    for cell in &mut quiet.cells {
        // Twice the trials, so that one may be missing, and none of them disturbed.
        cell.trials = cell.trials.iter().chain(&cell.trials).cloned().collect();
        cell.trials.iter_mut().for_each(|trial| trial.flags.clear());
    }
    let mut b = quiet.clone();
    slow_down(&mut b, "uds/rtt/64", 1.18);
    let told = compare(&quiet, &b);
    assert_eq!(
        (verdict(&told, "uds/rtt/64", Metric::P50), told.disturbance()),
        (Some(Verdict::Regressed), None)
    );

    // All but two of the slow trials were disturbed: two say nothing.
    let cell = b.cells.iter_mut().find(|cell| cell.id == "uds/rtt/64").unwrap();
    cell.trials.iter_mut().skip(2).for_each(|trial| trial.flags.push("steal".into()));
    let told = compare(&quiet, &b);
    let row = told.rows.iter().find(|row| row.cell == "uds/rtt/64" && row.metric == Metric::P50).unwrap();
    assert_eq!((row.verdict, row.undisturbed), (Some(Verdict::Regressed), Some(Verdict::Inconclusive)));
    let words = "W03 disturbed trials decide the verdict of uds/rtt/64 p50 (without them inconclusive)";
    assert!(told.disturbance().unwrap().starts_with(words), "{:?}", told.disturbance());
    assert!(text::comparison(&told, false, &Style::default()).contains("W03 disturbed trials decide"));
    assert!(export::markdown_of_comparison(&told).contains("W03 disturbed trials decide"));
    let (old, new) =
        (ipc_results::report::Report::new(&quiet).unwrap(), ipc_results::report::Report::new(&b).unwrap());
    assert!(ipc_results::html::comparison(&told, &old, &new).contains("W03 disturbed trials decide"));

    // One of them was: the others say the same.
    let cell = b.cells.iter_mut().find(|cell| cell.id == "uds/rtt/64").unwrap();
    cell.trials.iter_mut().skip(3).for_each(|trial| trial.flags.clear());
    cell.trials[2].flags.clear();
    cell.trials[1].flags = vec!["steal".into()];
    let told = compare(&quiet, &b);
    let row = told.rows.iter().find(|row| row.cell == "uds/rtt/64" && row.metric == Metric::P50).unwrap();
    assert_eq!((row.verdict, row.undisturbed), (Some(Verdict::Regressed), None));
}

#[test]
fn a_red_verdict_is_taken_back_when_the_cells_own_yardstick_moved_and_only_then() {
    let (a, mut b) = (invented(), invented());
    slow_down(&mut b, "uds/rtt/64", 1.18);
    slow_limit(&mut b, "tcp/rtt/64", 1.18);
    assert_eq!(verdict(&compare(&a, &b), "uds/rtt/64", Metric::P50), Some(Verdict::Regressed));

    slow_limit(&mut b, "uds/rtt/64", 1.18);
    let apart = compare(&a, &b);
    let row = apart.rows.iter().find(|row| row.cell == "uds/rtt/64").unwrap();
    assert_eq!(row.verdict, Some(Verdict::Inconclusive));
    assert_eq!(row.reason.as_deref(), Some("machine changed: bare round trip +18 %"));
    let gate = Policy::default().gate(&apart);
    let told = text::gate(&gate, |cell| cell.into(), &Style::default());
    assert!(told.contains("inconclusive (machine changed: bare round trip +18 %)"), "{told}");

    // Few pairs carry few figures.
    let alternating = alternating(only(a, "uds/rtt/64"), only(b, "uds/rtt/64"));
    assert_eq!(verdict(&alternating, "uds/rtt/64", Metric::P50), Some(Verdict::Regressed));
}

fn only(mut run: Run, id: &str) -> Run {
    run.cells.retain(|cell| cell.id == id);
    run
}

/// The same runs as if their trials had been made A B B A.
fn alternating(mut a: Run, mut b: Run) -> Comparison {
    for (run, first) in [(&mut a, 0), (&mut b, 1)] {
        for trial in run.cells.iter_mut().flat_map(|cell| &mut cell.trials) {
            trial.order = 2 * trial.index + (first + trial.index) % 2;
        }
    }
    Comparison::new(("a", &a), ("b", &b), &Policy::default(), Session::Alternating, false).unwrap()
}

#[test]
fn neighbours_are_compared_and_a_machine_that_changes_its_pace_hides_nothing() {
    let (mut a, mut b) = (invented(), invented());
    // From trial to trial the machine has another pace, and both of a pair have the same.
    for run in [&mut a, &mut b] {
        let cell = run.cells.iter_mut().find(|cell| cell.id == "uds/stream/4096").unwrap();
        for trial in &mut cell.trials {
            trial.throughput.msgs_per_s *= f64::from(1 + trial.index % 3);
        }
    }
    let cell = b.cells.iter_mut().find(|cell| cell.id == "uds/stream/4096").unwrap();
    cell.trials.iter_mut().for_each(|trial| trial.throughput.msgs_per_s *= 0.9);
    let apart = compare(&a, &b);
    assert_eq!(verdict(&apart, "uds/stream/4096", Metric::MsgsPerS), Some(Verdict::Inconclusive));
    let pairs = alternating(only(a, "uds/stream/4096"), only(b, "uds/stream/4096"));
    let row = &pairs.rows[0];
    assert_eq!((row.verdict, row.ratio.trials), (Some(Verdict::Regressed), 7), "{row:?}");
    assert!((row.ratio.value - 0.9).abs() < 1e-9 && row.normalised.is_none());
    let text = text::comparison(&pairs, false, &Style::default());
    for rendered in [text, export::markdown_of_comparison(&pairs)] {
        assert!(rendered.contains("sign test over pairs"), "{rendered}");
    }
    assert!(apart.note().is_none() && !apart.yardsticks.is_empty() && pairs.yardsticks.is_empty());
    // Fewer pairs than twice as many figures need: told, never passed over in silence.
    let gate = Policy { alpha: 0.01, ..Policy::default() }.gate(&pairs).needs.unwrap();
    assert_eq!((gate.have, gate.trials), (7, 8));
}

#[test]
fn runs_of_different_machines_are_refused_or_compared_without_verdicts() {
    let (a, mut b) = (invented(), invented());
    b.environment.host_fingerprint = "sha256:other".into();
    b.environment.hostname = Some("other-host".into());
    let refused = Comparison::new(("a", &a), ("b", &b), &Policy::default(), Session::Apart, false);
    assert!(matches!(&refused, Err(CompareError::DifferentHost { b, .. }) if b == "other-host"));
    let allowed = Comparison::new(("a", &a), ("b", &b), &Policy::default(), Session::Apart, true).unwrap();
    assert!(allowed.rows.iter().all(|row| row.verdict.is_none()));
    assert!(allowed.rows.iter().any(|row| row.normalised.is_some()));
}

#[test]
fn runs_without_a_common_cell_are_not_compared() {
    let (a, mut b) = (invented(), invented());
    b.cells.clear();
    let refused = Comparison::new(("a", &a), ("b", &b), &Policy::default(), Session::Apart, false);
    assert!(matches!(refused, Err(CompareError::NothingInCommon)));
}

#[test]
fn a_gate_fails_on_a_regression_and_on_missing_cells_only_when_asked() {
    let (a, b) = (invented(), changed());
    let comparison = compare(&a, &b);
    let gate = Policy::default().gate(&comparison);
    assert_eq!((gate.outcome, gate.regressed.len(), gate.missing.len()), (Outcome::Regressed, 1, 1));
    insta::assert_snapshot!(text::gate(
        &gate,
        |cell| format!("ipc-bench run --repro {cell}"),
        &Style::default()
    ));

    let lenient = Policy { rules: Rule::parse_list("@throughput=20%").unwrap(), ..Policy::default() };
    let comparison = Comparison::new(("main", &a), ("last", &b), &lenient, Session::Apart, false).unwrap();
    assert_eq!(lenient.gate(&comparison).outcome, Outcome::Passed);
    let strict = Policy { fail_on: [FailOn::Missing].into(), ..lenient };
    assert_eq!(strict.gate(&comparison).outcome, Outcome::Undecided);
}

#[test]
fn a_gate_of_three_trials_says_how_many_it_needs() {
    let (mut a, mut b) = (invented(), changed());
    shorten(&mut a, 3);
    shorten(&mut b, 3);
    let comparison = compare(&a, &b);
    let needs = Policy::default().gate(&comparison).needs.unwrap();
    assert_eq!((needs.have, needs.metrics as usize), (3, comparison.rows.len()));
    assert!(needs.to_string().starts_with("needs --trials 7 for 6"), "{needs}");
    assert!(comparison.with(Verdict::Regressed).next().is_none());
}

#[test]
fn a_comparison_is_a_document() {
    let comparison = compare(&invented(), &changed());
    let json = serde_json::to_value(&comparison).unwrap();
    assert_eq!(json["schema"], "ipc-bench/compare");
    assert_eq!(serde_json::from_value::<Comparison>(json.clone()).unwrap().rows.len(), comparison.rows.len());
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("compare.json", schema::compare().to_value()).unwrap();
    let schema = compiler.compile("compare.json", &mut schemas).unwrap();
    schemas.validate(&json, schema).map_err(|error| error.to_string()).unwrap();
}
