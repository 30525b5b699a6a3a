//! The result file: `run.json`, schema `ipc-bench/run` version 1.
//!
//! The rules of the format:
//! * every unit is in the name of its field (`_ns`, `_bytes`, `_per_s`); times are whole nanoseconds;
//! * there is no NaN and no infinity: what could not be measured is null;
//! * a reader ignores fields it does not know, and takes an absent optional field for null;
//! * version 1 only gains optional fields. A field that is removed or renamed makes version 2, and the reader of
//!   version 1 is kept.
//!
//! The JSON schema is generated from these types and committed as `schemas/run.v1.schema.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::cell::{
    Cell, CellStatus, CpuUse, Interval, Latency, Limit, Method, Throughput, Trial, Warmup,
    throughput_is_primary,
};
use crate::environment::Environment;
use crate::estimate::Estimate;

/// Value of [`Run::schema`].
pub const SCHEMA: &str = "ipc-bench/run";

/// Value of [`Run::schema_version`] in files this version writes. Readers take every `1.x`.
pub const SCHEMA_VERSION: &str = "1.0";

/// One run: what was asked, where it ran, what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// `1.x`; [`SCHEMA_VERSION`] when written by this version.
    pub schema_version: String,
    /// Unique name: date, time, preset and a random part, as in `20261121-014207-quick-9be1`.
    pub run_id: String,
    /// What the user calls this run; by default the version of the measured code.
    #[serde(default)]
    pub label: String,
    /// Free `key=value` pairs of the user.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// How far the run came.
    pub status: RunStatus,
    /// Start of the run, RFC 3339 in UTC.
    pub started: String,
    /// From the start to the last trial, in nanoseconds.
    #[serde(default)]
    pub elapsed_ns: u64,
    /// The program that measured.
    pub tool: Tool,
    /// What it was asked to do.
    #[serde(default)]
    pub manifest: Manifest,
    /// The machine it ran on.
    #[serde(default)]
    pub environment: Environment,
    /// Servers that were there already, as each said of itself: one, or more where it was started again during the run.
    /// Absent where the run started its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Side>,
    /// What the check of the machine found.
    #[serde(default)]
    pub doctor: Vec<Finding>,
    /// Physical limits measured in this run by the same driver, keyed by a name that ends in the unit:
    /// `clock_ns`, `futex_rtt_ns`, `cacheline_rtt_ns`, `memcpy_bytes_per_s`, …
    #[serde(default)]
    pub yardsticks: BTreeMap<String, Estimate>,
    /// The measured points, in the order of the plan.
    #[serde(default)]
    pub cells: Vec<Cell>,
    /// What a reader must know to judge the numbers.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Why the run is not complete.
    pub error: Option<RunError>,
}

impl Run {
    /// A run that has measured nothing yet: status [`Partial`](RunStatus::Partial), everything optional empty.
    pub fn new(run_id: impl Into<String>, started: impl Into<String>, tool: Tool) -> Self {
        Self {
            schema: SCHEMA.into(),
            schema_version: SCHEMA_VERSION.into(),
            run_id: run_id.into(),
            label: String::new(),
            tags: BTreeMap::new(),
            status: RunStatus::Partial,
            started: started.into(),
            elapsed_ns: 0,
            tool,
            manifest: Manifest::default(),
            environment: Environment::default(),
            servers: Vec::new(),
            doctor: Vec::new(),
            yardsticks: BTreeMap::new(),
            cells: Vec::new(),
            warnings: Vec::new(),
            error: None,
        }
    }

    /// The cell with this id.
    pub fn cell(&self, id: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.id == id)
    }
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Every planned trial was made.
    Complete,
    /// Interrupted or still running: what is there is right, but not everything is there.
    Partial,
    /// Stopped by [`Run::error`].
    Failed,
}

/// The program that measured, as its build recorded it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// Version of the package.
    pub version: String,
    /// Abbreviated commit; absent outside a checkout.
    pub git: Option<String>,
    /// Whether the working tree differed from that commit.
    pub dirty: Option<bool>,
    /// Cargo profile.
    pub profile: Option<String>,
    /// Version of the compiler.
    pub rustc: Option<String>,
    /// Target triple.
    pub target: Option<String>,
    /// `-C target-cpu`.
    pub target_cpu: Option<String>,
    /// Link-time optimisation: `fat`, `thin`, `off`.
    pub lto: Option<String>,
    /// Cargo features.
    #[serde(default)]
    pub features: Vec<String>,
}

/// One side of a connection between programs that were started apart, as it says of itself.
// `ipc-bench` also sends it as postcard, which has no names and no optional fields: whoever changes a field, even one that the
// file may leave out, changes `PROTOCOL` of ipc-bench-cli with it, where a test holds the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Version of its program.
    pub version: String,
    /// `/proc/sys/kernel/random/boot_id`: the same on both sides where they run on one machine.
    pub boot_id: Option<String>,
    /// Identity of the namespaces it is in, as in [`Environment::namespaces`].
    #[serde(default)]
    pub namespaces: BTreeMap<String, String>,
    /// Its number in its own pid namespace.
    pub pid: u32,
    /// CPUs its measuring thread may run on: one where it is pinned.
    #[serde(default)]
    pub cpus: Vec<u32>,
}

/// What was asked for: enough to ask for the same again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The command line, program name first.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Name of the preset.
    pub preset: Option<String>,
    /// Every setting after flags, environment, file and preset were merged, as TOML.
    pub config_toml: Option<String>,
    /// Seed of the order of trials and of payloads.
    #[serde(default)]
    pub seed: u64,
    /// Order of the trials: `interleave`, `shuffle` or `grouped`.
    pub order: Option<String>,
    /// Id of the cell that the ratios of the summary are taken against; absent for the fastest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// One line of the check of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable id of the check, as in `M2`.
    pub id: String,
    /// How bad it is.
    pub level: Level,
    /// What was found, with the numbers.
    pub message: String,
    /// A command that would change it.
    pub fix: Option<String>,
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Some numbers suffer.
    Warn,
    /// Something cannot be measured here.
    Fail,
}

/// Something a reader must know to judge the numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// Stable code, as in `W03`.
    pub code: String,
    /// One sentence with the numbers and, where there is one, the fix.
    pub message: String,
    /// Ids of the cells it concerns; empty when it concerns all.
    #[serde(default)]
    pub cells: Vec<String>,
}

/// Why a run is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunError {
    /// What failed, in one sentence.
    pub message: String,
    /// Why.
    pub why: Option<String>,
    /// What the user can do.
    pub fix: Option<String>,
    /// The cell that was being measured.
    pub cell: Option<String>,
}
