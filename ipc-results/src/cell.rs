//! One measured point of a run and its trials.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::estimate::{number, numbers, short, short_map, short_option};
use crate::recorder::{DecodeError, Recorder};
use crate::summary::Summary;

/// One point of the matrix: a transport, a mode, a size and whatever else was varied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// Stable key: `transport/mode/size[/rate][/k=v…]`; only dimensions that differ from their default appear.
    pub id: String,
    /// Name of the transport.
    pub transport: String,
    /// Name of the workload: `rtt`, `stream`, `oneway`, `load`, …
    pub mode: String,
    /// Payload bytes per message.
    pub size_bytes: u64,
    /// Requested rate as it was given, `10k/s` or `50%`; null in closed loop.
    pub rate: Option<String>,
    /// `sync` or `async`.
    #[serde(default = "sync")]
    pub io: String,
    /// How a side waits: `spin`, `park` or `adaptive`.
    #[serde(default)]
    pub wait: String,
    /// Encoding of the payload; `raw` when there is none.
    #[serde(default = "raw")]
    pub codec: String,
    /// Real peers taking part beside the first one.
    #[serde(default = "one")]
    pub clients: u32,
    /// Every setting that was asked for, by full name.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// The same settings as the system granted them, read back.
    #[serde(default)]
    pub effective: BTreeMap<String, Value>,
    /// CPU of each role, read back from the worker; a role that was not pinned is absent.
    #[serde(default)]
    pub pin: BTreeMap<String, u32>,
    /// What else the machine was made to do during every trial: `cpu:2`, `mem:1@3`; absent when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// CPUs that a loop of idle priority kept from halting during every trial, and during those of its limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_awake: Vec<u32>,
    /// Both sides are threads of one process: nothing here crosses the boundary between two.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_process: bool,
    /// How the times were taken.
    #[serde(default)]
    pub method: Method,
    /// Counters that were asked for and could not be had, each with the reason; the others are [`Trial::counters`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uncounted: BTreeMap<String, String>,
    /// Whether it was measured.
    pub status: CellStatus,
    /// Why it was not.
    pub reason: Option<String>,
    /// One fresh set of processes each, by rising [`Trial::index`].
    #[serde(default)]
    pub trials: Vec<Trial>,
    /// The statistics over the trials; absent when no trial was completed.
    pub summary: Option<Summary>,
}

fn sync() -> String {
    "sync".into()
}

fn raw() -> String {
    "raw".into()
}

fn one() -> u32 {
    1
}

impl Cell {
    /// A cell with nothing measured yet, everything optional at its default.
    pub fn new(
        id: impl Into<String>,
        transport: impl Into<String>,
        mode: impl Into<String>,
        size_bytes: u64,
    ) -> Self {
        Self {
            id: id.into(),
            transport: transport.into(),
            mode: mode.into(),
            size_bytes,
            rate: None,
            io: sync(),
            wait: String::new(),
            codec: raw(),
            clients: one(),
            params: BTreeMap::new(),
            effective: BTreeMap::new(),
            pin: BTreeMap::new(),
            background: None,
            kept_awake: Vec::new(),
            one_process: false,
            method: Method::default(),
            uncounted: BTreeMap::new(),
            status: CellStatus::Ok,
            reason: None,
            trials: Vec::new(),
            summary: None,
        }
    }

    /// The cell marked as impossible here, and why.
    pub fn skipped(self, reason: impl Into<String>) -> Self {
        Self { status: CellStatus::Skipped, reason: Some(reason.into()), ..self }
    }

    /// The trials that count: those that ran to their end.
    pub fn completed(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.error.is_none() && trial.messages > 0)
    }
}

/// Whether the workload `mode` is ranked by its throughput; the others are ranked by latency.
pub fn throughput_is_primary(mode: &str) -> bool {
    !matches!(mode, "rtt" | "oneway" | "load" | "events")
}

/// Whether a cell was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CellStatus {
    /// Measured.
    Ok,
    /// Impossible on this machine or with these settings.
    Skipped,
    /// Tried, and something broke. Its completed trials are kept.
    Failed,
}

