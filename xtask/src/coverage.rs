//! `cargo xtask coverage [--missed]`: which lines of the actor runtime its tests run, held to 95 of 100.
//!
//! cargo-tarpaulin counts them by breakpoints (its ptrace engine), on an unoptimised build with the failpoints on. Without
//! it the command says how to get it, and ends well: what did not run is not a failure, and not a success either.

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

const PACKAGE: &str = "ipc-actors";
/// Percent of the lines, at least.
const FLOOR: f64 = 95.0;
/// Not the runtime: models for loom, and the failpoints that are compiled out of it.
const NOT_COUNTED: [&str; 2] = ["models.rs", "fail.rs"];
/// Tests that run for minutes when each breakpoint stops the process, or run programs that are built elsewhere.
const NOT_RUN: [&str; 1] = ["a_hundred_thousand_crashes"];
/// Seeds of each simulated test: the lines are the same with more.
const SEEDS: &str = "20";
const EXAMPLES: &str = "examples";

/// Lines of one file that can be run, and whether they were.
type Lines = BTreeMap<u64, bool>;

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let missed = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--missed"] => true,
        _ => bail!("usage: cargo xtask coverage [--missed]"),
    };
    let root = workspace::root()?;
    let version = Command::new(cargo()).args(["tarpaulin", "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        println!("skipped: cargo-tarpaulin is not installed; cargo install --locked cargo-tarpaulin");
        return Ok(ExitCode::SUCCESS);
    }
    let output = workspace::metadata(&root)?.target_directory.into_std_path_buf().join("coverage");
    std::fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let report = output.join("tarpaulin-report.json");
    // One of an earlier run says nothing about this one.
    let _ = std::fs::remove_file(&report);
    let status = tarpaulin(&root, &output)?.status().context("cannot start cargo tarpaulin")?;
    let text = std::fs::read_to_string(&report).with_context(|| format!("no {}", report.display()))?;
    let files = parse(&text)?;
    print!("{}", table(&files, missed));
    let percent = percent(files.values().flat_map(BTreeMap::values));
    if percent < FLOOR {
        println!("below {FLOOR} %: cargo xtask coverage --missed names the lines");
    }
    ensure!(status.success(), "cargo tarpaulin: {status}");
    Ok(ExitCode::from(u8::from(percent < FLOOR)))
}

fn tarpaulin(root: &Path, output: &Path) -> Result<Command> {
    let mut command = Command::new(cargo());
    command.current_dir(root).args(["tarpaulin", "--engine", "ptrace", "--package", PACKAGE]);
    command.args(["--features", "__fail-points,tracing", "--include-files", "ipc-actors/src/*"]);
    command.arg("--lib");
    for test in tests(&root.join(PACKAGE).join("tests"))? {
        command.args(["--test", &test]);
    }
    command.args(["--out", "Json", "--skip-clean", "--no-fail-fast", "--timeout", "600", "--locked"]);
    command.arg("--output-dir").arg(output).arg("--target-dir").arg(output);
    command.arg("--");
    for test in NOT_RUN {
        command.args(["--skip", test]);
    }
    // An optimiser moves code to other lines than it was written on. A backtrace of every panic that is meant takes
    // longer than the test.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_PROFILE_TEST_OPT_LEVEL", "0");
    command.env("RUST_BACKTRACE", "0").env("IPC_ACTORS_SEEDS", SEEDS);
    Ok(command)
}

