//! The two custom formats of github-action-benchmark (`customSmallerIsBetter`, `customBiggerIsBetter`).

use serde::Serialize;

use crate::estimate::Estimate;
use crate::metric::Metric;
use crate::run::Run;

/// The contents of `NAME.smaller.json` and `NAME.bigger.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GithubActionBenchmark {
    /// Latencies.
    pub smaller: String,
    /// Throughputs.
    pub bigger: String,
}

/// One point; `range` and `extra` are shown beside it.
#[derive(Serialize)]
struct Point {
    name: String,
    unit: &'static str,
    value: f64,
    range: String,
    extra: String,
}

/// The default metrics of every measured cell.
pub fn github_action_benchmark(run: &Run) -> GithubActionBenchmark {
    let (mut smaller, mut bigger) = (Vec::new(), Vec::new());
    for cell in &run.cells {
        let Some(summary) = &cell.summary else { continue };
        for metric in Metric::defaults(cell) {
            let Some(Estimate { value, lo, hi, trials, .. }) = metric.in_summary(summary) else { continue };
            let unit = if metric.higher_is_better() { "msg/s" } else { "ns" };
            let point = Point {
                name: format!("{} {metric}", cell.id),
                unit,
                value,
                range: format!("{lo:.0} … {hi:.0}"),
                extra: format!("median of {trials} trials, {}", run.label),
            };
            if metric.higher_is_better() { bigger.push(point) } else { smaller.push(point) }
        }
    }
    let json = |points: Vec<Point>| {
        // Plain structs of strings and finite numbers always have a JSON form.
        serde_json::to_string_pretty(&points).map_or_else(|_| "[]\n".to_owned(), |json| json + "\n")
    };
    GithubActionBenchmark { smaller: json(smaller), bigger: json(bigger) }
}
