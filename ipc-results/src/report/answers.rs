//! "Which one for me": the best transport for each use, from this run's cells.

use crate::cell::{Cell, Trial};
use crate::estimate::Estimate;
use crate::metric::Metric;
use crate::statistics::{median, rank_sum};
use crate::units::{figure as figure_of, size};

use super::ranking::burns_cpu;
use super::{Report, Separation};

/// Messages of at least this many bytes count as bulk.
const BULK_BYTES: u64 = 4096;

/// Workloads of many processes, and the use each stands for.
const PATTERNS: [(&str, &str); 5] = [
    ("fan-in", "Most clients"),
    ("fan-out", "Work handed out to many"),
    ("pipeline", "A chain of processes"),
    ("broadcast", "Every message to everybody"),
    ("mesh", "Everybody to everybody"),
];

/// The best transports for one use.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    /// The use: `Lowest latency`.
    pub question: &'static str,
    /// What was compared: `median round trip, 64 B`.
    pub measure: String,
    /// The figure.
    pub figure: Figure,
    /// Best first; empty when no cell qualifies.
    pub entries: Vec<Entry<'a>>,
    /// What to know about those that are not among them.
    pub aside: Option<Aside>,
}

/// What an answer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// A figure that every workload has.
    Of(Metric),
    /// The sum of these [measures](crate::cell::Trial::measures), all of one unit; less is better.
    Sum(&'static [&'static str]),
}

impl Figure {
    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::Of(metric) if metric.higher_is_better())
    }

    /// A value with its unit.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::Of(metric) => metric.format(value),
            Self::Sum(names) => figure_of(names.first().copied().unwrap_or_default(), value),
        }
    }

    /// Its median over the trials of a cell.
    fn estimate(self, cell: &Cell) -> Option<Estimate> {
        match self {
            Self::Of(metric) => metric.in_summary(cell.summary.as_ref()?),
            Self::Sum(_) => median(&self.measured(cell)?),
        }
    }

    /// Its values over the trials of a cell, for ratios.
    fn over(self, report: &Report<'_>, cell: &Cell) -> Vec<f64> {
        match self {
            Self::Of(metric) => metric.over(report.figures(&cell.id)),
            Self::Sum(_) => self.measured(cell).unwrap_or_default(),
        }
    }

    fn measured(self, cell: &Cell) -> Option<Vec<f64>> {
        let Self::Sum(names) = self else { return None };
        let sum = |trial: &Trial| names.iter().map(|name| trial.measures.get(*name).copied()).sum();
        cell.completed().map(sum).collect()
    }
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
    /// How many times better the first entry is, at least about 1; absent for the first, and beside a figure of zero.
    pub behind: Option<(Estimate, Separation)>,
}

/// The answers that this run can give.
pub(super) fn answers<'a>(report: &Report<'a>) -> Vec<Answer<'a>> {
    let mut answers = Vec::new();
    if let Some(table) = report.tables.iter().find(|table| !table.by_throughput) {
        let smallest: Vec<_> =
            table.rows.iter().filter_map(|row| Some((row.series, row.cells[0]?))).collect();
        let smallest: Vec<_> =
            smallest.into_iter().filter(|(_, cell): &(_, &Cell)| !cell.one_process).collect();
        let sleeping = smallest.iter().copied().filter(|(_, cell)| !burns_cpu(report.figures(&cell.id)));
        let workload = if table.mode == "rtt" { "round trip" } else { table.mode };
        let size = size(table.sizes[0]);
        let middle = format!("median {workload}, {size}");
        answers.push(answer(
            report,
            "Lowest latency",
            middle.clone(),
            Figure::Of(Metric::P50),
            smallest.iter().copied(),
        ));
        let mut answer_asleep = answer(
            report,
            "Lowest latency without burning a core",
            middle,
            Figure::Of(Metric::P50),
            sleeping,
        );
        answer_asleep.aside = awake(report, &smallest);
        answers.push(answer_asleep);
        let cpu = format!("processor time of both sides per {workload}, {size}");
        answers.push(answer(
            report,
            "Lowest CPU per message",
            cpu,
            Figure::Of(Metric::CpuPerMsg),
            smallest.iter().copied(),
        ));
    }
    let streams = || report.tables.iter().filter(|table| table.mode == "stream");
    if streams().next().is_some() {
        let bulk = streams().flat_map(|table| &table.rows).filter_map(|row| {
            let cells = row.cells.iter().flatten().filter(|cell| cell.size_bytes >= BULK_BYTES);
            let best = cells.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
            Some((row.series, *best))
        });
        let measure = format!("bytes delivered per second, best size of {} or more", size(BULK_BYTES));
        answers.insert(
            answers.len().min(2),
            answer(report, "Highest throughput", measure, Figure::Of(Metric::BytesPerS), bulk),
        );
    }
    answers.extend(PATTERNS.iter().filter_map(|(mode, question)| pattern(report, mode, question)));
    answers.extend(clients(report));
    answers.extend(idle(report));
    answers.extend(codec(report));
    answers
}

