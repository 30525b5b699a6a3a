//! Who is fastest at the smallest size or at that of the reference, and who cannot be told apart.

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
    /// Index into `ranked` of the entry that the others are held against: the first, unless the run names another.
    pub reference: usize,
    /// Pairs `(faster, slower)` of indices into `ranked`, without the reference, that these trials cannot tell apart.
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
    /// Its median over that of the reference; absent for the reference itself.
    pub against_reference: Option<(Estimate, Separation)>,
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

impl Ranked<'_> {
    /// How many times faster or slower than the reference, never below 1, with the word for it.
    pub fn times(&self) -> Option<(Estimate, &'static str, Separation)> {
        let (ratio, separation) = self.against_reference?;
        if ratio.value >= 1.0 {
            return Some((ratio, "slower", separation));
        }
        let inverse = Estimate { value: 1.0 / ratio.value, lo: 1.0 / ratio.hi, hi: 1.0 / ratio.lo, ..ratio };
        Some((inverse, "faster", separation))
    }
}

impl<'a> Ranking<'a> {
    pub(super) fn new(report: &Report<'a>) -> Option<Self> {
        let named = report.run.manifest.reference.as_ref();
        let named = named.and_then(|id| report.run.cells.iter().find(|cell| cell.id == *id));
        let is_its = |mode: &str| named.is_none_or(|cell| cell.mode == mode);
        let table = report.tables.iter().find(|table| !table.by_throughput && is_its(table.mode))?;
        let column = named.and_then(|cell| table.sizes.binary_search(&cell.size_bytes).ok()).unwrap_or(0);
        let measured = |row: &Row<'a>| {
            let cell = row.cells[column]?;
            let p50_ns = cell.summary.as_ref()?.latency.p50_ns?;
            let name = report.series[row.series].clone();
            let burns_cpu = burns_cpu(report.figures(&cell.id));
            Some(Ranked { name, cell, p50_ns, against_reference: None, burns_cpu })
        };
        let mut ranked: Vec<Ranked<'a>> = table.rows.iter().filter_map(measured).collect();
        ranked.sort_by(|a, b| a.p50_ns.value.total_cmp(&b.p50_ns.value));
        if ranked.len() < 2 {
            return None;
        }
        let medians: Vec<Vec<f64>> =
            ranked.iter().map(|entry| Metric::P50.over(report.figures(&entry.cell.id))).collect();
        // One that was not measured in the end leaves the fastest.
        let is_named = |entry: &Ranked<'a>| named.is_some_and(|named| entry.cell.id == named.id);
        let reference = ranked.iter().position(is_named).unwrap_or(0);
        for (index, entry) in ranked.iter_mut().enumerate().filter(|(index, _)| *index != reference) {
            let ratio = rank_sum::ratio(&medians[reference], &medians[index]);
            entry.against_reference = ratio.map(|ratio| (ratio, Separation::of(&ratio)));
        }
        let others = || (0..ranked.len()).filter(|index| *index != reference);
        let mut not_separable = Vec::new();
        for faster in others() {
            for slower in others().filter(|slower| *slower > faster) {
                let Some(ratio) = rank_sum::ratio(&medians[faster], &medians[slower]) else { continue };
                if Separation::of(&ratio) == Separation::NotSeparable {
                    not_separable.push((faster, slower, ratio));
                }
            }
        }
        Some(Self { mode: table.mode, size_bytes: table.sizes[column], ranked, reference, not_separable })
    }
}

/// Whether the workers kept their processors busy between messages. A pair that sleeps does so once a message at least; half
/// of that is the border. Processor time says the same on an idle machine only: on a busy one it shrinks.
pub(super) fn burns_cpu(figures: &[Figures]) -> bool {
    const SLEEPS: f64 = 0.5;
    let sleeps: Option<Vec<f64>> = figures.iter().map(|trial| trial.sleeps_per_msg).collect();
    sleeps.and_then(|sleeps| median(&sleeps)).is_some_and(|sleeps| sleeps.value < SLEEPS)
}
