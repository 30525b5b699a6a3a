//! Improved, regressed, unchanged or not known: the four answers to "did it change?".

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::estimate::Estimate;
use crate::metric::Metric;
use crate::statistics::{Session, TARGET_COVERAGE};

/// Chance of a false red among all gated metrics together.
pub const ALPHA: f64 = 0.05;

/// More trials than this to settle a question are not worth naming: the difference is at the limit itself.
const MOST_TRIALS: f64 = 200.0;

/// The smallest change that matters: both parts must be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// Share of the old value: 0.02 is 2 %.
    pub relative: f64,
    /// In the unit of the metric: nanoseconds, or messages per second.
    pub absolute: f64,
}

impl Threshold {
    /// 2 %, and for times also 20 ns: below that a clock read and a placement of the code make the difference.
    pub fn default_for(metric: Metric) -> Self {
        Self { relative: 0.02, absolute: if metric.higher_is_better() { 0.0 } else { 20.0 } }
    }

    /// The smallest change that matters at this old value, as a share of it.
    pub fn at(&self, value: f64) -> f64 {
        self.relative.max(self.absolute / value)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.relative * 100.0)?;
        if self.absolute > 0.0 { write!(f, "|{}ns", self.absolute) } else { Ok(()) }
    }
}

impl FromStr for Threshold {
    type Err = String;

    /// `5%`, `50ns` or `5%|50ns`, the time also in `us`, `µs` or `ms`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no limit: write 5%, 50ns or 5%|50ns");
        let number = |text: &str| {
            let number: f64 = text.trim().parse().map_err(|_| wrong())?;
            if number.is_finite() && number >= 0.0 { Ok(number) } else { Err(wrong()) }
        };
        let mut threshold = Self { relative: 0.0, absolute: 0.0 };
        for part in text.split('|').map(str::trim) {
            let units = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6)];
            if let Some(percent) = part.strip_suffix('%') {
                threshold.relative = number(percent)? / 100.0;
            } else if let Some((digits, scale)) =
                units.iter().find_map(|(unit, scale)| Some((part.strip_suffix(unit)?, scale)))
            {
                threshold.absolute = number(digits)? * scale;
            } else {
                return Err(wrong());
            }
        }
        Ok(threshold)
    }
}

/// What the trials of two runs say about one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Better, by more than the limit, and not by chance.
    Improved,
    /// Worse, by more than the limit, and not by chance.
    Regressed,
    /// The whole interval of the change lies within the limit.
    Unchanged,
    /// These trials do not tell.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Improved => "improved",
            // The one a reader must not miss, without colour too.
            Self::Regressed => "REGRESSED",
            Self::Unchanged => "unchanged",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// What is known about one figure in two runs.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// The figure.
    pub metric: Metric,
    /// Its old median.
    pub old: f64,
    /// New over old, with its interval.
    pub ratio: Estimate,
    /// The p of the comparison, adjusted for all compared figures together.
    pub p_holm: f64,
    /// How many figures were compared together.
    pub compared: usize,
    /// How the trials were made.
    pub session: Session,
}

impl Evidence {
    /// The verdict, and for an inconclusive one the trials on each side that would likely settle it.
    ///
    /// Red and green need everything: an adjusted p below `alpha`, an interval without 1, and a change beyond both limits.
    /// `Unchanged` is a finding too: the whole interval, of at least 95 %, within the limit.
    pub fn judge(&self, alpha: f64, threshold: &Threshold) -> (Verdict, Option<usize>) {
        let limit = threshold.at(self.old);
        let Estimate { value, lo, hi, coverage, .. } = self.ratio;
        let beyond = (value - 1.0).abs() > limit;
        if self.p_holm < alpha && (lo > 1.0 || hi < 1.0) && beyond {
            let better = (value > 1.0) == self.metric.higher_is_better();
            return (if better { Verdict::Improved } else { Verdict::Regressed }, None);
        }
        if coverage >= TARGET_COVERAGE && 1.0 - limit <= lo && hi <= 1.0 + limit {
            return (Verdict::Unchanged, None);
        }
        (Verdict::Inconclusive, self.trials_to_settle(alpha, limit))
    }

