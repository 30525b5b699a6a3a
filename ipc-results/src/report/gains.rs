//! What one setting changes: each cell against the one that differs from it in nothing else.

use crate::cell::{Cell, throughput_is_primary};
use crate::estimate::Estimate;
use crate::metric::Metric;
use crate::statistics::rank_sum;

use super::{Report, Separation};

/// The effect of one setting on one cell.
#[derive(Debug, Clone)]
pub struct Gain<'a> {
    /// The setting as it stands in the id: `io=async`, `batch=32`, `access=loan`.
    pub setting: &'a str,
    /// The cell without it.
    pub base: &'a Cell,
    /// The cell with it.
    pub cell: &'a Cell,
    /// What is compared: messages per second, or the median latency.
    pub metric: Metric,
    /// Median of the figure without the setting.
    pub without: Estimate,
    /// Median of the figure with it.
    pub with: Estimate,
    /// With over without.
    pub ratio: Estimate,
    /// Whether that is certain.
    pub separation: Separation,
}

/// The gain of every cell whose id has a setting more than another cell's, grouped by setting.
pub(super) fn gains<'a>(report: &Report<'a>) -> Vec<Gain<'a>> {
    let mut gains: Vec<Gain<'a>> = Vec::new();
    for cell in &report.run.cells {
        for setting in cell.id.split('/').skip(3).filter(|part| part.contains('=')) {
            let base = cell.id.replacen(&format!("/{setting}"), "", 1);
            gains.extend(report.run.cell(&base).and_then(|base| gain(report, setting, base, cell)));
        }
    }
    gains.sort_by(|a, b| a.setting.cmp(b.setting));
    gains
}

fn gain<'a>(report: &Report<'a>, setting: &'a str, base: &'a Cell, cell: &'a Cell) -> Option<Gain<'a>> {
    let metric = if throughput_is_primary(&cell.mode) { Metric::MsgsPerS } else { Metric::P50 };
    let (old, new) = (metric.over(report.figures(&base.id)), metric.over(report.figures(&cell.id)));
    let ratio = rank_sum::ratio(&old, &new)?;
    Some(Gain {
        setting,
        base,
        cell,
        metric,
        without: metric.in_summary(base.summary.as_ref()?)?,
        with: metric.in_summary(cell.summary.as_ref()?)?,
        ratio,
        separation: Separation::of(&ratio),
    })
}
