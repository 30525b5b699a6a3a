//! The figures that are compared between runs.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::{Cell, throughput_is_primary};
use crate::estimate::Estimate;
use crate::figures::Figures;
use crate::summary::Summary;
use crate::units::{bytes_rate, rate, time};

/// A figure of each trial that can be compared between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Metric {
    /// Median latency, ns.
    #[serde(rename = "p50")]
    P50,
    /// Latency, ns.
    #[serde(rename = "p90")]
    P90,
    /// Latency, ns.
    #[serde(rename = "p95")]
    P95,
    /// Latency, ns.
    #[serde(rename = "p99")]
    P99,
    /// Latency, ns.
    #[serde(rename = "p99.9")]
    P999,
    /// Latency, ns.
    #[serde(rename = "p99.99")]
    P9999,
    /// Delivered messages per second.
    #[serde(rename = "msg/s")]
    MsgsPerS,
    /// Delivered payload bytes per second.
    #[serde(rename = "bytes/s")]
    BytesPerS,
    /// Processor time per message, ns.
    #[serde(rename = "cpu/msg")]
    CpuPerMsg,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::P50,
        Self::P90,
        Self::P95,
        Self::P99,
        Self::P999,
        Self::P9999,
        Self::MsgsPerS,
        Self::BytesPerS,
        Self::CpuPerMsg,
    ];

    /// What a cell is compared by unless the user says otherwise: p50 and p99, or messages per second.
    pub fn defaults(cell: &Cell) -> &'static [Self] {
        if throughput_is_primary(&cell.mode) { &[Self::MsgsPerS] } else { &[Self::P50, Self::P99] }
    }

    /// Its name in options, files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::P9999 => "p99.99",
            Self::MsgsPerS => "msg/s",
            Self::BytesPerS => "bytes/s",
            Self::CpuPerMsg => "cpu/msg",
        }
    }

    /// The group it belongs to in a policy.
    pub fn group(self) -> &'static str {
        match self {
            Self::MsgsPerS | Self::BytesPerS => "@throughput",
            Self::CpuPerMsg => "@cpu",
            _ => "@latency",
        }
    }

    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::MsgsPerS | Self::BytesPerS)
    }

    /// Its value in one trial.
    pub fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Self::MsgsPerS => Some(figures.msgs_per_s).filter(|rate| *rate > 0.0),
            Self::BytesPerS => Some(figures.bytes_per_s).filter(|rate| *rate > 0.0),
            Self::CpuPerMsg => figures.cpu_ns_per_msg,
            // The percentiles come first and in the order of `summary::PERCENTILES`.
            _ => figures.percentiles_ns[self as usize],
        }
    }

    /// Its median over the trials of a cell.
    pub fn in_summary(self, summary: &Summary) -> Option<Estimate> {
        let latency = &summary.latency;
        match self {
            Self::P50 => latency.p50_ns,
            Self::P90 => latency.p90_ns,
            Self::P95 => latency.p95_ns,
            Self::P99 => latency.p99_ns,
            Self::P999 => latency.p999_ns,
            Self::P9999 => latency.p9999_ns,
            Self::MsgsPerS => summary.msgs_per_s,
            Self::BytesPerS => summary.bytes_per_s,
            Self::CpuPerMsg => summary.cpu_ns_per_msg,
        }
    }

    /// Its values over trials; empty as soon as one trial lacks it.
    pub fn over(self, figures: &[Figures]) -> Vec<f64> {
        figures.iter().map(|trial| self.of(trial)).collect::<Option<Vec<f64>>>().unwrap_or_default()
    }

    /// A value with its unit.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::MsgsPerS => rate(value),
            Self::BytesPerS => bytes_rate(value),
            _ => time(value),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |metric: &&Self| metric.name() == text;
        Self::ALL.iter().find(known).copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|metric| metric.name()).collect();
            format!("unknown metric {text:?}; metrics are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::PERCENTILES;

    #[test]
    fn percentile_metrics_and_the_stored_percentiles_are_in_one_order() {
        for (metric, percent) in Metric::ALL.into_iter().zip(PERCENTILES) {
            assert_eq!(metric.name(), format!("p{percent}"));
        }
    }

    #[test]
    fn names_are_read_back_and_unknown_ones_are_told_the_known() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(metric));
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
        assert!(
            "p42"
                .parse::<Metric>()
                .unwrap_err()
                .ends_with("metrics are p50, p90, p95, p99, p99.9, p99.99, msg/s, bytes/s, cpu/msg")
        );
    }

    #[test]
    fn values_are_printed_with_their_unit() {
        assert_eq!(Metric::P50.format(380.0), "380 ns");
        assert_eq!(Metric::MsgsPerS.format(1_210_000.0), "1.21 M");
        assert_eq!(Metric::MsgsPerS.format(870_000.0), "870 k");
    }
}
