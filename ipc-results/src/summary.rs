//! The statistics of one cell: medians over its trials.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::{Cell, Latency, Limit, Trial};
use crate::estimate::{Estimate, number, short};
use crate::recorder::{DecodeError, Recorder};
use crate::statistics::median;

/// The percentiles every summary holds where the samples support them.
pub const PERCENTILES: [f64; 6] = [50.0, 90.0, 95.0, 99.0, 99.9, 99.99];

/// Achieved share of the requested rate below which an open-loop cell is saturated and its latencies claim nothing.
pub const SATURATION: f64 = 0.99;

/// Medians over the completed trials of a cell, each with its interval. A figure that fewer than all trials support
/// is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Latency; in open loop from the intended send time (response time).
    #[serde(flatten)]
    pub latency: LatencySummary,
    /// Open loop only: latency from the actual send time (service time).
    pub service: Option<LatencySummary>,
    /// Latency of the first message on each connection, which is in none of the above.
    pub first_message_ns: Option<Estimate>,
    /// Delivered messages per second.
    pub msgs_per_s: Option<Estimate>,
    /// Delivered payload bytes per second.
    pub bytes_per_s: Option<Estimate>,
    /// User and system time of all workers together, per message.
    pub cpu_ns_per_msg: Option<Estimate>,
    /// Voluntary and involuntary context switches of all workers together, per message.
    pub ctxsw_per_msg: Option<Estimate>,
    /// What was counted of all workers together, per message, see [`Trial::counters`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters_per_msg: BTreeMap<String, Estimate>,
    /// Open loop only: messages per second that were sent.
    pub achieved_rate: Option<Estimate>,
    /// Open loop only: whether the requested rate was missed by more than 1 %.
    pub saturated: Option<bool>,
    /// Distance from the physical limit.
    pub limit: Option<LimitRatio>,
    /// What only this workload measures, see [`Trial::measures`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<String, Estimate>,
}

/// Medians over the trials of the figures of their histograms, in whole nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// Half of the messages took no longer.
    pub p50_ns: Option<Estimate>,
    /// 90 % took no longer.
    pub p90_ns: Option<Estimate>,
    /// 95 % took no longer.
    pub p95_ns: Option<Estimate>,
    /// 99 % took no longer; needs 1,000 samples in every trial.
    pub p99_ns: Option<Estimate>,
    /// 99.9 % took no longer; needs 10,000 samples in every trial.
    pub p999_ns: Option<Estimate>,
    /// 99.99 % took no longer; needs 100,000 samples in every trial.
    pub p9999_ns: Option<Estimate>,
    /// Shortest.
    pub min_ns: Option<Estimate>,
    /// Longest.
    pub max_ns: Option<Estimate>,
    /// Mean. Nothing is ranked by it.
    pub mean_ns: Option<Estimate>,
    /// Standard deviation within a trial.
    pub stddev_ns: Option<Estimate>,
    /// The percentiles that were asked for, by number as in `"99.5"`; null where a trial does not support one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub percentiles_ns: BTreeMap<String, Option<Estimate>>,
}

impl LatencySummary {
    /// The estimate of one of [`PERCENTILES`].
    pub fn percentile_ns(&self, percent: f64) -> Option<Estimate> {
        let all = [self.p50_ns, self.p90_ns, self.p95_ns, self.p99_ns, self.p999_ns, self.p9999_ns];
        PERCENTILES.iter().position(|known| *known == percent).and_then(|index| all[index])
    }