/// How the times of a cell were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Method {
    /// `monotonic` or `tsc`.
    #[serde(default)]
    pub clock: String,
    /// Where a sample starts: `previous_t1`, `before_send`, `intended`.
    #[serde(default)]
    pub t0: String,
    /// Where it ends: `after_recv`.
    #[serde(default)]
    pub t1: String,
}

/// One measurement in a fresh set of processes: the unit of evidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Number within the cell, from 0.
    pub index: u32,
    /// Position in the run, from 0.
    #[serde(default)]
    pub order: u32,
    /// What disturbed it: `steal`, `migration`, `major_faults`, `throttling`, `involuntary_switches`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Measured messages delivered; in `rtt`, round trips.
    pub messages: u64,
    /// Length of the measured part, in nanoseconds.
    pub elapsed_ns: u64,
    /// First send of the measured part, nanoseconds on the clock of [`Method::clock`].
    pub first_send_ns: Option<u64>,
    /// Last receive of the measured part, on the same clock.
    pub last_recv_ns: Option<u64>,
    /// What preceded it on the same connection.
    #[serde(default)]
    pub warmup: Warmup,
    /// Latency of the very first message on the connection, which the histogram leaves out.
    pub first_message_ns: Option<u64>,
    /// Counters of the transport: `full_waits`, `parks`, `wakes`, `max_occupancy`, …
    #[serde(default)]
    pub stats: BTreeMap<String, u64>,
    /// Latencies; in open loop from the intended send time.
    pub latency: Option<Latency>,
    /// Open loop only: latencies from the actual send time.
    pub service: Option<Latency>,
    /// Delivered messages and bytes.
    #[serde(default)]
    pub throughput: Throughput,
    /// Events that were handled and still tell something: `timeouts`, `would_block`.
    #[serde(default)]
    pub errors: BTreeMap<String, u64>,
    /// Resources used by all workers together during the measured part.
    pub cpu: Option<CpuUse>,
    /// What the kernel and the processor counted of all workers together during the measured part, when it was asked for:
    /// `instructions`, `context_switches`, `syscalls`, `task_clock_ns`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// Time the hypervisor took from the CPUs in use, `/proc/stat`.
    pub steal_ns: Option<u64>,
    /// Open loop only: messages per second that were asked for.
    #[serde(default, serialize_with = "short_option")]
    pub requested_rate: Option<f64>,
    /// Open loop only: messages per second that were sent.
    #[serde(default, serialize_with = "short_option")]
    pub achieved_rate: Option<f64>,
    /// The physical limit measured beside this trial.
    pub limit: Option<Limit>,
    /// The measured part in equal intervals, when they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Interval>,
    /// What only this workload measures. The name ends in the unit: `rss_bytes`, `encode_ns`, `fairness_ratio`,
    /// `wakeups_per_s`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "short_map")]
    #[schemars(schema_with = "numbers")]
    pub measures: BTreeMap<String, f64>,
    /// Why the trial did not end well. Such a trial is kept and left out of the statistics.
    pub error: Option<String>,
}

/// What preceded the measured part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warmup {
    /// Messages exchanged.
    pub messages: u64,
    /// Time taken, in nanoseconds.
    pub elapsed_ns: u64,
    /// Whether the last windows agreed; absent when the length was fixed and nothing was compared.
    pub steady: Option<bool>,
}

/// One interval of the measured part of a trial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Its start, in nanoseconds since the start of the measured part.
    pub start_ns: u64,
    /// Its length, in nanoseconds.
    pub elapsed_ns: u64,
    /// Messages that ended in it.
    pub messages: u64,
    /// Median latency of those, in nanoseconds; absent with fewer than 20.
    pub p50_ns: Option<u64>,
    /// 99th percentile of those, in nanoseconds; absent with fewer than 1,000.
    pub p99_ns: Option<u64>,
    /// Longest latency of those, in nanoseconds.
    pub max_ns: Option<u64>,
    /// Time the hypervisor took, in nanoseconds.
    pub steal_ns: Option<u64>,
    /// Moves to another CPU.
    pub migrations: Option<u64>,
    /// Those latencies as in [`Latency::hdr`], with two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<String>,
}

