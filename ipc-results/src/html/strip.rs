//! Every trial a point, around the median of its cell; and changes as a forest of intervals.

use std::fmt::Write;

use crate::cell::Cell;
use crate::estimate::Estimate;
use crate::export::escape;
use crate::metric::Metric;
use crate::report::Report;
use crate::units::{distance, size};

use super::axis::Axis;
use super::page::{Page, named, table};
use super::plot::{class, marker, shortened};

/// Sizes in the units of the drawing.
const WIDTH: f64 = 520.0;
const LEFT: f64 = 118.0;
const RIGHT: f64 = 16.0;
const ROW: f64 = 30.0;
const BOTTOM: f64 = 42.0;

/// Deviations are drawn up to here; further trials stand at the edge, the furthest on each side with its distance.
const MOST: f64 = 0.5;

pub(super) fn trials(page: &mut Page, report: &Report<'_>) {
    let mut figures = Vec::new();
    for cells in &report.tables {
        let metric = if cells.by_throughput { Metric::MsgsPerS } else { Metric::P50 };
        for (column, bytes) in cells.sizes.iter().enumerate() {
            let rows: Vec<(usize, &Cell)> =
                cells.rows.iter().filter_map(|row| Some((row.series, row.cells[column]?))).collect();
            if let Some((svg, numbers)) = strip(report, &rows, metric) {
                figures.push((
                    format!("{}, {}: {metric} of each trial", cells.title(), size(*bytes)),
                    svg,
                    numbers,
                ));
            }
        }
    }
    if figures.is_empty() {
        return;
    }
    let lead = "Each point is one trial, a fresh set of processes, by its distance from the median of its cell. Two clusters mean that \
                placement decides, and that no single number describes the cell. The bar is the interval of the median; hollow \
                points were disturbed and are kept.";
    page.section("trials", "Trials", "Every trial", lead);
    page.push("<div class=\"grid\">");
    for (caption, svg, numbers) in figures {
        page.figure(&caption, &svg, &numbers);
    }
    page.push("</div>");
    page.end_section();
}

/// One cell in the strip.
struct Dots {
    series: usize,
    median: Estimate,
    /// Value of each trial, and whether it was disturbed.
    trials: Vec<(f64, bool)>,
}

fn strip(report: &Report<'_>, cells: &[(usize, &Cell)], metric: Metric) -> Option<(String, String)> {
    let rows: Vec<Dots> = cells
        .iter()
        .filter_map(|(series, cell)| {
            let median = metric.in_summary(cell.summary.as_ref()?)?;
            let trials = report.figures(&cell.id).iter();
            let trials = trials.filter_map(|trial| Some((metric.of(trial)?, trial.flagged))).collect();
            Some(Dots { series: *series, median, trials })
        })
        .collect();
    let away = |median: &Estimate, value: f64| value / median.value - 1.0;
    let reach = rows
        .iter()
        .flat_map(|Dots { median, trials, .. }| trials.iter().map(|(value, _)| away(median, *value).abs()))
        .fold(0.02, f64::max)
        .min(MOST);
    let axis = Axis::around_zero("distance from the median of the cell", reach * 1.1);
    let mut drawing = Rows::new("deviation of every trial from the median", axis, rows.len());
    if rows.is_empty() {
        return None;
    }
    for (index, Dots { series, median, trials }) in rows.iter().enumerate() {
        drawing.label(index, &report.series[*series]);
        let inside = |value: f64| away(median, value).clamp(-reach, reach);
        drawing.interval(index, *series, inside(median.lo), inside(median.hi));
        for (value, flagged) in trials {
            let text = format!("{}: {}", report.series[*series], metric.format(*value));
            drawing.point(index, *series, inside(*value), *flagged, &text);
        }
        let distances = || trials.iter().map(|(value, _)| away(median, *value));
        for furthest in [distances().fold(0.0, f64::min), distances().fold(0.0, f64::max)] {
            if furthest.abs() > reach {
                drawing.beyond(index, furthest.clamp(-reach, reach), &distance(1.0 + furthest));
            }
        }
    }
    let most = rows.iter().map(|row| row.trials.len()).max().unwrap_or(0);
    let heads: Vec<String> =
        std::iter::once("trial".to_owned()).chain((0..most).map(|trial| trial.to_string())).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let numbers = rows.iter().map(|Dots { series, trials, .. }| {
        let text = |(value, flagged): &(f64, bool)| {
            format!("{}{}", metric.format(*value), if *flagged { " ◦" } else { "" })
        };
        let absent = std::iter::repeat_n("–".to_owned(), most - trials.len());
        std::iter::once(named(report, *series)).chain(trials.iter().map(text)).chain(absent).collect()
    });
    Some((drawing.finish(), table("numbers", &heads, numbers)))
}