    fn over(recorders: &[Recorder], asked: &[f64]) -> Self {
        // Absent as soon as one trial lacks the figure: a median over the trials that have it would be another cell's.
        let over = |figure: &dyn Fn(&Recorder) -> Option<f64>| {
            let values: Option<Vec<f64>> = recorders.iter().map(figure).collect();
            median(&values?).map(Estimate::rounded)
        };
        let percentile = |percent| over(&|recorder| recorder.percentile_ns(percent).map(|ns| ns as f64));
        let [p50_ns, p90_ns, p95_ns, p99_ns, p999_ns, p9999_ns] = PERCENTILES.map(percentile);
        Self {
            p50_ns,
            p90_ns,
            p95_ns,
            p99_ns,
            p999_ns,
            p9999_ns,
            min_ns: over(&|recorder| recorder.min_ns().map(|ns| ns as f64)),
            max_ns: over(&|recorder| recorder.max_ns().map(|ns| ns as f64)),
            mean_ns: over(&Recorder::mean_ns),
            stddev_ns: over(&Recorder::stddev_ns),
            percentiles_ns: asked.iter().map(|percent| (percent.to_string(), percentile(*percent))).collect(),
        }
    }
}

/// How many times slower than the physical limit: 1 is the limit itself, for latencies and rates alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitRatio {
    /// Name of the yardstick.
    pub name: String,
    /// Median over the trials of each trial's ratio to the limit measured beside it.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub ratio: f64,
    /// Lower end of its interval.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub lo: f64,
    /// Upper end of its interval.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub hi: f64,
    /// Probability that the interval holds the true median, see [`Estimate::coverage`].
    #[serde(default, serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub coverage: f64,
}

/// The summary of the completed trials of `cell`; `None` when there is none. Percentiles that its present summary has
/// because they were asked for stay.
///
/// # Errors
/// [`DecodeError`] when a trial's histogram is damaged, which only a file from elsewhere can hold.
pub fn summarise(cell: &Cell) -> Result<Option<Summary>, DecodeError> {
    let told = cell.summary.iter().flat_map(|summary| summary.latency.percentiles_ns.keys());
    summarise_with(cell, &told.filter_map(|percent| percent.parse().ok()).collect::<Vec<_>>())
}

/// The summary with these percentiles beside the [`PERCENTILES`].
///
/// # Errors
/// As [`summarise`].
pub fn summarise_with(cell: &Cell, asked: &[f64]) -> Result<Option<Summary>, DecodeError> {
    let trials: Vec<&Trial> = cell.completed().collect();
    if trials.is_empty() {
        return Ok(None);
    }
    let latencies = decode(&trials, |trial| trial.latency.as_ref())?;
    let services = decode(&trials, |trial| trial.service.as_ref())?;
    let over = |figure: &dyn Fn(&Trial) -> Option<f64>| {
        let values: Option<Vec<f64>> = trials.iter().map(|trial| figure(trial)).collect();
        median(&values?)
    };
    let per_message = |figure: &dyn Fn(&Trial) -> Option<u64>| {
        over(&|trial| Some(figure(trial)? as f64 / trial.messages as f64))
    };
    let rate_share = over(&|trial| Some(trial.achieved_rate? / trial.requested_rate?));
    Ok(Some(Summary {
        latency: latencies.as_deref().map(|all| LatencySummary::over(all, asked)).unwrap_or_default(),
        service: services.as_deref().map(|all| LatencySummary::over(all, asked)),
        first_message_ns: over(&|trial| trial.first_message_ns.map(|ns| ns as f64)).map(Estimate::rounded),
        msgs_per_s: over(&|trial| Some(trial.throughput.msgs_per_s)),
        bytes_per_s: over(&|trial| Some(trial.throughput.bytes_per_s)),
        cpu_ns_per_msg: per_message(&|trial| trial.cpu.map(|cpu| cpu.user_ns + cpu.sys_ns)),
        ctxsw_per_msg: per_message(&|trial| trial.cpu.map(|cpu| cpu.vcsw + cpu.ivcsw)),
        counters_per_msg: counters(&trials),
        achieved_rate: over(&|trial| trial.achieved_rate),
        saturated: rate_share.map(|share| share.value < SATURATION),
        limit: limit(&trials, latencies.as_deref()),
        measures: measures(&trials),
    }))
}

