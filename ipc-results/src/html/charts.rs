//! Percentile curves, scaling with size, latency against load, timelines.

use crate::cell::Cell;
use crate::export::escape;
use crate::figures::{Figures, curve_shares};
use crate::metric::Metric;
use crate::report::{LoadCurve, LoadPoint, Report, Row, Table};
use crate::summary::PERCENTILES;
use crate::units::{bytes_rate, count, percent, rate, size, time};

use super::axis::{Axis, bytes_tick, rate_tick, tail, time_tick};
use super::page::{Page, labelled, named, table};
use super::plot::Plot;

fn latencies<'r, 'a>(report: &'r Report<'a>) -> impl Iterator<Item = &'r Table<'a>> {
    report.tables.iter().filter(|table| !table.by_throughput)
}

pub(super) fn percentiles(page: &mut Page, report: &Report<'_>) {
    let mut charts = Vec::new();
    for table in latencies(report) {
        for (column, bytes) in table.sizes.iter().enumerate() {
            let distribution = |row: &Row<'_>| {
                let (series, cell) = (row.series, row.cells[column]?);
                let label = report.series[series].clone();
                Some(Distribution {
                    series,
                    label,
                    cell: report.run.cell(&cell.id)?,
                    figures: report.figures(&cell.id),
                })
            };
            let distributions: Vec<Distribution<'_>> = table.rows.iter().filter_map(distribution).collect();
            if let Some(chart) = percentile_chart(&distributions) {
                charts.push((format!("{}, {}", table.title(), size(*bytes)), chart));
            }
        }
    }
    if charts.is_empty() {
        return;
    }
    let lead = "The line is the trial with the median p50, the band reaches from the lowest to the highest trial. To the right every \
                nine takes the same room; a curve ends where fewer than ten samples of a trial lie beyond.";
    page.section("percentiles", "Distribution", "The whole distribution", lead);
    page.push("<div class=\"grid\">");
    for (caption, (logarithmic, linear, numbers)) in charts {
        page.figure(&caption, &switchable(&logarithmic, &linear), &numbers);
    }
    page.push("</div>");
    page.end_section();
}

/// Two drawings of one chart and the switch between them, which needs no script.
pub(super) fn switchable(logarithmic: &str, linear: &str) -> String {
    format!(
        "<div class=\"switch\"><label><input type=\"checkbox\"> linear</label>\
         <div class=\"log\">{logarithmic}</div><div class=\"lin\">{linear}</div></div>"
    )
}

/// One distribution of a chart.
struct Distribution<'r> {
    series: usize,
    label: String,
    cell: &'r Cell,
    figures: &'r [Figures],
}

