//! Two samples made side by side: each trial of one right after its twin of the other, as `ab` makes them.
//!
//! What lasts longer than a pair (the host moves a virtual CPU, a frequency steps, a neighbour begins) is in both of its
//! trials and in no ratio of theirs. Only the sign of a pair counts for the test, so that one which such a change cut in two
//! weighs no more than any other, whatever it makes of the ratio.
//!
//! Sources: Dixon and Mood 1946 for the test; Thompson 1936 for the interval that inverts it; Hollander, Wolfe and Chicken,
//! Nonparametric Statistical Methods, §3.4–3.6 for both as used here.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::median;
use crate::estimate::Estimate;

/// The ratio `b / a` of pairs of positive values: the median of theirs, with its order-statistic interval.
///
/// The interval holds every ratio that the exact two-sided sign test would not reject at 5 %, so that it excludes 1 only
/// when that test is significant. With fewer than six pairs 95 % cannot be reached and it spans all of them; the coverage
/// says what it is then.
///
/// `None` without pairs, or when one holds a value that is not positive and finite.
pub fn ratio(pairs: &[(f64, f64)]) -> Option<Estimate> {
    let good = |value: f64| value.is_finite() && value > 0.0;
    if !pairs.iter().all(|(a, b)| good(*a) && good(*b)) {
        return None;
    }
    // On logarithms, so that of two pairs that say the opposite neither weighs more.
    let logarithms: Vec<f64> = pairs.iter().map(|(a, b)| (b / a).ln()).collect();
    let Estimate { value, lo, hi, trials, coverage } = median(&logarithms)?;
    Some(Estimate { value: value.exp(), lo: lo.exp(), hi: hi.exp(), trials, coverage })
}

/// The two-sided p of the exact sign test that neither of a pair tends to be the larger.
///
/// Pairs of equals say nothing and are left out. `None` without pairs, or when one holds a value that is not finite.
pub fn p_value(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.is_empty() || pairs.iter().any(|(a, b)| !a.is_finite() || !b.is_finite()) {
        return None;
    }
    let rises = pairs.iter().filter(|(a, b)| a < b).count() as u64;
    let falls = pairs.iter().filter(|(a, b)| a > b).count() as u64;
    // ½ is a probability.
    let signs = Binomial::new(0.5, rises + falls).ok()?;
    Some((2.0 * signs.cdf(rises.min(falls))).min(1.0))
}

/// The smallest p that [`p_value`] can reach with `n` pairs: all of them say the same.
pub fn smallest_p(n: usize) -> f64 {
    (2.0 * 0.5f64.powi(n.min(1_000) as i32)).min(1.0)
}

/// Which trials are twins: places in `a` and in `b`, given by the number of the step that made each. A trial that has no
/// neighbour of the other side, because that one failed or was made again later, is in no pair.
pub fn twins(a: &[u32], b: &[u32]) -> Vec<(usize, usize)> {
    let mut steps: Vec<(u32, bool, usize)> = Vec::with_capacity(a.len() + b.len());
    steps.extend(a.iter().enumerate().map(|(place, step)| (*step, false, place)));
    steps.extend(b.iter().enumerate().map(|(place, step)| (*step, true, place)));
    steps.sort_unstable();
    let (mut twins, mut rest) = (Vec::new(), &steps[..]);
    while let [one, two, others @ ..] = rest {
        let neighbours = one.1 != two.1 && two.0 - one.0 == 1;
        if neighbours {
            twins.push(if one.1 { (two.2, one.2) } else { (one.2, two.2) });
        }
        rest = if neighbours { others } else { &rest[1..] };
    }
    twins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_of_a_pair_have_is_not_in_the_ratio() {
        // A tenth more, on a machine that doubles and halves its pace from pair to pair.
        let pairs: Vec<(f64, f64)> = (0..9).map(|i| (f64::from(1 << i), 1.1 * f64::from(1 << i))).collect();
        let estimate = ratio(&pairs).unwrap();
        assert!((estimate.value - 1.1).abs() < 1e-12 && estimate.hi - estimate.lo < 1e-12, "{estimate:?}");
        assert_eq!(estimate.trials, 9);
        assert!((p_value(&pairs).unwrap() - smallest_p(9)).abs() < 1e-12);
        let swapped: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        assert!((ratio(&swapped).unwrap().value - 1.0 / 1.1).abs() < 1e-12);
    }

    #[test]
    fn a_pair_that_was_cut_in_two_weighs_no_more_than_another() {
        let mut pairs = vec![(100.0, 110.0); 18];
        pairs.extend([(300.0, 100.0), (300.0, 110.0)]);
        let estimate = ratio(&pairs).unwrap();
        assert!((estimate.value - 1.1).abs() < 1e-9 && (estimate.lo - 1.1).abs() < 1e-9, "{estimate:?}");
        // 2·(1 + 20 + 190) / 2^20.
        assert!((p_value(&pairs).unwrap() - 422.0 / 1_048_576.0).abs() < 1e-12);
    }

    #[test]
    fn equals_say_nothing_and_nothing_comes_of_nothing() {
        for pairs in [[(1.0, 1.0), (2.0, 2.0)], [(1.0, 1.0), (2.0, 3.0)]] {
            assert!((p_value(&pairs).unwrap() - 1.0).abs() < 1e-12);
        }
        assert_eq!(
            ratio(&[(1.0, 1.0); 8]).map(|ratio| (ratio.lo, ratio.value, ratio.hi)),
            Some((1.0, 1.0, 1.0))
        );
        assert!(ratio(&[]).is_none() && p_value(&[]).is_none());
        assert!(ratio(&[(0.0, 1.0)]).is_none() && p_value(&[(1.0, f64::NAN)]).is_none());
    }

    #[test]
    fn twins_are_neighbours_of_different_sides() {
        // A B, B A, A B with a yardstick between the rounds.
        assert_eq!(twins(&[1, 4, 6], &[2, 3, 7]), [(0, 0), (1, 1), (2, 2)]);
        // Without anything between them.
        assert_eq!(twins(&[0, 3, 4], &[1, 2, 5]), [(0, 0), (1, 1), (2, 2)]);
        // The first of B failed, and the last of A was made again behind everything.
        assert_eq!(twins(&[1, 4, 6, 20], &[3, 7]), [(1, 0), (2, 1)]);
        assert!(twins(&[1, 2], &[]).is_empty() && twins(&[0, 0], &[0, 0]).is_empty());
    }
}