/// The histograms of all trials, or `None` when a trial has none.
fn decode(
    trials: &[&Trial],
    field: impl Fn(&Trial) -> Option<&Latency>,
) -> Result<Option<Vec<Recorder>>, DecodeError> {
    trials.iter().map(|trial| field(trial).map(Latency::recorder).transpose()).collect()
}

/// The medians of what every trial measured beside the figures that all workloads have.
fn measures(trials: &[&Trial]) -> BTreeMap<String, Estimate> {
    let names = trials.first().into_iter().flat_map(|trial| trial.measures.keys());
    let over = |name: &String| {
        let values: Option<Vec<f64>> = trials.iter().map(|trial| trial.measures.get(name).copied()).collect();
        Some((name.clone(), median(&values?)?))
    };
    names.filter_map(over).collect()
}

/// The medians of what every trial counted, per message.
fn counters(trials: &[&Trial]) -> BTreeMap<String, Estimate> {
    let names = trials.first().into_iter().flat_map(|trial| trial.counters.keys());
    let per_message =
        |name: &String, trial: &Trial| Some(*trial.counters.get(name)? as f64 / trial.messages as f64);
    let over = |name: &String| {
        let values: Option<Vec<f64>> = trials.iter().map(|trial| per_message(name, trial)).collect();
        Some((name.clone(), median(&values?)?))
    };
    names.filter_map(over).collect()
}

/// The ratio to the limit; `None` unless every trial has one under the same name.
fn limit(trials: &[&Trial], latencies: Option<&[Recorder]>) -> Option<LimitRatio> {
    let name = &trials.first()?.limit.as_ref()?.name;
    let ratio = |(index, trial): (usize, &&Trial)| {
        let limit = trial.limit.as_ref().filter(|limit| limit.name == *name)?;
        let p50_ns = || latencies.and_then(|all| all[index].percentile_ns(50.0)).map(|ns| ns as f64);
        times_the_limit(limit, p50_ns, trial)
    };
    let ratios: Option<Vec<f64>> = trials.iter().enumerate().map(ratio).collect();
    let over = median(&ratios?)?;
    Some(LimitRatio {
        name: name.clone(),
        ratio: over.value,
        lo: over.lo,
        hi: over.hi,
        coverage: over.coverage,
    })
}

