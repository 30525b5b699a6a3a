//! Doses of random input for the harnesses of `ipc_transports::fuzz`, which only exist in the program that
//! `cargo xtask chaos` builds, and for the readers of result files and of `ipc-bench.toml`, which get spoiled files.

use ipc_results::file::{from_json, to_json};
use serde_json::Value;

use super::cell::{Cell, Mechanism};
use crate::end::Random;

/// The targets, by their names.
pub const TARGETS: &[Mechanism] =
    &["header", "ring", "frames", "hello", "handshake", "address", "slot", "envelope", RESULTS, CONFIG];

/// Result files.
const RESULTS: &str = "results";

/// Settings files.
const CONFIG: &str = "config";

/// Longest input in bytes.
#[cfg(feature = "fault-points")]
const LONGEST: usize = 256;

/// `rounds` inputs for the target that the cell is named after. A finding is a panic: the cell's process ends with it.
pub fn run(cell: &mut Cell, rounds: u64) {
    if cell.mechanism == RESULTS {
        documents(cell.seed, rounds);
        return counted(cell, rounds);
    }
    #[cfg(feature = "fault-points")]
    {
        if cell.mechanism == CONFIG {
            settings(cell.seed, rounds);
            return counted(cell, rounds);
        }
        let target = ipc_transports::fuzz::TARGETS.iter().find(|(name, _)| *name == cell.mechanism);
        let (_, target) = target.expect("a target of this name");
        ipc_transports::fuzz::random_inputs(*target, cell.seed, rounds, LONGEST);
        counted(cell, rounds);
    }
    #[cfg(not(feature = "fault-points"))]
    {
        cell.missed = rounds;
        cell.notes.push("built without the harnesses: use cargo xtask chaos".into());
    }
}

fn counted(cell: &mut Cell, rounds: u64) {
    cell.passed = rounds;
    let outcome = cell.check_traces().and_then(|()| cell.check_traces());
    if outcome.is_err() {
        cell.count(outcome);
    }
}

/// F6: result files with some bytes changed, left out or put in. What is read is a run that can be written and read
/// again, or an error; the figures of a run with nonsense in it are an error, too.
pub fn documents(seed: u64, rounds: u64) {
    let right = small_document();
    let mut random = Random(seed);
    for round in 0..rounds {
        let mut bytes = right.clone().into_bytes();
        for _ in 0..1 + random.below(4) {
            spoil(&mut bytes, &mut random, JSON_WORDS);
        }
        let text = String::from_utf8_lossy(&bytes);
        let Ok(run) = from_json(&text) else { continue };
        for cell in &run.cells {
            let _ = ipc_results::figures::Figures::of_cell(cell);
        }
        let Ok(written) = to_json(&run) else { continue };
        let again = from_json(&written).and_then(|run| to_json(&run).map_err(|error| error.to_string()));
        assert_eq!(
            again.as_ref(),
            Ok(&written),
            "round {round} of seed {seed}: it reads back as something else"
        );
    }
}

/// What a value of a result file turns into.
const JSON_WORDS: &[&str] = &[
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "0.1",
    "\"\"",
    "[]",
    "{}",
    "HISTFAAA",
    "\u{0}",
    ",",
    "true",
];

/// What a value of a settings file turns into.
#[cfg(feature = "fault-points")]
const TOML_WORDS: &[&str] = &[
    "true",
    "-1",
    "1e999",
    "nan",
    "18446744073709551616",
    "\"\"",
    "\"quick\"",
    "[]",
    "[[]]",
    "{}",
    "1979-05-27",
    "\n[preset.own]\n",
    "\nextends = \"own\"\n",
    "\u{0}",
    "\n",
    ".",
];

/// A settings file with something of everything.
#[cfg(feature = "fault-points")]
const RIGHT_SETTINGS: &str = r#"schema = 1
[defaults]
trials = 9
preset = "own"
[preset.own]
extends = "quick"
transport = ["uds", "shm"]
size = [116, 1024]
[preset.own.params]
"uds.sndbuf" = "1M"
[preset.other]
extends = "own"
duration = "50ms"
[gate]
baseline = "main"
alpha = 0.05
limits = { "@latency" = "5%|50ns", "shm/*" = "10%" }
ignore = ["tcp/*"]
fail_on = ["regressed"]
"#;

/// F6: settings files with some bytes changed, left out or put in.
#[cfg(feature = "fault-points")]
fn settings(seed: u64, rounds: u64) {
    assert!(ipc_bench::fuzz::config(RIGHT_SETTINGS), "the file before it is spoiled");
    let mut random = Random(seed);
    for _ in 0..rounds {
        let mut bytes = RIGHT_SETTINGS.as_bytes().to_vec();
        for _ in 0..1 + random.below(4) {
            spoil(&mut bytes, &mut random, TOML_WORDS);
        }
        ipc_bench::fuzz::config(&String::from_utf8_lossy(&bytes));
    }
}

/// One change, as a torn disk, a bad hand or malice would make it.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random, words: &[&str]) {
    if bytes.is_empty() {
        bytes.push(b'{');
    }
    let at = random.below(bytes.len());
    match random.below(5) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
        2 => bytes.truncate(at.max(1)),
        3 => {
            // The next number or word becomes another one.
            let starts = |byte: &u8| byte.is_ascii_digit() || *byte == b'"';
            let from = bytes[at..].iter().position(starts).map_or(at, |start| at + start);
            let len = bytes[from..].iter().position(|byte| b",\n]}".contains(byte)).unwrap_or(0);
            bytes.splice(from..from + len, words[random.below(words.len())].bytes());
        }
        _ => {
            let word = words[random.below(words.len())];
            bytes.splice(at..at, word.bytes());
        }
    }
}

/// A result file with one cell of one trial: short enough to be read some thousand times a second.
fn small_document() -> String {
    let whole = include_str!("../../../ipc-results/tests/fixtures/invented-run.v1.json");
    let mut document: Value = serde_json::from_str(whole).expect("the fixture is JSON");
    let mut cut = |path: &str| {
        let list = document.pointer_mut(path).and_then(Value::as_array_mut);
        list.expect("a list of the fixture").truncate(1);
    };
    cut("/cells");
    cut("/cells/0/trials");
    document.to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn f6_result_files() {
        let seed = crate::end::Random::seed();
        println!("results: 300 documents of seed {seed}");
        super::documents(seed, 300);
        assert!(super::from_json(&super::small_document()).is_ok(), "the document before it is spoiled");
    }

    #[cfg(feature = "fault-points")]
    #[test]
    fn the_targets_are_those_of_the_library() {
        let names: Vec<_> = ipc_transports::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, super::TARGETS[..names.len()]);
    }
}
