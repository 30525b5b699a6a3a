//! The figures of each trial, drawn from its histogram once.

use crate::cell::{Cell, CpuUse, Latency, Trial};
use crate::recorder::{DecodeError, Recorder, supports};
use crate::summary::PERCENTILES;

/// What one trial says about itself, in plain numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// [`Trial::index`].
    pub index: u32,
    /// [`Trial::order`].
    pub order: u32,
    /// Whether the trial was disturbed ([`Trial::flags`]).
    pub flagged: bool,
    /// Nanoseconds at each of [`PERCENTILES`], where the samples support it.
    pub percentiles_ns: [Option<f64>; PERCENTILES.len()],
    /// The same of the service time, in open loop.
    pub service_percentiles_ns: [Option<f64>; PERCENTILES.len()],
    /// Nanoseconds at each of [`curve_shares`], as far as ten samples lie beyond; empty without latencies.
    pub curve_ns: Vec<f64>,
    /// Mean latency in nanoseconds.
    pub mean_ns: Option<f64>,
    /// Standard deviation of the latencies in nanoseconds.
    pub stddev_ns: Option<f64>,
    /// Messages per second.
    pub msgs_per_s: f64,
    /// Payload bytes per second.
    pub bytes_per_s: f64,
    /// Processor time per message.
    pub cpu_ns_per_msg: Option<f64>,
    /// How often the workers slept per message: their voluntary context switches.
    pub sleeps_per_msg: Option<f64>,
}

impl Figures {
    /// The figures of the completed trials of `cell`.
    ///
    /// # Errors
    /// [`DecodeError`] when a histogram is damaged.
    pub fn of_cell(cell: &Cell) -> Result<Vec<Self>, DecodeError> {
        cell.completed().map(Self::of).collect()
    }

    /// The figures of one trial.
    ///
    /// # Errors
    /// [`DecodeError`] when its histogram is damaged.
    pub fn of(trial: &Trial) -> Result<Self, DecodeError> {
        let decode = |latency: &Option<Latency>| latency.as_ref().map(Latency::recorder).transpose();
        let (latency, service) = (decode(&trial.latency)?, decode(&trial.service)?);
        let percentiles = |recorder: &Option<Recorder>| {
            PERCENTILES.map(|percent| recorder.as_ref()?.percentile_ns(percent).map(|ns| ns as f64))
        };
        let per = |of: f64| move |cpu: CpuUse| (cpu.user_ns + cpu.sys_ns) as f64 / of;
        Ok(Self {
            index: trial.index,
            order: trial.order,
            flagged: !trial.flags.is_empty(),
            percentiles_ns: percentiles(&latency),
            service_percentiles_ns: percentiles(&service),
            curve_ns: latency.as_ref().map(curve).unwrap_or_default(),
            mean_ns: latency.as_ref().and_then(Recorder::mean_ns),
            stddev_ns: latency.as_ref().and_then(Recorder::stddev_ns),
            msgs_per_s: trial.throughput.msgs_per_s,
            bytes_per_s: trial.throughput.bytes_per_s,
            cpu_ns_per_msg: trial.cpu.map(per(trial.messages as f64)).filter(|ns| ns.is_finite()),
            sleeps_per_msg: trial
                .cpu
                .map(|cpu| cpu.vcsw as f64 / trial.messages as f64)
                .filter(|sleeps| sleeps.is_finite()),
        })
    }
}

/// Points of a percentile curve: how many per halving of the samples that lie beyond.
const POINTS_PER_HALVING: i32 = 3;

/// The shares of samples at which [`Figures::curve_ns`] is taken: dense towards 1, up to the last that a trial of 100 s could
/// support.
pub fn curve_shares() -> impl Iterator<Item = f64> {
    (0..33 * POINTS_PER_HALVING)
        .map(|step| 1.0 - 0.5f64.powf(f64::from(step) / f64::from(POINTS_PER_HALVING)))
}

fn curve(recorder: &Recorder) -> Vec<f64> {
    let shares: Vec<f64> =
        curve_shares().take_while(|share| supports(recorder.len(), share * 100.0)).collect();
    recorder.at_shares(&shares).into_iter().map(|ns| ns as f64).collect()
}
