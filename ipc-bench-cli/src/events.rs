//! What happens in a run, as JSON lines for programs that watch: `plan`, then `trial_done` between trials, then `warning`
//! and `summary`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use ipc_results::Run;
use ipc_results::run::RunStatus;
use serde_json::{Value, json};

use crate::error::Failure;
use crate::plan::{Plan, Step};
use crate::runner::Measured;

/// Where the lines go. A reader that has gone away ends them, not the run.
pub(crate) struct Events(Option<Box<dyn Write>>);

impl Events {
    /// Lines to a file, to stdout for `-`, or to nobody.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn open(path: Option<&Path>) -> Result<Events, Failure> {
        let Some(path) = path else { return Ok(Events(None)) };
        if path.as_os_str() == "-" {
            return Ok(Events(Some(Box::new(io::stdout()))));
        }
        let file = File::create(path).map_err(|error| {
            Failure::usage(format!("{} cannot be written", path.display()))
                .why(error)
                .fix("choose another file with --events=FILE, or --events=- for stdout")
        })?;
        Ok(Events(Some(Box::new(file))))
    }

    fn line(&mut self, event: &Value) {
        let Some(to) = &mut self.0 else { return };
        // In one piece, so that a reader never sees half a line.
        if to.write_all(format!("{event}\n").as_bytes()).and_then(|()| to.flush()).is_err() {
            self.0 = None;
        }
    }

    /// What will be done.
    pub(crate) fn plan(&mut self, plan: &Plan, run_id: &str) {
        let cells: Vec<String> = plan.cells.iter().map(|cell| cell.point.to_string()).collect();
        self.line(&json!({ "event": "plan", "run_id": run_id, "cells": cells, "trials": plan.trial_count(),
            "seed": plan.seed, "estimate_ns": plan.estimate().map(|time| time.as_nanos() as u64) }));
    }

    /// A step is over; only trials are told of.
    pub(crate) fn done(&mut self, step: Step, measured: &Measured) {
        let Step::Trial { cell, index } = step else { return };
        let cell = &measured.cells[cell];
        // A cell that needed no more of them has none.
        let Some(trial) = cell.trials.iter().find(|trial| trial.index == index) else { return };
        let p50 = trial
            .latency
            .as_ref()
            .and_then(|latency| latency.recorder().ok())
            .and_then(|recorder| recorder.percentile_ns(50.0));
        self.line(&json!({ "event": "trial_done", "cell": cell.id, "index": index, "order": trial.order,
            "messages": trial.messages, "elapsed_ns": trial.elapsed_ns, "p50_ns": p50,
            "msgs_per_s": trial.throughput.msgs_per_s, "flags": trial.flags, "error": trial.error }));
    }

    /// The run is over: its warnings, and a summary of each cell.
    pub(crate) fn end(&mut self, run: &Run) {
        for warning in &run.warnings {
            self.line(&json!({ "event": "warning", "code": warning.code, "message": warning.message, "cells": warning.cells }));
        }
        let status = match run.status {
            RunStatus::Complete => "complete",
            RunStatus::Partial => "partial",
            RunStatus::Failed => "failed",
        };
        let cells: Vec<Value> = run
            .cells
            .iter()
            .map(|cell| json!({ "cell": cell.id, "status": cell.status, "reason": cell.reason, "summary": cell.summary }))
            .collect();
        self.line(&json!({ "event": "summary", "run_id": run.run_id, "status": status, "cells": cells, "error": run.error }));
    }
}