    /// The interval narrows with the square root of the trials; it must fit between the change and the nearest bound that
    /// decides: 1 for a change beyond the limit, the limit for one within it. `None` when that is more than 200, or when
    /// these trials show no spread to start from.
    fn trials_to_settle(&self, alpha: f64, limit: f64) -> Option<usize> {
        let Estimate { value, lo, hi, trials, coverage } = self.ratio;
        let change = (value - 1.0).abs();
        let half_width = (hi - lo) / 2.0;
        if half_width <= 0.0 {
            return (coverage < TARGET_COVERAGE).then(|| self.session.trials_for(self.compared, alpha));
        }
        let room = if change > limit { change } else { limit - change };
        let needed = (f64::from(trials) * (half_width / room).powi(2)).ceil();
        let fewest = self.session.trials_for(self.compared, alpha).max(trials as usize + 1);
        (needed <= MOST_TRIALS).then(|| (needed as usize).max(fewest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(metric: Metric, old: f64, (lo, value, hi): (f64, f64, f64), p_holm: f64) -> Evidence {
        let ratio = Estimate { value, lo, hi, trials: 9, coverage: 0.96 };
        Evidence { metric, old, ratio, p_holm, compared: 40, session: Session::Apart }
    }

    fn verdict(evidence: &Evidence) -> Verdict {
        evidence.judge(ALPHA, &Threshold::default_for(evidence.metric)).0
    }

    #[test]
    fn red_needs_significance_the_interval_and_both_limits() {
        let slower = (1.04, 1.06, 1.09);
        assert_eq!(verdict(&evidence(Metric::P50, 8_000.0, slower, 0.003)), Verdict::Regressed);
        assert_eq!(verdict(&evidence(Metric::P50, 8_000.0, slower, 0.051)), Verdict::Inconclusive);
        assert_eq!(
            verdict(&evidence(Metric::P50, 8_000.0, (0.99, 1.06, 1.09), 0.003)),
            Verdict::Inconclusive
        );
        assert_eq!(
            verdict(&evidence(Metric::P50, 8_000.0, (1.001, 1.015, 1.03), 0.003)),
            Verdict::Inconclusive
        );
        // 6 % of 300 ns is 18 ns: below the floor of 20 ns.
        assert_eq!(verdict(&evidence(Metric::P50, 300.0, slower, 0.003)), Verdict::Inconclusive);
    }

    #[test]
    fn more_messages_are_better_and_more_nanoseconds_are_worse() {
        let up = (1.04, 1.06, 1.09);
        assert_eq!(verdict(&evidence(Metric::MsgsPerS, 1e6, up, 0.003)), Verdict::Improved);
        assert_eq!(verdict(&evidence(Metric::P99, 9_000.0, up, 0.003)), Verdict::Regressed);
        let down = (0.87, 0.895, 0.92);
        assert_eq!(verdict(&evidence(Metric::P50, 9_000.0, down, 0.002)), Verdict::Improved);
        assert_eq!(verdict(&evidence(Metric::MsgsPerS, 1e6, down, 0.002)), Verdict::Regressed);
    }

    #[test]
    fn unchanged_is_shown_by_the_interval_and_not_by_a_large_p() {
        assert_eq!(verdict(&evidence(Metric::P50, 9_000.0, (0.985, 1.001, 1.019), 1.0)), Verdict::Unchanged);
        assert_eq!(
            verdict(&evidence(Metric::P50, 9_000.0, (0.975, 1.001, 1.019), 1.0)),
            Verdict::Inconclusive
        );
        let few = Evidence {
            ratio: Estimate { value: 1.0, lo: 0.999, hi: 1.001, trials: 3, coverage: 0.9 },
            ..evidence(Metric::P50, 9_000.0, (1.0, 1.0, 1.0), 1.0)
        };
        assert_eq!(verdict(&few), Verdict::Inconclusive);
    }

    #[test]
    fn an_inconclusive_verdict_says_how_many_trials_would_settle_it() {
        let threshold = Threshold::default_for(Metric::P50);
        let wide = evidence(Metric::P50, 9_000.0, (0.97, 1.0, 1.03), 1.0);
        // The half-width of 3 % must shrink to 2 %: 9 · 1.5² = 20.25.
        assert_eq!(wide.judge(ALPHA, &threshold), (Verdict::Inconclusive, Some(21)));
        let at_the_limit = evidence(Metric::P50, 9_000.0, (0.99, 1.0199, 1.05), 0.4);
        assert_eq!(at_the_limit.judge(ALPHA, &threshold), (Verdict::Inconclusive, None));
    }

    #[test]
    fn limits_are_written_as_a_share_a_time_or_both() {
        let parsed = |text: &str| text.parse::<Threshold>();
        assert_eq!(parsed("5%|50ns"), Ok(Threshold { relative: 0.05, absolute: 50.0 }));
        assert_eq!(parsed("10%"), Ok(Threshold { relative: 0.1, absolute: 0.0 }));
        assert_eq!(parsed(" 2 % | 1.5 us "), Ok(Threshold { relative: 0.02, absolute: 1_500.0 }));
        for wrong in ["", "5", "-1%", "x%", "5%|", "NaN%", "inf%"] {
            assert!(parsed(wrong).unwrap_err().contains("is no limit: write 5%"), "{wrong}");
        }
        assert_eq!(Threshold { relative: 0.05, absolute: 50.0 }.to_string(), "5%|50ns");
    }
}