fn times_the_limit(limit: &Limit, p50_ns: impl FnOnce() -> Option<f64>, trial: &Trial) -> Option<f64> {
    let ratio = if limit.name.ends_with("_bytes_per_s") {
        limit.value / trial.throughput.bytes_per_s
    } else if limit.name.ends_with("_msgs_per_s") {
        limit.value / trial.throughput.msgs_per_s
    } else {
        p50_ns()? / limit.value
    };
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{CpuUse, Throughput};

    /// A trial whose samples all took `ns`, `samples` of them.
    fn trial(ns: u64, samples: u64) -> Trial {
        let mut recorder = Recorder::new();
        (0..samples).for_each(|_| recorder.record(ns));
        Trial {
            messages: samples,
            elapsed_ns: ns * samples,
            latency: Latency::of(&recorder),
            throughput: Throughput::new(samples, 64, ns * samples),
            cpu: Some(CpuUse {
                user_ns: 2 * ns * samples,
                vcsw: 3 * samples,
                ivcsw: samples,
                ..CpuUse::default()
            }),
            limit: Some(Limit { name: "cacheline_rtt_ns".into(), value: 200.0 }),
            ..Trial::default()
        }
    }

    fn cell(trials: impl IntoIterator<Item = Trial>) -> Cell {
        Cell { trials: trials.into_iter().collect(), ..Cell::new("shm/rtt/64", "shm", "rtt", 64) }
    }

    #[test]
    fn every_figure_is_the_median_over_trials() {
        let summary = summarise(&cell([300, 500, 400].map(|ns| trial(ns, 2_000)))).unwrap().unwrap();
        let p50 = summary.latency.p50_ns.unwrap();
        assert_eq!((p50.value, p50.lo, p50.hi, p50.trials), (400.0, 300.0, 500.0, 3));
        assert!((p50.coverage - 0.75).abs() < 1e-9);
        assert_eq!(summary.latency.percentile_ns(99.0).unwrap().value, 400.0);
        assert_eq!(summary.msgs_per_s.unwrap().value, 2_500_000.0);
        assert_eq!(summary.bytes_per_s.unwrap().value, 160_000_000.0);
        assert_eq!(summary.cpu_ns_per_msg.unwrap().value, 800.0);
        assert_eq!(summary.ctxsw_per_msg.unwrap().value, 4.0);
        let limit = summary.limit.unwrap();
        assert_eq!((limit.ratio, limit.lo, limit.hi), (2.0, 1.5, 2.5));
        assert_eq!(summary.saturated, None);
    }

    #[test]
    fn percentiles_that_were_asked_for_stay_when_trials_are_added() {
        let mut cell = cell([300, 500].map(|ns| trial(ns, 2_000)));
        cell.summary = summarise_with(&cell, &[75.0, 99.99]).unwrap();
        cell.trials.push(trial(400, 2_000));
        let summary = summarise(&cell).unwrap().unwrap();
        let told = &summary.latency.percentiles_ns;
        assert_eq!(told["75"].unwrap().value, 400.0);
        assert_eq!((told["99.99"], told.len()), (None, 2), "2,000 samples do not support it");
        assert!(serde_json::to_value(&summary).unwrap()["percentiles_ns"]["99.99"].is_null());
    }

    #[test]
    fn a_percentile_that_one_trial_cannot_support_is_absent() {
        let summary = summarise(&cell([trial(300, 10_000), trial(300, 9_999)])).unwrap().unwrap();
        assert!(summary.latency.p99_ns.is_some());
        assert_eq!(summary.latency.p999_ns, None);
    }

    #[test]
    fn a_trial_with_an_error_is_left_out_and_a_cell_without_any_has_no_summary() {
        let broken = Trial { error: Some("worker died".into()), ..trial(9_999, 2_000) };
        let summary = summarise(&cell([trial(300, 2_000), broken.clone()])).unwrap().unwrap();
        assert_eq!(summary.latency.p50_ns.unwrap().value, 300.0);
        assert_eq!(summarise(&cell([broken])), Ok(None));
        assert_eq!(summarise(&cell([])), Ok(None));
    }

    #[test]
    fn a_rate_is_held_against_a_rate_so_that_more_than_one_is_always_slower() {
        let trials = [1u64, 2, 3].map(|_| Trial {
            limit: Some(Limit { name: "ring_msgs_per_s".into(), value: 5_000_000.0 }),
            ..trial(400, 2_000)
        });
        assert_eq!(summarise(&cell(trials)).unwrap().unwrap().limit.unwrap().ratio, 2.0);
    }

    #[test]
    fn missing_a_rate_by_more_than_one_percent_is_saturation() {
        let at = |achieved| Trial {
            requested_rate: Some(1_000.0),
            achieved_rate: Some(achieved),
            ..trial(400, 2_000)
        };
        let saturated = |achieved| summarise(&cell([at(achieved)])).unwrap().unwrap().saturated;
        assert_eq!(saturated(990.0), Some(false));
        assert_eq!(saturated(980.0), Some(true));
    }

    #[test]
    fn the_summary_is_flat_in_the_file() {
        let summary = summarise(&cell([trial(300, 2_000)])).unwrap().unwrap();
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["p50_ns"]["value"], 300);
        assert_eq!(json["p9999_ns"], serde_json::Value::Null);
        let read: Summary = serde_json::from_value(json).unwrap();
        assert_eq!(read.latency.p99_ns.unwrap().value, 300.0);
        assert_eq!(read.latency.p999_ns, None);
    }

    #[test]
    fn a_damaged_histogram_is_an_error() {
        let mut damaged = trial(300, 2_000);
        damaged.latency.as_mut().unwrap().hdr.truncate(20);
        assert!(summarise(&cell([damaged])).is_err());
    }
}
