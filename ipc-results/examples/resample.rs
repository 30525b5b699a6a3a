//! The null test on real trials: draws two halves at random out of trials that had no reason to differ, compares them as
//! `ab` would, and counts how often that is red.
//!
//! `cargo run --release -p ipc-results --example resample -- COUNT TRIALS SEED RUN.json…`, runs that `ab` made of two
//! arms without a difference. All trials of a cell over all files are one pool. Ends with 1 when a cell is red more often
//! than its nominal rate allows.
#![allow(clippy::unwrap_used, reason = "an example that fails should stop")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use ipc_results::compare::{Comparison, Session};
use ipc_results::policy::Policy;
use ipc_results::verdict::{ALPHA, Verdict};
use ipc_results::{Cell, Run, arms, file, summarise};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [count, trials, seed, files @ ..] = &words[..] else { panic!("COUNT TRIALS SEED RUN.json…") };
    let (count, trials): (u32, usize) = (count.parse().unwrap(), trials.parse().unwrap());
    let mut random = Random(seed.parse().unwrap());
    let mut frame = None;
    let mut pools: BTreeMap<String, Cell> = BTreeMap::new();
    for path in files {
        let run = file::read_run(Path::new(path)).unwrap();
        for (_, side) in arms::split(&run).unwrap_or_else(|| panic!("{path} was not made by ab")) {
            for cell in &side.cells {
                let pool = pools
                    .entry(cell.id.clone())
                    .or_insert_with(|| Cell { trials: Vec::new(), ..cell.clone() });
                pool.trials.extend(cell.completed().cloned());
            }
        }
        frame.get_or_insert(run);
    }
    let frame = frame.unwrap();
    let mut too_often = false;
    for (id, pool) in &mut pools {
        let all = pool.trials.len();
        assert!(all >= 2 * trials, "{id} has {all} trials, too few for two halves of {trials}");
        let (mut red, mut green) = (0, 0);
        for _ in 0..count {
            random.shuffle(&mut pool.trials, 2 * trials);
            let side = |from: usize| {
                let mut cell = Cell { trials: pool.trials[from..from + trials].to_vec(), ..pool.clone() };
                cell.summary = summarise(&cell).unwrap();
                Run { cells: vec![cell], ..frame.clone() }
            };
            let (a, b) = (side(0), side(trials));
            let comparison =
                Comparison::new(("a", &a), ("b", &b), &Policy::default(), Session::Alternating, false)
                    .unwrap();
            red += u32::from(comparison.with(Verdict::Regressed).count() > 0);
            green += u32::from(comparison.with(Verdict::Improved).count() > 0);
        }
        // Red and green share the chance of a false alarm; three standard deviations above it is no accident.
        let nominal = ALPHA / 2.0 * f64::from(count);
        let most = nominal + 3.0 * nominal.sqrt();
        println!(
            "{id}: {red} red and {green} green of {count}, drawn from {all} trials; at most {nominal:.0} of each are due"
        );
        too_often |= f64::from(red.max(green)) > most;
    }
    ExitCode::from(u8::from(too_often))
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }

    /// Puts a random choice of so many values to the front, in random order.
    fn shuffle<T>(&mut self, values: &mut [T], chosen: usize) {
        for place in 0..chosen {
            let from = place + self.below(values.len() - place);
            values.swap(place, from);
        }
    }
}
