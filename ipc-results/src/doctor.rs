//! What `doctor` says, as a document: schema `ipc-bench/doctor` version 1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::estimate::{number, short, short_option};
use crate::run::Finding;

/// Value of [`Diagnosis::schema`].
pub const SCHEMA: &str = "ipc-bench/doctor";

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// `1.0`.
    pub schema_version: String,
    /// Every check that could be made, good ones too.
    pub checks: Vec<Diagnosed>,
    /// Presets that nothing here disturbs.
    pub suitable: Vec<String>,
    /// Presets whose numbers suffer from a warning above.
    pub unsuitable: Vec<String>,
    /// What watching the clock showed, where that was asked for.
    pub probe: Option<Probe>,
}

impl Default for Diagnosis {
    fn default() -> Self {
        Self {
            schema: SCHEMA.into(),
            schema_version: "1.0".into(),
            checks: Vec::new(),
            suitable: Vec::new(),
            unsuitable: Vec::new(),
            probe: None,
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosed {
    /// The heading it stands under: `Memory`.
    pub group: String,
    /// What was looked at: `memlock`.
    pub name: String,
    /// Its id, level, message and fix.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What spinning on the measuring CPUs saw of others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// Where.
    pub cpus: Vec<u32>,
    /// For how long; where there is a [`cache_line`](Probe::cache_line), a tenth of it went there.
    pub elapsed_ns: u64,
    /// Pauses of more than 10 µs per second and CPU.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub gaps_per_s: f64,
    /// The longest of them.
    pub worst_gap_ns: u64,
    /// Share of the time that was spent in them.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub lost_share: f64,
    /// The highest percentile of short messages that such pauses leave intact; absent when it is not even the median.
    #[serde(default, serialize_with = "short_option")]
    pub usable_percentile: Option<f64>,
    /// A cache line between the first two of those CPUs; absent where there are not two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_line: Option<CacheLine>,
}

/// Round trips of a cache line between two CPUs, in slices of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheLine {
    /// Median over slices of the median round trip of each, in nanoseconds.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub rtt_ns: f64,
    /// What the slices differ by: the largest median less the smallest, as a share of `rtt_ns`.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub jitter_share: f64,
    /// Slices in which a line came back.
    pub slices: u32,
}
