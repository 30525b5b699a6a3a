//! Who is fastest at the smallest size, and who cannot be told apart.

use crate::cell::Cell;
use crate::estimate::Estimate;
use crate::figures::Figures;
use crate::metric::Metric;
use crate::statistics::{TARGET_COVERAGE, median, rank_sum};

use super::{Report, Row};

/// The transports at one size, fastest first.
#[derive(Debug, Clone)]
pub struct Ranking<'a> {
    /// Name of the workload.
    pub mode: &'a str,
    /// Payload bytes.
    pub size_bytes: u64,
    /// Rows measured at that size by rising median.
    pub ranked: Vec<Ranked<'a>>,
    /// Pairs `(faster, slower)` of indices into `ranked` that these trials cannot tell apart.
    pub not_separable: Vec<(usize, usize, Estimate)>,
}

/// One entry of a [`Ranking`].
#[derive(Debug, Clone)]
pub struct Ranked<'a> {
    /// Name of the row.
    pub name: String,
    /// Its cell.
    pub cell: &'a Cell,
    /// Median latency.
    pub p50_ns: Estimate,
    /// How many times slower than the first entry; absent for the first itself.
    pub slower_than_first: Option<(Estimate, Separation)>,
    /// Whether its workers kept their processors busy for the whole round trip instead of sleeping.
    pub burns_cpu: bool,
}

/// Whether two cells can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separation {
    /// The interval of the ratio excludes 1 and covers at least 95 %.
    Separated,
    /// The interval includes 1.
    NotSeparable,
    /// No interval from this few trials covers 95 %: four on each side do.
    TooFewTrials,
}

impl Separation {
    /// The verdict of an interval of a ratio.
    pub fn of(ratio: &Estimate) -> Self {
        if ratio.coverage < TARGET_COVERAGE {
            Self::TooFewTrials
        } else if ratio.lo > 1.0 || ratio.hi < 1.0 {
            Self::Separated
        } else {
            Self::NotSeparable
        }
    }
}

impl<'a> Ranking<'a> {
    pub(super) fn new(report: &Report<'a>) -> Option<Self> {
        let table = report.tables.iter().find(|table| !table.by_throughput)?;
        let measured = |row: &Row<'a>| {
            let cell = row.cells[0]?;
            let p50_ns = cell.summary.as_ref()?.latency.p50_ns?;
            let name = report.series[row.series].clone();
            let burns_cpu = burns_cpu(report.figures(&cell.id));
            Some(Ranked { name, cell, p50_ns, slower_than_first: None, burns_cpu })
        };
        let mut ranked: Vec<Ranked<'a>> = table.rows.iter().filter_map(measured).collect();
        ranked.sort_by(|a, b| a.p50_ns.value.total_cmp(&b.p50_ns.value));
        if ranked.len() < 2 {
            return None;
        }
        let medians: Vec<Vec<f64>> =
            ranked.iter().map(|entry| Metric::P50.over(report.figures(&entry.cell.id))).collect();
        let mut not_separable = Vec::new();
        for faster in 0..ranked.len() {
            for slower in faster + 1..ranked.len() {
                let Some(ratio) = rank_sum::ratio(&medians[faster], &medians[slower]) else { continue };
                let separation = Separation::of(&ratio);
                if faster == 0 {
                    ranked[slower].slower_than_first = Some((ratio, separation));
                } else if separation == Separation::NotSeparable {
                    not_separable.push((faster, slower, ratio));
                }
            }
        }
        Some(Self { mode: table.mode, size_bytes: table.sizes[0], ranked, not_separable })
    }
}

/// Whether the workers kept their processors busy between messages. A pair that sleeps does so once a message at least; half
/// of that is the border. Processor time says the same on an idle machine only: on a busy one it shrinks.
pub(super) fn burns_cpu(figures: &[Figures]) -> bool {
    const SLEEPS: f64 = 0.5;
    let sleeps: Option<Vec<f64>> = figures.iter().map(|trial| trial.sleeps_per_msg).collect();
    sleeps.and_then(|sleeps| median(&sleeps)).is_some_and(|sleeps| sleeps.value < SLEEPS)
}
