//! Two independent samples compared by ranks: no assumption about the shape of either, exact for any size.
//!
//! Sources: Mann and Whitney 1947 for the test; Hodges and Lehmann 1963 for the estimate and the interval that inverts
//! it; Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, §4.1–4.3 for both as used here.

use super::TARGET_COVERAGE;
use crate::estimate::Estimate;

/// The ratio `b / a` of two samples of positive values, as from the trials of two cells.
///
/// The value is the Hodges–Lehmann estimate on logarithms: the median over all pairs of `ln b - ln a`. The interval
/// holds every ratio that the exact two-sided Mann–Whitney test would not reject at 5 %, so that it excludes 1 exactly when
/// that test is significant (ties make it wider, never narrower). With fewer than four trials on a side 95 % cannot be
/// reached and it spans all pairs; the coverage says what it is then.
///
/// `None` when a sample is empty or holds a value that is not positive and finite.
pub fn ratio(a: &[f64], b: &[f64]) -> Option<Estimate> {
    let good =
        |sample: &[f64]| !sample.is_empty() && sample.iter().all(|value| value.is_finite() && *value > 0.0);
    if !good(a) || !good(b) {
        return None;
    }
    let mut differences: Vec<f64> = a.iter().flat_map(|a| b.iter().map(move |b| (b / a).ln())).collect();
    differences.sort_by(f64::total_cmp);
    let pairs = differences.len();
    let middle = (differences[(pairs - 1) / 2] + differences[pairs / 2]) / 2.0;
    let (rank, coverage) = interval_rank(a.len(), b.len());
    Some(Estimate {
        value: middle.exp(),
        lo: differences[rank - 1].exp(),
        hi: differences[pairs - rank].exp(),
        trials: a.len().min(b.len()) as u32,
        coverage,
    })
}

/// Rank `k ≥ 1` of the interval `[d(k), d(nm+1-k)]` among the sorted pairwise differences, and its coverage.
fn interval_rank(n: usize, m: usize) -> (usize, f64) {
    let distribution = u_distribution(n, m);
    let mut below = distribution[0];
    let (mut rank, mut coverage) = (1, 1.0 - 2.0 * below);
    for (u, probability) in distribution.iter().enumerate().take(n * m / 2).skip(1) {
        below += probability;
        if 1.0 - 2.0 * below < TARGET_COVERAGE {
            break;
        }
        (rank, coverage) = (u + 1, 1.0 - 2.0 * below);
    }
    (rank, coverage.max(0.0))
}

/// `P(U = u)` for `u` in `0..=n·m`, of the Mann–Whitney statistic without ties when both samples come from one source.
fn u_distribution(n: usize, m: usize) -> Vec<f64> {
    let ranks: Vec<usize> = (1..=n + m).collect();
    // The smallest sum of n ranks is n(n+1)/2, and U counts from there.
    sum_distribution(&ranks, n).split_off(n * (n + 1) / 2)[..=n * m].to_vec()
}

/// `P(S = s)` of the sum `S` of `n` of these `ranks`, drawn without replacement, for `s` in `0..=ranks.sum()`.
///
/// Counts the subsets of each size and sum, adding one rank after another (Streitberg and Röhmel 1986, the shift
/// algorithm): exact with ties too, in order `N·n·ΣR`, and only sums of positive terms.
fn sum_distribution(ranks: &[usize], n: usize) -> Vec<f64> {
    let top: usize = ranks.iter().sum();
    let width = top + 1;
    let mut ways = vec![0.0; (n + 1) * width];
    ways[0] = 1.0;
    for rank in ranks {
        for size in (1..=n).rev() {
            let (smaller, larger) = ways.split_at_mut(size * width);
            let smaller = &smaller[(size - 1) * width..];
            for sum in *rank..width {
                larger[sum] += smaller[sum - rank];
            }
        }
    }
    let counts = &ways[n * width..];
    let total: f64 = counts.iter().sum();
    counts.iter().map(|count| count / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_of_u_is_the_known_one() {
        // Mann and Whitney's table for 3 and 3: 1 1 2 3 3 3 3 2 1 1 of 20.
        let twentieths = [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 2.0, 1.0, 1.0];
        for (probability, expected) in u_distribution(3, 3).into_iter().zip(twentieths) {
            assert!((probability * 20.0 - expected).abs() < 1e-12);
        }
        let sum: f64 = u_distribution(9, 12).into_iter().sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn few_trials_span_all_pairs_and_say_so() {
        let estimate = ratio(&[1.0, 2.0, 4.0], &[8.0, 16.0, 32.0]).unwrap();
        assert!((estimate.value - 8.0).abs() < 1e-12);
        assert!((estimate.lo - 2.0).abs() < 1e-12 && (estimate.hi - 32.0).abs() < 1e-12);
        assert!((estimate.coverage - 0.9).abs() < 1e-12);
        assert_eq!(ratio(&[1.0], &[2.0]).unwrap().coverage, 0.0);
    }

    #[test]
    fn five_trials_a_side_leave_the_outermost_pairs_out() {
        // The largest c with P(U < c) ≤ 2.5 % is 3: P(U ≤ 2) = 4/252.
        assert_eq!(interval_rank(5, 5).0, 3);
        assert!((interval_rank(5, 5).1 - (1.0 - 8.0 / 252.0)).abs() < 1e-12);
    }

    #[test]
    fn equal_samples_have_ratio_one_inside_the_interval() {
        let sample = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6];
        let estimate = ratio(&sample, &sample).unwrap();
        assert_eq!(estimate.value, 1.0);
        assert!(estimate.lo < 1.0 && 1.0 < estimate.hi);
    }

    #[test]
    fn a_ratio_needs_positive_numbers() {
        assert!(ratio(&[], &[1.0]).is_none());
        assert!(ratio(&[0.0], &[1.0]).is_none());
        assert!(ratio(&[1.0], &[f64::INFINITY]).is_none());
    }
}
