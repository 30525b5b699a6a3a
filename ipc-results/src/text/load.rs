//! Latency against offered load.

use crate::estimate::Estimate;
use crate::report::{LoadCurve, LoadPoint, Report};
use crate::units::{Scale, size};

use super::Page;
use super::grid::{self, Column, Group};

/// One table for all curves, a row per load.
pub(super) fn load(page: &mut Page, report: &Report<'_>) {
    let rows: Vec<(&LoadCurve<'_>, usize, &LoadPoint<'_>)> = report
        .load
        .iter()
        .flat_map(|curve| curve.points.iter().enumerate().map(move |(index, point)| (curve, index, point)))
        .collect();
    if rows.is_empty() {
        return;
    }
    let times = |point: &LoadPoint<'_>| {
        [point.response_ns(50.0), point.response_ns(99.0), point.service_ns(50.0), point.service_ns(99.0)]
    };
    let all = || rows.iter().flat_map(|(.., point)| times(point)).flatten().map(|time| time.value);
    let unit = Scale::time(all());
    let rates = Scale::messages(rows.iter().map(|(.., point)| point.requested));
    let column = |header: &str, text: &dyn Fn(&LoadPoint<'_>) -> String| {
        Column::right(header, rows.iter().map(|(.., point)| text(point)).collect())
    };
    let time = |header: &str, figure: &dyn Fn(&LoadPoint<'_>) -> Option<Estimate>| {
        let scale = unit.for_column(rows.iter().filter_map(|(.., point)| Some(figure(point)?.value)));
        column(header, &|point| figure(point).map_or_else(|| "–".into(), |time| scale.format(time.value)))
    };
    let name = |(curve, ..): &(&LoadCurve<'_>, usize, &LoadPoint<'_>)| {
        format!("{} {}", report.series[curve.series], size(curve.size_bytes))
    };
    let remark = |(curve, index, point): &(&LoadCurve<'_>, usize, &LoadPoint<'_>)| match curve.knee {
        _ if point.saturated => "saturated",
        Some(knee) if knee == *index => "knee",
        _ => "",
    };
    let groups = [
        Group {
            title: String::new(),
            columns: vec![Column::left("transport", rows.iter().map(name).collect())],
        },
        Group {
            title: rates.unit.into(),
            columns: vec![
                column("asked", &|point| rates.format(point.requested)),
                column("sent", &|point| rates.format(point.achieved.value)),
            ],
        },
        Group {
            title: "response".into(),
            columns: vec![
                time("p50", &|point| point.response_ns(50.0)),
                time("p99", &|point| point.response_ns(99.0)),
            ],
        },
        Group {
            title: "service".into(),
            columns: vec![
                time("p50", &|point| point.service_ns(50.0)),
                time("p99", &|point| point.service_ns(99.0)),
            ],
        },
        Group {
            title: String::new(),
            columns: vec![Column::left("", rows.iter().map(|row| remark(row).to_owned()).collect())],
        },
    ];
    page.heading(&format!("Open loop ({})", unit.unit));
    for line in grid::lines(&groups) {
        page.line(&line);
    }
    page.note("response is timed from the intended send, service from the actual one");
    page.note("knee: the highest load whose response p99 is at most twice its service p99");
    if rows.iter().any(|(.., point)| point.saturated) {
        page.note("saturated: less than 99 % of the load was sent, the latencies claim nothing");
    }
}
