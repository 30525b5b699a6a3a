//! What the renderers of one run show: every ordering, ratio and verdict, computed once from a [`Run`].

mod answers;
mod cost;
mod counters;
mod gains;
mod load;
mod measures;
mod ranking;

pub use answers::{Answer, Aside, Entry, Figure};
pub use cost::Cost;
pub use counters::Counts;
pub use gains::Gain;
pub use load::{LoadCurve, LoadPoint};
pub use measures::{Sheet, Sums};
pub use ranking::{Ranked, Ranking, Separation};

use crate::cell::{Cell, CellStatus, throughput_is_primary};
use crate::estimate::Estimate;
use crate::figures::Figures;
use crate::recorder::DecodeError;
use crate::run::Run;
use crate::units::time;

/// A run, ordered and judged.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The run itself.
    pub run: &'a Run,
    /// The figures of the completed trials of each cell, in the order of the run's cells.
    pub figures: Vec<Vec<Figures>>,
    /// Labels of the transports and their variants, in the order of the run: a label and its index mean the same in every
    /// table and chart.
    pub series: Vec<String>,
    /// One table per workload in closed loop, latencies first, in the order of the run.
    pub tables: Vec<Table<'a>>,
    /// Who is fastest at the smallest size of the first latency table; absent with fewer than two measured rows.
    pub ranking: Option<Ranking<'a>>,
    /// Which transport for which use.
    pub answers: Vec<Answer<'a>>,
    /// Latency against offered load, one per transport and size.
    pub load: Vec<LoadCurve<'a>>,
    /// What a message costs, in the order of the run.
    pub costs: Vec<Cost<'a>>,
    /// What the kernel and the processor counted per message; absent when nothing was to be counted.
    pub counts: Option<Counts<'a>>,
    /// What only some workloads measure, by workload and size.
    pub sheets: Vec<Sheet<'a>>,
    /// What single settings change: asynchronous calls, batches, zero copy, buffers.
    pub gains: Vec<Gain<'a>>,
}

/// The cells of one workload: a row per transport and variant, a column per size.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    /// Name of the workload, [`Cell::mode`].
    pub mode: &'a str,
    /// Whether rows are ranked by throughput; otherwise by the median latency.
    pub by_throughput: bool,
    /// Peers, when it is the same for all cells.
    pub clients: Option<u32>,
    /// Payload sizes in rising order.
    pub sizes: Vec<u64>,
    /// Best first, by the median at the smallest size both have; rows without any measured cell last.
    pub rows: Vec<Row<'a>>,
}

/// One transport in one variant.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// Transport and the dimensions of the id that differ from their default.
    pub name: String,
    /// Wait policy.
    pub wait: &'a str,
    /// Index into [`Report::series`].
    pub series: usize,
    /// One entry per size of the table; absent where the size was not in the plan.
    pub cells: Vec<Option<&'a Cell>>,
}

impl<'a> Report<'a> {
    /// Orders and judges `run`.
    ///
    /// # Errors
    /// [`DecodeError`] when a histogram in it is damaged.
    pub fn new(run: &'a Run) -> Result<Self, DecodeError> {
        let mut modes: Vec<&str> = Vec::new();
        for cell in run.cells.iter().filter(|cell| cell.rate.is_none() && measures::has_a_table(&cell.mode)) {
            if !modes.contains(&cell.mode.as_str()) {
                modes.push(&cell.mode);
            }
        }
        modes.sort_by_key(|mode| throughput_is_primary(mode));
        let figures = run.cells.iter().map(Figures::of_cell).collect::<Result<Vec<_>, _>>()?;
        let keys = series_keys(run);
        let tables = modes.into_iter().map(|mode| Table::new(run, mode, &keys)).collect();
        let mut report = Self {
            run,
            figures,
            series: labels(&keys),
            tables,
            ranking: None,
            answers: Vec::new(),
            load: Vec::new(),
            costs: Vec::new(),
            counts: None,
            sheets: Vec::new(),
            gains: Vec::new(),
        };
        report.ranking = Ranking::new(&report);
        report.answers = answers::answers(&report);
        report.load = load::curves(&report);
        report.costs = cost::costs(&report);
        report.counts = Counts::new(run);
        report.sheets = measures::sheets(&report);
        report.gains = gains::gains(&report);
        Ok(report)
    }

    /// The index of the cell's label in [`series`](Self::series).
    pub fn series_of(&self, cell: &Cell) -> usize {
        let key = series_key(cell);
        series_keys(self.run).iter().position(|known| *known == key).unwrap_or_default()
    }

    /// The figures of the completed trials of the cell with this id.
    pub fn figures(&self, id: &str) -> &[Figures] {
        let index = self.run.cells.iter().position(|cell| cell.id == id);
        index.map_or(&[], |index| &self.figures[index])
    }

