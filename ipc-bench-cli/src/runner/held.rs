//! The delay that `ab --inject` puts into one side.

use ipc_results::figures::Figures;

use super::Runner;
use crate::arm::Hold;

impl Runner<'_> {
    /// How long the receiver of a cell holds every message back.
    pub(super) fn hold_ns(&self, cell: usize) -> u64 {
        let share = match self.plan.cells[cell].arm.as_ref().map(|arm| arm.hold) {
            None => return 0,
            Some(Hold::Time(ns)) => return ns,
            Some(Hold::Share(share)) => share,
        };
        // Its twin of side A stands right before it, and was made first.
        let twin = cell.checked_sub(1).and_then(|twin| self.measured.cells[twin].completed().last());
        let took = twin.and_then(|trial| {
            // Our own histograms decode.
            let p50 = Figures::of(trial).ok()?.percentiles_ns[0];
            p50.or_else(|| Some(trial.elapsed_ns as f64 / trial.messages.max(1) as f64))
        });
        took.map_or(0, |ns| (ns * share).round() as u64)
    }
}
