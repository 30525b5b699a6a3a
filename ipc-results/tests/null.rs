//! The false alarm rate and the power of the verdicts, on invented trials of fixed seeds and on stored ones: the slice of
//! `cargo xtask selftest-stats` that needs no measuring. Everything is deterministic.
//!
//! `fixtures/null-trials.tsv` has the p50 of every trial of the `ab` runs of one build against itself that
//! `cargo xtask selftest-stats --power 0` made on 2026-11-29, with nothing else measuring, on a virtual machine of two CPUs
//! that its host moves about: trials of one cell differ by a factor of three.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

use std::collections::BTreeMap;

use ipc_results::estimate::Estimate;
use ipc_results::metric::Metric;
use ipc_results::statistics::{Session, holm, median, pairs, rank_sum};
use ipc_results::verdict::{ALPHA, Evidence, Threshold, Verdict};

const TRIALS: usize = 9;
const SEED: u64 = 4711;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A trial's median as they come on a shared machine: a log-normal of `spread`, every fifth from a second mode.
    fn trial(&mut self, median: f64, spread: f64) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let mode = if self.uniform() < 0.2 { 1.25 } else { 1.0 };
        median * mode * (spread * normal).exp()
    }

    fn arm(&mut self, median: f64, spread: f64) -> Vec<f64> {
        (0..TRIALS).map(|_| self.trial(median, spread)).collect()
    }
}

/// The verdicts of one comparison of several figures, as `compare` comes to them for runs made apart.
fn verdicts(figures: &[Sides]) -> Vec<Verdict> {
    let found = |(a, b): &Sides| (rank_sum::ratio(a, b).unwrap(), rank_sum::p_value(a, b).unwrap());
    judged(figures, Session::Apart, found)
}

/// The same as `ab` comes to them: trial `i` of one side was made right beside trial `i` of the other.
fn verdicts_of_pairs(figures: &[Sides]) -> Vec<Verdict> {
    let found = |(a, b): &Sides| {
        let pairs: Vec<(f64, f64)> = a.iter().copied().zip(b.iter().copied()).collect();
        (pairs::ratio(&pairs).unwrap(), pairs::p_value(&pairs).unwrap())
    };
    judged(figures, Session::Alternating, found)
}

fn judged(figures: &[Sides], session: Session, found: impl Fn(&Sides) -> (Estimate, f64)) -> Vec<Verdict> {
    let (ratios, p): (Vec<Estimate>, Vec<f64>) = figures.iter().map(found).unzip();
    let judge = |(((a, _), ratio), p_holm): ((&Sides, Estimate), f64)| {
        let (old, compared) = (median(a).unwrap().value, figures.len());
        let evidence = Evidence { metric: Metric::P50, old, ratio, p_holm, compared, session };
        evidence.judge(ALPHA, &Threshold::default_for(Metric::P50)).0
    };
    figures.iter().zip(ratios).zip(holm(&p)).map(judge).collect()
}

#[test]
fn two_arms_without_a_difference_are_red_no_more_often_than_nominal() {
    const RUNS: u32 = 600;
    let mut random = Random(SEED);
    for figures in [1, 4] {
        let mut red = 0;
        for _ in 0..RUNS {
            let pairs: Vec<_> =
                (0..figures).map(|_| (random.arm(9_000.0, 0.05), random.arm(9_000.0, 0.05))).collect();
            red += u32::from(verdicts(&pairs).contains(&Verdict::Regressed));
        }
        let nominal = ALPHA / 2.0 * f64::from(RUNS);
        let most = nominal + 3.0 * nominal.sqrt();
        assert!(f64::from(red) <= most, "{figures} figures: {red} of {RUNS} are red (seed {SEED})");
    }
}

#[test]
fn ten_per_cent_are_seen_in_nineteen_of_twenty_runs_on_a_quiet_machine_and_named_for_what_they_are() {
    const RUNS: u32 = 400;
    let mut random = Random(SEED);
    let mut green = 0;
    for _ in 0..RUNS {
        let a: Vec<f64> = (0..TRIALS).map(|_| random.trial(9_000.0, 0.02)).collect();
        // The same two modes, all of it a tenth slower.
        let b: Vec<f64> = (0..TRIALS).map(|_| 1.1 * random.trial(9_000.0, 0.02)).collect();
        green += u32::from(verdicts(&[(a, b)])[0] == Verdict::Improved);
    }
    assert_eq!(green, 0, "slower was called faster (seed {SEED})");
    let mut seen = 0;
    for _ in 0..RUNS {
        let quiet = |random: &mut Random, scale: f64| -> Vec<f64> {
            (0..TRIALS).map(|_| scale * 9_000.0 * (1.0 + 0.06 * (random.uniform() - 0.5))).collect()
        };
        let pair = (quiet(&mut random, 1.0), quiet(&mut random, 1.1));
        seen += u32::from(verdicts(&[pair])[0] == Verdict::Regressed);
    }
    assert!(seen >= RUNS * 19 / 20, "{seen} of {RUNS} are red (seed {SEED})");
}