    /// The percentiles that were asked for: their names in rising order (`p75`), and per cell that has them its id and
    /// each as a time, `–` where a trial does not support it.
    pub fn percentiles(&self) -> (Vec<String>, Vec<(&'a str, Vec<String>)>) {
        let told = |cell: &'a Cell| {
            let told = &cell.summary.as_ref()?.latency.percentiles_ns;
            (!told.is_empty()).then_some((cell.id.as_str(), told))
        };
        let cells: Vec<_> = self.run.cells.iter().filter_map(told).collect();
        let mut asked: Vec<&String> = cells.iter().flat_map(|(_, told)| told.keys()).collect();
        let number = |percent: &str| percent.parse().unwrap_or(f64::NAN);
        asked.sort_by(|a, b| number(a).total_cmp(&number(b)));
        asked.dedup();
        let text = |estimate: Option<&Option<Estimate>>| {
            estimate.copied().flatten().map_or_else(|| "–".to_owned(), |estimate| time(estimate.value))
        };
        let rows = cells
            .into_iter()
            .map(|(id, told)| (id, asked.iter().map(|percent| text(told.get(*percent))).collect()))
            .collect();
        (asked.iter().map(|percent| format!("p{percent}")).collect(), rows)
    }

    /// Whether the cell is in one of [`tables`](Self::tables).
    pub fn has_a_table(&self, cell: &Cell) -> bool {
        self.tables.iter().any(|table| table.mode == cell.mode)
    }

    /// Cells that were not measured, with the reason.
    pub fn unmeasured(&self) -> impl Iterator<Item = (&'a Cell, &'a str)> {
        self.run
            .cells
            .iter()
            .filter(|cell| cell.status != CellStatus::Ok)
            .map(|cell| (cell, cell.reason.as_deref().unwrap_or("no reason was recorded")))
    }
}

impl<'a> Table<'a> {
    fn new(run: &'a Run, mode: &'a str, keys: &[(String, &str)]) -> Self {
        let cells: Vec<&Cell> =
            run.cells.iter().filter(|cell| cell.mode == mode && cell.rate.is_none()).collect();
        let mut sizes: Vec<u64> = cells.iter().map(|cell| cell.size_bytes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mut rows: Vec<Row<'a>> = Vec::new();
        for cell in &cells {
            let (name, wait) = series_key(cell);
            let series = keys.iter().position(|key| key.0 == name && key.1 == wait).unwrap_or_default();
            let known = rows.iter().position(|row| row.series == series);
            let at = known.unwrap_or_else(|| {
                rows.push(Row { name, wait, series, cells: vec![None; sizes.len()] });
                rows.len() - 1
            });
            let column = sizes.binary_search(&cell.size_bytes).unwrap_or_default();
            rows[at].cells[column] = Some(cell);
        }
        let by_throughput = throughput_is_primary(mode);
        rows.sort_by(|a, b| {
            let key = |row: &Row<'_>| row.first_measured(by_throughput);
            match (key(a), key(b)) {
                (Some(a), Some(b)) => a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            }
        });
        let clients = cells.first().map(|cell| cell.clients);
        let clients = clients.filter(|clients| cells.iter().all(|cell| cell.clients == *clients));
        Self { mode, by_throughput, clients, sizes, rows }
    }

    /// The workload as a heading: `Round trip, 1 client`.
    pub fn title(&self) -> String {
        let peers = |one: &str, many: &str| match self.clients {
            Some(1) => format!(", {one}"),
            Some(clients) => format!(", {clients} {many}"),
            None => String::new(),
        };
        match self.mode {
            "rtt" => format!("Round trip{}", peers("1 client", "clients")),
            "oneway" => format!("One way{}", peers("1 sender", "senders")),
            "stream" => format!("Throughput{}", peers("1 → 1", "connections")),
            other => format!("{}{}", other, peers("1 peer", "peers")),
        }
    }
}

impl Row<'_> {
    /// Column of the smallest measured size, and the figure there that sorts best first.
    fn first_measured(&self, by_throughput: bool) -> Option<(usize, f64)> {
        self.cells.iter().enumerate().find_map(|(column, cell)| {
            let summary = cell.as_ref()?.summary.as_ref()?;
            let figure =
                if by_throughput { -summary.msgs_per_s?.value } else { summary.latency.p50_ns?.value };
            Some((column, figure))
        })
    }
}

/// What tells one series from another: the transport with the dimensions of its id beside size and rate, and the wait policy.
fn series_key(cell: &Cell) -> (String, &str) {
    let skipped = if cell.rate.is_some() { 4 } else { 3 };
    let dimensions = cell.id.split('/').skip(skipped).filter(|dimension| !dimension.starts_with("wait="));
    let name = std::iter::once(cell.transport.as_str()).chain(dimensions).collect::<Vec<_>>().join(" ");
    (name, &cell.wait)
}

fn series_keys(run: &Run) -> Vec<(String, &str)> {
    let mut keys = Vec::new();
    for cell in &run.cells {
        let key = series_key(cell);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// The names, with the wait policy where a name alone stands for several.
fn labels(keys: &[(String, &str)]) -> Vec<String> {
    let unique = |name: &str| keys.iter().filter(|key| key.0 == name).count() == 1;
    keys.iter()
        .map(|(name, wait)| if unique(name) { name.clone() } else { format!("{name} {wait}") })
        .collect()
}
