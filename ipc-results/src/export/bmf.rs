//! Bencher Metric Format.

use serde_json::{Map, Value, json};

use crate::metric::Metric;
use crate::run::Run;

/// The default metrics of every measured cell: cell → measure → value with its interval. The measures are `latency` (the
/// median, ns), `latency-p99` (ns) and `throughput` (messages per second).
pub fn bmf(run: &Run) -> String {
    let mut benchmarks = Map::new();
    for cell in &run.cells {
        let Some(summary) = &cell.summary else { continue };
        let measures: Map<String, Value> = Metric::defaults(cell)
            .iter()
            .filter_map(|metric| {
                let estimate = metric.in_summary(summary)?;
                let measure = match metric {
                    Metric::P50 => "latency".to_owned(),
                    Metric::MsgsPerS => "throughput".to_owned(),
                    other => format!("latency-{other}"),
                };
                let value = json!({
                    "value": estimate.value,
                    "lower_value": estimate.lo,
                    "upper_value": estimate.hi,
                });
                Some((measure, value))
            })
            .collect();
        if !measures.is_empty() {
            benchmarks.insert(cell.id.clone(), Value::Object(measures));
        }
    }
    format!("{:#}\n", Value::Object(benchmarks))
}