/// The trials of one figure, or of one stored run of a cell: those of side A and of side B.
type Sides = (Vec<f64>, Vec<f64>);

/// The stored runs of each cell.
fn stored() -> BTreeMap<&'static str, Vec<Sides>> {
    let mut cells: BTreeMap<&str, Vec<Sides>> = BTreeMap::new();
    for line in include_str!("fixtures/null-trials.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [cell, run, side, p50_ns] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let runs = cells.entry(cell).or_default();
        runs.resize(runs.len().max(run.parse::<usize>().unwrap() + 1), Sides::default());
        let (a, b) = runs.last_mut().unwrap();
        if side == "a" { a } else { b }.push(p50_ns.parse().unwrap());
    }
    cells
}

/// Halves drawn at random out of all trials of a cell, those of the second multiplied by `factor`.
fn halves(random: &mut Random, runs: &[Sides], factor: f64) -> Sides {
    let mut pool: Vec<f64> = runs.iter().flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
    for place in 0..2 * TRIALS {
        let from = place + (random.uniform() * (pool.len() - place) as f64) as usize;
        pool.swap(place, from);
    }
    (pool[..TRIALS].to_vec(), pool[TRIALS..2 * TRIALS].iter().map(|ns| ns * factor).collect())
}

#[test]
fn stored_trials_without_a_difference_are_red_no_more_often_than_nominal() {
    const DRAWN: u32 = 600;
    for (cell, runs) in stored() {
        let red = runs.iter().filter(|pair| verdicts(&[(*pair).clone()])[0] == Verdict::Regressed).count();
        assert!(red <= (runs.len() * 2).div_ceil(50), "{cell}: {red} of {} runs are red", runs.len());
        let mut random = Random(SEED);
        let red = (0..DRAWN)
            .filter(|_| verdicts(&[halves(&mut random, &runs, 1.0)])[0] == Verdict::Regressed)
            .count();
        let nominal = ALPHA / 2.0 * f64::from(DRAWN);
        assert!(
            red as f64 <= nominal + 3.0 * nominal.sqrt(),
            "{cell}: {red} of {DRAWN} drawn are red (seed {SEED})"
        );
    }
}

#[test]
fn what_stored_trials_cannot_show_is_inconclusive_and_never_called_unchanged() {
    const DRAWN: u32 = 400;
    for (cell, runs) in stored() {
        let mut random = Random(SEED);
        let drawn = |random: &mut Random, factor| verdicts(&[halves(random, &runs, factor)])[0];
        let tenth: Vec<Verdict> = (0..DRAWN).map(|_| drawn(&mut random, 1.1)).collect();
        let count = |wanted| tenth.iter().filter(|verdict| **verdict == wanted).count();
        let nominal = ALPHA / 2.0 * f64::from(DRAWN);
        let most = nominal + 3.0 * nominal.sqrt();
        assert!(count(Verdict::Improved) as f64 <= most, "{cell}: slower was called faster (seed {SEED})");
        assert_eq!(count(Verdict::Unchanged), 0, "{cell}: a tenth was called nothing (seed {SEED})");
        // Beyond what one trial differs from another by, nine of them on each side see it.
        let seen = (0..40).filter(|_| drawn(&mut random, 4.0) == Verdict::Regressed).count();
        assert!(seen >= 38, "{cell}: {seen} of 40 are red (seed {SEED})");
    }
}

/// Trials of each side in a run of `cargo xtask selftest-stats`.
const PAIRS: usize = 50;

/// Every stretch of so many consecutive pairs in all stored runs of a cell end to end, as it is and with its sides exchanged.
fn stretches(runs: &[Sides]) -> impl Iterator<Item = Sides> {
    let all: Vec<(f64, f64)> =
        runs.iter().flat_map(|(a, b)| a.iter().copied().zip(b.iter().copied())).collect();
    let exchanged: Vec<(f64, f64)> = all.iter().map(|(a, b)| (*b, *a)).collect();
    let stretch = |pairs: &[(f64, f64)]| pairs.iter().copied().unzip();
    let both: Vec<Sides> =
        [all, exchanged].iter().flat_map(|pairs| pairs.windows(PAIRS).map(stretch)).collect();
    both.into_iter()
}

