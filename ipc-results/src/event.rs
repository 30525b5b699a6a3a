//! What happens in a run, one JSON line per event: for programs that watch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::estimate::{number, short};
use crate::run::{Cell, CellStatus, Run, RunError, RunStatus, Warning};
use crate::summary::Summary;

/// One line of `--events`. Version 1 only gains optional fields and kinds of events: a reader ignores those it does not
/// know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First: what will be done.
    Plan {
        /// [`Run::run_id`].
        run_id: String,
        /// Ids of the cells, those that cannot be measured here included.
        cells: Vec<String>,
        /// Trials in all.
        trials: u64,
        /// Seed of payloads and order.
        seed: u64,
        /// About how long it takes, in nanoseconds; null when trials are counted in messages.
        estimate_ns: Option<u64>,
    },
    /// A trial is over.
    TrialDone {
        /// Id of its cell.
        cell: String,
        /// Its number within the cell, from 0.
        index: u32,
        /// Its position in the run, from 0.
        order: u32,
        /// Messages delivered.
        messages: u64,
        /// Length of the measured part, in nanoseconds.
        elapsed_ns: u64,
        /// Median latency in nanoseconds; null where it has none.
        p50_ns: Option<u64>,
        /// Delivered messages per second.
        #[serde(serialize_with = "short")]
        #[schemars(schema_with = "number")]
        msgs_per_s: f64,
        /// What disturbed it.
        flags: Vec<String>,
        /// Why it did not end well.
        error: Option<String>,
    },
    /// Something a reader must know; after the last trial.
    Warning(Warning),
    /// Last: how the run ended.
    Summary {
        /// [`Run::run_id`].
        run_id: String,
        /// How far it came.
        status: RunStatus,
        /// Its cells.
        cells: Vec<CellSummary>,
        /// What stopped it.
        error: Option<RunError>,
    },
}

/// The statistics of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellSummary {
    /// Id of the cell.
    pub cell: String,
    /// Whether it was measured.
    pub status: CellStatus,
    /// Why it was not.
    pub reason: Option<String>,
    /// Medians over its trials.
    pub summary: Option<Summary>,
}

impl CellSummary {
    fn of(cell: &Cell) -> Self {
        Self {
            cell: cell.id.clone(),
            status: cell.status,
            reason: cell.reason.clone(),
            summary: cell.summary.clone(),
        }
    }
}

impl Event {
    /// The last events of a run: its warnings and its summary.
    pub fn end(run: &Run) -> impl Iterator<Item = Self> {
        let summary = Self::Summary {
            run_id: run.run_id.clone(),
            status: run.status,
            cells: run.cells.iter().map(CellSummary::of).collect(),
            error: run.error.clone(),
        };
        run.warnings.iter().cloned().map(Self::Warning).chain([summary])
    }
}
