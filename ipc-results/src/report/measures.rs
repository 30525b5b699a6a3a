//! What only some workloads measure: memory and wake-ups of idle endpoints, leaks, bursts, codecs.

use crate::cell::Cell;
use crate::summary::Summary;
use crate::units::size;

use super::Report;

/// Workloads whose every figure is a measure: they have no table of latencies or throughput.
const ONLY_MEASURES: [&str; 2] = ["leak", "codec"];

/// What is told of a codec, in this order; anything else of it is in the file.
const OF_A_CODEC: [&str; 5] = ["encode_ns", "decode_ns", "encoded_bytes", "transport_ns", "end_to_end_ns"];

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sums { of, outside } = self;
        write!(
            f,
            "encode, decode and transport add up to end to end, within its interval and one reading of the clock, in {} of {of}",
            of - outside.len()
        )?;
        if outside.is_empty() { Ok(()) } else { write!(f, "; not in {}", outside.join(", ")) }
    }
}

/// The measures of one workload at one size.
#[derive(Debug, Clone)]
pub struct Sheet<'a> {
    /// Name of the workload, [`Cell::mode`].
    pub mode: &'a str,
    /// Payload size in bytes.
    pub size_bytes: u64,
    /// Names of the measures; the unit is the end of each.
    pub names: Vec<&'a str>,
    /// The cells with their indices into [`Report::series`]: codecs by what encoding and decoding take together, others
    /// in the order of the run.
    pub cells: Vec<(usize, &'a Cell)>,
}

/// Whether a workload has a table of latencies or throughput.
pub(super) fn has_a_table(mode: &str) -> bool {
    !ONLY_MEASURES.contains(&mode)
}

/// One sheet per workload and size, in the order of the run.
pub(super) fn sheets<'a>(report: &Report<'a>) -> Vec<Sheet<'a>> {
    let mut sheets: Vec<Sheet<'a>> = Vec::new();
    let measured = |cell: &&&Cell| cell.summary.as_ref().is_some_and(|summary| !summary.measures.is_empty());
    for cell in report.run.cells.iter().collect::<Vec<_>>().iter().filter(measured) {
        let is_its = |sheet: &Sheet<'_>| sheet.mode == cell.mode && sheet.size_bytes == cell.size_bytes;
        let at = sheets.iter().position(is_its).unwrap_or_else(|| {
            let (mode, size_bytes) = (cell.mode.as_str(), cell.size_bytes);
            sheets.push(Sheet { mode, size_bytes, names: Vec::new(), cells: Vec::new() });
            sheets.len() - 1
        });
        let sheet = &mut sheets[at];
        let known = cell.summary.iter().flat_map(|summary| summary.measures.keys().map(String::as_str));
        for name in known {
            if !sheet.names.contains(&name) && (!sheet.is_of_codecs() || OF_A_CODEC.contains(&name)) {
                sheet.names.push(name);
            }
        }
        sheet.cells.push((report.series_of(cell), cell));
    }
    for sheet in sheets.iter_mut().filter(|sheet| sheet.is_of_codecs()) {
        sheet.names.sort_by_key(|name| OF_A_CODEC.iter().position(|known| known == name));
        sheet.cells.sort_by(|a, b| work(a.1).total_cmp(&work(b.1)));
    }
    sheets
}

/// What encoding and decoding take together.
fn work(cell: &Cell) -> f64 {
    let of = |name| Some(cell.summary.as_ref()?.measures.get(name)?.value);
    of("encode_ns").unwrap_or(f64::MAX) + of("decode_ns").unwrap_or(f64::MAX)
}

/// How often the parts of a codec's way add up to the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// Cells that have parts and a whole.
    pub of: usize,
    /// Identifiers of those whose sum lies outside the whole's interval by more than a reading of the clock.
    pub outside: Vec<String>,
}

/// Whether encoding, decoding and transport add up to end to end, which is measured by itself; `None` for a cell without them.
fn adds_up(cell: &Cell) -> Option<bool> {
    let measures = &cell.summary.as_ref()?.measures;
    let value = |name| Some(measures.get(name)?.value);
    let sum = value("encode_ns")? + value("decode_ns")? + value("transport_ns")?;
    let whole = measures.get("end_to_end_ns")?;
    let reading = value("clock_reading_ns")?;
    Some((whole.lo - reading..=whole.hi + reading).contains(&sum))
}

impl Sheet<'_> {
    /// Whether the parts of codecs add up; `None` where no cell has parts.
    pub fn sums(&self) -> Option<Sums> {
        let told: Vec<_> =
            self.cells.iter().filter_map(|(_, cell)| Some((&cell.id, adds_up(cell)?))).collect();
        let outside = told.iter().filter(|(_, adds_up)| !adds_up).map(|(id, _)| (*id).clone()).collect();
        (!told.is_empty()).then_some(Sums { of: told.len(), outside })
    }

    /// Whether it compares codecs: a row per cell, not a column.
    pub fn is_of_codecs(&self) -> bool {
        self.mode == "codec"
    }

    /// As a heading: `idle, 64 B`.
    pub fn title(&self) -> String {
        let what = match self.mode {
            "idle" => "An idle endpoint",
            "leak" => "What stays behind",
            "codec" => "Codecs",
            other => other,
        };
        format!("{what}, {}", size(self.size_bytes))
    }

    /// The words of a measure without its unit: `endpoint private`.
    pub fn words(name: &str) -> String {
        const UNITS: [&str; 6] = ["_ns", "_bytes", "_per_s", "_percent", "_ratio", "_count"];
        let bare = UNITS.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
        bare.replace('_', " ")
    }

    /// A measure of a cell; `None` where it has none of this name.
    pub fn figure(cell: &Cell, name: &str) -> Option<String> {
        let of = |summary: &Summary| Some(summary.measures.get(name)?.value);
        cell.summary.as_ref().and_then(of).map(|value| crate::units::figure(name, value))
    }
}