impl Interval {
    /// The interval from `start_ns` on, with the latencies in `recorder`.
    pub fn new(start_ns: u64, elapsed_ns: u64, recorder: &Recorder) -> Self {
        Self {
            start_ns,
            elapsed_ns,
            messages: recorder.len(),
            p50_ns: recorder.percentile_ns(50.0),
            p99_ns: recorder.percentile_ns(99.0),
            max_ns: recorder.max_ns(),
            steal_ns: None,
            migrations: None,
            hdr: (!recorder.is_empty()).then(|| recorder.encode()),
        }
    }
}

/// The latencies of one trial: a lossless histogram and the two figures people look for first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// HdrHistogram V2, deflate, base64; values in nanoseconds.
    pub hdr: String,
    /// Shortest, in nanoseconds.
    pub min_ns: u64,
    /// Longest, in nanoseconds.
    pub max_ns: u64,
    /// Samples above 100 s, which the histogram holds as 100 s.
    #[serde(default)]
    pub saturated: u64,
}

impl Latency {
    /// The latencies in `recorder`; `None` when it is empty.
    pub fn of(recorder: &Recorder) -> Option<Self> {
        let (min_ns, max_ns) = (recorder.min_ns()?, recorder.max_ns()?);
        Some(Self { hdr: recorder.encode(), min_ns, max_ns, saturated: recorder.saturated() })
    }

    /// The histogram.
    ///
    /// # Errors
    /// [`DecodeError`] when the file holds something else.
    pub fn recorder(&self) -> Result<Recorder, DecodeError> {
        Recorder::decode(&self.hdr, self.saturated)
    }
}

/// Delivered messages and payload bytes per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Messages per second.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub msgs_per_s: f64,
    /// Payload bytes per second, one direction.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub bytes_per_s: f64,
}

impl Throughput {
    /// `messages` of `size_bytes` each, delivered between the first send and the last receive, `elapsed_ns` apart.
    /// Zero when no time passed.
    pub fn new(messages: u64, size_bytes: u64, elapsed_ns: u64) -> Self {
        if elapsed_ns == 0 {
            return Self::default();
        }
        let msgs_per_s = messages as f64 * 1e9 / elapsed_ns as f64;
        Self { msgs_per_s, bytes_per_s: msgs_per_s * size_bytes as f64 }
    }
}

/// Resources used during the measured part, as `getrusage` counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuUse {
    /// User time in nanoseconds.
    pub user_ns: u64,
    /// System time in nanoseconds.
    pub sys_ns: u64,
    /// Voluntary context switches.
    pub vcsw: u64,
    /// Involuntary context switches.
    pub ivcsw: u64,
    /// Page faults served without I/O.
    pub minflt: u64,
    /// Page faults that needed I/O.
    pub majflt: u64,
    /// Moves to another CPU; absent where the kernel does not say.
    pub migrations: Option<u64>,
}

impl CpuUse {
    /// The sum over two workers; migrations only when both know theirs.
    pub fn plus(self, other: Self) -> Self {
        Self {
            user_ns: self.user_ns + other.user_ns,
            sys_ns: self.sys_ns + other.sys_ns,
            vcsw: self.vcsw + other.vcsw,
            ivcsw: self.ivcsw + other.ivcsw,
            minflt: self.minflt + other.minflt,
            majflt: self.majflt + other.majflt,
            migrations: self.migrations.zip(other.migrations).map(|(a, b)| a + b),
        }
    }
}

/// The physical limit a trial is held against, measured in the same minute by the same loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// Name of the yardstick; it ends in the unit: `…_ns` is compared with the p50, `…_msgs_per_s` and
    /// `…_bytes_per_s` with the throughput.
    pub name: String,
    /// Its value in that unit.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub value: f64,
}
