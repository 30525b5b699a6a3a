//! Latency against offered load.

use crate::cell::Cell;
use crate::estimate::Estimate;

use super::Report;

/// Waiting may take as long as the service itself: up to here a link is below its knee.
const KNEE: f64 = 2.0;

/// One transport at one size under rising load.
#[derive(Debug, Clone)]
pub struct LoadCurve<'a> {
    /// Index into [`Report::series`].
    pub series: usize,
    /// Payload bytes.
    pub size_bytes: u64,
    /// By rising requested rate.
    pub points: Vec<LoadPoint<'a>>,
    /// Index of the knee: the highest load in a row from the lowest at which the p99 of the response time is at most twice that
    /// of the service time. Absent when the lowest load is beyond it already.
    pub knee: Option<usize>,
}

/// One load.
#[derive(Debug, Clone)]
pub struct LoadPoint<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Messages per second that were asked for.
    pub requested: f64,
    /// Messages per second that were sent.
    pub achieved: Estimate,
    /// Whether the load was not reached: its latencies claim nothing.
    pub saturated: bool,
}

impl LoadPoint<'_> {
    /// Response time at one of the stored percentiles, in nanoseconds: from the intended send.
    pub fn response_ns(&self, percent: f64) -> Option<Estimate> {
        self.cell.summary.as_ref()?.latency.percentile_ns(percent)
    }

    /// Service time at one of the stored percentiles, in nanoseconds: from the actual send.
    pub fn service_ns(&self, percent: f64) -> Option<Estimate> {
        self.cell.summary.as_ref()?.service.as_ref()?.percentile_ns(percent)
    }
}

pub(super) fn curves<'a>(report: &Report<'a>) -> Vec<LoadCurve<'a>> {
    let mut curves: Vec<LoadCurve<'a>> = Vec::new();
    for cell in &report.run.cells {
        let Some(point) = point(cell) else { continue };
        let series = report.series_of(cell);
        let same = |curve: &&mut LoadCurve<'_>| curve.series == series && curve.size_bytes == cell.size_bytes;
        match curves.iter_mut().find(same) {
            Some(curve) => curve.points.push(point),
            None => curves.push(LoadCurve {
                series,
                size_bytes: cell.size_bytes,
                points: vec![point],
                knee: None,
            }),
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|a, b| a.requested.total_cmp(&b.requested));
        curve.knee = curve.points.iter().take_while(|point| below_the_knee(point)).count().checked_sub(1);
    }
    curves
}

fn point(cell: &Cell) -> Option<LoadPoint<'_>> {
    let summary = cell.summary.as_ref()?;
    let requested = cell.completed().find_map(|trial| trial.requested_rate)?;
    Some(LoadPoint {
        cell,
        requested,
        achieved: summary.achieved_rate?,
        saturated: summary.saturated == Some(true),
    })
}

fn below_the_knee(point: &LoadPoint<'_>) -> bool {
    let waits = point.response_ns(99.0).zip(point.service_ns(99.0));
    !point.saturated && waits.is_some_and(|(response, service)| response.value <= KNEE * service.value)
}
