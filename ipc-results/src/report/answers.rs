//! "Which one for me": the best transport for each use, from this run's cells.

use crate::cell::Cell;
use crate::estimate::Estimate;
use crate::metric::Metric;
use crate::statistics::rank_sum;
use crate::units::size;

use super::ranking::burns_cpu;
use super::{Report, Separation};

/// Messages of at least this many bytes count as bulk.
const BULK_BYTES: u64 = 4096;

/// The best transports for one use.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    /// The use: `Lowest latency`.
    pub question: &'static str,
    /// What was compared: `median round trip, 64 B`.
    pub measure: String,
    /// The figure.
    pub metric: Metric,
    /// Best first; empty when no cell qualifies.
    pub entries: Vec<Entry<'a>>,
    /// What to know about those that are not among them.
    pub aside: Option<Aside>,
}

/// A remark below an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The remark.
    pub text: String,
    /// Flags of a run that would answer it.
    pub flags: Option<String>,
}

/// One transport in an [`Answer`].
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Index into [`Report::series`].
    pub series: usize,
    /// The cell that speaks for it.
    pub cell: &'a Cell,
    /// The median of the figure.
    pub estimate: Estimate,
    /// How many times better the first entry is, at least about 1; absent for the first.
    pub behind: Option<(Estimate, Separation)>,
}

/// The answers that this run can give.
pub(super) fn answers<'a>(report: &Report<'a>) -> Vec<Answer<'a>> {
    let mut answers = Vec::new();
    if let Some(table) = report.tables.iter().find(|table| !table.by_throughput) {
        let smallest: Vec<_> =
            table.rows.iter().filter_map(|row| Some((row.series, row.cells[0]?))).collect();
        let sleeping = smallest.iter().copied().filter(|(_, cell)| !burns_cpu(report.figures(&cell.id)));
        let workload = if table.mode == "rtt" { "round trip" } else { table.mode };
        let size = size(table.sizes[0]);
        let median = format!("median {workload}, {size}");
        answers.push(answer(report, "Lowest latency", median.clone(), Metric::P50, smallest.iter().copied()));
        let mut answer_asleep =
            answer(report, "Lowest latency without burning a core", median, Metric::P50, sleeping);
        answer_asleep.aside = awake(report, &smallest);
        answers.push(answer_asleep);
        let cpu = format!("processor time of both sides per {workload}, {size}");
        answers.push(answer(
            report,
            "Lowest CPU per message",
            cpu,
            Metric::CpuPerMsg,
            smallest.iter().copied(),
        ));
    }
    let streams = || report.tables.iter().filter(|table| table.by_throughput);
    if streams().next().is_some() {
        let bulk = streams().flat_map(|table| &table.rows).filter_map(|row| {
            let cells = row.cells.iter().flatten().filter(|cell| cell.size_bytes >= BULK_BYTES);
            let best = cells.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
            Some((row.series, *best))
        });
        let measure = format!("bytes delivered per second, best size of {} or more", size(BULK_BYTES));
        answers.insert(
            answers.len().min(2),
            answer(report, "Highest throughput", measure, Metric::BytesPerS, bulk),
        );
    }
    let crowds: Vec<&Cell> = report.run.cells.iter().filter(|cell| cell.clients > 1).collect();
    if let Some(most) = crowds.iter().map(|cell| cell.clients).max() {
        let largest = crowds.into_iter().filter(|cell| cell.clients == most);
        let measure = format!("messages delivered per second to {most} peers");
        let cells = largest.map(|cell| (report.series_of(cell), cell));
        answers.push(answer(report, "Most clients", measure, Metric::MsgsPerS, cells));
    }
    answers
}

/// Says which transports are not counted as sleeping, and how to see them do it.
fn awake(report: &Report<'_>, cells: &[(usize, &Cell)]) -> Option<Aside> {
    let awake = cells.iter().filter(|(_, cell)| burns_cpu(report.figures(&cell.id)));
    let (names, transports): (Vec<&str>, Vec<&str>) =
        awake.map(|(series, cell)| (report.series[*series].as_str(), cell.transport.as_str())).unzip();
    let parked =
        |name: &&&str| !cells.iter().any(|(_, cell)| cell.transport == **name && cell.wait == "park");
    let unseen: Vec<&str> = transports.iter().filter(parked).copied().collect();
    let text = format!("Not here, because they never slept and kept both cores busy: {}.", names.join(", "));
    let flags = (!unseen.is_empty()).then(|| format!("-t {} --wait park", unseen.join(",")));
    (!names.is_empty()).then_some(Aside { text, flags })
}

fn rate(cell: &Cell) -> f64 {
    cell.summary.as_ref().and_then(|summary| summary.bytes_per_s).map_or(0.0, |rate| rate.value)
}

fn answer<'a>(
    report: &Report<'a>,
    question: &'static str,
    measure: String,
    metric: Metric,
    cells: impl Iterator<Item = (usize, &'a Cell)>,
) -> Answer<'a> {
    let mut entries: Vec<Entry<'a>> = cells
        .filter_map(|(series, cell)| {
            let estimate = metric.in_summary(cell.summary.as_ref()?)?;
            Some(Entry { series, cell, estimate, behind: None })
        })
        .collect();
    entries.sort_by(|a, b| {
        let order = a.estimate.value.total_cmp(&b.estimate.value);
        if metric.higher_is_better() { order.reverse() } else { order }
    });
    let values = |entry: &Entry<'_>| metric.over(report.figures(&entry.cell.id));
    if let Some((first, others)) = entries.split_first_mut() {
        let best = values(first);
        for other in others {
            let own = values(other);
            let ratio = if metric.higher_is_better() {
                rank_sum::ratio(&own, &best)
            } else {
                rank_sum::ratio(&best, &own)
            };
            other.behind = ratio.map(|ratio| (ratio, Separation::of(&ratio)));
        }
    }
    Answer { question, measure, metric, entries, aside: None }
}
