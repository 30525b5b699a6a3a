//! Doses of random input for the harnesses of `ipc_transports::fuzz`, which only exist in the program that
//! `cargo xtask chaos` builds, and for the reader of result files, which is here.

use ipc_results::file::{from_json, to_json};
use serde_json::Value;

use super::cell::{Cell, Mechanism};
use crate::end::Random;

/// The targets, by their names.
pub const TARGETS: &[Mechanism] =
    &["header", "ring", "frames", "hello", "handshake", "address", "slot", "envelope", RESULTS];

/// The target of this crate.
const RESULTS: &str = "results";

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
            spoil(&mut bytes, &mut random);
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

/// One change, as a torn disk, a bad hand or malice would make it.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    const WORDS: &[&str] = &[
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
            bytes.splice(from..from + len, WORDS[random.below(WORDS.len())].bytes());
        }
        _ => {
            let word = WORDS[random.below(WORDS.len())];
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
