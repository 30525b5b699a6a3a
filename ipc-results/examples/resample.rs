//! The null test on real trials: takes stretches of consecutive pairs out of trials that had no reason to differ, compares
//! them as `ab` would, and counts how often that is red. The order in which they were made is kept: it is what the verdicts of
//! pairs rely on.
//!
//! `cargo run --release -p ipc-results --example resample -- COUNT TRIALS SEED RUN.json…`, runs that `ab` made of two
//! arms without a difference. The pairs of a cell over all files, end to end, are one ring; a stretch begins anywhere in it,
//! and a coin says which side is the new one. Ends with 1 when a cell is red more often than its nominal rate allows.
#![allow(clippy::unwrap_used, reason = "an example that fails should stop")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use ipc_results::cell::Trial;
use ipc_results::compare::{Comparison, Session};
use ipc_results::policy::Policy;
use ipc_results::statistics::pairs::twins;
use ipc_results::verdict::{ALPHA, Verdict};
use ipc_results::{Cell, Run, arms, file, summarise};

/// What all runs made of one cell.
struct Pool {
    cell: Cell,
    /// Neighbours, side A first.
    pairs: Vec<[Trial; 2]>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [count, trials, seed, files @ ..] = &words[..] else { panic!("COUNT TRIALS SEED RUN.json…") };
    let (count, trials): (u32, usize) = (count.parse().unwrap(), trials.parse().unwrap());
    let mut random = Random(seed.parse().unwrap());
    let mut frame = None;
    let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
    for path in files {
        let run = file::read_run(Path::new(path)).unwrap();
        let [(_, a), (_, b)] = arms::split(&run).unwrap_or_else(|| panic!("{path} was not made by ab"));
        for (old, new) in a.cells.iter().filter_map(|cell| Some((cell, b.cell(&cell.id)?))) {
            let empty = || Pool { cell: Cell { trials: Vec::new(), ..old.clone() }, pairs: Vec::new() };
            let pool = pools.entry(old.id.clone()).or_insert_with(empty);
            let made = |cell: &Cell| cell.completed().cloned().collect::<Vec<Trial>>();
            let (old, new) = (made(old), made(new));
            let steps = |trials: &[Trial]| trials.iter().map(|trial| trial.order).collect::<Vec<_>>();
            let pairs = twins(&steps(&old), &steps(&new));
            pool.pairs.extend(pairs.into_iter().map(|(a, b)| [old[a].clone(), new[b].clone()]));
        }
        frame.get_or_insert(run);
    }
    let frame = frame.unwrap();
    let mut too_often = false;
    for (id, Pool { cell, pairs }) in &pools {
        let all = pairs.len();
        assert!(all >= 2 * trials, "{id} has {all} pairs, too few to take stretches of {trials} from");
        let (mut red, mut green) = (0, 0);
        for _ in 0..count {
            let (first, new) = (random.below(all), random.below(2));
            let side = |side: usize| {
                // In the file of one session each pair has its own two steps.
                let trial = |place: usize| {
                    let order = 3 * place as u32 + u32::from(side != new);
                    Trial { order, ..pairs[(first + place) % all][side].clone() }
                };
                let mut cell = Cell { trials: (0..trials).map(trial).collect(), ..cell.clone() };
                cell.summary = summarise(&cell).unwrap();
                Run { cells: vec![cell], ..frame.clone() }
            };
            let (a, b) = (side(1 - new), side(new));
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
            "{id}: {red} red and {green} green of {count}, out of {all} pairs; at most {nominal:.0} of each are due"
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
}