/// A drawing of labelled rows over one axis.
pub(super) struct Rows {
    axis: Axis,
    title: &'static str,
    rows: usize,
    body: String,
    /// Where the axis begins.
    left: f64,
    /// Height of a row.
    step: f64,
    /// From the top of a row to its middle line.
    middle: f64,
}

/// The same where each label has a line of its own.
const LINE: f64 = 42.0;
const LINE_LEFT: f64 = 14.0;

impl Rows {
    pub(super) fn new(title: &'static str, axis: Axis, rows: usize) -> Self {
        Self { axis, title, rows, body: String::new(), left: LEFT, step: ROW, middle: 0.5 * ROW }
    }

    /// Rows whose labels stand above them: for names that are long, and differ at their end.
    pub(super) fn with_long_labels(title: &'static str, axis: Axis, rows: usize) -> Self {
        Self { left: LINE_LEFT, step: LINE, middle: 29.0, ..Self::new(title, axis, rows) }
    }

    fn px(&self, value: f64) -> f64 {
        self.left + self.axis.at(value) * (WIDTH - self.left - RIGHT)
    }

    fn py(&self, row: usize) -> f64 {
        8.0 + row as f64 * self.step + self.middle
    }

    // Writing to a string cannot fail, here and below.
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(element);
    }

    pub(super) fn label(&mut self, row: usize, text: &str) {
        if self.step == LINE {
            let y = self.py(row) - 13.0;
            self.push(format_args!(
                "<text class=\"row\" x=\"{LINE_LEFT}\" y=\"{y:.1}\">{}</text>",
                escape(&shortened(text, 58))
            ));
            return;
        }
        let y = self.py(row) + 4.0;
        // Long names keep their beginning; the table below has them whole.
        self.push(format_args!(
            "<text class=\"row\" x=\"{}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 12.0,
            escape(&shortened(text, 18))
        ));
    }

    pub(super) fn interval(&mut self, row: usize, series: usize, lo: f64, hi: f64) {
        let (x, y, class) = (self.px(lo), self.py(row), class(series));
        let width = (self.px(hi) - x).max(1.0);
        self.push(format_args!(
            "<rect class=\"span {class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" rx=\"3\"/>",
            y - 7.0
        ));
    }

    /// A bar from zero to `whole`, its first part up to `part` in full colour.
    pub(super) fn bar(&mut self, row: usize, series: usize, part: f64, whole: f64, text: &str) {
        let (x, y, class) = (self.px(0.0), self.py(row) - 8.0, class(series));
        let (part, whole) = ((self.px(part) - x).max(0.0), (self.px(whole) - x).max(1.0));
        self.push(format_args!(
            "<g class=\"column {class}\"><rect class=\"rest\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{whole:.1}\" height=\"16\"/>\
             <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{part:.1}\" height=\"16\"/><title>{}</title></g>",
            escape(text)
        ));
    }

    pub(super) fn point(&mut self, row: usize, series: usize, value: f64, hollow: bool, text: &str) {
        let mark = marker(series, self.px(value), self.py(row), 4.0);
        let (class, hollow) = (class(series), if hollow { " hollow" } else { "" });
        self.push(format_args!(
            "<path class=\"mark dot{hollow} {class}\" d=\"{mark}\"><title>{}</title></path>",
            escape(text)
        ));
    }

    /// What a point at the edge stands for, on the inner side of it.
    pub(super) fn beyond(&mut self, row: usize, edge: f64, text: &str) {
        let (side, anchor) = if edge > 0.0 { (-9.0, "end") } else { (9.0, "start") };
        let (x, y) = (self.px(edge) + side, self.py(row) + 4.0);
        self.push(format_args!(
            "<text class=\"beyond\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    pub(super) fn finish(self) -> String {
        let bottom = 8.0 + self.rows as f64 * self.step;
        let height = bottom + BOTTOM;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\"><g class=\"axes\">",
            self.title
        );
        for (value, text) in self.axis.ticks() {
            let x = self.px(*value);
            let class = if *value == 0.0 { "edge" } else { "grid" };
            let _ = write!(svg, "<path class=\"{class}\" d=\"M{x:.1} 4V{bottom}\"/>");
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                bottom + 16.0
            );
        }
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>{}</svg>",
            (self.left + WIDTH - RIGHT) / 2.0,
            bottom + 34.0,
            escape(self.axis.label()),
            self.body
        );
        svg
    }
}
