//! What happens in a run, as JSON lines for programs that watch: `plan`, then `trial_done` between trials, then `warning`
//! and `summary`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use ipc_results::Run;
use ipc_results::event::Event;

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

    fn line(&mut self, event: &Event) {
        let Some(to) = &mut self.0 else { return };
        // In one piece, so that a reader never sees half a line.
        let line = serde_json::to_string(event).map_err(io::Error::other);
        let written = line.and_then(|line| to.write_all(format!("{line}\n").as_bytes()));
        if written.and_then(|()| to.flush()).is_err() {
            self.0 = None;
        }
    }

    /// What will be done.
    pub(crate) fn plan(&mut self, plan: &Plan, run_id: &str) {
        self.line(&Event::Plan {
            run_id: run_id.to_owned(),
            cells: plan.cells.iter().map(|cell| cell.point.to_string()).collect(),
            trials: plan.trial_count() as u64,
            seed: plan.seed,
            estimate_ns: plan.estimate().map(|time| time.as_nanos() as u64),
        });
    }

    /// A step is over; only trials are told of.
    pub(crate) fn done(&mut self, step: Step, measured: &Measured) {
        let Step::Trial { cell, index } = step else { return };
        let cell = &measured.cells[cell];
        // A cell that needed no more of them has none.
        let Some(trial) = cell.trials.iter().find(|trial| trial.index == index) else { return };
        let recorder = trial.latency.as_ref().and_then(|latency| latency.recorder().ok());
        self.line(&Event::TrialDone {
            cell: cell.id.clone(),
            index,
            order: trial.order,
            messages: trial.messages,
            elapsed_ns: trial.elapsed_ns,
            p50_ns: recorder.and_then(|recorder| recorder.percentile_ns(50.0)),
            msgs_per_s: trial.throughput.msgs_per_s,
            flags: trial.flags.clone(),
            error: trial.error.clone(),
        });
    }

    /// The run is over: its warnings, and a summary of each cell.
    pub(crate) fn end(&mut self, run: &Run) {
        for event in Event::end(run) {
            self.line(&event);
        }
    }
}
