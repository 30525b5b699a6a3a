//! The statistics behind every printed number. All inference is over trials, never over messages: the millions of
//! messages of one trial share one placement of pages, processes and interrupts, and are one sample of it.

pub mod pairs;
pub mod rank_sum;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::estimate::Estimate;

/// Coverage an interval aims at; with too few trials it has what it can and says so.
pub const TARGET_COVERAGE: f64 = 0.95;

/// How the trials of two sides were made, which decides how they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Session {
    /// In two runs, perhaps days apart: two samples, compared by ranks ([`rank_sum`]).
    #[default]
    Apart,
    /// One right after the other in one session, as `ab` makes them: pairs ([`mod@pairs`]).
    Alternating,
}

impl Session {
    /// The smallest p that `n` trials on each side can reach.
    pub fn smallest_p(self, n: usize) -> f64 {
        match self {
            Self::Apart => rank_sum::smallest_p(n, n),
            Self::Alternating => pairs::smallest_p(n),
        }
    }

    /// How many metrics can be gated together with `n` trials on each side: with more, even a complete separation of one
    /// of them is not significant at `alpha` after [`holm`]. Apart 0, 1, 6, 23, 85, 321 for 3 to 8 trials at 0.05;
    /// alternating 0, 1, 3, 6, 12, 25 for 5 to 10.
    pub fn gateable_metrics(self, n: usize, alpha: f64) -> usize {
        (alpha / self.smallest_p(n)) as usize
    }

    /// The fewest trials on each side with which `metrics` metrics can be gated together at `alpha`.
    pub fn trials_for(self, metrics: usize, alpha: f64) -> usize {
        // Every further trial at least doubles the count, so that this ends for any number of metrics.
        (1..).find(|n| self.gateable_metrics(*n, alpha) >= metrics).unwrap_or(usize::MAX)
    }
}

/// The median of `values` and the order-statistic interval of it.
///
/// The interval is `[x(k), x(n+1-k)]` with the largest `k` that covers at least 95 %; below six values that cannot be
/// reached and it is the minimum and the maximum. Its coverage is `1 - 2·P(Bin(n, ½) < k)` whatever the distribution
/// (David and Nagaraja, Order Statistics, §7.1): 93.75 % for 5 values, 98.4 % for 7.
///
/// `None` for an empty slice or one with a value that is not finite.
pub fn median(values: &[f64]) -> Option<Estimate> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let value = if n % 2 == 1 { sorted[n / 2] } else { (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0 };
    let (rank, coverage) = interval_rank(n);
    Some(Estimate { value, lo: sorted[rank - 1], hi: sorted[n - rank], trials: n as u32, coverage })
}

/// The rank `k ≥ 1` of [`median`]'s interval for `n ≥ 1` values, and its coverage.
fn interval_rank(n: usize) -> (usize, f64) {
    let (mut rank, mut coverage) = (1, 0.0);
    // The symmetric binomial always exists: ½ is a probability.
    #[allow(clippy::unwrap_used, reason = "½ is a probability")]
    let signs = Binomial::new(0.5, n as u64).unwrap();
    for k in 1..=n.div_ceil(2) {
        let covered = (1.0 - 2.0 * signs.cdf(k as u64 - 1)).max(0.0);
        if k > 1 && covered < TARGET_COVERAGE {
            break;
        }
        (rank, coverage) = (k, covered);
    }
    (rank, coverage)
}

/// Holm's step-down adjustment of the p of several tests: rejecting where it is below α keeps the chance of even one false
/// rejection below α, whatever the tests depend on (Holm 1979). The order is that of the input.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (position, index) in order.into_iter().enumerate() {
        largest = largest.max(((p.len() - position) as f64 * p[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(values: &[f64]) -> (f64, f64, f64, f64) {
        let estimate = median(values).unwrap();
        (estimate.value, estimate.lo, estimate.hi, (estimate.coverage * 1e7).round() / 1e7)
    }

    #[test]
    fn the_interval_of_few_values_is_their_range_and_says_what_it_covers() {
        assert_eq!(interval(&[7.0]), (7.0, 7.0, 7.0, 0.0));
        assert_eq!(interval(&[5.0, 1.0, 4.0, 2.0, 3.0]), (3.0, 1.0, 5.0, 0.9375));
        assert_eq!(interval(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), (4.0, 1.0, 7.0, 0.984375));
    }

    #[test]
    fn nine_values_allow_the_second_and_the_eighth() {
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(interval(&values), (5.0, 2.0, 8.0, 0.9609375));
    }

    #[test]
    fn an_even_count_takes_the_middle_of_the_two_central_values() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 10.0]).unwrap().value, 3.0);
    }

    #[test]
    fn nothing_comes_of_nothing_or_of_what_is_not_a_number() {
        assert!(median(&[]).is_none());
        assert!(median(&[1.0, f64::NAN]).is_none());
    }

    #[test]
    fn few_trials_gate_few_metrics() {
        let (apart, pairs) = (Session::Apart, Session::Alternating);
        assert_eq!([3, 4, 5, 6, 7, 8].map(|n| apart.gateable_metrics(n, 0.05)), [0, 1, 6, 23, 85, 321]);
        assert_eq!([1, 2, 40, 85, 86].map(|metrics| apart.trials_for(metrics, 0.05)), [4, 5, 7, 7, 8]);
        assert_eq!([5, 6, 7, 8, 9, 10].map(|n| pairs.gateable_metrics(n, 0.05)), [0, 1, 3, 6, 12, 25]);
        assert_eq!([1, 2, 40, 85, 86].map(|metrics| pairs.trials_for(metrics, 0.05)), [6, 7, 11, 12, 12]);
    }

    #[test]
    fn many_values_do_not_underflow() {
        let values: Vec<f64> = (1..=2000).map(f64::from).collect();
        let many = median(&values).unwrap();
        assert!(many.coverage >= 0.95 && many.coverage < 0.96, "{}", many.coverage);
        assert!(many.lo > 950.0 && many.hi < 1050.0);
    }
}