/// The transports in one pattern, among the most processes and with the smallest messages that this run has of it.
fn pattern<'a>(report: &Report<'a>, mode: &str, question: &'static str) -> Option<Answer<'a>> {
    let cells = || measured(report, mode);
    let most = cells().map(|cell| cell.clients).max()?;
    let largest = || cells().filter(move |cell| cell.clients == most);
    let bytes = largest().map(|cell| cell.size_bytes).min()?;
    let measure = format!("messages delivered per second, {mode} of {most} processes, {}", size(bytes));
    let cells = largest().filter(|cell| cell.size_bytes == bytes).map(|cell| (report.series_of(cell), cell));
    Some(answer(report, question, measure, Figure::Of(Metric::MsgsPerS), cells))
}

/// The transports with the most clients of one server and the smallest messages that this run has of round trips.
fn clients<'a>(report: &Report<'a>) -> Option<Answer<'a>> {
    let crowds = || measured(report, "rtt").filter(|cell| cell.id.contains("/clients="));
    let most = crowds().map(|cell| cell.clients).max()?;
    let largest = || crowds().filter(move |cell| cell.clients == most);
    let bytes = largest().map(|cell| cell.size_bytes).min()?;
    let measure = format!("round trips per second of {most} clients together, {}", size(bytes));
    let cells = largest().filter(|cell| cell.size_bytes == bytes).map(|cell| (report.series_of(cell), cell));
    Some(answer(report, "One server, many clients", measure, Figure::Of(Metric::MsgsPerS), cells))
}

/// What an open endpoint costs a process that does nothing with it.
fn idle<'a>(report: &Report<'a>) -> Option<Answer<'a>> {
    measured(report, "idle").next()?;
    let cells = measured(report, "idle").map(|cell| (report.series_of(cell), cell));
    let measure = "private memory of an open endpoint".to_owned();
    let memory = Figure::Sum(&["endpoint_private_bytes"]);
    Some(answer(report, "Cheapest while idle", measure, memory, cells))
}

/// The codecs, by the largest document that this run has.
fn codec<'a>(report: &Report<'a>) -> Option<Answer<'a>> {
    let bytes = measured(report, "codec").map(|cell| cell.size_bytes).max()?;
    let cells = measured(report, "codec").filter(|cell| cell.size_bytes == bytes);
    let measure = format!("encoding and decoding together, a document of {}", size(bytes));
    let work = Figure::Sum(&["encode_ns", "decode_ns"]);
    let cells = cells.map(|cell| (report.series_of(cell), cell));
    Some(answer(report, "Cheapest codec", measure, work, cells))
}

fn measured<'a>(report: &Report<'a>, mode: &str) -> impl Iterator<Item = &'a Cell> {
    report.run.cells.iter().filter(move |cell| cell.mode == mode && cell.summary.is_some())
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
    figure: Figure,
    cells: impl Iterator<Item = (usize, &'a Cell)>,
) -> Answer<'a> {
    let mut entries: Vec<Entry<'a>> = cells
        // A ring within one process is no way between two.
        .filter(|(_, cell)| !cell.one_process)
        .filter_map(|(series, cell)| {
            let estimate = figure.estimate(cell)?;
            Some(Entry { series, cell, estimate, behind: None })
        })
        .collect();
    entries.sort_by(|a, b| {
        let order = a.estimate.value.total_cmp(&b.estimate.value);
        if figure.higher_is_better() { order.reverse() } else { order }
    });
    let values = |entry: &Entry<'_>| figure.over(report, entry.cell);
    if let Some((first, others)) = entries.split_first_mut() {
        let best = values(first);
        for other in others {
            let own = values(other);
            let ratio = if figure.higher_is_better() {
                rank_sum::ratio(&own, &best)
            } else {
                rank_sum::ratio(&best, &own)
            };
            other.behind = ratio.map(|ratio| (ratio, Separation::of(&ratio)));
        }
    }
    Answer { question, measure, figure, entries, aside: None }
}
