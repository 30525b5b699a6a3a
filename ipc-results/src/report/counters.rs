//! What the kernel and the processor counted (`--perf`).

use crate::cell::Cell;
use crate::run::Run;
use crate::units;

/// The counters, in the order in which they are shown, each with its heading.
const SHOWN: [(&str, &str); 9] = [
    ("syscalls", "syscalls"),
    ("context_switches", "switches"),
    ("cpu_migrations", "moves"),
    ("page_faults", "faults"),
    ("task_clock_ns", "task clock"),
    ("instructions", "instructions"),
    ("cycles", "cycles"),
    ("cache_misses", "cache misses"),
    ("branch_misses", "branch misses"),
];

/// Counters of all workers together, per message: medians over trials.
#[derive(Debug, Clone)]
pub struct Counts<'a> {
    /// Heading of each counter.
    pub heads: Vec<&'static str>,
    /// Each cell with a text per counter, `–` where it could not be had.
    pub rows: Vec<(&'a Cell, Vec<String>)>,
    /// Why some could not be had: their headings together, and the reason.
    pub missing: Vec<(Vec<&'static str>, &'a str)>,
}

impl<'a> Counts<'a> {
    pub(super) fn new(run: &'a Run) -> Option<Self> {
        let row = |cell: &'a Cell| {
            let known = &cell.summary.as_ref()?.counters_per_msg;
            let text = |name: &str| match known.get(name) {
                Some(count) if name.ends_with("_ns") => units::time(count.value),
                Some(count) => count_per_message(count.value),
                None => "–".to_owned(),
            };
            let asked = !known.is_empty() || !cell.uncounted.is_empty();
            asked.then(|| (cell, SHOWN.map(|(name, _)| text(name)).to_vec()))
        };
        let rows: Vec<_> = run.cells.iter().filter_map(row).collect();
        let mut missing: Vec<(Vec<&'static str>, &'a str)> = Vec::new();
        for (name, head) in SHOWN {
            for reason in rows.iter().filter_map(|(cell, _)| cell.uncounted.get(name)) {
                match missing.iter_mut().find(|(_, known)| known == reason) {
                    Some((heads, _)) if heads.contains(&head) => {}
                    Some((heads, _)) => heads.push(head),
                    None => missing.push((vec![head], reason)),
                }
            }
        }
        let heads = SHOWN.map(|(_, head)| head).to_vec();
        (!rows.is_empty()).then_some(Self { heads, rows, missing })
    }

    /// The reasons, a line each: `cycles, instructions: the machine has no such counter`.
    pub fn reasons(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|(heads, reason)| format!("– {}: {reason}", heads.join(", ")))
    }
}

/// Large counts without decimals, small ones with enough to tell one from none.
fn count_per_message(value: f64) -> String {
    match value {
        large if large >= 100.0 => units::count(large.round() as u64),
        0.0 => "0".to_owned(),
        small if small < 0.0005 => "<0.001".to_owned(),
        other => format!("{other:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_told_from_few() {
        assert_eq!(
            [0.0, 0.0001, 0.0123, 4.0, 99.5, 1234.4].map(count_per_message),
            ["0", "<0.001", "0.012", "4.000", "99.500", "1,234"]
        );
    }
}
