//! The console tables of a run file whose numbers are invented.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod common;

use common::{invented, shorten};
use ipc_results::report::Report;
use ipc_results::text::{self, Style};
use ipc_results::units::Charset;
use ipc_results::{Estimate, Run, file};

fn rendered(run: &Run, style: &Style) -> String {
    text::render(&Report::new(run).unwrap(), style)
}

#[test]
fn the_tables_of_an_invented_run() {
    insta::assert_snapshot!(rendered(&invented(), &Style::default()));
}

#[test]
fn the_tables_in_ascii_on_a_terminal_of_72_columns() {
    let style = Style { charset: Charset::Ascii, width: 72, ..Style::default() };
    let text = rendered(&invented(), &style);
    assert!(text.is_ascii());
    insta::assert_snapshot!(text);
}

#[test]
fn no_line_of_a_table_is_wider_than_asked() {
    for width in [99, 72] {
        let text = rendered(&invented(), &Style { width, ..Style::default() });
        let wide = text.lines().find(|line| line.chars().count() > width && !line.starts_with("  mq"));
        assert_eq!(wide, None, "at {width}");
    }
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    let plain = rendered(&invented(), &Style::default());
    let colored = rendered(&invented(), &Style { color: true, ..Style::default() });
    assert!(colored.contains("\x1b[1mRound trip"));
    assert_eq!(
        ["\x1b[0m", "\x1b[1m", "\x1b[2m"].iter().fold(colored, |text, escape| text.replace(escape, "")),
        plain
    );
}

#[test]
fn a_median_that_too_few_messages_support_has_its_reason() {
    let mut run = invented();
    assert!(!rendered(&run, &Style::default()).contains("p50 needs"));
    let cell = run.cells.iter_mut().find(|cell| cell.id == "uds/rtt/64").unwrap();
    cell.summary.as_mut().unwrap().latency.p50_ns = None;
    let text = rendered(&run, &Style::default());
    assert!(text.contains("  p50 needs ≥ 20 samples in every trial: measure longer with -d\n"), "{text}");
}

#[test]
fn a_run_of_three_trials_claims_no_separation() {
    let mut run = invented();
    shorten(&mut run, 3);
    let text = rendered(&run, &Style::default());
    assert!(text.contains("too few trials to tell") && !text.contains(" separated"), "{text}");
}

#[test]
fn ratios_are_taken_against_the_cell_that_the_run_names() {
    let mut run = invented();
    run.manifest.reference = Some("uds/rtt/4096".into());
    let text = rendered(&run, &Style::default());
    assert!(text.contains("Summary, 4 KiB round trip\n  shm is fastest; against uds:\n"), "{text}");
    assert!(text.contains("faster: shm") && text.contains("slower: tcp"), "{text}");
    // One that the file does not have leaves the fastest.
    run.manifest.reference = Some("nobody/rtt/64".into());
    assert_eq!(rendered(&run, &Style::default()), rendered(&invented(), &Style::default()));
}

/// postcard's parts are made to miss its whole, those of the others to meet theirs.
#[test]
fn codecs_whose_parts_do_not_add_up_are_named() {
    let mut run = file::from_json(include_str!("fixtures/invented-scenes.v1.json")).unwrap();
    let untold = rendered(&run, &Style::default());
    for cell in run.cells.iter_mut().filter(|cell| cell.mode == "codec") {
        let measures = &mut cell.summary.as_mut().unwrap().measures;
        let at = |value: f64, half: f64| Estimate {
            value,
            lo: value - half,
            hi: value + half,
            ..measures["encode_ns"]
        };
        let parts = measures["encode_ns"].value + measures["decode_ns"].value + 5_000.0;
        // 40 ns off: a reading of the clock and the interval are 33 together; 30 ns off they are not.
        let off = if cell.codec == "postcard" { 40.0 } else { 30.0 };
        let added = [
            ("transport_ns", at(5_000.0, 9.0)),
            ("end_to_end_ns", at(parts + off, 10.0)),
            ("clock_reading_ns", at(23.0, 0.0)),
        ];
        measures.extend(added.map(|(name, estimate)| (name.to_owned(), estimate)));
    }
    let text = rendered(&run, &Style { width: 200, ..Style::default() });
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("in 2 of 3; not in uds/codec/1024/codec=postcard"), "{text}");
    assert!(untold.contains("Codecs") && !untold.contains("add up to end to end"));
}
