//! Doses of random input for the harnesses of `ipc_transports::fuzz`, which only exist in the program that
//! `cargo xtask chaos` builds.

use super::cell::{Cell, Mechanism};

/// The targets, by their names.
pub const TARGETS: &[Mechanism] = &["header", "ring", "frames", "hello", "handshake", "address", "slot"];

/// Longest input in bytes.
#[cfg(fault_points)]
const LONGEST: usize = 256;

/// `rounds` inputs for the target that the cell is named after. A finding is a panic: the cell's process ends with it.
pub fn run(cell: &mut Cell, rounds: u64) {
    #[cfg(fault_points)]
    {
        let target = ipc_transports::fuzz::TARGETS.iter().find(|(name, _)| *name == cell.mechanism);
        let (_, target) = target.expect("a target of this name");
        ipc_transports::fuzz::random_inputs(*target, cell.seed, rounds, LONGEST);
        cell.passed = rounds;
        let outcome = cell.check_traces().and_then(|()| cell.check_traces());
        if outcome.is_err() {
            cell.count(outcome);
        }
    }
    #[cfg(not(fault_points))]
    {
        cell.missed = rounds;
        cell.notes.push("built without the harnesses: use cargo xtask chaos".into());
    }
}

#[cfg(all(test, fault_points))]
mod tests {
    #[test]
    fn the_targets_are_those_of_the_library() {
        let names: Vec<_> = ipc_transports::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, super::TARGETS);
    }
}