/// The distributions of one cell in two runs, under these labels; `None` where one of them has too few messages for a curve.
pub(super) fn overlaid(runs: [(String, &Report<'_>); 2], cell: &str) -> Option<(String, String, String)> {
    let distributions: Option<Vec<Distribution<'_>>> = runs
        .iter()
        .enumerate()
        .map(|(series, (label, report))| {
            let (label, figures) = (label.clone(), report.figures(cell));
            Some(Distribution { series, label, cell: report.run.cell(cell)?, figures })
        })
        .collect();
    let distributions = distributions.filter(|both| both.iter().all(|own| curve(own.figures).is_some()))?;
    percentile_chart(&distributions)
}

/// The logarithmic and the linear chart of these distributions, and their table.
fn percentile_chart(distributions: &[Distribution<'_>]) -> Option<(String, String, String)> {
    let curves: Vec<(&Distribution<'_>, Curve)> =
        distributions.iter().filter_map(|own| Some((own, curve(own.figures)?))).collect();
    let highest = curves.iter().map(|(_, curve)| curve.median.len()).max()?;
    let share = curve_shares().nth(highest - 1)?;
    let values =
        || curves.iter().flat_map(|(_, curve)| curve.below.iter().chain(&curve.above)).map(|(_, ns)| *ns);
    let draw = |y: Axis| {
        let mut plot = Plot::new("latency by percentile", Axis::percentiles(share), y);
        for (own, curve) in &curves {
            plot.band(own.series, &curve.below, &curve.above);
        }
        for (own, curve) in &curves {
            plot.line(own.series, &own.label, &curve.median);
        }
        plot.finish()
    };
    let log = draw(Axis::log("", values(), time_tick)?);
    let linear = draw(Axis::linear("", values(), time_tick)?);
    Some((log, linear, percentile_table(distributions)))
}

/// The percentiles that at least one of the distributions supports.
fn percentile_table(distributions: &[Distribution<'_>]) -> String {
    let of = |own: &Distribution<'_>, percent| own.cell.summary.as_ref()?.latency.percentile_ns(percent);
    let mut known = PERCENTILES.to_vec();
    known.retain(|percent| distributions.iter().any(|own| of(own, *percent).is_some()));
    let heads: Vec<String> = known.iter().map(|percent| format!("p{percent}")).collect();
    let heads: Vec<&str> = std::iter::once("").chain(heads.iter().map(String::as_str)).collect();
    let rows = distributions.iter().map(|own| {
        let text =
            |percent: &f64| of(own, *percent).map_or_else(|| "–".into(), |estimate| time(estimate.value));
        std::iter::once(labelled(own.series, &own.label)).chain(known.iter().map(text)).collect()
    });
    table("numbers", &heads, rows)
}

/// Points `(1/(1-share), ns)` of the median trial and of the extremes of all trials.
struct Curve {
    median: Vec<(f64, f64)>,
    below: Vec<(f64, f64)>,
    above: Vec<(f64, f64)>,
}

fn curve(figures: &[Figures]) -> Option<Curve> {
    let shortest = figures.iter().map(|trial| trial.curve_ns.len()).min().filter(|length| *length > 1)?;
    let mut order: Vec<&Figures> = figures.iter().collect();
    order.sort_by(|a, b| {
        let median = |trial: &Figures| trial.percentiles_ns[0].unwrap_or(f64::INFINITY);
        median(a).total_cmp(&median(b))
    });
    let median = order.get((order.len() - 1) / 2)?;
    let extreme = |pick: fn(f64, f64) -> f64, start: f64| {
        let at = |index: usize| figures.iter().map(|trial| trial.curve_ns[index]).fold(start, pick);
        curve_shares().take(shortest).enumerate().map(|(index, share)| (tail(share), at(index))).collect()
    };
    Some(Curve {
        median: curve_shares().map(tail).zip(median.curve_ns[..shortest].iter().copied()).collect(),
        below: extreme(f64::min, f64::INFINITY),
        above: extreme(f64::max, 0.0),
    })
}

pub(super) fn scaling(page: &mut Page, report: &Report<'_>) {
    let tables: Vec<&Table<'_>> = report.tables.iter().filter(|table| table.sizes.len() > 1).collect();
    if tables.is_empty() {
        return;
    }
    let lead = "Both axes are logarithmic: a straight line is a power law. The dotted line is what one core can copy, measured in this \
                run: no transport that copies can be above it.";
    page.section("scaling", "Scaling", "How it scales with message size", lead);
    page.push("<div class=\"grid\">");
    for table in tables {
        let (metric, name) = if table.by_throughput {
            (Metric::BytesPerS, "bytes per second")
        } else {
            (Metric::P50, "median latency")
        };
        if let Some((svg, numbers)) = scaling_chart(report, table, metric) {
            page.figure(&format!("{}: {name}", table.title()), &svg, &numbers);
        }
    }
    page.push("</div>");
    page.end_section();
}

fn scaling_chart(report: &Report<'_>, cells: &Table<'_>, metric: Metric) -> Option<(String, String)> {
    let estimates = |row: &Row<'_>| -> Vec<_> {
        let estimate = |cell: &Option<&Cell>| metric.in_summary((*cell)?.summary.as_ref()?);
        row.cells.iter().map(estimate).collect()
    };
    let roof = report.run.yardsticks.get("memcpy_bytes_per_s").filter(|_| metric == Metric::BytesPerS);
    let values =
        cells.rows.iter().flat_map(estimates).flatten().flat_map(|estimate| [estimate.lo, estimate.hi]);
    let values: Vec<f64> = values.chain(roof.map(|roof| roof.value)).collect();
    let tick = match metric {
        Metric::BytesPerS => bytes_tick,
        Metric::MsgsPerS => rate_tick,
        _ => time_tick,
    };
    let mut plot = Plot::new(
        format!("{metric} by message size"),
        Axis::sizes(&cells.sizes)?,
        Axis::log("", values.iter().copied(), tick)?,
    );
    if let Some(roof) = roof {
        plot.bound(roof.value, &format!("memcpy {}", bytes_rate(roof.value)));
    }
    for row in &cells.rows {
        let known: Vec<_> = cells
            .sizes
            .iter()
            .zip(estimates(row))
            .filter_map(|(bytes, own)| Some((*bytes as f64, own?)))
            .collect();
        let line: Vec<(f64, f64)> = known.iter().map(|(bytes, own)| (*bytes, own.value)).collect();
        plot.line(row.series, &report.series[row.series], &line);
        for (bytes, own) in known {
            plot.interval(row.series, bytes, own.lo, own.hi);
            let text =
                format!("{} {}: {}", report.series[row.series], size(bytes as u64), metric.format(own.value));
            plot.point(row.series, bytes, own.value, false, &text);
        }
    }
    let heads: Vec<String> =
        std::iter::once(String::new()).chain(cells.sizes.iter().map(|bytes| size(*bytes))).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let rows = cells.rows.iter().map(|row| {
        let text =
            |own: Option<crate::Estimate>| own.map_or_else(|| "–".into(), |own| metric.format(own.value));
        std::iter::once(named(report, row.series)).chain(estimates(row).into_iter().map(text)).collect()
    });
    Some((plot.finish(), table("numbers", &heads, rows)))
}

pub(super) fn load(page: &mut Page, report: &Report<'_>) {
    if report.load.is_empty() {
        return;
    }
    let lead = "Open loop: messages are due at fixed times whether or not the last one is done. The thick line is the p99 of the \
                response time, from when a message was due; the thin line is the p99 of the service time, from when it was sent. The ring \
                marks the knee, the highest load at which waiting takes no longer than the service. Hollow points did not reach \
                their load: their latency claims nothing.";
    page.section("load", "Load", "Latency under load", lead);
    page.push("<div class=\"grid\">");
    for curve in &report.load {
        if let Some(svg) = load_chart(report, curve) {
            let caption = format!("{}, {}", report.series[curve.series], size(curve.size_bytes));
            page.figure(&caption, &svg, &load_table(curve));
        }
    }
    page.push("</div>");
    page.end_section();
}

fn load_chart(report: &Report<'_>, curve: &LoadCurve<'_>) -> Option<String> {
    let points = |figure: &dyn Fn(&LoadPoint<'_>) -> Option<f64>| -> Vec<(f64, f64)> {
        curve.points.iter().filter_map(|point| Some((point.requested, figure(point)?))).collect()
    };
    let response = points(&|point| Some(point.response_ns(99.0)?.value));
    let service = points(&|point| Some(point.service_ns(99.0)?.value));
    let values = response.iter().chain(&service).map(|(_, ns)| *ns);
    let x = Axis::linear("messages per second offered", response.iter().map(|(rate, _)| *rate), rate_tick)?;
    let mut plot = Plot::new("latency against offered load", x, Axis::log("", values, time_tick)?);
    plot.thin_line(curve.series, &service);
    plot.line(curve.series, &report.series[curve.series], &response);
    for point in &curve.points {
        let Some(response) = point.response_ns(99.0) else { continue };
        plot.interval(curve.series, point.requested, response.lo, response.hi);
        let text = format!("{} msg/s: response p99 {}", rate(point.requested), time(response.value));
        plot.point(curve.series, point.requested, response.value, point.saturated, &text);
    }
    if let Some(knee) = curve.knee.map(|index| &curve.points[index])
        && let Some(response) = knee.response_ns(99.0)
    {
        let text = format!("knee at {} msg/s", rate(knee.requested));
        plot.ring(curve.series, knee.requested, response.value, &text);
    }
    Some(plot.finish())
}

fn load_table(curve: &LoadCurve<'_>) -> String {
    let text = |estimate: Option<crate::Estimate>| estimate.map_or_else(|| "–".into(), |own| time(own.value));
    let rows = curve.points.iter().enumerate().map(|(index, point)| {
        let remark = match curve.knee {
            _ if point.saturated => "saturated",
            Some(knee) if knee == index => "knee",
            _ => "",
        };
        vec![
            format!("{} msg/s", rate(point.requested)),
            rate(point.achieved.value),
            text(point.response_ns(50.0)),
            text(point.response_ns(99.0)),
            text(point.service_ns(50.0)),
            text(point.service_ns(99.0)),
            remark.to_owned(),
        ]
    });
    let heads = ["offered", "sent", "response p50", "p99", "service p50", "p99", ""];
    table("numbers", &heads, rows)
}

pub(super) fn timeline(page: &mut Page, report: &Report<'_>) {
    let with_intervals = |cell: &&Cell| cell.completed().any(|trial| trial.timeline.len() > 1);
    let cells: Vec<&Cell> = report.run.cells.iter().filter(with_intervals).collect();
    if cells.is_empty() {
        return;
    }
    let lead = "One trial over time, interval by interval: the thick line is the median, the thin one the p99, the points are maxima.";
    let ticks = " A tick at the lower edge is an interval in which the hypervisor took time or a worker moved to another CPU.";
    let mut intervals = cells.iter().flat_map(|cell| cell.completed()).flat_map(|trial| &trial.timeline);
    let has_ticks = intervals.any(|own| own.steal_ns.is_some() || own.migrations.is_some());
    page.section(
        "timeline",
        "Timeline",
        "Over time",
        &format!("{lead}{}", if has_ticks { ticks } else { "" }),
    );
    page.push("<div class=\"grid\">");
    for cell in cells {
        if let Some((svg, numbers)) = timeline_chart(report, cell) {
            page.figure(&cell.id, &svg, &numbers);
        }
    }
    page.push("</div>");
    page.end_section();
}

/// Rows below a timeline: the chart has all of them, and a page of a thousand rows per cell is read by nobody.
const MOST_INTERVALS: usize = 50;

fn timeline_chart(report: &Report<'_>, cell: &Cell) -> Option<(String, String)> {
    let trial = cell.completed().find(|trial| trial.timeline.len() > 1)?;
    let series = report.series_of(cell);
    let points = |figure: fn(&crate::run::Interval) -> Option<u64>| -> Vec<(f64, f64)> {
        trial.timeline.iter().filter_map(|own| Some((own.start_ns as f64, figure(own)? as f64))).collect()
    };
    let (p50, p99, max) = (points(|own| own.p50_ns), points(|own| own.p99_ns), points(|own| own.max_ns));
    let values = p50.iter().chain(&p99).chain(&max).map(|(_, ns)| *ns);
    let x =
        Axis::linear("time in the trial", trial.timeline.iter().map(|own| own.start_ns as f64), time_tick)?;
    let mut plot = Plot::new(format!("{} over time", cell.id), x, Axis::log("", values, time_tick)?);
    plot.thin_line(series, &p99);
    plot.line(series, "p50", &p50);
    for (at, ns) in max {
        plot.point(series, at, ns, true, &format!("maximum {}", time(ns)));
    }
    for own in &trial.timeline {
        let stolen = own.steal_ns.filter(|ns| *ns > 0).map(|ns| format!("{} stolen", time(ns as f64)));
        let moved = own.migrations.filter(|moves| *moves > 0).map(|moves| format!("{moves} migrations"));
        if let Some(text) = stolen.or(moved) {
            plot.event(own.start_ns as f64, &text);
        }
    }
    let absent = |ns: Option<u64>| ns.map_or_else(|| "–".into(), |ns| time(ns as f64));
    let stolen = trial.timeline.iter().any(|own| own.steal_ns.is_some());
    let rows = trial.timeline.iter().take(MOST_INTERVALS).map(|own| {
        let mut row = vec![
            time(own.start_ns as f64),
            count(own.messages),
            absent(own.p50_ns),
            absent(own.p99_ns),
            absent(own.max_ns),
        ];
        if stolen {
            row.push(
                own.steal_ns.map_or_else(|| "–".into(), |ns| percent(ns as f64 / own.elapsed_ns as f64)),
            );
        }
        row
    });
    let heads = ["from", "messages", "p50", "p99", "max", "stolen"];
    let heads = &heads[..if stolen { 6 } else { 5 }];
    let more = match trial.timeline.len().saturating_sub(MOST_INTERVALS) {
        0 => String::new(),
        more => format!(", {more} more intervals in run.json"),
    };
    let note = format!("<p class=\"lead\">trial {}{}{more}</p>", trial.index, escape(&flags(&trial.flags)));
    Some((plot.finish(), note + &table("numbers tall", heads, rows)))
}

fn flags(flags: &[String]) -> String {
    if flags.is_empty() { String::new() } else { format!(", flagged: {}", flags.join(", ")) }
}
