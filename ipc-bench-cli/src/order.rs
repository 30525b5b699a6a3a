//! In which order trials are made.

use std::fmt;
use std::str::FromStr;

/// How the trials of different cells follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// One trial of every cell, then the next of every cell: what drifts on the machine, drifts through all cells.
    Interleave,
    /// As interleave, each round in an order of its own.
    Shuffle,
    /// All trials of a cell in a row.
    Grouped,
}

impl Order {
    const NAMES: [(&str, Order); 3] =
        [("interleave", Order::Interleave), ("shuffle", Order::Shuffle), ("grouped", Order::Grouped)];

    /// Rounds of trials, each a list of `(cell, trial)`; every pair of `0..cells` and `0..trials` once.
    pub(crate) fn rounds(self, cells: usize, trials: u32, seed: u64) -> Vec<Vec<(usize, u32)>> {
        let round = |trial| (0..cells).map(|cell| (cell, trial)).collect::<Vec<_>>();
        match self {
            Order::Interleave => (0..trials).map(round).collect(),
            Order::Shuffle => {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut rounds: Vec<_> = (0..trials).map(round).collect();
                rounds.iter_mut().for_each(|round| random.shuffle(round));
                rounds
            }
            Order::Grouped => {
                (0..cells).flat_map(|cell| (0..trials).map(move |trial| vec![(cell, trial)])).collect()
            }
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Order::NAMES.iter().find(|(_, order)| order == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Order, String> {
        let found = Order::NAMES.iter().find(|(name, _)| *name == text).map(|(_, order)| *order);
        found.ok_or_else(|| format!("{text:?} is not an order; use interleave, shuffle or grouped"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_makes_every_trial_once_and_the_trials_of_a_cell_in_turn() {
        for order in [Order::Interleave, Order::Shuffle, Order::Grouped] {
            let flat: Vec<_> = order.rounds(4, 3, 9).into_iter().flatten().collect();
            for cell in 0..4 {
                let trials: Vec<_> =
                    flat.iter().filter(|(c, _)| *c == cell).map(|(_, trial)| *trial).collect();
                assert_eq!(trials, [0, 1, 2], "{order}");
            }
            assert_eq!(flat.len(), 12);
        }
    }

    #[test]
    fn a_shuffle_repeats_itself_under_its_seed_and_only_there() {
        assert_eq!(Order::Shuffle.rounds(20, 2, 1), Order::Shuffle.rounds(20, 2, 1));
        assert_ne!(Order::Shuffle.rounds(20, 2, 1), Order::Shuffle.rounds(20, 2, 2));
    }

    #[test]
    fn grouped_keeps_a_cell_together() {
        assert_eq!(Order::Grouped.rounds(2, 2, 0), [[(0, 0)], [(0, 1)], [(1, 0)], [(1, 1)]]);
    }
}
