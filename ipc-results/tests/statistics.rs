//! The statistics agree with SciPy; `fixtures/statistics.py` computed the reference values.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

use ipc_results::statistics::{holm, median, pairs, rank_sum};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    two_samples: Vec<Samples>,
    tied_samples: Vec<Samples>,
    medians: Vec<Median>,
    holm: Vec<Holm>,
    smallest_p: Vec<Smallest>,
    pairs: Vec<Samples>,
}

#[derive(Deserialize)]
struct Samples {
    a: Vec<f64>,
    b: Vec<f64>,
    p: f64,
    ratio: Option<Interval>,
}

#[derive(Deserialize)]
struct Interval {
    value: f64,
    lo: f64,
    hi: f64,
}

#[derive(Deserialize)]
struct Median {
    values: Vec<f64>,
    #[serde(flatten)]
    interval: Interval,
    coverage: f64,
}

#[derive(Deserialize)]
struct Holm {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct Smallest {
    n: usize,
    m: usize,
    p: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("fixtures/statistics.json")).unwrap()
}

#[track_caller]
fn close(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-3), "{ours} and {theirs}");
}

#[test]
fn the_p_of_the_rank_sum_test_is_scipys_with_and_without_ties() {
    let reference = reference();
    for samples in reference.two_samples.iter().chain(&reference.tied_samples) {
        close(rank_sum::p_value(&samples.a, &samples.b).unwrap(), samples.p);
    }
    for smallest in reference.smallest_p {
        close(rank_sum::smallest_p(smallest.n, smallest.m), smallest.p.min(1.0));
    }
}

#[test]
fn the_ratio_and_its_interval_are_those_found_by_trying_every_candidate() {
    for samples in reference().two_samples {
        let ours = rank_sum::ratio(&samples.a, &samples.b).unwrap();
        let theirs = samples.ratio.unwrap();
        close(ours.value, theirs.value);
        close(ours.lo, theirs.lo);
        close(ours.hi, theirs.hi);
    }
}

#[test]
fn the_median_and_its_interval_are_those_of_the_binomial_distribution() {
    for reference in reference().medians {
        let ours = median(&reference.values).unwrap();
        close(ours.value, reference.interval.value);
        close(ours.lo, reference.interval.lo);
        close(ours.hi, reference.interval.hi);
        close(ours.coverage, reference.coverage);
    }
}

#[test]
fn holms_adjustment_is_that_of_statsmodels() {
    for reference in reference().holm {
        for (ours, theirs) in holm(&reference.p).into_iter().zip(reference.adjusted) {
            close(ours, theirs);
        }
    }
}

#[test]
fn the_p_and_the_interval_of_pairs_are_those_of_the_sign_test() {
    for samples in reference().pairs {
        let pairs: Vec<(f64, f64)> = samples.a.into_iter().zip(samples.b).collect();
        close(pairs::p_value(&pairs).unwrap(), samples.p);
        let (ours, theirs) = (pairs::ratio(&pairs).unwrap(), samples.ratio.unwrap());
        close(ours.value, theirs.value);
        close(ours.lo, theirs.lo);
        close(ours.hi, theirs.hi);
    }
}