/// The test programs below `directory`, each a file or a directory with a `main.rs`, without the one for the examples.
fn tests(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("no {}", directory.display()))? {
        let path = entry?.path();
        let is_test =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if is_test && name != EXAMPLES {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The lines of each file in a report of tarpaulin's.
fn parse(report: &str) -> Result<BTreeMap<String, Lines>> {
    let report: Value = serde_json::from_str(report).context("the report is no JSON")?;
    let mut files = BTreeMap::new();
    for file in report["files"].as_array().context("the report has no files")? {
        let parts = file["path"].as_array().context("a file has no path")?;
        let path = parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("/");
        let Some((_, name)) = path.split_once("/ipc-actors/src/") else { continue };
        if NOT_COUNTED.contains(&name) {
            continue;
        }
        let traces = file["traces"].as_array().context("a file has no traces")?;
        let line = |trace: &Value| Some((trace["line"].as_u64()?, trace["stats"]["Line"].as_u64()? > 0));
        let mut lines = Lines::new();
        for (line, run) in traces.iter().filter_map(line) {
            *lines.entry(line).or_default() |= run;
        }
        files.insert(name.to_owned(), lines);
    }
    ensure!(!files.is_empty(), "the report has no file of {PACKAGE}");
    Ok(files)
}

fn percent<'a>(lines: impl Iterator<Item = &'a bool>) -> f64 {
    let (mut all, mut run) = (0_u32, 0_u32);
    for line in lines {
        all += 1;
        run += u32::from(*line);
    }
    if all == 0 { 100.0 } else { 100.0 * f64::from(run) / f64::from(all) }
}

fn table(files: &BTreeMap<String, Lines>, missed: bool) -> String {
    let mut text = String::new();
    let mut row = |name: &str, run: usize, all: usize, percent: f64, lines: &str| {
        let _ = writeln!(text, "{name:28} {run:5} of {all:5} lines {percent:6.1} %{lines}");
    };
    for (name, lines) in files.iter().filter(|(_, lines)| !lines.is_empty()) {
        let not_run: Vec<_> =
            lines.iter().filter(|(_, run)| !**run).map(|(line, _)| line.to_string()).collect();
        let which =
            if missed && !not_run.is_empty() { format!("  {}", not_run.join(" ")) } else { String::new() };
        row(name, lines.len() - not_run.len(), lines.len(), percent(lines.values()), &which);
    }
    let all: usize = files.values().map(BTreeMap::len).sum();
    let run = files.values().flat_map(BTreeMap::values).filter(|run| **run).count();
    row("together", run, all, percent(files.values().flat_map(BTreeMap::values)), "");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"files": [
        {"path": ["/", "here", "ipc-actors", "src", "run.rs"], "traces": [
            {"line": 3, "stats": {"Line": 7}}, {"line": 4, "stats": {"Line": 0}}, {"line": 4, "stats": {"Line": 1}},
            {"line": 9, "stats": {"Line": 0}}, {"line": 12, "stats": {"Line": 1}}]},
        {"path": ["/", "here", "ipc-actors", "src", "models.rs"], "traces": [{"line": 1, "stats": {"Line": 0}}]},
        {"path": ["/", "here", "ipc-core", "src", "lib.rs"], "traces": [{"line": 1, "stats": {"Line": 0}}]}
    ]}"#;

    #[test]
    fn a_report_counts_each_line_of_the_runtime_once() {
        let files = parse(REPORT).expect("a report");
        assert_eq!(files.keys().collect::<Vec<_>>(), ["run.rs"]);
        assert!((percent(files["run.rs"].values()) - 75.0).abs() < 1e-9);
        let shown = table(&files, true);
        assert_eq!(
            shown.lines().collect::<Vec<_>>(),
            [
                "run.rs                           3 of     4 lines   75.0 %  9",
                "together                         3 of     4 lines   75.0 %",
            ]
        );
        assert!(!table(&files, false).contains(" 9\n"));
    }

    #[test]
    fn a_report_without_our_files_is_no_hundred_percent() {
        assert!(parse(r#"{"files": []}"#).is_err());
        assert!(parse("{}").is_err());
    }

    #[test]
    fn every_test_program_but_the_one_for_the_examples_is_run() {
        let root = workspace::root().expect("the workspace");
        let names = tests(&root.join(PACKAGE).join("tests")).expect("its tests");
        assert!(names.contains(&"supervision".into()) && names.contains(&"failpoints".into()), "{names:?}");
        assert!(!names.contains(&EXAMPLES.into()) && !names.contains(&"support".into()), "{names:?}");
    }
}
