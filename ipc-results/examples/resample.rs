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

use ipc_results::compare::{Session, of_figures};
use ipc_results::figures::Figures;
use ipc_results::policy::Policy;
use ipc_results::statistics::pairs::twins;
use ipc_results::verdict::{ALPHA, Verdict};
use ipc_results::{Cell, arms, file};

/// What all runs made of one cell.
struct Pool {
    cell: Cell,
    /// Neighbours, side A first.
    pairs: Vec<[Figures; 2]>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [count, trials, seed, files @ ..] = &words[..] else { panic!("COUNT TRIALS SEED RUN.json…") };
    let (count, trials): (u32, usize) = (count.parse().unwrap(), trials.parse().unwrap());
    let mut random = Random(seed.parse().unwrap());
    let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
    for path in files {
        let run = file::read_run(Path::new(path)).unwrap();
        let [(_, a), (_, b)] = arms::split(&run).unwrap_or_else(|| panic!("{path} was not made by ab"));
        for (old, new) in a.cells.iter().filter_map(|cell| Some((cell, b.cell(&cell.id)?))) {
            let empty = || Pool { cell: Cell { trials: Vec::new(), ..old.clone() }, pairs: Vec::new() };
            let pool = pools.entry(old.id.clone()).or_insert_with(empty);
            let (old, new) = (Figures::of_cell(old).unwrap(), Figures::of_cell(new).unwrap());
            let steps = |trials: &[Figures]| trials.iter().map(|trial| trial.order).collect::<Vec<_>>();
            let pairs = twins(&steps(&old), &steps(&new));
            pool.pairs.extend(pairs.into_iter().map(|(a, b)| [old[a].clone(), new[b].clone()]));
        }
    }
    let mut too_often = false;
    for (id, Pool { cell, pairs }) in &pools {
        let all = pairs.len();
        assert!(all >= 2 * trials, "{id} has {all} pairs, too few to take stretches of {trials} from");
        let (mut red, mut green) = (0, 0);
        for _ in 0..count {
            let (first, new) = (random.below(all), random.below(2));
            // In the file of one session each pair has its own two steps.
            let side = |side: usize| -> Vec<Figures> {
                let order = |place: usize| 3 * place as u32 + u32::from(side != new);
                (0..trials)
                    .map(|place| Figures {
                        order: order(place),
                        ..pairs[(first + place) % all][side].clone()
                    })
                    .collect()
            };
            let (a, b) = (side(1 - new), side(new));
            let rows = of_figures(cell, (&a, &b), &Policy::default(), Session::Alternating);
            let any = |verdict| u32::from(rows.iter().any(|row| row.verdict == Some(verdict)));
            red += any(Verdict::Regressed);
            green += any(Verdict::Improved);
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
