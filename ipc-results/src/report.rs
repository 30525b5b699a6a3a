//! What the renderers of one run show: every ordering, ratio and verdict, computed once from a [`Run`].

use crate::cell::{Cell, CellStatus, throughput_is_primary};
use crate::estimate::Estimate;
use crate::figures::Figures;
use crate::metric::Metric;
use crate::recorder::DecodeError;
use crate::run::Run;
use crate::statistics::{TARGET_COVERAGE, rank_sum};
use crate::summary::Summary;

/// A run, ordered and judged.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The run itself.
    pub run: &'a Run,
    /// The figures of the completed trials of each cell, in the order of the run's cells.
    pub figures: Vec<Vec<Figures>>,
    /// One table per workload in closed loop, latencies first, in the order of the run.
    pub tables: Vec<Table<'a>>,
    /// Who is fastest at the smallest size of the first latency table; absent with fewer than two measured rows.
    pub ranking: Option<Ranking<'a>>,
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
    /// One entry per size of the table; absent where the size was not in the plan.
    pub cells: Vec<Option<&'a Cell>>,
}

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

impl<'a> Report<'a> {
    /// Orders and judges `run`.
    ///
    /// # Errors
    /// [`DecodeError`] when a histogram in it is damaged.
    pub fn new(run: &'a Run) -> Result<Self, DecodeError> {
        let mut modes: Vec<&str> = Vec::new();
        for cell in run.cells.iter().filter(|cell| cell.rate.is_none()) {
            if !modes.contains(&cell.mode.as_str()) {
                modes.push(&cell.mode);
            }
        }
        modes.sort_by_key(|mode| throughput_is_primary(mode));
        let tables: Vec<Table<'a>> = modes.into_iter().map(|mode| Table::new(run, mode)).collect();
        let figures: Vec<Vec<Figures>> = run.cells.iter().map(Figures::of_cell).collect::<Result<_, _>>()?;
        let mut report = Self { run, figures, tables, ranking: None };
        report.ranking = Ranking::new(&report);
        Ok(report)
    }

    /// The figures of the completed trials of the cell with this id.
    pub fn figures(&self, id: &str) -> &[Figures] {
        let index = self.run.cells.iter().position(|cell| cell.id == id);
        index.map_or(&[], |index| &self.figures[index])
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
    fn new(run: &'a Run, mode: &'a str) -> Self {
        let cells: Vec<&Cell> =
            run.cells.iter().filter(|cell| cell.mode == mode && cell.rate.is_none()).collect();
        let mut sizes: Vec<u64> = cells.iter().map(|cell| cell.size_bytes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mut rows: Vec<Row<'a>> = Vec::new();
        for cell in &cells {
            let name = row_name(cell);
            let known = rows.iter().position(|row| row.name == name && row.wait == cell.wait);
            let at = known.unwrap_or_else(|| {
                rows.push(Row { name, wait: &cell.wait, cells: vec![None; sizes.len()] });
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
            "stream" => format!("Throughput{}", peers("1 → 1", "pairs")),
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

/// Transport and the dimensions of the id beside size and wait, which have their own columns.
fn row_name(cell: &Cell) -> String {
    let dimensions = cell.id.split('/').skip(3).filter(|dimension| !dimension.starts_with("wait="));
    std::iter::once(cell.transport.as_str()).chain(dimensions).collect::<Vec<_>>().join(" ")
}

impl<'a> Ranking<'a> {
    fn new(report: &Report<'a>) -> Option<Self> {
        let table = report.tables.iter().find(|table| !table.by_throughput)?;
        let measured = |row: &Row<'a>| {
            let cell = row.cells[0]?;
            let p50_ns = cell.summary.as_ref()?.latency.p50_ns?;
            let name = named(row, table);
            let burns_cpu = cell.summary.as_ref().is_some_and(burns_cpu);
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

/// The row's name, with the wait policy where the name alone is not unique in the table.
fn named(row: &Row<'_>, table: &Table<'_>) -> String {
    let same = table.rows.iter().filter(|other| other.name == row.name).count();
    if same > 1 { format!("{} {}", row.name, row.wait) } else { row.name.clone() }
}

/// Two workers that never sleep use twice the time of each round trip; 1.6 leaves room for what the hypervisor takes, and
/// is well above what a sleeping pair uses.
fn burns_cpu(summary: &Summary) -> bool {
    const TWO_BUSY_WORKERS: f64 = 1.6;
    summary
        .cpu_ns_per_msg
        .zip(summary.latency.mean_ns)
        .is_some_and(|(cpu, mean)| cpu.value > TWO_BUSY_WORKERS * mean.value)
}
