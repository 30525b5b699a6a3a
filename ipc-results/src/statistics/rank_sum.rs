//! Two independent samples compared by ranks: no assumption about the shape of either, exact for any size.
//!
//! Sources: Mann and Whitney 1947 for the test; Hodges and Lehmann 1963 for the estimate and the interval that inverts
//! it; Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, §4.1–4.3 for both as used here.

use statrs::distribution::{ContinuousCDF, Normal};

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

/// The two-sided p of the exact Mann–Whitney test that both samples come from one source.
///
/// Exact with ties as well, given the ties (equal values share their mean rank). `None` when a sample is empty or holds a
/// value that is not finite.
pub fn p_value(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() || a.iter().chain(b).any(|value| !value.is_finite()) {
        return None;
    }
    let mut all: Vec<(f64, bool)> =
        a.iter().map(|value| (*value, true)).chain(b.iter().map(|value| (*value, false))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    // Twice the mean rank of each group of equals is the sum of its first and its last rank, a whole number.
    let (mut ranks, mut observed) = (Vec::with_capacity(all.len()), 0);
    for group in all.chunk_by(|x, y| x.0 == y.0) {
        let twice_the_rank = 2 * ranks.len() + 1 + group.len();
        observed += twice_the_rank * group.iter().filter(|(_, from_a)| *from_a).count();
        ranks.extend(std::iter::repeat_n(twice_the_rank, group.len()));
    }
    if ranks.len() > EXACT_TRIALS {
        return Some(normal_p(&ranks, a.len(), observed as f64));
    }
    let distribution = sum_distribution(&ranks, a.len());
    let at_most: f64 = distribution[..=observed].iter().sum();
    let at_least: f64 = distribution[observed..].iter().sum();
    Some((2.0 * at_most.min(at_least)).min(1.0))
}

/// The smallest p that [`p_value`] can reach with `n` and `m` trials: `2 / C(n+m, n)`.
pub fn smallest_p(n: usize, m: usize) -> f64 {
    // C(n+m, n) multiplied up from the small end, so that the intermediate results stay in range.
    let orders = (1..=n).fold(1.0, |orders, i| orders * (m + i) as f64 / i as f64);
    (2.0 / orders).min(1.0)
}

/// Trials of both samples together up to which everything here is exact; the work grows with the fourth power. Above, the
/// normal distribution is right to four digits.
const EXACT_TRIALS: usize = 80;

/// Two-sided p by the normal approximation with the variance of these ranks (Hollander, Wolfe and Chicken, §4.1) and
/// the continuity correction.
fn normal_p(ranks: &[usize], n: usize, observed: f64) -> f64 {
    let total = ranks.len() as f64;
    let mean = ranks.iter().sum::<usize>() as f64 / total;
    let variance = ranks.iter().map(|rank| (*rank as f64 - mean).powi(2)).sum::<f64>() / (total - 1.0);
    let deviation = (n as f64 * (total - n as f64) / total * variance).sqrt();
    // Ranks are doubled, so that half a rank is 1.
    let distance = ((observed - n as f64 * mean).abs() - 1.0).max(0.0);
    if deviation == 0.0 { 1.0 } else { (2.0 * Normal::standard().sf(distance / deviation)).min(1.0) }
}

/// Rank `k ≥ 1` of the interval `[d(k), d(nm+1-k)]` among the sorted pairwise differences, and its coverage.
fn interval_rank(n: usize, m: usize) -> (usize, f64) {
    if n + m > EXACT_TRIALS {
        return normal_interval_rank(n, m);
    }
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

/// [`interval_rank`] by the normal approximation (Hollander, Wolfe and Chicken, equation 4.37).
fn normal_interval_rank(n: usize, m: usize) -> (usize, f64) {
    let (n, m) = (n as f64, m as f64);
    let quantile = Normal::standard().inverse_cdf(0.5 + TARGET_COVERAGE / 2.0);
    let rank = n * m / 2.0 - quantile * (n * m * (n + m + 1.0) / 12.0).sqrt();
    (rank.floor().max(1.0) as usize, TARGET_COVERAGE)
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
    fn the_smallest_p_bounds_every_p() {
        let separate: Vec<f64> = (1..=7).map(f64::from).collect();
        let other: Vec<f64> = (11..=17).map(f64::from).collect();
        assert!((p_value(&separate, &other).unwrap() - smallest_p(7, 7)).abs() < 1e-12);
        assert_eq!(p_value(&[1.0], &[2.0]), Some(1.0));
        assert_eq!(p_value(&[3.0, 3.0], &[3.0, 3.0]), Some(1.0));
        assert_eq!(p_value(&[], &[1.0]), None);
    }

    #[test]
    fn the_approximation_takes_over_without_a_step() {
        let sample =
            |n: u32, shift: f64| (0..n).map(|i| f64::from(i) * 1.618 % 1.0 + shift + 1.0).collect::<Vec<_>>();
        let (exact, approximate) =
            (p_value(&sample(40, 0.0), &sample(40, 0.12)), p_value(&sample(41, 0.0), &sample(41, 0.12)));
        assert!((exact.unwrap() - approximate.unwrap()).abs() < 0.01, "{exact:?} {approximate:?}");
        let (exact, approximate) = (interval_rank(40, 40).0, normal_interval_rank(40, 40).0);
        assert!(exact.abs_diff(approximate) <= 1, "{exact} {approximate}");
        let wide = ratio(&sample(100, 0.0), &sample(100, 0.0)).unwrap();
        assert!(wide.lo < 1.0 && wide.hi > 1.0 && wide.coverage == 0.95);
    }

    #[test]
    fn a_ratio_needs_positive_numbers() {
        assert!(ratio(&[], &[1.0]).is_none());
        assert!(ratio(&[0.0], &[1.0]).is_none());
        assert!(ratio(&[1.0], &[f64::INFINITY]).is_none());
    }
}