/// Side B takes a tenth longer, of its own time where `own`, else of that which the latest trial of side A took, as
/// `ab --inject 10%` does it: in every other pair B comes first.
fn a_tenth_more((a, mut b): Sides, own: bool) -> Sides {
    for place in 0..b.len() {
        let latest = if own { b[place] } else { a[if place % 2 == 0 { place } else { place - 1 }] };
        b[place] += latest / 10.0;
    }
    (a, b)
}

#[test]
fn stored_pairs_without_a_difference_are_red_no_more_often_than_nominal() {
    for (cell, runs) in stored() {
        for (a, b) in &runs {
            assert_eq!(a.len(), b.len(), "{cell}: a trial without a twin");
            let verdict = verdicts_of_pairs(&[(a.clone(), b.clone())])[0];
            assert!(
                !matches!(verdict, Verdict::Regressed | Verdict::Improved),
                "{cell}: {verdict} {a:?} {b:?}"
            );
        }
        let all = stretches(&runs).count();
        let red = stretches(&runs)
            .filter(|pair| verdicts_of_pairs(std::slice::from_ref(pair))[0] == Verdict::Regressed);
        let (red, nominal) = (red.count() as f64, ALPHA / 2.0 * all as f64);
        assert!(red <= nominal, "{cell}: {red} of {all} are red, {nominal} are due");
    }
}

#[test]
fn a_tenth_more_is_seen_in_stored_pairs_of_a_machine_whose_trials_differ_by_a_factor_of_three() {
    for (cell, runs) in stored() {
        for own in [true, false] {
            let seen = |pair: &Sides| verdicts_of_pairs(&[a_tenth_more(pair.clone(), own)])[0];
            let all: Vec<Verdict> = stretches(&runs).map(|pair| seen(&pair)).collect();
            let red = all.iter().filter(|verdict| **verdict == Verdict::Regressed).count();
            assert!(red * 20 >= all.len() * 19, "{cell}: {red} of {} are red", all.len());
            assert!(!all.contains(&Verdict::Improved), "{cell}: slower was called faster");
        }
    }
}

#[test]
fn what_lasts_longer_than_a_pair_does_not_hide_a_tenth_and_makes_none() {
    const RUNS: u32 = 400;
    let mut random = Random(SEED);
    let mut red = [0, 0];
    for run in 0..2 * RUNS {
        let factor = if run % 2 == 0 { 1.0 } else { 1.1 };
        // The machine has two paces, keeps each for some ten trials, and gets slower all the time.
        let (mut slow, mut drift) = (false, 1.0);
        let mut trial = |random: &mut Random, scale: f64| {
            slow ^= random.uniform() < 0.1;
            drift *= 1.002;
            scale * 300.0 * drift * if slow { 3.0 } else { 1.0 } * (1.0 + 0.04 * (random.uniform() - 0.5))
        };
        let mut sides = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            if pair % 2 == 0 {
                sides.0.push(trial(&mut random, 1.0));
                sides.1.push(trial(&mut random, factor));
            } else {
                sides.1.push(trial(&mut random, factor));
                sides.0.push(trial(&mut random, 1.0));
            }
        }
        red[(run % 2) as usize] += u32::from(verdicts_of_pairs(&[sides])[0] == Verdict::Regressed);
    }
    let nominal = ALPHA / 2.0 * f64::from(RUNS);
    assert!(f64::from(red[0]) <= nominal + 3.0 * nominal.sqrt(), "{red:?} of {RUNS} (seed {SEED})");
    assert!(red[1] >= RUNS * 19 / 20, "{red:?} of {RUNS} (seed {SEED})");
}

#[test]
fn seven_trials_carry_forty_metrics_and_six_do_not() {
    // The largest separation there is: every trial of B above every trial of A.
    let separated = |trials: usize| {
        let a: Vec<f64> = (0..trials).map(|i| 9_000.0 + i as f64).collect();
        let b: Vec<f64> = a.iter().map(|value| value * 1.5).collect();
        (a, b)
    };
    for (trials, expected) in [(7, Verdict::Regressed), (6, Verdict::Inconclusive)] {
        let mut random = Random(SEED);
        let mut pairs = vec![separated(trials)];
        while pairs.len() < 40 {
            let quiet = |random: &mut Random| (0..trials).map(|_| random.trial(9_000.0, 0.02)).collect();
            let pair: (Vec<f64>, Vec<f64>) = (quiet(&mut random), quiet(&mut random));
            // The other figures show nothing at all, so that Holm's factor stays at forty.
            if rank_sum::p_value(&pair.0, &pair.1).unwrap() > 0.5 {
                pairs.push(pair);
            }
        }
        assert_eq!(verdicts(&pairs)[0], expected, "{trials} trials");
    }
}
