//! The statistics behind every printed number. All inference is over trials, never over messages: the millions of
//! messages of one trial share one placement of pages, processes and interrupts, and are one sample of it.

pub mod rank_sum;

use crate::estimate::Estimate;

/// Coverage an interval aims at; with too few trials it has what it can and says so.
pub const TARGET_COVERAGE: f64 = 0.95;

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
    // ln P(Bin(n, ½) = i), starting at i = 0: the probability itself underflows beyond a thousand values.
    let mut ln_probability = n as f64 * 0.5f64.ln();
    let mut below = ln_probability.exp();
    let (mut rank, mut coverage) = (1, 1.0 - 2.0 * below);
    for i in 1..n / 2 {
        ln_probability += ((n - i + 1) as f64 / i as f64).ln();
        below += ln_probability.exp();
        let narrower = 1.0 - 2.0 * below;
        if narrower < TARGET_COVERAGE {
            break;
        }
        (rank, coverage) = (i + 1, narrower);
    }
    (rank, coverage)
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
    fn many_values_do_not_underflow() {
        let values: Vec<f64> = (1..=2000).map(f64::from).collect();
        let many = median(&values).unwrap();
        assert!(many.coverage >= 0.95 && many.coverage < 0.96, "{}", many.coverage);
        assert!(many.lo > 950.0 && many.hi < 1050.0);
    }
}
